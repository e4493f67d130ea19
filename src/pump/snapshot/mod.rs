//! Snapshots beside the stream: which tables are still to be read, and the passes that read them.
//!
//! # The guarantee
//! Every `r` record of a pass at the LSN `L` follows everything that committed before `L` and
//! precedes everything that committed at or after it, whatever is killed, and as often as it may
//! be; and a table is recorded as read only when all its rows are at the brokers.
//!
//! # The argument
//! 1. The creation of a slot exports a snapshot that sees exactly the transactions whose commit
//!    LSN is before its consistent point `L`: both are made of the WAL, so that a commit which is
//!    streamed before it is visible to others does not matter here.
//! 2. The stream delivers whole transactions in the order of their commits. It is held at the first
//!    that begins with a commit LSN at or past `L`, or when the server says that it has sent
//!    everything before `L`: then all that is older was enqueued, and nothing that is newer.
//! 3. Rows are read only when a position at or past `L` is durable, so that no restart delivers
//!    again what is older than an `r` record that was delivered.
//! 4. The stream goes on when the pass is over or given up. The same producer sends both, so their
//!    order is that of the partitions.
//! 5. A pass that is given up, a kill included, leaves its unfinished tables pending: they are read
//!    again at a later `L`, and until then the stream delivers what happened to their rows, deletes
//!    of rows included that an earlier pass had delivered. Skipping the changes up to the new `L`
//!    instead, as a copy into an empty table can, would leave rows behind that are gone.
//!
//! 6. The stream does not pass `L` before it is known: while the slot is being made, whose point lies
//!    past everything that was in the log before, the stream is held as well. That is short, because
//!    another slot was made just before: the transactions that were running then have ended. If it
//!    is not, the stream goes on, and the snapshot is tried again later.
//!
//! At the first start the slot of the stream itself is what exports, and `L` is where the stream
//! begins. Later a temporary slot does.
//!
//! Tables that have a primary key can be read in chunks instead, while the stream goes on
//! ([`windows`]): [`crate::snapshot::window`] has the argument for these.
//!
//! ```text
//!          pending    transactions ended    held    slot made     at L, and so is the position
//!   Idle ────────► Due ─► Sorting ─► Sorted ─► Opening ─► Approaching ─► Holding ─► Reading ─┐
//!    ▲ ▲            ▲          │                  │              first start ▲           │   │ all
//!    │ └────────────┼──────────┴──────────────────┴ failed: later again ◄────┴───────────┤   │ read
//!    └──────────────┴────────────────────────────────────────────────────────────────────┴───┘
//! ```

mod chunks;
mod opening;
mod pass;
mod reader;
mod requests;
mod targets;
mod windows;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::chunks::Ended;
pub(super) use self::opening::Opened;
use self::opening::{Opening, Sorted, Sorting};
use self::pass::{Pass, Progress};
use self::requests::Owed;
pub(super) use self::targets::{admit, first_record, pending, turn_to_chunks};
use self::windows::Windows;
use super::apply::Change as Row;
use super::backoff::Backoff;
use super::prepare::Preparer;
use super::sink::Produced;
use super::stream::Core;
use super::task::Task;
use super::wake::Wake;
use crate::config::Settings;
use crate::failure::{Class, Failure};
use crate::pgoutput::Relation;
use crate::postgres::whitelist::Whitelist;
use crate::postgres::{Lsn, Oid, Xid};
use crate::snapshot::{FrozenState, Record, TableState};
use crate::telemetry::Activity;

/// What a connection knows of its snapshots when it begins.
pub(super) struct Start {
    pub(super) record: Record,
    /// At a first start: the snapshot of the slot itself.
    pub(super) opened: Option<Opened>,
    /// How far the server was: the stream comes first up to here, so that a snapshot is not held
    /// open while an old backlog is delivered.
    pub(super) flushed: Lsn,
    pub(super) publications: Vec<String>,
}

/// What passes are made with.
pub(super) struct Tools {
    pub(super) settings: Arc<Settings>,
    pub(super) runtime: Handle,
    pub(super) wake: Wake,
    pub(super) preparer: Arc<Preparer>,
    pub(super) publications: Vec<String>,
}

