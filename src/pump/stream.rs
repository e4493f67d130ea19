//! Following the slot: read, apply, produce, and keep Postgres informed.
//!
//! One [`Streaming`] is one connection. Each turn does a bounded piece of work and ends in at most
//! one wait; between turns the pump collects reports and sees signals.

use std::time::{Duration, Instant};

use super::apply::{Applied, Applier, At, Effect, Tools};
use super::closing::Closing;
use super::feedback::Feedback;
use super::pace::Pace;
use super::prepare::Admitted;
use super::relations::Relations;
use super::session::Session;
use super::sink::{Produced, Sink, unix_micros};
use super::snapshot::{Snapshots, Turn};
use super::task::Task;
use super::wait::wait;
use super::wake::Wake;
use super::watch::Watch;
use crate::failure::Failure;
use crate::kafka::{Batch, SendError};
use crate::pgoutput::Message;
use crate::postgres::replication::{Fill, Stream};
use crate::postgres::wire::{Event, ServerError};
use crate::postgres::{Lsn, Oid, PgTime};
use crate::telemetry::{Activity, NotReady, PumpMetrics, Reason, RecordKind};

/// Why messages are not being read.
#[derive(Debug)]
enum Phase {
    Read,
    /// The producer's queue is full; the rest of the batch waits, then the effect follows.
    QueueFull(Effect),
    /// The next message needs a relation's plan.
    AwaitPlan(Oid),
    /// The next message needs a topic and its schemas.
    AwaitDestination(Oid, Task<Admitted>),
    /// Tables are read at the point that the stream has come to.
    Snapshot,
}

/// What the pump lends to a turn.
pub(super) struct Core<'a> {
    pub(super) sink: &'a mut Sink,
    pub(super) metrics: &'a mut PumpMetrics,
    pub(super) wake: &'a Wake,
}

/// One connection's stream.
pub(super) struct Streaming {
    stream: Stream,
    relations: Relations,
    applier: Applier,
    batch: Batch,
    phase: Phase,
    phase_since: Instant,
    feedback: Feedback,
    watch: Watch,
    snapshots: Snapshots,
    pace: Pace,
    received: Lsn,
    produced: Lsn,
    last_heard: Instant,
    silence_limit: Duration,
}

/// Messages handled in a turn before reports are looked at again.
const TURN_MESSAGES: u32 = 2048;

/// What the batch's arena keeps between messages.
const ARENA_KEEPS: usize = 64 * 1024;

/// While something is in flight, reports are looked at this often even if nothing else happens.
const REPORT_INTERVAL: Duration = Duration::from_millis(5);

/// The same while a full queue waits for nothing but reports.
pub(super) const FULL_INTERVAL: Duration = Duration::from_millis(1);

/// A wait for a plan is worth a reason in `/readyz` from here on.
const NOTICEABLE: Duration = Duration::from_millis(500);

impl Streaming {
    /// Takes over a connected session.
    pub(super) fn new(session: Session, read_nap: Duration, now: Instant) -> Streaming {
        let Session { stream, relations, watch, snapshots, done, .. } = session;
        let Session { wal_sender_timeout, messages, .. } = session;
        let phase = if snapshots.holds_now() { Phase::Snapshot } else { Phase::Read };
        let started = PgTime::from_unix_micros(unix_micros());
        Streaming {
            stream,
            relations,
            applier: Applier::new(done, messages, started),
            batch: Batch::default(),
            phase,
            phase_since: now,
            feedback: Feedback::new(wal_sender_timeout, now),
            watch,
            snapshots,
            pace: Pace::new(read_nap, now),
            received: done,
            produced: done,
            last_heard: now,
            silence_limit: silence_limit(wal_sender_timeout),
        }
    }

