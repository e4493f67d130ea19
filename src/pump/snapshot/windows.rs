//! Reading a table in chunks: the pump's side. [`Scan`] has the argument.
//!
//! ```text
//!  Settling ──► Idle ──► Reading ──► Producing ──► Confirming ──► Idle … done
//!                ask   marks, chunk    rows go out   acknowledged, position past the high mark
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Tools;
use super::chunks::{Answer, Ask, Chunks, Edge, Ended, FIRST_LIMIT, Rows, next_limit, parse_mark};
use crate::failure::Failure;
use crate::kafka::Batch;
use crate::pgoutput::{Cell, OldTuple, Relation, Tuple};
use crate::postgres::whitelist::Whitelist;
use crate::postgres::{Lsn, Oid, Xid};
use crate::pump::apply::Change as Row;
use crate::pump::sink::Produced;
use crate::pump::stream::{Core, send_failure};
use crate::pump::task::Task;
use crate::snapshot::scan::{Scan, Verdict};
use crate::snapshot::window::Change;
use crate::snapshot::{Key, Progress, TableProgress, TableStage, WindowState};
use crate::telemetry::{RecordKind, TableIndex};

/// A table that is being read in chunks. Dropping it ends its reader.
pub(super) struct Windows {
    pub(super) oid: Oid,
    pub(super) name: String,
    scan: Scan,
    counted: TableIndex,
    /// The relation that the stream announced last, and where its key columns are.
    announced: Option<Announced>,
    primary_key: Vec<String>,
    rows_estimated: Option<u64>,
    bytes: u64,
    reader: Task<()>,
    asks: mpsc::Sender<Ask>,
    answers: mpsc::Receiver<Answer>,
    /// Handed over; its high mark has not passed.
    chunk: Option<Rows>,
    stage: Stage,
    /// The last chunk was not fit to go out.
    is_again: bool,
    next_id: u64,
    /// Rows of the next chunk.
    limit: usize,
}

struct Announced {
    columns: usize,
    places: Vec<usize>,
}

enum Stage {
    Settling,
    /// The next chunk is asked for then.
    Idle(Instant),
    Reading,
    /// The high mark has passed, at this commit.
    Producing(Box<Batch>, Lsn),
    Confirming(Lsn),
    Ended(Ended),
}

/// Before a chunk is read again.
const AGAIN_INTERVAL: Duration = Duration::from_millis(100);

/// Of the rows in flight: tables of passes have the numbers from 0.
const TALLY: u32 = 0;

impl Windows {
    pub(super) fn begin(
        tools: &Arc<Tools>,
        whitelist: &Arc<Whitelist>,
        (oid, name): (Oid, String),
        state: &WindowState,
        core: &mut Core<'_>,
    ) -> Windows {
        let (asks, asked) = mpsc::channel(1);
        let (sender, answers) = mpsc::channel(1);
        let chunks = Chunks {
            tools: Arc::clone(tools),
            whitelist: Arc::clone(whitelist),
            oid,
            condition: state.condition.clone(),
            asks: asked,
            answers: sender,
        };
        let reader = Task::spawn(&tools.runtime, &tools.wake, chunks.run());
        // The channel is empty, and has room for one.
        let _ = asks.try_send(Ask::Settle);
        Windows {
            oid,
            counted: core.metrics.table(&name),
            name,
            scan: Scan::resume(state),
            announced: None,
            primary_key: Vec::new(),
            rows_estimated: None,
            bytes: 0,
            reader,
            asks,
            answers,
            chunk: None,
            stage: Stage::Settling,
            is_again: false,
            next_id: fastrand::u64(..1 << 62),
            limit: FIRST_LIMIT,
        }
    }

