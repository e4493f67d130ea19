//! The client's side of the authentication, without I/O: one request of the server in, at most one
//! answer out.
//!
//! A password leaves in clear text only over a private connection. SCRAM counts as complete only
//! after the server's signature was checked, so a server that cannot prove that it knows the
//! password is never believed, and one that says "ok" in the middle is refused.

use bytes::BytesMut;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};

use crate::config::settings::{ChannelBinding, PostgresTarget};
use crate::postgres::connect::{Refusal, Secrecy};
use crate::postgres::wire::Authentication;

/// An authentication under way.
pub(super) struct Authenticator<'a> {
    user: &'a str,
    password: Option<&'a SecretString>,
    binding: ChannelBinding,
    end_point: Option<Vec<u8>>,
    secrecy: Secrecy,
    state: State,
}

enum State {
    /// Nothing asked yet.
    Start,
    /// A password was sent; only "ok" may follow.
    PasswordSent,
    /// The first SCRAM message was sent.
    ScramStarted(Box<sasl::ScramSha256>),
    /// The proof was sent; the server's signature is due.
    ScramProven(Box<sasl::ScramSha256>),
    /// The server's signature is right; only "ok" may follow.
    ScramVerified,
}

impl<'a> Authenticator<'a> {
    pub(super) fn new(
        target: &'a PostgresTarget,
        end_point: Option<Vec<u8>>,
        secrecy: Secrecy,
    ) -> Authenticator<'a> {
        Authenticator {
            user: &target.user,
            password: target.password.as_ref(),
            binding: target.channel_binding,
            end_point,
            secrecy,
            state: State::Start,
        }
    }

    /// Takes one request, writes the answer to `out`; `true` when the server is satisfied.
    pub(super) fn answer(
        &mut self,
        request: Authentication<'_>,
        out: &mut BytesMut,
    ) -> Result<bool, Refusal> {
        let state = std::mem::replace(&mut self.state, State::Start);
        self.state = match (state, request) {
            (State::Start, Authentication::Ok) => {
                self.unbound_is_allowed()?;
                return Ok(true);
            }
            (State::PasswordSent | State::ScramVerified, Authentication::Ok) => return Ok(true),
            (State::Start, Authentication::CleartextPassword) => self.cleartext(out)?,
            (State::Start, Authentication::Md5Password { salt }) => self.md5(salt, out)?,
            (State::Start, Authentication::Sasl { mechanisms }) => self.scram(mechanisms, out)?,
            (State::ScramStarted(mut scram), Authentication::SaslContinue(challenge)) => {
                scram.update(challenge).map_err(|_| Refusal::Scram)?;
                frontend::sasl_response(scram.message(), out).map_err(|_| Refusal::Scram)?;
                State::ScramProven(scram)
            }
            (State::ScramProven(mut scram), Authentication::SaslFinal(signature)) => {
                scram.finish(signature).map_err(|_| Refusal::ServerSignature)?;
                State::ScramVerified
            }
            (_, Authentication::Ok) => return Err(Refusal::Incomplete),
            (State::Start, Authentication::Unsupported(_)) => return Err(Refusal::Method),
            _ => return Err(Refusal::Scram),
        };
        Ok(false)
    }

    fn cleartext(&self, out: &mut BytesMut) -> Result<State, Refusal> {
        self.unbound_is_allowed()?;
        if self.secrecy == Secrecy::Readable {
            return Err(Refusal::Cleartext);
        }
        self.send_password(self.password()?.as_bytes(), out)
    }

    fn md5(&self, salt: [u8; 4], out: &mut BytesMut) -> Result<State, Refusal> {
        self.unbound_is_allowed()?;
        let hash = md5_hash(self.user.as_bytes(), self.password()?.as_bytes(), salt);
        self.send_password(hash.as_bytes(), out)
    }

    fn send_password(&self, password: &[u8], out: &mut BytesMut) -> Result<State, Refusal> {
        // Only a NUL inside the password can fail here, and no server could hold such a one.
        frontend::password_message(password, out).map_err(|_| Refusal::PasswordMissing)?;
        Ok(State::PasswordSent)
    }

    fn scram(&self, mechanisms: &[u8], out: &mut BytesMut) -> Result<State, Refusal> {
        let offered = |name: &str| mechanisms.split(|&b| b == 0).any(|m| m == name.as_bytes());
        let end_point = match self.binding {
            ChannelBinding::Disable => None,
            ChannelBinding::Prefer | ChannelBinding::Require => self.end_point.clone(),
        };
        let (mechanism, binding) = match end_point {
            Some(data) if offered(sasl::SCRAM_SHA_256_PLUS) => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(data))
            }
            _ if !offered(sasl::SCRAM_SHA_256) => return Err(Refusal::Method),
            // "The client could, the server did not offer": a server that did offer notices that
            // somebody in between removed it.
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if mechanism != sasl::SCRAM_SHA_256_PLUS {
            self.unbound_is_allowed()?;
        }
        let scram = Box::new(sasl::ScramSha256::new(self.password()?.as_bytes(), binding));
        frontend::sasl_initial_response(mechanism, scram.message(), out)
            .map_err(|_| Refusal::Scram)?;
        Ok(State::ScramStarted(scram))
    }

    fn unbound_is_allowed(&self) -> Result<(), Refusal> {
        match self.binding {
            ChannelBinding::Require => Err(Refusal::ChannelBinding),
            ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
        }
    }

    fn password(&self) -> Result<&str, Refusal> {
        self.password.map(ExposeSecret::expose_secret).ok_or(Refusal::PasswordMissing)
    }
}
