//! What is there: publications, and the tables that want to be in one.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use crate::postgres::Oid;
use crate::postgres::query::{self, Answer, Error, qualified};
use crate::postgres::whitelist::Whitelist;

/// What the database has, as far as publications are concerned.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub database: String,
    pub user: String,
    /// Whether our role may create a publication in the database.
    pub may_create: bool,
    /// A standby takes no DDL.
    pub in_recovery: bool,
    /// Nor does a session whose transactions are read-only from the start.
    pub read_only: Option<ReadOnly>,
    pub publications: Vec<Existing>,
    /// The members of the whitelist that exist, ordered by oid.
    pub tables: Vec<Wanted>,
}

/// Whose `default_transaction_read_only` it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// Set for the role or the database, and there to stay.
    Ours,
    /// The whole server's: some providers set it while the disk is full, and take it back.
    Servers,
}

/// A publication as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    pub oid: Oid,
    pub name: String,
    pub owner: String,
    /// Whether our role has the rights of the owner.
    pub owned: bool,
    pub all_tables: bool,
    /// Schemas published as a whole (15 and later).
    pub schemas: Vec<String>,
    pub operations: Operations,
    pub via_root: bool,
    pub members: Vec<Member>,
}

/// A table that a publication names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// It has a row filter or a column list (15 and later), so that not all of it is sent.
    pub narrowed: bool,
    pub ancestors: Vec<Oid>,
}

/// `publish` of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
}

/// A listed table with what decides where it can be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub oid: Oid,
    /// Its names now, which a rename can have made others than the whitelist's.
    pub schema: String,
    pub name: String,
    pub owner: String,
    /// Whether our role has the rights of the owner, which adding it needs.
    pub owned: bool,
    pub partitioned: bool,
    pub inserts_only: bool,
    /// Itself and its ancestors: what a publication can cover it through.
    pub lineage: Vec<(Oid, String)>,
    /// The tables (itself, or partitions of it), quoted for SQL, whose replica identity cannot
    /// serve UPDATE and DELETE.
    pub unidentified: Vec<String>,
}

impl Operations {
    pub const ALL: Operations =
        Operations { insert: true, update: true, delete: true, truncate: true };
    pub const INSERT: Operations =
        Operations { insert: true, update: false, delete: false, truncate: false };

    /// As the parameter `publish` spells it.
    #[must_use]
    pub fn sql(self) -> String {
        let names = [
            (self.insert, "insert"),
            (self.update, "update"),
            (self.delete, "delete"),
            (self.truncate, "truncate"),
        ];
        let names: Vec<_> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        names.join(", ")
    }

    #[must_use]
    pub fn union(self, other: Operations) -> Operations {
        Operations {
            insert: self.insert || other.insert,
            update: self.update || other.update,
            delete: self.delete || other.delete,
            truncate: self.truncate || other.truncate,
        }
    }
}

/// Reads the publications with these names and the members of the whitelist.
pub(super) async fn read(
    client: &Client,
    names: &[&str],
    whitelist: &Whitelist,
) -> Result<State, Error> {
    const DOING: &str = "reading the publications";
    let database = query::one(client, DOING, DATABASE, &[]).await?;
    let publications = query::rows(client, DOING, PUBLICATIONS, &[&names]).await?;
    let members = query::rows(client, DOING, MEMBERS, &[&names]).await?;
    // pg_publication_namespace exists from 15 on.
    let schemas = if database.parse::<u32>("version_num")? >= 150_000 {
        query::rows(client, DOING, SCHEMAS, &[&names]).await?
    } else {
        Vec::new()
    };

    let mut members_of: HashMap<u32, Vec<Member>> = HashMap::new();
    for answer in &members {
        members_of.entry(answer.get("pubid")?).or_default().push(member(answer)?);
    }
    let mut schemas_of: HashMap<u32, Vec<String>> = HashMap::new();
    for answer in &schemas {
        schemas_of.entry(answer.get("pubid")?).or_default().push(answer.get("nspname")?);
    }
    let publications = publications.iter().map(|answer| {
        let oid: u32 = answer.get("oid")?;
        let members = members_of.remove(&oid).unwrap_or_default();
        existing(answer, oid, members, schemas_of.remove(&oid).unwrap_or_default())
    });
    Ok(State {
        database: database.get("datname")?,
        user: database.get("username")?,
        may_create: database.get("may_create")?,
        in_recovery: database.get("in_recovery")?,
        read_only: read_only(&database)?,
        publications: publications.collect::<Result<_, _>>()?,
        tables: tables(client, whitelist).await?,
    })
}

