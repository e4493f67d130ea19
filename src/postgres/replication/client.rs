//! A replication connection before it streams: login and commands.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authenticate::Authenticator;
use super::buffer::ReceiveBuffer;
use super::commands::{self, ExportedSnapshot, StartReplication, SystemIdentity, TimelineSwitch};
use super::{COMMAND_MESSAGE_LIMIT, Error, Stream};
use crate::config::settings::{PostgresTarget, TargetSessionAttrs};
use crate::postgres::Timeline;
use crate::postgres::connect::{
    self, Channel, Endpoint, Login, TRANSACTION_TIMEOUT_OFF, Transport, major_version,
};
use crate::postgres::wire::{self, Authentication, Frame, ServerError, Tag};

/// An idle replication connection.
///
/// Commands have no time limit of their own: wrap them in one. A command that was dropped midway
/// leaves its answer behind, so drop the client then, too.
pub struct Client {
    channel: Channel,
    received: ReceiveBuffer,
    endpoint: Endpoint,
    server_major: u32,
    /// The database is in SQL_ASCII: its text may be anything. Asked for UTF-8, the server would end
    /// the stream at the first value that is not; taken as it is, the value's table and column can
    /// be named.
    unchecked_text: bool,
}

impl Client {
    /// Connects to the server that the control connection found. `timeout` bounds each attempt.
    ///
    /// # Errors
    /// As [`connect::Error`] says; also when the session does not have the settings that the
    /// text of values depends on.
    pub async fn connect(
        target: &PostgresTarget,
        endpoint: &Endpoint,
        timeout: Duration,
        application_name: &str,
    ) -> Result<Client, Error> {
        let login = ReplicationLogin { target, application_name };
        let mut client =
            connect::reach(target, endpoint, timeout, TargetSessionAttrs::Any, &login).await?;
        let (since, command) = TRANSACTION_TIMEOUT_OFF;
        if client.server_major >= since {
            let set = tokio::time::timeout(timeout, client.command("SET", command)).await;
            let late = |_| connect::Error::Timeout { endpoint: endpoint.clone(), after: timeout };
            set.map_err(late)??;
        }
        if client.unchecked_text {
            let raw = "SET client_encoding = 'SQL_ASCII'";
            let set = tokio::time::timeout(timeout, client.command("SET", raw)).await;
            let late = |_| connect::Error::Timeout { endpoint: endpoint.clone(), after: timeout };
            set.map_err(late)??;
        }
        Ok(client)
    }

