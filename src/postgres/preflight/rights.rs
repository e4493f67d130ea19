//! What our role may do with the tables, and what their replica identity carries.

use std::collections::HashMap;

use tokio_postgres::Client;

use crate::postgres::Oid;
use crate::postgres::query::{self, Answer, Error};

/// The facts of a table that only the preflight asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// The columns without SELECT.
    pub unreadable: Vec<String>,
    pub may_use_schema: bool,
    pub row_security: bool,
    /// Whether row-level security would hide rows from our role.
    pub row_security_hides: bool,
    /// The columns that deletes and updates carry of the old row; `None`: all of them.
    pub identity: Option<Vec<String>>,
}

pub(super) async fn read(client: &Client, oids: &[Oid]) -> Result<HashMap<Oid, Rights>, Error> {
    let oids: Vec<u32> = oids.iter().map(|oid| oid.0).collect();
    let rows = query::rows(client, "reading the privileges", RIGHTS, &[&oids]).await?;
    rows.iter().map(|answer| Ok((Oid(answer.get("oid")?), rights(answer)?))).collect()
}

fn rights(answer: &Answer) -> Result<Rights, Error> {
    let full: bool = answer.get("full_identity")?;
    let identity: Vec<String> = answer.get("identity")?;
    Ok(Rights {
        unreadable: answer.get("unreadable")?,
        may_use_schema: answer.get("may_use_schema")?,
        row_security: answer.get("relrowsecurity")?,
        row_security_hides: answer.get("row_security_hides")?,
        identity: (!full).then_some(identity),
    })
}

const RIGHTS: &str = "
SELECT c.oid,
       ARRAY(SELECT a.attname FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
             ORDER BY a.attnum) AS unreadable,
       has_schema_privilege(c.relnamespace, 'USAGE') AS may_use_schema,
       c.relrowsecurity, row_security_active(c.oid) AS row_security_hides,
       c.relreplident = 'f' AS full_identity,
       ARRAY(SELECT a.attname
             FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, n)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND k.n <= i.indnkeyatts
               AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                       WHEN 'i' THEN i.indisreplident ELSE false END
             ORDER BY k.n) AS identity
FROM pg_class c
WHERE c.oid = ANY ($1::oid[])";
