//! Which librdkafka properties `[kafka.properties]` may set.
//!
//! Any, except those whose change would break a guarantee (what is acknowledged is durable, order
//! is kept, memory is bounded), those that a key of walferry's own sets, and those of consumers.
//! Every other name and value is checked by librdkafka itself, so that a slip is found at once and
//! not at the first connection. Values are secrets until proven otherwise: none is ever quoted.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::problem::{Fault, nearest};

/// Whether no value of a property is taken.
pub(crate) fn is_refused(name: &str) -> bool {
    refusal(name).is_some()
}

/// Whether a property may be set, and to this value.
pub(super) fn check(name: &str, value: &str) -> Result<(), Fault> {
    if let Some(refusal) = refusal(name) {
        let mut fault = Fault::new(format!("refused: {}", refusal.reason));
        fault.remedy = refusal.instead.map(|instead| format!("use {instead}"));
        return Err(fault);
    }
    // A NUL would end the string on librdkafka's side (and panic on this one).
    if name.contains('\0') || value.contains('\0') {
        return Err(Fault::new("a NUL character"));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(code, ..)) if is_unknown(code) => {
            let near = nearest(name, COMMON.iter().copied()).map(|near| format!("`{near}`"));
            Err(Fault::new("librdkafka has no such property").nearest(near))
        }
        Err(_) => Err(Fault::new("librdkafka does not take this value for it")),
    }
}

fn refusal(name: &str) -> Option<&'static Refusal> {
    REFUSED.iter().find(|refusal| refusal.covers(name))
}

fn is_unknown(code: rdkafka::types::RDKafkaConfRes) -> bool {
    code == rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN
}

/// A property, or all that begin alike, and why it is refused.
pub(super) struct Refusal {
    /// A final `*` stands for any rest.
    pub(super) pattern: &'static str,
    pub(super) reason: &'static str,
    pub(super) instead: Option<&'static str>,
}

impl Refusal {
    fn covers(&self, name: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.pattern,
        }
    }
}

const fn refuse(
    pattern: &'static str,
    reason: &'static str,
    instead: Option<&'static str>,
) -> Refusal {
    Refusal { pattern, reason, instead }
}

const DURABLE: &str = "what is confirmed to Postgres must be on all in-sync replicas";
const ORDER: &str = "records of one key must stay in order";
const MEMORY: &str = "memory is bounded by walferry's own settings";
const LOGS: &str = "what librdkafka logs is part of walferry's own log";
const CONSUMER: &str = "a property of consumers; walferry only produces";

/// In the order of the reference.
pub(super) const REFUSED: &[Refusal] = &[
    refuse("bootstrap.servers", "walferry has a key for it", Some("`kafka.bootstrap_servers`")),
    refuse("metadata.broker.list", "walferry has a key for it", Some("`kafka.bootstrap_servers`")),
    refuse("acks", DURABLE, None),
    refuse("request.required.acks", DURABLE, None),
    refuse("enable.idempotence", ORDER, None),
    refuse("enable.gapless.guarantee", ORDER, None),
    refuse("max.in.flight*", ORDER, None),
    refuse("retries", "a record that is not retried would be lost", None),
    refuse("message.send.max.retries", "a record that is not retried would be lost", None),
    refuse("queuing.strategy", ORDER, None),
    refuse("msg_order_cmp", ORDER, None),
    refuse("partitioner", "records with one key go where the Java client sends them", None),
    refuse("partitioner_cb", "records with one key go where the Java client sends them", None),
    refuse(
        "transaction*",
        "walferry sets it where `kafka.delivery` needs it",
        Some("`kafka.delivery`"),
    ),
    refuse(
        "message.timeout.ms",
        "derived from `wal_sender_timeout`, so that a paused instance cannot send old values after \
         its successor",
        None,
    ),
    refuse(
        "delivery.timeout.ms",
        "derived from `wal_sender_timeout`, so that a paused instance cannot send old values after \
         its successor",
        None,
    ),
    refuse("delivery.report.only.error", "each delivery report counts", None),
    refuse("dr_cb", "each delivery report counts", None),
    refuse("dr_msg_cb", "each delivery report counts", None),
    refuse("enabled_events", "each delivery report counts", None),
    refuse("message.max.bytes", MEMORY, Some("`kafka.max_record_bytes`")),
    refuse(
        "max.message.bytes",
        "a property of topics",
        Some("`max.message.bytes` in `[topics.config]`"),
    ),
    refuse("queue.buffering.max.messages", MEMORY, Some("`kafka.max_in_flight_records`")),
    refuse("queue.buffering.max.kbytes", MEMORY, Some("`kafka.max_in_flight_bytes`")),
    refuse("queue.buffering.max.ms", "an old name", Some("`linger.ms`")),
    refuse("queue.buffering.max.*", MEMORY, Some("`kafka.max_in_flight_bytes`")),
    refuse(
        "allow.auto.create.topics",
        "topics are created with the settings that they need, before their first record",
        Some("`topics.create`"),
    ),
    refuse("statistics.interval.ms", "walferry's own metrics are served", Some("`/metrics`")),
    refuse("log.queue", LOGS, None),
    refuse("log_cb", LOGS, None),
    refuse("log_level", LOGS, Some("`--log-level librdkafka=…`")),
    refuse("plugin.library.paths", "foreign code could break any guarantee", None),
    refuse("test.mock.*", "a simulated broker keeps nothing", None),
    refuse("group.*", CONSUMER, None),
    refuse("isolation.level", CONSUMER, None),
    refuse("enable.auto.*", CONSUMER, None),
    refuse("auto.*", CONSUMER, None),
    refuse("enable.partition.eof", CONSUMER, None),
    refuse("partition.assignment.strategy", CONSUMER, None),
    refuse("session.timeout.ms", CONSUMER, None),
    refuse("heartbeat.interval.ms", CONSUMER, None),
    refuse("max.poll.interval.ms", CONSUMER, None),
    refuse("fetch.*", CONSUMER, None),
    refuse("queued.*", CONSUMER, None),
    refuse("offset.store.*", CONSUMER, None),
];

