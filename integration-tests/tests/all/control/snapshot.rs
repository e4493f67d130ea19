//! Reading at an exported snapshot: what is read, and what is refused instead of read wrongly.

use std::time::Duration;

use futures_util::StreamExt;
use integration_tests::{Database, unique};
use tokio_postgres::Client;
use walferry::config::settings::PostgresTarget;
use walferry::failure::{Class, Failure};
use walferry::postgres::snapshot::{Begun, Error, Holder, Reader, Selection, Target, targets};
use walferry::postgres::whitelist::resolve;
use walferry::postgres::{control as session, publication, replication};

use super::{control, on_both_versions, settings, tables};

on_both_versions!(
    the_rows_are_those_of_a_copy,
    what_is_no_more_what_it_was_is_not_read,
    a_table_keeps_its_identity_under_another_name,
    columns_that_are_not_what_they_were_are_not_read,
);

const TIMEOUT: Duration = Duration::from_secs(30);

/// A snapshot of the listed tables, and what there is to read.
struct Scene {
    to: PostgresTarget,
    holder: Holder,
    targets: Vec<Target>,
}

impl Scene {
    async fn new(database: &Database, names: &[&str]) -> Scene {
        Scene::configured(database, "", &tables(names)).await
    }

    async fn configured(database: &Database, postgres: &str, listed: &str) -> Scene {
        let settings = settings(database, postgres, listed);
        let client = control(database).await;
        let whitelist = resolve(&client, &settings, None).await.expect("a whitelist");
        let synced = publication::sync(&client, &settings, &whitelist).await.expect("publications");
        let to = settings.postgres.target;
        let found = session::connect(&to, TIMEOUT, "test").await.expect("a server");
        let slots = replication::Client::connect(&to, &found.endpoint, TIMEOUT, "test").await;
        let mut slots = slots.expect("a session for the slot");
        let slot = unique("slot");
        let exported = slots.create_slot_exporting(&slot, true).await.expect("a slot");
        let holder = Holder::import(&to, TIMEOUT, "test", &exported.snapshot, exported.at).await;
        let holder = holder.expect("the snapshot");
        slots.close().await;
        let mut wanted: Vec<_> = whitelist.entries.values().filter(|e| e.root.is_none()).collect();
        wanted.sort_by_key(|entry| &entry.name);
        let wanted: Vec<_> = wanted.into_iter().map(|entry| entry.oid).collect();
        let targets = targets(holder.client(), &whitelist, &synced.names(), &wanted).await;
        Scene { to, holder, targets: targets.expect("what there is to read") }
    }

    fn target(&self, name: &str) -> &Target {
        let target = self.targets.iter().find(|target| target.relation.name == name);
        target.unwrap_or_else(|| panic!("no target {name}"))
    }

    async fn reader(&self) -> Reader {
        Reader::connect(&self.to, TIMEOUT, "test_reader").await.expect("a reader")
    }

    async fn begin(&self, reader: &mut Reader, name: &str) -> Result<Begun, Error> {
        let source = &self.target(name).sources[0];
        reader.begin(self.holder.snapshot(), source).await
    }

    /// What beginning with each of the tables says.
    async fn begun(&self, names: &[&str]) -> Vec<Begun> {
        let mut reader = self.reader().await;
        let mut begun = Vec::new();
        for name in names {
            begun.push(self.begin(&mut reader, name).await.expect("an answer"));
            reader.commit().await.expect("the end");
        }
        begun
    }

    /// All rows of a table, sorted, read in two ranges.
    async fn rows(&self, name: &str) -> Result<Vec<String>, Error> {
        self.rows_without(name, &[]).await
    }

    async fn rows_without(&self, name: &str, excluded: &[&str]) -> Result<Vec<String>, Error> {
        self.rows_where(name, excluded, None).await
    }

    async fn rows_where(
        &self,
        name: &str,
        excluded: &[&str],
        condition: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let excluded: Vec<String> = excluded.iter().map(|&name| name.to_owned()).collect();
        let target = self.target(name);
        let mut reader = self.reader().await;
        let mut lines = Vec::new();
        for source in &target.sources {
            let selection = Selection::new(target, source, &excluded, condition);
            for range in ["ctid < '(1,0)'::tid", "ctid >= '(1,0)'::tid"] {
                let begun = reader.begin(self.holder.snapshot(), source).await?;
                assert_eq!(begun, Begun::Ready, "{}", source.name);
                let mut rows = reader.copy(&selection, Some(range)).await?;
                while let Some(line) = rows.next().await? {
                    let line = String::from_utf8(line.to_vec()).expect("text");
                    lines.push(line.trim_end_matches('\n').to_owned());
                }
                reader.commit().await?;
            }
        }
        lines.sort();
        Ok(lines)
    }
}

/// The lines of a query's COPY, sorted.
async fn copied(client: &Client, query: &str) -> Vec<String> {
    let stream = client.copy_out(&format!("COPY ({query}) TO STDOUT")).await.expect("a COPY");
    let mut stream = Box::pin(stream);
    let mut lines = Vec::new();
    while let Some(line) = stream.next().await {
        let line = String::from_utf8(line.expect("a line").to_vec()).expect("text");
        lines.push(line.trim_end_matches('\n').to_owned());
    }
    lines.sort();
    lines
}

