//! What tests do with topics: make them, write to them, read all that is in them.

use super::{Kafka, Listener};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const REQUEST: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value of the first header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }
}

impl Kafka {
    /// A configuration for a client of the harness.
    pub fn client_config(&self, listener: Listener) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap(listener));
        for (name, value) in self.client_properties(listener) {
            config.set(name, value);
        }
        config
    }

    /// Creates a topic with `name = value` settings; panics if it exists.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = self.admin().create_topics([&topic], &AdminOptions::new()).await;
        created
            .expect("an answer")
            .remove(0)
            .unwrap_or_else(|(topic, code)| panic!("creating {topic}: {code}"));
    }

    pub async fn delete_topic(&self, name: &str) {
        let deleted = self.admin().delete_topics(&[name], &AdminOptions::new()).await;
        deleted
            .expect("an answer")
            .remove(0)
            .unwrap_or_else(|(topic, code)| panic!("deleting {topic}: {code}"));
    }

    /// Raises a topic's number of partitions.
    pub async fn add_partitions(&self, topic: &str, count: usize) {
        let partitions = NewPartitions::new(topic, count);
        let raised = self.admin().create_partitions([&partitions], &AdminOptions::new()).await;
        raised
            .expect("an answer")
            .remove(0)
            .unwrap_or_else(|(topic, code)| panic!("raising {topic}: {code}"));
    }

    /// All topics, Kafka's own excepted.
    pub async fn topics(&self) -> Vec<String> {
        let consumer = self.consumer(Listener::Plaintext);
        blocking(move || {
            let metadata = consumer.fetch_metadata(None, REQUEST).expect("metadata");
            let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
            names
                .filter(|name| {
                    !matches!(name.as_str(), "__consumer_offsets" | "__transaction_state")
                })
                .collect()
        })
        .await
    }

    /// The number of partitions; 0 if there is no such topic.
    pub async fn partitions(&self, topic: &str) -> usize {
        let (consumer, topic) = (self.consumer(Listener::Plaintext), topic.to_owned());
        blocking(move || partitions(&consumer, &topic)).await
    }

    /// One record, acknowledged: its partition and offset.
    pub async fn produce(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> (i32, i64) {
        self.produce_through(Listener::Plaintext, topic, key, value, &[]).await.expect("a delivery")
    }

    /// One record through a listener, with headers.
    pub async fn produce_through(
        &self,
        listener: Listener,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(i32, i64), KafkaError> {
        let producer: FutureProducer = self.client_config(listener).create().expect("a producer");
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: Some(*value) });
        }
        let record = FutureRecord {
            topic,
            partition: None,
            payload: value,
            key,
            timestamp: None,
            headers: Some(owned),
        };
        let delivery = producer.send(record, REQUEST).await.map_err(|(error, _)| error)?;
        Ok((delivery.partition, delivery.offset))
    }

    /// The committed records of a topic up to its present end, partition by partition.
    ///
    /// None if there is no such topic.
    pub async fn records(&self, topic: &str) -> Vec<Record> {
        let mut records = self.read(topic, REQUEST, "its end", |_, at_end| at_end).await;
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The committed records of a topic in order of arrival, read until `enough` says so; panics with
    /// `what` after `deadline`. Waits for the topic as well.
    pub async fn records_until(
        &self,
        topic: &str,
        what: &str,
        deadline: Duration,
        enough: impl FnMut(&[Record]) -> bool + Send + 'static,
    ) -> Vec<Record> {
        let mut enough = enough;
        self.read(topic, deadline, what, move |records, _| enough(records)).await
    }

    /// The first `count` committed records of a topic in order of arrival.
    pub async fn first_records(
        &self,
        topic: &str,
        count: usize,
        deadline: Duration,
    ) -> Vec<Record> {
        let what = format!("{count} records");
        self.records_until(topic, &what, deadline, move |records| records.len() >= count).await
    }

    async fn read(
        &self,
        topic: &str,
        deadline: Duration,
        what: &str,
        enough: impl FnMut(&[Record], bool) -> bool + Send + 'static,
    ) -> Vec<Record> {
        let (consumer, topic, what) =
            (self.consumer(Listener::Plaintext), topic.to_owned(), what.to_owned());
        blocking(move || read(&consumer, &topic, deadline, &what, enough)).await
    }

    fn consumer(&self, listener: Listener) -> BaseConsumer {
        self.client_config(listener)
            .set("group.id", "harness")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .create()
            .expect("a consumer")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client_config(Listener::Plaintext).create().expect("an admin client")
    }
}

/// Runs librdkafka's blocking calls aside, and passes their panics on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> usize {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
    metadata.topics().first().map_or(0, |topic| topic.partitions().len())
}

fn read(
    consumer: &BaseConsumer,
    topic: &str,
    deadline: Duration,
    what: &str,
    mut enough: impl FnMut(&[Record], bool) -> bool,
) -> Vec<Record> {
    let started = Instant::now();
    let mut records = Vec::new();
    let late = |records: &[Record]| {
        let count = records.len();
        assert!(
            started.elapsed() < deadline,
            "waited {deadline:?} for {what} of {topic}; it has {count} records"
        );
    };
    let count = loop {
        match partitions(consumer, topic) {
            0 if enough(&records, true) => return records,
            0 => late(&records),
            count => break i32::try_from(count).expect("a number of partitions"),
        }
        // Serves the client's events while there is nothing to read.
        let _ = consumer.poll(POLL);
    };
    let mut assignment = TopicPartitionList::new();
    for partition in 0..count {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an assignment");
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut ended = HashSet::new();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => records.push(Record::from(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            // Connections that break are made again by the client.
            Some(Err(_)) | None => {}
        }
        if enough(&records, ended.len() == count as usize) {
            return records;
        }
        late(&records);
    }
}
