use rdkafka::mocking::MockCluster;

use super::*;
use crate::failure::Class;
use crate::kafka::batch::{Batch, TopicName};
use crate::kafka::fixtures::settings;
use crate::kafka::{Producer, Token};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Writes records with the given keys and values to the position topic, in order.
fn write(kafka: &KafkaSettings, records: &[(&str, Option<&str>)]) {
    let producer = Producer::new("shop", kafka, TIMEOUT).unwrap();
    let topic: TopicName = topic_name("shop").into();
    let mut batch = Batch::default();
    for (key, value) in records {
        let mut record = batch.record(&topic);
        record.key(|arena| append(arena, key)).unwrap();
        if let Some(value) = value {
            record.value(|arena| append(arena, value)).unwrap();
        }
        record.finish();
    }
    for record in batch.records() {
        producer.send(record, Token(0)).unwrap();
    }
    let mut reports = Vec::new();
    let deadline = Instant::now() + TIMEOUT;
    while reports.len() < records.len() {
        assert!(Instant::now() < deadline);
        producer.poll(&mut reports);
        std::thread::yield_now();
    }
}

fn append(arena: &mut Vec<u8>, text: &str) -> Result<(), ()> {
    arena.extend_from_slice(text.as_bytes());
    Ok(())
}

async fn newest_after(records: &[(&str, Option<&str>)]) -> Option<Vec<u8>> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(&topic_name("shop"), 1, 1).unwrap();
    let kafka = settings(&cluster.bootstrap_servers(), &[]);
    if !records.is_empty() {
        write(&kafka, records);
    }
    let admin = Admin::new("shop", &kafka, TIMEOUT).unwrap();
    read(&admin, "shop", &kafka, TIMEOUT).await.unwrap().position
}

#[tokio::test]
async fn an_empty_topic_has_no_position() {
    assert_eq!(newest_after(&[]).await, None);
}

#[tokio::test]
async fn the_last_record_of_the_key_is_the_newest() {
    let records = [("shop", Some("1")), ("shop", Some("2")), ("other", Some("3"))];
    assert_eq!(newest_after(&records).await.as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_tombstone_takes_the_position_back() {
    assert_eq!(newest_after(&[("shop", Some("1")), ("shop", None)]).await, None);
}

#[tokio::test]
async fn a_record_far_before_the_end_is_found() {
    let mut records = vec![("shop", Some("far"))];
    records.extend(std::iter::repeat_n(("other", Some("x")), 1000));
    assert_eq!(newest_after(&records).await.as_deref(), Some(&b"far"[..]));
}

#[tokio::test]
async fn a_topic_of_other_keys_has_no_position() {
    let records = vec![("other", Some("x")); 300];
    assert_eq!(newest_after(&records).await, None);
}

#[tokio::test]
async fn a_cluster_that_is_down_is_named() {
    let kafka = settings("127.0.0.1:1", &[]);
    let admin = Admin::new("shop", &kafka, Duration::from_millis(500)).unwrap();
    let failure = read(&admin, "shop", &kafka, TIMEOUT).await.unwrap_err();
    assert_eq!(failure.class, Class::Retry);
    assert!(failure.message.contains("127.0.0.1:1"), "{}", failure.message);
}
