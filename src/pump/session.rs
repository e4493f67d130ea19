//! Connecting: everything that has to hold before the first record.
//!
//! The order is that of the argument: the position is read before anything is changed; position,
//! slot and server are compared; publications come before the slot; `START_REPLICATION` takes the
//! slot, which is the lease; and since the server silently fast-forwards a start position, the
//! slot is compared once more after that. Only then is anything produced.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::apply::Messages;
use super::prepare::{Prefetched, Preparer};
use super::relations::Relations;
use super::sink::{self, Source};
use super::snapshot::{self, Opened, Snapshots};
use super::task::Task;
use super::topics::Topics;
use super::wake::Wake;
use super::watch::{Watch, Watcher};
use crate::config::Settings;
use crate::config::settings::Engine;
use crate::delivery::Position;
use crate::delivery::standing::{
    self, KAFKA_TIMEOUT, Standing, application_name, refusal, startup_slot,
};
use crate::delivery::startup::{self, Decision, Gap, Server};
use crate::envelope::ContextHeaders;
use crate::envelope::message::{self, MessageInput, MessagePlan};
use crate::failure::Failure;
use crate::kafka::topics::TopicSpec;
use crate::kafka::{Admin, position_topic};
use crate::postgres::catalog::{self, ServerInfo};
use crate::postgres::claim;
use crate::postgres::control::{self, Control};
use crate::postgres::publication::{self, Publications};
use crate::postgres::replication::{Client, Error as ReplicationError, StartReplication, Stream};
use crate::postgres::slot::{self, SlotState};
use crate::postgres::whitelist::{self, Whitelist};
use crate::postgres::{Lsn, Oid};
use crate::registry::{Registry, Subject};
use crate::snapshot::Record;
use crate::telemetry::Telemetry;

/// A connected stream, ready to be followed.
pub(super) struct Session {
    pub(super) stream: Stream,
    pub(super) relations: Relations,
    pub(super) watch: Watch,
    pub(super) snapshots: Snapshots,
    pub(super) source: Source,
    pub(super) done: Lsn,
    /// `None` for never.
    pub(super) wal_sender_timeout: Option<Duration>,
    pub(super) messages: Option<Messages>,
}

/// Connects, as often as it takes.
pub(super) struct Connector {
    pub(super) settings: Arc<Settings>,
    pub(super) runtime: Handle,
    pub(super) registry: Arc<Registry>,
    pub(super) topics: Arc<Topics>,
    /// As the last connection had it: a table renamed since stays listed.
    pub(super) whitelist: Mutex<Option<Arc<Whitelist>>>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) wake: Wake,
    /// For the server of the present attempt, as soon as its settings are known.
    pub(super) message_timeout: Mutex<Option<Duration>>,
}

/// What both sides say before anything is changed.
struct Found {
    control: Control,
    replication: Client,
    info: ServerInfo,
    server: Server,
    whitelist: Whitelist,
    position: Option<Position>,
    record: Option<Record>,
    slot: SlotState,
}

/// What is settled before the slot is taken.
struct Settled {
    done: Lsn,
    record: Record,
    /// At a first start with a snapshot.
    opened: Option<Opened>,
}

impl Connector {
    /// Goes all the way to a started stream.
    pub(super) async fn connect(&self) -> Result<Box<Session>, Failure> {
        let admin = Admin::new(&self.settings.name, &self.settings.kafka, KAFKA_TIMEOUT)?;
        let (found, standing) = tokio::try_join!(self.look(), self.read_standing(&admin))?;
        let Standing { position, snapshot: record } = standing;
        let mut found = Found { position, record, ..found };
        if let Decision::Refuse(_) = self.decide(&found) {
            self.look_again(&mut found, &admin).await?;
        }
        let claims = self.claim(&mut found, &admin).await?;
        let publications = self.publish(&found).await?;
        let settled = self.settle(&mut found, &publications).await?;
        if claims {
            claim::release(&found.control.client, &self.settings.postgres.slot).await?;
        }
        let messages = self.messages(&admin, &found.info.database).await?;
        drop(admin);
        let prefetched = prefetch(&found.control, &found.whitelist).await?;
        self.start(found, publications, settled, messages, prefetched).await
    }

    async fn read_standing(&self, admin: &Admin) -> Result<Standing, Failure> {
        position_topic::ensure(admin, &self.settings.name, &self.settings.topics).await?;
        standing::read(admin, &self.settings).await
    }

