//! The control connection: tokio-postgres for SQL, over the same procedure as the replication
//! connection.
//!
//! tokio-postgres knows three TLS modes and no channel binding of its own. It is therefore handed a
//! channel that is already encrypted, as "direct TLS" whose handshake is a no-op that carries the
//! binding data. Between the two sits a guard for what tokio-postgres does not check: it would
//! send a password in clear text over the open network, and reserve memory for a message of any
//! length.

mod guard;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use guard::Guard;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use crate::config::settings::{self, PostgresTarget, TargetSessionAttrs};
use crate::postgres::connect::{
    self, Endpoint, Error, Login, Refusal, TRANSACTION_TIMEOUT_OFF, Transport, major_version,
};
use crate::postgres::wire::{ServerError, SqlState};

/// A session for SQL, and which server it is on.
pub struct Control {
    pub client: Client,
    pub driver: Driver,
    /// Where it was found: the replication connection goes to the same place.
    pub endpoint: Endpoint,
    /// The server's major version, such as 17.
    pub server_major: u32,
}

/// The task that moves the session's bytes. It ends by itself, with a farewell to the server, when
/// the client is dropped; dropping this does not stop it.
pub struct Driver(JoinHandle<()>);

impl Driver {
    /// Whether the session is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Closes the session's socket at once, whatever the server is doing.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits for the end of the session. Cancel-safe.
    pub async fn finished(&mut self) {
        // A panic of the driver ends the session as well.
        let _ = (&mut self.0).await;
    }
}

/// Searches the target's hosts for a server that takes the login and has the wanted role;
/// `timeout` bounds each attempt. Needs a tokio runtime.
pub async fn connect(
    target: &PostgresTarget,
    timeout: Duration,
    application_name: &str,
) -> Result<Control, Error> {
    let login = ControlLogin { target, application_name };
    let (control, _) = connect::establish(target, timeout, &login).await?;
    Ok(control)
}

/// The server's error inside, without what could be a row value.
#[must_use]
pub fn server_error(error: &tokio_postgres::Error) -> Option<ServerError> {
    let error = error.as_db_error()?;
    let code = SqlState::new(error.code().code())?;
    Some(ServerError::new(code, error.message(), error.hint()))
}

struct ControlLogin<'a> {
    target: &'a PostgresTarget,
    application_name: &'a str,
}

impl Login for ControlLogin<'_> {
    type Session = Control;

    async fn login(
        &self,
        transport: Transport,
        endpoint: &Endpoint,
        wanted: TargetSessionAttrs,
    ) -> Result<Control, Error> {
        let channel = Guard::new(transport.channel, transport.secrecy);
        let tls = AlreadyDone { end_point: transport.end_point };
        let (client, connection) = self
            .config()
            .connect_raw(channel, tls)
            .await
            .map_err(|error| login_error(endpoint, error))?;
        connect::check_reported(endpoint, |name| connection.parameter(name))?;
        let server_major =
            connection.parameter("server_version").and_then(major_version).unwrap_or(0);
        let driver = Driver(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "the control connection ended");
            }
        }));
        let control = Control { client, driver, endpoint: endpoint.clone(), server_major };
        control.prepare(wanted).await?;
        Ok(control)
    }
}

impl ControlLogin<'_> {
    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .user(&self.target.user)
            .dbname(&self.target.database)
            .options(connect::session_options())
            .application_name(self.application_name)
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct)
            .channel_binding(match self.target.channel_binding {
                settings::ChannelBinding::Disable => {
                    tokio_postgres::config::ChannelBinding::Disable
                }
                settings::ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
                settings::ChannelBinding::Require => {
                    tokio_postgres::config::ChannelBinding::Require
                }
            });
        if let Some(password) = &self.target.password {
            config.password(password.expose_secret());
        }
        config
    }
}

impl Control {
    /// The remaining settings, and the server's role.
    async fn prepare(&self, wanted: TargetSessionAttrs) -> Result<(), Error> {
        let failed = |error| login_error(&self.endpoint, error);
        let (since, command) = TRANSACTION_TIMEOUT_OFF;
        if self.server_major >= since {
            self.client.batch_execute(command).await.map_err(failed)?;
        }
        let Some((query, expected)) = role_query(wanted) else { return Ok(()) };
        let answer = self.client.simple_query(query).await.map_err(failed)?;
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        if value != Some(expected) {
            return Err(Error::WrongRole { endpoint: self.endpoint.clone(), wanted });
        }
        Ok(())
    }
}

/// How to tell a role, and the answer that has it.
fn role_query(wanted: TargetSessionAttrs) -> Option<(&'static str, &'static str)> {
    const READ_ONLY: &str = "SHOW transaction_read_only";
    const RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";
    match wanted {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => None,
        TargetSessionAttrs::ReadWrite => Some((READ_ONLY, "off")),
        TargetSessionAttrs::ReadOnly => Some((READ_ONLY, "on")),
        TargetSessionAttrs::Primary => Some((RECOVERY, "f")),
        TargetSessionAttrs::Standby => Some((RECOVERY, "t")),
    }
}

fn login_error(endpoint: &Endpoint, error: tokio_postgres::Error) -> Error {
    if let Some(error) = server_error(&error) {
        return Error::Server { endpoint: endpoint.clone(), error };
    }
    let refused = |refusal| Error::Refused { endpoint: endpoint.clone(), refusal };
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            if let Some(stopped) = guard::stopped(io) {
                return match stopped {
                    guard::Stopped::Refused(refusal) => refused(refusal),
                    guard::Stopped::Protocol(source) => {
                        Error::Protocol { endpoint: endpoint.clone(), source }
                    }
                };
            }
            if let Some(tls) = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                return Error::login(endpoint, io::Error::other(tls.clone()));
            }
        }
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    match refusal_of(&words) {
        Some(refusal) => refused(refusal),
        None => Error::Lost { endpoint: endpoint.clone(), source: io::Error::other(error) },
    }
}

/// tokio-postgres keeps the kinds of its errors to itself; these are its words and its causes',
/// tested against a server that provokes them.
fn refusal_of(text: &str) -> Option<Refusal> {
    const WORDS: [(&str, Refusal); 6] = [
        ("password missing", Refusal::PasswordMissing),
        ("did not use channel binding", Refusal::ChannelBinding),
        ("unsupported authentication method", Refusal::Method),
        ("unsupported SASL mechanism", Refusal::Method),
        ("SCRAM verification error", Refusal::ServerSignature),
        ("authentication error", Refusal::Scram),
    ];
    WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, refusal)| *refusal)
}

/// A handshake that has taken place.
struct AlreadyDone {
    end_point: Option<Vec<u8>>,
}

impl TlsConnect<Guard> for AlreadyDone {
    type Stream = Bound;
    type Error = Infallible;
    type Future = Ready<Result<Bound, Infallible>>;

    fn connect(self, guard: Guard) -> Self::Future {
        ready(Ok(Bound { guard, end_point: self.end_point }))
    }
}

/// A channel with its binding data.
struct Bound {
    guard: Guard,
    end_point: Option<Vec<u8>>,
}

impl TlsStream for Bound {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.end_point {
            Some(data) => ChannelBinding::tls_server_end_point(data.clone()),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Bound {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().guard).poll_read(cx, buf)
    }
}

impl AsyncWrite for Bound {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().guard).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().guard).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().guard).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
