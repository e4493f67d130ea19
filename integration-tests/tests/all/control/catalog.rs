//! Facts of tables and types, and what the server says of itself.

use std::time::Duration;

use integration_tests::Database;
use walferry::postgres::Oid;
use walferry::postgres::catalog::{
    self, ColumnFacts, IdentityKind, RelationKind, TableFacts, TypeKind,
};

use super::{control, major, oid, on_both_versions};

on_both_versions!(
    columns_are_read_as_they_are,
    keys_are_in_key_order,
    partitions_name_their_root,
    types_come_with_all_that_they_are_made_of,
    the_server_describes_itself,
);

async fn facts(database: &Database, table: &str) -> TableFacts {
    let client = control(database).await;
    let facts = catalog::tables(&client, &[oid(database, table).await]).await.expect("facts");
    let [facts] = <[_; 1]>::try_from(facts).expect("one table");
    facts
}

fn column<'a>(facts: &'a TableFacts, name: &str) -> &'a ColumnFacts {
    facts.columns.iter().find(|column| column.name == name).expect("the column")
}

async fn columns_are_read_as_they_are(database: &Database) {
    database
        .execute(
            r#"CREATE TABLE "We ird" (
                 id bigint GENERATED ALWAYS AS IDENTITY, gone int, name varchar(20) NOT NULL,
                 price numeric(10, 2) DEFAULT 1.50, twice numeric GENERATED ALWAYS AS (price * 2)
                 STORED, "Ünï" text DEFAULT 'it''s');
               ALTER TABLE "We ird" DROP COLUMN gone;"#,
        )
        .await;
    let facts = facts(database, r#""We ird""#).await;
    assert_eq!((facts.schema.as_str(), facts.name.as_str()), ("public", "We ird"));
    assert_eq!((facts.kind, facts.root), (RelationKind::Table, None));
    let names: Vec<_> = facts.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "name", "price", "twice", "Ünï"]);
    let id = column(&facts, "id");
    assert!(id.identity && id.not_null && id.default.is_none());
    assert_eq!(id.type_oid, Oid(20));
    let name = column(&facts, "name");
    assert!(name.not_null && name.typmod == 24 && name.default.is_none());
    let price = column(&facts, "price");
    assert!(!price.not_null && price.typmod == (10 << 16 | 2) + 4);
    assert_eq!(price.default.as_deref(), Some("1.50"));
    let twice = column(&facts, "twice");
    assert!(twice.generated && twice.default.is_none());
    assert_eq!(column(&facts, "Ünï").default.as_deref(), Some("'it''s'::text"));

    if major(database).await >= 18 {
        database
            .execute(
                "CREATE TABLE late (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL);
                 INSERT INTO late VALUES (NULL);
                 ALTER TABLE late ADD CONSTRAINT n NOT NULL a NOT VALID",
            )
            .await;
        let late = super::catalog::facts(database, "late").await;
        assert!(!column(&late, "a").not_null, "there can be rows with NULL");
        assert!(column(&late, "b").generated);
        database.execute("DELETE FROM late; ALTER TABLE late VALIDATE CONSTRAINT n").await;
        assert!(column(&super::catalog::facts(database, "late").await, "a").not_null);
    }
}

async fn keys_are_in_key_order(database: &Database) {
    database
        .execute(
            "CREATE TABLE pk (a int, b int, c int, PRIMARY KEY (c, a) INCLUDE (b));
             CREATE TABLE fallback (a int, b int, c text);
             CREATE UNIQUE INDEX a1 ON fallback (lower(c));
             CREATE UNIQUE INDEX a2 ON fallback (a) WHERE b > 0;
             CREATE INDEX a3 ON fallback (c);
             CREATE UNIQUE INDEX a4 ON fallback (b, a);
             CREATE UNIQUE INDEX a5 ON fallback (a);
             CREATE TABLE bare (a int);
             ALTER TABLE pk REPLICA IDENTITY FULL; ALTER TABLE bare REPLICA IDENTITY NOTHING;
             ALTER TABLE fallback ALTER a SET NOT NULL;
             ALTER TABLE fallback REPLICA IDENTITY USING INDEX a5;",
        )
        .await;
    let pk = facts(database, "pk").await;
    assert_eq!((pk.primary_key, pk.identity), (vec!["c".into(), "a".into()], IdentityKind::Full));
    let fallback = facts(database, "fallback").await;
    assert!(fallback.primary_key.is_empty());
    assert_eq!(fallback.unique_key, ["b", "a"]);
    assert_eq!(fallback.identity, IdentityKind::Index);
    let bare = facts(database, "bare").await;
    assert!(bare.primary_key.is_empty() && bare.unique_key.is_empty());
    assert_eq!(bare.identity, IdentityKind::Nothing);
}

