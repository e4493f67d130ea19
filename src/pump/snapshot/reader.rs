//! One pass: the readers' side, off the pump. Each has a session of its own and takes the next
//! range of blocks; a row goes from the server's text into Avro bytes and into a piece, which the
//! pump hands to the producer.
//!
//! # Order
//! Pieces reach the pump through one channel. A reader sends the rows of a range before it gives
//! up the range's last row, and what [`Markers`] then releases is sent under the lock: so the row
//! that is marked as a table's last, or as the last of all, is behind all others of its table, or
//! of all. A table's [`End`] is sent behind its last row.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use super::Tools;
use super::writer::{Table, Writer};
use crate::delivery::standing::application_name;
use crate::envelope::{Marker, SnapshotContext};
use crate::failure::Failure;
use crate::kafka::Batch;
use crate::postgres::Oid;
use crate::postgres::snapshot::{Begun, Error, Holder, Reader, Selection, Source, Target};
use crate::postgres::whitelist::Whitelist;
use crate::pump::sink::unix_micros;
use crate::pump::task::Task;
use crate::snapshot::markers::{Markers, Released};
use crate::snapshot::ranges::{self, PageRange};
use crate::snapshot::rate::Rate;
use crate::snapshot::{Record, TableState};

/// What a reader hands to the pump.
pub(super) enum Piece {
    Rows(Rows),
    /// Nothing of the table comes after this.
    End {
        table: u32,
        end: End,
    },
}

/// Encoded rows of one table.
pub(super) struct Rows {
    pub(super) table: u32,
    pub(super) batch: Batch,
}

/// How the reading of a table has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Read,
    /// It is no more what it was when the snapshot was taken: it has to be read again.
    Rewritten,
    /// Dropped.
    Gone,
}

/// A range of one source, to be read by whoever is free.
struct Job {
    /// Index of the table in the pass.
    table: u32,
    source: Source,
    selection: Arc<Selection>,
    range: PageRange,
}

/// A table as its readers share it.
struct Reading {
    oid: Oid,
    table: Table,
    /// Ranges that have not come to their ends.
    ranges_left: AtomicUsize,
    /// Anything but [`End::Read`] is final: no further range of it is read.
    end: std::sync::Mutex<End>,
    /// A row of it is held back, or was: its end follows its last row.
    has_held: AtomicBool,
}

/// What the readers of a pass share.
struct Shared {
    tools: Arc<Tools>,
    snapshot: String,
    jobs: std::sync::Mutex<VecDeque<Job>>,
    tables: Vec<Reading>,
    /// The rows that are held back between ranges: their table and their line.
    markers: Mutex<Markers<(u32, Bytes)>>,
    rate: std::sync::Mutex<Rate>,
    /// Rows in a piece at the most.
    piece_rows: usize,
    pieces: mpsc::Sender<Piece>,
}

/// A piece is handed over when it has this many bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Rows in a piece, unless `max_rows_per_second` makes it fewer.
const PIECE_ROWS: usize = 4096;

/// Starts the readers of a pass.
pub(super) fn start(
    tools: &Arc<Tools>,
    holder: &Holder,
    targets: Vec<Target>,
    whitelist: &Arc<Whitelist>,
    record: &Record,
    pieces: mpsc::Sender<Piece>,
) -> Vec<Task<()>> {
    let settings = &tools.settings.snapshot;
    let context =
        SnapshotContext { lsn: holder.at(), xid: Some(holder.xid()), time: holder.taken() };
    let mut plan = Plan::default();
    for target in targets {
        plan.add(tools, target, whitelist, record, context);
    }
    let readers = settings.parallelism.min(plan.jobs.len());
    let per_second = settings.max_rows_per_second;
    let shared = Arc::new(Shared {
        tools: Arc::clone(tools),
        snapshot: holder.snapshot().to_owned(),
        jobs: std::sync::Mutex::new(plan.jobs),
        tables: plan.tables,
        markers: Mutex::new(Markers::new(plan.marked)),
        rate: std::sync::Mutex::new(Rate::new(per_second)),
        // Ten a second, so that a low limit is no burst.
        piece_rows: per_second.map_or(PIECE_ROWS, |rate| {
            usize::try_from(rate / 10).unwrap_or(PIECE_ROWS).clamp(1, PIECE_ROWS)
        }),
        pieces,
    });
    (0..readers)
        .map(|_| {
            let shared = Arc::clone(&shared);
            Task::spawn(&tools.runtime, &tools.wake, async move { shared.run().await })
        })
        .collect()
}

