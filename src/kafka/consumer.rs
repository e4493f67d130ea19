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

/// Makes a reader that sees what `isolation` says. Does not connect yet.
///
/// # Errors
///
/// When librdkafka does not take the properties.
pub(crate) fn reader(
    name: &str,
    kafka: &KafkaSettings,
    isolation: Isolation,
) -> Result<Reader, Failure> {
    properties::reader(name, kafka, &group(name), isolation)
        .create_with_context(Observer::quiet())
        .map_err(|error| properties::creation_failure(&error))
}

/// As [`reader`], for asynchronous code. Sees committed records only.
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
