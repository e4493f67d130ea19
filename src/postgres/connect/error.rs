//! Why a server could not be reached, and whether that may pass.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::{Encryption, Endpoint};
use crate::config::settings::TargetSessionAttrs;
use crate::failure::{Class, Failure};
use crate::postgres::tls;
use crate::postgres::wire::{self, ServerError, SqlState};

/// A connection that did not come about. Names the host; never a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("postgres host {host} cannot be resolved: {problem}")]
    Resolve { host: String, problem: String },
    #[error("cannot connect to postgres at {endpoint}: {source}")]
    Socket { endpoint: Endpoint, source: io::Error },
    #[error("postgres at {endpoint} did not complete the login within {after:?}")]
    Timeout { endpoint: Endpoint, after: Duration },
    #[error("{source} (for postgres at {endpoint})")]
    Tls { endpoint: Endpoint, source: tls::Error },
    #[error("postgres at {endpoint} offers no TLS, but sslmode={mode} asks for it")]
    TlsNotOffered { endpoint: Endpoint, mode: &'static str },
    #[error("postgres at {endpoint} answered the request for TLS with an error")]
    SslRequestFailed { endpoint: Endpoint },
    #[error("TLS with postgres at {endpoint} failed: {source}")]
    Handshake { endpoint: Endpoint, source: io::Error },
    #[error("TLS with postgres at {endpoint} failed: {source}")]
    Certificate { endpoint: Endpoint, source: rustls::Error },
    #[error("what listens at {endpoint} is not postgres")]
    NotPostgres { endpoint: Endpoint },
    #[error("postgres at {endpoint} refused the connection: {error}")]
    Server { endpoint: Endpoint, error: ServerError },
    #[error("cannot log in to postgres at {endpoint}: {refusal}")]
    Refused { endpoint: Endpoint, refusal: Refusal },
    #[error("postgres at {endpoint}: {source}")]
    Protocol { endpoint: Endpoint, source: wire::Error },
    #[error("the connection to postgres at {endpoint} was lost during the login: {source}")]
    Lost { endpoint: Endpoint, source: io::Error },
    #[error(
        "the session at {endpoint} has {name} = {value:?} instead of {wanted}, which changes the \
         values that arrive"
    )]
    SettingLost { endpoint: Endpoint, name: &'static str, value: String, wanted: &'static str },
    #[error("postgres at {endpoint} is not what target_session_attrs={} asks for", attrs_name(*wanted))]
    WrongRole { endpoint: Endpoint, wanted: TargetSessionAttrs },
    #[error("{}", join(.0))]
    Several(Vec<Error>),
}

/// Why this client does not go on with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the server asks for a password and none is set")]
    PasswordMissing,
    #[error("the server asks for the password in clear text over an unencrypted connection")]
    Cleartext,
    #[error("channel_binding=require, but the server or the connection does not bind")]
    ChannelBinding,
    #[error("the server asks for an authentication method that is not supported")]
    Method,
    #[error("the server's SCRAM messages are not acceptable")]
    Scram,
    #[error("the server could not prove that it knows the password")]
    ServerSignature,
    #[error("the server ended the authentication before it was complete")]
    Incomplete,
}

impl Error {
    pub(in crate::postgres) fn several(mut failures: Vec<Error>) -> Error {
        if failures.len() == 1
            && let Some(only) = failures.pop()
        {
            return only;
        }
        Error::Several(failures)
    }

    /// Classes a failure of an encrypted or about-to-be-encrypted stream.
    pub(in crate::postgres) fn handshake(endpoint: &Endpoint, source: io::Error) -> Error {
        let endpoint = endpoint.clone();
        match rustls_error(&source) {
            Some(tls) => Error::Certificate { endpoint, source: tls.clone() },
            None => Error::Handshake { endpoint, source },
        }
    }

    /// Classes a failure of the stream during the login: in TLS 1.3 a refused client certificate
    /// shows only here.
    pub(in crate::postgres) fn login(endpoint: &Endpoint, source: io::Error) -> Error {
        let endpoint = endpoint.clone();
        match rustls_error(&source) {
            Some(tls) => Error::Certificate { endpoint, source: tls.clone() },
            None => Error::Lost { endpoint, source },
        }
    }