/// The oid of each of these publications that exists; a publication that is dropped and made
/// again has another.
pub async fn oids(client: &Client, names: &[String]) -> Result<Vec<(String, Oid)>, Error> {
    let rows = query::rows(client, "looking up the publications", OIDS, &[&names]).await?;
    rows.iter().map(|answer| Ok((answer.get("pubname")?, Oid(answer.get("oid")?)))).collect()
}

async fn tables(client: &Client, whitelist: &Whitelist) -> Result<Vec<Wanted>, Error> {
    let members = whitelist.members();
    let oids: Vec<u32> = members.iter().map(|listed| listed.oid.0).collect();
    let inserts_only: HashSet<Oid> =
        members.iter().filter(|listed| listed.inserts_only).map(|listed| listed.oid).collect();
    let rows = query::rows(client, "reading the replica identities", WANTED, &[&oids]).await?;
    rows.iter().map(|answer| wanted(answer, &inserts_only)).collect()
}

fn read_only(database: &Answer) -> Result<Option<ReadOnly>, Error> {
    let source: Option<String> = database.get("read_only")?;
    Ok(source.map(|source| match source.as_str() {
        "configuration file" | "command line" | "environment variable" => ReadOnly::Servers,
        _ => ReadOnly::Ours,
    }))
}

fn existing(
    answer: &Answer,
    oid: u32,
    members: Vec<Member>,
    schemas: Vec<String>,
) -> Result<Existing, Error> {
    Ok(Existing {
        oid: Oid(oid),
        name: answer.get("pubname")?,
        owner: answer.get("owner")?,
        owned: answer.get("owned")?,
        all_tables: answer.get("puballtables")?,
        schemas,
        operations: Operations {
            insert: answer.get("pubinsert")?,
            update: answer.get("pubupdate")?,
            delete: answer.get("pubdelete")?,
            truncate: answer.get("pubtruncate")?,
        },
        via_root: answer.get("pubviaroot")?,
        members,
    })
}

fn member(answer: &Answer) -> Result<Member, Error> {
    let ancestors: Vec<u32> = answer.get("ancestors")?;
    Ok(Member {
        oid: Oid(answer.get("oid")?),
        schema: answer.get("nspname")?,
        name: answer.get("relname")?,
        narrowed: answer.get("narrowed")?,
        ancestors: ancestors.into_iter().map(Oid).collect(),
    })
}

fn wanted(answer: &Answer, inserts_only: &HashSet<Oid>) -> Result<Wanted, Error> {
    let oid = Oid(answer.get("oid")?);
    let names = |schemas: &'static str, tables: &'static str| {
        let (schemas, tables): (Vec<String>, Vec<String>) =
            (answer.get(schemas)?, answer.get(tables)?);
        Ok(schemas.into_iter().zip(tables).map(|(s, t)| qualified(&s, &t)).collect())
    };
    let lineage: Vec<u32> = answer.get("lineage")?;
    let schemas: Vec<String> = answer.get("lineage_schemas")?;
    Ok(Wanted {
        oid,
        schema: answer.get("nspname")?,
        name: answer.get("relname")?,
        owner: answer.get("owner")?,
        owned: answer.get("owned")?,
        partitioned: answer.get("partitioned")?,
        inserts_only: inserts_only.contains(&oid),
        lineage: lineage.into_iter().map(Oid).zip(schemas).collect(),
        unidentified: names("unidentified_schemas", "unidentified")?,
    })
}

