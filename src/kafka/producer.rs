//! The producer: one thread sends and collects the acknowledgements.
//!
//! Wraps librdkafka's idempotent producer so that a record costs no lock, channel or allocation of
//! ours:
//!
//! - A record carries a [`Token`] through librdkafka as a plain integer; its report brings it back.
//! - Reports are collected by [`Producer::poll`] on the thread that calls it: the delivery callback
//!   runs there, inside the call, and pushes to a thread-local list that is the caller's own `Vec`.
//!   Should another thread ever serve the callbacks (librdkafka's `flush` does), its reports wait
//!   in a list behind a lock, which the next `poll` takes: no report is lost, none comes twice.
//!
//! **Order.** librdkafka keeps the order of `send` per partition, through retries too (idempotence,
//! at most five requests in flight). A record that [`Producer::send`] refuses was not enqueued, so
//! the caller may wait and send the same one again. A record that failed *after* it was enqueued
//! must not be sent again through the same producer: later ones may have been delivered already.
//!
//! **Memory.** librdkafka counts keys and values against `max_in_flight_bytes` and refuses more.
//! Delivered records count until [`Producer::poll`] has fetched their reports.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::types::RDKafkaErrorCode;

use super::batch::{RecordView, TopicName};
use super::classify::{ErrorClass, ErrorCode, classify};
use super::observer::{Connection, Observer};
use super::position_topic;
use super::properties;
use crate::config::settings::KafkaSettings;
use crate::failure::Failure;

/// Names a record from [`Producer::send`] to its [`Report`]; its meaning is the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What became of an enqueued record. Each record gets exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub token: Token,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All in-sync replicas have it.
    Delivered,
    /// It was not delivered, or it is not known whether it was. The batch that it was part of has
    /// the same fate, so the class need not be this record's fault.
    Failed(ErrorCode, ErrorClass),
    /// Dropped by [`Producer::purge`]: neither acknowledged nor at fault, and possibly delivered if
    /// it was under way.
    Purged,
}

/// Why a record was not enqueued. Nothing has happened to it: the same record may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Fetch reports, then try again: the bounds of what may be in flight are reached.
    #[error("the producer's queue is full")]
    QueueFull,
    #[error("the record takes up to {bytes} bytes, more than kafka.max_record_bytes")]
    TooLarge {
        /// See [`wire_bytes`].
        bytes: usize,
    },
    /// The producer is of no more use.
    #[error("the producer has failed: {reason} ({code:?})")]
    Fatal { code: ErrorCode, reason: String },
    #[error("the record is refused ({0:?})")]
    Rejected(ErrorCode, ErrorClass),
}

/// What [`Producer::purge`] drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// What was not sent yet. What is under way still gets its true report.
    Queued,
    /// Also what was sent and not answered: it may have been delivered or not.
    Everything,
}

/// The one producer of a stream.
///
/// Made anew after a [`Outcome::Failed`] report or a [`SendError::Fatal`].
pub struct Producer {
    inner: Arc<Inner>,
    /// Asked about to find out whether brokers answer.
    probe_topic: Arc<str>,
    probing: Arc<AtomicBool>,
}

type Inner = BaseProducer<Context>;

impl Producer {
    /// Makes a producer; connections are made in the background, so that this does not fail when
    /// brokers are down.
    ///
    /// `message_timeout` bounds how long librdkafka tries to deliver a record before it reports
    /// [`RDKafkaErrorCode::MessageTimedOut`].
    ///
    /// # Errors
    ///
    /// When librdkafka does not take the properties.
    pub fn new(
        name: &str,
        kafka: &KafkaSettings,
        message_timeout: Duration,
    ) -> Result<Producer, Failure> {
        let context = Context {
            observer: Observer::announcing(),
            stray: Stray::default(),
            failed_topic: OnceLock::new(),
        };
        let inner: Inner = properties::producer(name, kafka, message_timeout)
            .create_with_context(context)
            .map_err(|error| properties::creation_failure(&error))?;
        let producer = Producer {
            inner: Arc::new(inner),
            probe_topic: Arc::from(position_topic::topic_name(name)),
            probing: Arc::default(),
        };
        producer.look_for_brokers();
        Ok(producer)
    }

