//! The way out: the producer, the ledger of what it has in flight, and the position that follows.
//!
//! A [`Sink`] outlives connections to Postgres. Losing replication never drops what was enqueued:
//! it is delivered or fails, its reports reach the ledger, and only then the next connection
//! begins (with a new epoch), so that no repeat can overtake an older record.

use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::delivery::ledger::Settled;
use crate::delivery::{Confirmation, Ledger, Position, SlotOrigin, Tally, Ticket};
use crate::failure::Failure;
use crate::kafka::position_topic::Key;
use crate::kafka::topics::acl_command;
use crate::kafka::{
    Batch, Connection, ErrorClass, ErrorCode, Inquiry, Outcome, Producer, Report, SendError, Token,
    TopicName, position_topic,
};
use crate::postgres::{Lsn, PgTime, Timeline};
use crate::telemetry::{InFlight, NotReady, PumpMetrics, Reason};

/// Whether a batch was taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Produced {
    All,
    /// The producer's queue is full: collect reports, then go on with the same batch.
    Full,
}

/// A delivery that failed after it was enqueued. The stream has to be rebuilt from the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryFailure {
    /// Nothing is wrong with what was sent: the brokers did not answer in time.
    pub(super) is_outage: bool,
    class: ErrorClass,
    reason: String,
    /// The command that allows it, if a right was missing.
    grant: Option<String>,
}

impl DeliveryFailure {
    fn reported(code: ErrorCode, class: ErrorClass, topic: &str, servers: &str) -> DeliveryFailure {
        DeliveryFailure {
            is_outage: code == ErrorCode::MessageTimedOut,
            class,
            reason: format!("{code:?}, topic {topic}"),
            grant: (code == ErrorCode::TopicAuthorizationFailed)
                .then(|| acl_command(servers, topic, "Write")),
        }
    }

    /// As the pump reports it; `hopeless` when trying again has not helped.
    pub(super) fn failure(&self, hopeless: bool) -> Failure {
        let message = format!("a record was not delivered: {}", self.reason);
        match self.class {
            ErrorClass::RejectRecord => Failure::stop("delivery", message).remedy(
                "compare kafka.max_record_bytes with the topic's max.message.bytes, and the \
                 record's timestamp with message.timestamp.*.max.ms",
            ),
            ErrorClass::Table => {
                Failure::stop("delivery", message).remedy(self.grant.as_deref().unwrap_or(
                    "see that the topic exists: with topics.create = true a start makes it",
                ))
            }
            ErrorClass::Retry | ErrorClass::Fatal if hopeless => {
                Failure::stop("delivery", format!("{message}; new producers fared no better"))
            }
            ErrorClass::Retry | ErrorClass::Fatal => Failure::retry("delivery", message),
        }
    }
}

/// What a connection delivers from: written into each position record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) origin: SlotOrigin,
    pub(super) timeline: Timeline,
}

/// How long the producer tries to deliver a record before it gives up (`message.timeout.ms`):
/// twice the server's `wal_sender_timeout`, and at least a minute.
///
/// Finite, because a process that was paused must not send old values long after its successor has
/// taken over, which is when the server has missed it for `wal_sender_timeout`. And no shorter,
/// because a delivery that is given up is repeated: outages that the server sits out with its
/// client are sat out, and so are restarts of brokers. A server that never gives up on its client
/// (0) says nothing about when a successor can come; it is taken for one with the default.
pub(super) fn message_timeout(wal_sender_timeout: Duration) -> Duration {
    if wal_sender_timeout.is_zero() {
        return DEFAULT_MESSAGE_TIMEOUT;
    }
    wal_sender_timeout.saturating_mul(2).clamp(MIN_MESSAGE_TIMEOUT, MAX_MESSAGE_TIMEOUT)
}

/// Of a server with the default `wal_sender_timeout` of a minute.
const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

/// Most restarts of a broker take less.
const MIN_MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most that librdkafka takes.
const MAX_MESSAGE_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

pub(super) struct Sink {
    producer: Producer,
    /// The producer's; see [`message_timeout`].
    message_timeout: Duration,
    bootstrap_servers: String,
    reports: Vec<Report>,
    ledger: Ledger,
    /// The rows of a snapshot, which belong to no unit of the stream.
    tally: Tally,
    confirmation: Confirmation,
    source: Option<Source>,
    position_topic: TopicName,
    position_key: String,
    position_batch: Batch,
    snapshot_key: String,
    /// A snapshot record is not acknowledged yet.
    records_snapshot: bool,
    /// No position past this is written.
    position_limit: Option<Lsn>,
    failed: Option<DeliveryFailure>,
    /// When a report last said that something was delivered, or nothing was in flight.
    progress: Instant,
    /// Records were delivered since the last position record.
    delivered: bool,
    /// Records were delivered on this connection.
    progressed: bool,
}

