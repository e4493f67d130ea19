//! Names to oids, and what happens to them afterwards.

use integration_tests::Database;
use walferry::postgres::whitelist::{Learned, Relation, resolve};

use super::{control, oid, on_both_versions, settings, tables};

on_both_versions!(
    patterns_find_their_tables_and_nothing_else,
    a_rename_and_a_swap_are_seen,
    a_new_partition_is_learned,
);

async fn patterns_find_their_tables_and_nothing_else(database: &Database) {
    database
        .execute(
            r#"CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE "Orders" (id int);
               CREATE TABLE order_lines (id int); CREATE VIEW order_view AS SELECT 1 AS a;
               CREATE UNLOGGED TABLE order_cache (id int); CREATE TEMP TABLE order_temp (id int);
               CREATE MATERIALIZED VIEW order_sums AS SELECT 1 AS a;
               CREATE SCHEMA sales; CREATE TABLE sales.orders (id int);"#,
        )
        .await;
    let client = control(database).await;
    let listed = settings(database, "", &tables(&["public.order*", "public.none", "*.pg_class"]));
    let whitelist = resolve(&client, &listed, None).await.expect("a whitelist");
    let mut names: Vec<_> =
        whitelist.entries.values().map(|l| format!("{}.{}", l.schema, l.name)).collect();
    names.sort();
    assert_eq!(names, ["public.order_lines", "public.orders"]);
    let unmatched: Vec<_> = whitelist.unmatched.iter().map(ToString::to_string).collect();
    assert_eq!(unmatched.len(), 2, "{unmatched:?}");
    assert_eq!(whitelist.problems.len(), 1, "{:?}", whitelist.problems);
    assert!(whitelist.ensure().is_ok());

    let exact = settings(database, "", &tables(&["public.order_view", "public.order_cache"]));
    let error = resolve(&client, &exact, None).await.expect("a whitelist").ensure().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("a view") && error.contains("an unlogged table"), "{error}");
}

async fn a_rename_and_a_swap_are_seen(database: &Database) {
    database.execute("CREATE TABLE orders (id int PRIMARY KEY)").await;
    let client = control(database).await;
    let settings = settings(database, "", &tables(&["public.orders"]));
    let mut whitelist = resolve(&client, &settings, None).await.expect("a whitelist");
    let old = oid(database, "orders").await;
    database
        .execute(
            "CREATE TABLE orders_new (id int PRIMARY KEY);
             ALTER TABLE orders RENAME TO orders_old;
             ALTER TABLE orders_new RENAME TO orders",
        )
        .await;
    let new = oid(database, "orders").await;
    let Relation::Renamed { from, to, .. } = whitelist.relation(old, "public", "orders_old") else {
        panic!("the renamed table is not known as one");
    };
    assert_eq!((from.as_str(), to.as_str()), ("public.orders", "public.orders_old"));
    assert_eq!(whitelist.relation(new, "public", "orders"), Relation::Unknown);
    let learned = whitelist.learn(&client, new, "public", "orders").await.expect("an answer");
    assert_eq!(learned, Learned::Listed);

    let again = resolve(&client, &settings, Some(&whitelist)).await.expect("a whitelist");
    assert_eq!(again.entries, whitelist.entries);
    assert!(again.unmatched.is_empty());
}

async fn a_new_partition_is_learned(database: &Database) {
    database
        .execute(
            "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE other (id int)",
        )
        .await;
    let client = control(database).await;
    for via_root in [true, false] {
        let lines = format!("publish_via_partition_root = {via_root}");
        let settings = settings(database, &lines, &tables(&["public.events"]));
        let mut whitelist = resolve(&client, &settings, None).await.expect("a whitelist");
        let root = oid(database, "events").await;
        let name = format!("part_{via_root}");
        let bounds = if via_root { "FROM (0) TO (9)" } else { "FROM (9) TO (19)" };
        database
            .execute(&format!("CREATE TABLE {name} PARTITION OF events FOR VALUES {bounds}"))
            .await;
        let leaf = oid(database, &name).await;
        let learned = whitelist.learn(&client, leaf, "public", &name).await.expect("an answer");
        assert_eq!(learned, Learned::Listed);
        assert_eq!(whitelist.entries[&leaf].root, via_root.then_some(root));
        assert_eq!(whitelist.members().len(), 1);

        let other = oid(database, "other").await;
        let learned = whitelist.learn(&client, other, "public", "other").await.expect("an answer");
        assert_eq!(learned, Learned::Unlisted);
    }
}