    /// Enqueues a record. Never blocks.
    ///
    /// Without a partition the key decides, as in the Java client; without either it is random.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the record was not enqueued then.
    pub fn send(&self, record: RecordView<'_>, token: Token) -> Result<(), SendError> {
        if record.timestamp_millis().is_some_and(|millis| millis < 0) {
            // Brokers refuse it, and with it the whole batch that it travels in.
            return Err(rejected(RDKafkaErrorCode::InvalidTimestamp));
        }
        let headers = record.headers();
        let base: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: record.topic(),
            partition: record.partition(),
            payload: record.value(),
            key: record.key(),
            timestamp: record.timestamp_millis(),
            headers: (headers.len() > 0).then(|| native_headers(headers)),
            delivery_opaque: token.to_opaque(),
        };
        self.inner.send(base).map_err(|(error, _)| self.send_error(&error, record))
    }

    /// Appends the reports of all records whose fate is known by now. Does not wait.
    ///
    /// All events of librdkafka are served here: without regular calls nothing is noticed and the
    /// queue stays full.
    pub fn poll(&self, reports: &mut Vec<Report>) {
        SERVING.with(|serving| serving.reports.replace(Some(mem::take(reports))));
        for _ in 0..MAX_EVENTS_PER_POLL {
            let before = SERVING.with(|serving| serving.events.get());
            // One event a call, and nothing tells whether there was one but the callbacks.
            self.inner.poll(Duration::ZERO);
            if SERVING.with(|serving| serving.events.get()) == before {
                break;
            }
        }
        if let Some(collected) = SERVING.with(|serving| serving.reports.take()) {
            *reports = collected;
        }
        self.context().stray.take_into(reports);
        if self.connected() == Connection::Down {
            self.look_for_brokers();
        }
    }

    /// Records enqueued whose report was not yet fetched, and other events waiting for
    /// [`poll`](Self::poll). Zero means that every report was fetched.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    /// Drops enqueued records; their reports say [`Outcome::Purged`]. Does not wait.
    pub fn purge(&self, what: Purge) {
        self.inner.purge(match what {
            Purge::Queued => PurgeConfig::default().queue(),
            Purge::Everything => PurgeConfig::default().queue().inflight(),
        });
    }

    /// The error that has made the producer useless, if there is one.
    #[must_use]
    pub fn fatal_error(&self) -> Option<(ErrorCode, String)> {
        self.inner.client().fatal_error()
    }

    /// Whether brokers answer. Costs one atomic load.
    #[must_use]
    pub fn connected(&self) -> Connection {
        self.context().observer.connection()
    }

    /// Why brokers do not answer, in librdkafka's words (hosts and socket or TLS errors).
    #[must_use]
    pub fn disconnect_reason(&self) -> Option<String> {
        self.context().observer.reason()
    }

    /// Asks about topics over the producer's own connections.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        Inquiry { producer: Arc::downgrade(&self.inner) }
    }

    /// The topic of the first record that was reported as [`Outcome::Failed`].
    #[must_use]
    pub fn failed_topic(&self) -> Option<&TopicName> {
        self.context().failed_topic.get()
    }

    fn context(&self) -> &Context {
        self.inner.context()
    }

    fn send_error(&self, error: &KafkaError, record: RecordView<'_>) -> SendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => SendError::QueueFull,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                SendError::TooLarge { bytes: wire_bytes(record) }
            }
            Some(code) if classify(code) == ErrorClass::Fatal => {
                let (code, reason) =
                    self.fatal_error().unwrap_or_else(|| (code, "fatal error".to_owned()));
                SendError::Fatal { code, reason }
            }
            Some(code) => rejected(code),
            // A NUL byte in the topic's name.
            None => rejected(RDKafkaErrorCode::InvalidTopic),
        }
    }

    /// Asks for metadata until a broker answers, on a thread that exists only meanwhile.
    ///
    /// At the start, because librdkafka asks for its producer id when metadata arrive and else only
    /// after half a second (measured: first record after 60 ms instead of 510 ms). After an outage,
    /// because it says when it has lost all brokers but not when one is back.
    fn look_for_brokers(&self) {
        if self.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let probe = Probe {
            producer: Arc::downgrade(&self.inner),
            topic: Arc::clone(&self.probe_topic),
            probing: Arc::clone(&self.probing),
        };
        let thread = std::thread::Builder::new().name("kafka-probe".to_owned());
        if thread.spawn(move || probe.run()).is_err() {
            self.probing.store(false, Ordering::Relaxed);
        }
    }
}

/// Questions to the cluster over a producer's connections; does not keep the producer alive.
///
/// What is answered, the producer knows from then on as well: a count of partitions that has
/// changed counts for its next record.
#[derive(Clone)]
pub struct Inquiry {
    producer: Weak<Inner>,
}

impl Inquiry {
    /// The number of partitions of a topic; `None` without an answer, or without the topic.
    pub async fn partitions(&self, topic: TopicName) -> Option<i32> {
        let producer = Weak::clone(&self.producer);
        let ask = move || {
            let producer = producer.upgrade()?;
            let metadata = producer.client().fetch_metadata(Some(&topic), INQUIRY_TIMEOUT).ok()?;
            let topic = metadata.topics().iter().find(|known| known.name() == &*topic)?;
            let count = i32::try_from(topic.partitions().len()).ok()?;
            (topic.error().is_none() && count > 0).then_some(count)
        };
        tokio::task::spawn_blocking(ask).await.ok().flatten()
    }
}

impl std::fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inquiry").finish_non_exhaustive()
    }
}

/// Brokers that take longer are asked again later.
const INQUIRY_TIMEOUT: Duration = Duration::from_secs(5);

