//! The topic that holds the position: created, verified, and read to its end.
//!
//! `__walferry.<name>.position` has one partition and is compacted, never deleted by age: the
//! newest record with the stream's name as its key is the root of truth for what was delivered, the
//! newest with the key `<name>/snapshot` for which tables were read. This module moves bytes; what
//! they mean is [`crate::delivery::position`]'s and [`crate::snapshot::record`]'s.
//!
//! **Why [`read`] returns the newest records.** The end offset is asked for without regard to
//! transactions, so nothing written before the call lies past it. The tail is read from a little
//! before that end, in windows that double backwards until both keys were met: the last match of
//! the first window that has one is the newest, because every later window was read whole and had
//! none.
//! A window ends at its upper offset or at the end of the partition, whichever the reader meets
//! first, so that a tail of nothing but transaction markers, or a hole left by compaction, ends it
//! too. Only committed records are seen; an open transaction below the end would hide a newer one,
//! so it is an error to try again (its producer dies by its timeout or is fenced by the next).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::batch::{Batch, TopicName};
use super::classify::ErrorCode;
use super::consumer::{self, Reader};
use super::producer::{Outcome, Producer, Token};
use super::topics::{Admin, Outlook, TopicSpec, acl_command, close, unreachable_failure};
use crate::config::settings::{KafkaSettings, TopicSettings};
use crate::failure::{Class, Failure};

/// The topic's name for the stream `name`.
#[must_use]
pub fn topic_name(name: &str) -> String {
    format!("__walferry.{name}.position")
}

/// Creates the topic if it is missing and checks that it keeps the position for ever. Of `topics`
/// only `create` and `replication_factor` count.
///
/// # Errors
///
/// - [`Retry`](crate::failure::Class::Retry): no broker answers in time.
/// - [`Stop`](crate::failure::Class::Stop): it may not be created, or has more than one partition
///   or another clean-up policy, with the command that puts it right.
pub async fn ensure(admin: &Admin, name: &str, topics: &TopicSettings) -> Result<(), Failure> {
    let infos = admin.ensure(&[spec(name, topics)]).await?;
    verify(admin, name, infos.first().map_or(1, |info| info.partitions)).await
}

/// What [`ensure`] would find, without creating anything.
///
/// # Errors
///
/// [`Retry`](crate::failure::Class::Retry): no broker answers in time.
pub async fn outlook(
    admin: &Admin,
    name: &str,
    topics: &TopicSettings,
) -> Result<Outlook, Failure> {
    let outlook = admin.outlook(&[spec(name, topics)]).await?.pop().unwrap_or(Outlook::Creatable);
    let Outlook::Exists { partitions } = outlook else { return Ok(outlook) };
    match verify(admin, name, partitions).await {
        Ok(()) => Ok(outlook),
        Err(failure) if failure.class == Class::Stop => Ok(Outlook::Refused(failure)),
        Err(failure) => Err(failure),
    }
}

/// Whether the topic, which exists, keeps the position for ever.
async fn verify(admin: &Admin, name: &str, partitions: i32) -> Result<(), Failure> {
    let topic = topic_name(name);
    let servers = admin.bootstrap_servers();
    if partitions != 1 {
        return Err(Failure::stop(
            "position",
            format!("topic {topic} has {partitions} partitions instead of one"),
        )
        .remedy(format!(
            "stop walferry, note `walferry position show`, delete the topic, and put the position \
             back with `walferry position set`, which makes it anew: \
             kafka-topics --bootstrap-server {servers} --delete --topic {topic}"
        )));
    }
    let policy = admin.topic_setting(&topic, "cleanup.policy").await?;
    match policy.as_deref() {
        Some("compact") => Ok(()),
        other => Err(Failure::stop(
            "position",
            format!(
                "topic {topic} has cleanup.policy={} instead of compact: the position would be \
                 deleted by age",
                other.unwrap_or("(unknown)")
            ),
        )
        .remedy(format!(
            "kafka-configs --bootstrap-server {servers} --alter --entity-type topics \
             --entity-name {topic} --add-config cleanup.policy=compact"
        ))),
    }
}

/// What is kept under the name of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Position,
    Snapshot,
}

