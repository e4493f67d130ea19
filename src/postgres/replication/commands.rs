//! The text of the replication commands and of their answers. Pure.
//!
//! The replication grammar is not SQL: a string ends at a single quote unless it is doubled,
//! backslashes are plain, and there is no `E'…'`. postgres-protocol's escapes are for SQL, hence
//! the two functions here.

use std::fmt::Write;

use crate::postgres::{Lsn, SystemId, Timeline};

/// The answer to `IDENTIFY_SYSTEM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    pub system_id: SystemId,
    pub timeline: Timeline,
    /// How far the server's WAL is flushed (a standby: received or replayed).
    pub flushed: Lsn,
    pub database: Option<String>,
}

/// One line of a timeline's history: `timeline` ended at `switch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineSwitch {
    pub timeline: Timeline,
    pub switch: Lsn,
}

/// The answer to `CREATE_REPLICATION_SLOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedSnapshot {
    /// Changes committed from here on are in the slot.
    pub at: Lsn,
    /// Sees exactly what committed before, for whoever imports it before the next command of the
    /// session that has made the slot.
    pub snapshot: String,
}

/// What to stream with pgoutput.
#[derive(Debug, Clone, Copy)]
pub struct StartReplication<'a> {
    pub slot: &'a str,
    /// The server starts at the slot's confirmed position if that is further.
    pub start: Lsn,
    /// pgoutput's protocol version.
    pub proto_version: u32,
    pub publications: &'a [&'a str],
    /// Whether logical messages are wanted.
    pub messages: bool,
    /// The largest message taken from the server while streaming.
    pub max_message_bytes: usize,
}

/// A name with a NUL, which no message can carry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unquotable(pub(super) String);

pub(super) fn create_slot(name: &str, temporary: bool) -> Result<String, Unquotable> {
    // The older form of the options, understood by 14 to 18.
    let temporary = if temporary { " TEMPORARY" } else { "" };
    let name = identifier(name)?;
    Ok(format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput EXPORT_SNAPSHOT"))
}

pub(super) fn start_replication(request: &StartReplication<'_>) -> Result<String, Unquotable> {
    let names: Vec<_> =
        request.publications.iter().map(|name| identifier(name)).collect::<Result<_, _>>()?;
    let mut command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '{}', publication_names {}",
        identifier(request.slot)?,
        request.start,
        request.proto_version,
        literal(&names.join(","))?,
    );
    if request.messages {
        command.push_str(", messages 'true'");
    }
    command.push(')');
    Ok(command)
}

pub(super) fn timeline_history(timeline: Timeline) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// Reads the row of `IDENTIFY_SYSTEM`.
pub(super) fn system_identity(row: &[Option<String>]) -> Option<SystemIdentity> {
    let column = |index: usize| row.get(index)?.as_deref();
    Some(SystemIdentity {
        system_id: SystemId(column(0)?.parse().ok()?),
        timeline: Timeline(column(1)?.parse().ok()?),
        flushed: column(2)?.parse().ok()?,
        database: column(3).map(str::to_owned),
    })
}

/// Reads a history file: `timeline <tab> switch point <tab> reason` a line, `#` for comments, in
/// ascending order.
pub(super) fn parse_history(content: &str) -> Option<Vec<TimelineSwitch>> {
    let mut history: Vec<TimelineSwitch> = Vec::new();
    for line in content.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut fields = line.split_ascii_whitespace();
        let timeline = Timeline(fields.next()?.parse().ok()?);
        let switch = fields.next()?.parse().ok()?;
        if history.last().is_some_and(|last| last.timeline >= timeline) {
            return None;
        }
        history.push(TimelineSwitch { timeline, switch });
    }
    Some(history)
}

/// The process id at the end of "replication slot … is active for PID 123", in any language.
pub(super) fn trailing_pid(message: &str) -> Option<u32> {
    let digits = message.trim_end_matches(|c: char| !c.is_ascii_digit());
    let start = digits.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    let pid = digits.get(start..)?.parse().ok()?;
    // A name that ends in digits is no process id: that one is a word of its own.
    digits.get(..start)?.ends_with(char::is_whitespace).then_some(pid)
}

fn identifier(name: &str) -> Result<String, Unquotable> {
    quoted(name, '"')
}

fn literal(text: &str) -> Result<String, Unquotable> {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> Result<String, Unquotable> {
    if text.contains('\0') {
        return Err(Unquotable(text.to_owned()));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        if character == quote {
            out.push(quote);
        }
        // Writing to a string cannot fail.
        let _ = out.write_char(character);
    }
    out.push(quote);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_each_level() {
        let request = StartReplication {
            slot: "wal\"ferry",
            start: Lsn(0x1_0000_0002),
            proto_version: 1,
            publications: &["a", "b\"c", "d'e\\f,g"],
            messages: true,
            max_message_bytes: 1,
        };
        assert_eq!(
            start_replication(&request).unwrap(),
            "START_REPLICATION SLOT \"wal\"\"ferry\" LOGICAL 1/2 (proto_version '1', \
             publication_names '\"a\",\"b\"\"c\",\"d''e\\f,g\"', messages 'true')"
        );
        assert_eq!(create_slot("a\0b", false), Err(Unquotable("a\0b".to_owned())));
        assert_eq!(
            create_slot("s", true).unwrap(),
            "CREATE_REPLICATION_SLOT \"s\" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"
        );
    }

    #[test]
    fn history_files_are_read() {
        let file = "# made by hand\n1\t0/3000148\tno recovery target specified\n\n\
                    2\t0/50000A0\tbefore 2000-01-01 00:00:00+00\n";
        let switch =
            |timeline, lsn| TimelineSwitch { timeline: Timeline(timeline), switch: Lsn(lsn) };
        assert_eq!(parse_history(file), Some(vec![switch(1, 0x300_0148), switch(2, 0x500_00A0)]));
        assert_eq!(parse_history(""), Some(vec![]));
        for wrong in ["x\t0/1\n", "1\n", "1\t0-1\n", "2\t0/1\n1\t0/2\n"] {
            assert_eq!(parse_history(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_pid_is_found_in_any_language() {
        assert_eq!(trailing_pid("replication slot \"s1\" is active for PID 4711"), Some(4711));
        assert_eq!(trailing_pid("Replikations-Slot »s« ist aktiv für PID 12."), Some(12));
        assert_eq!(trailing_pid("replication slot \"s1\" is in use"), None);
        assert_eq!(trailing_pid(""), None);
    }
}
