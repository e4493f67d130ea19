//! The relations of the database that a pattern could mean.

use tokio_postgres::Client;

use super::{Candidate, Kind};
use crate::postgres::Oid;
use crate::postgres::query::{self, Answer, Error};

const DOING: &str = "looking up the tables of the whitelist";

/// All relations that are not the system's own.
pub(super) async fn candidates(client: &Client) -> Result<Vec<Candidate>, Error> {
    query::rows(client, DOING, ALL, &[]).await?.iter().map(candidate).collect()
}

/// One relation and its partitioned ancestors; empty when it does not exist (any more).
pub(super) async fn lineage(client: &Client, oid: Oid) -> Result<Vec<Candidate>, Error> {
    query::rows(client, DOING, LINEAGE, &[&oid.0]).await?.iter().map(candidate).collect()
}

fn candidate(answer: &Answer) -> Result<Candidate, Error> {
    let kind = match answer.get::<String>("kind")?.as_str() {
        "r" => Kind::Table,
        "p" => Kind::Partitioned,
        "u" => Kind::Unlogged,
        "v" => Kind::View,
        "m" => Kind::MaterializedView,
        "f" => Kind::ForeignTable,
        _ => return Err(answer.unexpected("kind")),
    };
    let ancestors: Vec<u32> = answer.get("ancestors")?;
    Ok(Candidate {
        oid: Oid(answer.get("oid")?),
        schema: answer.get("nspname")?,
        name: answer.get("relname")?,
        kind,
        ancestors: ancestors.into_iter().map(Oid).collect(),
    })
}

/// Temporary tables live in schemas that begin with `pg_`, as all of the system's own do; oids
/// below 16384 are what initdb made. Ancestors come from the nearest to the root.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT c.oid, n.nspname, c.relname,
                    CASE WHEN c.relpersistence = 'u' AND c.relkind = 'r' THEN 'u'
                         ELSE c.relkind::text END AS kind,
                    CASE WHEN c.relispartition THEN
                      ARRAY(SELECT a.relid::oid
                            FROM pg_partition_ancestors(c.oid) WITH ORDINALITY a(relid, n)
                            WHERE a.relid <> c.oid ORDER BY a.n)
                    ELSE ARRAY[]::oid[] END AS ancestors
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
               AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND ",
            $condition,
            " ORDER BY n.nspname, c.relname"
        )
    };
}

const ALL: &str = select!("true");

const LINEAGE: &str = select!(
    "(c.oid = $1::oid OR c.oid IN (SELECT a.relid FROM pg_partition_ancestors($1::oid) a(relid)))"
);