impl Sink {
    /// The producer looks for its brokers while Postgres is connected to, so it is made before
    /// that server's `wal_sender_timeout` is known: for the default, which most servers have.
    pub(super) fn new(settings: &Settings, now: Instant) -> Result<Sink, Failure> {
        let message_timeout = DEFAULT_MESSAGE_TIMEOUT;
        let producer = Producer::new(&settings.name, &settings.kafka, message_timeout)?;
        Ok(Sink {
            producer,
            message_timeout,
            bootstrap_servers: settings.kafka.bootstrap_servers.clone(),
            reports: Vec::new(),
            ledger: Ledger::new(0, Lsn::INVALID),
            tally: Tally::new(0),
            confirmation: Confirmation::new(Lsn::INVALID),
            source: None,
            position_topic: TopicName::from(position_topic::topic_name(&settings.name)),
            position_key: Key::Position.of(&settings.name),
            position_batch: Batch::default(),
            snapshot_key: Key::Snapshot.of(&settings.name),
            records_snapshot: false,
            position_limit: None,
            failed: None,
            progress: now,
            delivered: false,
            progressed: false,
        })
    }

    /// Begins a connection's ledger at the position `done`. Nothing may be in flight.
    pub(super) fn begin(&mut self, source: Source, done: Lsn, now: Instant) {
        debug_assert_eq!(self.ledger.in_flight(), 0, "a connection over another's records");
        debug_assert_eq!(self.producer.in_flight(), 0, "a connection over another's rows");
        self.ledger = Ledger::new(self.ledger.epoch().wrapping_add(1), done);
        self.tally = Tally::new(self.ledger.epoch());
        self.records_snapshot = false;
        self.position_limit = None;
        self.confirmation = Confirmation::new(done);
        self.source = Some(source);
        self.progress = now;
        self.delivered = false;
        self.progressed = false;
    }

    /// Replaces the producer after a failed delivery. Nothing may be in flight.
    pub(super) fn rebuild(&mut self, settings: &Settings) -> Result<(), Failure> {
        debug_assert_eq!(self.producer.in_flight(), 0, "a producer replaced under its records");
        self.producer = Producer::new(&settings.name, &settings.kafka, self.message_timeout)?;
        self.failed = None;
        Ok(())
    }

    /// Takes over the timeout of the server that is being connected to, with a new producer if it
    /// is another one. Nothing may be in flight.
    pub(super) fn set_message_timeout(
        &mut self,
        settings: &Settings,
        message_timeout: Duration,
    ) -> Result<(), Failure> {
        if message_timeout == self.message_timeout {
            return Ok(());
        }
        self.message_timeout = message_timeout;
        let shown = humantime::format_duration(message_timeout);
        tracing::debug!(message_timeout = %shown, "the producer is made anew for this server");
        self.rebuild(settings)
    }

    /// Hands the rest of `batch` to the producer, in order, as records of the open unit.
    /// `taken` sees each record that was taken: its bytes, and whether it is a tombstone.
    pub(super) fn produce(
        &mut self,
        batch: &mut Batch,
        mut taken: impl FnMut(usize, bool),
    ) -> Result<Produced, SendError> {
        let token = Token(self.ledger.ticket().to_bits());
        while let Some(record) = batch.peek() {
            let (key, value) = (record.key(), record.value());
            let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
            let tombstone = value.is_none();
            match self.producer.send(record, token) {
                Ok(()) => {}
                Err(SendError::QueueFull) => return Ok(Produced::Full),
                Err(error) => return Err(error),
            }
            self.ledger.enqueued(bytes as u64);
            batch.advance();
            taken(bytes, tombstone);
        }
        Ok(Produced::All)
    }