async fn the_rows_are_those_of_a_copy(database: &Database) {
    database
        .execute(
            r#"CREATE TABLE many (id int PRIMARY KEY, note text, price numeric, at timestamptz);
               INSERT INTO many SELECT n, 'tab' || chr(9) || repeat('ü', n % 300), n / 3.0, now()
               FROM generate_series(1, 3000) n;
               DELETE FROM many WHERE id % 7 = 0; UPDATE many SET note = NULL WHERE id % 11 = 0;
               CREATE TABLE empty (id int);
               CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."A b" ("select" int, "x""y" text);
               INSERT INTO "Odd one"."A b" VALUES (1, 'quoted');
               CREATE TABLE parent (id int); CREATE TABLE child (more int) INHERITS (parent);
               INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3)"#,
        )
        .await;
    let listed = format!(
        "{}[[table]]\nname = 'Odd one.A b'\ntopic = \"odd\"\ninserts_only = true\n",
        tables(&["public.many"])
    );
    let rest = ["empty", "parent"]
        .map(|name| format!("[[table]]\nname = \"public.{name}\"\ninserts_only = true\n"));
    let client = control(database).await;
    client.batch_execute("SET TimeZone = 'UTC'").await.expect("set");
    let many = copied(&client, "TABLE public.many").await;
    let scene = Scene::configured(database, "", &format!("{listed}{}", rest.concat())).await;
    database.execute("DELETE FROM many; INSERT INTO empty VALUES (1)").await;
    assert_eq!(scene.rows("many").await.expect("rows"), many);
    assert!(scene.rows("empty").await.expect("rows").is_empty());
    assert_eq!(scene.rows("A b").await.expect("rows"), ["1\tquoted"]);
    assert_eq!(scene.rows("parent").await.expect("rows"), ["1"], "a child is a table of its own");
    assert!(scene.target("many").sources[0].pages > 2);
    assert_eq!(scene.target("many").primary_key, ["id"]);
}

async fn what_is_no_more_what_it_was_is_not_read(database: &Database) {
    let names = ["full", "truncated", "retyped", "gone", "same"];
    let listed: Vec<_> = names.iter().map(|name| format!("public.t_{name}")).collect();
    for name in names {
        let sql =
            format!("CREATE TABLE t_{name} (id int PRIMARY KEY); INSERT INTO t_{name} VALUES (1)");
        database.execute(&sql).await;
    }
    let listed: Vec<_> = listed.iter().map(String::as_str).collect();
    let scene = Scene::new(database, &listed).await;
    database.execute("VACUUM FULL t_full").await;
    database
        .execute(
            "TRUNCATE t_truncated; INSERT INTO t_truncated VALUES (2);
             ALTER TABLE t_retyped ALTER id TYPE bigint; DROP TABLE t_gone;
             ALTER TABLE t_same ADD COLUMN more int DEFAULT 5; UPDATE t_same SET id = 2",
        )
        .await;
    let names = ["t_full", "t_truncated", "t_retyped", "t_gone", "t_same"];
    let rewritten = Begun::Rewritten;
    assert_eq!(
        scene.begun(&names).await,
        [rewritten, rewritten, rewritten, Begun::Gone, Begun::Ready]
    );
    assert_eq!(scene.rows("t_same").await.expect("rows"), ["1"]);
}

async fn a_table_keeps_its_identity_under_another_name(database: &Database) {
    database
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1);
             CREATE SCHEMA other",
        )
        .await;
    let scene = Scene::new(database, &["public.orders"]).await;
    database
        .execute(
            "ALTER TABLE orders RENAME TO \"Old \"\"orders\"; ALTER TABLE \"Old \"\"orders\" SET SCHEMA other;
             CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (2)",
        )
        .await;
    assert_eq!(scene.rows("orders").await.expect("rows"), ["1"]);
}

async fn columns_that_are_not_what_they_were_are_not_read(database: &Database) {
    let changes = [
        ("untouched", "ADD COLUMN more int"),
        ("dropped", "DROP COLUMN note"),
        ("renamed", "RENAME note TO remark"),
        ("made_again", "DROP COLUMN note, ADD COLUMN note text DEFAULT 'new'"),
        ("swapped", "RENAME note TO x; ALTER TABLE swapped RENAME other TO note"),
        // None of these writes the rows anew.
        ("in_utc", "ALTER at TYPE timestamp"),
        ("widened", "ALTER other TYPE text"),
        ("enlarged", "ALTER other TYPE varchar(20)"),
    ];
    for (name, _) in changes {
        database
            .execute(&format!(
                "CREATE TABLE {name} (id int PRIMARY KEY, note text, other varchar(9),
                                      at timestamptz);
                 INSERT INTO {name} VALUES (1, 'note', 'other', '2026-01-01 00:00+00')"
            ))
            .await;
    }
    let listed = changes.map(|(name, _)| format!("public.{name}"));
    let scene = Scene::new(database, &listed.each_ref().map(String::as_str)).await;
    for (name, change) in changes {
        database.execute(&format!("SET TimeZone = 'UTC'; ALTER TABLE {name} {change}")).await;
        let rows = scene.rows(name).await;
        if matches!(name, "enlarged" | "untouched") {
            assert_eq!(rows.expect("rows"), ["1\tnote\tother\t2026-01-01 00:00:00+00"]);
            continue;
        }
        let error = rows.expect_err(name);
        assert!(error.is_schema_change(), "{name}: {error}");
        assert_eq!(Failure::from(error).class, Class::Retry, "{name}");
    }
    // What an operator has written is no change of the table, and stays wrong.
    let error = scene.rows_where("untouched", &[], Some("nope = 1")).await.expect_err("no column");
    assert!(!error.is_schema_change(), "{error}");
    let failure = Failure::from(error);
    assert_eq!(failure.class, Class::Stop);
    assert!(failure.remedy.is_some_and(|remedy| remedy.contains("snapshot_where")));
}