    /// Goes on between two messages of the stream. Answers whether the state has changed.
    ///
    /// # Errors
    /// The reader has failed.
    pub(super) fn follow(
        &mut self,
        core: &Core<'_>,
        is_paused: bool,
        now: Instant,
    ) -> Result<bool, Failure> {
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                Answer::Settled(facts) => {
                    self.primary_key = facts.primary_key;
                    (self.rows_estimated, self.bytes) = (facts.rows, facts.bytes);
                    self.announced = None;
                    self.stage = Stage::Idle(now);
                }
                Answer::Chunk(rows) => self.chunk = Some(rows),
                Answer::Ended(ended) => self.stage = Stage::Ended(ended),
            }
        }
        match self.reader.poll() {
            None => {}
            Some(Err(failure)) => return Err(failure),
            Some(Ok(())) => return Err(Failure::retry("internal", "the reader has ended")),
        }
        match self.stage {
            Stage::Idle(from) if now >= from && !is_paused => {
                let limit = self.limit;
                if let Some(request) = self.scan.next_request(limit) {
                    self.next_id += 1;
                    let id = self.next_id;
                    if self.asks.try_send(Ask::Read { id, request, limit }).is_ok() {
                        self.stage = Stage::Reading;
                    }
                }
                Ok(false)
            }
            Stage::Confirming(high)
                if core.sink.is_durable(TALLY) && core.sink.confirmed() > high =>
            {
                self.scan.settled();
                self.stage = Stage::Idle(now);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether a durable position is what is waited for.
    pub(super) fn awaits_position(&self) -> bool {
        matches!(self.stage, Stage::Confirming(_))
    }

    /// The stream passes a mark, in a transaction that commits at `commit_lsn`.
    pub(super) fn mark(&mut self, content: &[u8], commit_lsn: Lsn) {
        let Some((edge, id)) = parse_mark(content) else { return };
        if id != self.next_id {
            // Of another run.
            return;
        }
        match edge {
            Edge::Low => self.scan.low(id),
            Edge::High => self.high(commit_lsn),
        }
    }

    fn high(&mut self, commit_lsn: Lsn) {
        if let Ok(Answer::Chunk(rows)) = self.answers.try_recv() {
            self.chunk = Some(rows);
        }
        let Some(Rows { chunk, mut batch, is_last, is_cut }) = self.chunk.take() else { return };
        self.limit = next_limit(self.limit, batch.bytes(), batch.len());
        self.stage = match self.scan.high(&chunk, is_last, is_cut) {
            Verdict::Again => {
                if !std::mem::replace(&mut self.is_again, true) {
                    tracing::info!(
                        table = self.name,
                        "a chunk is read again: it waits for transactions that are not visible \
                         yet, or for fewer changes at once"
                    );
                }
                Stage::Idle(Instant::now() + AGAIN_INTERVAL)
            }
            Verdict::Lost => {
                let _ = self.asks.try_send(Ask::Settle);
                Stage::Settling
            }
            Verdict::Rows(keep) => {
                self.is_again = false;
                batch.retain(|place| keep.get(place).copied().unwrap_or(false));
                Stage::Producing(Box::new(batch), commit_lsn)
            }
        };
    }

    /// Whether rows have to go out before the next message.
    pub(super) fn has_rows(&self) -> bool {
        matches!(self.stage, Stage::Producing(..))
    }

    /// Hands rows to the producer; whether all were taken.
    ///
    /// # Errors
    /// A record is refused.
    pub(super) fn produce(&mut self, core: &mut Core<'_>) -> Result<Produced, Failure> {
        let Stage::Producing(batch, high) = &mut self.stage else { return Ok(Produced::All) };
        let Core { sink, metrics, .. } = core;
        let produced = sink.produce_rows(batch, TALLY, |bytes| {
            metrics.record(self.counted, RecordKind::Read, bytes as u64);
        });
        match produced {
            Ok(Produced::All) => {
                self.stage = Stage::Confirming(*high);
                Ok(Produced::All)
            }
            Ok(Produced::Full) => Ok(Produced::Full),
            Err(error) => Err(send_failure(&error, batch)),
        }
    }

    /// The stream brings a change of the table. Answers whether the state has to be durable before
    /// a position past this transaction is.
    pub(super) fn changed(&mut self, relation: &Relation, row: &Row<'_>, xid: Xid) -> bool {
        let places = match &self.announced {
            Some(announced) if announced.columns == relation.columns.len() => &announced.places,
            _ => &self.announced.insert(self.announce(relation)).places,
        };
        let change = change(row, places);
        self.scan.change(xid, change)
    }

    /// The relation was announced again, perhaps with other columns.
    pub(super) fn forget_columns(&mut self) {
        self.announced = None;
    }

    fn announce(&self, relation: &Relation) -> Announced {
        let columns = &relation.columns;
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let places: Option<Vec<usize>> = self.primary_key.iter().map(place).collect();
        // Without a column of the key, and before the key is known, no row has one.
        let places = places.filter(|places| !places.is_empty());
        let places = places.unwrap_or_else(|| vec![usize::MAX]);
        Announced { columns: columns.len(), places }
    }

    /// Why there is nothing more to be read; `None` while there may be.
    pub(super) fn ended(&self) -> Option<Ended> {
        match self.stage {
            Stage::Ended(ended) => Some(ended),
            _ if self.scan.is_done() => Some(Ended::Done),
            _ => None,
        }
    }

    /// What has to be durable.
    pub(super) fn state(&self) -> WindowState {
        self.scan.state()
    }

    /// For people and alerts.
    pub(super) fn progress(&self, pass: u32, elapsed: Duration) -> Progress {
        Progress::of(pass, Duration::ZERO, elapsed, vec![self.table()])
    }

    /// How far it is.
    pub(super) fn table(&self) -> TableProgress {
        let rows = self.scan.rows();
        TableProgress {
            table: self.name.clone(),
            state: match self.stage {
                // Transactions that were running have to end first.
                Stage::Settling => TableStage::Waiting,
                _ => TableStage::Reading,
            },
            rows,
            rows_estimated: self.rows_estimated.map(|estimated| estimated.max(rows)),
            table_bytes: self.bytes,
        }
    }

    /// Rows delivered so far.
    pub(super) fn rows(&self) -> u64 {
        self.scan.rows()
    }
}

/// What a change of the stream means for the keys of its table.
fn change(row: &Row<'_>, places: &[usize]) -> Change {
    let key = |tuple: &Tuple<'_>| Key::of(tuple, places);
    match row {
        Row::Insert(new) => match key(new) {
            Some(key) => Change::Set { key, partial: false },
            None => Change::Unknown,
        },
        Row::Update(old, new) => {
            let from = match old {
                OldTuple::Key(old) | OldTuple::Full(old) => key(old),
                OldTuple::None => None,
            };
            let partial =
                !matches!(old, OldTuple::Full(_)) && new.iter().any(|cell| cell == Cell::Unchanged);
            match (from, key(new)) {
                (Some(from), Some(to)) if from != to => Change::Moved { from, to, partial },
                (_, Some(key)) | (Some(key), None) => Change::Set { key, partial },
                (None, None) => Change::Unknown,
            }
        }
        Row::Delete(OldTuple::Key(old) | OldTuple::Full(old)) => match key(old) {
            Some(key) => Change::Removed { key },
            None => Change::Unknown,
        },
        Row::Delete(OldTuple::None) => Change::Unknown,
        Row::Truncate => Change::Truncated,
    }
}
