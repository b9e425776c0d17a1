//! Tokens: a line each, `NAME SCOPE TOKEN`; blank lines and those that begin with `#` do not count. Of a token only its hash
//! is kept, and no message ever shows one.

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use subtle::ConstantTimeEq;

/// Letters that a token must have: what can be guessed is no secret.
const LEAST: usize = 16;
/// Tokens in a file.
const MOST: usize = 1024;

/// What the bearer of a token may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `all`: everything.
    All,
    /// `uid=NUMBER`: what this user has by the Unix socket.
    User(u32),
    /// `metrics`: `/metrics` and nothing else.
    Metrics,
}

/// A token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name, for the log.
    pub name: String,
    /// What it is good for.
    pub scope: Scope,
    digest: [u8; 32],
}

/// Why a text holds no tokens. Says where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Nothing.
    #[error("there is no token in it: write one a line, as `NAME SCOPE TOKEN`")]
    Empty,
    /// Too much.
    #[error("there are more than {MOST} tokens in it")]
    TooMany,
    /// Not three words.
    #[error("line {0} is not `NAME SCOPE TOKEN`")]
    Line(usize),
    /// No such scope.
    #[error("line {0}: the scope must be all, metrics or uid=NUMBER")]
    Scope(usize),
    /// Too easy to guess.
    #[error("line {0}: a token must have at least {LEAST} letters; `openssl rand -hex 32` makes one")]
    Short(usize),
    /// Cannot be sent.
    #[error("line {0}: a token must be of ASCII letters, digits and punctuation")]
    Letters(usize),
    /// One name for two.
    #[error("line {0}: this name, or this token, is there already")]
    Twice(usize),
}

/// Some tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Tokens, TokensError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let tokens: Vec<Token> = lines.clone().map(|(number, line)| token(number, line)).collect::<Result<_, _>>()?;
        let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
        for (token, (number, _)) in tokens.iter().zip(lines) {
            if !names.insert(&token.name) || !digests.insert(token.digest) {
                return Err(TokensError::Twice(number));
            }
        }
        match tokens.len() {
            0 => Err(TokensError::Empty),
            1..=MOST => Ok(Tokens(tokens)),
            _ => Err(TokensError::TooMany),
        }
    }

    /// The token that was sent, if it is one. Takes as long for all that are not.
    pub fn find(&self, sent: &[u8]) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(sent).into();
        let mut found = None;
        for token in &self.0 {
            if token.digest.ct_eq(&digest).into() {
                found = Some(token);
            }
        }
        found
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn token(number: usize, line: &str) -> Result<Token, TokensError> {
    let [name, scope, token] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(TokensError::Line(number));
    };
    if token.len() < LEAST {
        return Err(TokensError::Short(number));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokensError::Letters(number));
    }
    let scope = self::scope(scope).ok_or(TokensError::Scope(number))?;
    Ok(Token { name: name.to_owned(), scope, digest: Sha256::digest(token).into() })
}

fn scope(word: &str) -> Option<Scope> {
    match word {
        "all" => Some(Scope::All),
        "metrics" => Some(Scope::Metrics),
        word => word.strip_prefix("uid=")?.parse().ok().map(Scope::User),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# who\n\nops all 0123456789abcdef\n  grafana\tmetrics  fedcba9876543210 \nweb uid=33 0000111122223333\n";

    #[test]
    fn a_line_is_a_token() {
        let tokens = Tokens::parse(TEXT).expect("tokens");
        let find = |sent: &str| tokens.find(sent.as_bytes()).map(|token| (token.name.as_str(), token.scope));
        assert_eq!(find("0123456789abcdef"), Some(("ops", Scope::All)));
        assert_eq!(find("fedcba9876543210"), Some(("grafana", Scope::Metrics)));
        assert_eq!(find("0000111122223333"), Some(("web", Scope::User(33))));
        for wrong in ["", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF", "ops"] {
            assert_eq!(find(wrong), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_token() {
        let check = |text: &str, wanted: TokensError| {
            let error = Tokens::parse(text).expect_err(text);
            assert!(!error.to_string().contains("SECRETSECRETSECRET"), "{error}");
            assert_eq!(error, wanted, "{text}");
        };
        check("", TokensError::Empty);
        check("# a all SECRETSECRETSECRET\n", TokensError::Empty);
        check("\nSECRETSECRETSECRET", TokensError::Line(2));
        check("a all SECRETSECRETSECRET b", TokensError::Line(1));
        check("a some SECRETSECRETSECRET", TokensError::Scope(1));
        check("a uid=-1 SECRETSECRETSECRET", TokensError::Scope(1));
        check("a all short", TokensError::Short(1));
        check("a all SECRETSECRETSECRET\u{e9}", TokensError::Letters(1));
        check("a all SECRETSECRETSECRET\na all SECRETSECRETSECRET2", TokensError::Twice(2));
        check("a all SECRETSECRETSECRET\n\nb all SECRETSECRETSECRET", TokensError::Twice(3));
        let many: Vec<String> = (0..=MOST).map(|i| format!("n{i} all SECRETSECRETSECRET{i}")).collect();
        check(&many.join("\n"), TokensError::TooMany);
    }
}