/// The snapshots of one connection.
pub(super) struct Snapshots {
    tools: Arc<Tools>,
    record: Record,
    /// What changed in the record since it was written.
    is_dirty: bool,
    written: Instant,
    whitelist: Arc<Whitelist>,
    state: State,
    backoff: Backoff,
    windows: Option<Box<Windows>>,
    /// No chunk before: the reading of a table has failed.
    windows_not_before: Instant,
    windows_begun: Instant,
    windows_shown: Instant,
    /// Nothing more is begun.
    is_paused: bool,
    owed: Vec<Owed>,
    /// Of marks in the log.
    prefix: String,
}

enum State {
    Idle,
    /// Tables are pending. The stream comes first up to the LSN.
    Due {
        from: Lsn,
        not_before: Instant,
    },
    /// Off the pump, until a snapshot can be taken soon.
    Sorting(Task<Sorted>),
    /// A snapshot is to be taken as soon as the stream is between two transactions.
    Sorted(Vec<Oid>),
    /// The snapshot is being taken. Its point is not known yet, but lies past everything that the
    /// stream has brought, so the stream is held.
    Opening {
        task: Task<Opened>,
        since: Instant,
    },
    /// The stream is still before the snapshot's point.
    Approaching(Box<Opened>),
    /// The stream is held at the point, and what is in flight is awaited.
    Holding(Box<Opened>),
    Reading(Box<Pass>),
}

/// What the stream does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on.
    Stream,
    /// It stays held, because of this; look again after so long at the latest.
    Hold(Duration, Activity),
}

/// Between two snapshot records: a crash repeats the tables that were finished since the last.
const RECORD_INTERVAL: Duration = Duration::from_millis(200);

/// Between two updates of the status.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// For so long the stream is held for a snapshot to be taken.
const OPENING_LIMIT: Duration = Duration::from_secs(5);

/// While the stream is held, reports are looked at this often.
const HOLD_INTERVAL: Duration = Duration::from_millis(2);

impl Snapshots {
    pub(super) fn new(
        start: Start,
        preparer: Arc<Preparer>,
        whitelist: Arc<Whitelist>,
        now: Instant,
    ) -> Snapshots {
        let tools = Tools {
            settings: Arc::clone(&preparer.settings),
            runtime: preparer.runtime.clone(),
            wake: preparer.wake.clone(),
            preparer,
            publications: start.publications,
        };
        let prefix = chunks::prefix(&tools.settings.name);
        let mut snapshots = Snapshots {
            tools: Arc::new(tools),
            record: start.record,
            is_dirty: false,
            written: now,
            whitelist,
            state: State::Idle,
            backoff: Backoff::default(),
            windows: None,
            windows_not_before: now,
            windows_begun: now,
            windows_shown: now,
            is_paused: false,
            owed: Vec::new(),
            prefix,
        };
        match start.opened {
            Some(opened) => snapshots.state = State::Holding(Box::new(opened)),
            None => snapshots.rest(start.flushed, now),
        }
        snapshots
    }

    /// Whether the stream is held from the start.
    pub(super) fn holds_now(&self) -> bool {
        matches!(self.state, State::Opening { .. } | State::Holding(_) | State::Reading(_))
    }

    /// Whether a transaction that commits at `commit_lsn` has to wait.
    pub(super) fn holds(&self, commit_lsn: Lsn) -> bool {
        matches!(&self.state, State::Approaching(opened) if commit_lsn >= opened.at())
    }

    /// What is still to be done, for people.
    pub(super) fn describe(&self) -> Option<String> {
        let text = match &self.state {
            State::Idle => return None,
            State::Due { .. } => "tables are to be read; the stream comes first up to now",
            State::Sorting(_) | State::Sorted(_) | State::Opening { .. } => {
                "tables are to be read; a snapshot is taken once the transactions under way have \
                 ended"
            }
            State::Approaching(_) | State::Holding(_) => {
                "tables are to be read; what came before the snapshot is delivered first"
            }
            State::Reading(pass) => return Some(pass.describe()),
        };
        Some(text.to_owned())
    }

    /// Whether a durable position is what is waited for.
    pub(super) fn awaits_position(&self) -> bool {
        let reads_chunks = self.windows.as_ref().is_some_and(|windows| windows.awaits_position());
        matches!(self.state, State::Holding(_)) || reads_chunks
    }

