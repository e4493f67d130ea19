//! Records and the producer.

pub mod batch;

pub use batch::{Batch, RecordView, TopicName};
