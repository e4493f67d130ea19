//! What a URL may hold behind its `?`, and why the rest of libpq's parameters is refused.

use std::time::Duration;

use crate::config::problem::{Fault, nearest};
use crate::config::reader::quote;
use crate::config::settings::{ChannelBinding, SslMode, TargetSessionAttrs};

pub(super) fn choice<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, found)) = choices.iter().find(|(choice, _)| *choice == value) {
        return Ok(*found);
    }
    let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
    let near = nearest(value, names.iter().copied());
    Err(Fault::new(format!("{name} is none of {}", names.join(", ")))
        .nearest(near.map(|near| format!("`{name}={near}`"))))
}

pub(super) fn name_of<T: PartialEq>(value: T, choices: &[(&'static str, T)]) -> &'static str {
    choices.iter().find(|(_, choice)| *choice == value).map_or("", |(name, _)| *name)
}

pub(super) fn seconds(
    name: &str,
    value: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Duration, Fault> {
    match value.trim().parse::<u64>() {
        Ok(seconds) if range.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(Fault::new(format!(
            "{name} is not a number of seconds from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

/// Why a parameter that walferry does not take is refused.
pub(super) fn refused(name: &str, value: &str) -> Result<(), Fault> {
    if HARMLESS.contains(&(name, value)) {
        return Ok(());
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(Fault::new(format!("the parameter {name} is refused: {reason}")));
    }
    match nearest(name, PARAMETERS.iter().copied()) {
        Some(near) => Err(Fault::new(format!("unknown parameter {}", quote(name)))
            .nearest(Some(format!("`{near}`")))),
        // Not quoted: behind a `?` in a password that is not encoded, this is a part of it.
        None => Err(Fault::new("unknown parameter")
            .remedy(format!("the parameters are {}", PARAMETERS.join(", ")))),
    }
}

pub(super) const SSL_MODES: &[(&str, SslMode)] = &[
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

pub(super) const CHANNEL_BINDINGS: &[(&str, ChannelBinding)] = &[
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

pub(super) const SESSION_ATTRS: &[(&str, TargetSessionAttrs)] = &[
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

/// What a URL may hold, with its meaning; also the reference's table.
pub(in crate::config) const PARAMETER_HELP: &[(&str, &str)] = &[
    (
        "host, port, user, password, dbname",
        "Instead of their places in the URL. A `host` that begins with `/` is a socket's directory.",
    ),
    ("sslmode", "`disable`, `allow`, `prefer` (default), `require`, `verify-ca`, `verify-full`."),
    (
        "sslrootcert",
        "A PEM file of roots, or `system`: the system's roots, only with `verify-full`, which it makes the default.",
    ),
    ("sslcert, sslkey", "Client certificate chain and key, PEM files."),
    ("channel_binding", "`disable`, `prefer` (default), `require`."),
    (
        "target_session_attrs",
        "Which of several hosts: `any` (default), `read-write`, `read-only`, `primary`, `standby`, `prefer-standby`.",
    ),
    ("connect_timeout", "Seconds for each host, from 1 to 600."),
    ("keepalives, keepalives_idle", "TCP keepalive: 1 or 0; seconds, from 1 to 7200."),
];

const PARAMETERS: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
];

/// Values of refused parameters that ask for what happens anyway.
pub(super) const HARMLESS: &[(&str, &str)] = &[
    ("gssencmode", "disable"),
    ("gssencmode", "prefer"),
    ("load_balance_hosts", "disable"),
    ("sslcompression", "0"),
    ("sslnegotiation", "postgres"),
    ("sslsni", "1"),
    ("ssl_min_protocol_version", "TLSv1.2"),
];

/// libpq's other parameters, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("application_name", "walferry sets it, so that operators find its connections"),
    ("fallback_application_name", "walferry sets application_name"),
    ("client_encoding", "walferry sets it to UTF8"),
    ("options", "walferry sets the session settings that the records' text depends on"),
    ("replication", "walferry sets it where it is needed"),
    ("hostaddr", "write the address as host"),
    ("passfile", "use `password_file`"),
    ("service", "write the connection out"),
    ("servicefile", "write the connection out"),
    ("sslpassword", "encrypted keys are not supported: decrypt the key"),
    ("sslcrl", "revocation lists are not supported"),
    ("sslcrldir", "revocation lists are not supported"),
    ("sslnegotiation", "only `postgres` is supported"),
    ("sslsni", "the server's name is always sent"),
    ("sslcompression", "TLS compression is not supported"),
    ("sslcertmode", "a certificate is sent if sslcert is given and the server asks"),
    ("ssl_min_protocol_version", "TLS 1.2 and 1.3 are used"),
    ("ssl_max_protocol_version", "TLS 1.2 and 1.3 are used"),
    ("ssl", "use sslmode"),
    ("require_auth", "not supported; use channel_binding=require"),
    ("requirepeer", "not supported"),
    ("krbsrvname", "Kerberos is not supported"),
    ("gsslib", "Kerberos is not supported"),
    ("gssencmode", "Kerberos is not supported"),
    ("gssdelegation", "Kerberos is not supported"),
    ("load_balance_hosts", "hosts are tried in their order"),
    ("keepalives_interval", "not supported; use keepalives_idle"),
    ("keepalives_count", "not supported; use keepalives_idle"),
    ("tcp_user_timeout", "not supported; use keepalives_idle"),
];
