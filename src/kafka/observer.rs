//! What librdkafka says about itself: errors and log lines, turned into one line per state change.
//!
//! librdkafka repeats itself for every broker, address and attempt. Here an outage is one warning
//! and its end one notice; everything in between is at debug level. Other complaints are passed on
//! at most once a minute each. Nothing of this can hold a row: librdkafka never prints payloads,
//! and it hides the values of secret properties.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

/// Whether brokers can be reached, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Connection {
    /// No broker has answered yet, and not all have failed.
    Unknown = 0,
    Up = 1,
    /// All brokers were found down, and none has answered since.
    Down = 2,
}

/// Receives the errors and log lines of one client.
#[derive(Debug)]
pub(crate) struct Observer {
    connection: AtomicU8,
    /// The last complaint about a connection, in librdkafka's words.
    reason: Mutex<Option<String>>,
    /// When each other complaint was last passed on.
    said: Mutex<HashMap<String, Instant>>,
    /// Only the long-lived producer reports outages; short-lived clients return theirs as errors.
    announces: bool,
}

impl Observer {
    /// For a client that lives as long as the stream: it logs outages and their ends.
    pub(crate) fn announcing() -> Observer {
        Observer { announces: true, ..Observer::quiet() }
    }

    /// For a client that is asked something once and whose failure is returned to the asker.
    pub(crate) fn quiet() -> Observer {
        Observer {
            connection: AtomicU8::new(Connection::Unknown as u8),
            reason: Mutex::default(),
            said: Mutex::default(),
            announces: false,
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        match self.connection.load(Ordering::Relaxed) {
            1 => Connection::Up,
            2 => Connection::Down,
            _ => Connection::Unknown,
        }
    }

    /// The last complaint about a connection, unless a broker has answered since.
    pub(crate) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// A broker has answered. Cheap when nothing changes: called for every record.
    pub(crate) fn answered(&self) {
        if self.connection.load(Ordering::Relaxed) == Connection::Up as u8 {
            return;
        }
        let before = self.connection.swap(Connection::Up as u8, Ordering::Relaxed);
        lock(&self.reason).take();
        if self.announces && before == Connection::Down as u8 {
            tracing::info!("Kafka brokers answer again");
        }
    }

    fn all_down(&self, summary: &str) {
        let before = self.connection.swap(Connection::Down as u8, Ordering::Relaxed);
        if self.announces && before != Connection::Down as u8 {
            let reason = lock(&self.reason).get_or_insert_with(|| summary.to_owned()).clone();
            tracing::warn!(reason, "no Kafka broker can be reached");
        }
    }

    /// Whether a complaint tells an operator nothing new.
    fn is_routine(&self, facility: &str) -> bool {
        // Without a producer id nothing is sent. Of an outage that is a matter of course; where
        // brokers answer, nothing else says why.
        let known = facility == PRODUCER_ID && self.connection() != Connection::Up;
        known || ROUTINE.contains(&facility)
    }

    /// Whether `what` was not said within the last minute.
    fn may_say(&self, what: &str) -> bool {
        let now = Instant::now();
        let mut said = lock(&self.said);
        if said.get(what).is_some_and(|at| now.duration_since(*at) < REPEAT_AFTER) {
            return false;
        }
        if said.len() >= MAX_REMEMBERED {
            said.clear();
        }
        said.insert(what.to_owned(), now);
        true
    }
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let grave = matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning
        );
        if grave && !self.is_routine(facility) && self.may_say(facility) {
            tracing::warn!(facility, "librdkafka: {line}");
        } else {
            tracing::debug!(facility, "librdkafka: {line}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        match code {
            RDKafkaErrorCode::AllBrokersDown => self.all_down(reason),
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::OperationTimedOut => {
                *lock(&self.reason) = Some(reason.to_owned());
                tracing::debug!(?code, reason, "connection to a Kafka broker failed");
            }
            // Explicit offsets need no group; librdkafka looks for its coordinator all the same.
            RDKafkaErrorCode::GroupAuthorizationFailed => {}
            // The ends that a reader asks for arrive as errors once it is being closed.
            RDKafkaErrorCode::PartitionEOF => {}
            _ if self.may_say(&format!("{code:?}")) => {
                tracing::warn!(?code, reason, "the Kafka client reports an error");
            }
            _ => tracing::debug!(?code, reason, "the Kafka client reports an error"),
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Observer {}

impl ProducerContext for Observer {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// A panic elsewhere leaves these maps as good as they were.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const REPEAT_AFTER: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: usize = 64;

/// Facilities of librdkafka's log that repeat what the error callback says, tell of steps that it
/// repeats by itself, or speak of properties that the other kind of client uses.
const ROUTINE: &[&str] = &["FAIL", "ERROR", "CONFWARN", "REQTMOUT", "OFFSET", "METADATAUPDATE"];

/// The facility of what keeps the producer from its id.
const PRODUCER_ID: &str = "GETPID";

#[cfg(test)]
mod tests {
    use super::*;

    fn global(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::Global(code)
    }

    #[test]
    fn an_outage_keeps_its_reason_until_a_broker_answers() {
        let observer = Observer::quiet();
        assert_eq!(observer.connection(), Connection::Unknown);
        observer.error(global(RDKafkaErrorCode::Resolve), "broker.invalid: no such host");
        observer.error(global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(observer.connection(), Connection::Down);
        assert_eq!(observer.reason().as_deref(), Some("broker.invalid: no such host"));
        observer.answered();
        assert_eq!(observer.connection(), Connection::Up);
        assert_eq!(observer.reason(), None);
    }

    #[test]
    fn what_is_no_fault_is_no_complaint() {
        let observer = Observer::quiet();
        observer.error(global(RDKafkaErrorCode::GroupAuthorizationFailed), "walferry-shop");
        observer.error(global(RDKafkaErrorCode::PartitionEOF), "end of partition");
        assert!(lock(&observer.said).is_empty());
        assert_eq!(observer.connection(), Connection::Unknown);
    }

    #[test]
    fn the_end_of_a_partition_is_no_complaint() {
        let observer = Observer::quiet();
        observer.error(global(RDKafkaErrorCode::PartitionEOF), "reached end of partition");
        assert!(lock(&observer.said).is_empty());
    }

    #[test]
    fn a_producer_id_that_does_not_come_is_news_only_where_brokers_answer() {
        let observer = Observer::quiet();
        assert!(observer.is_routine("GETPID"));
        observer.answered();
        assert!(!observer.is_routine("GETPID"));
        assert!(observer.is_routine("METADATAUPDATE"));
    }

    #[test]
    fn the_same_complaint_is_passed_on_once_a_minute() {
        let observer = Observer::quiet();
        assert!(observer.may_say("GETPID"));
        assert!(!observer.may_say("GETPID"));
        assert!(observer.may_say("TERMINATE"));
    }
}
