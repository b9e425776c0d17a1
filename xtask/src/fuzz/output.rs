//! What a target prints, read.

/// What is known of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// Inputs that were run.
    pub(super) inputs: u64,
    /// Those in which something was found.
    pub(super) accepted: u64,
    /// Edges of the code that the seeds reached, and those that were reached at the end.
    pub(super) cov: u64,
    pub(super) last_cov: u64,
    /// Inputs that are kept.
    pub(super) corpus: u64,
    /// Why it ended, if it was not for its time.
    pub(super) panic: String,
    /// The file with the input that ended it.
    pub(super) input: Option<String>,
}

impl Output {
    /// Reads all lines; what is none of those that are looked for is passed over.
    pub(super) fn parse(text: &str) -> Output {
        let mut output = Output::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix('#') {
                output.progress(rest);
            } else if let Some(counts) = line.strip_prefix("accepted ") {
                let mut numbers = counts.split(' ').filter_map(|word| word.parse().ok());
                (output.accepted, output.inputs) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            } else if line.contains(" panicked at ") {
                let what = lines.peek().copied().unwrap_or_default();
                output.panic = format!("{} {what}", line.trim());
            } else if let Some((_, what)) = line.split_once("ERROR: libFuzzer: ").filter(|_| output.panic.is_empty()) {
                what.clone_into(&mut output.panic);
            } else if let Some((_, path)) = line.split_once("Test unit written to ") {
                output.input = Some(path.trim().to_owned());
            }
        }
        output
    }

    /// `1234 NEW cov: 222 ft: 227 corp: 9/1234b lim: 4 ...`, without its sign.
    fn progress(&mut self, line: &str) {
        let after =
            |word: &str| line.split_once(word).and_then(|(_, rest)| rest.split([' ', '/']).next()?.parse().ok());
        let Some(cov) = after("cov: ") else { return };
        if line.contains("INITED") {
            self.cov = cov;
        }
        (self.last_cov, self.corpus) = (cov, after("corp: ").unwrap_or(self.corpus));
        self.inputs = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(self.inputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_ended_for_its_time() {
        let text = "INFO: seed corpus: files: 7\n\
            #8\tINITED cov: 139 ft: 139 corp: 7/1336b exec/s: 0 rss: 31Mb\n\
            #9\tNEW    cov: 150 ft: 151 corp: 8/1400b lim: 4 exec/s: 0 rss: 31Mb L: 4/4 MS: 1 CopyPart-\n\
            #500\tDONE   cov: 200 ft: 300 corp: 12/2Kb lim: 4 exec/s: 5 rss: 31Mb\n\
            accepted 40 of 500 inputs\n";
        let wanted = Output { inputs: 500, accepted: 40, cov: 139, last_cov: 200, corpus: 12, ..Output::default() };
        assert_eq!(Output::parse(text), wanted);
    }

    #[test]
    fn a_run_that_found_something() {
        let text = "#8\tINITED cov: 139 ft: 139 corp: 7/1336b exec/s: 0 rss: 31Mb\n\
            thread '<unnamed>' (7) panicked at src/a.rs:1:2:\nindex out of bounds\n\
            ==7== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='x/'; Test unit written to x/crash-1\n";
        let output = Output::parse(text);
        assert_eq!(output.panic, "thread '<unnamed>' (7) panicked at src/a.rs:1:2: index out of bounds");
        assert_eq!(output.input.as_deref(), Some("x/crash-1"));
        assert_eq!(
            Output::parse("==7== ERROR: libFuzzer: timeout after 10 seconds\n").panic,
            "timeout after 10 seconds"
        );
    }
}