const DATABASE: &str = "
SELECT current_database() AS datname, current_user AS username,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       pg_is_in_recovery() AS in_recovery,
       (SELECT source FROM pg_settings
        WHERE name = 'default_transaction_read_only' AND setting = 'on') AS read_only,
       current_setting('server_version_num') AS version_num";

const OIDS: &str = "
SELECT pubname, oid FROM pg_publication WHERE pubname = ANY ($1::text[]) ORDER BY pubname";

const PUBLICATIONS: &str = "
SELECT oid, pubname, pg_get_userbyid(pubowner) AS owner, pg_has_role(pubowner, 'USAGE') AS owned,
       puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot
FROM pg_publication WHERE pubname = ANY ($1::text[]) ORDER BY pubname";

// to_jsonb reads the columns that 14 does not have yet as NULL.
const MEMBERS: &str = "
SELECT p.oid AS pubid, c.oid, n.nspname, c.relname,
       to_jsonb(m) ->> 'prqual' IS NOT NULL OR to_jsonb(m) ->> 'prattrs' IS NOT NULL AS narrowed,
       CASE WHEN c.relispartition THEN
         ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) a(relid)
               WHERE a.relid <> c.oid)
       ELSE ARRAY[]::oid[] END AS ancestors
FROM pg_publication p
JOIN pg_publication_rel m ON m.prpubid = p.oid
JOIN pg_class c ON c.oid = m.prrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = ANY ($1::text[])
ORDER BY n.nspname, c.relname";

const SCHEMAS: &str = "
SELECT s.pnpubid AS pubid, n.nspname
FROM pg_publication p
JOIN pg_publication_namespace s ON s.pnpubid = p.oid
JOIN pg_namespace n ON n.oid = s.pnnspid
WHERE p.pubname = ANY ($1::text[])
ORDER BY n.nspname";

// Which table's identity counts: for UPDATE and DELETE the server checks that of the partition
// that holds the row. The partitioned table's own is asked for as well, because it describes the
// old rows on the wire and because its primary key is what a partition made later will have.
// A deferrable primary key serves no replica identity; an index that was dropped leaves 'i'
// behind with no index.
const WANTED: &str = "
SELECT c.oid, n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner,
       pg_has_role(c.relowner, 'USAGE') AS owned, c.relkind = 'p' AS partitioned,
       up.oids AS lineage, up.schemas AS lineage_schemas,
       coalesce(down.schemas, ARRAY[]::name[]) AS unidentified_schemas,
       coalesce(down.tables, ARRAY[]::name[]) AS unidentified
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT array_agg(a.oid) AS oids, array_agg(an.nspname) AS schemas
  FROM pg_class a JOIN pg_namespace an ON an.oid = a.relnamespace
  WHERE a.oid = c.oid
     OR c.relispartition AND a.oid IN (SELECT p.relid FROM pg_partition_ancestors(c.oid) p(relid))
) up
CROSS JOIN LATERAL (
  SELECT array_agg(tn.nspname ORDER BY t.oid) AS schemas,
         array_agg(t.relname ORDER BY t.oid) AS tables
  FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace
  WHERE (t.oid = c.oid
         OR c.relkind = 'p' AND t.oid IN (SELECT p.relid FROM pg_partition_tree(c.oid) p
                                          WHERE p.isleaf))
    AND t.relkind IN ('r', 'p')
    AND NOT CASE t.relreplident
      WHEN 'f' THEN true
      WHEN 'n' THEN false
      ELSE EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = t.oid AND i.indisvalid AND i.indimmediate
          AND CASE t.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)
    END
) down
WHERE c.oid = ANY ($1::oid[])
ORDER BY c.oid";