    /// The whitelist has more tables, and the publications send them by now.
    pub(super) fn set_whitelist(&mut self, whitelist: Arc<Whitelist>, now: Instant) {
        self.is_dirty |= targets::admit(&mut self.record, &self.tools.settings, &whitelist, true);
        self.whitelist = whitelist;
        if matches!(self.state, State::Idle) {
            self.rest(Lsn::INVALID, now);
        }
    }

    /// Goes on while the stream flows. Between transactions, `reached` is what the server has sent
    /// everything before. Returns whether the stream has to be held now.
    ///
    /// # Errors
    /// What only an operator can mend.
    pub(super) fn follow(
        &mut self,
        core: &mut Core<'_>,
        reached: Option<Lsn>,
        now: Instant,
    ) -> Result<bool, Failure> {
        self.follow_windows(core, now)?;
        self.write_record(core, now)?;
        if matches!(self.state, State::Idle) {
            return Ok(false);
        }
        let state = std::mem::replace(&mut self.state, State::Idle);
        self.state = match state {
            State::Due { from, not_before }
                if now >= not_before
                    && !self.is_paused
                    && reached.is_some_and(|reached| reached >= from) =>
            {
                let pending = targets::pending(&self.record, &self.whitelist);
                let whitelist = Arc::clone(&self.whitelist);
                let sorting = Sorting { tools: Arc::clone(&self.tools), whitelist, pending };
                let job = sorting.sort();
                State::Sorting(Task::spawn(&self.tools.runtime, &self.tools.wake, job))
            }
            State::Sorting(mut task) => match task.poll() {
                None => State::Sorting(task),
                Some(Ok(Sorted { windows, at_once })) => {
                    targets::turn_to_chunks(&mut self.record, &windows);
                    self.is_dirty |= !windows.is_empty();
                    if at_once.is_empty() { State::Idle } else { State::Sorted(at_once) }
                }
                Some(Err(failure)) => self.try_later(failure, now)?,
            },
            State::Sorted(tables) if reached.is_some() => {
                let (tools, whitelist) = (Arc::clone(&self.tools), Arc::clone(&self.whitelist));
                let job = Opening { tools, whitelist, tables }.open();
                let task = Task::spawn(&self.tools.runtime, &self.tools.wake, job);
                State::Opening { task, since: now }
            }
            State::Approaching(opened) if reached.is_some_and(|lsn| lsn >= opened.at()) => {
                State::Holding(opened)
            }
            state => state,
        };
        Ok(self.holds_now())
    }