/// What is to be read, as ranges.
#[derive(Default)]
struct Plan {
    jobs: VecDeque<Job>,
    tables: Vec<Reading>,
    marked: Vec<(Oid, usize)>,
}

impl Plan {
    fn add(
        &mut self,
        tools: &Arc<Tools>,
        target: Target,
        whitelist: &Arc<Whitelist>,
        record: &Record,
        context: SnapshotContext,
    ) {
        let table = u32::try_from(self.tables.len()).unwrap_or(u32::MAX);
        let condition = match record.tables.get(&target.oid).map(|table| &table.state) {
            Some(TableState::Frozen(frozen)) => frozen.condition.as_deref(),
            _ => None,
        };
        let excluded = tools.preparer.excluded(whitelist, target.oid);
        let parallelism = tools.settings.snapshot.parallelism;
        let before = self.jobs.len();
        for source in &target.sources {
            let selection = Arc::new(Selection::new(&target, source, &excluded, condition));
            // The routing of an outbox has one owner: its topics become known as rows come.
            let ranges = ranges::ranges(source.pages, if target.outbox { 1 } else { parallelism });
            self.jobs.extend(ranges.into_iter().map(|range| Job {
                table,
                source: source.clone(),
                selection: Arc::clone(&selection),
                range,
            }));
        }
        let ranges = self.jobs.len() - before;
        if ranges > 0 && !target.outbox {
            self.marked.push((target.oid, ranges));
        }
        self.tables.push(Reading {
            oid: target.oid,
            table: Table::new(Arc::clone(&tools.preparer), target, whitelist, context, false),
            ranges_left: AtomicUsize::new(ranges),
            end: std::sync::Mutex::new(End::Read),
            has_held: AtomicBool::new(false),
        });
    }
}

/// What one reader has encoded and not handed over.
#[derive(Default)]
struct Output {
    batch: Batch,
    now_nanos: i64,
}

impl Shared {
    async fn run(&self) -> Result<(), Failure> {
        let settings = &self.tools.settings;
        let (postgres, name) = (&settings.postgres, application_name(&settings.name));
        let mut reader = Reader::connect(&postgres.target, postgres.connect_timeout, &name).await?;
        while let Some(job) = self.next_job() {
            let Some(reading) = self.tables.get(job.table as usize) else { continue };
            let held = self.read(&mut reader, reading, &job).await?;
            self.end_range(reading, job.table, held).await?;
        }
        Ok(())
    }

    fn next_job(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }

    /// Reads one range but for its last row, which is the answer.
    async fn read(
        &self,
        reader: &mut Reader,
        reading: &Reading,
        job: &Job,
    ) -> Result<Option<Bytes>, Failure> {
        if reading.end() != End::Read {
            return Ok(None);
        }
        match reader.begin(&self.snapshot, &job.source).await? {
            Begun::Ready => {}
            Begun::Rewritten => return reading.abandon(reader, End::Rewritten).await,
            // The other partitions are still there.
            Begun::Gone if job.source.oid != reading.oid => {
                tracing::warn!(
                    table = job.selection.table(),
                    "the partition was dropped before it was read"
                );
                reader.commit().await?;
                return Ok(None);
            }
            Begun::Gone => return reading.abandon(reader, End::Gone).await,
        }
        let mut writer = reading.table.writer().await?;
        let copied = self.copy(reader, reading, job, &mut writer).await;
        match copied {
            Ok(held) => {
                reader.commit().await?;
                Ok(held)
            }
            Err(Stopped::SchemaChanged) => reading.abandon(reader, End::Rewritten).await,
            Err(Stopped::Failed(failure)) => Err(failure),
        }
    }

