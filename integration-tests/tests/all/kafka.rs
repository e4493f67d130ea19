//! Producer, topics and position topic against a real broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration_tests::kafka::{Kafka, Listener, Operation, PAT, Resource};
use integration_tests::{unique, wait};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use walferry::config::settings::{Delivery, KafkaSettings, TopicSettings};
use walferry::failure::{Class, Failure};
use walferry::kafka::position_topic;
use walferry::kafka::position_topic::{Key, Records};
use walferry::kafka::{
    Admin, Batch, Connection, ErrorClass, Outcome, Producer, Report, Token, TopicInfo, TopicName,
    TopicSpec,
};

/// What walferry is told about a listener of the broker.
fn settings(kafka: &Kafka, listener: Listener, properties: &[(&str, &str)]) -> KafkaSettings {
    let own = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    KafkaSettings {
        bootstrap_servers: kafka.bootstrap(listener),
        delivery: Delivery::AtLeastOnce,
        max_in_flight_records: 20_000,
        max_in_flight_bytes: 16 * 1024 * 1024,
        max_record_bytes: 1024 * 1024,
        properties: kafka
            .client_properties(listener)
            .into_iter()
            .chain(own)
            .map(|(name, value)| (name, value.into()))
            .collect(),
    }
}

/// As the user that may do only what the test has allowed.
fn as_pat(kafka: &Kafka) -> KafkaSettings {
    let credentials = [("sasl.username", PAT.0), ("sasl.password", PAT.1)];
    settings(kafka, Listener::SaslPlaintext, &credentials)
}

fn admin(settings: &KafkaSettings) -> Admin {
    Admin::new("it", settings, wait::LONG).unwrap()
}

fn producer(settings: &KafkaSettings) -> Producer {
    Producer::new("it", settings, wait::LONG).unwrap()
}

fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec {
        name: Arc::from(name),
        create: true,
        partitions: Some(partitions),
        replication_factor: Some(1),
        config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
    }
}

fn topics(create: bool) -> TopicSettings {
    TopicSettings {
        create,
        partitions: Some(7),
        replication_factor: Some(1),
        config: BTreeMap::new(),
    }
}

fn send(producer: &Producer, topic: &str, records: &[(&str, &[u8])]) {
    let topic: TopicName = topic.into();
    let mut batch = Batch::default();
    for (key, value) in records {
        let mut record = batch.record(&topic);
        record.key(|arena| append(arena, key.as_bytes())).unwrap();
        record.value(|arena| append(arena, value)).unwrap();
        record.finish();
    }
    for (number, record) in batch.records().enumerate() {
        producer.send(record, Token(number as u64)).unwrap();
    }
}

fn append(arena: &mut Vec<u8>, bytes: &[u8]) -> Result<(), ()> {
    arena.extend_from_slice(bytes);
    Ok(())
}

async fn reports(producer: &Producer, count: usize) -> Vec<Report> {
    let mut reports = Vec::new();
    let deadline = Instant::now() + wait::LONG;
    while reports.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} reports: {producer:?}", reports.len());
        producer.poll(&mut reports);
        tokio::task::yield_now().await;
    }
    reports
}