    /// Does one bounded piece of work and waits at most once.
    ///
    /// # Errors
    /// Replication cannot go on: lost ([`Class::Retry`](crate::failure::Class::Retry)), or stopped
    /// by something that an operator must see.
    pub(super) fn turn(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        self.feedback.send(&mut self.stream, core.sink.confirmed(), self.received, now)?;
        self.watch.apply(&mut self.relations, &mut self.snapshots, now)?;
        match &mut self.phase {
            Phase::Read => {
                let reached = (!self.applier.in_transaction()).then_some(self.received);
                if !self.snapshots.follow(core, reached, now)? {
                    return self.read(core, now);
                }
                self.enter(Phase::Snapshot, now);
            }
            Phase::Snapshot => self.read_tables(core, now)?,
            Phase::QueueFull(effect) => {
                let effect = *effect;
                match self.produce(core, effect)? {
                    Produced::All => self.enter(Phase::Read, now),
                    Produced::Full => self.pause(core, FULL_INTERVAL, Activity::QueueFull),
                }
            }
            Phase::AwaitPlan(relation) => {
                if self.relations.is_pending(*relation, core.metrics)? {
                    self.pause(core, self.idle(core, now), Activity::WaitingRegistry);
                } else {
                    self.enter(Phase::Read, now);
                }
            }
            Phase::AwaitDestination(relation, task) => match task.poll() {
                Some(admitted) => {
                    self.relations.admit(*relation, &admitted?);
                    self.enter(Phase::Read, now);
                }
                None => self.pause(core, self.idle(core, now), Activity::WaitingRegistry),
            },
        }
        Ok(())
    }

    /// Whether a stop would cut a transaction in two.
    pub(super) fn in_transaction(&self) -> bool {
        let is_between = matches!(self.phase, Phase::Read | Phase::Snapshot);
        self.applier.in_transaction() || !is_between
    }

    /// Whether tables are being read, and the stream waits.
    pub(super) fn is_snapshotting(&self) -> bool {
        self.snapshots.holds_now()
    }

    /// Whether nothing goes on before the position is durable.
    pub(super) fn awaits_position(&self) -> bool {
        self.snapshots.awaits_position()
    }

    pub(super) fn snapshots(&mut self) -> &mut Snapshots {
        &mut self.snapshots
    }

    /// The last thing received, and the last whose records were all taken by the producer.
    pub(super) fn positions(&self) -> (Lsn, Lsn) {
        (self.received, self.produced)
    }

    /// Why the stream does not flow, if it does not.
    pub(super) fn not_ready(&self, now: Instant) -> Option<NotReady> {
        if let Some(message) = self.snapshots.describe() {
            return Some(NotReady::new(Reason::Snapshot, message));
        }
        self.waits_for().filter(|_| now.saturating_duration_since(self.phase_since) >= NOTICEABLE)
    }

    /// The schema or topic that is waited for, if one is.
    pub(super) fn waits_for(&self) -> Option<NotReady> {
        match &self.phase {
            Phase::Read | Phase::QueueFull(_) | Phase::Snapshot => None,
            Phase::AwaitPlan(relation) | Phase::AwaitDestination(relation, _) => {
                Some(self.relations.describe_wait(*relation))
            }
        }
    }