    async fn copy(
        &self,
        reader: &mut Reader,
        reading: &Reading,
        job: &Job,
        writer: &mut Writer,
    ) -> Result<Option<Bytes>, Stopped> {
        let mut output = Output { batch: Batch::default(), now_nanos: now_nanos() };
        let mut rows = reader.copy(&job.selection, job.range.condition().as_deref()).await?;
        let mut held: Option<Bytes> = None;
        let mut is_first = true;
        while let Some(line) = rows.next().await? {
            let line = if reading.table.is_outbox() {
                line
            } else {
                match held.replace(line) {
                    Some(previous) => previous,
                    None => continue,
                }
            };
            let marker = if is_first { self.first_row(reading).await? } else { Marker::True };
            is_first = false;
            reading.table.write(writer, &line, marker, output.now_nanos, &mut output.batch).await?;
            if output.batch.len() >= self.piece_rows || output.batch.bytes() >= PIECE_BYTES {
                self.send(job.table, &mut output).await?;
            }
        }
        self.send(job.table, &mut output).await?;
        Ok(held)
    }

    async fn first_row(&self, reading: &Reading) -> Result<Marker, Failure> {
        if reading.table.is_outbox() {
            return Ok(Marker::True);
        }
        let mut markers = self.markers.lock().await;
        let (finished, marker) = markers.first_row(reading.oid);
        if let Some(finished) = finished {
            self.release(finished).await?;
        }
        Ok(marker)
    }

    /// A range has come to its end: sends the rows that need not be held back any more, and the
    /// table's end if this was it.
    async fn end_range(
        &self,
        reading: &Reading,
        table: u32,
        held: Option<Bytes>,
    ) -> Result<(), Failure> {
        let mut markers = self.markers.lock().await;
        if held.is_some() {
            reading.has_held.store(true, Ordering::Relaxed);
        }
        if !reading.table.is_outbox() {
            let held = held.map(|line| (table, line));
            for released in markers.end_range(reading.oid, held) {
                self.release(released).await?;
            }
        }
        let is_last = reading.ranges_left.fetch_sub(1, Ordering::Relaxed) == 1;
        let end = reading.end();
        if is_last && (end != End::Read || !reading.has_held.load(Ordering::Relaxed)) {
            self.hand_over(Piece::End { table, end }).await?;
        }
        Ok(())
    }

    async fn release(&self, released: Released<(u32, Bytes)>) -> Result<(), Failure> {
        let Released { row: (table, line), marker, .. } = released;
        let Some(reading) = self.tables.get(table as usize) else { return Ok(()) };
        let mut output = Output { batch: Batch::default(), now_nanos: now_nanos() };
        let mut writer = reading.table.writer().await?;
        let now = output.now_nanos;
        reading.table.write(&mut writer, &line, marker, now, &mut output.batch).await?;
        self.send(table, &mut output).await?;
        let is_last = matches!(marker, Marker::LastInTable | Marker::Last);
        if is_last && reading.end() == End::Read {
            self.hand_over(Piece::End { table, end: End::Read }).await?;
        }
        Ok(())
    }

    async fn send(&self, table: u32, output: &mut Output) -> Result<(), Failure> {
        if output.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut output.batch);
        let pause = {
            let mut rate = self.rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            rate.take(batch.len() as u64, Instant::now())
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.hand_over(Piece::Rows(Rows { table, batch })).await?;
        output.now_nanos = now_nanos();
        Ok(())
    }

    async fn hand_over(&self, piece: Piece) -> Result<(), Failure> {
        let sent = self.pieces.send(piece).await;
        self.tools.wake.wake();
        // A pass that was given up takes its readers along.
        sent.map_err(|_| Failure::retry("internal", "the pass was given up"))
    }
}

impl Reading {
    fn end(&self) -> End {
        *self.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The table is not what it was: nothing more of it is read in this pass.
    async fn abandon(&self, reader: &mut Reader, end: End) -> Result<Option<Bytes>, Failure> {
        *self.end.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = end;
        reader.commit().await?;
        Ok(None)
    }
}

/// Why a range was not read to its end.
enum Stopped {
    /// A column that is read has gone.
    SchemaChanged,
    Failed(Failure),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        if error.is_schema_change() {
            return Stopped::SchemaChanged;
        }
        Stopped::Failed(error.into())
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Failed(failure)
    }
}

fn now_nanos() -> i64 {
    unix_micros().saturating_mul(1000)
}
