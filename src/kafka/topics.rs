//! Topics are there, with their leaders, before the first record.
//!
//! librdkafka fails every queued record of a topic that it judges missing, so [`Admin::ensure`]
//! creates what is missing and returns only when the cluster's metadata shows a leader for every
//! partition. Somebody else may create the same topic at the same time; that is as good.
//!
//! Partition counts decide where keys go. walferry never changes them; the pump reports it when
//! somebody else does.

mod outlook;
mod remedy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::batch::TopicName;
use super::observer::Observer;
use super::properties;
use crate::config::settings::{KafkaSettings, TopicSettings};
use crate::failure::Failure;

pub use outlook::Outlook;
pub(crate) use remedy::acl_command;
pub(super) use remedy::unreachable_failure;

/// A topic as it should be created if it is missing. An existing topic is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: TopicName,
    /// Otherwise a missing topic is an error that names the command to create it.
    pub create: bool,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    pub replication_factor: Option<i32>,
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    #[must_use]
    pub fn new(name: TopicName, settings: &TopicSettings) -> TopicSpec {
        TopicSpec {
            name,
            create: settings.create,
            partitions: settings.partitions,
            replication_factor: settings.replication_factor,
            config: settings.config.clone(),
        }
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    pub partitions: i32,
    /// Created by this call.
    pub created: bool,
}

/// Asks the cluster about its topics and creates them.
///
/// Keeps a connection open and so costs memory: make it for a start or a new topic, then drop it.
/// Every call ends within the timeout that it was made with, with a [`Failure`] that names
/// `kafka.bootstrap_servers` if no broker answers.
pub struct Admin {
    /// Taken by `drop` only.
    client: Option<Arc<MetadataClient>>,
    config: ClientConfig,
    bootstrap_servers: String,
    timeout: Duration,
}

/// Whether the cluster is to create topics, or only to say whether it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Creation {
    Real,
    Rehearsed,
}

/// A producer that never produces: librdkafka's lightest client that serves error callbacks.
type MetadataClient = BaseProducer<Observer>;

impl Admin {
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// When librdkafka does not take the properties.
    pub fn new(name: &str, kafka: &KafkaSettings, timeout: Duration) -> Result<Admin, Failure> {
        let config = properties::admin(name, kafka);
        let client = config
            .create_with_context(Observer::quiet())
            .map_err(|error| properties::creation_failure(&error))?;
        Ok(Admin {
            client: Some(Arc::new(client)),
            config,
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            timeout,
        })
    }