    /// How long the stream has waited for a schema or a topic.
    pub(super) fn blocked_for(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Read | Phase::QueueFull(_) | Phase::Snapshot => Duration::ZERO,
            Phase::AwaitPlan(_) | Phase::AwaitDestination(..) => {
                now.saturating_duration_since(self.phase_since)
            }
        }
    }

    /// Ends the reading: what comes after is only answers to our end of the stream.
    pub(super) fn into_closing(self) -> Closing {
        Closing::new(self.stream, self.feedback, self.received)
    }

    fn read_tables(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        let started = Instant::now();
        let turn = self.snapshots.turn(core, now)?;
        core.metrics.spent(Activity::Busy, started.elapsed());
        match turn {
            Turn::Stream => {
                // What was not read for so long is no silence.
                self.last_heard = now;
                self.enter(Phase::Read, now);
            }
            Turn::Hold(Duration::ZERO, _) => {}
            Turn::Hold(interval, activity) => self.pause(core, interval, activity),
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_since = now;
    }

    fn read(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        let started = Instant::now();
        let now_nanos = unix_micros().saturating_mul(1000);
        let mut messages = 0;
        let mut bytes = 0;
        let mut empty = false;
        while messages < TURN_MESSAGES && matches!(self.phase, Phase::Read) {
            match self.step(core, now, now_nanos)? {
                Some(size) => bytes += size as u64,
                None => {
                    empty = true;
                    break;
                }
            }
            messages += 1;
        }
        core.metrics.received(u64::from(messages), bytes);
        self.pace.handled(messages, now);
        if messages > 0 {
            core.metrics.spent(Activity::Busy, started.elapsed());
        }
        if empty { self.fill(core, now) } else { Ok(()) }
    }

    /// Handles the next message in the buffer; its size, or `None` if there is no whole one.
    fn step(
        &mut self,
        core: &mut Core<'_>,
        now: Instant,
        now_nanos: i64,
    ) -> Result<Option<usize>, Failure> {
        let (start, payload) = match self.stream.peek()? {
            None => return Ok(None),
            Some(Event::XLogData { start, payload, .. }) => (start, payload),
            Some(Event::Keepalive { wal_end, reply_requested, .. }) => {
                core.sink.ledger_mut().reached(wal_end);
                self.received = self.received.max(wal_end);
                self.produced = self.produced.max(wal_end);
                if reply_requested {
                    self.feedback.asked();
                }
                self.stream.consume()?;
                return Ok(Some(0));
            }
            Some(Event::ServerError(error)) => return Err(server_failure(&error)),
            Some(Event::CopyDone | Event::CommandComplete | Event::ReadyForQuery) => {
                return Err(Failure::retry("postgres", "the server ended the stream"));
            }
        };
        let size = payload.len();
        let message = Message::parse(payload).map_err(|error| {
            Failure::stop("protocol", format!("the message at {start} is not understood: {error}"))
        })?;
        if let Message::Begin(begin) = &message
            && self.snapshots.holds(begin.commit_lsn)
        {
            self.snapshots.hold();
            self.enter(Phase::Snapshot, now);
            return Ok(Some(0));
        }
        self.batch.clear(ARENA_KEEPS);
        let mut tools = Tools {
            relations: &mut self.relations,
            snapshots: &mut self.snapshots,
            sink: core.sink,
            batch: &mut self.batch,
            metrics: core.metrics,
        };
        match self.applier.apply(&message, At { lsn: start, now_nanos }, &mut tools)? {
            Applied::Done(effect) => {
                self.stream.consume()?;
                self.received = self.received.max(start);
                if self.produce(core, effect)? == Produced::Full {
                    self.enter(Phase::QueueFull(effect), now);
                } else if self.snapshots.has_rows() {
                    self.enter(Phase::Snapshot, now);
                }
            }
            Applied::AwaitPlan(relation) => self.enter(Phase::AwaitPlan(relation), now),
            Applied::AwaitDestination(relation, destination) => {
                let task = self.relations.destination(relation, destination);
                self.enter(Phase::AwaitDestination(relation, task), now);
            }
        }
        Ok(Some(size))
    }

    /// Hands the batch to the producer; afterwards the effect.
    fn produce(&mut self, core: &mut Core<'_>, effect: Effect) -> Result<Produced, Failure> {
        if !self.batch.is_empty() {
            let Core { sink, metrics, .. } = core;
            let produced = sink.produce(&mut self.batch, |bytes, tombstone| {
                if let Some(counted) = effect.counted {
                    let kind = if tombstone { RecordKind::Tombstone } else { counted.kind };
                    metrics.record(counted.table, kind, bytes as u64);
                }
            });
            match produced {
                Ok(Produced::All) => {}
                Ok(Produced::Full) => return Ok(Produced::Full),
                Err(error) => return Err(send_failure(&error, &self.batch)),
            }
        }
        if let Some(end) = effect.closes {
            core.sink.commit(end, core.metrics);
        }
        self.produced = self.received;
        Ok(Produced::All)
    }

    fn fill(&mut self, core: &mut Core<'_>, now: Instant) -> Result<(), Failure> {
        if let Some(nap) = self.pace.nap() {
            std::thread::sleep(nap);
            core.metrics.spent(Activity::WaitingPostgres, nap);
        }
        match self.stream.fill()? {
            Fill::Read(bytes) => {
                self.last_heard = now;
                self.pace.read(bytes);
                Ok(())
            }
            Fill::Full => Ok(()),
            Fill::Closed => Err(Failure::retry("postgres", "the server closed the connection")),
            Fill::WouldBlock if now.duration_since(self.last_heard) > self.silence_limit => {
                let limit = humantime::format_duration(self.silence_limit);
                Err(Failure::retry("postgres", format!("the server was silent for {limit}")))
            }
            Fill::WouldBlock => {
                self.pause_for_data(core, now);
                Ok(())
            }
        }
    }

    /// How long nothing needs to be done if nothing happens.
    fn idle(&self, core: &Core<'_>, now: Instant) -> Duration {
        let feedback = self.feedback.due_in(now);
        if core.sink.has_in_flight() { feedback.min(REPORT_INTERVAL) } else { feedback }
    }

    fn pause_for_data(&mut self, core: &mut Core<'_>, now: Instant) {
        let timeout = self.idle(core, now);
        if self.stream.has_buffered() {
            return;
        }
        let started = Instant::now();
        wait(Some(self.stream.fd()), self.stream.wants_write(), core.wake, timeout);
        core.metrics.spent(Activity::WaitingPostgres, started.elapsed());
    }

    /// Waits without looking at the socket: what arrives there cannot be taken now.
    fn pause(&self, core: &mut Core<'_>, timeout: Duration, activity: Activity) {
        let started = Instant::now();
        wait(None, false, core.wake, timeout);
        core.metrics.spent(activity, started.elapsed());
    }
}

