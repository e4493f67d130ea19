//! What commands print: failures, findings, tables.
//!
//! Colours and nothing else depend on the terminal. Text that came from elsewhere (names of
//! tables, errors of servers) is printed with its control characters escaped, so that a name
//! cannot drive the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use crate::failure::Failure;
use crate::telemetry::logging::use_colour;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    Note,
    Warning,
    Error,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    fn paint(self) -> Paint {
        match self {
            Severity::Ok => Paint::Green,
            Severity::Note => Paint::Cyan,
            Severity::Warning => Paint::Yellow,
            Severity::Error => Paint::Red,
        }
    }
}

/// A colour, used only where there is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Red => "1;31",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Cyan => "36",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// A stream of the process, and whether it takes colours.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    stream: Stream,
    colour: bool,
}

impl Output {
    /// For results.
    #[must_use]
    pub fn stdout() -> Output {
        Output::new(Stream::Stdout, std::io::stdout().is_terminal())
    }

    /// For failures and progress.
    #[must_use]
    pub fn stderr() -> Output {
        Output::new(Stream::Stderr, std::io::stderr().is_terminal())
    }

    fn new(stream: Stream, terminal: bool) -> Output {
        let colour = use_colour(terminal, std::env::var_os("NO_COLOR").as_deref());
        Output { stream, colour }
    }

    /// Prints text that is ready, with a line break. Whether anybody still reads is not ours to
    /// complain about.
    pub fn line(&self, text: &str) {
        let _ = match self.stream {
            Stream::Stdout => writeln!(std::io::stdout().lock(), "{text}"),
            Stream::Stderr => writeln!(std::io::stderr().lock(), "{text}"),
        };
    }

    /// `error: …`, its causes, and `remedy: …`.
    pub fn failure(&self, failure: &Failure) {
        self.line(&self.render_failure(failure));
    }

    /// One finding of a check: a mark, the message, the remedy indented below it.
    pub fn finding(&self, severity: Severity, message: &str, remedy: Option<&str>) {
        self.line(&self.render_finding(severity, message, remedy));
    }

    /// What is the case: a label and what it stands for.
    pub fn fact(&self, label: &str, text: &str) {
        let label = self.paint(Paint::Bold, &format!("{label:<9}")).into_owned();
        self.line(&format!("{label} {}", indented(text, 10)));
    }

    /// Columns as wide as their widest cell, with a heading.
    pub fn table(&self, heading: &[&str], rows: &[Vec<String>]) {
        self.line(&self.render_table(heading, rows));
    }

    /// `text` in a colour, if the stream takes colours.
    #[must_use]
    pub fn paint<'a>(&self, paint: Paint, text: &'a str) -> Cow<'a, str> {
        if self.colour {
            Cow::Owned(format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code()))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn render_failure(&self, failure: &Failure) -> String {
        let label = self.paint(Paint::Red, "error:");
        let mut text = format!("{label} {}", indented(&failure.message, 7));
        let mut cause = std::error::Error::source(failure);
        let mut said = failure.message.clone();
        // A chain is short; the bound is against one that goes in circles.
        for _ in 0..16 {
            let Some(error) = cause else { break };
            let message = error.to_string();
            // Many errors repeat their source in their own text.
            if !said.contains(&message) {
                let label = self.paint(Paint::Dim, "cause:");
                let _ = write!(text, "\n{label} {}", indented(&message, 7));
            }
            said = message;
            cause = error.source();
        }
        if let Some(remedy) = &failure.remedy {
            let label = self.paint(Paint::Green, "remedy:");
            let _ = write!(text, "\n{label} {}", indented(remedy, 8));
        }
        text
    }

    fn render_finding(&self, severity: Severity, message: &str, remedy: Option<&str>) -> String {
        let label = format!("{:>7}", severity.as_str());
        let mut text =
            format!("{}  {}", self.paint(severity.paint(), &label), indented(message, 9));
        if let Some(remedy) = remedy {
            let label = self.paint(Paint::Green, " remedy");
            let _ = write!(text, "\n{label}  {}", indented(remedy, 9));
        }
        text
    }

    fn render_table(&self, heading: &[&str], rows: &[Vec<String>]) -> String {
        let rows: Vec<Vec<Cow<'_, str>>> =
            rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        let width = |column: usize, title: &str| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(title.chars().count())
        };
        let widths: Vec<usize> = heading.iter().enumerate().map(|(i, t)| width(i, t)).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> =
                cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            String::from(padded.join("  ").trim_end())
        };
        let title = line(&mut heading.iter().copied());
        let mut lines = vec![self.paint(Paint::Bold, &title).into_owned()];
        lines.extend(rows.iter().map(|row| line(&mut row.iter().map(|cell| &**cell))));
        lines.join("\n")
    }
}