    /// Whether trying again may help without anybody changing anything.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Resolve { .. }
            | Error::Socket { .. }
            | Error::Timeout { .. }
            | Error::SslRequestFailed { .. }
            | Error::Handshake { .. }
            | Error::Protocol { .. }
            | Error::Lost { .. }
            // During a failover no server may have the role for a while.
            | Error::WrongRole { .. } => Class::Retry,
            Error::Tls { .. }
            | Error::TlsNotOffered { .. }
            | Error::Certificate { .. }
            | Error::NotPostgres { .. }
            | Error::Refused { .. }
            | Error::SettingLost { .. } => Class::Stop,
            Error::Server { error, .. } => sqlstate_class(error.code),
            Error::Several(errors) if errors.iter().any(|e| e.class() == Class::Retry) => {
                Class::Retry
            }
            Error::Several(_) => Class::Stop,
        }
    }

    /// Whether other hosts would answer the same, so that they are not asked.
    pub(super) fn settles(&self) -> bool {
        match self {
            Error::Server { .. } => self.class() == Class::Stop,
            Error::Tls { .. } | Error::Refused { .. } | Error::SettingLost { .. } => true,
            Error::Several(errors) => errors.iter().any(Error::settles),
            _ => false,
        }
    }

    /// Whether `sslmode`'s second attempt is to be made after this failure of one with `tried`.
    pub(super) fn another_encryption_may_help(&self, tried: Encryption) -> bool {
        match self {
            // pg_hba.conf can tell encrypted connections from others.
            Error::Server { error, .. } => error.code.in_class("28"),
            Error::SslRequestFailed { .. }
            | Error::Handshake { .. }
            | Error::Certificate { .. } => tried != Encryption::Plain,
            _ => false,
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Error::TlsNotOffered { .. } => {
                "set ssl = on on the server, or use sslmode=prefer in postgres.url"
            }
            Error::Certificate { source, .. } => return certificate_remedy(source),
            Error::NotPostgres { .. } => "check host and port in postgres.url",
            Error::SettingLost { .. } => {
                "connect to the server directly: a pooler in between drops the start-up options"
            }
            Error::Refused { refusal, .. } => refusal.remedy(),
            Error::Server { error, .. } => return server_remedy(error),
            Error::Several(errors) => {
                let remedies: Vec<_> = errors.iter().filter_map(Error::remedy).collect();
                return (!remedies.is_empty()).then(|| remedies.join("; "));
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl Refusal {
    fn remedy(self) -> &'static str {
        match self {
            Refusal::PasswordMissing => "set postgres.password_file or postgres.password",
            Refusal::Cleartext => {
                "use sslmode=require in postgres.url, or scram-sha-256 in pg_hba.conf"
            }
            Refusal::ChannelBinding => {
                "use sslmode=require and scram-sha-256 in pg_hba.conf, or channel_binding=prefer"
            }
            Refusal::Method => "use scram-sha-256, md5, password or cert in pg_hba.conf",
            Refusal::Scram | Refusal::Incomplete => "check that host and port are the server's",
            Refusal::ServerSignature => {
                "check that host and port are the server's: something else may be answering"
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            class: error.class(),
            kind: "postgres",
            message: error.to_string(),
            remedy: error.remedy(),
            after: None,
            source: Some(Box::new(error)),
        }
    }
}

/// Whether an error of the server may pass by itself.
///
/// Unknown codes are retried: backoff and readiness show them, and stopping on a passing fault is
/// the greater harm.
#[must_use]
pub fn sqlstate_class(code: SqlState) -> Class {
    // 55000 wrong state for slots and WAL level, 53400 no free slot, 58P01 WAL removed.
    const STOP: [&str; 10] = ["0A", "22", "28", "3D", "3F", "42", "44", "53400", "55000", "58P01"];
    if STOP.iter().any(|class| code.in_class(class)) { Class::Stop } else { Class::Retry }
}

fn server_remedy(error: &ServerError) -> Option<String> {
    let text = match error.code.as_str() {
        "28P01" => "check user and password: postgres.url, postgres.password_file",
        "28000" => {
            "allow this user, database, address and encryption in pg_hba.conf; a replication \
             connection also needs ALTER ROLE … REPLICATION LOGIN"
        }
        "3D000" => "check the database name in postgres.url",
        "42704" | "42501" if error.hint.is_none() => {
            "PostgreSQL 14 or later is needed, and CONNECT on the database"
        }
        "53300" => "raise max_connections or max_wal_senders, or close other sessions",
        _ => return error.hint.clone(),
    };
    Some(text.to_owned())
}

fn certificate_remedy(error: &rustls::Error) -> Option<String> {
    let text = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => "point sslrootcert at the CA that signed the server",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "use a host name of the certificate in postgres.url, or sslmode=verify-ca"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the server's certificate, and check this machine's clock"
            }
            _ => "issue the server a certificate of X.509 version 3 from the CA in sslrootcert",
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => "the server refused the client's certificate: check sslcert and sslkey",
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => {
            "the server needs TLS 1.2 or later: check ssl_min_protocol_version and ssl_ciphers"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The TLS error inside, if it is one that does not pass by itself.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    let error = error.get_ref()?.downcast_ref()?;
    let lasting = matches!(
        error,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                    | AlertDescription::BadCertificate
                    | AlertDescription::UnknownCA
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::AccessDenied
                    | AlertDescription::DecryptError
                    | AlertDescription::HandshakeFailure
                    | AlertDescription::ProtocolVersion
                    | AlertDescription::NoApplicationProtocol
            )
    );
    lasting.then_some(error)
}

fn join(errors: &[Error]) -> impl fmt::Display {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn attrs_name(wanted: TargetSessionAttrs) -> &'static str {
    match wanted {
        TargetSessionAttrs::Any => "any",
        TargetSessionAttrs::ReadWrite => "read-write",
        TargetSessionAttrs::ReadOnly => "read-only",
        TargetSessionAttrs::Primary => "primary",
        TargetSessionAttrs::Standby => "standby",
        TargetSessionAttrs::PreferStandby => "prefer-standby",
    }
}
