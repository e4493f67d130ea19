//! The harness itself: servers answer, faults are faults, listeners let in whom they should.

use integration_tests::fake_registry::{Answer, FakeRegistry};
use integration_tests::kafka::{Kafka, Listener, Operation, PAT, Resource};
use integration_tests::postgres::{Options, Postgres, Stop};
use integration_tests::{Decoder, Proxy, Registry, unique, wait};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread")]
async fn each_database_is_a_fresh_one_on_a_shared_server() {
    let server = Postgres::shared().await;
    let (first, second) = tokio::join!(server.database("shop"), server.database("shop"));
    for database in [&first, &second] {
        database
            .execute("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2)")
            .await;
        assert_eq!(database.value::<i64>("SELECT count(*) FROM orders").await, 2);
    }
    assert_ne!(first.name(), second.name());
    let version: String = first.value("SHOW server_version").await;
    assert!(version.starts_with(&server.version().to_string()), "{version}");
    assert_eq!(first.value::<String>("SHOW wal_level").await, "logical");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_shows_what_its_consumer_confirmed() {
    let database = Postgres::shared().await.database("slots").await;
    let slot = unique("slot");
    assert_eq!(database.confirmed_lsn(&slot).await, None);
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    database.query(&create, &[]).await;
    database.execute("CREATE TABLE rows (id int)").await;
    let end = database.current_lsn().await;
    assert!(database.confirmed_lsn(&slot).await.unwrap() < end);
    let advance =
        format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_flush_lsn())");
    database.query(&advance, &[]).await;
    database.wait_confirmed(&slot, end, wait::LONG).await;
    database.wait_slot_active(&slot, false, wait::LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_server_keeps_its_data_over_stops_and_crashes() {
    let options = Options::default().setting("wal_sender_timeout = '5s'");
    let server = Postgres::own(Postgres::default_version(), options).await;
    let database = server.database("crash").await;
    database.execute("CREATE TABLE rows (id int)").await;
    assert_eq!(database.value::<String>("SHOW wal_sender_timeout").await, "5s");
    for mode in [Stop::Fast, Stop::Immediate] {
        database.execute("INSERT INTO rows VALUES (1)").await;
        server.restart(mode).await;
    }
    database.execute("INSERT INTO rows VALUES (1)").await;
    server.kill();
    server.start().await;
    assert_eq!(database.value::<i64>("SELECT count(*) FROM rows").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_hba_is_as_the_test_wants_it() {
    let server = Postgres::own(
        Postgres::default_version(),
        Options::default().hba("host all guest samehost reject"),
    )
    .await;
    let database = server.database("hba").await;
    database.execute("CREATE ROLE guest LOGIN PASSWORD 'right'").await;
    let connect = async |password: &str| {
        let url = database.url_as(&format!("guest:{password}"), "sslmode=disable");
        tokio_postgres::connect(&url, NoTls).await.map(drop).map_err(|error| error.code().cloned())
    };
    assert!(connect("right").await.is_err());
    server.set_hba(&["host all guest samehost scram-sha-256"]).await;
    wait::until("the new rules", wait::LONG, async || connect("right").await.ok()).await;
    assert_eq!(connect("wrong").await.unwrap_err().unwrap().code(), "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_leads_to_the_server() {
    let database = Postgres::shared().await.database("socket").await;
    let (client, connection) =
        tokio_postgres::connect(&database.socket_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT inet_client_addr() IS NULL", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_with_all_that_belongs_to_them() {
    let kafka = Kafka::shared().await;
    let topic = unique("records");
    assert_eq!(kafka.records(&topic).await, []);
    assert_eq!(kafka.partitions(&topic).await, 0);
    kafka.create_topic(&topic, 3, &[("cleanup.policy", "compact")]).await;
    assert_eq!(kafka.partitions(&topic).await, 3);
    assert!(kafka.topics().await.contains(&topic));
    let headers: &[(&str, &[u8])] = &[("id", b"7")];
    kafka
        .produce_through(Listener::Plaintext, &topic, Some(b"k"), Some(b"v"), headers)
        .await
        .unwrap();
    let (partition, offset) = kafka.produce(&topic, Some(b"k"), None).await;
    let records = kafka.records(&topic).await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].header("id").as_deref(), Some("7"));
    assert_eq!(
        (records[0].key.as_deref(), records[0].value.as_deref()),
        (Some(&b"k"[..]), Some(&b"v"[..]))
    );
    assert_eq!(
        (records[1].partition, records[1].offset, &records[1].value),
        (partition, offset, &None)
    );
    assert_eq!(kafka.first_records(&topic, 1, wait::LONG).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_takes_its_own_clients() {
    let kafka = Kafka::shared().await;
    let topic = unique("listeners");
    kafka.create_topic(&topic, 1, &[]).await;
    let listeners = [
        Listener::Plaintext,
        Listener::Ssl,
        Listener::SaslPlaintext,
        Listener::SaslSsl,
        Listener::Mtls,
    ];
    for listener in listeners {
        let sent = kafka.produce_through(listener, &topic, None, Some(b"v"), &[]).await;
        assert!(sent.is_ok(), "{listener:?}: {sent:?}");
    }
    assert_eq!(kafka.records(&topic).await.len(), listeners.len());
}

/// What a client of `listener` is told when it differs from the right one by `changes`.
async fn refused(listener: Listener, changes: &[(&str, &str)]) -> KafkaError {
    let kafka = Kafka::shared().await;
    let topic = unique("refused");
    kafka.create_topic(&topic, 1, &[]).await;
    let mut config = kafka.client_config(listener);
    config.set("message.timeout.ms", "2000");
    for (name, value) in changes {
        match *value {
            "" => drop(config.remove(name)),
            value => drop(config.set(*name, value)),
        }
    }
    let producer: rdkafka::producer::FutureProducer = config.create().unwrap();
    let record = rdkafka::producer::FutureRecord::<(), _>::to(&topic).payload("v");
    producer.send(record, Duration::from_secs(10)).await.unwrap_err().0
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_refuse_strangers() {
    let certificates = Kafka::shared().await.certificates();
    let stranger = certificates.stranger().display().to_string();
    let certificate = certificates.certificate("impostor").display().to_string();
    let key = certificates.key("impostor").display().to_string();
    let no_certificate = [("ssl.certificate.location", ""), ("ssl.key.location", "")];
    let impostor = [("ssl.certificate.location", &*certificate), ("ssl.key.location", &*key)];
    for (listener, changes) in [
        (Listener::Ssl, &[("ssl.ca.location", &*stranger)][..]),
        (Listener::Mtls, &no_certificate),
        (Listener::Mtls, &impostor),
        (Listener::SaslSsl, &[("sasl.password", "wrong")]),
        (Listener::SaslSsl, &[("security.protocol", "ssl")]),
    ] {
        let code = refused(listener, changes).await.rdkafka_error_code();
        assert_eq!(code, Some(RDKafkaErrorCode::MessageTimedOut), "{listener:?} {changes:?}");
    }
    let pat = [("sasl.username", PAT.0), ("sasl.password", PAT.1)];
    let unauthorised = refused(Listener::SaslPlaintext, &pat).await;
    assert_eq!(unauthorised.rdkafka_error_code(), Some(RDKafkaErrorCode::TopicAuthorizationFailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_do_what_it_is_allowed() {
    let kafka = Kafka::shared().await;
    let (allowed, forbidden) = (unique("allowed"), unique("forbidden"));
    kafka.allow(PAT.0, Resource::TopicPrefix(&allowed), Operation::Write).await;
    let mut config = kafka.client_config(Listener::SaslSsl);
    config.set("sasl.username", PAT.0).set("sasl.password", PAT.1);
    let producer: rdkafka::producer::FutureProducer = config.create().unwrap();
    for topic in [&allowed, &forbidden] {
        kafka.create_topic(topic, 1, &[]).await;
        let record = rdkafka::producer::FutureRecord::<(), _>::to(topic).payload("v");
        let sent = producer.send(record, wait::LONG).await.map_err(|(error, _)| error);
        assert_eq!(sent.is_ok(), topic == &allowed, "{topic}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_broker_keeps_its_records_over_stop_kill_and_pause() {
    let kafka = Kafka::own(&[]).await;
    kafka.create_topic("kept", 1, &[]).await;
    kafka.produce("kept", None, Some(b"1")).await;
    kafka.stop().await;
    kafka.start().await;
    kafka.produce("kept", None, Some(b"2")).await;
    kafka.kill();
    kafka.start().await;
    kafka.pause();
    let producing = kafka.produce("kept", None, Some(b"3"));
    tokio::pin!(producing);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut producing).await.is_err());
    kafka.resume();
    producing.await;
    kafka.proxy().refuse();
    let mut config = kafka.client_config(Listener::Proxied);
    let producer: rdkafka::producer::FutureProducer =
        config.set("message.timeout.ms", "1000").create().unwrap();
    let record = || rdkafka::producer::FutureRecord::<(), _>::to("kept").payload("4");
    assert!(producer.send(record(), Duration::ZERO).await.is_err());
    kafka.proxy().pass();
    wait::until("a delivery through the proxy", wait::LONG, async || {
        producer.send(record(), Duration::ZERO).await.ok()
    })
    .await;
    assert_eq!(kafka.records("kept").await.len(), 4);
}

const SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"shop","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"int"},
        {"name":"photo","type":["null","bytes"],"default":null}]}],"default":null},
    {"name":"after","type":["null","Value"],"default":null},
    {"name":"ratio","type":"double"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn registered_schemas_decode_what_was_written_with_them() {
    let registry = Registry::shared().await;
    let subject = unique("subject");
    assert_eq!(registry.latest(&subject).await, None);
    let id = registry.register(&subject, SCHEMA).await.unwrap();
    assert_eq!(registry.register(&subject, SCHEMA).await.unwrap(), id);
    assert_eq!(registry.versions(&subject).await, [1]);
    assert!(registry.subjects().await.contains(&subject));
    assert_eq!(registry.latest(&subject).await.unwrap().0, id);
    // before: null; after: id 21, photo 0xff; ratio: NaN.
    let mut bytes = vec![0];
    bytes.extend(id.to_be_bytes());
    bytes.extend([0, 2, 42, 2, 2, 0xff]);
    bytes.extend(f64::NAN.to_le_bytes());
    let decoded = Decoder::new(registry).json(&bytes).await;
    assert_eq!(
        decoded,
        json!({"before": null, "after": {"id": 21, "photo": {"bytes": "ff"}}, "ratio": "NaN"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn incompatible_schemas_are_refused_until_allowed() {
    let registry = Registry::shared().await;
    let subject = unique("compatible");
    let schema = |kind: &str| {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"id","type":"{kind}"}}]}}"#)
    };
    registry.register(&subject, &schema("int")).await.unwrap();
    let (status, reason) = registry.register(&subject, &schema("string")).await.unwrap_err();
    assert_eq!(status, 409, "{reason}");
    registry.set_compatibility(&subject, "NONE").await;
    registry.register(&subject, &schema("string")).await.unwrap();
    assert_eq!(registry.versions(&subject).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_registry_keeps_its_schemas_over_a_restart() {
    let registry = Registry::own().await;
    let id = registry.register("kept", SCHEMA).await.unwrap();
    registry.stop().await;
    registry.start().await;
    assert_eq!(registry.latest("kept").await.unwrap().0, id);
    registry.kill();
    registry.start().await;
    assert!(registry.schema(id).await.is_some());
}

/// A server that sends back what it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                tokio::io::copy(&mut reads, &mut writes).await
            });
        }
    });
    port
}

async fn round_trip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut [0; 5]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_cuts_refuses_and_swallows() {
    let proxy = Proxy::to(echo().await);
    let connect = async || TcpStream::connect(("127.0.0.1", proxy.port())).await;
    let mut stream = connect().await.unwrap();
    round_trip(&mut stream).await.unwrap();
    assert_eq!((proxy.accepted(), proxy.open(), proxy.bytes()), (1, 1, (5, 5)));

    proxy.cut();
    assert!(stream.read_exact(&mut [0; 1]).await.is_err());
    let mut stream = connect().await.unwrap();
    round_trip(&mut stream).await.unwrap();

    proxy.refuse();
    assert!(stream.read_exact(&mut [0; 1]).await.is_err());
    wait::until("a refusal", wait::LONG, async || connect().await.err()).await;
    proxy.pass();
    let mut stream = wait::until("a connection", wait::LONG, async || connect().await.ok()).await;
    round_trip(&mut stream).await.unwrap();

    proxy.black_hole();
    let mut new = connect().await.unwrap();
    for stream in [&mut stream, &mut new] {
        let silence = tokio::time::timeout(Duration::from_millis(200), round_trip(stream)).await;
        assert!(silence.is_err(), "{silence:?}");
    }
    proxy.pass();
    for mut stream in [stream, new] {
        stream.read_exact(&mut [0; 5]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_delays_throttles_and_closes_one_half() {
    let proxy = Proxy::to(echo().await);
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    round_trip(&mut stream).await.unwrap();
    let took = async |stream: &mut TcpStream| {
        let started = Instant::now();
        round_trip(stream).await.unwrap();
        started.elapsed()
    };
    proxy.delay(Duration::from_millis(100));
    assert!(took(&mut stream).await >= Duration::from_millis(200));
    proxy.pass();
    proxy.throttle(50);
    assert!(took(&mut stream).await >= Duration::from_millis(200));
    proxy.pass();
    proxy.half_close();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    stream.write_all(b"still heard").await.unwrap();
    wait::until("the other half", wait::LONG, async || (proxy.bytes().0 >= 26).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fake_registry_answers_as_told() {
    let fake = FakeRegistry::start(Answer::json(200, r#"{"id":7}"#)).await;
    fake.next(Answer::html(200));
    fake.next(Answer::too_many_requests(3));
    fake.next(Answer::incompatible("reader lacks a field"));
    fake.next(Answer::Close);
    let ask = async || {
        // Once: a client library may try a closed connection again.
        let mut stream = TcpStream::connect(("127.0.0.1", fake.port())).await.unwrap();
        let request = "POST /subjects HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ask().await.contains("<!DOCTYPE html>"));
    assert!(ask().await.contains("429") && fake.requests()[0].body == "{}");
    assert!(ask().await.contains("reader lacks a field"));
    assert_eq!(ask().await, "");
    assert!(ask().await.ends_with(r#"{"id":7}"#));
    assert_eq!(fake.requests().len(), 5);
    assert_eq!(fake.requests()[4].path, "/subjects");
}