impl Key {
    /// The record's key. No name of a stream has a slash in it.
    #[must_use]
    pub fn of(self, name: &str) -> String {
        match self {
            Key::Position => name.to_owned(),
            Key::Snapshot => format!("{name}/snapshot"),
        }
    }
}

/// The newest records, `None` where there is none (or a tombstone).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    pub position: Option<Vec<u8>>,
    pub snapshot: Option<Vec<u8>>,
}

/// The newest records of the stream `name`; none if there is no topic.
///
/// # Errors
///
/// - [`Retry`](crate::failure::Class::Retry): the end was not reached within `timeout`, or a
///   transaction is open below it.
/// - [`Stop`](crate::failure::Class::Stop): the topic may not be read.
pub async fn read(
    admin: &Admin,
    name: &str,
    kafka: &KafkaSettings,
    timeout: Duration,
) -> Result<Records, Failure> {
    let topic = topic_name(name);
    if admin.partitions(&topic).await?.is_none() {
        return Ok(Records::default());
    }
    let (first, end) = admin.offsets(&topic, PARTITION).await?;
    if first >= end {
        return Ok(Records::default());
    }
    let tail = Tail {
        reader: consumer::tail_reader(name, kafka)?,
        topic,
        keys: [Key::Position, Key::Snapshot].map(|key| key.of(name).into_bytes()),
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        deadline: Instant::now() + timeout,
    };
    let task = tokio::task::spawn_blocking(move || {
        let newest = tail.newest(first, end);
        close(tail.reader);
        newest
    });
    let [position, snapshot] = task.await.map_err(|error| {
        Failure::retry("position", "reading the position was interrupted").source(error)
    })??;
    Ok(Records { position, snapshot })
}

/// Appends the record with this [key](Key::of) to `batch`; without a value a tombstone.
pub(crate) fn record(batch: &mut Batch, topic: &TopicName, key: &str, value: Option<&[u8]>) {
    let mut record = batch.record(topic);
    let copy = |bytes: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(bytes);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = record.key(|out| copy(key.as_bytes(), out));
    if let Some(value) = value {
        let Ok(()) = record.value(|out| copy(value, out));
    }
    record.partition(PARTITION);
    record.finish();
}

/// Writes records, in order, and waits until the brokers have acknowledged them: for the rare
/// moments without a stream. The stream writes them through its own producer. `None` is a tombstone,
/// after which [`read`] finds nothing under that key.
///
/// # Errors
///
/// [`Retry`](crate::failure::Class::Retry): not acknowledged within `timeout`.
pub async fn write(
    name: &str,
    kafka: &KafkaSettings,
    records: &[(Key, Option<Vec<u8>>)],
    timeout: Duration,
) -> Result<(), Failure> {
    let (name, kafka, records) = (name.to_owned(), kafka.clone(), records.to_vec());
    let task =
        tokio::task::spawn_blocking(move || write_blocking(&name, &kafka, &records, timeout));
    task.await.map_err(|error| {
        Failure::retry("position", "writing the position was interrupted").source(error)
    })?
}

fn write_blocking(
    name: &str,
    kafka: &KafkaSettings,
    records: &[(Key, Option<Vec<u8>>)],
    timeout: Duration,
) -> Result<(), Failure> {
    let producer = Producer::new(name, kafka, timeout)?;
    let topic = TopicName::from(topic_name(name));
    let mut batch = Batch::default();
    for (key, value) in records {
        record(&mut batch, &topic, &key.of(name), value.as_deref());
    }
    let failed = |what: String| {
        Failure::retry("position", format!("the position was not written to {topic}: {what}"))
    };
    for record in batch.records() {
        producer.send(record, Token(0)).map_err(|error| failed(error.to_string()))?;
    }
    let mut reports = Vec::new();
    while reports.len() < batch.len() {
        producer.poll(&mut reports);
        std::thread::sleep(Duration::from_millis(1));
    }
    let outcomes = reports.iter().map(|report| report.outcome);
    match outcomes.into_iter().find(|outcome| *outcome != Outcome::Delivered) {
        None => Ok(()),
        Some(Outcome::Failed(ErrorCode::TopicAuthorizationFailed, _)) => {
            Err(Failure::stop("position", format!("topic {topic} may not be written to"))
                .remedy(acl_command(&kafka.bootstrap_servers, &topic, "Write")))
        }
        Some(outcome) => {
            let reason = producer.disconnect_reason();
            Err(failed(reason.unwrap_or_else(|| format!("{outcome:?}"))))
        }
    }
}

