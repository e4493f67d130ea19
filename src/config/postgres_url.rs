//! `postgres://…` as libpq reads it.
//!
//! The grammar and the meaning of each parameter are libpq's (PostgreSQL documentation, section
//! "Connection Strings"), so that a URL which works with psql works here. Where libpq would guess
//! from its surroundings (the user's name, a socket directory chosen at compile time,
//! `~/.postgresql/root.crt`, `PG…` variables) the URL is refused with what to write, because a
//! deployment must not depend on what happens to be in a container.
//!
//! No message quotes the part before the `@`, and [`secret_ranges`] says which bytes of a URL,
//! well-formed or not, must not be shown.

mod parameters;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::problem::Fault;
use super::settings::{
    ChannelBinding, PostgresHost, PostgresTarget, PostgresTls, SslMode, SslRoot, TargetSessionAttrs,
};

pub(super) use parameters::PARAMETER_HELP;
use parameters::{CHANNEL_BINDINGS, SESSION_ATTRS, SSL_MODES, choice, name_of, refused, seconds};

/// A URL taken apart; what the configuration can also say elsewhere is `None` if the URL does not.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) hosts: Vec<PostgresHost>,
    pub(super) user: String,
    pub(super) password: Option<SecretString>,
    pub(super) database: String,
    pub(super) target_session_attrs: Option<TargetSessionAttrs>,
    pub(super) tls: PostgresTls,
    pub(super) channel_binding: ChannelBinding,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalives: Option<bool>,
    pub(super) keepalives_idle: Option<Duration>,
}

impl Parsed {
    pub(super) fn into_target(
        self,
        password: Option<SecretString>,
        keepalives: bool,
        keepalives_idle: Duration,
    ) -> PostgresTarget {
        PostgresTarget {
            hosts: self.hosts,
            user: self.user,
            password,
            database: self.database,
            target_session_attrs: self.target_session_attrs.unwrap_or(TargetSessionAttrs::Any),
            tls: self.tls,
            channel_binding: self.channel_binding,
            keepalives,
            keepalives_idle,
        }
    }
}

/// Takes a URL apart, or says everything that is wrong with it.
pub(super) fn parse(url: &str) -> Result<Parsed, Vec<Fault>> {
    let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))
    else {
        return Err(vec![Fault::new("not a Postgres URL").remedy(
            "`postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=system`",
        )]);
    };
    let pieces = Pieces::split(rest).map_err(|fault| vec![fault])?;
    let mut raw = Raw::default();
    let mut faults: Vec<Fault> = raw.take_authority(&pieces).err().into_iter().collect();
    let is_readable = faults.is_empty();
    faults.extend(raw.take_query(pieces.query));
    if !is_readable {
        // Half an authority would be judged for what it lacks.
        return Err(faults);
    }
    match raw.resolve(&mut faults) {
        Some(parsed) if faults.is_empty() => Ok(parsed),
        _ => Err(faults),
    }
}

/// The byte ranges of a URL's source that may be secret: what stands before the last `@` (an
/// unescaped `@` in a password included), a port that is no number (a password whose `@host` was
/// forgotten), and passwords among the parameters.
pub(super) fn secret_ranges(source: &str) -> Vec<Range<usize>> {
    let begin = source.find("://").map_or(0, |at| at + 3);
    let mut ranges = Vec::new();
    let after = |at: usize| source.get(at..).unwrap_or_default();
    let mut authority = begin;
    if let Some(at) = after(begin).rfind('@') {
        let end = begin + at;
        let credentials = source.get(begin..end).unwrap_or_default();
        // Without a scheme nothing says that the first part is a user.
        let start = match credentials.find(':') {
            Some(colon) => begin + colon + 1,
            None if begin > 0 => end,
            None => begin,
        };
        ranges.push(start..end);
        authority = end;
    }
    let authority_end = after(authority).find(['/', '?']).map_or(source.len(), |at| authority + at);
    let mut host_start = authority;
    for host in source.get(authority..authority_end).unwrap_or_default().split(',') {
        // The colons of `[::1]` and `${VAR:-default}` are not those of a port.
        let behind = host.rfind([']', '}']).map_or(0, |bracket| bracket + 1);
        if let Some(colon) = host.get(behind..).unwrap_or_default().find(':') {
            let start = host_start + behind + colon + 1;
            let end = host_start + host.trim_end_matches(['"', '\'']).len();
            let port = source.get(start..end).unwrap_or_default();
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                ranges.push(start..end);
            }
        }
        host_start += host.len() + 1;
    }
    for (at, name) in source.match_indices("password=") {
        let start = at + name.len();
        let length = after(start).find('&').unwrap_or(source.len() - start);
        ranges.push(start..start + length);
    }
    ranges
}