    /// The stream is held: a transaction at or past the snapshot's point is next.
    pub(super) fn hold(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Approaching(opened) => State::Holding(opened),
            state => state,
        };
    }

    /// Goes on while the stream is held.
    ///
    /// # Errors
    /// What only an operator can mend, and a delivery that was refused.
    pub(super) fn turn(&mut self, core: &mut Core<'_>, now: Instant) -> Result<Turn, Failure> {
        if let Some(windows) = self.windows.as_mut().filter(|windows| windows.has_rows())
            && windows.produce(core)? == Produced::Full
        {
            return Ok(Turn::Hold(super::stream::FULL_INTERVAL, Activity::QueueFull));
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Holding(opened) => {
                core.sink.ledger_mut().reached(opened.at());
                if core.sink.confirmed() < opened.at() || core.sink.has_in_flight() {
                    self.state = State::Holding(opened);
                    return Ok(Turn::Hold(HOLD_INTERVAL, Activity::WaitingKafka));
                }
                self.begin(*opened, core, now);
                Ok(Turn::Hold(Duration::ZERO, Activity::Busy))
            }
            State::Reading(pass) => self.read(pass, core, now),
            State::Opening { task, since } => self.open(task, since, now),
            state => {
                self.state = state;
                Ok(Turn::Stream)
            }
        }
    }

    fn open(
        &mut self,
        mut task: Task<Opened>,
        since: Instant,
        now: Instant,
    ) -> Result<Turn, Failure> {
        self.state = match task.poll() {
            None if now.duration_since(since) < OPENING_LIMIT => {
                self.state = State::Opening { task, since };
                return Ok(Turn::Hold(HOLD_INTERVAL, Activity::WaitingPostgres));
            }
            None => {
                let why = "the snapshot waits for a transaction that runs for long, and the stream \
                           does not wait for it";
                self.try_later(Failure::retry("postgres", why), now)?
            }
            Some(Ok(opened)) => State::Approaching(Box::new(opened)),
            Some(Err(failure)) => self.try_later(failure, now)?,
        };
        Ok(Turn::Stream)
    }

    fn begin(&mut self, opened: Opened, core: &mut Core<'_>, now: Instant) {
        self.record.passes += 1;
        self.is_dirty = true;
        tracing::info!(
            tables = opened.targets().len(),
            at = %opened.at(),
            pass = self.record.passes,
            "reading the tables"
        );
        let pass = Pass::begin(&self.tools, opened, &self.whitelist, &self.record, core, now);
        self.state = State::Reading(Box::new(pass));
    }

    fn read(
        &mut self,
        mut pass: Box<Pass>,
        core: &mut Core<'_>,
        now: Instant,
    ) -> Result<Turn, Failure> {
        let progress = match pass.turn(core, now) {
            Ok(progress) => progress,
            Err(failure) => {
                self.state = self.try_later(failure, now)?;
                return Ok(Turn::Stream);
            }
        };
        self.is_dirty |= pass.settle(&mut self.record, core);
        pass.show(&self.tools.preparer.telemetry, now);
        self.write_record(core, now)?;
        let hold = match progress {
            Progress::Full => Turn::Hold(super::stream::FULL_INTERVAL, Activity::QueueFull),
            Progress::Busy => Turn::Hold(Duration::ZERO, Activity::Busy),
            Progress::Waiting => Turn::Hold(HOLD_INTERVAL, Activity::WaitingPostgres),
            Progress::Over if self.is_dirty || core.sink.snapshot_record_in_flight() => {
                Turn::Hold(HOLD_INTERVAL, Activity::WaitingKafka)
            }
            Progress::Over => {
                pass.report(&self.tools.preparer.telemetry, now);
                self.backoff.reset();
                self.rest(Lsn::INVALID, now);
                return Ok(Turn::Stream);
            }
        };
        self.state = State::Reading(pass);
        Ok(hold)
    }

    /// Nothing is under way: waits for the next pass, if tables are pending.
    fn rest(&mut self, from: Lsn, now: Instant) {
        self.state =
            if self.has_pending() { State::Due { from, not_before: now } } else { State::Idle };
    }

    /// A pass has failed. The stream flows meanwhile.
    fn try_later(&mut self, failure: Failure, now: Instant) -> Result<State, Failure> {
        if failure.class == Class::Stop {
            return Err(failure);
        }
        let pause = self.backoff.after(&failure);
        self.report(&failure, pause, "the tables are read again later, and the stream goes on");
        Ok(State::Due { from: Lsn::INVALID, not_before: now + pause })
    }

    fn report(&self, failure: &Failure, pause: Duration, what: &str) {
        let telemetry = &self.tools.preparer.telemetry;
        telemetry.publish_snapshot(None);
        telemetry.failure(failure);
        let again_in = humantime::format_duration(pause);
        tracing::warn!(kind = failure.kind, error = %failure, %again_in, "{what}");
    }

    fn write_record(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        if core.sink.snapshot_record_in_flight() {
            return Ok(());
        }
        if !self.is_dirty {
            core.sink.free_position();
            self.answer_owed();
            return Ok(());
        }
        if now.duration_since(self.written) < RECORD_INTERVAL {
            return Ok(());
        }
        let written = core.sink.write_snapshot_record(&self.record.to_bytes());
        if written.map_err(|error| Failure::retry("kafka", error.to_string()))? {
            self.is_dirty = false;
            self.written = now;
        }
        Ok(())
    }
}

/// Tables that are read in chunks.
impl Snapshots {
    /// Whether a message in the log is a mark of this deployment.
    pub(super) fn is_mark(&self, prefix: &str) -> bool {
        self.prefix == prefix
    }

    /// The stream passes a mark.
    pub(super) fn mark(&mut self, content: &[u8], commit_lsn: Lsn) {
        if let Some(windows) = &mut self.windows {
            windows.mark(content, commit_lsn);
        }
    }