fn stops(failure: &Failure, remedy: &str) {
    assert_eq!(failure.class, Class::Stop, "{failure}");
    let given = failure.remedy.as_deref().unwrap_or_default();
    assert!(given.contains(remedy), "{failure}: {given}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_are_created_and_others_taken_as_they_are() {
    let kafka = Kafka::shared().await;
    let settings = settings(kafka, Listener::Plaintext, &[]);
    let admin = admin(&settings);
    let (old, new) = (unique("old"), unique("new"));
    kafka.create_topic(&old, 2, &[]).await;
    let infos = admin.ensure(&[spec(&old, 5), spec(&new, 3)]).await.unwrap();
    let info =
        |name: &str, partitions, created| TopicInfo { name: Arc::from(name), partitions, created };
    assert_eq!(infos, [info(&old, 2, false), info(&new, 3, true)]);
    assert_eq!(kafka.partitions(&new).await, 3);

    kafka.add_partitions(&old, 4).await;
    let now = admin.ensure(&[spec(&old, 5), spec(&new, 3)]).await.unwrap();
    assert_eq!(now, [info(&old, 4, false), info(&new, 3, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_may_not_be_created_are_named_with_the_command() {
    let kafka = Kafka::shared().await;
    let name = unique("absent");
    let plain = settings(kafka, Listener::Plaintext, &[]);
    let forbidden = TopicSpec { create: false, ..spec(&name, 3) };
    let failure = admin(&plain).ensure(&[forbidden]).await.unwrap_err();
    stops(&failure, &format!("--create --topic {name} --partitions 3"));

    let impossible = TopicSpec { replication_factor: Some(9), ..spec(&name, 3) };
    let failure = admin(&plain).ensure(&[impossible]).await.unwrap_err();
    stops(&failure, "replication_factor");

    let nonsense =
        TopicSpec { config: BTreeMap::from([("no.such".into(), "1".into())]), ..spec(&name, 3) };
    stops(&admin(&plain).ensure(&[nonsense]).await.unwrap_err(), "config");

    let failure = admin(&as_pat(kafka)).ensure(&[spec(&name, 1)]).await.unwrap_err();
    stops(&failure, "kafka-acls");
    stops(&admin(&plain).ensure(&[spec("no good name", 1)]).await.unwrap_err(), "249");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_within_the_timeout() {
    let kafka = Kafka::shared().await;
    let wrong = settings(kafka, Listener::SaslPlaintext, &[("sasl.password", "hunter2")]);
    let admin = Admin::new("it", &wrong, Duration::from_secs(3)).unwrap();
    let failure = admin.ensure(&[spec("any", 1)]).await.unwrap_err();
    assert_eq!(failure.class, Class::Retry);
    assert!(failure.message.to_lowercase().contains("authentication"), "{failure}");
    assert!(!format!("{failure:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_the_java_client_sends_them() {
    // Java's Utils.murmur2 of each key, from the tests of kafka-clients.
    let keys = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ];
    let kafka = Kafka::shared().await;
    for listener in [Listener::Plaintext, Listener::SaslSsl] {
        let topic = unique("murmur");
        let settings = settings(kafka, listener, &[]);
        admin(&settings).ensure(&[spec(&topic, 7)]).await.unwrap();
        let producer = producer(&settings);
        send(&producer, &topic, &keys.map(|(key, _)| (key, &b"v"[..])));
        let reports = reports(&producer, keys.len()).await;
        assert!(reports.iter().all(|report| report.outcome == Outcome::Delivered));
        let records = kafka.records(&topic).await;
        assert_eq!(records.len(), keys.len());
        for record in records {
            let key = record.key.as_deref().unwrap();
            let (_, hash) = keys.iter().find(|(other, _)| other.as_bytes() == key).unwrap();
            assert_eq!(record.partition, (hash & 0x7fff_ffff) % 7, "{key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_classed() {
    let kafka = Kafka::shared().await;
    let tight = unique("tight");
    kafka.create_topic(&tight, 1, &[("max.message.bytes", "2000")]).await;
    let settings = settings(
        kafka,
        Listener::Plaintext,
        &[("topic.metadata.propagation.max.ms", "500"), ("compression.type", "none")],
    );
    let producer = producer(&settings);
    send(&producer, &tight, &[("k", &[b'x'; 5000])]);
    let outcome = reports(&producer, 1).await[0].outcome;
    assert!(matches!(outcome, Outcome::Failed(_, ErrorClass::RejectRecord)), "{outcome:?}");

    send(&producer, &unique("missing"), &[("k", b"v")]);
    let outcome = reports(&producer, 1).await[0].outcome;
    assert!(matches!(outcome, Outcome::Failed(_, ErrorClass::Table)), "{outcome:?}");

    let shut = unique("shut");
    kafka.create_topic(&shut, 1, &[]).await;
    kafka.allow(PAT.0, Resource::Topic(&shut), Operation::Describe).await;
    // Who may write to any topic at all may be an idempotent producer.
    kafka.allow(PAT.0, Resource::Topic(&unique("open")), Operation::Write).await;
    let pat = Producer::new("it", &as_pat(kafka), wait::LONG).unwrap();
    send(&pat, &shut, &[("k", b"v")]);
    let outcome = reports(&pat, 1).await[0].outcome;
    assert!(matches!(outcome, Outcome::Failed(_, ErrorClass::Table)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_gets_everything_once_in_order() {
    let kafka = Kafka::own(&[]).await;
    let settings = settings(&kafka, Listener::Plaintext, &[]);
    let topic = unique("restart");
    kafka.create_topic(&topic, 1, &[]).await;
    let producer = producer(&settings);
    let values: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let records: Vec<(&str, &[u8])> = values.iter().map(|v| ("k", v.as_bytes())).collect();
    let mut all = Vec::new();
    send(&producer, &topic, &records[..100]);
    all.extend(reports(&producer, 100).await);
    kafka.kill();
    send(&producer, &topic, &records[100..200]);
    wait::until("the outage to be noticed", wait::LONG, || {
        producer.poll(&mut all);
        std::future::ready((producer.connected() == Connection::Down).then_some(()))
    })
    .await;
    assert_eq!(all.len(), 100);
    assert_eq!(producer.in_flight().min(100), 100);
    kafka.start().await;
    send(&producer, &topic, &records[200..]);
    all.extend(reports(&producer, 200).await);
    assert!(all.iter().all(|report| report.outcome == Outcome::Delivered));
    assert_eq!(producer.connected(), Connection::Up);
    let stored = kafka.records(&topic).await;
    let stored: Vec<&[u8]> = stored.iter().map(|r| r.value.as_deref().unwrap()).collect();
    assert_eq!(stored, values.iter().map(String::as_bytes).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_topic_is_made_kept_and_read() {
    let kafka = Kafka::shared().await;
    let settings = settings(kafka, Listener::Plaintext, &[]);
    let admin = admin(&settings);
    let name = unique("stream");
    let topic = position_topic::topic_name(&name);
    let read = async || position_topic::read(&admin, &name, &settings, wait::LONG).await.unwrap();
    assert_eq!(read().await, Records::default());
    stops(
        &position_topic::ensure(&admin, &name, &topics(false)).await.unwrap_err(),
        "cleanup.policy=compact",
    );
    for _ in 0..2 {
        position_topic::ensure(&admin, &name, &topics(true)).await.unwrap();
    }
    assert_eq!(kafka.partitions(&topic).await, 1);
    assert_eq!(read().await, Records::default());
    let producer = producer(&settings);
    send(&producer, &topic, &[(&name, b"1"), (&name, b"2"), ("other", b"3")]);
    reports(&producer, 3).await;
    assert_eq!(read().await.position.as_deref(), Some(&b"2"[..]));
    assert_eq!(read().await.snapshot, None);

    // The snapshot record is found behind thousands of positions, and in one order written with one.
    let record = |key, value: &[u8]| (key, Some(value.to_vec()));
    let both = [record(Key::Snapshot, b"tables"), record(Key::Position, b"4")];
    position_topic::write(&name, &settings, &both, wait::LONG).await.unwrap();
    let positions: Vec<_> = (0..3000).map(|_| (name.as_str(), &b"5"[..])).collect();
    send(&producer, &topic, &positions);
    reports(&producer, 3000).await;
    let expected = Records { position: Some(b"5".to_vec()), snapshot: Some(b"tables".to_vec()) };
    assert_eq!(read().await, expected);
    let none = [(Key::Snapshot, None), (Key::Position, None)];
    position_topic::write(&name, &settings, &none, wait::LONG).await.unwrap();
    assert_eq!(read().await, Records::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_topic_that_would_forget_stops() {
    let kafka = Kafka::shared().await;
    let settings = settings(kafka, Listener::Plaintext, &[]);
    let admin = admin(&settings);
    for (partitions, policy, remedy) in [
        (1, "delete", "--add-config cleanup.policy=compact"),
        (1, "compact,delete", "--add-config cleanup.policy=compact"),
        (2, "compact", "--delete --topic"),
    ] {
        let name = unique("stream");
        let topic = position_topic::topic_name(&name);
        kafka.create_topic(&topic, partitions, &[("cleanup.policy", policy)]).await;
        let failure = position_topic::ensure(&admin, &name, &topics(true)).await.unwrap_err();
        stops(&failure, remedy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_read_without_rights_on_any_group() {
    let kafka = Kafka::shared().await;
    let name = unique("stream");
    let topic = position_topic::topic_name(&name);
    kafka.create_topic(&topic, 1, &[("cleanup.policy", "compact")]).await;
    let producer = producer(&settings(kafka, Listener::Plaintext, &[]));
    send(&producer, &topic, &[(&name, b"1")]);
    reports(&producer, 1).await;

    let pat = as_pat(kafka);
    let admin = Admin::new("it", &pat, wait::LONG).unwrap();
    let read = async || position_topic::read(&admin, &name, &pat, wait::LONG).await;
    stops(&read().await.unwrap_err(), "kafka-acls");
    kafka.allow(PAT.0, Resource::Topic(&topic), Operation::Describe).await;
    kafka.allow(PAT.0, Resource::Topic(&topic), Operation::Read).await;
    let value = wait::until("the grant to take effect", wait::LONG, async || read().await.ok());
    assert_eq!(value.await.position.as_deref(), Some(&b"1"[..]));
    // Its settings may not be read: that they are right cannot be known.
    let failure = position_topic::ensure(&admin, &name, &topics(true)).await.unwrap_err();
    stops(&failure, "DescribeConfigs");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_and_aborted_transactions_do_not_hide_or_fake_a_position() {
    let kafka = Kafka::shared().await;
    let settings = settings(kafka, Listener::Plaintext, &[]);
    let admin = admin(&settings);
    let name = unique("stream");
    let topic = position_topic::topic_name(&name);
    position_topic::ensure(&admin, &name, &topics(true)).await.unwrap();
    let read = async || position_topic::read(&admin, &name, &settings, wait::LONG).await;

    let transactional: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap(Listener::Plaintext))
        .set("transactional.id", &name)
        .create()
        .unwrap();
    transactional.init_transactions(wait::LONG).unwrap();
    let write = |value: &str| {
        transactional.begin_transaction().unwrap();
        transactional.send(BaseRecord::to(&topic).key(&name).payload(value)).unwrap();
        transactional.flush(wait::LONG).unwrap();
    };
    write("1");
    transactional.commit_transaction(wait::LONG).unwrap();
    // The markers of an ended transaction are written a little after it.
    let settled = async || {
        wait::until("the end of the transaction", wait::LONG, async || read().await.ok()).await
    };
    assert_eq!(settled().await.position.as_deref(), Some(&b"1"[..]));
    write("2");
    let failure = read().await.unwrap_err();
    assert_eq!((failure.class, failure.kind), (Class::Retry, "position"), "{failure}");
    transactional.abort_transaction(wait::LONG).unwrap();
    assert_eq!(settled().await.position.as_deref(), Some(&b"1"[..]));
    // A tail of nothing but aborted records and markers, longer than the first window.
    for _ in 0..40 {
        write("3");
        transactional.abort_transaction(wait::LONG).unwrap();
    }
    assert_eq!(settled().await.position.as_deref(), Some(&b"1"[..]));
}
