//! `[postgres]`.

use std::time::Duration;

use secrecy::SecretString;

use crate::config::postgres_url::{self, Parsed};
use crate::config::problem::Fault;
use crate::config::reader::{Table, Text, Value};
use crate::config::settings::{Manage, PostgresSettings};

/// `name` is the deployment's, for the defaults of slot and publication.
pub(in crate::config) fn postgres(
    table: &Table<'_>,
    name: Option<&Text>,
) -> Option<PostgresSettings> {
    let url = table.required("url");
    let parsed = url.as_ref().and_then(url_parts);
    let said = parsed.as_ref();
    let password = password(table, url.as_ref(), said);
    let keepalives =
        once(table, "keepalives", said.and_then(|url| url.keepalives), |value| value.boolean());
    let keepalives_idle =
        once(table, "keepalives_idle", said.and_then(|url| url.keepalives_idle), |value| {
            value.duration(&(SECOND..=120 * MINUTE))
        });
    let connect_timeout =
        once(table, "connect_timeout", said.and_then(|url| url.connect_timeout), |value| {
            value.duration(&(SECOND..=10 * MINUTE))
        });
    let slot = slot(table, name);
    let slot_manage = table.choice("slot_manage", Manage::Auto, MANAGE);
    let publication = publication(table, name);
    let publication_manage = table.choice("publication_manage", Manage::Auto, MANAGE);
    let publish_via_partition_root = table.boolean("publish_via_partition_root", true);
    let stall_disconnect = table.duration("stall_disconnect", 30 * SECOND, SECOND..=60 * MINUTE);
    let read_nap = table.duration(
        "read_nap",
        Duration::from_micros(500),
        Duration::ZERO..=Duration::from_millis(100),
    );
    let max_message_bytes = table.size("max_message_bytes", 64 << 20, 64 << 10..=1 << 30);
    table.finish();
    Some(PostgresSettings {
        target: parsed?.into_target(
            password,
            keepalives.unwrap_or(true),
            keepalives_idle.unwrap_or(MINUTE),
        ),
        slot: slot?,
        slot_manage,
        publication: publication?,
        publication_manage,
        publish_via_partition_root,
        connect_timeout: connect_timeout.unwrap_or(10 * SECOND),
        stall_disconnect,
        read_nap,
        max_message_bytes,
    })
}

fn url_parts(value: &Value<'_>) -> Option<Parsed> {
    postgres_url::secret_ranges(value.source()).into_iter().for_each(|part| value.mask(part));
    match postgres_url::parse(value.text()?.value.trim()) {
        Ok(parsed) => {
            if parsed.hosts.len() > 1 && parsed.target_session_attrs.is_none() {
                value.warn(
                    Fault::new("several hosts, and the first that answers may be a standby")
                        .remedy("add target_session_attrs=read-write"),
                );
            }
            Some(parsed)
        }
        Err(faults) => {
            faults.into_iter().for_each(|fault| value.error(fault));
            None
        }
    }
}

fn password(
    table: &Table<'_>,
    url: Option<&Value<'_>>,
    parsed: Option<&Parsed>,
) -> Option<SecretString> {
    let in_url = parsed.and_then(|parsed| parsed.password.clone());
    let Some((secret, place)) = table.secret("password") else {
        if let (Some(url), Some(_)) = (url, &in_url) {
            url.warn(Fault::new("a password in the URL").remedy(
                "`password_file = \"/run/secrets/…\"` or `password = \"${PGPASSWORD}\"` keeps it \
                 out of this file and of what shows URLs",
            ));
        }
        return in_url;
    };
    if in_url.is_some() {
        table.context.error(
            &place,
            Fault::new("the password is given twice: here and in the URL")
                .remedy("take it out of the URL"),
        );
    }
    Some(secret)
}

/// A value that can stand in the URL or in a key of its own, but not in both.
fn once<T>(
    table: &Table<'_>,
    name: &str,
    in_url: Option<T>,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> Option<T> {
    let Some(value) = table.get(name) else { return in_url };
    if in_url.is_some() {
        value.error(
            Fault::new(format!("given twice: here and as {name} in the URL"))
                .remedy("keep one of them"),
        );
    }
    read(&value)
}

fn slot(table: &Table<'_>, name: Option<&Text>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let Some(text) = table.text("slot") else {
        return derived(table, "slot", name, MAX_IDENTIFIER);
    };
    if text.value.len() <= MAX_IDENTIFIER && text.value.chars().all(allowed) {
        return Some(text.value);
    }
    table.context.error(
        &text.place,
        Fault::new(format!("{} cannot be a slot's name", text.quoted()))
            .remedy("1 to 63 of a-z, 0-9 and _"),
    );
    None
}

fn publication(table: &Table<'_>, name: Option<&Text>) -> Option<String> {
    let Some(text) = table.text("publication") else {
        return derived(table, "publication", name, MAX_PUBLICATION);
    };
    if text.value.len() <= MAX_PUBLICATION && !text.value.contains('\0') {
        return Some(text.value);
    }
    table.context.error(
        &text.place,
        Fault::new(format!("{} is too long for a publication's name", text.quoted())).remedy(
            "at most 55 bytes: `<publication>_inserts` has to fit into Postgres's 63 as well",
        ),
    );
    None
}

/// `walferry_<name>`, as slots and publications are named.
fn derived(table: &Table<'_>, key: &str, name: Option<&Text>, limit: usize) -> Option<String> {
    // A key that is there but wrong has been noted already, and so has a missing name.
    if table.get(key).is_some() {
        return None;
    }
    let name = name?;
    let suffix = name.value.to_ascii_lowercase().replace(['-', '.'], "_");
    let derived = format!("walferry_{suffix}");
    if derived.len() <= limit {
        return Some(derived);
    }
    table.context.error(
        &name.place,
        Fault::new(format!(
            "too long to name the {key} after it: `walferry_<name>` has to fit into {limit} bytes"
        ))
        .remedy(format!("a shorter name, or set `postgres.{key}`")),
    );
    None
}

const MANAGE: &[(&str, Manage)] = &[("auto", Manage::Auto), ("never", Manage::Never)];

/// Postgres's NAMEDATALEN less its final NUL.
const MAX_IDENTIFIER: usize = 63;

/// Room for `_inserts` behind it.
const MAX_PUBLICATION: usize = MAX_IDENTIFIER - "_inserts".len();

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
