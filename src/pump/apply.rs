//! One message of the stream after the other: changes become records in the batch.
//!
//! [`Applier::apply`] either handles a message whole, or says what it waits for and leaves
//! everything as it was, so that the same message can be applied again.

use super::prepare::ColumnName;
use super::relations::{Relations, Target};
use super::sink::Sink;
use super::snapshot::Snapshots;
use crate::avro::{RowError, RowErrorKind};
use crate::config::glob;
use crate::delivery::ResumeFilter;
use crate::envelope::EventContext;
use crate::envelope::message::MessagePlan;
use crate::failure::Failure;
use crate::kafka::Batch;
use crate::outbox::{Destination, RouteError, RouteErrorKind, Routed};
use crate::pgoutput::{LogicalMessage, Message, OldTuple, Origin, Tuple};
use crate::postgres::{Lsn, Oid, PgTime, Xid};
use crate::telemetry::{PumpMetrics, RecordKind, Skip, TableIndex};

/// What became of a message.
#[derive(Debug)]
pub(super) enum Applied {
    /// It is done; its records, if any, are in the batch.
    Done(Effect),
    /// The relation's plan is not there yet.
    AwaitPlan(Oid),
    /// An outbox event goes to a topic that was not used before.
    AwaitDestination(Oid, Destination),
}

/// What is left to do once the batch is produced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effect {
    /// Whose records they are.
    pub(super) counted: Option<Counted>,
    /// The unit that ends with them (a message outside of transactions), and where.
    pub(super) closes: Option<Lsn>,
}

impl Applied {
    const NOTHING: Applied = Applied::Done(Effect { counted: None, closes: None });

    fn records(counted: Counted) -> Applied {
        Applied::Done(Effect { counted: Some(counted), closes: None })
    }
}

/// The transaction that is being received.
#[derive(Debug)]
struct Transaction {
    commit_lsn: Lsn,
    commit_time: PgTime,
    xid: Xid,
    /// Where the transaction was first committed, if it was replicated to here.
    origin: Option<(Lsn, String)>,
    /// Delivered before: nothing of it is looked at.
    delivered: bool,
}

/// The clock and the place of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// Where the change is in the WAL.
    pub(super) lsn: Lsn,
    /// Unix time.
    pub(super) now_nanos: i64,
}

/// What a change works with.
pub(super) struct Tools<'a> {
    pub(super) relations: &'a mut Relations,
    pub(super) snapshots: &'a mut Snapshots,
    pub(super) sink: &'a mut Sink,
    pub(super) batch: &'a mut Batch,
    pub(super) metrics: &'a mut PumpMetrics,
}

pub(super) struct Applier {
    filter: ResumeFilter,
    transaction: Option<Transaction>,
    last_commit: Option<Lsn>,
    last_commit_time: PgTime,
    messages: Option<Messages>,
}

/// Logical messages as records.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) plan: MessagePlan,
    /// Patterns of the prefixes that are wanted.
    pub(super) prefixes: Vec<String>,
}

/// Whose records are in the batch: counted when the producer takes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) table: TableIndex,
    pub(super) kind: RecordKind,
}

impl Applier {
    pub(super) fn new(done: Lsn, messages: Option<Messages>, now: PgTime) -> Applier {
        Applier {
            filter: ResumeFilter::new(done),
            transaction: None,
            last_commit: None,
            last_commit_time: now,
            messages,
        }
    }

