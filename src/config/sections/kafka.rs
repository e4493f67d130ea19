//! `[kafka]`.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::config::kafka_properties;
use crate::config::problem::Fault;
use crate::config::reader::{Table, Text};
use crate::config::settings::{Delivery, KafkaSettings};

pub(in crate::config) fn kafka(table: &Table<'_>) -> Option<KafkaSettings> {
    let bootstrap_servers = bootstrap_servers(table);
    let max_in_flight_records = table.integer("max_in_flight_records", 1..=1_000_000);
    let max_in_flight_bytes = table.size("max_in_flight_bytes", 16 << 20, 64 << 10..=1 << 30);
    let max_record_bytes = table.size("max_record_bytes", 1_000_000, 1000..=512 << 20);
    let properties = properties(table);
    if max_in_flight_bytes / 2 < max_record_bytes {
        let culprit = table.get("max_in_flight_bytes").or_else(|| table.get("max_record_bytes"));
        if let Some(value) = culprit {
            value.error(
                Fault::new(format!(
                    "max_in_flight_bytes ({max_in_flight_bytes}) is less than twice \
                     max_record_bytes ({max_record_bytes}), so the largest record might never \
                     find room"
                ))
                .remedy(format!(
                    "max_in_flight_bytes = {}, or a smaller max_record_bytes",
                    max_record_bytes.saturating_mul(2)
                )),
            );
        }
    }
    table.finish();
    Some(KafkaSettings {
        bootstrap_servers: bootstrap_servers?,
        delivery: Delivery::AtLeastOnce,
        max_in_flight_records: max_in_flight_records
            .and_then(|records| usize::try_from(records).ok())
            .unwrap_or(20_000),
        max_in_flight_bytes,
        max_record_bytes,
        properties,
    })
}

fn bootstrap_servers(table: &Table<'_>) -> Option<String> {
    let text = table.required_text("bootstrap_servers")?;
    let servers: Vec<&str> = text.value.split(',').map(str::trim).collect();
    if servers.iter().all(|server| is_server(server)) {
        return Some(servers.join(","));
    }
    let fault = Fault::new(format!("{} is not a list of brokers", text.quoted()));
    table.context.error(&text.place, fault.remedy("`host:9092`, several with commas between"));
    None
}

/// `host`, `host:port`, `[ipv6]:port`.
fn is_server(server: &str) -> bool {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (server, None),
    };
    let port_is_right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = !host.is_empty()
        && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    port_is_right && (is_address || is_name)
}

fn properties(table: &Table<'_>) -> BTreeMap<String, SecretString> {
    let mut properties = BTreeMap::new();
    for (name, value) in table.entries("properties") {
        let Some(text): Option<Text> = value.scalar() else { continue };
        if value.noted(kafka_properties::check(&name, &text.value)).is_some() {
            properties.insert(name, SecretString::from(text.value));
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for good in ["kafka", "kafka:9092", "10.0.0.1:9092", "[::1]:9092", "[::1]", "a-b.c_d:1"] {
            assert!(is_server(good), "{good}");
        }
        for bad in ["", ":9092", "kafka:", "kafka:0", "kafka:x", "a b:1", "::1", "PLAIN://a:1"] {
            assert!(!is_server(bad), "{bad}");
        }
    }
}
