//! From a relation to its plan, off the pump: catalog, schemas, topic, compilation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::backoff::Backoff;
use super::task::Task;
use super::topics::Topics;
use super::wake::Wake;
use crate::avro::shape::ShapeRules;
use crate::avro::{ColumnShape, TableShape};
use crate::config::Settings;
use crate::config::settings::{Manage, TopicSettings};
use crate::envelope::ContextHeaders;
use crate::envelope::debezium::{self, PlanInput, TablePlan};
use crate::failure::{Class, Failure};
use crate::kafka::TopicName;
use crate::kafka::topics::TopicSpec;
use crate::outbox::{Destination, Router, RouterInput};
use crate::pgoutput::Relation;
use crate::postgres::Oid;
use crate::postgres::catalog::{self, RelationKind, TableFacts, Types};
use crate::postgres::whitelist::{Learned, Listed, Role, Whitelist};
use crate::registry::{self, Registry, SchemaId, Subject};
use crate::telemetry::Telemetry;

/// A relation whose rows wait for a plan.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) relation: Relation,
    /// `None`: the whitelist does not know its oid.
    pub(super) listed: Option<Listed>,
    pub(super) whitelist: Arc<Whitelist>,
    /// Columns whose "not null" hint a row has contradicted.
    pub(super) nullable: Vec<String>,
    /// Read the catalog again instead of taking what the connect has read.
    pub(super) fresh: bool,
}

/// What becomes of a relation.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) listed: Option<Listed>,
    /// The shape's columns, for errors.
    pub(super) columns: Vec<ColumnName>,
}

/// A column as an error names it.
#[derive(Debug, Clone)]
pub(super) struct ColumnName {
    pub(super) name: String,
    pub(super) column_type: String,
}

impl ColumnName {
    /// Of a column that no shape has.
    pub(super) fn unknown(index: usize) -> ColumnName {
        ColumnName { name: format!("#{index}"), column_type: "unknown".to_owned() }
    }
}

impl From<ColumnShape> for ColumnName {
    fn from(column: ColumnShape) -> ColumnName {
        ColumnName { column_type: column.column_type.to_string(), name: column.name }
    }
}

impl Planned {
    fn unlisted() -> Planned {
        Planned { plan: Plan::Unlisted, listed: None, columns: Vec::new() }
    }
}

/// How a relation's rows become records.
pub(super) enum Plan {
    Unlisted,
    Table(Box<TablePlan>),
    Outbox(Box<Router>),
}

/// A destination of outbox events that is ready.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) topic: TopicName,
    pub(super) key: Option<SchemaId>,
    pub(super) value: Option<SchemaId>,
}

/// What the catalog said when the session connected.
#[derive(Debug)]
pub(super) struct Prefetched {
    pub(super) tables: Vec<TableFacts>,
    pub(super) types: Types,
    /// When it was asked.
    pub(super) at: Instant,
}

/// A relation that nothing lists, as the catalog has it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// A table of its own.
    Standalone,
    Gone,
}

/// The failure of what is tried again.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// As [`Failure::kind`].
    pub(super) kind: &'static str,
    pub(super) message: String,
}

/// For so long after a connect the prefetched facts stand for the present ones. They serve the
/// relation messages that follow at once, and are only a hint.
const PREFETCH_HOLDS: Duration = Duration::from_secs(30);

/// Makes plans in the background, and tries again for as long as that may help.
pub(super) struct Preparer {
    pub(super) runtime: Handle,
    pub(super) wake: Wake,
    pub(super) settings: Arc<Settings>,
    pub(super) control: Arc<Client>,
    pub(super) registry: Arc<Registry>,
    pub(super) topics: Arc<Topics>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) database: String,
    pub(super) context_headers: Option<ContextHeaders>,
    pub(super) prefetched: Prefetched,
    pub(super) waiting: Mutex<Option<Waiting>>,
}

impl Preparer {
    /// Begins to make the plan of a relation.
    pub(super) fn start(self: &Arc<Self>, wanted: Wanted) -> Task<Planned> {
        let preparer = Arc::clone(self);
        Task::spawn(&self.runtime, &self.wake, async move { preparer.make(&wanted).await })
    }

