use std::time::Instant;

use rdkafka::mocking::MockCluster;

use super::*;
use crate::config::settings::{RegistryAuth, RegistrySettings};
use crate::failure::Class;
use crate::kafka::fixtures::settings;
use crate::kafka::{Batch, Producer, Token, TopicName};

/// A registry that no test here needs.
fn registry() -> Registry {
    Registry::new(&RegistrySettings {
        urls: vec!["http://127.0.0.1:1".to_owned()],
        auth: RegistryAuth::None,
        auto_register: false,
        ca_file: None,
        timeout: Duration::from_secs(1),
    })
    .unwrap()
}

fn options() -> TailOptions {
    TailOptions {
        topics: vec!["t".to_owned()],
        from_beginning: true,
        json: false,
        limit: None,
        follow: false,
        colour: false,
    }
}

fn produce(kafka: &KafkaSettings, values: &[&[u8]]) {
    let producer = Producer::new("shop", kafka, Duration::from_secs(20)).unwrap();
    let topic: TopicName = "t".into();
    let mut batch = Batch::default();
    for value in values {
        let mut record = batch.record(&topic);
        record.partition(1);
        record.timestamp_millis(1_000);
        record
            .value(|arena| {
                arena.extend_from_slice(value);
                Ok::<_, ()>(())
            })
            .unwrap();
        record.finish();
    }
    for record in batch.records() {
        producer.send(record, Token(0)).unwrap();
    }
    let mut reports = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while reports.len() < values.len() {
        assert!(Instant::now() < deadline);
        producer.poll(&mut reports);
        std::thread::yield_now();
    }
}

async fn printed(kafka: &KafkaSettings, options: &TailOptions) -> Result<String, Failure> {
    let mut out = Vec::new();
    print("shop", kafka, registry(), options, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_topic_is_printed_to_its_end_or_to_the_limit() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 3, 1).unwrap();
    let kafka = settings(&cluster.bootstrap_servers(), &[]);
    assert_eq!(printed(&kafka, &options()).await.unwrap(), "");

    produce(&kafka, &[b"one", b"two", b"\xff"]);
    assert_eq!(
        printed(&kafka, &options()).await.unwrap(),
        "1@0 · - \"one\"\n1@1 · - \"two\"\n1@2 · - {\"base64\":\"/w==\"}\n"
    );
    let limited = TailOptions { limit: Some(1), follow: true, json: true, ..options() };
    assert_eq!(
        printed(&kafka, &limited).await.unwrap(),
        "{\"topic\":\"t\",\"partition\":1,\"offset\":0,\"timestamp\":1000,\"key\":null,\
         \"value\":\"one\",\"headers\":{}}\n"
    );
    let from_now = TailOptions { from_beginning: false, ..options() };
    assert_eq!(printed(&kafka, &from_now).await.unwrap(), "");
}

#[tokio::test]
async fn framed_records_need_the_registry() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 3, 1).unwrap();
    let kafka = settings(&cluster.bootstrap_servers(), &[]);
    produce(&kafka, &[&[0, 0, 0, 0, 1, 2]]);
    let failure = printed(&kafka, &options()).await.unwrap_err();
    assert_eq!((failure.class, failure.kind), (Class::Retry, "registry"));
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named() {
    let cluster = MockCluster::new(1).unwrap();
    // The mock creates what it is asked for, a broker does not: say so in its stead.
    cluster
        .topic_error("t", rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        .unwrap();
    let kafka = settings(&cluster.bootstrap_servers(), &[]);
    let failure = printed(&kafka, &options()).await.unwrap_err();
    assert_eq!(failure.class, Class::Stop);
    assert!(failure.message.contains("no topic t"), "{}", failure.message);
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_it_in_peace() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 3, 1).unwrap();
    let kafka = settings(&cluster.bootstrap_servers(), &[]);
    produce(&kafka, &[b"one"]);
    let follow = TailOptions { follow: true, ..options() };
    print("shop", &kafka, registry(), &follow, &mut Gone).await.unwrap();
}
