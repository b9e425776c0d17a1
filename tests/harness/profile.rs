//! A served profile, decoded into stacks of names, with the questions that tests ask of it.

use super::message;
use flate2::read::GzDecoder;
use prost::Message as _;
use std::collections::BTreeMap;
use std::io::Read;

/// Bytes that a profile may have, unpacked.
const MAX_UNPACKED: u64 = 1 << 30;

/// A decoded profile.
#[derive(Debug)]
pub struct Profile {
    /// As it came.
    pub message: message::Profile,
    /// Its samples with names.
    pub samples: Vec<Sample>,
}

/// A source file, or nothing, and a line, or 0.
pub type Source = (String, i64);

/// A stack with its values and labels.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Function names, ROOT FIRST, inlined calls included.
    pub stack: Vec<String>,
    /// Where each name in `stack` is.
    pub sources: Vec<Source>,
    /// File names of the mappings that its locations lie in, ROOT FIRST, one a location.
    pub files: Vec<String>,
    /// Number of samples (the first column).
    pub count: i64,
    /// CPU time in ns (the second column).
    pub nanos: i64,
    /// Labels; numbers as text.
    pub labels: BTreeMap<String, String>,
}

impl Sample {
    /// True if the function is anywhere in the stack, by its name without parameters.
    pub fn has(&self, function: &str) -> bool {
        self.stack.iter().any(|name| is_named(name, function))
    }

    /// True if the functions follow each other directly somewhere in the stack, given LEAF FIRST as one writes `a <- b <- c`.
    pub fn has_chain(&self, leaf_first: &[&str]) -> bool {
        let root_first: Vec<&str> = leaf_first.iter().rev().copied().collect();
        self.stack
            .windows(root_first.len())
            .any(|part| part.iter().zip(&root_first).all(|(name, wanted)| is_named(name, wanted)))
    }

    /// How often the function is in the stack.
    pub fn depth_of(&self, function: &str) -> usize {
        self.stack.iter().filter(|name| is_named(name, function)).count()
    }

    /// True if the leaf lies in a file of this name.
    pub fn is_in(&self, file: &str) -> bool {
        self.files.last().is_some_and(|leaf| leaf == file)
    }

    /// A label's value, or an empty text.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

impl Profile {
    /// Decodes the body of an answer, gzip or not.
    pub fn parse(body: &[u8]) -> Profile {
        let mut bytes = Vec::new();
        if body.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(body).take(MAX_UNPACKED).read_to_end(&mut bytes).expect("a whole gzip stream");
        } else {
            bytes.extend_from_slice(body);
        }
        let message = message::Profile::decode(bytes.as_slice()).expect("a profile.proto message");
        let names = Names::of(&message);
        let samples = message.sample.iter().map(|sample| names.sample(sample)).collect();
        Profile { message, samples }
    }

    /// Sum of the first column in the text of `go tool pprof -raw`: rows `  COUNT  NANOS: LOCATIONS`.
    pub fn parse_raw_total(text: &str) -> f64 {
        let rows = text
            .lines()
            .skip_while(|line| !line.starts_with("Samples:"))
            .take_while(|line| !line.starts_with("Locations"));
        let count = |line: &str| line.split_once(':')?.0.split_whitespace().next()?.parse::<f64>().ok();
        rows.filter_map(count).sum()
    }

    /// A string of the table.
    pub fn text(&self, index: i64) -> &str {
        usize::try_from(index).ok().and_then(|index| self.message.string_table.get(index)).map_or("", String::as_str)
    }

    /// The comments.
    pub fn comments(&self) -> Vec<&str> {
        self.message.comment.iter().map(|index| self.text(*index)).collect()
    }

    /// Columns as (type, unit).
    pub fn sample_types(&self) -> Vec<(&str, &str)> {
        self.message.sample_type.iter().map(|column| (self.text(column.kind), self.text(column.unit))).collect()
    }

    /// Length of the window, seconds.
    pub fn seconds(&self) -> f64 {
        self.message.duration_nanos as f64 / 1e9
    }

    /// Number of samples.
    pub fn count(&self) -> i64 {
        self.samples.iter().map(|sample| sample.count).sum()
    }

