//! What the commands of an operator work with: the deployment's position, slot and server as they
//! are now. Looking changes nothing.

use serde_json::{Value, json};

use super::output::Output;
use crate::config::Settings;
use crate::delivery::startup::{Decision, Server};
use crate::delivery::{Position, standing};
use crate::failure::Failure;
use crate::kafka::{Admin, position_topic};
use crate::postgres::catalog::{self, ServerInfo};
use crate::postgres::claim;
use crate::postgres::control::{self, Control};
use crate::postgres::replication::Client;
use crate::postgres::slot::{self, SlotState};
use crate::postgres::{Lsn, Timeline};
use crate::snapshot::Record;

/// A deployment, connected to both sides.
pub(super) struct Deployment<'a> {
    pub(super) settings: &'a Settings,
    pub(super) admin: Admin,
    pub(super) postgres: Postgres,
    pub(super) position: Known,
}

/// The position, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    Position(Position),
    /// A record that is no position; the reason.
    Unreadable(String),
}

/// The Postgres side of a deployment.
pub(super) struct Postgres {
    pub(super) control: Control,
    pub(super) info: ServerInfo,
    pub(super) server: Server,
    pub(super) slot: SlotState,
}

impl<'a> Deployment<'a> {
    /// Asks Postgres and Kafka.
    pub(super) async fn look(settings: &'a Settings) -> Result<Deployment<'a>, Failure> {
        Deployment::look_through(control(settings).await?, settings).await
    }

    async fn look_through(
        control: Control,
        settings: &'a Settings,
    ) -> Result<Deployment<'a>, Failure> {
        let admin = admin(settings)?;
        let (mut postgres, position) = tokio::try_join!(
            Postgres::look_through(control, settings),
            Known::read(&admin, settings)
        )?;
        let position = postgres.look_again(settings, &admin, position).await?;
        Ok(Deployment { settings, admin, postgres, position })
    }

    /// As [`look`](Self::look), for a change: nobody else makes or replaces the slot and its
    /// position meanwhile.
    pub(super) async fn claim(settings: &'a Settings) -> Result<Deployment<'a>, Failure> {
        let control = control(settings).await?;
        claim::claim(&control.client, &settings.postgres.slot).await?;
        Deployment::look_through(control, settings).await
    }

    /// What a start would do now.
    pub(super) fn decision(&self) -> Decision {
        self.decision_at(self.position.position())
    }

    /// What a start would do with another position.
    pub(super) fn decision_at(&self, position: Option<&Position>) -> Decision {
        self.postgres.decide(self.settings, position)
    }

    /// The position `done` in the log of the present server.
    pub(super) fn at(&self, done: Lsn) -> Position {
        let Server { origin, timeline, .. } = &self.postgres.server;
        Position::At { origin: origin.clone(), timeline: *timeline, done, partial: None }
    }

    /// Writes the position; makes its topic, if need be.
    pub(super) async fn write(&self, position: &Position) -> Result<(), Failure> {
        self.write_with(position, None).await
    }

    /// As [`write`](Self::write), for a deployment that begins: no table has been read, and the
    /// next start reads them.
    pub(super) async fn write_first(&self, position: &Position) -> Result<(), Failure> {
        let record = Record::new(position.origin().clone());
        self.write_with(position, Some(&record)).await
    }

    async fn write_with(
        &self,
        position: &Position,
        record: Option<&Record>,
    ) -> Result<(), Failure> {
        let Settings { name, topics, .. } = self.settings;
        position_topic::ensure(&self.admin, name, topics).await?;
        standing::write(self.settings, position, record).await
    }

    /// An error while somebody reads the slot: what is changed now would be changed under them.
    pub(super) fn ensure_idle(&self) -> Result<(), Failure> {
        let SlotState::Exists(slot) = &self.postgres.slot else { return Ok(()) };
        let Some(pid) = slot.active_pid else { return Ok(()) };
        Err(Failure::stop(
            "slot",
            format!("slot {} is being read by the server process {pid}", slot.name),
        )
        .remedy("stop its reader first, `walferry run` most likely; then try again"))
    }

    /// What one accepts by replacing the position by `done`.
    pub(super) fn accepted(&self, done: Lsn) -> String {
        let (origin, timeline, old) = match &self.position {
            Known::Position(Position::At { origin, timeline, done, .. }) => {
                (origin, *timeline, *done)
            }
            Known::Position(Position::Intent(_)) | Known::Nothing => {
                return format!(
                    "what commits before {done} is not delivered by walferry: there was no \
                     position before"
                );
            }
            Known::Unreadable(_) => {
                return format!(
                    "what commits before {done} counts as delivered: the former position cannot \
                     be read"
                );
            }
        };
        let server = &self.postgres.server;
        if *origin != server.origin {
            return format!(
                "the former position {old} belongs to {origin}; what was committed after it and \
                 is not sent from {done} on is not delivered"
            );
        }
        describe_move(old, done, (timeline, server.timeline))
    }
}

fn describe_move(old: Lsn, done: Lsn, (from, to): (Timeline, Timeline)) -> String {
    let mut text = match done.cmp(&old) {
        std::cmp::Ordering::Greater => {
            format!("what commits between {old} and {done} is not delivered")
        }
        std::cmp::Ordering::Less => {
            format!("what commits between {done} and {old} is delivered again")
        }
        std::cmp::Ordering::Equal => format!("the position stays at {done}"),
    };
    if from != to {
        text.push_str(&format!(", now on timeline {to} instead of {from}"));
    }
    text
}

impl Known {
    pub(super) async fn read(admin: &Admin, settings: &Settings) -> Result<Known, Failure> {
        let Settings { name, kafka, .. } = settings;
        let records = position_topic::read(admin, name, kafka, standing::KAFKA_TIMEOUT).await?;
        Ok(match records.position.as_deref().map(Position::from_bytes) {
            None => Known::Nothing,
            Some(Ok(position)) => Known::Position(position),
            Some(Err(error)) => Known::Unreadable(error.to_string()),
        })
    }

