//! The file with the tokens: checked and read at the start, read again when it has changed. One that cannot be used then is
//! said in the log, and the tokens from before stay.

use super::tokens::{Tokens, TokensError};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes read of it.
const MOST: u64 = 1 << 20;
/// Time between two looks at whether it has changed.
const LOOK: Duration = Duration::from_secs(1);

/// Why a file of tokens cannot be used. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The system refused.
    #[error("cannot read the token file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else can read or change it.
    #[error("the token file {path} {whose}: `chown root {path}` and `chmod 600 {path}` keep it secret")]
    Open {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        whose: String,
    },
    /// Something in it is wrong.
    #[error("the token file {path} is not valid")]
    Text {
        /// Which.
        path: PathBuf,
        /// What.
        #[source]
        source: TokensError,
    },
}

/// Which version of the file was read.
type Version = (u64, u64, u64, i64, i64);

/// A file of tokens and what is in it.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: Arc<Tokens>,
    /// None if it was not there.
    version: Option<Version>,
    looked: Instant,
}

impl TokenFile {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<TokenFile, TokenFileError> {
        let (tokens, version) = read(path)?;
        let state = State { tokens: Arc::new(tokens), version: Some(version), looked: Instant::now() };
        Ok(TokenFile { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// The tokens that count.
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.state().tokens)
    }

    /// True if it is time for [`Self::refresh`]. The one who is told so is the only one.
    pub fn is_due(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked.elapsed() >= LOOK;
        if is_due {
            state.looked = Instant::now();
        }
        is_due
    }

    /// Reads the file if it has changed. Blocking.
    pub fn refresh(&self) {
        let now = std::fs::metadata(&self.path).ok().map(|found| version(&found));
        if now == self.state().version {
            return;
        }
        match read(&self.path) {
            Ok((tokens, read)) => {
                tracing::info!(path = %self.path.display(), tokens = tokens.count(), "read the token file again");
                let mut state = self.state();
                (state.tokens, state.version) = (Arc::new(tokens), Some(read));
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!("{error:#}; the tokens from before still count");
                // Said once: it is read again when it has changed again.
                self.state().version = now;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(found: &Metadata) -> Version {
    (found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec())
}

fn read(path: &Path) -> Result<(Tokens, Version), TokenFileError> {
    let refused = |source| TokenFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(refused)?;
    let found = file.metadata().map_err(refused)?;
    if let Some(whose) = shared(&found) {
        return Err(TokenFileError::Open { path: path.to_owned(), whose });
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(refused)?;
    let tokens = Tokens::parse(&text).map_err(|source| TokenFileError::Text { path: path.to_owned(), source })?;
    Ok((tokens, version(&found)))
}

/// Why it is no secret.
fn shared(found: &Metadata) -> Option<String> {
    if !found.is_file() {
        return Some("is no ordinary file".to_owned());
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
        return Some(format!("belongs to user {}", found.uid()));
    }
    (found.mode() & 0o077 != 0).then(|| format!("is open to other users (its mode is {:03o})", found.mode() & 0o777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    const FIRST: &str = "ops all 0123456789abcdef\n";
    const SECOND: &str = "ops all fedcba9876543210\n";

    fn write(path: &Path, text: &str, mode: u32) {
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).expect("written");
        fs::set_permissions(&fresh, Permissions::from_mode(mode)).expect("changed");
        fs::rename(&fresh, path).expect("renamed");
    }

    #[test]
    fn a_changed_file_counts_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        write(&path, FIRST, 0o600);
        let file = TokenFile::open(&path).expect("tokens");
        let counts = |token: &[u8]| {
            file.refresh();
            file.tokens().find(token).is_some()
        };
        assert!(counts(b"0123456789abcdef") && !counts(b"fedcba9876543210"));
        write(&path, SECOND, 0o400);
        assert!(!counts(b"0123456789abcdef") && counts(b"fedcba9876543210"));
        for (broken, mode) in [("", 0o600), ("nonsense", 0o600), (FIRST, 0o640), (FIRST, 0o604)] {
            write(&path, broken, mode);
            assert!(!counts(b"0123456789abcdef") && counts(b"fedcba9876543210"), "{broken} {mode:o}");
        }
        fs::remove_file(&path).expect("removed");
        assert!(counts(b"fedcba9876543210"));
        write(&path, FIRST, 0o600);
        assert!(counts(b"0123456789abcdef") && !counts(b"fedcba9876543210"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
            write(&path, FIRST, mode);
            let error = TokenFile::open(&path).expect_err("open to others").to_string();
            assert!(error.contains("is open to other users") && error.contains("chmod 600"), "{error}");
        }
        write(&path, "", 0o600);
        assert!(matches!(TokenFile::open(&path), Err(TokenFileError::Text { source: TokensError::Empty, .. })));
        assert!(matches!(TokenFile::open(&folder.path().join("none")), Err(TokenFileError::Read { .. })));
        assert!(matches!(TokenFile::open(folder.path()), Err(TokenFileError::Open { .. })));
    }

    #[test]
    fn it_is_looked_at_once_a_second_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        write(&path, FIRST, 0o600);
        let file = TokenFile::open(&path).expect("tokens");
        file.state().looked = Instant::now().checked_sub(LOOK).expect("the machine runs for a second");
        assert!(file.is_due() && !file.is_due());
    }
}
