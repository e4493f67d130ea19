//! The one way to a server, for the control and the replication connection alike.
//!
//! ```text
//! establish:  target_session_attrs pass > host > resolved address > encryption attempt
//! attempt:    socket, SSLRequest, TLS handshake, then the caller's login, within one time limit
//! ```
//!
//! As in libpq, a server that was reached and refuses the login ends the search (the next host
//! would be asked with the same password); everything else goes on to the next address. `allow`
//! and `prefer` make their second attempt on a new connection, after a failed handshake or a
//! refused login.
//!
//! The control connection searches; the replication connection is then opened to the very
//! [`Endpoint`] that was found, so that both speak to one server even where a name has several
//! addresses. Roles are therefore checked on the plain connection only: some hosted servers refuse
//! SHOW on a replication connection.

mod endpoint;
mod error;
mod session;
mod transport;

use std::future::Future;
use std::time::Duration;

pub use endpoint::Endpoint;
pub use error::{Error, Refusal, sqlstate_class};
pub use session::{SESSION_SETTINGS, session_options};
pub(super) use session::{TRANSACTION_TIMEOUT_OFF, check_reported, major_version};
pub(super) use transport::{Channel, Secrecy, Socket, Transport};

use crate::config::settings::{PostgresHost, PostgresTarget, SslMode, TargetSessionAttrs};

/// What a kind of connection does on an open transport: start-up message, authentication, and
/// whatever decides that this server will do.
pub(super) trait Login: Sync {
    type Session: Send;

    fn login(
        &self,
        transport: Transport,
        endpoint: &Endpoint,
        wanted: TargetSessionAttrs,
    ) -> impl Future<Output = Result<Self::Session, Error>> + Send;
}

/// Tries all hosts of the target in turn until one takes the login; `timeout` bounds each attempt.
pub(super) async fn establish<L: Login>(
    target: &PostgresTarget,
    timeout: Duration,
    login: &L,
) -> Result<(L::Session, Endpoint), Error> {
    let mut failures = Vec::new();
    for &wanted in passes(target.target_session_attrs) {
        for host in &target.hosts {
            let endpoints = match endpoint::resolve(host, timeout).await {
                Ok(endpoints) => endpoints,
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            };
            for endpoint in endpoints {
                match reach(target, &endpoint, timeout, wanted, login).await {
                    Ok(session) => return Ok((session, endpoint)),
                    Err(error) if error.settles() => return Err(error),
                    Err(error) => failures.push(error),
                }
            }
        }
    }
    Err(Error::several(failures))
}

/// Opens one endpoint, with the fall-backs of the target's `sslmode`.
pub(super) async fn reach<L: Login>(
    target: &PostgresTarget,
    endpoint: &Endpoint,
    timeout: Duration,
    wanted: TargetSessionAttrs,
    login: &L,
) -> Result<L::Session, Error> {
    let mut failures = Vec::new();
    for &encryption in attempts(target.tls.mode, endpoint.host()) {
        let attempt = async {
            let transport = transport::open(target, endpoint, encryption).await?;
            login.login(transport, endpoint, wanted).await
        };
        let result = match tokio::time::timeout(timeout, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { endpoint: endpoint.clone(), after: timeout }),
        };
        match result {
            Ok(session) => return Ok(session),
            // The first attempt's refusal says more than that there is no second way.
            Err(Error::TlsNotOffered { .. }) if !failures.is_empty() => break,
            Err(error) => {
                let again = error.another_encryption_may_help(encryption);
                failures.push(error);
                if !again {
                    break;
                }
            }
        }
    }
    Err(Error::several(failures))
}

/// How one attempt treats TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Plain,
    /// TLS if the server has it.
    Offered,
    Required,
}

/// The attempts of a mode, in order. On a Unix socket `sslmode` means nothing, as in libpq.
fn attempts(mode: SslMode, host: &PostgresHost) -> &'static [Encryption] {
    use Encryption::{Offered, Plain, Required};
    match (mode, host) {
        (_, PostgresHost::Unix { .. }) | (SslMode::Disable, _) => &[Plain],
        (SslMode::Allow, _) => &[Plain, Required],
        (SslMode::Prefer, _) => &[Offered, Plain],
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => &[Required],
    }
}

/// The roles to look for, one search after the other.
fn passes(wanted: TargetSessionAttrs) -> &'static [TargetSessionAttrs] {
    match wanted {
        TargetSessionAttrs::Any => &[TargetSessionAttrs::Any],
        TargetSessionAttrs::ReadWrite => &[TargetSessionAttrs::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[TargetSessionAttrs::ReadOnly],
        TargetSessionAttrs::Primary => &[TargetSessionAttrs::Primary],
        TargetSessionAttrs::Standby => &[TargetSessionAttrs::Standby],
        TargetSessionAttrs::PreferStandby => {
            &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any]
        }
    }
}

#[cfg(test)]
mod tests;
