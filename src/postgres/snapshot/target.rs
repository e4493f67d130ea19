//! What there is to read: the tables that own topics, and the relations that hold their rows.
//!
//! A few queries for any number of tables. Everything is read from `pg_catalog`'s tables, so that a
//! client whose transaction is at a snapshot gets the tables, columns and partitions of that moment.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::Error;
use crate::pgoutput::Relation;
use crate::postgres::catalog::{self, announced};
use crate::postgres::whitelist::{Role, Whitelist};
use crate::postgres::{Oid, query};

/// A listed table, or a partitioned table whose partitions are published as it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub oid: Oid,
    /// As the stream announces it, under the name that it was listed with.
    pub relation: Relation,
    /// The relations that hold its rows.
    pub sources: Vec<Source>,
    pub outbox: bool,
    /// In key order; empty without one.
    pub primary_key: Vec<String>,
}

impl Target {
    /// Whether its rows are all its own: it is no partitioned table.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.sources.iter().any(|source| source.oid == self.oid)
    }

    /// With what is stored apart (TOAST).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes).sum()
    }
}

/// A relation with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Blocks of the table itself, as of now, that it can be divided into; 0 without the right to
    /// read `ctid`, which a grant of single columns need not have.
    pub pages: u64,
    /// The planner's estimate; `None` if there is none yet.
    pub rows: Option<u64>,
    /// With what is stored apart (TOAST), as of now.
    pub bytes: u64,
    /// The publication's row filter.
    pub filter: Option<String>,
}

/// Looks the tables `wanted` up; those that do not exist are absent.
///
/// # Errors
/// The catalog cannot be read.
pub async fn targets(
    client: &Client,
    whitelist: &Whitelist,
    publications: &[String],
    wanted: &[Oid],
) -> Result<Vec<Target>, Error> {
    let tables = catalog::tables(client, wanted).await?;
    let mut sources = sources(client, wanted).await?;
    let all: Vec<Oid> = sources.values().flatten().map(|source| source.oid).collect();
    let published = published(client, publications, wanted, &all).await?;
    let relations = announced::published(client, &tables, &published.columns).await?;
    let mut targets: HashMap<Oid, Target> = HashMap::new();
    for (table, mut relation) in tables.into_iter().zip(relations) {
        let Some(listed) = whitelist.entries.get(&table.oid) else { continue };
        (relation.schema, relation.name) = (listed.schema.clone(), listed.name.clone());
        let mut sources = sources.remove(&table.oid).unwrap_or_default();
        for source in &mut sources {
            // Published as its root it has the root's filter.
            let filter = published.filters.get(&table.oid);
            source.filter = filter.or_else(|| published.filters.get(&source.oid)).cloned();
        }
        let outbox = matches!(listed.role, Role::Outbox { .. });
        let target =
            Target { oid: table.oid, relation, sources, outbox, primary_key: table.primary_key };
        targets.insert(target.oid, target);
    }
    Ok(wanted.iter().filter_map(|oid| targets.remove(oid)).collect())
}

async fn sources(client: &Client, wanted: &[Oid]) -> Result<HashMap<Oid, Vec<Source>>, Error> {
    let oids: Vec<u32> = wanted.iter().map(|oid| oid.0).collect();
    let answers = query::rows(client, "looking up what is to be read", SOURCES, &[&oids]).await?;
    let mut sources: HashMap<Oid, Vec<Source>> = HashMap::new();
    for answer in &answers {
        let positive = |value: i64| u64::try_from(value).unwrap_or(0);
        let rows: f64 = answer.get("rows")?;
        let source = Source {
            oid: Oid(answer.get("oid")?),
            schema: answer.get("nspname")?,
            name: answer.get("relname")?,
            pages: positive(answer.get("pages")?),
            rows: (rows >= 0.0).then_some(rows as u64),
            bytes: positive(answer.get("bytes")?),
            filter: None,
        };
        sources.entry(Oid(answer.get("target")?)).or_default().push(source);
    }
    Ok(sources)
}

/// What the publications send of tables, where they do not send everything.
#[derive(Default)]
struct Published {
    columns: HashMap<Oid, Vec<String>>,
    filters: HashMap<Oid, String>,
}

async fn published(
    client: &Client,
    publications: &[String],
    targets: &[Oid],
    sources: &[Oid],
) -> Result<Published, Error> {
    const DOING: &str = "looking up what the publications send";
    const VERSION: &str = "SELECT current_setting('server_version_num') AS version";
    let version: u32 = query::one(client, DOING, VERSION, &[]).await?.parse("version")?;
    if version < 150_000 {
        return Ok(Published::default());
    }
    let publications = publications.to_vec();
    let oids: Vec<u32> = targets.iter().chain(sources).map(|oid| oid.0).collect();
    let answers = query::rows(client, DOING, PUBLISHED, &[&publications, &oids]).await?;
    let mut published = Published::default();
    for answer in &answers {
        let oid = Oid(answer.get("oid")?);
        published.columns.insert(oid, answer.get("columns")?);
        if let Some(filter) = answer.get("filter")? {
            published.filters.insert(oid, filter);
        }
    }
    Ok(published)
}

// Partitions that were detached since the snapshot was taken are still its rows. Statistics are of
// the last ANALYZE: as the planner does, the density of rows is taken from them, not their number.
const SOURCES: &str = "
WITH RECURSIVE part(target, oid) AS (
  SELECT oid, oid FROM unnest($1::oid[]) wanted(oid)
  UNION ALL
  SELECT part.target, i.inhrelid
  FROM part JOIN pg_class c ON c.oid = part.oid AND c.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = part.oid
)
SELECT part.target, c.oid, n.nspname, c.relname,
       CASE WHEN has_column_privilege(c.oid, 'ctid', 'SELECT') THEN size.pages ELSE 0 END AS pages,
       CASE WHEN c.reltuples < 0 THEN -1
            WHEN c.relpages > 0 THEN c.reltuples::float8 / c.relpages * size.pages
            ELSE c.reltuples::float8 END AS rows,
       coalesce(pg_table_size(c.oid), 0) AS bytes
FROM part JOIN pg_class c ON c.oid = part.oid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::bigint AS pages
) size
ORDER BY part.target, n.nspname, c.relname";

// A table in several publications is sent if any of their filters lets a row through. Before 18
// generated columns are never sent.
const PUBLISHED: &str = "
SELECT c.oid, array_agg(DISTINCT a.attname) AS columns,
       CASE WHEN bool_and(p.rowfilter IS NOT NULL)
            THEN string_agg(DISTINCT '(' || p.rowfilter || ')', ' OR ') END AS filter
FROM pg_publication_tables p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relname = p.tablename AND c.relnamespace = n.oid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY (p.attnames)
WHERE p.pubname = ANY ($1::text[]) AND c.oid = ANY ($2::oid[])
  AND (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000)
GROUP BY c.oid";
