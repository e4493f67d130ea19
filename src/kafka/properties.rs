//! What librdkafka is told: walferry's own properties, and the user's `[kafka.properties]` on top.
//!
//! Guarantees rest on some of librdkafka's properties (order on idempotence, bounded memory on the
//! queue limits, Debezium-equal partitioning on the partitioner). The configuration refuses those
//! by name; as a second line of defence the functions here leave them out.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use secrecy::ExposeSecret as _;

use crate::config::kafka_properties;
use crate::config::settings::KafkaSettings;
use crate::failure::Failure;

/// What a reader sees of records in transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Also open and aborted transactions; the end of a partition is its true end.
    ReadUncommitted,
    /// Committed records only; the end of a partition is its last stable offset.
    ReadCommitted,
}

/// Properties of the one producer.
pub(crate) fn producer(
    name: &str,
    kafka: &KafkaSettings,
    message_timeout: Duration,
) -> ClientConfig {
    let mut config = defaults(name, kafka);
    config
        .set("linger.ms", LINGER_MILLIS)
        .set("batch.size", BATCH_BYTES)
        .set("compression.type", "lz4");
    apply_user_properties(&mut config, kafka);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", message_timeout.as_millis().to_string())
        .set("message.max.bytes", kafka.max_record_bytes.to_string())
        .set("queue.buffering.max.messages", kafka.max_in_flight_records.to_string())
        .set("queue.buffering.max.kbytes", kafka.max_in_flight_bytes.div_ceil(1024).to_string());
    config
}

/// Properties of a client that asks for metadata and administers topics.
pub(crate) fn admin(name: &str, kafka: &KafkaSettings) -> ClientConfig {
    let mut config = defaults(name, kafka);
    apply_user_properties(&mut config, kafka);
    // Offsets asked for through this client are the true ones, whatever transactions are open.
    config.set("isolation.level", "read_uncommitted");
    config
}

/// Properties of a reader with explicit partitions and offsets; it joins no group and commits
/// nothing, but librdkafka's `assign` needs a group name.
pub(crate) fn reader(
    name: &str,
    kafka: &KafkaSettings,
    group: &str,
    isolation: Isolation,
) -> ClientConfig {
    let mut config = defaults(name, kafka);
    apply_user_properties(&mut config, kafka);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set(
            "isolation.level",
            match isolation {
                Isolation::ReadUncommitted => "read_uncommitted",
                Isolation::ReadCommitted => "read_committed",
            },
        );
    config
}

/// Turns the failure to make a client into words, without the value of the property: it may be a
/// secret.
pub(crate) fn creation_failure(error: &KafkaError) -> Failure {
    match error {
        KafkaError::ClientConfig(kind, _, property, _) => {
            let what = match kind {
                RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "is not a property of librdkafka",
                RDKafkaConfRes::RD_KAFKA_CONF_INVALID | RDKafkaConfRes::RD_KAFKA_CONF_OK => {
                    "has a value that librdkafka does not take"
                }
            };
            Failure::stop("kafka", format!("`{property}` in [kafka.properties] {what}"))
                .remedy("see librdkafka's CONFIGURATION.md for its properties and their values")
        }
        // librdkafka names properties and files here, never the values of secrets.
        KafkaError::ClientCreation(reason) => {
            Failure::stop("kafka", format!("the Kafka client cannot be set up: {reason}"))
                .remedy("check [kafka] and [kafka.properties], and the files that they name")
        }
        other => Failure::stop(
            "kafka",
            format!("the Kafka client cannot be set up: {:?}", other.rdkafka_error_code()),
        ),
    }
}

fn defaults(name: &str, kafka: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", format!("walferry-{name}"))
        .set("allow.auto.create.topics", "false")
        // A broker that comes back is used at once, not up to ten seconds later.
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true");
    config
}

fn apply_user_properties(config: &mut ClientConfig, kafka: &KafkaSettings) {
    for (name, value) in &kafka.properties {
        if !kafka_properties::is_refused(name) {
            // Under two names the last one set would win, in no particular order.
            if let Some((_, other)) = ALIASES.iter().find(|(alias, _)| alias == name) {
                config.remove(other);
            }
            config.set(name, value.expose_secret());
        }
    }
}

/// Long enough for a batch to gather under load, short against the 4 ms that a commit may take to
/// reach a consumer.
const LINGER_MILLIS: &str = "2";

/// Five requests of this size per broker may be under way beside the queue: part of the memory
/// ceiling.
const BATCH_BYTES: &str = "262144";

/// Other names of properties that have defaults here.
const ALIASES: &[(&str, &str)] = &[("compression.codec", "compression.type")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fixtures::settings;

    #[test]
    fn user_properties_override_defaults_but_never_reserved_ones() {
        let kafka = settings(
            "127.0.0.1:9",
            &[("linger.ms", "50"), ("acks", "1"), ("enable.idempotence", "false")],
        );
        let config = producer("shop", &kafka, Duration::from_secs(60));
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("message.timeout.ms"), Some("60000"));
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("16384"));
        assert_eq!(config.get("client.id"), Some("walferry-shop"));
    }

    /// A name taken by the configuration and dropped here would be a silent lie.
    #[test]
    fn what_the_configuration_takes_is_set() {
        let kafka = settings("127.0.0.1:9", &[("client.id", "quota-7")]);
        let config = producer("shop", &kafka, Duration::from_secs(60));
        assert_eq!(config.get("client.id"), Some("quota-7"));
    }

    #[test]
    fn the_other_name_of_a_property_replaces_the_default() {
        let kafka = settings("127.0.0.1:9", &[("compression.codec", "zstd")]);
        let config = producer("shop", &kafka, Duration::from_secs(60));
        let native = config.create_native_config().unwrap();
        assert_eq!(config.get("compression.type"), None);
        assert_eq!(native.get("compression.type").unwrap(), "zstd");
    }

    #[test]
    fn the_library_is_built_with_what_the_configuration_promises() {
        let native = ClientConfig::new().create_native_config().unwrap();
        let features = native.get("builtin.features").unwrap();
        for feature in ["lz4", "zstd", "gzip", "ssl", "sasl_plain", "sasl_scram"] {
            assert!(features.split(',').any(|f| f == feature), "{feature} is not in {features}");
        }
    }

    #[test]
    fn a_bad_value_is_named_without_being_shown() {
        let kafka = settings("127.0.0.1:9", &[("security.protocol", "hunter2")]);
        let error = producer("shop", &kafka, Duration::from_secs(1)).create_native_config().err();
        let failure = creation_failure(&error.unwrap());
        assert!(failure.message.contains("`security.protocol`"), "{}", failure.message);
        assert!(!failure.message.contains("hunter2"), "{}", failure.message);
    }

    #[test]
    fn an_unknown_property_is_named() {
        let kafka = settings("127.0.0.1:9", &[("compresion.type", "lz4")]);
        let error = admin("shop", &kafka).create_native_config().err();
        let failure = creation_failure(&error.unwrap());
        assert!(failure.message.contains("`compresion.type`"), "{}", failure.message);
        assert!(failure.message.contains("not a property"), "{}", failure.message);
    }
}
