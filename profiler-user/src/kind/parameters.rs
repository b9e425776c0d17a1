//! The parameters of a request, whatever brought them, and the rules by which Go reads them.

use super::KindError;

/// Names and values in the order given. Of several with one name the first counts; names that nobody asks for are
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As [`Self::get`], but an empty value counts as none.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A whole number in a range; none if it is not given.
    pub fn number(&self, name: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, KindError> {
        let Some(text) = self.given(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(KindError::BadRequest(format!(
                "invalid value for \"{name}\" - must be a whole number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// `0` or `1`; the default if it is not given.
    pub fn switch(&self, name: &str, default: bool) -> Result<bool, KindError> {
        match self.given(name) {
            None => Ok(default),
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(KindError::BadRequest(format!("invalid value for \"{name}\" - must be 0 or 1"))),
        }
    }

    /// `debug`, which Go takes for 0 if it is no number.
    pub fn debug(&self) -> i64 {
        self.get("debug").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Seconds between the two profiles whose difference is asked for, if it is: Go's `seconds` of a named profile.
    pub fn difference(&self, max_seconds: u32) -> Result<Option<u32>, KindError> {
        self.check_named()?;
        let Some(seconds) = self.given("seconds") else { return Ok(None) };
        match seconds.parse() {
            Ok(seconds) if seconds <= max_seconds => Ok(Some(seconds)),
            _ => Err(KindError::BadRequest(format!("\"seconds\" is at most {max_seconds} here (--max-seconds)"))),
        }
    }

    /// Go's checks of a named profile, in Go's order and words.
    pub fn check_named(&self) -> Result<(), KindError> {
        let Some(seconds) = self.given("seconds") else { return Ok(()) };
        if !seconds.parse::<i64>().is_ok_and(|seconds| seconds > 0) {
            let text = "invalid value for \"seconds\" - must be a positive integer";
            return Err(KindError::BadRequest(text.to_owned()));
        }
        if self.debug() != 0 {
            return Err(KindError::BadRequest("seconds and debug params are incompatible".to_owned()));
        }
        Ok(())
    }
}
