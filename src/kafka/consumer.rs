//! Readers with explicit partitions and offsets: no group is joined, nothing is committed.

use rdkafka::consumer::{BaseConsumer, StreamConsumer};

use super::observer::Observer;
use super::properties::{self, Isolation};
use crate::config::settings::KafkaSettings;
use crate::failure::Failure;

/// A reader for threads that may block.
pub(crate) type Reader = BaseConsumer<Observer>;

/// A reader for asynchronous code.
pub(crate) type StreamReader = StreamConsumer<Observer>;

/// Makes a reader of what has been written already, in many short stretches: the broker does not
/// wait for more. Sees committed records only. Does not connect yet.
///
/// # Errors
///
/// When librdkafka does not take the properties.
pub(crate) fn tail_reader(name: &str, kafka: &KafkaSettings) -> Result<Reader, Failure> {
    properties::reader(name, kafka, &group(name), Isolation::ReadCommitted)
        .set("fetch.wait.max.ms", "5")
        .create_with_context(Observer::quiet())
        .map_err(|error| properties::creation_failure(&error))
}

/// Makes a reader for asynchronous code. Sees committed records only.
pub(crate) fn stream_reader(name: &str, kafka: &KafkaSettings) -> Result<StreamReader, Failure> {
    properties::reader(name, kafka, &group(name), Isolation::ReadCommitted)
        .create_with_context(Observer::quiet())
        .map_err(|error| properties::creation_failure(&error))
}

/// librdkafka asks for a name although nothing joins the group. That the group may not be described
/// is no error: see [`Observer`].
fn group(name: &str) -> String {
    format!("walferry-{name}")
}
