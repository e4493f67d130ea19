//! One pass: the pump's side. Readers hand over encoded rows; here they are produced, in the order
//! in which they came, and the tables whose rows are all at the brokers are recorded.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Tools;
use super::opening::Opened;
use super::reader::{self, End, Piece, Rows};
use crate::failure::Failure;
use crate::postgres::Oid;
use crate::postgres::PgTime;
use crate::postgres::snapshot::{Holder, Target};
use crate::postgres::whitelist::{Whitelist, dotted};
use crate::pump::sink::{Produced, unix_micros};
use crate::pump::stream::{Core, send_failure};
use crate::pump::task::Task;
use crate::snapshot::{self, Record, TableProgress, TableStage, TableState};
use crate::telemetry::{RecordKind, TableIndex, Telemetry};

/// A pass under way. Dropping it ends its readers and their sessions.
pub(super) struct Pass {
    /// Keeps the snapshot alive for its readers.
    _holder: Holder,
    readers: Vec<Option<Task<()>>>,
    pieces: mpsc::Receiver<Piece>,
    /// Taken from `pieces` and not wholly produced.
    rows: Option<Rows>,
    tables: Vec<Table>,
    /// Read to their ends, and not recorded: indices of `tables`.
    unsettled: Vec<u32>,
    pass: u32,
    taken: PgTime,
    begun: Instant,
    shown: Instant,
    logged: Instant,
}

/// A table of the pass.
struct Table {
    oid: Oid,
    name: String,
    counted: TableIndex,
    kind: RecordKind,
    rows: u64,
    rows_estimated: Option<u64>,
    bytes: u64,
    /// An earlier pass may have delivered rows of it.
    is_repeated: bool,
    /// Rows that were not counted as repeated yet.
    uncounted: u64,
    end: Option<End>,
}

/// How far a turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The producer's queue is full.
    Full,
    /// There may be more at once.
    Busy,
    /// Readers or acknowledgements are waited for.
    Waiting,
    /// Every table has come to its end and is settled.
    Over,
}

/// Between two updates of the status.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// Between two lines in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A snapshot that is older holds back vacuum noticeably.
const OLD: Duration = Duration::from_secs(3600);

/// Pieces produced in a turn before reports and status are looked at again.
const TURN_PIECES: usize = 4;

/// Pieces on their way from the readers to the pump.
const CHANNEL: usize = 4;

impl Pass {
    pub(super) fn begin(
        tools: &std::sync::Arc<Tools>,
        opened: Opened,
        whitelist: &std::sync::Arc<Whitelist>,
        record: &Record,
        core: &mut Core<'_>,
        now: Instant,
    ) -> Pass {
        let (holder, targets) = opened.into_parts();
        let taken = holder.taken();
        let tables: Vec<Table> = targets
            .iter()
            .map(|target| {
                let name = dotted(&target.relation.schema, &target.relation.name);
                let counted = core.metrics.table(&name);
                let kind = if target.outbox { RecordKind::Outbox } else { RecordKind::Read };
                Table {
                    oid: target.oid,
                    name,
                    counted,
                    kind,
                    rows: 0,
                    rows_estimated: target.sources.iter().map(|source| source.rows).sum(),
                    bytes: target.sources.iter().map(|source| source.bytes).sum(),
                    is_repeated: record.passes > 1,
                    uncounted: 0,
                    end: None,
                }
            })
            .collect();
        // A partitioned table without partitions has nothing to read.
        let is_empty = |(_, target): &(u32, &Target)| target.sources.is_empty();
        let unsettled = (0..).zip(&targets).filter(is_empty).map(|(index, _)| index).collect();
        let (sender, pieces) = mpsc::channel(CHANNEL);
        let readers = reader::start(tools, &holder, targets, whitelist, record, sender);
        Pass {
            _holder: holder,
            readers: readers.into_iter().map(Some).collect(),
            pieces,
            rows: None,
            tables,
            unsettled,
            pass: record.passes,
            taken,
            begun: now,
            shown: now,
            logged: now,
        }
    }

    /// Produces what the readers have handed over.
    ///
    /// # Errors
    /// A reader has failed, or the producer refuses a record.
    pub(super) fn turn(&mut self, core: &mut Core<'_>, _now: Instant) -> Result<Progress, Failure> {
        for _ in 0..TURN_PIECES {
            if self.produce(core)? == Produced::Full {
                return Ok(Progress::Full);
            }
            match self.pieces.try_recv() {
                Ok(Piece::Rows(rows)) => self.rows = Some(rows),
                Ok(Piece::End { table, end }) => self.end(table, end),
                Err(_) => {
                    self.readers_are_well()?;
                    let is_over = self.readers.iter().all(Option::is_none)
                        && self.pieces.is_empty()
                        && self.unsettled.is_empty();
                    return Ok(if is_over { Progress::Over } else { Progress::Waiting });
                }
            }
        }
        Ok(Progress::Busy)
    }

    fn produce(&mut self, core: &mut Core<'_>) -> Result<Produced, Failure> {
        let Some(rows) = &mut self.rows else { return Ok(Produced::All) };
        let Some(table) = self.tables.get_mut(rows.table as usize) else {
            return Err(Failure::stop("internal", "rows of a table that is not in the pass"));
        };
        let Core { sink, metrics, .. } = core;
        let produced = sink.produce_rows(&mut rows.batch, rows.table, |bytes| {
            table.rows += 1;
            table.uncounted += 1;
            metrics.record(table.counted, table.kind, bytes as u64);
        });
        match produced {
            Ok(Produced::All) => self.rows = None,
            Ok(Produced::Full) => return Ok(Produced::Full),
            Err(error) => return Err(send_failure(&error, &rows.batch)),
        }
        Ok(Produced::All)
    }