    /// CPU time, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.samples.iter().map(|sample| sample.nanos).sum::<i64>() as f64 / 1e9
    }

    /// Samples that `which` holds for.
    pub fn count_of(&self, which: impl Fn(&Sample) -> bool) -> i64 {
        self.samples.iter().filter(|sample| which(sample)).map(|sample| sample.count).sum()
    }

    /// CPU seconds of the samples that `which` holds for.
    pub fn cpu_of(&self, which: impl Fn(&Sample) -> bool) -> f64 {
        self.samples.iter().filter(|sample| which(sample)).map(|sample| sample.nanos).sum::<i64>() as f64 / 1e9
    }

    /// Share of all CPU time that `which` holds for, 0 to 1.
    pub fn share(&self, which: impl Fn(&Sample) -> bool) -> f64 {
        let all = self.cpu_seconds();
        if all == 0.0 { 0.0 } else { self.cpu_of(which) / all }
    }

    /// Share of all CPU time whose stacks hold the function.
    pub fn share_of(&self, function: &str) -> f64 {
        self.share(|sample| sample.has(function))
    }

    /// The samples that `which` holds for, as a profile of their own.
    pub fn only(&self, which: impl Fn(&Sample) -> bool) -> Profile {
        let samples = self.samples.iter().filter(|sample| which(sample)).cloned().collect();
        Profile { message: self.message.clone(), samples }
    }

    /// Share of samples for which `complete` holds, with what the agent says it lost in the denominator: all but the ticks
    /// that never came because this host's timer was late, which is not the agent's doing; but few they must be.
    pub fn complete_share(&self, complete: impl Fn(&Sample) -> bool) -> f64 {
        let (all, late) = (self.count() + self.lost(), self.late());
        assert!(late as f64 <= 0.1 * all as f64, "this host is too busy to judge by: {}", self.summary());
        self.count_of(complete) as f64 / (all - late).max(1) as f64
    }

    /// Lost samples whose reason is that the timer was late, by the same comment.
    pub fn late(&self) -> i64 {
        let said = |comment: &str| {
            let (_, count) = comment.split_once("timer late ")?;
            count.split([',', ')']).next()?.parse().ok()
        };
        self.comments().into_iter().filter(|comment| comment.contains(" were lost (")).find_map(said).unwrap_or(0)
    }

    /// Samples that were lost, by the comment that has to say so: `N were lost (...)` or `none was lost`.
    pub fn lost(&self) -> i64 {
        let said = self.comments().into_iter().find_map(lost_by);
        said.unwrap_or_else(|| panic!("no comment says how many samples were lost: {:?}", self.comments()))
    }

    /// CPU seconds that the lost samples stand for.
    pub fn lost_seconds(&self) -> f64 {
        self.lost() as f64 * self.message.period as f64 / 1e9
    }

    /// Stacks of which the agent says that they are not complete, or not surely: its comments `Complete stacks: N of M` and `N of
    /// the complete stacks end at a return address of zero`.
    pub fn doubtful(&self) -> i64 {
        let at_zero = |comment: &str| comment.split_once(" of the complete stacks end at")?.0.parse::<i64>().ok();
        self.incomplete() + self.comments().into_iter().find_map(at_zero).unwrap_or(0)
    }

    /// Stacks of which the agent says that they are not complete, by its comment `Complete stacks: N of M`.
    pub fn incomplete(&self) -> i64 {
        let numbers = self.comments().into_iter().find_map(|comment| {
            let (complete, rest) = comment.strip_prefix("Complete stacks: ")?.split_once(" of ")?;
            Some(rest.split(' ').next()?.parse::<i64>().ok()? - complete.parse::<i64>().ok()?)
        });
        numbers.unwrap_or_else(|| panic!("no comment says how many stacks are complete: {:?}", self.comments()))
    }

    /// File name of the first mapping.
    pub fn main_binary(&self) -> &str {
        self.message.mapping.first().map_or("", |mapping| self.text(mapping.filename))
    }

    /// Offset in its file of a location in the main binary.
    pub fn file_offset(&self, location: u64) -> Option<u64> {
        let location = self.message.location.get(usize::try_from(location).ok()?.checked_sub(1)?)?;
        let mapping = self.message.mapping.first().filter(|mapping| mapping.id == location.mapping_id)?;
        Some(location.address - mapping.start + mapping.offset)
    }

    /// Functions with file and line of a location in the main binary, innermost first, and its offset in the file.
    pub fn lines_by_offset(&self) -> BTreeMap<u64, Vec<(String, String)>> {
        let functions: BTreeMap<u64, _> =
            self.message.function.iter().map(|function| (function.id, function)).collect();
        let shown = |line: &message::Line| {
            let function = functions[&line.function_id];
            (self.text(function.name).to_owned(), format!("{}:{}", self.text(function.filename), line.line))
        };
        let lines = |location: &message::Location| location.line.iter().map(shown).collect();
        let locations = self.message.location.iter();
        locations.filter_map(|location| Some((self.file_offset(location.id)?, lines(location)))).collect()
    }

    /// The file names of mappings.
    pub fn files(&self) -> Vec<&str> {
        self.message.mapping.iter().map(|mapping| self.text(mapping.filename)).collect()
    }

    /// The heaviest stacks, for messages of failed tests.
    pub fn summary(&self) -> String {
        let mut by_stack: BTreeMap<String, i64> = BTreeMap::new();
        for sample in &self.samples {
            *by_stack.entry(abridged(&sample.stack)).or_default() += sample.count;
        }
        let mut lines: Vec<(i64, String)> = by_stack.into_iter().map(|(stack, count)| (count, stack)).collect();
        lines.sort_unstable_by(|a, b| b.cmp(a));
        let top: Vec<String> = lines.iter().take(12).map(|(count, stack)| format!("{count:>7}  {stack}")).collect();
        format!(
            "{} samples, {:.2} s; heaviest:\n{}\n{}",
            self.count(),
            self.seconds(),
            top.join("\n"),
            self.comments().join("\n")
        )
    }
}