    /// The server's major version, such as 17.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        self.server_major
    }

    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `IDENTIFY_SYSTEM`: which cluster this is and where its WAL stands.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let command = "IDENTIFY_SYSTEM";
        let rows = self.command(command, command).await?;
        rows.first()
            .and_then(|row| commands::system_identity(row))
            .ok_or_else(|| self.answer(command, "the row is not readable"))
    }

    /// `TIMELINE_HISTORY`: where each earlier timeline ended, oldest first. Timeline 1 has none.
    pub async fn timeline_history(
        &mut self,
        timeline: Timeline,
    ) -> Result<Vec<TimelineSwitch>, Error> {
        if timeline <= Timeline(1) {
            return Ok(Vec::new());
        }
        let command = "TIMELINE_HISTORY";
        let rows = self.command(command, &commands::timeline_history(timeline)).await?;
        rows.first()
            .and_then(|row| row.get(1)?.as_deref())
            .and_then(commands::parse_history)
            .ok_or_else(|| self.answer(command, "the history is not readable"))
    }

    /// Creates a logical slot for pgoutput, and exports the snapshot that it begins with.
    ///
    /// Takes as long as the oldest transaction that is running now. A temporary slot lives as long
    /// as this session.
    pub async fn create_slot_exporting(
        &mut self,
        name: &str,
        temporary: bool,
    ) -> Result<ExportedSnapshot, Error> {
        let command = "CREATE_REPLICATION_SLOT";
        let text = commands::create_slot(name, temporary).map_err(unquotable)?;
        let rows = self.command(command, &text).await?;
        rows.first()
            .and_then(|row| {
                let at = row.get(1)?.as_deref()?.parse().ok()?;
                Some(ExportedSnapshot { at, snapshot: row.get(2)?.clone()? })
            })
            .ok_or_else(|| self.answer(command, "the row is not readable"))
    }

    /// `START_REPLICATION`; takes the lease on the slot.
    ///
    /// # Errors
    /// [`Error::SlotActive`] when somebody else has it. The connection is given up on any error.
    pub async fn start_replication(
        mut self,
        request: &StartReplication<'_>,
    ) -> Result<Stream, Error> {
        let command = "START_REPLICATION";
        let text = commands::start_replication(request).map_err(unquotable)?;
        self.send_query(&text).await?;
        let frame = self.frame().await?;
        match frame.tag {
            Tag::CopyBothResponse => {}
            Tag::ErrorResponse => {
                let error = ServerError::parse(frame.tag, frame.body);
                let error = error.map_err(|source| self.protocol(source))?;
                return Err(self.refused(command, error, request.slot));
            }
            tag => {
                let expected = "the start of the stream";
                return Err(self.protocol(wire::Error::Unexpected { tag, expected }));
            }
        }
        self.received.set_max_message(request.max_message_bytes);
        let endpoint = self.endpoint.clone();
        Stream::new(self.channel, self.received, self.endpoint)
            .map_err(|source| Error::Lost { endpoint, source })
    }

    /// Ends the session politely. Dropping the client ends it, too.
    pub async fn close(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        // The server closes whatever becomes of this.
        let _ = self.channel.write_all(&message).await;
        let _ = self.channel.shutdown().await;
    }

    /// Runs one command to its end and returns the rows.
    async fn command(
        &mut self,
        name: &'static str,
        text: &str,
    ) -> Result<Vec<Vec<Option<String>>>, Error> {
        self.send_query(text).await?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            let endpoint = self.endpoint.clone();
            let protocol = |source| Error::Protocol { endpoint: endpoint.clone(), source };
            let frame = self.frame().await?;
            match frame.tag {
                Tag::DataRow => rows.push(text_row(frame.body).map_err(protocol)?),
                Tag::RowDescription | Tag::CommandComplete | Tag::EmptyQueryResponse => {}
                Tag::ErrorResponse => {
                    failed = Some(ServerError::parse(frame.tag, frame.body).map_err(protocol)?);
                }
                Tag::ReadyForQuery => break,
                tag => {
                    let expected = "the answer to a command";
                    return Err(protocol(wire::Error::Unexpected { tag, expected }));
                }
            }
            if rows.len() > ROW_LIMIT {
                return Err(self.answer(name, "it has too many rows"));
            }
        }
        match failed {
            Some(error) => Err(self.refused(name, error, "")),
            None => Ok(rows),
        }
    }

    async fn send_query(&mut self, text: &str) -> Result<(), Error> {
        let mut message = BytesMut::new();
        frontend::query(text, &mut message).map_err(|error| self.lost(error))?;
        self.channel.write_all(&message).await.map_err(|error| self.lost(error))?;
        self.channel.flush().await.map_err(|error| self.lost(error))
    }

    /// The next message that is not one of those that may come at any time.
    async fn frame(&mut self) -> Result<Frame<'_>, Error> {
        let endpoint = &self.endpoint;
        read_frame(&mut self.channel, &mut self.received).await.map_err(|error| match error {
            ReadError::Io(source) => Error::Lost { endpoint: endpoint.clone(), source },
            ReadError::Wire(source) => Error::Protocol { endpoint: endpoint.clone(), source },
        })
    }

    fn refused(&self, command: &'static str, error: ServerError, slot: &str) -> Error {
        if error.code.as_str() == "55006" {
            let pid = error.message().and_then(commands::trailing_pid);
            return Error::SlotActive { slot: slot.to_owned(), pid };
        }
        Error::Server { endpoint: self.endpoint.clone(), command, error }
    }

    fn answer(&self, command: &'static str, problem: &'static str) -> Error {
        Error::Answer { endpoint: self.endpoint.clone(), command, problem }
    }

    fn lost(&self, source: std::io::Error) -> Error {
        Error::Lost { endpoint: self.endpoint.clone(), source }
    }

    fn protocol(&self, source: wire::Error) -> Error {
        Error::Protocol { endpoint: self.endpoint.clone(), source }
    }
}

/// Start-up message, authentication, and the server's first reports.
struct ReplicationLogin<'a> {
    target: &'a PostgresTarget,
    application_name: &'a str,
}