    /// Creates the topics that are missing and waits until all have their leaders.
    ///
    /// The result is in the order of `topics`. The same name may come more than once: the first
    /// counts.
    ///
    /// # Errors
    ///
    /// - [`Retry`](crate::failure::Class::Retry): no broker answers, or leaders do not appear, in
    ///   time.
    /// - [`Stop`](crate::failure::Class::Stop): a topic is missing and may not be created, by its
    ///   settings or by the cluster's.
    pub async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<TopicInfo>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut missing: Vec<&TopicSpec> = Vec::new();
        for spec in topics {
            let known = missing.iter().any(|other| other.name == spec.name);
            if !known && self.topic_state(&spec.name, deadline).await? == TopicState::Missing {
                missing.push(spec);
            }
        }
        self.create_missing(&missing, deadline, Creation::Real).await?;
        let mut infos = Vec::with_capacity(topics.len());
        for spec in topics {
            let partitions = self.wait_for_leaders(&spec.name, deadline).await?;
            let created = missing.iter().any(|other| other.name == spec.name);
            infos.push(TopicInfo { name: Arc::clone(&spec.name), partitions, created });
        }
        Ok(infos)
    }

    /// The number of partitions of a topic, `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// When no broker answers in time, or the topic may not be described.
    pub async fn partitions(&self, topic: &str) -> Result<Option<i32>, Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.topic_state(topic, deadline).await? {
                TopicState::Missing => return Ok(None),
                TopicState::Ready { partitions } => return Ok(Some(partitions)),
                TopicState::Electing => self.pause(topic, deadline).await?,
            }
        }
    }

    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// First offset and end of a partition, the true end: open transactions count.
    pub(crate) async fn offsets(&self, topic: &str, partition: i32) -> Result<(i64, i64), Failure> {
        let name = topic.to_owned();
        let timeout = self.timeout;
        self.blocking(move |client| client.client().fetch_watermarks(&name, partition, timeout))
            .await
            .map_err(|error| self.failure(&error, &format!("reading the offsets of {topic}")))
    }

    /// The value of one of a topic's settings, as the brokers apply it.
    pub(crate) async fn topic_setting(
        &self,
        topic: &str,
        setting: &str,
    ) -> Result<Option<String>, Failure> {
        let admin = self.admin_client()?;
        let answer =
            admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &self.options()).await;
        close(admin);
        let resources = match answer {
            Ok(resources) => resources,
            Err(error) => {
                return Err(self.failure(&error, &format!("reading the settings of {topic}")));
            }
        };
        let entry = resources.iter().flatten().find_map(|resource| resource.get(setting));
        // A refused resource comes back without entries, not as an error.
        let Some(entry) = entry else {
            return Err(Failure::stop(
                "kafka",
                format!("the settings of topic {topic} may not be read, so they cannot be checked"),
            )
            .remedy(acl_command(&self.bootstrap_servers, topic, "DescribeConfigs")));
        };
        Ok(entry.value.clone())
    }

    async fn create_missing(
        &self,
        missing: &[&TopicSpec],
        deadline: Instant,
        creation: Creation,
    ) -> Result<(), Failure> {
        if missing.is_empty() {
            return Ok(());
        }
        let forbidden: Vec<&TopicSpec> =
            missing.iter().copied().filter(|spec| !spec.create).collect();
        if !forbidden.is_empty() {
            return Err(self.must_be_created(&forbidden));
        }
        let admin = self.admin_client()?;
        let new: Vec<NewTopic<'_>> = missing.iter().map(|spec| new_topic(spec)).collect();
        let rehearsed = creation == Creation::Rehearsed;
        let options =
            self.options().operation_timeout(Some(remaining(deadline))).validate_only(rehearsed);
        let answer = admin.create_topics(&new, &options).await;
        close(admin);
        let results = answer.map_err(|error| self.failure(&error, "creating topics"))?;
        for result in results {
            match result {
                Ok(_) if rehearsed => {}
                Ok(topic) => tracing::info!(%topic, "created topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(self.refused(&topic, code, missing)),
            }
        }
        Ok(())
    }

    async fn wait_for_leaders(&self, topic: &str, deadline: Instant) -> Result<i32, Failure> {
        loop {
            match self.topic_state(topic, deadline).await? {
                TopicState::Ready { partitions } => return Ok(partitions),
                // Another broker than the one that created it may answer.
                TopicState::Missing | TopicState::Electing => self.pause(topic, deadline).await?,
            }
        }
    }

    async fn pause(&self, topic: &str, deadline: Instant) -> Result<(), Failure> {
        if Instant::now() >= deadline {
            return Err(Failure::retry(
                "kafka",
                format!(
                    "topic {topic} has partitions without a leader for {}",
                    humantime::format_duration(self.timeout)
                ),
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    async fn topic_state(&self, topic: &str, deadline: Instant) -> Result<TopicState, Failure> {
        let name = topic.to_owned();
        let answer = self
            .blocking(move |client| {
                let metadata = client.client().fetch_metadata(Some(&name), remaining(deadline))?;
                Ok(metadata.topics().iter().find(|t| t.name() == name).map(topic_state))
            })
            .await;
        match answer {
            Ok(Some(Ok(state))) => Ok(state),
            Ok(None) => Ok(TopicState::Missing),
            Ok(Some(Err(code))) => Err(self.unusable(topic, code)),
            Err(error) => Err(self.failure(&error, "asking for metadata")),
        }
    }

    /// Runs a call of librdkafka that blocks, off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&MetadataClient) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let Some(client) = self.client.clone() else {
            return Err(KafkaError::Canceled);
        };
        let task = tokio::task::spawn_blocking(move || {
            let result = call(&client);
            if result.is_err() {
                // Serves the error callbacks that say why.
                for _ in 0..EVENTS_AFTER_ERROR {
                    client.poll(Duration::ZERO);
                }
            }
            result
        });
        task.await.unwrap_or(Err(KafkaError::Canceled))
    }

    fn admin_client(&self) -> Result<AdminClient<DefaultClientContext>, Failure> {
        AdminClient::from_config(&self.config).map_err(|error| properties::creation_failure(&error))
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout))
    }
}