/// The server answers each status update that asks for it; silence for longer means it is gone.
fn silence_limit(wal_sender_timeout: Option<Duration>) -> Duration {
    wal_sender_timeout.unwrap_or(Duration::from_secs(60)).max(Duration::from_secs(10))
}

/// A refusal of the producer that is no full queue.
pub(super) fn send_failure(error: &SendError, batch: &Batch) -> Failure {
    let topic = batch.peek().map_or("?", |record| &**record.topic());
    match error {
        SendError::TooLarge { bytes } => Failure::stop(
            "row",
            format!("a record for topic {topic} takes up to {bytes} bytes, more than allowed"),
        )
        .remedy(
            "raise kafka.max_record_bytes together with max.message.bytes of the topic, exclude \
             the large column (exclude_columns), or shrink the row",
        ),
        SendError::Rejected(..) => {
            Failure::stop("kafka", format!("a record for topic {topic} is refused: {error}"))
        }
        SendError::QueueFull | SendError::Fatal { .. } => {
            Failure::retry("kafka", error.to_string())
        }
    }
}

fn server_failure(error: &ServerError) -> Failure {
    let failure = Failure::retry("postgres", format!("the server ended the stream: {error}"));
    // Raised on every read of a slot that is older than its publication.
    let publication = error.message().is_some_and(|message| message.contains("publication"));
    if error.code.as_str() == "42704" && publication {
        return Failure::stop("publication", failure.message).remedy(
            "a publication must exist before the slot's position: create it, then \
             `walferry slot drop` and `walferry slot create`",
        );
    }
    // The server meets a value that it cannot send: it would meet it again on every connect.
    if error.code.in_class("22") {
        return Failure::stop("postgres", failure.message)
            .remedy("the server's log names the value's table; correct or exclude it");
    }
    failure
}
