//! The door for fuzzing: files as the worker parses them, and the talk of both sides. What an honest worker makes of any file
//! must pass the checks of its client: else a file could have its worker taken for a hostile one.

pub(crate) mod files;
pub(crate) mod go;
pub(crate) mod made;
pub(crate) mod protocol;

/// What the client made of an honest answer.
fn honest<T>(checked: Result<T, &'static str>) -> T {
    checked.unwrap_or_else(|why| panic!("an honest answer is refused: {why}"))
}
