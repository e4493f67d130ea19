//! Settings for the tests of this module.

use secrecy::SecretString;

use crate::config::settings::{Delivery, KafkaSettings};

/// Settings that name `bootstrap_servers` and hold the given librdkafka properties.
pub(crate) fn settings(bootstrap_servers: &str, properties: &[(&str, &str)]) -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: bootstrap_servers.to_owned(),
        delivery: Delivery::AtLeastOnce,
        max_in_flight_records: 20_000,
        max_in_flight_bytes: 16 * 1024 * 1024,
        max_record_bytes: 1024 * 1024,
        properties: properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SecretString::from(*value)))
            .collect(),
    }
}
