//! Looks at a topic that cost the broker next to nothing.

use super::unix_micros;
use crate::kafka::{Kafka, Listener};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks: small against the seconds that are measured with it.
const LOOK: Duration = Duration::from_millis(5);
const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// The end of a topic with one partition: how many records the broker has acknowledged.
pub struct TopicEnd {
    consumer: BaseConsumer,
    topic: String,
}

impl TopicEnd {
    pub fn new(kafka: &Kafka, topic: &str) -> Self {
        let config = kafka.client_config(Listener::Plaintext);
        Self { consumer: config.create().expect("a consumer"), topic: topic.to_owned() }
    }

    /// Blocks until the topic has `count` records: when that was. Panics, with what `panic_with`
    /// says, if that takes longer than `deadline`.
    pub fn wait(
        &self,
        count: u64,
        deadline: Duration,
        mut panic_with: impl FnMut() -> String,
    ) -> Instant {
        let started = Instant::now();
        loop {
            let marks = self.consumer.fetch_watermarks(&self.topic, 0, ANSWER);
            let now = Instant::now();
            let end = marks.map_or(0, |(_, end)| end.cast_unsigned());
            if end >= count {
                return now;
            }
            assert!(
                started.elapsed() < deadline,
                "waited {deadline:?} for {count} records in {}; it has {end}:\n{}",
                self.topic,
                panic_with()
            );
            std::thread::sleep(LOOK);
        }
    }
}

/// A record, and when a consumer had it.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// Microseconds since 1970.
    pub at_micros: i64,
    pub value: Option<Vec<u8>>,
}

/// A consumer on a thread of its own, which notes when each record arrives.
pub struct Arrivals {
    received: Receiver<Arrival>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Arrivals {
    /// Reads the only partition of an existing topic from its beginning.
    pub fn of(kafka: &Kafka, topic: &str) -> Self {
        let mut config = kafka.client_config(Listener::Plaintext);
        config.set("group.id", "bench").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, 0, Offset::Beginning).expect("an assignment");
        consumer.assign(&assignment).expect("an assignment");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (send, received) = channel();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // The client makes broken connections anew.
                let Some(Ok(message)) = consumer.poll(POLL) else { continue };
                let (at, at_micros) = (Instant::now(), unix_micros());
                let value = message.payload().map(<[u8]>::to_vec);
                // Nobody wants the rest.
                let _ = send.send(Arrival { at, at_micros, value });
            }
        });
        Self { received, stop, thread: Some(thread) }
    }

    /// Blocks until the next record; panics, with what `panic_with` says, after `deadline`.
    pub fn next(&self, deadline: Duration, panic_with: impl FnOnce() -> String) -> Arrival {
        match self.received.recv_timeout(deadline) {
            Ok(arrival) => arrival,
            Err(_) => panic!("waited {deadline:?} for a record:\n{}", panic_with()),
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its panic, if any, was printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
