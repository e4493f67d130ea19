//! The topics that were seen, and how many partitions they had.
//!
//! A key's partition depends on the count: when it changes, records of one key can lie in two
//! partitions, and consumers that rely on their order must know. walferry cannot prevent it, so it
//! says so: when a topic is ensured again, and by asking for the counts of all topics in use every
//! few seconds ([`Counting`]). That goes over the producer's own connections, so that the producer
//! learns of a change within seconds as well, instead of some minutes later.
//!
//! Counts are remembered for as long as the process lives; a change between two runs is not seen.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::task::Task;
use super::wake::Wake;
use crate::config::settings::KafkaSettings;
use crate::delivery::standing::KAFKA_TIMEOUT;
use crate::failure::Failure;
use crate::kafka::topics::TopicSpec;
use crate::kafka::{Admin, Inquiry, TopicName};
use crate::telemetry::Telemetry;

/// Partition counts by topic.
#[derive(Debug)]
pub(super) struct Topics {
    partitions: Mutex<BTreeMap<TopicName, i32>>,
    telemetry: Arc<Telemetry>,
}

impl Topics {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Topics {
        Topics { partitions: Mutex::default(), telemetry }
    }

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
            self.note(&info.name, info.partitions);
        }
        Ok(())
    }

    /// Asks for the counts of up to [`AT_ONCE`] topics that come after `last`, by name; the last
    /// one asked about, if there are more.
    async fn count(&self, inquiry: &Inquiry, last: Option<TopicName>) -> Option<TopicName> {
        let names = self.after(last.as_ref());
        for name in &names {
            if let Some(partitions) = inquiry.partitions(Arc::clone(name)).await {
                self.note(name, partitions);
            }
        }
        names.last().filter(|_| names.len() == AT_ONCE).cloned()
    }

    fn after(&self, last: Option<&TopicName>) -> Vec<TopicName> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let names = partitions.range::<TopicName, _>((from, Bound::Unbounded));
        names.take(AT_ONCE).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Remembers a count, and reports it if the topic had another one.
    fn note(&self, topic: &TopicName, now: i32) {
        let former = {
            let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            partitions.insert(Arc::clone(topic), now)
        };
        if let Some(before) = former.filter(|before| *before != now) {
            tracing::warn!(
                topic = &**topic,
                before,
                now,
                "the number of partitions has changed: keys may go to other partitions now"
            );
            self.telemetry.partitions_changed(topic, before, now);
        }
    }
}

/// The rounds in which the counts are asked for.
pub(super) struct Counting {
    topics: Arc<Topics>,
    next: Instant,
    round: Option<Task<Option<TopicName>>>,
    last: Option<TopicName>,
}

impl Counting {
    pub(super) fn new(topics: Arc<Topics>, now: Instant) -> Counting {
        Counting { topics, next: now + INTERVAL, round: None, last: None }
    }

    /// Begins a round when it is time for one.
    pub(super) fn turn(
        &mut self,
        runtime: &Handle,
        wake: &Wake,
        inquiry: impl FnOnce() -> Inquiry,
        now: Instant,
    ) {
        if let Some(outcome) = self.round.as_mut().and_then(Task::poll) {
            self.round = None;
            self.last = outcome.ok().flatten();
        }
        if self.round.is_some() || now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        let (topics, inquiry, last) = (Arc::clone(&self.topics), inquiry(), self.last.take());
        let round = async move { Ok(topics.count(&inquiry, last).await) };
        self.round = Some(Task::spawn(runtime, wake, round));
    }
}

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);

/// Topics asked about in one round: a request of a millisecond or two for each.
const AT_ONCE: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_a_change() {
        let telemetry = Telemetry::new("shop");
        let topics = Topics::new(Arc::clone(&telemetry));
        let orders = TopicName::from("orders");
        for (count, changes) in [(3, 0), (3, 0), (6, 1), (6, 1)] {
            topics.note(&orders, count);
            assert_eq!(telemetry.partition_changes().len(), changes);
        }
        let change = &telemetry.partition_changes()[0];
        assert_eq!((&*change.topic, change.before, change.now), ("orders", 3, 6));
    }

    #[test]
    fn rounds_go_on_where_the_last_one_ended() {
        let topics = Topics::new(Telemetry::new("shop"));
        let all: Vec<TopicName> =
            (0..AT_ONCE + 3).map(|number| TopicName::from(format!("t{number:03}"))).collect();
        for name in &all {
            topics.note(name, 1);
        }
        let first = topics.after(None);
        assert_eq!(first, all[..AT_ONCE]);
        assert_eq!(topics.after(first.last()), all[AT_ONCE..]);
    }
}