    /// Makes the plan of a relation.
    ///
    /// # Errors
    /// An operator is needed, or the control connection is lost.
    pub(super) async fn make(&self, wanted: &Wanted) -> Result<Planned, Failure> {
        self.persist(&wanted.relation.qualified(), || self.plan(wanted)).await
    }

    /// Begins to make a topic and its schemas ready.
    pub(super) fn destination(
        self: &Arc<Self>,
        destination: Destination,
        listed: Option<&Listed>,
    ) -> Task<Admitted> {
        let preparer = Arc::clone(self);
        let listed = listed.cloned();
        Task::spawn(&self.runtime, &self.wake, async move {
            preparer.make_destination(&destination, listed.as_ref()).await
        })
    }

    /// Makes a topic and its schemas ready.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub(super) async fn make_destination(
        &self,
        destination: &Destination,
        listed: Option<&Listed>,
    ) -> Result<Admitted, Failure> {
        let rule = listed.and_then(|listed| match listed.role {
            Role::Outbox { rule } => self.settings.outboxes.get(rule),
            Role::Table { .. } => None,
        });
        let topics = rule.map_or(&self.settings.topics, |rule| &rule.topics);
        self.persist(&destination.topic, || self.admit(destination, topics)).await
    }

    /// The columns of a listed table that are left out of its records.
    pub(super) fn excluded(&self, whitelist: &Whitelist, oid: Oid) -> Vec<String> {
        let role = whitelist.entries.get(&oid).map(|listed| listed.role);
        let rule = match role {
            Some(Role::Table { rule }) => self.settings.tables.get(rule),
            Some(Role::Outbox { .. }) | None => None,
        };
        rule.map(|rule| rule.exclude_columns.clone()).unwrap_or_default()
    }

    /// The last failure of what is being tried again.
    pub(super) fn last_failure(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tries until it works, an operator is needed, or the control connection is lost.
    async fn persist<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        what: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::default();
        loop {
            let failure = match attempt().await {
                Ok(done) => {
                    if self.set_waiting(None).is_some() {
                        tracing::info!(table = what, "schemas and topic are ready");
                    }
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            if failure.class == Class::Stop || self.control.is_closed() {
                return Err(failure);
            }
            self.telemetry.failure(&failure);
            let pause = backoff.after(&failure);
            let waiting = Waiting { kind: failure.kind, message: failure.message.clone() };
            if self.set_waiting(Some(waiting)).is_none() {
                tracing::warn!(table = what, error = %failure, "waiting for schemas or topic");
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn set_waiting(&self, failure: Option<Waiting>) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *waiting, failure)
    }

    async fn plan(&self, wanted: &Wanted) -> Result<Planned, Failure> {
        let mut whitelist = Whitelist::clone(&wanted.whitelist);
        let listed = match &wanted.listed {
            Some(listed) => listed.clone(),
            None => match self.learn(&mut whitelist, &wanted.relation).await? {
                Some(listed) => listed,
                None => return Ok(Planned::unlisted()),
            },
        };
        let mut shape = self.shape(wanted, &listed).await?;
        if listed.root.is_some() {
            // Its rows leave as the root's: under one name, in one subject.
            let root = whitelist.target(&listed);
            (shape.schema, shape.name) = (root.schema.clone(), root.name.clone());
        }
        let plan = match listed.role {
            Role::Table { rule } => self.table(rule, whitelist.target(&listed), &shape).await?,
            Role::Outbox { rule } => self.outbox(rule, &shape)?,
        };
        let columns = shape.columns.into_iter().map(ColumnName::from).collect();
        Ok(Planned { plan, listed: Some(listed), columns })
    }

    /// Asks the catalog about a relation that the whitelist does not know by oid.
    async fn learn(
        &self,
        whitelist: &mut Whitelist,
        relation: &Relation,
    ) -> Result<Option<Listed>, Failure> {
        let Relation { oid, schema, name, .. } = relation;
        match whitelist.learn(&self.control, *oid, schema, name).await? {
            Learned::Listed => Ok(whitelist.entries.get(oid).cloned()),
            Learned::Unlisted => self.judge_stranger(whitelist, relation, Stranger::Standalone),
            Learned::Vanished => self.judge_stranger(whitelist, relation, Stranger::Gone),
        }
    }

    /// Rows arrive of a relation that nothing lists. It may have been a partition of a listed
    /// table, whose rows are published under their own names with
    /// `publish_via_partition_root = false`: once it was detached or dropped nothing says so but
    /// its columns. A publication of ours has nothing but what is or was listed; a wider one of
    /// the operator's brings strangers all the time.
    fn judge_stranger(
        &self,
        whitelist: &Whitelist,
        relation: &Relation,
        stranger: Stranger,
    ) -> Result<Option<Listed>, Failure> {
        let never = self.settings.postgres.publication_manage == Manage::Never;
        let alike = self.partitioned_alike(whitelist, relation);
        let name = relation.qualified();
        let (what, was) = match stranger {
            Stranger::Standalone => ("which no [[table]] lists", "until it was detached"),
            Stranger::Gone => (
                "which the catalog does not know any more and no [[table]] lists by name",
                "until it was dropped",
            ),
        };
        let partition = alike.map(|alike| {
            format!("it has the columns of {alike}, and may have been a partition of it {was}")
        });
        let stops = match (stranger, never) {
            (Stranger::Gone, false) => true,
            (Stranger::Standalone, true) => false,
            (Stranger::Gone, true) | (Stranger::Standalone, false) => partition.is_some(),
        };
        if !stops {
            if stranger == Stranger::Gone || partition.is_some() {
                tracing::warn!(table = name, partition, "{what}: its rows stay");
            }
            return Ok(None);
        }
        let why = partition
            .unwrap_or_else(|| "whether it belonged to a listed table cannot be told".to_owned());
        Err(Failure::stop("whitelist", format!("rows of {name} arrive, {what}: {why}")).remedy(
            format!(
                "list it by name ([[table]] name = \"{name}\", with the settings of the table that \
                 it belonged to) to deliver its rows, at least until they have passed"
            ),
        ))
    }

    /// A listed partitioned table whose partitions are published under their own names and whose
    /// columns are those of the relation.
    fn partitioned_alike(&self, whitelist: &Whitelist, relation: &Relation) -> Option<String> {
        if self.settings.postgres.publish_via_partition_root {
            return None;
        }
        let has = |name: &str, type_oid| {
            relation.columns.iter().any(|own| own.name == name && own.type_oid == type_oid)
        };
        let alike = |table: &&TableFacts| {
            let sent = table.columns.iter().filter(|column| !column.generated);
            table.kind == RelationKind::Partitioned
                && whitelist.entries.contains_key(&table.oid)
                && sent.clone().count() == relation.columns.len()
                && sent.clone().all(|column| has(&column.name, column.type_oid))
        };
        let table = self.prefetched.tables.iter().find(alike)?;
        Some(format!("{}.{}", table.schema, table.name))
    }

    async fn shape(&self, wanted: &Wanted, listed: &Listed) -> Result<TableShape, Failure> {
        let relation = &wanted.relation;
        let rules = self.rules(listed);
        let known = self.prefetched.tables.iter().find(|table| table.oid == relation.oid);
        let read;
        let holds = !wanted.fresh && self.prefetched.at.elapsed() < PREFETCH_HOLDS;
        let (facts, types) = match known.filter(|_| holds) {
            Some(facts) => (Some(facts), &self.prefetched.types),
            None => {
                read = self.read_catalog(relation).await?;
                (read.tables.first(), &read.types)
            }
        };
        let mut shape = TableShape::resolve(relation, facts, types, &rules)
            .and_then(|shape| {
                shape.check_names(self.settings.format.name_adjustment)?;
                Ok(shape)
            })
            .map_err(|error| Failure::stop("schema", error.to_string()))?;
        for name in &wanted.nullable {
            if let Some(index) = shape.columns.iter().position(|column| column.name == *name) {
                shape.widen(index);
            }
        }
        Ok(shape)
    }

    async fn read_catalog(&self, relation: &Relation) -> Result<Prefetched, Failure> {
        let tables = catalog::tables(&self.control, &[relation.oid]).await?;
        let mut oids: Vec<_> = relation.columns.iter().map(|column| column.type_oid).collect();
        oids.sort_unstable();
        oids.dedup();
        let types = catalog::types(&self.control, &oids).await?;
        Ok(Prefetched { tables, types, at: Instant::now() })
    }

    fn rules(&self, listed: &Listed) -> ShapeRules {
        let rule = match listed.role {
            Role::Table { rule } => self.settings.tables.get(rule),
            Role::Outbox { .. } => None,
        };
        ShapeRules::new(rule, &self.settings.format)
    }

    async fn table(
        &self,
        rule: usize,
        target: &Listed,
        shape: &TableShape,
    ) -> Result<Plan, Failure> {
        let settings = &self.settings;
        let rule = settings.tables.get(rule).ok_or_else(|| {
            Failure::stop("internal", "the whitelist names a table rule that does not exist")
        })?;
        let topic = settings.topic_for(rule, &target.schema, &target.name);
        let topic = TopicName::from(topic);
        let schemas = debezium::schemas(&settings.name, shape, &settings.format);
        self.ensure(TopicSpec::new(Arc::clone(&topic), &rule.topics)).await?;
        let key_schema = match &schemas.key {
            Some(text) => Some(self.register(&Subject::key_of(&topic), text, shape).await?),
            None => None,
        };
        let value_schema = self.register(&Subject::value_of(&topic), &schemas.value, shape).await?;
        let plan = TablePlan::compile(PlanInput {
            name: &settings.name,
            database: &self.database,
            shape,
            format: &settings.format,
            topic,
            key_schema,
            value_schema,
            inserts_only: rule.inserts_only,
            context_headers: self.context_headers.clone(),
        })
        .map_err(|error| Failure::stop("schema", error.to_string()))?;
        Ok(Plan::Table(Box::new(plan)))
    }

    /// Registers a table's schema; a refusal that may be about a column's default names the column.
    async fn register(
        &self,
        subject: &Subject,
        schema: &str,
        shape: &TableShape,
    ) -> Result<SchemaId, Failure> {
        let error = match self.registry.register(subject, schema).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        let contested = shape.contested_defaults();
        let about_defaults =
            matches!(error, registry::Error::Invalid { .. }) && !contested.is_empty();
        let failure = Failure::from(error);
        if !about_defaults {
            return Err(failure);
        }
        let columns = contested.join(", ");
        Err(failure.remedy(format!(
            "most likely the registry's own rule refuses the default of {columns} in {}.{}, which \
             Avro allows (a text that reads as JSON, or a float that is no finite number): leave \
             defaults out of schemas, with column_defaults = false in [format], drop the default \
             in Postgres, or set exclude_columns",
            shape.schema, shape.name
        )))
    }

    fn outbox(&self, rule: usize, shape: &TableShape) -> Result<Plan, Failure> {
        let settings = &self.settings;
        let rule = settings.outboxes.get(rule).ok_or_else(|| {
            Failure::stop("internal", "the whitelist names an outbox rule that does not exist")
        })?;
        let router = Router::compile(RouterInput {
            name: &settings.name,
            rule,
            shape,
            format: &settings.format,
            context_headers: self.context_headers.clone(),
        })
        .map_err(|error| Failure::stop("outbox", error.to_string()))?;
        Ok(Plan::Outbox(Box::new(router)))
    }

    async fn admit(
        &self,
        destination: &Destination,
        topics: &TopicSettings,
    ) -> Result<Admitted, Failure> {
        let topic = &destination.topic;
        self.ensure(TopicSpec::new(Arc::clone(topic), topics)).await?;
        let key = match &destination.key_schema {
            Some(text) => Some(self.registry.register(&Subject::key_of(topic), text).await?),
            None => None,
        };
        let value = match &destination.value_schema {
            Some(text) => Some(self.registry.register(&Subject::value_of(topic), text).await?),
            None => None,
        };
        Ok(Admitted { topic: Arc::clone(topic), key, value })
    }

    async fn ensure(&self, topic: TopicSpec) -> Result<(), Failure> {
        self.topics.ensure(&self.settings.name, &self.settings.kafka, topic).await
    }
}
