//! `ErrorResponse` and `NoticeResponse`: what of them may be shown.
//!
//! The detail, context and internal query can quote rows and are never kept. The primary message
//! is kept, except in the SQLSTATE classes where it quotes data itself (`invalid input syntax for
//! type integer: "…"`).

use std::fmt;

use super::{Error, Reader, Tag};

/// A five-character error code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

/// An error of the server, without anything that could be a row value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub code: SqlState,
    message: Option<String>,
    /// The server's own advice.
    pub hint: Option<String>,
}

impl SqlState {
    /// `None` if it is not five ASCII letters and digits.
    #[must_use]
    pub fn new(code: &str) -> Option<SqlState> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(SqlState(bytes))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// Whether the code belongs to `class`, its first two characters.
    #[must_use]
    pub fn in_class(&self, class: &str) -> bool {
        self.as_str().starts_with(class)
    }

    /// "internal error", for messages without a readable code.
    const INTERNAL: SqlState = SqlState(*b"XX000");
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerError {
    #[must_use]
    pub fn new(code: SqlState, message: &str, hint: Option<&str>) -> ServerError {
        let quotes_data = DATA_CLASSES.iter().any(|class| code.in_class(class));
        ServerError {
            code,
            message: (!quotes_data).then(|| bounded(message)),
            hint: hint.filter(|_| !quotes_data).map(bounded),
        }
    }

    /// Reads the body of an `ErrorResponse` or `NoticeResponse`.
    ///
    /// Before the login the server writes in an encoding of its own, so text is taken lossily.
    pub fn parse(tag: Tag, body: &[u8]) -> Result<ServerError, Error> {
        let mut reader = Reader::new(tag, body);
        let (mut code, mut message, mut hint) = (None, None, None);
        loop {
            let field = reader.u8()?;
            if field == 0 {
                break;
            }
            let text = String::from_utf8_lossy(reader.c_string()?);
            match field {
                b'C' => code = SqlState::new(&text),
                b'M' => message = Some(text),
                b'H' => hint = Some(text),
                _ => {}
            }
        }
        let code = code.unwrap_or(SqlState::INTERNAL);
        Ok(ServerError::new(code, message.as_deref().unwrap_or("no message"), hint.as_deref()))
    }

    /// The primary message; `None` where it may quote data.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message().unwrap_or("the message may quote data, see the server's log");
        write!(f, "{message} (SQLSTATE {})", self.code)
    }
}

impl std::error::Error for ServerError {}

/// At most [`TEXT_LIMIT`] bytes, control characters replaced: it goes to logs and terminals.
fn bounded(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        if kept.len() + character.len_utf8() > TEXT_LIMIT {
            kept.push('…');
            break;
        }
        kept.push(if character.is_control() { ' ' } else { character });
    }
    kept
}

/// Data exceptions, integrity violations, check-option violations.
const DATA_CLASSES: [&str; 3] = ["22", "23", "44"];

/// Longer than any message of the server that an operator reads.
const TEXT_LIMIT: usize = 1024;