/// `[user[:password]@][hosts][/database][?query]`, nothing decoded yet.
struct Pieces<'u> {
    user: Option<&'u str>,
    password: Option<&'u str>,
    hosts: &'u str,
    database: &'u str,
    query: &'u str,
}

impl<'u> Pieces<'u> {
    fn split(rest: &'u str) -> Result<Pieces<'u>, Fault> {
        // As in libpq the credentials end at the first `@`, if no `/` precedes it.
        let (user, password, rest) = match rest.split_once('@') {
            Some((credentials, rest)) if !credentials.contains('/') => {
                match credentials.split_once(':') {
                    Some((user, password)) => (Some(user), Some(password), rest),
                    None => (Some(credentials), None, rest),
                }
            }
            _ => (None, None, rest),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = path.split_once('/').unwrap_or((path, ""));
        if hosts.contains('@') || database.contains('@') {
            return Err(Fault::new("more than one `@`, or a `/` before it").remedy(
                "in user and password write `%40` for `@`, `%2F` for `/`, `%3A` for `:`; or give \
                 the password as `password` or `password_file`",
            ));
        }
        Ok(Pieces { user, password, hosts, database, query })
    }
}

/// The parameters as written; libpq's rule is that a later one overrides.
#[derive(Default)]
struct Raw {
    hosts: Vec<String>,
    ports: Vec<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl_mode: Option<SslMode>,
    ssl_root: Option<String>,
    ssl_cert: Option<String>,
    ssl_key: Option<String>,
    channel_binding: Option<ChannelBinding>,
    target_session_attrs: Option<TargetSessionAttrs>,
    connect_timeout: Option<Duration>,
    keepalives: Option<bool>,
    keepalives_idle: Option<Duration>,
}

impl Raw {
    fn take_authority(&mut self, pieces: &Pieces<'_>) -> Result<(), Fault> {
        let decoded = |text: Option<&str>| match text {
            Some("") | None => Ok(None),
            Some(text) => decode(text).map(Some),
        };
        self.user = decoded(pieces.user)?;
        self.password = decoded(pieces.password)?;
        self.database = decoded(Some(pieces.database))?;
        if pieces.hosts.is_empty() {
            return Ok(());
        }
        for host in pieces.hosts.split(',') {
            let (host, port) = split_port(host)?;
            self.hosts.push(decode(host)?);
            self.ports.push(port.to_owned());
        }
        Ok(())
    }

    fn take_query(&mut self, query: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = parameter.split_once('=') else {
                faults.push(Fault::new("a parameter without `=`"));
                continue;
            };
            let taken = decode(name)
                .and_then(|name| decode(value).map(|value| (name, value)))
                .and_then(|(name, value)| self.take_parameter(&name, value));
            faults.extend(taken.err());
        }
        faults
    }

    fn take_parameter(&mut self, name: &str, value: String) -> Result<(), Fault> {
        match name {
            "host" => self.hosts = list(&value),
            "port" => self.ports = list(&value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" => self.ssl_mode = Some(choice(name, &value, SSL_MODES)?),
            // What JDBC writes; libpq takes it too.
            "ssl" if value == "true" => self.ssl_mode = Some(SslMode::Require),
            "sslrootcert" => self.ssl_root = Some(value),
            "sslcert" => self.ssl_cert = Some(value),
            "sslkey" => self.ssl_key = Some(value),
            "channel_binding" => {
                self.channel_binding = Some(choice(name, &value, CHANNEL_BINDINGS)?);
            }
            "target_session_attrs" => {
                self.target_session_attrs = Some(choice(name, &value, SESSION_ATTRS)?);
            }
            "connect_timeout" => self.connect_timeout = Some(seconds(name, &value, 1..=600)?),
            "keepalives" => {
                self.keepalives = Some(choice(name, &value, &[("1", true), ("0", false)])?);
            }
            "keepalives_idle" => self.keepalives_idle = Some(seconds(name, &value, 1..=7200)?),
            _ => return refused(name, &value),
        }
        Ok(())
    }

    fn resolve(self, faults: &mut Vec<Fault>) -> Option<Parsed> {
        let hosts = self.resolve_hosts().map_err(|fault| faults.push(fault)).ok();
        let tls = self.resolve_tls().map_err(|fault| faults.push(fault)).ok();
        let user = self.user.filter(|user| !user.is_empty());
        if user.is_none() {
            faults.push(Fault::new("no user in the URL").remedy("`postgres://user@host/database`"));
        }
        let channel_binding = self.channel_binding.unwrap_or(ChannelBinding::Prefer);
        let without_tls = tls.as_ref().is_some_and(|tls| tls.mode == SslMode::Disable);
        if channel_binding == ChannelBinding::Require && without_tls {
            faults.push(
                Fault::new("channel_binding=require cannot hold with sslmode=disable")
                    .remedy("sslmode=require or stronger"),
            );
        }
        let user = user?;
        Some(Parsed {
            hosts: hosts?,
            database: self.database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone()),
            user,
            password: self.password.filter(|text| !text.is_empty()).map(SecretString::from),
            target_session_attrs: self.target_session_attrs,
            tls: tls?,
            channel_binding,
            connect_timeout: self.connect_timeout,
            keepalives: self.keepalives,
            keepalives_idle: self.keepalives_idle,
        })
    }

    fn resolve_hosts(&self) -> Result<Vec<PostgresHost>, Fault> {
        if self.hosts.is_empty() {
            return Err(no_host());
        }
        let several = self.ports.len() > 1;
        if several && self.ports.len() != self.hosts.len() {
            return Err(Fault::new(format!(
                "{} ports for {} hosts",
                self.ports.len(),
                self.hosts.len()
            ))
            .remedy("one port for all hosts, or one for each"));
        }
        let only = self.ports.first().map_or("", String::as_str);
        let port_of = |index: usize| match self.ports.get(index) {
            Some(port) if several => port.as_str(),
            _ => only,
        };
        self.hosts
            .iter()
            .enumerate()
            .map(|(index, host)| resolve_host(host, port_of(index)))
            .collect()
    }

    fn resolve_tls(&self) -> Result<PostgresTls, Fault> {
        let root = match self.ssl_root.as_deref() {
            None | Some("") => SslRoot::Unset,
            Some("system") => SslRoot::System,
            Some(path) => SslRoot::File(PathBuf::from(path)),
        };
        // libpq: with the system's roots anything weaker would be no check at all.
        let default = if root == SslRoot::System { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = self.ssl_mode.unwrap_or(default);
        if root == SslRoot::System && mode != SslMode::VerifyFull {
            return Err(Fault::new(format!(
                "sslmode={} is too weak for sslrootcert=system",
                name_of(mode, SSL_MODES)
            ))
            .remedy("sslmode=verify-full, or a file of your own roots as sslrootcert"));
        }
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root == SslRoot::Unset {
            let mode = name_of(mode, SSL_MODES);
            return Err(Fault::new(format!("sslmode={mode} has nothing to verify by")).remedy(
                "sslrootcert=system for the system's roots (with verify-full), or \
                 sslrootcert=/path/to/ca.pem",
            ));
        }
        let client = match (&self.ssl_cert, &self.ssl_key) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            (Some(_), None) => return Err(Fault::new("sslcert without sslkey")),
            (None, Some(_)) => return Err(Fault::new("sslkey without sslcert")),
        };
        Ok(PostgresTls { mode, root, client })
    }
}

/// `host`, `host:port` or `[ipv6]:port`.
fn split_port(text: &str) -> Result<(&str, &str), Fault> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) =
            rest.split_once(']').ok_or_else(|| Fault::new("an address in brackets has no `]`"))?;
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(Fault::new("what stands in brackets is no IPv6 address"));
        }
        return match behind.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if behind.is_empty() => Ok((address, "")),
            None => Err(Fault::new("only a port may follow an address in brackets")),
        };
    }
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    if port.contains(':') {
        return Err(Fault::new("more than one `:` in a host")
            .remedy("an IPv6 address stands in brackets: `[::1]:5432`"));
    }
    Ok((host, port))
}