    /// Whether a transaction's commit is still to come.
    pub(super) fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Applies one message.
    ///
    /// # Errors
    /// A row that cannot be encoded, and messages that contradict each other.
    pub(super) fn apply(
        &mut self,
        message: &Message<'_>,
        at: At,
        tools: &mut Tools<'_>,
    ) -> Result<Applied, Failure> {
        match message {
            Message::Begin(begin) => {
                if self.transaction.is_some() {
                    return Err(contradiction("a transaction begins inside another"));
                }
                let delivered = self.filter.delivered_transaction(begin.commit_lsn);
                if !delivered {
                    tools.sink.ledger_mut().begin(begin.commit_lsn, begin.commit_time);
                }
                self.transaction = Some(Transaction {
                    commit_lsn: begin.commit_lsn,
                    commit_time: begin.commit_time,
                    xid: begin.xid,
                    origin: None,
                    delivered,
                });
                Ok(Applied::NOTHING)
            }
            Message::Commit(commit) => {
                let transaction = self.transaction.take().filter(|transaction| {
                    transaction.commit_lsn == commit.commit_lsn
                        && commit.end_lsn >= commit.commit_lsn
                });
                let Some(transaction) = transaction else {
                    return Err(contradiction("a commit does not belong to the open transaction"));
                };
                if !transaction.delivered {
                    tools.sink.commit(commit.end_lsn, tools.metrics);
                }
                self.last_commit = Some(commit.commit_lsn);
                self.last_commit_time = commit.commit_time;
                Ok(Applied::NOTHING)
            }
            Message::Origin(origin) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.origin = Some((origin.lsn, origin.name.to_owned()));
                }
                Ok(Applied::NOTHING)
            }
            Message::Relation(relation) => {
                tools.snapshots.announced(relation.oid);
                tools.relations.announce(relation)?;
                Ok(Applied::NOTHING)
            }
            Message::Type(_) => Ok(Applied::NOTHING),
            Message::Insert(insert) => {
                self.change(insert.relation, Change::Insert(insert.new), at, tools)
            }
            Message::Update(update) => {
                self.change(update.relation, Change::Update(update.old, update.new), at, tools)
            }
            Message::Delete(delete) => {
                self.change(delete.relation, Change::Delete(delete.old), at, tools)
            }
            Message::Truncate(truncate) => {
                let mark = tools.batch.mark();
                let mut effect = Effect::default();
                for relation in truncate.relations() {
                    match self.change(relation, Change::Truncate, at, tools)? {
                        Applied::Done(done) => effect.counted = effect.counted.or(done.counted),
                        waits => {
                            tools.batch.rewind(mark);
                            return Ok(waits);
                        }
                    }
                }
                Ok(Applied::Done(effect))
            }
            Message::Logical(message) => self.logical(message, at, tools),
        }
    }

    fn change(
        &mut self,
        oid: Oid,
        change: Change<'_>,
        at: At,
        tools: &mut Tools<'_>,
    ) -> Result<Applied, Failure> {
        let Some(transaction) = &self.transaction else {
            return Err(contradiction("a row comes outside a transaction"));
        };
        if transaction.delivered {
            tools.metrics.skipped(Skip::Delivered);
            return Ok(Applied::NOTHING);
        }
        let event = transaction.event(at, self.last_commit);
        let known = tools.relations.get(oid, tools.metrics)?;
        if tools.snapshots.watches(oid)
            && tools.snapshots.changed(known.relation(), &change, transaction.xid)
        {
            tools.sink.limit_position(transaction.commit_lsn);
        }
        let before = tools.batch.len();
        let (outcome, counted) = match &mut known.target {
            Target::Unlisted => {
                tools.metrics.skipped(Skip::Unlisted);
                return Ok(Applied::NOTHING);
            }
            Target::Pending(_) => return Ok(Applied::AwaitPlan(oid)),
            Target::Announced => {
                tools.relations.need(oid);
                return Ok(Applied::AwaitPlan(oid));
            }
            Target::Table(plan, table) => {
                let kind = change.kind();
                let written = match change {
                    Change::Insert(new) => plan.insert(&event, &new, tools.batch),
                    Change::Update(old, new) => plan.update(&event, old, &new, tools.batch),
                    Change::Delete(old) => plan.delete(&event, old, tools.batch),
                    Change::Truncate => {
                        plan.truncate(&event, tools.batch);
                        Ok(())
                    }
                };
                (written, Counted { table: *table, kind })
            }
            Target::Outbox(router, table) => {
                let Change::Insert(new) = change else {
                    tools.metrics.skipped(Skip::Configured);
                    return Ok(Applied::NOTHING);
                };
                let counted = Counted { table: *table, kind: RecordKind::Outbox };
                match router.route(&event, &new, tools.batch) {
                    Ok(Routed::Written) => return Ok(Applied::records(counted)),
                    Ok(Routed::Missing(destination)) => {
                        return Ok(Applied::AwaitDestination(oid, destination));
                    }
                    Err(RouteError { kind: RouteErrorKind::Row(error), .. }) => {
                        (Err(error), counted)
                    }
                    Err(error) => return Err(route_failure(&error, at.lsn)),
                }
            }
        };
        match outcome {
            Ok(()) if tools.batch.len() > before => Ok(Applied::records(counted)),
            Ok(()) => {
                tools.metrics.skipped(Skip::Configured);
                Ok(Applied::NOTHING)
            }
            Err(error) => row_error(error, oid, at.lsn, tools.relations, tools.metrics),
        }
    }

    fn logical(
        &mut self,
        message: &LogicalMessage<'_>,
        at: At,
        tools: &mut Tools<'_>,
    ) -> Result<Applied, Failure> {
        if let Some(transaction) = self.transaction.as_ref().filter(|_| message.transactional)
            && tools.snapshots.is_mark(message.prefix)
        {
            if !transaction.delivered {
                tools.snapshots.mark(message.content, transaction.commit_lsn);
            }
            return Ok(Applied::NOTHING);
        }
        let wanted = |wanted: &&mut Messages| {
            wanted.prefixes.iter().any(|prefix| glob(prefix, message.prefix))
        };
        let Some(Messages { plan, .. }) = self.messages.as_mut().filter(wanted) else {
            tools.metrics.skipped(Skip::Unlisted);
            return Ok(Applied::NOTHING);
        };
        let (commit_lsn, commit_time, xid) = match &self.transaction {
            Some(transaction) if message.transactional => {
                if transaction.delivered {
                    tools.metrics.skipped(Skip::Delivered);
                    return Ok(Applied::NOTHING);
                }
                (transaction.commit_lsn, transaction.commit_time, Some(transaction.xid))
            }
            None if !message.transactional => {
                if self.filter.delivered_message(message.lsn) {
                    tools.metrics.skipped(Skip::Delivered);
                    return Ok(Applied::NOTHING);
                }
                (message.lsn, self.last_commit_time, None)
            }
            _ => return Err(contradiction("a logical message is on the wrong side of a commit")),
        };
        let last_commit_lsn =
            if message.transactional { self.last_commit } else { Some(message.lsn) };
        let event = EventContext {
            commit_lsn,
            xid,
            commit_time,
            lsn: message.lsn,
            last_commit_lsn,
            origin: None,
            now_nanos: at.now_nanos,
        };
        plan.message(&event, message, tools.batch);
        let counted = Counted { table: tools.metrics.table(MESSAGES), kind: RecordKind::Message };
        if !message.transactional {
            tools.sink.ledger_mut().begin(message.lsn, self.last_commit_time);
            self.last_commit = Some(message.lsn);
        }
        let closes = (!message.transactional).then_some(message.lsn);
        Ok(Applied::Done(Effect { counted: Some(counted), closes }))
    }
}