/// `text` with control characters escaped as in Rust; most text comes back as it is.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let escape = |c: char| {
            if c.is_control() { c.escape_default().to_string() } else { String::from(c) }
        };
        Cow::Owned(text.chars().map(escape).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Lines after the first begin at `column`; other control characters are escaped.
fn indented(text: &str, column: usize) -> String {
    let lines: Vec<Cow<'_, str>> = text.lines().map(printable).collect();
    lines.join(&format!("\n{:column$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output { stream: Stream::Stdout, colour: false };
    const COLOUR: Output = Output { stream: Stream::Stdout, colour: true };

    #[derive(Debug, thiserror::Error)]
    #[error("connecting to kafka:9092")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_shows_causes_and_remedy() {
        let refused = std::io::Error::other("connection refused");
        let failure = Failure::stop("kafka", "no broker answers")
            .remedy("look at [kafka] bootstrap_servers\nand at the brokers")
            .source(Outer(refused));
        assert_eq!(
            PLAIN.render_failure(&failure),
            "error: no broker answers\n\
             cause: connecting to kafka:9092\n\
             cause: connection refused\n\
             remedy: look at [kafka] bootstrap_servers\n        and at the brokers"
        );
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let error = std::io::Error::other("address in use");
        let failure = Failure::retry("http", "cannot listen: address in use").source(error);
        assert_eq!(PLAIN.render_failure(&failure), "error: cannot listen: address in use");
    }

    #[test]
    fn findings_line_up() {
        let remedy = "ALTER TABLE public.orders\n  REPLICA IDENTITY FULL;";
        assert_eq!(
            PLAIN.render_finding(Severity::Error, "no replica identity", Some(remedy)),
            "  error  no replica identity\n remedy  ALTER TABLE public.orders\n           REPLICA IDENTITY FULL;"
        );
        assert_eq!(PLAIN.render_finding(Severity::Ok, "slot", None), "     ok  slot");
    }

    #[test]
    fn tables_line_up() {
        let rows = vec![
            vec!["public.orders".into(), "1".into()],
            vec!["öffentlich.é".into(), "22".into()],
        ];
        assert_eq!(
            PLAIN.render_table(&["table", "rows"], &rows),
            "table          rows\npublic.orders  1\nöffentlich.é   22"
        );
    }

    #[test]
    fn colours_only_where_wanted() {
        assert!(COLOUR.render_finding(Severity::Ok, "x", None).contains("\u{1b}[32m"));
        assert!(!PLAIN.render_finding(Severity::Ok, "x", None).contains('\u{1b}'));
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let evil = "public.\u{1b}[2Jx\r";
        assert_eq!(printable(evil), "public.\\u{1b}[2Jx\\r");
        let failure = Failure::stop("slot", evil).remedy(evil);
        assert!(!PLAIN.render_failure(&failure).contains('\u{1b}'));
        let table = PLAIN.render_table(&["t"], &[vec![String::from(evil)]]);
        assert!(!table.contains('\u{1b}'));
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }
}
