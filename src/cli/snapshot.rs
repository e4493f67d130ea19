//! `walferry snapshot`: asks the running instance to read tables.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::args::{GlobalArgs, SnapshotArgs, SnapshotEngine};
use super::output::Output;
use super::{Exit, load_settings};
use crate::admin::protocol::{Engine, Request, Response, Status};
use crate::admin::socket_path;
use crate::failure::Failure;
use crate::snapshot::{TableProgress, TableStage};

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);

/// Between two lines where there is no terminal to draw on.
const LINE: Duration = Duration::from_secs(10);

/// Runs one request, and follows what it began.
pub(super) fn run(global: &GlobalArgs, args: &SnapshotArgs) -> Result<Exit, Failure> {
    let settings = load_settings(global)?;
    let path = socket_path(&settings).ok_or_else(|| {
        Failure::stop("config", "the instance has no admin socket")
            .remedy("take socket = \"off\" out of [admin], and start the instance again")
    })?;
    let mut instance = Instance::connect(&path)?;
    let output = Output::stdout();
    let request = request(args)?;
    let waits = matches!(request, Request::Snapshot { .. }) && !args.no_wait;
    match instance.ask(&request)? {
        Response::Accepted { tables } if waits => follow(&mut instance, &tables, output),
        Response::Accepted { tables } if tables.is_empty() => {
            output.line("Done.");
            Ok(Exit::Done)
        }
        Response::Accepted { tables } => {
            output.fact("accepted", &tables.join(", "));
            Ok(Exit::Done)
        }
        Response::Status(status) => {
            show(&status, output);
            Ok(Exit::Done)
        }
        Response::Refused { message, remedy } => Err(refused(message, remedy)),
    }
}

fn request(args: &SnapshotArgs) -> Result<Request, Failure> {
    Ok(if args.status {
        Request::Status
    } else if args.pause {
        Request::Pause
    } else if args.resume {
        Request::Resume
    } else if args.stop {
        Request::Stop { tables: args.tables.clone() }
    } else if args.tables.is_empty() {
        return Err(Failure::stop("usage", "no table is named")
            .remedy("`walferry snapshot public.orders`, or `walferry snapshot --status`"));
    } else {
        Request::Snapshot {
            tables: args.tables.clone(),
            condition: args.condition.clone(),
            engine: match args.engine {
                SnapshotEngine::Windows => Engine::Windows,
                SnapshotEngine::Frozen => Engine::Frozen,
            },
        }
    })
}

fn refused(message: String, remedy: Option<String>) -> Failure {
    let failure = Failure::stop("snapshot", message);
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}

/// The instance at the other end of the socket.
struct Instance {
    reader: BufReader<UnixStream>,
}

impl Instance {
    fn connect(path: &std::path::Path) -> Result<Instance, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| {
            Failure::retry("snapshot", format!("nobody listens at {}: {error}", path.display()))
                .remedy(
                    "`walferry run` has to be running on this machine, as this user (or ask as \
                     root), with this configuration; in a container ask inside of it",
                )
        })?;
        Ok(Instance { reader: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        let lost = |error: std::io::Error| {
            Failure::retry("snapshot", format!("the instance has gone: {error}"))
        };
        let mut line = serde_json::to_vec(request).unwrap_or_default();
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(lost)?;
        let mut answer = String::new();
        self.reader.read_line(&mut answer).map_err(lost)?;
        serde_json::from_str(&answer)
            .map_err(|_| Failure::retry("snapshot", "the instance has gone, or is another version"))
    }
}

/// Shows the progress until the tables are delivered.
fn follow(instance: &mut Instance, tables: &[String], output: Output) -> Result<Exit, Failure> {
    let is_terminal = std::io::stdout().is_terminal();
    let (mut lines, mut printed) = (0, None::<Instant>);
    loop {
        let status = match instance.ask(&Request::Status)? {
            Response::Status(status) => status,
            Response::Refused { message, remedy } => return Err(refused(message, remedy)),
            Response::Accepted { .. } => Status::default(),
        };
        let left: Vec<&TableProgress> =
            status.tables.iter().filter(|table| tables.contains(&table.table)).collect();
        if is_terminal && lines > 0 {
            // Back up, and everything below is cleared.
            output.line(&format!("\x1b[{}A\x1b[J\x1b[1A", lines + 1));
        }
        if is_terminal || printed.is_none_or(|printed| printed.elapsed() >= LINE) {
            left.iter().for_each(|table| output.line(&describe(table, status.paused)));
            (lines, printed) = (left.len(), Some(Instant::now()));
        }
        if left.is_empty() {
            output.fact("delivered", &tables.join(", "));
            return Ok(Exit::Done);
        }
        std::thread::sleep(LOOK);
    }
}

fn show(status: &Status, output: Output) {
    if status.tables.is_empty() {
        output.line("Nothing is being read.");
    }
    for table in &status.tables {
        output.line(&describe(table, status.paused));
    }
}

const BAR: u64 = 30;

fn describe(table: &TableProgress, paused: bool) -> String {
    let TableProgress { table: name, state, rows, rows_estimated, .. } = table;
    let stage = match state {
        _ if paused => "paused",
        TableStage::Waiting => "waiting",
        TableStage::Reading => "reading",
        TableStage::Delivering => "delivering",
        TableStage::Done => "done",
        TableStage::Again => "again",
    };
    let Some(total) = rows_estimated.filter(|total| *total > 0) else {
        return format!("{name}: {stage}, {rows} rows");
    };
    let share = rows.saturating_mul(100) / total.max(*rows).max(1);
    let full = (share * BAR / 100) as usize;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR as usize - full));
    format!("{name}: [{bar}] {share:>3} % {stage}, {rows} of about {total} rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: u64, rows_estimated: Option<u64>) -> TableProgress {
        let state = TableStage::Reading;
        TableProgress { table: "public.t".to_owned(), state, rows, rows_estimated, table_bytes: 0 }
    }

    #[test]
    fn bars_show_shares_and_never_more_than_all() {
        assert_eq!(
            describe(&table(50, Some(100)), false),
            "public.t: [###############...............]  50 % reading, 50 of about 100 rows"
        );
        assert!(describe(&table(200, Some(100)), false).contains("100 %"));
        assert_eq!(describe(&table(7, None), true), "public.t: paused, 7 rows");
    }
}
