//! A survey of a file as a message, and back, checked: its texts are shown to people.

use super::api::{FileSurvey, Hole, RefusedRules};
use super::check::text;
use super::protocol::{HoleMessage, RefusedMessage, Survey};
use super::table::MAX_KINDS;

/// Bytes of a text.
const MAX_TEXT: usize = 256;
/// Members of a list.
const MAX_LIST: usize = 32;

pub(super) fn message(survey: FileSurvey) -> Survey {
    let hole = |hole: Hole| HoleMessage { address: hole.address, size: hole.size, name: text(&hole.name, MAX_TEXT) };
    let refused = |rules: RefusedRules| RefusedMessage {
        kind: rules.kind,
        rows: rules.rows,
        functions: rules.functions.iter().map(|name| text(name, MAX_TEXT)).collect(),
    };
    Survey {
        form: survey.form,
        names_from: survey.names_from,
        symbols: survey.symbols,
        eh_frame: survey.eh_frame,
        debug_frame: survey.debug_frame,
        go_functions: survey.go_functions,
        overlapping: survey.overlapping,
        code: survey.code,
        uncovered: survey.uncovered,
        holes: survey.holes,
        largest: survey.largest.into_iter().map(hole).collect(),
        refused: survey.refused.into_iter().map(refused).collect(),
    }
}

pub(super) fn check(survey: &Survey) -> Result<FileSurvey, &'static str> {
    let long = |list: usize| list > MAX_LIST;
    let functions = survey.refused.iter().any(|refused| long(refused.functions.len()));
    if long(survey.names_from.len()) || long(survey.largest.len()) || survey.refused.len() > MAX_KINDS || functions {
        return Err("a survey says too much");
    }
    let texts = |texts: &[String]| texts.iter().map(|name| text(name, MAX_TEXT)).collect();
    let hole = |hole: &HoleMessage| Hole { address: hole.address, size: hole.size, name: text(&hole.name, MAX_TEXT) };
    let refused = |refused: &RefusedMessage| RefusedRules {
        kind: text(&refused.kind, MAX_TEXT),
        rows: refused.rows,
        functions: texts(&refused.functions),
    };
    Ok(FileSurvey {
        form: text(&survey.form, MAX_TEXT),
        names_from: texts(&survey.names_from),
        symbols: survey.symbols,
        eh_frame: survey.eh_frame,
        debug_frame: survey.debug_frame,
        go_functions: survey.go_functions,
        overlapping: survey.overlapping,
        code: survey.code,
        uncovered: survey.uncovered,
        holes: survey.holes,
        largest: survey.largest.iter().map(hole).collect(),
        refused: survey.refused.iter().map(refused).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_comes_back_clean_or_not_at_all() {
        let refused = RefusedRules { kind: "CFA expression".into(), rows: 3, functions: vec!["a\nb".into()] };
        let survey = FileSurvey { form: "program".into(), refused: vec![refused], ..FileSurvey::default() };
        let back = check(&message(survey.clone()));
        assert_eq!(back.map(|back| back.refused[0].functions.clone()), Ok(vec!["a\u{fffd}b".to_owned()]));
        let long = FileSurvey { names_from: vec![String::new(); MAX_LIST + 1], ..survey };
        assert!(check(&message(long)).is_err());
    }
}
