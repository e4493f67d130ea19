//! Registry client and `tail` against a real registry.

use std::time::Duration;

use integration_tests::kafka::{Kafka, Listener};
use integration_tests::{Registry, unique};
use walferry::cli::tail::{self, TailOptions};
use walferry::config::settings::{Delivery, KafkaSettings, RegistryAuth, RegistrySettings};
use walferry::failure::{Class, Failure};
use walferry::registry::{self, Error, SchemaId, Subject};

fn settings(registry: &Registry) -> RegistrySettings {
    RegistrySettings {
        urls: vec![registry.url()],
        auth: RegistryAuth::None,
        auto_register: true,
        ca_file: None,
        timeout: Duration::from_secs(20),
    }
}

fn client(settings: &RegistrySettings) -> registry::Registry {
    registry::Registry::new(settings).unwrap()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Value","namespace":"shop.t","fields":[{fields}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_registered_looked_up_and_fetched_as_written() {
    let registry = Registry::shared().await;
    let subject = Subject::value_of(&unique("orders"));
    // Attributes and spacing that a canonical form would drop.
    let schema = record(
        r#"{"name":"a",  "type":{"type":"long","connect.name":"io.debezium.time.Timestamp"}}"#,
    );
    let look_up = RegistrySettings { auto_register: false, ..settings(registry) };
    let error = client(&look_up).register(&subject, &schema).await.unwrap_err();
    assert!(matches!(error, Error::Unregistered { .. }), "{error:?}");
    assert!(!registry.subjects().await.contains(&subject.as_str().to_owned()));

    let id = client(&settings(registry)).register(&subject, &schema).await.unwrap();
    assert_eq!(registry.versions(subject.as_str()).await.len(), 1);
    assert_eq!(client(&settings(registry)).register(&subject, &schema).await, Ok(id));
    assert_eq!(client(&look_up).register(&subject, &schema).await, Ok(id));
    assert_eq!(registry.versions(subject.as_str()).await.len(), 1);
    let fetched = client(&look_up).schema_by_id(id).await.unwrap();
    assert!(fetched.contains("io.debezium.time.Timestamp"), "{fetched}");
    let unknown = SchemaId(2_000_000_000);
    assert_eq!(client(&look_up).schema_by_id(unknown).await, Err(Error::UnknownId(unknown)));
    // The subject exists by now, this schema does not.
    let other = record(r#"{"name":"b","type":"int"}"#);
    let error = client(&look_up).register(&subject, &other).await.unwrap_err();
    assert!(matches!(error, Error::Unregistered { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_schema_is_explained_and_can_be_allowed() {
    let registry = Registry::shared().await;
    let subject = Subject::value_of(&unique("orders"));
    let client = client(&settings(registry));
    let old = record(r#"{"name":"a","type":"long"}"#);
    let new = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    client.register(&subject, &old).await.unwrap();
    let error = client.register(&subject, &new).await.unwrap_err();
    let Error::Incompatible { differences, reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        *differences,
        [
            "field a of shop.t.Value was long and is int now",
            "field b of shop.t.Value was added without a default",
        ]
    );
    assert!(!reason.is_empty());
    let failure = Failure::from(error);
    assert_eq!(failure.class, Class::Stop);
    assert!(failure.remedy.unwrap().contains(subject.as_str()));
    registry.set_compatibility(subject.as_str(), "NONE").await;
    client.register(&subject, &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_schema_is_refused_for_good() {
    let registry = Registry::shared().await;
    let subject = Subject::value_of(&unique("orders"));
    let broken = r#"{"type":"record","name":"9","fields":[]}"#;
    let error = client(&settings(registry)).register(&subject, broken).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_is_asked_again_later() {
    let registry = Registry::own().await;
    let subject = Subject::value_of(&unique("orders"));
    let schema = record(r#"{"name":"a","type":"int"}"#);
    let client = client(&settings(&registry));
    let id = client.register(&subject, &schema).await.unwrap();
    registry.stop().await;
    // What is known needs nobody.
    assert_eq!(client.register(&subject, &schema).await, Ok(id));
    let other = record(r#"{"name":"b","type":"int"}"#);
    let error = client.register(&Subject::key_of("x"), &other).await.unwrap_err();
    assert_eq!(Failure::from(error).class, Class::Retry);
    registry.start().await;
    client.register(&Subject::key_of("x"), &other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_decoded_records() {
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let topic = unique("tail");
    kafka.create_topic(&topic, 1, &[]).await;
    let schema = record(
        r#"{"name":"id","type":"int"},{"name":"at","type":{"type":"long","connect.name":"io.debezium.time.Timestamp"}}"#,
    );
    let id =
        client(&settings(registry)).register(&Subject::value_of(&topic), &schema).await.unwrap();
    let mut value = id.prefix().to_vec();
    value.extend([14, 0]);
    let mut broken = id.prefix().to_vec();
    broken.push(14);
    kafka.produce(&topic, Some(b"k"), Some(&value)).await;
    kafka.produce(&topic, Some(b"k"), None).await;
    kafka.produce(&topic, None, Some(&broken)).await;

    let options = TailOptions {
        topics: vec![topic.clone()],
        from_beginning: true,
        json: false,
        limit: None,
        follow: false,
        colour: false,
    };
    let kafka_settings = KafkaSettings {
        bootstrap_servers: kafka.bootstrap(Listener::Plaintext),
        delivery: Delivery::AtLeastOnce,
        max_in_flight_records: 1000,
        max_in_flight_bytes: 1024 * 1024,
        max_record_bytes: 1024 * 1024,
        properties: Default::default(),
    };
    let mut out = Vec::new();
    tail::print("it", &kafka_settings, client(&settings(registry)), &options, &mut out)
        .await
        .unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], r#"0@0 · "k" {"id":7,"at":"1970-01-01T00:00:00"}"#);
    assert_eq!(lines[1], r#"0@1 x "k" (tombstone)"#);
    assert!(lines[2].starts_with(r#"0@2 · - {"base64":"#), "{}", lines[2]);
    assert!(lines[2].contains("ends early"), "{}", lines[2]);
    assert_eq!(lines.len(), 3);
}