    /// Whether rows have to go out before the next message.
    pub(super) fn has_rows(&self) -> bool {
        self.windows.as_ref().is_some_and(|windows| windows.has_rows())
    }

    /// Whether the changes of a relation matter.
    pub(super) fn watches(&self, oid: Oid) -> bool {
        self.windows.as_ref().is_some_and(|windows| windows.oid == oid)
    }

    /// A relation may have other columns from here on.
    pub(super) fn announced(&mut self, oid: Oid) {
        if let Some(windows) = self.windows.as_mut().filter(|windows| windows.oid == oid) {
            windows.forget_columns();
        }
    }

    /// The stream brings a change of a relation that is [watched](Self::watches). Answers whether
    /// the record has to be durable before a position past this transaction is.
    pub(super) fn changed(&mut self, relation: &Relation, row: &Row<'_>, xid: Xid) -> bool {
        let Some(windows) = &mut self.windows else { return false };
        let has_to_be_durable = windows.changed(relation, row, xid);
        if has_to_be_durable {
            let state = TableState::Windows(windows.state());
            self.record.set(windows.oid, windows.name.clone(), state);
            self.is_dirty = true;
        }
        has_to_be_durable
    }

    fn follow_windows(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        let Some(windows) = &mut self.windows else {
            self.begin_windows(core, now);
            return Ok(());
        };
        match windows.follow(core, self.is_paused, now) {
            Ok(false) => {}
            Ok(true) => {
                let state = TableState::Windows(windows.state());
                self.record.set(windows.oid, windows.name.clone(), state);
                self.is_dirty = true;
            }
            Err(failure) if failure.class == Class::Stop => return Err(failure),
            Err(failure) => {
                self.windows = None;
                let pause = self.backoff.after(&failure);
                self.windows_not_before = now + pause;
                self.report(&failure, pause, "the reading of a table in chunks goes on later");
                return Ok(());
            }
        }
        self.show_windows(now);
        self.end_windows(now);
        Ok(())
    }

    fn begin_windows(&mut self, core: &mut Core<'_>, now: Instant) {
        if !matches!(self.state, State::Idle) || self.is_paused || now < self.windows_not_before {
            return;
        }
        let Some((oid, name, state)) = targets::in_chunks(&self.record, &self.whitelist) else {
            return;
        };
        tracing::info!(table = name, rows = state.rows, "reading a table in chunks");
        let table = (oid, name);
        let windows = Windows::begin(&self.tools, &self.whitelist, table, &state, core);
        self.windows = Some(Box::new(windows));
        self.windows_begun = now;
    }

    fn end_windows(&mut self, now: Instant) {
        let Some(windows) = &self.windows else { return };
        let Some(ended) = windows.ended() else { return };
        let (table, rows) = (&windows.name, windows.rows());
        let state = match ended {
            Ended::Done => {
                let took = now.duration_since(self.windows_begun).as_secs_f64();
                tracing::info!(table, rows, seconds = took, "the table was read and delivered");
                TableState::Done
            }
            Ended::Dropped => {
                tracing::warn!(
                    table,
                    rows,
                    "the table was dropped while it was read: the rows delivered so far stay"
                );
                TableState::Done
            }
            Ended::Impossible(reason) => {
                tracing::warn!(
                    table,
                    reason,
                    "the table cannot be read in chunks: the stream is held while it is read"
                );
                let condition = windows.state().condition;
                TableState::Frozen(FrozenState { condition, windows: false })
            }
        };
        self.record.set(windows.oid, windows.name.clone(), state);
        self.is_dirty = true;
        self.windows = None;
        self.backoff.reset();
        self.tools.preparer.telemetry.publish_snapshot(None);
        if matches!(self.state, State::Idle) {
            self.rest(Lsn::INVALID, now);
        }
    }

    fn show_windows(&mut self, now: Instant) {
        if now.duration_since(self.windows_shown) < SHOW_INTERVAL {
            return;
        }
        self.windows_shown = now;
        let Some(windows) = &self.windows else { return };
        let elapsed = now.duration_since(self.windows_begun);
        let progress = windows.progress(self.record.passes, elapsed);
        self.tools.preparer.telemetry.publish_snapshot(Some(progress));
    }
}