async fn partitions_name_their_root(database: &Database) {
    database
        .execute(
            "CREATE TABLE root (a int PRIMARY KEY) PARTITION BY RANGE (a);
             CREATE TABLE middle PARTITION OF root FOR VALUES FROM (0) TO (10)
               PARTITION BY RANGE (a);
             CREATE TABLE leaf PARTITION OF middle FOR VALUES FROM (0) TO (5);",
        )
        .await;
    let root = facts(database, "root").await;
    assert_eq!((root.kind, root.root), (RelationKind::Partitioned, None));
    assert_eq!(root.primary_key, ["a"]);
    assert_eq!(facts(database, "middle").await.root, Some(root.oid));
    let leaf = facts(database, "leaf").await;
    assert_eq!((leaf.kind, leaf.root), (RelationKind::Table, Some(root.oid)));

    let client = control(database).await;
    let all = catalog::tables(&client, &[leaf.oid, Oid(1), root.oid]).await.expect("facts");
    let oids: Vec<_> = all.iter().map(|facts| facts.oid).collect();
    assert_eq!(oids, [root.oid, leaf.oid], "what does not exist is absent");
}

async fn types_come_with_all_that_they_are_made_of(database: &Database) {
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); ALTER TYPE mood ADD VALUE 'ok' AFTER 'sad';
             CREATE DOMAIN inner_domain AS numeric(8, 2)[]; CREATE DOMAIN outer_domain AS
               inner_domain NOT NULL;
             CREATE TYPE pair AS (a int, b mood); CREATE TYPE span AS RANGE (subtype = float8);
             CREATE TABLE t (a mood[], b outer_domain, c pair, d span, e int2vector, f point,
               g int4multirange)",
        )
        .await;
    let client = control(database).await;
    let columns = facts(database, "t").await.columns;
    let asked: Vec<_> = columns.iter().map(|column| column.type_oid).collect();
    let types = catalog::types(&client, &asked).await.expect("types").0;
    let kind = |index: usize| &types[&asked[index]].kind;

    let TypeKind::Array { element } = kind(0) else { panic!("{:?}", kind(0)) };
    let mood = TypeKind::Enum { labels: vec!["sad".into(), "ok".into(), "happy".into()] };
    assert_eq!((&types[element].kind, types[element].name.as_str()), (&mood, "mood"));
    let TypeKind::Domain { base, not_null: true, .. } = kind(1) else { panic!("{:?}", kind(1)) };
    let TypeKind::Domain { base, typmod, not_null: false } = &types[base].kind else {
        panic!("{:?}", types[base])
    };
    assert_eq!(*typmod, (8 << 16 | 2) + 4);
    let TypeKind::Array { element } = &types[base].kind else { panic!("{:?}", types[base]) };
    assert_eq!((&types[element].kind, element), (&TypeKind::Base, &Oid(1700)));
    assert_eq!(kind(2), &TypeKind::Composite);
    assert_eq!(kind(3), &TypeKind::Range);
    assert_eq!(kind(4), &TypeKind::Base, "int2vector has no braces");
    assert_eq!(kind(5), &TypeKind::Base, "a point is no array of its numbers");
    assert_eq!(kind(6), &TypeKind::Multirange);
    assert_eq!(types[&asked[0]].schema, "public");
    assert!(catalog::types(&client, &[]).await.expect("types").0.is_empty());
}

async fn the_server_describes_itself(database: &Database) {
    let client = control(database).await;
    client.batch_execute("SET wal_sender_timeout = '90s'").await.expect("set");
    let info = catalog::server_info(&client).await.expect("info");
    assert_eq!(i64::from(info.version_num / 10000), i64::from(major(database).await));
    assert_eq!(info.database, database.name());
    let oid: u32 =
        database.value("SELECT oid FROM pg_database WHERE datname = current_database()").await;
    assert_eq!(info.database_oid, Oid(oid));
    assert_eq!((info.wal_level.as_str(), info.encoding.as_str()), ("logical", "UTF8"));
    assert_eq!(info.wal_sender_timeout, Duration::from_secs(90));
    assert_eq!(info.max_slot_wal_keep_size, None);
    assert_eq!((info.max_replication_slots, info.max_wal_senders), (200, 100));
    assert!(info.is_superuser && info.may_replicate && !info.in_recovery);
    assert_eq!(info.user, "postgres");
}