    async fn look(&self) -> Result<Found, Failure> {
        let postgres = &self.settings.postgres;
        let name = application_name(&self.settings.name);
        let timeout = postgres.connect_timeout;
        let control = control::connect(&postgres.target, timeout, &name).await?;
        let mut replication =
            Client::connect(&postgres.target, &control.endpoint, timeout, &name).await?;
        let info = catalog::server_info(&control.client).await?;
        self.tell(sink::message_timeout(info.wal_sender_timeout));
        let server = standing::server(&mut replication, &info, &self.settings).await?;
        let before = self.whitelist.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = before.as_deref();
        let whitelist = whitelist::resolve(&control.client, &self.settings, before).await?;
        whitelist.ensure()?;
        for pattern in &whitelist.unmatched {
            let pattern = format!("{}.{}", pattern.schema, pattern.table);
            tracing::warn!(pattern, "no table matches; it may be created later");
        }
        let slot = slot::read(&control.client, &postgres.slot).await?;
        let (position, record) = (None, None);
        Ok(Found { control, replication, info, server, whitelist, position, record, slot })
    }

    /// Says it while the rest of the connecting goes on, so that a new producer costs no time.
    fn tell(&self, message_timeout: Duration) {
        *self.message_timeout.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(message_timeout);
        self.wake.wake();
    }

