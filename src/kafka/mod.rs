//! Records and what carries them: the producer, the topics, and the topic of the position.
//!
//! Everything that speaks to brokers goes through librdkafka. Only [`Producer`] is on the hot path;
//! the others make a client when they are asked something, off the pump, and drop it again.

pub mod batch;
pub mod classify;
pub mod consumer;
pub mod observer;
pub mod position_topic;
pub mod producer;
pub mod properties;
pub mod topics;

#[cfg(test)]
pub(crate) mod fixtures;

pub use batch::{Batch, RecordView, TopicName};
pub use classify::{ErrorClass, ErrorCode, classify};
pub use observer::Connection;
pub use producer::{Inquiry, Outcome, Producer, Purge, Report, SendError, Token, wire_bytes};
pub use topics::{Admin, Outlook, TopicInfo, TopicSpec};
