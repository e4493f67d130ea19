//! The queries that fill the catalog's facts, in bulk.
//!
//! Three queries for any number of tables, one for any number of types; the same text on
//! PostgreSQL 14 to 18. They read the catalog as it is now, each query at its own moment: a table
//! that is dropped meanwhile is absent or has no columns, and callers take the stream's word
//! against a contradiction anyway (see [`facts`](super::facts)).

use std::collections::HashMap;

use tokio_postgres::Client;

use super::facts::{
    ColumnFacts, IdentityKind, RelationKind, TableFacts, TypeFacts, TypeKind, Types,
};
use crate::postgres::Oid;
use crate::postgres::query::{self, Answer, Error};

/// Reads the facts of the tables with these oids, ordered by oid; those that do not exist (any
/// more) are absent.
pub async fn tables(client: &Client, oids: &[Oid]) -> Result<Vec<TableFacts>, Error> {
    const DOING: &str = "reading the tables of the catalog";
    let oids = numbers(oids);
    let (tables, columns, keys) = at_once(
        query::rows(client, DOING, TABLES, &[&oids]),
        query::rows(client, DOING, COLUMNS, &[&oids]),
        query::rows(client, DOING, KEYS, &[&oids]),
    )
    .await?;

    let mut columns = by_table(&columns, column)?;
    let mut keys = by_table(&keys, key)?;
    tables
        .iter()
        .map(|answer| {
            let oid = Oid(answer.get("oid")?);
            let keys = keys.remove(&oid).unwrap_or_default();
            table(answer, oid, columns.remove(&oid).unwrap_or_default(), keys)
        })
        .collect()
}

/// Reads the types with these oids and all that they are made of: the elements of arrays and the
/// bases of domains, however deep.
pub async fn types(client: &Client, oids: &[Oid]) -> Result<Types, Error> {
    let answers =
        query::rows(client, "reading the types of the catalog", TYPES, &[&numbers(oids)]).await?;
    let types = answers.iter().map(|answer| {
        let facts = type_facts(answer)?;
        Ok((facts.oid, facts))
    });
    Ok(Types(types.collect::<Result<HashMap<_, _>, Error>>()?))
}

/// Sends three queries at once, so that they cost one round trip.
async fn at_once<T>(
    first: impl Future<Output = Result<T, Error>>,
    second: impl Future<Output = Result<T, Error>>,
    third: impl Future<Output = Result<T, Error>>,
) -> Result<(T, T, T), Error> {
    tokio::try_join!(first, second, third)
}

fn numbers(oids: &[Oid]) -> Vec<u32> {
    oids.iter().map(|oid| oid.0).collect()
}

/// Groups rows by their column `relid`, in the order in which they came.
fn by_table<T>(
    answers: &[Answer],
    read: impl Fn(&Answer) -> Result<T, Error>,
) -> Result<HashMap<Oid, Vec<T>>, Error> {
    let mut tables: HashMap<Oid, Vec<T>> = HashMap::new();
    for answer in answers {
        tables.entry(Oid(answer.get("relid")?)).or_default().push(read(answer)?);
    }
    Ok(tables)
}

fn table(
    answer: &Answer,
    oid: Oid,
    columns: Vec<ColumnFacts>,
    keys: Vec<Key>,
) -> Result<TableFacts, Error> {
    let (primary, unique): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| key.primary);
    let first = |keys: Vec<Key>| keys.into_iter().next().map(|key| key.columns).unwrap_or_default();
    Ok(TableFacts {
        oid,
        schema: answer.get("nspname")?,
        name: answer.get("relname")?,
        kind: relation_kind(&answer.get::<String>("relkind")?),
        root: answer.get::<Option<u32>>("root")?.map(Oid),
        identity: identity_kind(&answer.get::<String>("relreplident")?),
        columns,
        primary_key: first(primary),
        unique_key: first(unique),
    })
}

pub(crate) fn relation_kind(relkind: &str) -> RelationKind {
    match relkind {
        "r" => RelationKind::Table,
        "p" => RelationKind::Partitioned,
        _ => RelationKind::Other,
    }
}

