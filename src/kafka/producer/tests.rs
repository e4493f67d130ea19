use std::time::Instant;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::batch::{Batch, TopicName};
use crate::kafka::fixtures::settings;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 3, 1).unwrap();
    cluster
}

fn producer(cluster: &Cluster, properties: &[(&str, &str)]) -> Producer {
    let kafka = settings(&cluster.bootstrap_servers(), properties);
    Producer::new("shop", &kafka, Duration::from_secs(20)).unwrap()
}

fn batch(topic: &str, count: usize) -> Batch {
    let topic: TopicName = topic.into();
    let mut batch = Batch::default();
    for number in 0..count {
        let mut record = batch.record(&topic);
        record.key(|arena| write(arena, &number.to_be_bytes())).unwrap();
        record.value(|arena| write(arena, b"value")).unwrap();
        record.finish();
    }
    batch
}

fn write(arena: &mut Vec<u8>, bytes: &[u8]) -> Result<(), ()> {
    arena.extend_from_slice(bytes);
    Ok(())
}

fn collect(producer: &Producer, count: usize) -> Vec<Report> {
    let mut reports = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while reports.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} reports: {producer:?}", reports.len());
        producer.poll(&mut reports);
        std::thread::yield_now();
    }
    reports
}

#[test]
fn every_record_gets_exactly_one_report() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    let batch = batch("t", 1000);
    for (number, record) in batch.records().enumerate() {
        producer.send(record, Token(number as u64)).unwrap();
    }
    let mut reports = collect(&producer, 1000);
    producer.poll(&mut reports);
    assert_eq!(producer.in_flight(), 0);
    assert_eq!(producer.connected(), Connection::Up);
    assert!(reports.iter().all(|report| report.outcome == Outcome::Delivered));
    let mut tokens: Vec<u64> = reports.iter().map(|report| report.token.0).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..1000).collect::<Vec<_>>());
}

#[test]
fn poll_appends_to_what_the_caller_has() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    let kept = Report { token: Token(u64::MAX), outcome: Outcome::Purged };
    let mut reports = vec![kept];
    producer.poll(&mut reports);
    assert_eq!(reports, [kept]);
}

#[test]
fn reports_served_on_another_thread_are_not_lost() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    let batch = batch("t", 10);
    for (number, record) in batch.records().enumerate() {
        producer.send(record, Token(number as u64)).unwrap();
    }
    let inner = Arc::clone(&producer.inner);
    std::thread::spawn(move || inner.flush(Duration::from_secs(20)).unwrap()).join().unwrap();
    let mut reports = Vec::new();
    producer.poll(&mut reports);
    assert_eq!(reports.len(), 10);
    producer.poll(&mut reports);
    assert_eq!(reports.len(), 10);
}

#[test]
fn a_full_queue_refuses_and_frees_itself_by_polling() {
    let cluster = cluster();
    let mut kafka = settings(&cluster.bootstrap_servers(), &[]);
    kafka.max_in_flight_records = 5;
    let producer = Producer::new("shop", &kafka, Duration::from_secs(20)).unwrap();
    let batch = batch("t", 6);
    let records: Vec<_> = batch.records().collect();
    for record in &records[..5] {
        producer.send(*record, Token(1)).unwrap();
    }
    assert_eq!(producer.send(records[5], Token(2)), Err(SendError::QueueFull));
    collect(&producer, 5);
    producer.send(records[5], Token(2)).unwrap();
    assert_eq!(collect(&producer, 1)[0].token, Token(2));
}

#[test]
fn the_size_bound_is_exact_enough_to_judge_by() {
    let cluster = cluster();
    let mut kafka = settings(&cluster.bootstrap_servers(), &[]);
    kafka.max_record_bytes = 2000;
    let producer = Producer::new("shop", &kafka, Duration::from_secs(20)).unwrap();
    let name: Arc<str> = "header".into();
    let send = |value: usize| {
        let topic: TopicName = "t".into();
        let mut batch = Batch::default();
        let mut record = batch.record(&topic);
        record.value(|arena| write(arena, &vec![7; value])).unwrap();
        record.header(&name, |arena| write(arena, b"x")).unwrap();
        record.null_header(&name);
        record.finish();
        let view = batch.peek().unwrap();
        (wire_bytes(view), producer.send(view, Token(0)))
    };
    for value in 1800..2100 {
        let (bytes, result) = send(value);
        if bytes <= 2000 {
            assert_eq!(result, Ok(()), "{value}");
        } else if let Err(error) = result {
            assert_eq!(error, SendError::TooLarge { bytes });
        }
    }
    assert_eq!(send(2100).1, Err(SendError::TooLarge { bytes: send(2100).0 }));
}