    pub(super) fn position(&self) -> Option<&Position> {
        match self {
            Known::Position(position) => Some(position),
            Known::Nothing | Known::Unreadable(_) => None,
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Known::Nothing => "none".to_owned(),
            Known::Unreadable(reason) => reason.clone(),
            Known::Position(Position::Intent(origin)) => {
                format!("none yet: a first start for {origin} has begun")
            }
            Known::Position(Position::At { origin, timeline, done, .. }) => {
                format!("everything before {done} is delivered (timeline {timeline}, {origin})")
            }
        }
    }

    /// The record itself.
    pub(super) fn json(&self) -> Value {
        match self {
            Known::Nothing => Value::Null,
            Known::Unreadable(reason) => json!({ "unreadable": reason }),
            Known::Position(position) => {
                serde_json::from_slice(&position.to_bytes()).unwrap_or(Value::Null)
            }
        }
    }
}

impl Postgres {
    /// Looks as a start does, over both kinds of connection, one of which is already there.
    pub(super) async fn look_through(
        control: Control,
        settings: &Settings,
    ) -> Result<Postgres, Failure> {
        let info = catalog::server_info(&control.client).await?;
        let server = server(&control, &info, settings).await?;
        let slot = slot::read(&control.client, &settings.postgres.slot).await?;
        Ok(Postgres { control, info, server, slot })
    }

    /// What a start would do with this position.
    pub(super) fn decide(&self, settings: &Settings, position: Option<&Position>) -> Decision {
        standing::decide(settings, position, &self.slot, &self.server)
    }

    /// Reads everything once more before a gap is reported: `walferry run` may have moved the
    /// things between two of the readings. In this order they cannot contradict each other by
    /// that alone, since whoever confirms writes the position first, and what is delivered was
    /// flushed before.
    pub(super) async fn look_again(
        &mut self,
        settings: &Settings,
        admin: &Admin,
        position: Known,
    ) -> Result<Known, Failure> {
        if !matches!(self.decide(settings, position.position()), Decision::Refuse(_)) {
            return Ok(position);
        }
        self.slot = slot::read(&self.control.client, &settings.postgres.slot).await?;
        let position = Known::read(admin, settings).await?;
        self.server = server(&self.control, &self.info, settings).await?;
        Ok(position)
    }

    /// `server_version_num` as the version is called.
    pub(super) fn version(&self) -> String {
        let number = self.info.version_num;
        format!("{}.{}", number / 10_000, number % 10_000)
    }
}

async fn server(
    control: &Control,
    info: &ServerInfo,
    settings: &Settings,
) -> Result<Server, Failure> {
    let postgres = &settings.postgres;
    let name = standing::application_name(&settings.name);
    let timeout = postgres.connect_timeout;
    let mut replication =
        Client::connect(&postgres.target, &control.endpoint, timeout, &name).await?;
    let server = standing::server(&mut replication, info, settings).await?;
    replication.close().await;
    Ok(server)
}

pub(super) async fn control(settings: &Settings) -> Result<Control, Failure> {
    let postgres = &settings.postgres;
    let name = standing::application_name(&settings.name);
    Ok(control::connect(&postgres.target, postgres.connect_timeout, &name).await?)
}

pub(super) fn admin(settings: &Settings) -> Result<Admin, Failure> {
    Admin::new(&settings.name, &settings.kafka, standing::KAFKA_TIMEOUT)
}

/// Says that `--yes` is missing.
pub(super) fn without_yes() {
    Output::stdout().line("Nothing was done: add --yes to do it.");
}