    fn end(&mut self, index: u32, end: End) {
        let Some(table) = self.tables.get_mut(index as usize) else { return };
        match end {
            End::Read => tracing::debug!(table = table.name, rows = table.rows, "table was read"),
            End::Rewritten => tracing::warn!(
                table = table.name,
                "the table was rewritten or changed while it was read: it is read again"
            ),
            End::Gone => tracing::warn!(
                table = table.name,
                rows = table.rows,
                "the table was dropped while it was read: the rows delivered so far stay"
            ),
        }
        table.end = Some(end);
        if end != End::Rewritten {
            self.unsettled.push(index);
        }
    }

    /// Records the tables whose rows are all acknowledged; whether there were any.
    pub(super) fn settle(&mut self, record: &mut Record, core: &Core<'_>) -> bool {
        let before = self.unsettled.len();
        let tables = &self.tables;
        self.unsettled.retain(|&index| {
            let is_durable = core.sink.is_durable(index);
            if is_durable && let Some(table) = tables.get(index as usize) {
                record.set(table.oid, table.name.clone(), TableState::Done);
            }
            !is_durable
        });
        self.unsettled.len() < before
    }

    /// How far it is, for people.
    pub(super) fn describe(&self) -> String {
        let done = self.tables.iter().filter(|table| table.end.is_some()).count();
        let rows: u64 = self.tables.iter().map(|table| table.rows).sum();
        format!("tables are read first: {done} of {} done, {rows} rows", self.tables.len())
    }

    /// Shows how far it is: to readers of the status every second, in the log every minute.
    pub(super) fn show(&mut self, telemetry: &Telemetry, now: Instant) {
        if now.duration_since(self.shown) < SHOW_INTERVAL {
            return;
        }
        self.shown = now;
        for table in self.tables.iter_mut().filter(|table| table.is_repeated) {
            let rows = std::mem::take(&mut table.uncounted);
            telemetry.snapshot_repeated(&table.name, rows);
        }
        let progress = self.snapshot_progress(now);
        if now.duration_since(self.logged) >= LOG_INTERVAL {
            self.logged = now;
            log(&progress, telemetry);
        }
        telemetry.publish_snapshot(Some(progress));
    }

    /// How far its tables are.
    pub(super) fn tables(&self) -> Vec<TableProgress> {
        let table = |(index, table): (u32, &Table)| TableProgress {
            table: table.name.clone(),
            state: match table.end {
                None if table.rows == 0 => TableStage::Waiting,
                None => TableStage::Reading,
                Some(End::Rewritten) => TableStage::Again,
                Some(_) if self.unsettled.contains(&index) => TableStage::Delivering,
                Some(_) => TableStage::Done,
            },
            rows: table.rows,
            rows_estimated: table.rows_estimated.map(|rows| rows.max(table.rows)),
            table_bytes: table.bytes,
        };
        (0..).zip(&self.tables).map(table).collect()
    }

    fn snapshot_progress(&self, now: Instant) -> snapshot::Progress {
        let tables = self.tables();
        let age = unix_micros().saturating_sub(self.taken.unix_micros());
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default());
        snapshot::Progress::of(self.pass, age, now.duration_since(self.begun), tables)
    }

    /// Says what the pass has done.
    pub(super) fn report(&mut self, telemetry: &Telemetry, now: Instant) {
        self.shown = self.begun;
        self.show(telemetry, now + SHOW_INTERVAL);
        telemetry.publish_snapshot(None);
        let rows: u64 = self.tables.iter().map(|table| table.rows).sum();
        let took = now.duration_since(self.begun);
        let again = self.tables.iter().filter(|table| table.end == Some(End::Rewritten)).count();
        tracing::info!(
            tables = self.tables.len(),
            rows,
            again,
            took = %humantime::format_duration(std::time::Duration::from_millis(
                u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
            )),
            "the tables were read and delivered"
        );
    }

    fn readers_are_well(&mut self) -> Result<(), Failure> {
        for reader in &mut self.readers {
            match reader.as_mut().and_then(Task::poll) {
                None => {}
                Some(Ok(())) => *reader = None,
                Some(Err(failure)) => return Err(failure),
            }
        }
        Ok(())
    }
}

/// One line; a warning when the database pays for the snapshot.
fn log(progress: &snapshot::Progress, telemetry: &Telemetry) {
    let server = telemetry.server().unwrap_or_default();
    let left = progress.seconds_left.map(|seconds| Duration::from_secs(seconds as u64));
    let line = format!(
        "{} of {} tables done, {} of about {} rows, {:.0} a second, {} left; the slot keeps {} MiB \
         of log",
        progress.tables_done(),
        progress.tables.len(),
        progress.rows,
        progress.rows_estimated.map_or_else(|| "?".to_owned(), |rows| rows.to_string()),
        progress.rows_per_second,
        left.map_or_else(|| "?".to_owned(), |left| humantime::format_duration(left).to_string()),
        server.retained_wal_bytes.unwrap_or_default() >> 20,
    );
    let (age, kept) = (progress.age_seconds, server.retained_wal_bytes.unwrap_or_default());
    let is_close = server.safe_wal_bytes.is_some_and(|safe| safe < kept / 4);
    if is_close {
        tracing::warn!(
            age_seconds = age,
            "{line}: the slot is about to be lost, max_slot_wal_keep_size allows only {} MiB more",
            server.safe_wal_bytes.unwrap_or_default() >> 20
        );
    } else if age > OLD.as_secs_f64() {
        tracing::warn!(age_seconds = age, "{line}: the snapshot holds back vacuum");
    } else {
        tracing::info!(age_seconds = age, "{line}");
    }
}