fn resolve_host(host: &str, port: &str) -> Result<PostgresHost, Fault> {
    let port = match port {
        "" => 5432,
        port => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            // Not quoted: it is a password if the `@host` behind it was forgotten.
            _ => return Err(Fault::new("a port is not a number from 1 to 65535")),
        },
    };
    if host.is_empty() {
        return Err(no_host());
    }
    if host.starts_with('/') {
        return Ok(PostgresHost::Unix { directory: PathBuf::from(host), port });
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !is_address && !is_name {
        return Err(Fault::new("a host has a character that no host name has")
            .remedy("a socket's directory begins with `/`: `?host=/var/run/postgresql`"));
    }
    Ok(PostgresHost::Tcp { host: host.to_owned(), port })
}

fn no_host() -> Fault {
    Fault::new("no host in the URL").remedy(
        "`postgres://user@localhost/database`, or for a socket \
         `postgres://user@/database?host=/var/run/postgresql`",
    )
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Percent-decoding; `+` is itself, as in libpq.
fn decode(text: &str) -> Result<String, Fault> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(0), Some(0)) => return Err(Fault::new("`%00` cannot stand in a URL")),
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => {
                return Err(Fault::new("a `%` without two hexadecimal digits")
                    .remedy("write `%25` for a `%`"));
            }
        }
    }
    String::from_utf8(out).map_err(|_| Fault::new("what `%` stands for is not UTF-8"))
}

#[cfg(test)]
mod tests;