    /// Hands the rest of `batch` to the producer, in order, as rows of a snapshot. `taken` sees the
    /// bytes of each that was taken.
    pub(super) fn produce_rows(
        &mut self,
        batch: &mut Batch,
        table: u32,
        mut taken: impl FnMut(usize),
    ) -> Result<Produced, SendError> {
        let token = Token(self.tally.ticket(table).to_bits());
        while let Some(record) = batch.peek() {
            let bytes = record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len);
            match self.producer.send(record, token) {
                Ok(()) => {}
                Err(SendError::QueueFull) => return Ok(Produced::Full),
                Err(error) => return Err(error),
            }
            self.tally.enqueued(table, bytes as u64);
            batch.advance();
            taken(bytes);
        }
        Ok(Produced::All)
    }

    /// Whether no row of the snapshot's table is in flight.
    pub(super) fn is_durable(&self, table: u32) -> bool {
        self.tally.outstanding(table) == 0
    }

    /// Writes a snapshot record, one after the other. Answers whether the producer took it.
    pub(super) fn write_snapshot_record(&mut self, value: &[u8]) -> Result<bool, SendError> {
        debug_assert!(!self.records_snapshot, "two snapshot records in flight");
        self.position_batch.clear(1024);
        let (topic, key) = (&self.position_topic, &self.snapshot_key);
        position_topic::record(&mut self.position_batch, topic, key, Some(value));
        let ticket = Ticket::SnapshotRecord { epoch: self.ledger.epoch() };
        let Some(record) = self.position_batch.peek() else { return Ok(false) };
        match self.producer.send(record, Token(ticket.to_bits())) {
            Ok(()) => {
                self.records_snapshot = true;
                Ok(true)
            }
            Err(SendError::QueueFull) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes no position past `commit_lsn`, until [`free_position`](Self::free_position): a
    /// snapshot record has to be durable before.
    pub(super) fn limit_position(&mut self, commit_lsn: Lsn) {
        let limit = self.position_limit.map_or(commit_lsn, |limit| limit.min(commit_lsn));
        self.position_limit = Some(limit);
    }

    pub(super) fn free_position(&mut self) {
        self.position_limit = None;
    }

    fn may_be_told(&self) -> Lsn {
        let durable = self.ledger.durable();
        self.position_limit.map_or(durable, |limit| limit.min(durable))
    }

    /// Whether a snapshot record is not acknowledged yet.
    pub(super) fn snapshot_record_in_flight(&self) -> bool {
        self.records_snapshot
    }

    /// Records of changes and rows that are not acknowledged, and about how many bytes they are.
    pub(super) fn in_flight(&self) -> InFlight {
        InFlight {
            records: self.ledger.in_flight() + self.tally.in_flight(),
            bytes: self.ledger.in_flight_bytes() + self.tally.in_flight_bytes(),
        }
    }

    /// The open unit is complete; `end` is just past its commit record.
    pub(super) fn commit(&mut self, end: Lsn, metrics: &mut PumpMetrics) {
        self.ledger.commit(end, &mut |unit: Settled| {
            metrics.transaction_acknowledged(since(unit.commit_time, unix_micros()));
        });
    }

    /// Fetches all reports there are and enters them.
    pub(super) fn collect(&mut self, now: Instant, metrics: &mut PumpMetrics) {
        self.producer.poll(&mut self.reports);
        let unix_micros = unix_micros();
        let mut acknowledged = 0;
        let reports = std::mem::take(&mut self.reports);
        for report in &reports {
            let ticket = Ticket::from_bits(report.token.0);
            match report.outcome {
                Outcome::Delivered => {
                    self.progress = now;
                    acknowledged += u64::from(self.acknowledged(ticket, unix_micros, metrics));
                }
                // Neither an acknowledgement nor a fault: a purge is asked for only on the way out.
                Outcome::Purged => {}
                Outcome::Failed(code, class) => {
                    let topic = self.producer.failed_topic().map_or("(unknown)", |topic| &**topic);
                    self.failed.get_or_insert_with(|| {
                        DeliveryFailure::reported(code, class, topic, &self.bootstrap_servers)
                    });
                }
            }
        }
        self.reports = reports;
        self.reports.clear();
        metrics.acknowledged(acknowledged);
        if self.producer.in_flight() == 0 {
            self.progress = now;
        }
    }

    /// Enters an acknowledgement; whether it is that of a change or a row.
    fn acknowledged(&mut self, ticket: Ticket, now: i64, metrics: &mut PumpMetrics) -> bool {
        match ticket {
            Ticket::Position { epoch } => {
                if epoch == self.ledger.epoch() {
                    self.confirmation.stored();
                }
                false
            }
            Ticket::SnapshotRecord { epoch } => {
                self.records_snapshot &= epoch != self.ledger.epoch();
                false
            }
            Ticket::Row { epoch, table } => {
                self.progressed |= self.tally.acknowledged(epoch, table);
                true
            }
            Ticket::Unit { .. } => {
                let settled = &mut |unit: Settled| {
                    metrics.transaction_acknowledged(since(unit.commit_time, now));
                };
                if self.ledger.acknowledged(ticket, settled) {
                    self.delivered = true;
                    self.progressed = true;
                }
                true
            }
        }
    }

    /// Writes a position record when one is due.
    pub(super) fn write_position(&mut self, urgent: bool, now: Instant) -> Result<(), SendError> {
        let durable = self.may_be_told();
        let Some(done) = self.confirmation.due(durable, self.delivered, urgent, now) else {
            return Ok(());
        };
        let Some(source) = &self.source else { return Ok(()) };
        let position = Position::At {
            origin: source.origin.clone(),
            timeline: source.timeline,
            done,
            partial: None,
        };
        self.position_batch.clear(1024);
        let (topic, key) = (&self.position_topic, &self.position_key);
        position_topic::record(&mut self.position_batch, topic, key, Some(&position.to_bytes()));
        let ticket = Ticket::Position { epoch: self.ledger.epoch() };
        let Some(record) = self.position_batch.peek() else { return Ok(()) };
        match self.producer.send(record, Token(ticket.to_bits())) {
            Ok(()) => {
                self.confirmation.writing(done, now);
                self.delivered = false;
                Ok(())
            }
            // It is due again at the next turn.
            Err(SendError::QueueFull) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// What may be reported to Postgres as flushed.
    pub(super) fn confirmed(&self) -> Lsn {
        self.confirmation.confirmed()
    }

    /// Whether nothing is in flight, and the position says all that was delivered (as far as it
    /// can be written).
    pub(super) fn is_drained(&self) -> bool {
        let told = self.confirmation.confirmed() >= self.may_be_told();
        !self.has_in_flight() && (told || self.failed.is_some())
    }

    /// Whether a report may still come.
    pub(super) fn has_in_flight(&self) -> bool {
        self.producer.in_flight() > 0
    }

    /// The first delivery that failed since the producer was made.
    pub(super) fn failed(&self) -> Option<&DeliveryFailure> {
        self.failed.as_ref()
    }

    /// The producer refused a position record.
    pub(super) fn fail(&mut self, error: &SendError) {
        let class = match error {
            SendError::Rejected(_, class) => *class,
            SendError::QueueFull => ErrorClass::Retry,
            SendError::TooLarge { .. } => ErrorClass::RejectRecord,
            SendError::Fatal { .. } => ErrorClass::Fatal,
        };
        let reason = error.to_string();
        self.failed.get_or_insert(DeliveryFailure { is_outage: false, class, reason, grant: None });
    }

    /// Whether anything was delivered on this connection.
    pub(super) fn has_progressed(&self) -> bool {
        self.progressed
    }

    /// Asks about topics over the producer's connections.
    pub(super) fn inquiry(&self) -> Inquiry {
        self.producer.inquiry()
    }

    /// No broker can be reached: known at once, long before a delivery fails.
    pub(super) fn not_ready(&self) -> Option<NotReady> {
        if self.producer.connected() != Connection::Down {
            return None;
        }
        let reason = self.producer.disconnect_reason().unwrap_or_default();
        Some(NotReady::new(Reason::Kafka, format!("no Kafka broker can be reached: {reason}")))
    }

    /// What Kafka says about itself while nothing is acknowledged.
    pub(super) fn describe_stall(&self) -> String {
        let reason = self.producer.disconnect_reason();
        reason.unwrap_or_else(|| "the brokers answer, but do not acknowledge".to_owned())
    }

    /// How long something has been in flight without any acknowledgement.
    pub(super) fn stalled_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progress)
    }
}

/// The wall clock, in microseconds since the Unix epoch.
pub(super) fn unix_micros() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}

fn since(commit_time: PgTime, unix_micros: i64) -> Duration {
    let micros = unix_micros.saturating_sub(commit_time.unix_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_given_up_after_twice_the_servers_patience() {
        let of = |seconds| message_timeout(Duration::from_secs(seconds)).as_secs();
        assert_eq!(of(60), DEFAULT_MESSAGE_TIMEOUT.as_secs());
        assert_eq!(of(600), 1200);
        assert_eq!(of(5), 60, "longer than a broker's restart");
        assert_eq!(of(0), 120, "never is not for ever");
        assert_eq!(of(i32::MAX as u64), MAX_MESSAGE_TIMEOUT.as_secs());
    }
}