impl Login for ReplicationLogin<'_> {
    type Session = Client;

    async fn login(
        &self,
        transport: Transport,
        endpoint: &Endpoint,
        _wanted: TargetSessionAttrs,
    ) -> Result<Client, connect::Error> {
        let Transport { mut channel, end_point, secrecy } = transport;
        let mut received = ReceiveBuffer::new(COMMAND_MESSAGE_LIMIT);
        let lost = |source| connect::Error::login(endpoint, source);
        let protocol = |source| connect::Error::Protocol { endpoint: endpoint.clone(), source };

        let mut out = BytesMut::new();
        self.startup(&mut out).map_err(lost)?;
        let mut authenticator = Authenticator::new(self.target, end_point, secrecy);
        let mut authenticated = false;
        let mut reported = Reported::default();
        loop {
            channel.write_all(&out).await.map_err(lost)?;
            channel.flush().await.map_err(lost)?;
            out.clear();
            let frame = read_frame_raw(&mut channel, &mut received).await;
            let frame = frame.map_err(|error| match error {
                ReadError::Io(source) => lost(source),
                ReadError::Wire(source) => protocol(source),
            })?;
            match frame.tag {
                Tag::Authentication if !authenticated => {
                    let request = Authentication::parse(frame.body).map_err(protocol)?;
                    authenticated = authenticator.answer(request, &mut out).map_err(|refusal| {
                        connect::Error::Refused { endpoint: endpoint.clone(), refusal }
                    })?;
                }
                Tag::ErrorResponse => {
                    let error = ServerError::parse(frame.tag, frame.body).map_err(protocol)?;
                    return Err(connect::Error::Server { endpoint: endpoint.clone(), error });
                }
                Tag::ParameterStatus if authenticated => {
                    let (name, value) = wire::parameter_status(frame.body).map_err(protocol)?;
                    reported.note(name, value);
                }
                Tag::BackendKeyData | Tag::NoticeResponse => {}
                Tag::ReadyForQuery if authenticated => break,
                tag => {
                    let expected = "a step of the login";
                    return Err(protocol(wire::Error::Unexpected { tag, expected }));
                }
            }
        }
        connect::check_reported(endpoint, |name| reported.get(name))?;
        let server_major = reported.get("server_version").and_then(major_version).unwrap_or(0);
        let unchecked_text = reported.get("server_encoding") == Some("SQL_ASCII");
        let endpoint = endpoint.clone();
        Ok(Client { channel, received, endpoint, server_major, unchecked_text })
    }
}

impl ReplicationLogin<'_> {
    fn startup(&self, out: &mut BytesMut) -> std::io::Result<()> {
        let options = connect::session_options();
        let parameters = [
            ("user", self.target.user.as_str()),
            ("database", self.target.database.as_str()),
            ("replication", "database"),
            ("application_name", self.application_name),
            ("client_encoding", "UTF8"),
            ("options", options.as_str()),
        ];
        frontend::startup_message(parameters, out)
    }
}

/// What the server reports of the session at its start.
#[derive(Default)]
struct Reported {
    values: Vec<(String, String)>,
}

impl Reported {
    fn note(&mut self, name: &str, value: &str) {
        if self.values.len() < REPORT_LIMIT {
            self.values.push((name.to_owned(), value.to_owned()));
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().rev().find(|(reported, _)| reported == name);
        found.map(|(_, value)| value.as_str())
    }
}

enum ReadError {
    Io(std::io::Error),
    Wire(wire::Error),
}

async fn read_frame<'a>(
    channel: &mut Channel,
    received: &'a mut ReceiveBuffer,
) -> Result<Frame<'a>, ReadError> {
    loop {
        let frame = complete_frame(channel, received).await?;
        if !matches!(frame, Tag::NoticeResponse | Tag::ParameterStatus | Tag::NotificationResponse)
        {
            break;
        }
        received.take_frame().map_err(ReadError::Wire)?;
    }
    read_frame_raw(channel, received).await
}

/// Waits for a whole frame and takes it.
async fn read_frame_raw<'a>(
    channel: &mut Channel,
    received: &'a mut ReceiveBuffer,
) -> Result<Frame<'a>, ReadError> {
    complete_frame(channel, received).await?;
    let frame = received.take_frame().map_err(ReadError::Wire)?;
    frame.ok_or_else(|| ReadError::Io(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Waits until the first frame is whole.
async fn complete_frame(
    channel: &mut Channel,
    received: &mut ReceiveBuffer,
) -> Result<Tag, ReadError> {
    loop {
        if let Some(frame) = received.frame().map_err(ReadError::Wire)? {
            return Ok(frame.tag);
        }
        let free = received.free().map_err(ReadError::Wire)?;
        let count = channel.read(free).await.map_err(ReadError::Io)?;
        if count == 0 {
            return Err(ReadError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        received.filled(count);
    }
}

fn text_row(body: &[u8]) -> Result<Vec<Option<String>>, wire::Error> {
    let row = wire::data_row(body)?;
    Ok(row.into_iter().map(|v| v.map(|v| String::from_utf8_lossy(v).into_owned())).collect())
}

fn unquotable(commands::Unquotable(name): commands::Unquotable) -> Error {
    Error::Name { name }
}

/// More settings than any server reports.
const REPORT_LIMIT: usize = 256;

/// More rows than any command here answers with.
const ROW_LIMIT: usize = 16;