    /// The timeout of the server that is being connected to, once.
    pub(super) fn told(&self) -> Option<Duration> {
        self.message_timeout.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Position, slot and server were read side by side, and another instance may have moved them
    /// meanwhile. Read in this order they cannot contradict each other by that alone: whoever
    /// confirms writes the position first, and what is delivered was flushed before.
    async fn look_again(&self, found: &mut Found, admin: &Admin) -> Result<(), Failure> {
        found.slot = slot::read(&found.control.client, &self.settings.postgres.slot).await?;
        Standing { position: found.position, snapshot: found.record } =
            self.read_standing(admin).await?;
        found.server =
            standing::server(&mut found.replication, &found.info, &self.settings).await?;
        Ok(())
    }

    /// Whoever is going to make or take a slot and its first position claims it, and looks once
    /// more: another instance may have done the same meanwhile. See [`startup`]'s argument.
    async fn claim(&self, found: &mut Found, admin: &Admin) -> Result<bool, Failure> {
        if matches!(self.decide(found), Decision::Resume { .. } | Decision::Refuse(_)) {
            return Ok(false);
        }
        claim::claim(&found.control.client, &self.settings.postgres.slot).await?;
        self.look_again(found, admin).await?;
        Ok(true)
    }

    async fn publish(&self, found: &Found) -> Result<Publications, Failure> {
        // Refused starts change nothing, not even a publication.
        let decision = self.decide(found);
        if let Decision::Refuse(gap) = &decision {
            return Err(refusal(gap));
        }
        let intent = Position::Intent(found.server.origin.clone());
        if decision == Decision::FirstStart && found.position.as_ref() != Some(&intent) {
            standing::write(&self.settings, &intent, None).await?;
        }
        let publications =
            publication::sync(&found.control.client, &self.settings, &found.whitelist).await?;
        for change in &publications.changes {
            tracing::info!(change, "publication changed");
        }
        for notice in &publications.notices {
            tracing::warn!(notice, "publication");
        }
        Ok(publications)
    }

    fn decide(&self, found: &Found) -> Decision {
        standing::decide(&self.settings, found.position.as_ref(), &found.slot, &found.server)
    }

    /// Makes or takes the slot as decided, and the position and the snapshot record that belong to
    /// it.
    async fn settle(
        &self,
        found: &mut Found,
        publications: &Publications,
    ) -> Result<Settled, Failure> {
        let name = &self.settings.postgres.slot;
        let (done, mut opened) = match self.decide(found) {
            Decision::Refuse(gap) => return Err(refusal(&gap)),
            Decision::Resume { done } => {
                let record = self.resumed_record(found).await?;
                return Ok(Settled { done, record, opened: None });
            }
            Decision::Adopt { done } => (done, None),
            Decision::FirstStart => self.make_slot(found, publications).await?,
            Decision::RepeatFirstStart => {
                tracing::warn!(
                    slot = name,
                    "an earlier first start did not finish: beginning anew"
                );
                slot::drop(&found.control.client, name).await?;
                self.make_slot(found, publications).await?
            }
        };
        let mut record = self.first_record(found, true);
        if let Some(opened) = &mut opened
            && self.settings.snapshot.engine == Engine::Auto
        {
            let most = self.settings.snapshot.frozen_max_bytes;
            let large = opened.take_large(&found.whitelist, most);
            snapshot::turn_to_chunks(&mut record, &large);
        }
        let opened = opened.filter(|opened| !opened.is_empty());
        let position = Position::At {
            origin: found.server.origin.clone(),
            timeline: found.server.timeline,
            done,
            partial: None,
        };
        standing::write(&self.settings, &position, Some(&record)).await?;
        tracing::info!(slot = name, position = %done, "first position");
        Ok(Settled { done, record, opened })
    }

    /// Makes the slot, and takes its snapshot if there are tables to be read at it.
    async fn make_slot(
        &self,
        found: &mut Found,
        publications: &Publications,
    ) -> Result<(Lsn, Option<Opened>), Failure> {
        let settings = &self.settings;
        let pending = snapshot::pending(&self.first_record(found, true), &found.whitelist);
        // Those for which chunks are preferred are sorted out while the stream goes on.
        let at_once: Vec<Oid> =
            pending.iter().filter(|(_, windows)| !windows).map(|(oid, _)| *oid).collect();
        if at_once.is_empty() {
            let done = slot::create(&found.control.client, &settings.postgres.slot).await?;
            return Ok((done, None));
        }
        let exported =
            found.replication.create_slot_exporting(&settings.postgres.slot, false).await?;
        let names = publications.names();
        let opened =
            Opened::import(settings, &exported, &found.whitelist, &names, &at_once).await?;
        Ok((exported.at, Some(opened)))
    }

    fn first_record(&self, found: &Found, at_first: bool) -> Record {
        let origin = found.server.origin.clone();
        snapshot::first_record(origin, &self.settings, &found.whitelist, at_first)
    }

    /// The record of a deployment that goes on. One from before there were records has read
    /// nothing, and wants only what happens.
    async fn resumed_record(&self, found: &mut Found) -> Result<Record, Failure> {
        let origin = &found.server.origin;
        let known = found.record.take().filter(|record| {
            // The oids of another database say nothing of this one.
            (record.origin.system, record.origin.database) == (origin.system, origin.database)
        });
        let (mut record, is_new) = match known {
            Some(mut record) => {
                let is_new = snapshot::admit(&mut record, &self.settings, &found.whitelist, true);
                (record, is_new)
            }
            None => (self.first_record(found, false), true),
        };
        if is_new {
            record.origin = found.server.origin.clone();
            standing::write_snapshot(&self.settings, &record).await?;
        }
        Ok(record)
    }

    async fn messages(&self, admin: &Admin, database: &str) -> Result<Option<Messages>, Failure> {
        let settings = &self.settings;
        if !settings.messages.enabled {
            return Ok(None);
        }
        let topic = message::topic(&settings.name);
        let schemas = message::schemas();
        admin.ensure(&[TopicSpec::new(Arc::clone(&topic), &settings.topics)]).await?;
        let key = schemas.key.as_deref().unwrap_or_default();
        let key_schema = self.registry.register(&Subject::key_of(&topic), key).await?;
        let value_schema =
            self.registry.register(&Subject::value_of(&topic), &schemas.value).await?;
        let plan = MessagePlan::new(MessageInput {
            name: &settings.name,
            database,
            topic,
            key_schema,
            value_schema,
        });
        Ok(Some(Messages { plan, prefixes: settings.messages.prefixes.clone() }))
    }

    async fn start(
        &self,
        found: Found,
        publications: Publications,
        settled: Settled,
        messages: Option<Messages>,
        prefetched: Prefetched,
    ) -> Result<Box<Session>, Failure> {
        let Found { control, replication, info, server, whitelist, .. } = found;
        let Settled { done, record, opened } = settled;
        let postgres = &self.settings.postgres;
        let names = publications.names();
        let request = StartReplication {
            slot: &postgres.slot,
            start: done,
            proto_version: 1,
            publications: &names.iter().map(String::as_str).collect::<Vec<_>>(),
            // The marks of tables that are read in chunks are messages.
            messages: true,
            max_message_bytes: postgres.max_message_bytes,
        };
        let stream = replication.start_replication(&request).await.map_err(slot_failure)?;
        let done = self.compare_again(&control).await?;
        let client = Arc::new(control.client);
        let whitelist = Arc::new(whitelist);
        *self.whitelist.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::clone(&whitelist));
        let (news, received) = mpsc::channel();
        let watcher = Watcher {
            control: Arc::clone(&client),
            settings: Arc::clone(&self.settings),
            telemetry: Arc::clone(&self.telemetry),
            whitelist: Arc::clone(&whitelist),
            publications: publications.oids,
            news,
        };
        let watch = Task::spawn(&self.runtime, &self.wake, watcher.run());
        let preparer = Preparer {
            runtime: self.runtime.clone(),
            wake: self.wake.clone(),
            settings: Arc::clone(&self.settings),
            control: client,
            registry: Arc::clone(&self.registry),
            topics: Arc::clone(&self.topics),
            telemetry: Arc::clone(&self.telemetry),
            database: info.database,
            context_headers: self.context_headers(),
            prefetched,
            waiting: std::sync::Mutex::default(),
        };
        let timeout = info.wal_sender_timeout;
        let preparer = Arc::new(preparer);
        let start =
            snapshot::Start { record, opened, flushed: server.flushed, publications: names };
        let (known, now) = (Arc::clone(&whitelist), Instant::now());
        Ok(Box::new(Session {
            stream,
            relations: Relations::new(whitelist, Arc::clone(&preparer)),
            watch: Watch::new(watch, received),
            snapshots: Snapshots::new(start, preparer, known, now),
            source: Source { origin: server.origin, timeline: server.timeline },
            done,
            wal_sender_timeout: (!timeout.is_zero()).then_some(timeout),
            messages,
        }))
    }