#[test]
fn a_broker_that_refuses_the_size_rejects_the_record() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE],
    );
    producer.send(batch("t", 1).peek().unwrap(), Token(4)).unwrap();
    let reports = collect(&producer, 1);
    assert_eq!(
        reports,
        [Report {
            token: Token(4),
            outcome: Outcome::Failed(
                RDKafkaErrorCode::MessageSizeTooLarge,
                ErrorClass::RejectRecord
            ),
        }]
    );
}

#[test]
fn a_retriable_error_is_retried_and_delivered() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 2],
    );
    producer.send(batch("t", 1).peek().unwrap(), Token(4)).unwrap();
    assert_eq!(collect(&producer, 1)[0].outcome, Outcome::Delivered);
}

#[test]
fn purged_records_are_neither_delivered_nor_failed() {
    let kafka = settings("127.0.0.1:1", &[]);
    let producer = Producer::new("shop", &kafka, Duration::from_secs(60)).unwrap();
    let batch = batch("t", 3);
    for record in batch.records() {
        producer.send(record, Token(9)).unwrap();
    }
    assert_eq!(producer.in_flight().min(3), 3);
    producer.purge(Purge::Queued);
    let reports = collect(&producer, 3);
    assert!(reports.iter().all(|report| report.outcome == Outcome::Purged), "{reports:?}");
}

#[test]
fn records_that_no_broker_takes_time_out() {
    let kafka = settings("127.0.0.1:1", &[]);
    let producer = Producer::new("shop", &kafka, Duration::from_millis(50)).unwrap();
    producer.send(batch("t", 1).peek().unwrap(), Token(0)).unwrap();
    assert_eq!(
        collect(&producer, 1)[0].outcome,
        Outcome::Failed(RDKafkaErrorCode::MessageTimedOut, ErrorClass::Retry)
    );
    assert_eq!(producer.connected(), Connection::Down);
    assert!(producer.disconnect_reason().unwrap().contains("refused"));
}

#[test]
fn brokers_are_found_without_traffic() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while producer.connected() != Connection::Up {
        assert!(Instant::now() < deadline, "{producer:?}");
        std::thread::yield_now();
    }
}

#[test]
fn an_outage_is_noticed_and_so_is_its_end_without_traffic() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    producer.send(batch("t", 1).peek().unwrap(), Token(0)).unwrap();
    collect(&producer, 1);
    let wait_for = |state| {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut reports = Vec::new();
        while producer.connected() != state {
            assert!(Instant::now() < deadline, "not {state:?}: {producer:?}");
            producer.poll(&mut reports);
            std::thread::yield_now();
        }
    };
    cluster.broker_down(1).unwrap();
    wait_for(Connection::Down);
    cluster.broker_up(1).unwrap();
    wait_for(Connection::Up);
    assert_eq!(producer.disconnect_reason(), None);
}

#[test]
fn a_timestamp_before_the_epoch_is_refused_before_it_spoils_a_batch() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    let topic: TopicName = "t".into();
    let mut batch = Batch::default();
    let mut record = batch.record(&topic);
    record.timestamp_millis(-1);
    record.finish();
    assert_eq!(
        producer.send(batch.peek().unwrap(), Token(0)),
        Err(SendError::Rejected(RDKafkaErrorCode::InvalidTimestamp, ErrorClass::RejectRecord))
    );
}

#[test]
fn a_fatal_error_is_told_from_a_refused_record() {
    let cluster = cluster();
    let producer = producer(&cluster, &[]);
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let batch = batch("t", 1);
    // Taken before the producer id was asked for, or refused: both end in the fatal error.
    let _ = producer.send(batch.peek().unwrap(), Token(0));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut reports = Vec::new();
    while producer.fatal_error().is_none() {
        assert!(Instant::now() < deadline, "no fatal error");
        producer.poll(&mut reports);
    }
    let error = producer.send(batch.peek().unwrap(), Token(1)).unwrap_err();
    assert!(matches!(error, SendError::Fatal { .. }), "{error:?}");
}