impl Drop for Producer {
    /// Nothing is sent any more when this returns; closing connections can take longer (a name
    /// look-up cannot be interrupted) and happens on a thread of its own.
    fn drop(&mut self) {
        self.purge(Purge::Everything);
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name("kafka-close".to_owned());
        // Without a thread the last owner closes it, in place.
        let _ = thread.spawn(move || drop(inner));
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("in_flight", &self.in_flight())
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl Token {
    fn to_opaque(self) -> usize {
        // Pointers carry the token; on a 64-bit target, the only kind supported, it fits.
        const { assert!(size_of::<usize>() == size_of::<u64>()) };
        self.0 as usize
    }
}

/// The most bytes that `record` can take on the wire: what `kafka.max_record_bytes` bounds.
///
/// A record for which this is within the bound is never [`SendError::TooLarge`], so that it can be
/// judged before it is sent.
#[must_use]
pub fn wire_bytes(record: RecordView<'_>) -> usize {
    let headers: usize = record
        .headers()
        .map(|(name, value)| HEADER_OVERHEAD + name.len() + value.map_or(0, <[u8]>::len))
        .sum();
    RECORD_OVERHEAD
        + record.key().map_or(0, <[u8]>::len)
        + record.value().map_or(0, <[u8]>::len)
        + headers
}

fn rejected(code: ErrorCode) -> SendError {
    SendError::Rejected(code, classify(code))
}

fn native_headers<'a>(
    headers: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> OwnedHeaders {
    let native = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(native, |native, (key, value)| native.insert(Header { key, value }))
}

/// What the thread that serves callbacks collects.
struct Serving {
    /// Callbacks so far; a poll that leaves it alone had nothing to serve.
    events: Cell<u64>,
    /// The caller's list while [`Producer::poll`] is on this thread's stack.
    reports: RefCell<Option<Vec<Report>>>,
}

thread_local! {
    static SERVING: Serving =
        const { Serving { events: Cell::new(0), reports: RefCell::new(None) } };
}

fn count_event() {
    SERVING.with(|serving| serving.events.set(serving.events.get().wrapping_add(1)));
}

/// Reports that were served outside [`Producer::poll`].
#[derive(Debug, Default)]
struct Stray {
    any: AtomicBool,
    reports: Mutex<Vec<Report>>,
}

impl Stray {
    fn push(&self, report: Report) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        self.any.store(true, Ordering::Release);
    }

    fn take_into(&self, reports: &mut Vec<Report>) {
        if self.any.swap(false, Ordering::Acquire) {
            reports.append(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

struct Context {
    observer: Observer,
    stray: Stray,
    /// The topic of the first record that was not delivered.
    failed_topic: OnceLock<TopicName>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        count_event();
        self.observer.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        count_event();
        self.observer.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {
        count_event();
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let outcome = match result {
            Ok(_) => {
                self.observer.answered();
                Outcome::Delivered
            }
            Err((error, message)) => {
                let outcome = failed(error);
                if matches!(outcome, Outcome::Failed(..)) {
                    self.failed_topic.get_or_init(|| TopicName::from(message.topic()));
                }
                outcome
            }
        };
        let report = Report { token: Token(opaque as u64), outcome };
        let collected = SERVING.with(|serving| {
            serving.events.set(serving.events.get().wrapping_add(1));
            match serving.reports.borrow_mut().as_mut() {
                Some(reports) => {
                    reports.push(report);
                    true
                }
                None => false,
            }
        });
        if !collected {
            self.stray.push(report);
        }
    }
}

fn failed(error: &KafkaError) -> Outcome {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => Outcome::Purged,
        Some(code) => Outcome::Failed(code, classify(code)),
        None => Outcome::Failed(RDKafkaErrorCode::Fail, ErrorClass::Retry),
    }
}

/// Asks for the metadata of one topic until a broker answers.
struct Probe {
    producer: Weak<Inner>,
    topic: Arc<str>,
    probing: Arc<AtomicBool>,
}

impl Probe {
    fn run(self) {
        while let Some(producer) = self.producer.upgrade() {
            let observer = &producer.context().observer;
            if observer.connection() == Connection::Up {
                break;
            }
            // Waits inside for a broker to come back; what fails at once is not repeated at once.
            match producer.client().fetch_metadata(Some(&self.topic), PROBE_TIMEOUT) {
                Ok(_) => observer.answered(),
                Err(_) => std::thread::sleep(PROBE_PAUSE),
            }
        }
        self.probing.store(false, Ordering::Relaxed);
    }
}

/// Far above what can wait at once; keeps a flood of log lines from holding the pump.
const MAX_EVENTS_PER_POLL: usize = 100_000;

/// How long a dropped producer may linger because a probe still holds it; it sends nothing then.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// The bound that librdkafka itself applies to the fields around key, value and headers of a record
/// (format 2): lengths and deltas as varints of full size.
const RECORD_OVERHEAD: usize = 36;

/// Two lengths as varints.
const HEADER_OVERHEAD: usize = 10;

#[cfg(test)]
mod tests;
