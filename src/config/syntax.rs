//! Syntax errors of the TOML itself, and which of its lines may be shown.
//!
//! Where the syntax is broken there are no values with positions, so nothing says what is secret:
//! after an unclosed quote the second line of a password looks like a key. A line is therefore
//! shown in full only if it is a header, or sets a key that exists and is not secret and holds
//! nothing that looks like a secret further on; of any other line only the form is shown.

use std::ops::Range;

use super::keys::SECTIONS;
use super::problem::{Draft, Fault, Problem, Source, floor_boundary};

/// The parser's errors as problems.
pub(super) fn problems(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut masked = Vec::new();
    let mut drafts = Vec::new();
    for error in errors.iter().take(MAX_ERRORS) {
        let span = error.span().unwrap_or(text.len()..text.len());
        let start = floor_boundary(text, span.start);
        let line_start =
            text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        masked.extend(hidden(line).map(|part| line_start + part.start..line_start + part.end));
        let message = error.message().lines().next().unwrap_or_default();
        let fault = Fault::new(format!("invalid TOML: {message}"));
        drafts.push(Draft { span: Some(span), key: String::new(), fault });
    }
    Source::new(text, masked).problems(drafts)
}

/// The part of a line that must not be shown.
fn hidden(line: &str) -> Option<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let suspicious = SUSPICIOUS.iter().any(|word| lower.contains(word));
    let trimmed = line.trim_start();
    let Some((key, _)) = line.split_once('=') else {
        let first = trimmed.split_whitespace().next().unwrap_or_default();
        let is_harmless = trimmed.starts_with('[') || is_known(first);
        return (suspicious || !is_harmless).then_some(0..line.len());
    };
    // The last part of a dotted key.
    let name = key.rsplit('.').next().unwrap_or_default().trim();
    if is_known(name) && !suspicious {
        return None;
    }
    let is_key = key.chars().all(|c| c.is_ascii_alphanumeric() || " ._-\"'".contains(c));
    let begin = if is_key && !key.trim().is_empty() { key.len() + 1 } else { 0 };
    Some(begin..line.len())
}

fn is_known(name: &str) -> bool {
    SECTIONS.iter().any(|section| section.key(name).is_some_and(|key| !key.secret))
}

/// Words of a line that may hold a secret wherever it stands.
const SUSPICIOUS: &[&str] = &["password", "token", "secret", "://", "sasl", "ssl", "jaas"];

/// One broken quote can break every line behind it.
const MAX_ERRORS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match hidden(line) {
            Some(part) => line[..part.start].to_owned(),
            None => line.to_owned(),
        }
    }

    #[test]
    fn harmless_lines_are_shown() {
        for line in ["[kafka", "name = shop", "kafka.delivery = x", "listen 1"] {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn lines_that_may_hold_a_secret_are_not() {
        assert_eq!(shown("password = \"hunter2"), "password =");
        assert_eq!(shown("pasword = hunter2"), "pasword =");
        assert_eq!(shown("\"sasl.password\" = hunter2"), "\"sasl.password\" =");
        assert_eq!(shown("url = postgres://u:hunter2@h"), "url =");
        assert_eq!(shown("hunter2"), "");
        assert_eq!(shown("hunter2!; x = 3"), "");
        assert_eq!(shown("name = \"shop\" password = \"hunter2\""), "name =");
    }
}
