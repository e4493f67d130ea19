//! The topics that were seen, and how many partitions they had.
//!
//! A key's partition depends on the count: when it changes, records of one key can lie in two
//! partitions, and consumers that rely on their order must know. walferry cannot prevent it, so it
//! says so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::config::settings::KafkaSettings;
use crate::delivery::standing::KAFKA_TIMEOUT;
use crate::failure::Failure;
use crate::kafka::topics::{TopicInfo, TopicSpec};
use crate::kafka::{Admin, TopicName};

/// Partition counts by topic, for as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Topics {
    partitions: Mutex<HashMap<TopicName, i32>>,
}

impl Topics {
    /// Creates a topic that is missing, and reports a count that has changed.
    ///
    /// # Errors
    /// As [`Admin::ensure`].
    pub(super) async fn ensure(
        &self,
        name: &str,
        kafka: &KafkaSettings,
        topic: TopicSpec,
    ) -> Result<(), Failure> {
        let infos = Admin::new(name, kafka, KAFKA_TIMEOUT)?.ensure(&[topic]).await?;
        for info in infos {
            if let Some(before) = self.changed(&info) {
                tracing::warn!(
                    topic = &*info.name,
                    before,
                    now = info.partitions,
                    "the number of partitions has changed: keys may go to other partitions now"
                );
            }
        }
        Ok(())
    }

    /// Notes the count; the former one if it was another.
    fn changed(&self, info: &TopicInfo) -> Option<i32> {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions
            .insert(TopicName::clone(&info.name), info.partitions)
            .filter(|before| *before != info.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_a_change() {
        let topics = Topics::default();
        let seen = |partitions| {
            topics.changed(&TopicInfo { name: "orders".into(), partitions, created: false })
        };
        assert_eq!(seen(3), None);
        assert_eq!(seen(3), None);
        assert_eq!(seen(6), Some(3));
        assert_eq!(seen(6), None);
    }
}