    /// With the slot in hand nobody else moves anything, so the position read now is the last word:
    /// an instance that has just left may have moved it since the first look. And the server
    /// starts a slot at its confirmed position if that is past the one asked for, without saying
    /// so: the two are compared once more.
    async fn compare_again(&self, control: &Control) -> Result<Lsn, Failure> {
        let slot = self.settings.postgres.slot.clone();
        let state = slot::read(&control.client, &slot).await?;
        let admin = Admin::new(&self.settings.name, &self.settings.kafka, KAFKA_TIMEOUT)?;
        let standing = standing::read(&admin, &self.settings).await?;
        let Some(Position::At { done, .. }) = standing.position else {
            return Err(Failure::retry("position", "the position record has gone"));
        };
        match startup_slot(&state) {
            startup::Slot::Ready { confirmed } if confirmed <= done => Ok(done),
            startup::Slot::Ready { confirmed } => {
                Err(refusal(&Gap::SlotAhead { slot, confirmed, done }))
            }
            startup::Slot::Missing => Err(refusal(&Gap::SlotMissing { slot, done })),
            startup::Slot::Unusable(reason) => Err(refusal(&Gap::SlotUnusable { slot, reason })),
        }
    }

    fn context_headers(&self) -> Option<ContextHeaders> {
        // A UUID of version 4, as Debezium's.
        let random = fastrand::u128(..) & !(0xF << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
        let digits = format!("{random:032x}");
        let parts =
            [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or(""));
        let run = parts.join("-");
        self.settings.format.context_headers.then(|| ContextHeaders::new(&self.settings.name, &run))
    }
}

fn slot_failure(error: ReplicationError) -> Failure {
    match error {
        ReplicationError::SlotActive { .. } => {
            let mut failure = Failure::from(error);
            failure.kind = "slot_active";
            failure
        }
        other => other.into(),
    }
}

/// One question each for all listed tables and all their types, however many there are.
async fn prefetch(control: &Control, whitelist: &Whitelist) -> Result<Prefetched, Failure> {
    let oids: Vec<Oid> = whitelist.entries.keys().copied().collect();
    let tables = catalog::tables(&control.client, &oids).await?;
    let mut types: Vec<Oid> = tables
        .iter()
        .flat_map(|table| table.columns.iter().map(|column| column.type_oid))
        .collect();
    types.sort_unstable();
    types.dedup();
    let types = catalog::types(&control.client, &types).await?;
    Ok(Prefetched { tables, types, at: Instant::now() })
}
