//! Tables as the server would announce them in a relation message, from the catalog alone: for who
//! wants to know a table's schemas without a stream.
//!
//! Follows what pgoutput does: live columns in order, those of the publication's column list where
//! there is one, without generated ones unless they are published, flagged where they belong to the
//! replica identity.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::facts::{IdentityKind, TableFacts};
use crate::pgoutput::{Relation, RelationColumn, ReplicaIdentity};
use crate::postgres::Oid;
use crate::postgres::query::{self, Error};

/// The relations of these tables, in their order.
pub async fn relations(client: &Client, tables: &[TableFacts]) -> Result<Vec<Relation>, Error> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid.0).collect();
    let answers =
        query::rows(client, "reading the replica identities", IDENTITIES, &[&oids]).await?;
    let mut identities: HashMap<Oid, Vec<String>> = HashMap::new();
    for answer in &answers {
        identities.insert(Oid(answer.get("relid")?), answer.get("columns")?);
    }
    let relation = |table: &TableFacts| {
        relation(table, identities.get(&table.oid).map_or(&[], Vec::as_slice), None)
    };
    Ok(tables.iter().map(relation).collect())
}

/// As [`relations`], for tables whose publication has these columns.
pub async fn published(
    client: &Client,
    tables: &[TableFacts],
    columns: &HashMap<Oid, Vec<String>>,
) -> Result<Vec<Relation>, Error> {
    let mut relations = relations(client, tables).await?;
    for (relation, table) in relations.iter_mut().zip(tables) {
        if let Some(columns) = columns.get(&table.oid) {
            let identity: Vec<String> = relation
                .columns
                .iter()
                .filter(|column| column.key)
                .map(|column| column.name.clone())
                .collect();
            *relation = self::relation(table, &identity, Some(columns));
        }
    }
    Ok(relations)
}

fn relation(table: &TableFacts, identity: &[String], published: Option<&[String]>) -> Relation {
    let full = table.identity == IdentityKind::Full;
    let sent = table.columns.iter().filter(|column| match published {
        Some(published) => published.contains(&column.name),
        None => !column.generated,
    });
    Relation {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        identity: match table.identity {
            IdentityKind::Default => ReplicaIdentity::Default,
            IdentityKind::Nothing => ReplicaIdentity::Nothing,
            IdentityKind::Full => ReplicaIdentity::Full,
            IdentityKind::Index => ReplicaIdentity::Index,
        },
        columns: sent
            .map(|column| RelationColumn {
                name: column.name.clone(),
                key: full || identity.contains(&column.name),
                type_oid: column.type_oid,
                typmod: column.typmod,
            })
            .collect(),
    }
}

// A deferrable primary key is no identity.
const IDENTITIES: &str = "
SELECT i.indrelid AS relid, array_agg(a.attname ORDER BY k.n) AS columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, n)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisvalid AND i.indimmediate AND k.n <= i.indnkeyatts
  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END
GROUP BY i.indrelid";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::catalog::{ColumnFacts, RelationKind};

    fn column(name: &str, generated: bool) -> ColumnFacts {
        ColumnFacts {
            name: name.into(),
            type_oid: Oid(23),
            typmod: -1,
            not_null: false,
            default: None,
            generated,
            identity: false,
        }
    }

    fn table(identity: IdentityKind) -> TableFacts {
        TableFacts {
            oid: Oid(16384),
            schema: "public".into(),
            name: "orders".into(),
            kind: RelationKind::Table,
            root: None,
            identity,
            columns: vec![column("id", false), column("twice", true), column("note", false)],
            primary_key: vec!["id".into()],
            unique_key: Vec::new(),
        }
    }

    fn flags(identity: IdentityKind, columns: &[String]) -> Vec<(String, bool)> {
        let columns = relation(&table(identity), columns, None).columns;
        columns.into_iter().map(|column| (column.name, column.key)).collect()
    }

    #[test]
    fn identity_columns_are_flagged_and_generated_ones_are_not_sent() {
        let of = |id, note| vec![("id".to_owned(), id), ("note".to_owned(), note)];
        assert_eq!(flags(IdentityKind::Default, &["id".into()]), of(true, false));
        assert_eq!(flags(IdentityKind::Index, &["note".into()]), of(false, true));
        assert_eq!(flags(IdentityKind::Full, &[]), of(true, true));
        assert_eq!(flags(IdentityKind::Nothing, &[]), of(false, false));
    }

    #[test]
    fn a_column_list_says_what_is_sent() {
        let published = ["note".to_owned(), "twice".to_owned()];
        let columns = relation(&table(IdentityKind::Full), &[], Some(&published)).columns;
        let columns: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(columns, ["twice", "note"], "in the table's order");
    }
}