/// Runs of one function shortened, so that a stack of 600 levels fits on a line.
fn abridged(stack: &[String]) -> String {
    let mut parts: Vec<(String, usize)> = Vec::new();
    for name in stack {
        match parts.last_mut() {
            Some((last, times)) if last == name => *times += 1,
            _ => parts.push((name.clone(), 1)),
        }
    }
    let shown = parts.iter().map(|(name, times)| if *times == 1 { name.clone() } else { format!("{name} x{times}") });
    shown.collect::<Vec<_>>().join(" > ")
}

/// What a comment says of lost samples, if it does.
fn lost_by(comment: &str) -> Option<i64> {
    if comment.contains("none was lost") {
        return Some(0);
    }
    let (before, _) = comment.split_once(" were lost")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// True if a function's name is `name`, be it written with parameters or not.
pub fn is_named(function: &str, name: &str) -> bool {
    function.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
}

/// Looks up locations by id.
struct Names<'a> {
    message: &'a message::Profile,
    locations: BTreeMap<u64, Vec<(String, Source)>>,
    files: BTreeMap<u64, String>,
}

impl Names<'_> {
    fn of(message: &message::Profile) -> Names<'_> {
        let text = |index: i64| usize::try_from(index).ok().and_then(|index| message.string_table.get(index)).cloned();
        let named =
            |function: &message::Function| [function.name, function.filename].map(|t| text(t).unwrap_or_default());
        let functions: BTreeMap<u64, [String; 2]> =
            message.function.iter().map(|function| (function.id, named(function))).collect();
        let frame = |line: &message::Line| {
            let [name, file] = functions.get(&line.function_id).cloned().unwrap_or_default();
            (name, (file, line.line))
        };
        let lines = |location: &message::Location| {
            // Innermost first in the format; root first here.
            location.line.iter().rev().map(frame).collect()
        };
        let locations = message.location.iter().map(|location| (location.id, lines(location))).collect();
        let mappings: BTreeMap<u64, String> =
            message.mapping.iter().map(|mapping| (mapping.id, text(mapping.filename).unwrap_or_default())).collect();
        let file = |location: &message::Location| mappings.get(&location.mapping_id).cloned().unwrap_or_default();
        let files = message.location.iter().map(|location| (location.id, file(location))).collect();
        Names { message, locations, files }
    }

    fn sample(&self, sample: &message::Sample) -> Sample {
        let text = |index: i64| {
            usize::try_from(index)
                .ok()
                .and_then(|index| self.message.string_table.get(index))
                .cloned()
                .unwrap_or_default()
        };
        let frames = sample.location_id.iter().rev().flat_map(|id| self.locations.get(id).cloned().unwrap_or_default());
        let (stack, sources) = frames.unzip();
        let files = sample.location_id.iter().rev().map(|id| self.files.get(id).cloned().unwrap_or_default());
        let label = |label: &message::Label| {
            let value = if label.text == 0 { label.number.to_string() } else { text(label.text) };
            (text(label.key), value)
        };
        Sample {
            stack,
            sources,
            files: files.collect(),
            count: sample.value.first().copied().unwrap_or_default(),
            nanos: sample.value.get(1).copied().unwrap_or_default(),
            labels: sample.label.iter().map(label).collect(),
        }
    }
}