/// Where logical messages are counted.
const MESSAGES: &str = "(messages)";

/// One change of one row, or of a whole table.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Insert(Tuple<'a>),
    Update(OldTuple<'a>, Tuple<'a>),
    Delete(OldTuple<'a>),
    Truncate,
}

impl Change<'_> {
    fn kind(&self) -> RecordKind {
        match self {
            Change::Insert(_) => RecordKind::Create,
            Change::Update(..) => RecordKind::Update,
            Change::Delete(_) => RecordKind::Delete,
            Change::Truncate => RecordKind::Truncate,
        }
    }
}

impl Transaction {
    fn event(&self, at: At, last_commit_lsn: Option<Lsn>) -> EventContext<'_> {
        EventContext {
            commit_lsn: self.commit_lsn,
            xid: Some(self.xid),
            commit_time: self.commit_time,
            lsn: at.lsn,
            last_commit_lsn,
            origin: self.origin.as_ref().map(|(lsn, name)| Origin { lsn: *lsn, name }),
            now_nanos: at.now_nanos,
        }
    }
}

fn contradiction(what: &str) -> Failure {
    Failure::stop("protocol", format!("the stream contradicts itself: {what}"))
}

/// A row without an image in its schema: widened and tried again, or the end of the stream.
fn row_error(
    error: RowError,
    oid: Oid,
    at: Lsn,
    relations: &mut Relations,
    metrics: &mut PumpMetrics,
) -> Result<Applied, Failure> {
    let known = relations.get(oid, metrics)?;
    let column = known.column(&error).unwrap_or_else(|| ColumnName::unknown(error.column));
    if error.kind == RowErrorKind::UnexpectedNull && relations.widen(oid, column.name.clone()) {
        return Ok(Applied::AwaitPlan(oid));
    }
    Err(row_failure(&error, &relations.name(oid), at, &column))
}

/// A row that has no image in its schema.
pub(super) fn row_failure(error: &RowError, table: &str, at: Lsn, column: &ColumnName) -> Failure {
    let ColumnName { name: column, column_type } = column;
    Failure::stop(
        "row",
        format!(
            "a row of {table} at {at} cannot be encoded: column {column} (type {column_type}) {}",
            error.kind
        ),
    )
    .remedy(format!(
        "correct the row's value and let the old version pass by leaving the column out: \
         exclude_columns = [\"{column}\"] in the [[table]] of {table}"
    ))
}

pub(super) fn route_failure(error: &RouteError, at: Lsn) -> Failure {
    Failure::stop("outbox", format!("{error} (at {at})"))
}