fn spec(name: &str, topics: &TopicSettings) -> TopicSpec {
    TopicSpec {
        name: Arc::from(topic_name(name)),
        create: topics.create,
        partitions: Some(1),
        replication_factor: topics.replication_factor,
        config: TOPIC_CONFIG
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// A reader of the tail.
struct Tail {
    reader: Reader,
    topic: String,
    keys: [Vec<u8>; 2],
    bootstrap_servers: String,
    deadline: Instant,
}

/// The newest record of each key that was met: its value, `None` for a tombstone.
type Newest = [Option<Option<Vec<u8>>>; 2];

impl Tail {
    /// Reads backwards in windows from `end`, an offset that nothing older lies past, to `first`.
    fn newest(&self, first: i64, end: i64) -> Result<[Option<Vec<u8>>; 2], Failure> {
        let (_, stable) = self
            .reader
            .fetch_watermarks(&self.topic, PARTITION, self.remaining())
            .map_err(|error| self.failure(&error))?;
        if stable < end {
            return Err(Failure::retry(
                "position",
                format!(
                    "topic {} has an open transaction: another instance, or one that has died, \
                     has not finished it",
                    self.topic
                ),
            ));
        }
        let mut newest = Newest::default();
        let mut upper = end;
        let mut size = FIRST_WINDOW;
        while upper > first && newest.iter().any(Option::is_none) {
            let lower = upper.saturating_sub(size).max(first);
            let older = self.window(lower, upper)?;
            for (known, older) in newest.iter_mut().zip(older) {
                *known = known.take().or(older);
            }
            upper = lower;
            size = size.saturating_mul(2);
        }
        Ok(newest.map(Option::flatten))
    }

    /// The last records of the keys in `lower..upper`.
    fn window(&self, lower: i64, upper: i64) -> Result<Newest, Failure> {
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&self.topic, PARTITION, Offset::Offset(lower))
            .and_then(|()| self.reader.assign(&assignment))
            .map_err(|error| self.failure(&error))?;
        let mut newest = Newest::default();
        let mut last_error = None;
        loop {
            let wait = self.deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                let error = last_error.unwrap_or(KafkaError::NoMessageReceived);
                return Err(self.failure(&error));
            }
            match self.reader.poll(wait.min(POLL_AT_MOST)) {
                None => {}
                Some(Ok(message)) => {
                    if message.offset() >= upper {
                        return Ok(newest);
                    }
                    for (key, newest) in self.keys.iter().zip(&mut newest) {
                        if message.key() == Some(key) {
                            *newest = Some(message.payload().map(<[u8]>::to_vec));
                        }
                    }
                    if message.offset() + 1 >= upper {
                        return Ok(newest);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
                Some(Err(error)) => {
                    self.tolerate(&error)?;
                    last_error = Some(error);
                }
            }
        }
    }

    /// Errors that librdkafka recovers from by itself are waited out until the deadline.
    fn tolerate(&self, error: &KafkaError) -> Result<(), Failure> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err(Failure::stop("position", format!("topic {} may not be read", self.topic))
                    .remedy(acl_command(&self.bootstrap_servers, &self.topic, "Read")))
            }
            _ => Ok(()),
        }
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        let reason = self.reader.context().reason();
        let doing = format!("reading {}", self.topic);
        unreachable_failure(&self.bootstrap_servers, error, reason.as_deref(), &doing)
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

const PARTITION: i32 = 0;

/// Covers the position-only records of a minute's idling; without transactions the very last record
/// is the newest.
const FIRST_WINDOW: i64 = 64;

/// How long one call into librdkafka may take before the deadline is looked at again.
const POLL_AT_MOST: Duration = Duration::from_millis(200);

/// Small segments, because compaction spares the active one: 1 MiB is the least that Kafka 4 takes.
const TOPIC_CONFIG: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

#[cfg(test)]
mod tests;