fn identity_kind(relreplident: &str) -> IdentityKind {
    match relreplident {
        "f" => IdentityKind::Full,
        "i" => IdentityKind::Index,
        "n" => IdentityKind::Nothing,
        _ => IdentityKind::Default,
    }
}

fn column(answer: &Answer) -> Result<ColumnFacts, Error> {
    Ok(ColumnFacts {
        name: answer.get("attname")?,
        type_oid: Oid(answer.get("atttypid")?),
        typmod: answer.get("atttypmod")?,
        not_null: answer.get("not_null")?,
        default: answer.get("default_text")?,
        generated: answer.get("generated")?,
        identity: answer.get("identity")?,
    })
}

/// A key that a table has, its columns in key order.
struct Key {
    primary: bool,
    columns: Vec<String>,
}

fn key(answer: &Answer) -> Result<Key, Error> {
    Ok(Key { primary: answer.get("indisprimary")?, columns: answer.get("columns")? })
}

fn type_facts(answer: &Answer) -> Result<TypeFacts, Error> {
    Ok(TypeFacts {
        oid: Oid(answer.get("oid")?),
        schema: answer.get("nspname")?,
        name: answer.get("typname")?,
        kind: type_kind(answer)?,
    })
}

fn type_kind(answer: &Answer) -> Result<TypeKind, Error> {
    if let Some(element) = answer.get::<Option<u32>>("element")? {
        return Ok(TypeKind::Array { element: Oid(element) });
    }
    Ok(match answer.get::<String>("typtype")?.as_str() {
        "c" => TypeKind::Composite,
        "d" => TypeKind::Domain {
            base: Oid(answer.get("typbasetype")?),
            typmod: answer.get("typtypmod")?,
            not_null: answer.get("typnotnull")?,
        },
        "e" => TypeKind::Enum { labels: answer.get("labels")? },
        "m" => TypeKind::Multirange,
        "p" => TypeKind::Pseudo,
        "r" => TypeKind::Range,
        _ => TypeKind::Base,
    })
}

const TABLES: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relreplident::text,
       CASE WHEN c.relispartition THEN
         (SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) WITH ORDINALITY a(relid, n)
          WHERE a.relid <> c.oid ORDER BY a.n DESC LIMIT 1)
       END AS root
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::oid[])
ORDER BY c.oid";

// A NOT NULL constraint that is not validated yet (18) sets attnotnull too, while rows that were
// there before may hold NULL.
const COLUMNS: &str = "
SELECT a.attrelid AS relid, a.attname, a.atttypid, a.atttypmod,
       a.attnotnull AND NOT EXISTS (
         SELECT FROM pg_constraint k
         WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated
           AND a.attnum = ANY (k.conkey)) AS not_null,
       a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_text
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

// indnkeyatts leaves the columns of INCLUDE out. Names are of type `name` and sort by byte.
const KEYS: &str = "
SELECT i.indrelid AS relid, i.indisprimary, array_agg(a.attname ORDER BY k.n) AS columns
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, n)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL AND k.n <= i.indnkeyatts
GROUP BY i.indrelid, i.indisprimary, x.relname
ORDER BY i.indrelid, x.relname";

// Only a type that is its element's own array type is an array: int2vector and oidvector have
// elements too, but print them with spaces between.
const TYPES: &str = "
WITH RECURSIVE wanted(oid) AS (
  SELECT unnest($1::oid[])
  UNION
  SELECT part.oid
  FROM wanted JOIN pg_type t ON t.oid = wanted.oid
  CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype)) part(oid)
  WHERE part.oid <> 0
)
SELECT t.oid, n.nspname, t.typname, t.typtype::text, t.typbasetype, t.typtypmod, t.typnotnull,
       (SELECT e.oid FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS element,
       ARRAY(SELECT l.enumlabel FROM pg_enum l WHERE l.enumtypid = t.oid
             ORDER BY l.enumsortorder) AS labels
FROM wanted
JOIN pg_type t ON t.oid = wanted.oid
JOIN pg_namespace n ON n.oid = t.typnamespace";
