//! What the cluster's refusals mean, in words, with the command that puts them right.

use std::fmt::Write as _;

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;

use super::{Admin, TopicSpec};
use crate::failure::Failure;

impl Admin {
    /// A failed call in words: most often no broker can be reached.
    pub(in crate::kafka) fn failure(&self, error: &KafkaError, doing: &str) -> Failure {
        let reason = self.client.as_ref().and_then(|client| client.context().reason());
        unreachable_failure(&self.bootstrap_servers, error, reason.as_deref(), doing)
    }

    pub(super) fn unusable(&self, topic: &str, code: RDKafkaErrorCode) -> Failure {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                Failure::stop("kafka", format!("topic {topic} may not be described or written to"))
                    .remedy(acl_command(
                        &self.bootstrap_servers,
                        topic,
                        "Describe --operation Write",
                    ))
            }
            RDKafkaErrorCode::InvalidTopic => {
                Failure::stop("kafka", format!("the cluster takes no topic named {topic}")).remedy(
                    "topics are named with a-z A-Z 0-9 . _ - and at most 249 characters: \
                     set `topic` in its [[table]]",
                )
            }
            _ => Failure::retry("kafka", format!("topic {topic} cannot be used now ({code:?})")),
        }
    }

    pub(super) fn refused(
        &self,
        topic: &str,
        code: RDKafkaErrorCode,
        specs: &[&TopicSpec],
    ) -> Failure {
        let message = format!("the cluster refuses to create topic {topic} ({code:?})");
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed => Failure::stop("kafka", message)
                .remedy(acl_command(&self.bootstrap_servers, topic, "Create")),
            RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidRequest
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation => {
                let command = specs
                    .iter()
                    .find(|spec| *spec.name == *topic)
                    .map(|spec| create_command(&self.bootstrap_servers, spec))
                    .unwrap_or_default();
                Failure::stop("kafka", message).remedy(format!(
                    "check partitions, replication_factor and config in [topics], or create it \
                     yourself: {command}"
                ))
            }
            _ => Failure::retry("kafka", message),
        }
    }

    pub(super) fn must_be_created(&self, specs: &[&TopicSpec]) -> Failure {
        let names: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
        let commands: Vec<String> =
            specs.iter().map(|spec| create_command(&self.bootstrap_servers, spec)).collect();
        Failure::stop(
            "kafka",
            format!("missing topics, and topics.create is false: {}", names.join(", ")),
        )
        .remedy(commands.join("\n"))
    }
}

/// Words for a call that failed because, most likely, no broker answered.
pub(in crate::kafka) fn unreachable_failure(
    bootstrap_servers: &str,
    error: &KafkaError,
    reason: Option<&str>,
    doing: &str,
) -> Failure {
    let code = error.rdkafka_error_code();
    let mut message =
        format!("no answer from kafka.bootstrap_servers ({bootstrap_servers}) while {doing}");
    match (reason, code) {
        (Some(reason), _) => _ = write!(message, ": {reason}"),
        (None, Some(code)) => _ = write!(message, " ({code:?})"),
        (None, None) => {}
    }
    Failure::retry("kafka", message).remedy(
        "check that kafka.bootstrap_servers names listeners that can be reached from here, and \
         that security.protocol and its credentials in [kafka.properties] are theirs",
    )
}

/// The command that gives the client's user a right.
pub(crate) fn acl_command(bootstrap_servers: &str, topic: &str, operation: &str) -> String {
    format!(
        "kafka-acls --bootstrap-server {bootstrap_servers} --add --allow-principal User:… \
         --operation {operation} --topic {topic}"
    )
}

/// The command that creates a topic.
fn create_command(bootstrap_servers: &str, spec: &TopicSpec) -> String {
    let mut command = format!(
        "kafka-topics --bootstrap-server {bootstrap_servers} --create --topic {}",
        spec.name
    );
    if let Some(partitions) = spec.partitions {
        _ = write!(command, " --partitions {partitions}");
    }
    if let Some(factor) = spec.replication_factor {
        _ = write!(command, " --replication-factor {factor}");
    }
    for (name, value) in &spec.config {
        _ = write!(command, " --config {name}={value}");
    }
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_command_holds_all_that_was_asked_for() {
        let spec = TopicSpec {
            name: Arc::from("shop.public.orders"),
            create: true,
            partitions: Some(3),
            replication_factor: None,
            config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
        };
        assert_eq!(
            create_command("kafka:9092", &spec),
            "kafka-topics --bootstrap-server kafka:9092 --create --topic shop.public.orders \
             --partitions 3 --config retention.ms=-1"
        );
    }
}
