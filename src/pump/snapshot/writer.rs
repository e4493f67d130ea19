//! From the text of a row to its record: the same plans as the stream's, made when the first row
//! of a table comes.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::avro::RowErrorKind;
use crate::envelope::debezium::TablePlan;
use crate::envelope::{EventContext, Marker, SnapshotContext, SnapshotSource};
use crate::failure::Failure;
use crate::kafka::Batch;
use crate::outbox::{RouteError, RouteErrorKind, Routed, Router};
use crate::pgoutput::TupleBuilder;
use crate::postgres::snapshot::Target;
use crate::postgres::whitelist::Whitelist;
use crate::pump::apply::{route_failure, row_failure};
use crate::pump::prepare::{ColumnName, Plan, Preparer, Wanted};
use crate::snapshot::copy_row::read_row;

/// A table that is read, and its plan once there is one.
pub(super) struct Table {
    preparer: Arc<Preparer>,
    target: Target,
    whitelist: Arc<Whitelist>,
    context: SnapshotContext,
    /// The catalog is asked again for the plan.
    is_fresh: bool,
    planned: Mutex<Planned>,
}

#[derive(Default)]
struct Planned {
    plan: Option<Prepared>,
    columns: Arc<[ColumnName]>,
    /// Columns whose "not null" hint a row has contradicted: with each the plan is another.
    nullable: Vec<String>,
}

#[derive(Clone)]
enum Prepared {
    Table(Arc<TablePlan>),
    Outbox(Arc<Mutex<Router>>),
}

/// Writes the rows of one range.
pub(super) struct Writer {
    plan: Prepared,
    source: Option<SnapshotSource>,
    columns: Arc<[ColumnName]>,
    /// Of the plan: how many hints it goes without.
    widened: usize,
    tuple: TupleBuilder,
}

impl Table {
    pub(super) fn new(
        preparer: Arc<Preparer>,
        target: Target,
        whitelist: &Arc<Whitelist>,
        context: SnapshotContext,
        is_fresh: bool,
    ) -> Table {
        let whitelist = Arc::clone(whitelist);
        Table { preparer, target, whitelist, context, is_fresh, planned: Mutex::default() }
    }

    /// How many columns its rows have.
    pub(super) fn columns(&self) -> usize {
        self.target.relation.columns.len()
    }

    pub(super) fn is_outbox(&self) -> bool {
        self.target.outbox
    }

    /// A writer of its rows; the first one waits for schemas and topic.
    ///
    /// # Errors
    /// As of a relation in the stream.
    pub(super) async fn writer(&self) -> Result<Writer, Failure> {
        let mut planned = self.planned.lock().await;
        if planned.plan.is_none() {
            let made = self.preparer.make(&self.wanted(&planned.nullable)).await?;
            planned.columns = made.columns.into();
            planned.plan = Some(match made.plan {
                Plan::Table(plan) => Prepared::Table(Arc::from(plan)),
                Plan::Outbox(router) => Prepared::Outbox(Arc::new(Mutex::new(*router))),
                Plan::Unlisted => {
                    return Err(Failure::retry("whitelist", "a table is not listed any more"));
                }
            });
        }
        let Some(plan) = planned.plan.clone() else {
            return Err(Failure::stop("internal", "a table has no plan"));
        };
        let source = match &plan {
            Prepared::Table(plan) => Some(plan.snapshot_source(self.context)),
            Prepared::Outbox(_) => None,
        };
        let columns = Arc::clone(&planned.columns);
        let widened = planned.nullable.len();
        Ok(Writer { plan, source, columns, widened, tuple: TupleBuilder::default() })
    }

    /// Writes one row into the batch.
    ///
    /// # Errors
    /// The row has no image in its schema, or is not what the server should send.
    pub(super) async fn write(
        &self,
        writer: &mut Writer,
        line: &[u8],
        marker: Marker,
        now_nanos: i64,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let columns = self.target.relation.columns.len();
        read_row(line, columns, &mut writer.tuple).map_err(|error| {
            let table = self.target.relation.qualified();
            Failure::stop("protocol", format!("a row of {table} is not understood: {error}"))
        })?;
        loop {
            let error = match (&writer.plan, &mut writer.source) {
                (Prepared::Table(plan), Some(source)) => {
                    let row = writer.tuple.tuple();
                    match plan.read(source, marker, now_nanos, &row, batch) {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
                (Prepared::Outbox(router), _) => {
                    let router = Arc::clone(router);
                    return self.route(&router, &writer.tuple, now_nanos, batch).await;
                }
                (Prepared::Table(_), None) => {
                    return Err(Failure::stop("internal", "a table has no source"));
                }
            };
            let column = writer.columns.get(error.column).cloned();
            let column = column.unwrap_or_else(|| ColumnName::unknown(error.column));
            let is_null = error.kind == RowErrorKind::UnexpectedNull;
            if !is_null || !self.widen(&column.name, writer.widened).await {
                let table = self.target.relation.qualified();
                return Err(row_failure(&error, &table, self.context.lsn, &column));
            }
            let tuple = std::mem::take(&mut writer.tuple);
            *writer = Writer { tuple, ..self.writer().await? };
        }
    }

    /// A row holds a NULL where the plan that goes without `widened` hints expects none. `false`
    /// if no other plan would help.
    async fn widen(&self, column: &str, widened: usize) -> bool {
        let mut planned = self.planned.lock().await;
        if planned.nullable.len() > widened {
            // Another reader has met such a row meanwhile.
            return true;
        }
        if planned.nullable.iter().any(|known| known == column) {
            return false;
        }
        planned.nullable.push(column.to_owned());
        planned.plan = None;
        true
    }

    async fn route(
        &self,
        router: &Mutex<Router>,
        tuple: &TupleBuilder,
        now_nanos: i64,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let SnapshotContext { lsn, xid, time } = self.context;
        let event = EventContext {
            commit_lsn: lsn,
            xid,
            commit_time: time,
            lsn,
            last_commit_lsn: None,
            origin: None,
            now_nanos,
        };
        let mut router = router.lock().await;
        loop {
            match router.route(&event, &tuple.tuple(), batch) {
                Ok(Routed::Written) => return Ok(()),
                Ok(Routed::Missing(destination)) => {
                    let listed = self.whitelist.entries.get(&self.target.oid);
                    let admitted = self.preparer.make_destination(&destination, listed).await?;
                    router.admit(&admitted.topic, admitted.key, admitted.value);
                }
                Err(RouteError { kind: RouteErrorKind::Row(error), .. }) => {
                    let table = self.target.relation.qualified();
                    let column = ColumnName::unknown(error.column);
                    return Err(row_failure(&error, &table, lsn, &column));
                }
                Err(error) => return Err(route_failure(&error, lsn)),
            }
        }
    }

    fn wanted(&self, nullable: &[String]) -> Wanted {
        Wanted {
            relation: self.target.relation.clone(),
            listed: self.whitelist.entries.get(&self.target.oid).cloned(),
            whitelist: Arc::clone(&self.whitelist),
            nullable: nullable.to_vec(),
            fresh: self.is_fresh,
        }
    }
}
