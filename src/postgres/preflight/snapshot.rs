//! What a first start would read, and about how long that takes.

use std::time::Duration;

use tokio_postgres::Client;

use super::Finding;
use crate::config::Settings;
use crate::postgres::publication::inserts_name;
use crate::postgres::query;
use crate::postgres::slot::Bytes;
use crate::postgres::snapshot::{Error, Target, targets};
use crate::postgres::whitelist::{Whitelist, dotted};
use crate::snapshot::wanted;

/// Rows that are read in a second, roughly, whatever they hold.
const ROWS_PER_SECOND: u64 = 100_000;

/// The tables that a first start would read.
pub(super) async fn read(
    client: &Client,
    settings: &Settings,
    whitelist: &Whitelist,
) -> Result<Vec<Target>, query::Error> {
    let mut read: Vec<_> =
        whitelist.targets().filter(|listed| wanted(settings, listed).is_some()).collect();
    read.sort_by_key(|listed| (&listed.schema, &listed.name));
    let oids: Vec<_> = read.iter().map(|listed| listed.oid).collect();
    let publication = &settings.postgres.publication;
    let publications = [publication.clone(), inserts_name(publication)];
    match targets(client, whitelist, &publications, &oids).await {
        Ok(targets) => Ok(targets),
        Err(Error::Query(error)) => Err(error),
        // Nothing else is done than asking the catalog.
        Err(_) => Ok(Vec::new()),
    }
}

pub(super) fn judge(targets: &[Target], max_rows_per_second: Option<u64>) -> Vec<Finding> {
    let rate = max_rows_per_second.unwrap_or(u64::MAX).clamp(1, ROWS_PER_SECOND);
    let mut total = Size::default();
    let mut findings = Vec::new();
    for target in targets {
        let size = Size::of(target);
        let table = dotted(&target.relation.schema, &target.relation.name);
        findings.push(Finding::info(format!("the first start reads {table}: {}", size.text(rate))));
        total.rows += size.rows;
        total.bytes += size.bytes;
        total.is_partly_unknown |= size.is_partly_unknown;
    }
    if targets.len() > 1 {
        let (count, text) = (targets.len(), total.text(rate));
        findings.push(Finding::info(format!("the first start reads {count} tables: {text}")));
    }
    findings
}

/// How much there is to read, as the planner knows it.
#[derive(Default)]
struct Size {
    rows: u64,
    bytes: u64,
    /// Something was never analysed.
    is_partly_unknown: bool,
}

impl Size {
    fn of(target: &Target) -> Size {
        let sources = &target.sources;
        Size {
            rows: sources.iter().filter_map(|source| source.rows).sum(),
            bytes: sources.iter().map(|source| source.bytes).sum(),
            is_partly_unknown: sources.iter().any(|source| {
                // An empty one needs no statistics.
                source.rows.is_none() && source.bytes > 0
            }),
        }
    }

    fn text(&self, rate: u64) -> String {
        let duration = Duration::from_secs((self.rows / rate).max(1));
        let duration = humantime::format_duration(duration);
        let (rows, bytes) = (self.rows, Bytes(self.bytes));
        if !self.is_partly_unknown {
            format!("about {rows} rows, {bytes}, in about {duration}")
        } else if rows == 0 {
            format!("{bytes}, and nobody knows how many rows before an ANALYZE")
        } else {
            format!(
                "more than {rows} rows, {bytes}, in more than {duration}: tables without an \
                 ANALYZE are not counted"
            )
        }
    }
}