/// Properties that people do set, for the nearest one to a slip.
const COMMON: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "linger.ms",
    "metadata.max.age.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_property_that_breaks_a_guarantee_is_refused() {
        let all = [
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "retries",
            "message.send.max.retries",
            "transactional.id",
            "partitioner",
            "delivery.report.only.error",
            "enable.gapless.guarantee",
            "queuing.strategy",
            "bootstrap.servers",
            "metadata.broker.list",
            "message.max.bytes",
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "queue.buffering.max.ms",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "allow.auto.create.topics",
            "group.id",
            "group.instance.id",
            "isolation.level",
            "enable.auto.commit",
            "auto.offset.reset",
            "test.mock.num.brokers",
            "statistics.interval.ms",
            "plugin.library.paths",
            "log_level",
            "max.message.bytes",
        ];
        for name in all {
            let message = check(name, "1").unwrap_err().message;
            assert!(message.starts_with("refused: "), "{name}: {message}");
        }
    }

    #[test]
    fn the_key_to_use_is_named() {
        let remedy = |name| check(name, "1").unwrap_err().remedy;
        assert_eq!(
            remedy("metadata.broker.list").as_deref(),
            Some("use `kafka.bootstrap_servers`")
        );
        assert_eq!(remedy("queue.buffering.max.ms").as_deref(), Some("use `linger.ms`"));
        assert_eq!(remedy("message.max.bytes").as_deref(), Some("use `kafka.max_record_bytes`"));
        assert_eq!(remedy("acks"), None);
    }

    #[test]
    fn every_refused_property_exists_in_librdkafka() {
        for refusal in REFUSED.iter().filter(|refusal| !refusal.pattern.ends_with('*')) {
            // One name is a topic's, and what takes a callback cannot be set from text.
            if refusal.pattern == "max.message.bytes" {
                continue;
            }
            let set = ClientConfig::new().set(refusal.pattern, "~").create_native_config();
            if let Err(KafkaError::ClientConfig(code, ..)) = set {
                assert!(!is_unknown(code), "{}", refusal.pattern);
            }
        }
    }

    #[test]
    fn others_are_taken_as_librdkafka_takes_them() {
        for (name, value) in [
            ("client.id", "walferry"),
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.password", "x"),
            ("request.timeout.ms", "30000"),
            ("ssl.ca.location", "/nowhere/ca.pem"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn librdkafka_finds_slips_and_no_value_is_quoted() {
        let unknown = check("sasl.pasword", "hunter2").unwrap_err();
        assert_eq!(unknown.nearest.as_deref(), Some("`sasl.password`"));
        let wrong = check("linger.ms", "hunter2").unwrap_err();
        assert!(!format!("{unknown:?}{wrong:?}").contains("hunter2"));
        assert!(check("client.id", "a\0b").is_err());
    }

    #[test]
    fn each_common_property_exists_and_is_not_refused() {
        for name in COMMON {
            if let Err(fault) = check(name, "x") {
                assert_eq!(fault.message, "librdkafka does not take this value for it", "{name}");
            }
        }
    }
}