impl Drop for Admin {
    /// Closing a client can wait for a name look-up: not on a thread of the runtime.
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            close(client);
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopicState {
    Missing,
    /// Some partition has no leader.
    Electing,
    Ready {
        partitions: i32,
    },
}

fn topic_state(topic: &rdkafka::metadata::MetadataTopic) -> Result<TopicState, RDKafkaErrorCode> {
    match topic.error() {
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
            return Ok(TopicState::Missing);
        }
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {
            return Ok(TopicState::Electing);
        }
        Some(error) => return Err(error.into()),
        None => {}
    }
    let partitions = topic.partitions();
    if partitions.is_empty() || partitions.iter().any(|p| p.leader() < 0) {
        return Ok(TopicState::Electing);
    }
    Ok(TopicState::Ready { partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX) })
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let mut new = NewTopic::new(
        &spec.name,
        spec.partitions.unwrap_or(BROKER_DEFAULT),
        TopicReplication::Fixed(spec.replication_factor.unwrap_or(BROKER_DEFAULT)),
    );
    for (name, value) in &spec.config {
        new = new.set(name, value);
    }
    new
}

/// Never zero: librdkafka takes that for "do not wait".
fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Drops a client on a thread of its own: librdkafka joins its threads first.
pub(crate) fn close<T: Send + 'static>(client: T) {
    let thread = std::thread::Builder::new().name("kafka-close".to_owned());
    // Without a thread it is dropped here, with the closure.
    let _ = thread.spawn(move || drop(client));
}

/// What the admin protocol calls "the broker's default".
const BROKER_DEFAULT: i32 = -1;

/// Leaders appear some ten milliseconds after the creation.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A failed call leaves a few events: one per broker and address.
const EVENTS_AFTER_ERROR: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;
    use crate::kafka::fixtures::settings;
    use rdkafka::mocking::MockCluster;

    fn spec(name: &str) -> TopicSpec {
        TopicSpec {
            name: Arc::from(name),
            create: true,
            partitions: Some(3),
            replication_factor: None,
            config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
        }
    }

    fn info(name: &str, partitions: i32) -> TopicInfo {
        TopicInfo { name: Arc::from(name), partitions, created: false }
    }

    #[tokio::test]
    async fn a_cluster_that_is_down_is_named_within_the_timeout() {
        let timeout = Duration::from_millis(700);
        // A port of the loopback network on which nothing listens.
        let admin = Admin::new("shop", &settings("127.0.0.1:1", &[]), timeout).unwrap();
        let started = Instant::now();
        let failure = admin.ensure(&[spec("t")]).await.unwrap_err();
        assert!(started.elapsed() < timeout + Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(failure.class, Class::Retry);
        assert!(failure.message.contains("127.0.0.1:1"), "{}", failure.message);
        assert!(failure.message.contains("bootstrap_servers"), "{}", failure.message);
        assert!(failure.message.contains("refused"), "no reason in: {}", failure.message);
    }

    #[tokio::test]
    async fn existing_topics_are_taken_as_they_are() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 4, 1).unwrap();
        let kafka = settings(&cluster.bootstrap_servers(), &[]);
        let admin = Admin::new("shop", &kafka, Duration::from_secs(10)).unwrap();
        let infos = admin.ensure(&[spec("t"), spec("t")]).await.unwrap();
        assert_eq!(infos, [info("t", 4), info("t", 4)]);
    }
}
