//! Reading at an exported snapshot: what is read, and what is refused instead of read wrongly.

use std::time::Duration;

use futures_util::StreamExt;
use integration_tests::{Database, Postgres, unique, wait};
use tokio_postgres::Client;
use walferry::config::Settings;
use walferry::config::settings::PostgresTarget;
use walferry::failure::{Class, Failure};
use walferry::postgres::snapshot::{Begun, Error, Holder, Reader, Selection, Target, targets};
use walferry::postgres::whitelist::resolve;
use walferry::postgres::{control as session, publication, replication};

use super::{control, major, on_both_versions, settings, tables};

on_both_versions!(
    the_rows_are_those_of_a_copy,
    what_is_no_more_what_it_was_is_not_read,
    a_table_keeps_its_identity_under_another_name,
    columns_that_are_not_what_they_were_are_not_read,
    what_the_role_may_not_read_is_an_error_with_its_remedy,
    settings_of_role_and_database_do_not_matter,
    partitions_are_read_as_their_root,
    a_reader_that_is_dropped_leaves_nothing_running,
    a_snapshot_ends_with_its_holder,
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
        Scene::of(database, settings(database, postgres, listed)).await
    }

    async fn of(database: &Database, settings: Settings) -> Scene {
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
            let two = ["ctid < '(1,0)'::tid", "ctid >= '(1,0)'::tid"].map(Some);
            for range in if source.pages > 1 { &two[..] } else { &[None] } {
                let begun = reader.begin(self.holder.snapshot(), source).await?;
                assert_eq!(begun, Begun::Ready, "{}", source.name);
                let mut rows = reader.copy(&selection, *range).await?;
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

fn as_role(to: &mut PostgresTarget, role: &str) {
    to.user = role.to_owned();
    to.password = Some("x".to_owned().into());
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

async fn what_the_role_may_not_read_is_an_error_with_its_remedy(database: &Database) {
    let role = unique("reader");
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x';
             CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1);
             CREATE TABLE secured (id int PRIMARY KEY); INSERT INTO secured VALUES (1), (2);
             CREATE POLICY first ON secured USING (id = 1);
             ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT SELECT ON secured TO {role};
             CREATE TABLE open (id int PRIMARY KEY, note text, secret text);
             INSERT INTO open SELECT n, 'note', 'secret' FROM generate_series(1, 1000) n;
             GRANT SELECT (id, note) ON open TO {role};
             CREATE TABLE fast (LIKE open INCLUDING ALL); INSERT INTO fast TABLE open;
             GRANT SELECT (id, note, ctid) ON fast TO {role};
             CREATE SCHEMA closed; CREATE TABLE closed.inside (id int PRIMARY KEY);
             GRANT SELECT ON closed.inside TO {role}"
        ))
        .await;
    let names = ["public.plain", "public.secured", "public.open", "public.fast", "closed.inside"];
    let mut settings = settings(database, "", &tables(&names));
    database.execute(&format!("ALTER ROLE {role} REPLICATION")).await;
    as_role(&mut settings.postgres.target, &role);
    let scene = Scene::of(database, settings).await;
    for (table, remedy) in [
        ("plain", "GRANT SELECT ON public.plain"),
        ("secured", "BYPASSRLS"),
        ("open", "GRANT SELECT ON \"public\".\"open\""),
        ("inside", "GRANT USAGE ON SCHEMA"),
    ] {
        let failure = Failure::from(scene.rows(table).await.expect_err(table));
        assert_eq!(failure.class, Class::Stop, "{table}");
        let said = failure.remedy.unwrap_or_default();
        assert!(said.contains(remedy), "{table}: {said}");
    }
    // Without a right to ctid it is read in one piece.
    for (table, is_divisible) in [("open", false), ("fast", true)] {
        assert_eq!(scene.target(table).sources[0].pages > 1, is_divisible, "{table}");
        let rows = scene.rows_without(table, &["secret"]).await.expect("the columns of the grant");
        assert_eq!((rows.len(), rows[0].as_str()), (1000, "1\tnote\t\\N"));
    }

    database
        .execute(&format!("GRANT SELECT ON plain TO {role}; ALTER ROLE {role} BYPASSRLS"))
        .await;
    assert_eq!(scene.rows("plain").await.expect("rows"), ["1"]);
    assert_eq!(scene.rows("secured").await.expect("rows"), ["1", "2"]);
}

async fn settings_of_role_and_database_do_not_matter(database: &Database) {
    let role = unique("hasty");
    let name = database.name();
    database
        .execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, day date, part float8, raw bytea);
             INSERT INTO t SELECT n, '2026-11-24 01:02:03.5+05', '2026-11-24', 0.1::float8 * 3, '\\xff'
             FROM generate_series(1, 2000) n;
             CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'x'"
        ))
        .await;
    let mut set = vec![
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Kolkata'",
        "extra_float_digits = -5",
        "bytea_output = 'escape'",
        "default_transaction_isolation = 'read committed'",
        "search_path = 'public'",
        "statement_timeout = '300ms'",
        "idle_in_transaction_session_timeout = '300ms'",
    ];
    if major(database).await >= 17 {
        set.push("transaction_timeout = '300ms'");
    }
    for set in set {
        database.execute(&format!("ALTER ROLE {role} IN DATABASE {name} SET {set}")).await;
    }
    let mut settings = settings(database, "", &tables(&["public.t"]));
    as_role(&mut settings.postgres.target, &role);
    let scene = Scene::of(database, settings).await;
    // Longer than each of the time-outs, once for each range.
    let slowly = Some("(SELECT pg_sleep(0.5)) IS NOT NULL");
    let rows = scene.rows_where("t", &[], slowly).await.expect("rows");
    assert_eq!(rows.len(), 2000);
    let row = "1\t2026-11-23 20:02:03.5+00\t2026-11-24\t0.30000000000000004\t\\\\xff";
    assert_eq!(rows[0], row);
    assert!(!scene.holder.is_lost());
}

async fn partitions_are_read_as_their_root(database: &Database) {
    database
        .execute(
            "CREATE TABLE root (id int, region text, note text) PARTITION BY LIST (region);
             CREATE TABLE north PARTITION OF root FOR VALUES IN ('n');
             CREATE TABLE south (gone int, note text, region text, id int);
             ALTER TABLE south DROP COLUMN gone;
             ALTER TABLE root ATTACH PARTITION south FOR VALUES IN ('s');
             CREATE TABLE east PARTITION OF root FOR VALUES IN ('e') PARTITION BY RANGE (id);
             CREATE TABLE east_low PARTITION OF east FOR VALUES FROM (0) TO (10);
             INSERT INTO root VALUES (1, 'n', 'a'), (2, 's', 'b'), (3, 'e', 'c');
             CREATE TABLE bare (id int) PARTITION BY LIST (id)",
        )
        .await;
    let listed = ["root", "bare"]
        .map(|name| format!("[[table]]\nname = \"public.{name}\"\ninserts_only = true\n"));
    let scene = Scene::configured(database, "", &listed.concat()).await;
    database
        .execute(
            "ALTER TABLE root DETACH PARTITION south; ALTER TABLE south RENAME TO apart;
             CREATE TABLE late PARTITION OF root FOR VALUES IN ('l');
             INSERT INTO root VALUES (4, 'l', 'd')",
        )
        .await;
    assert_eq!(scene.rows("root").await.expect("rows"), ["1\tn\ta", "2\ts\tb", "3\te\tc"]);
    assert!(scene.target("bare").sources.is_empty());
}

/// Waits until as many sessions of readers as given are in this state.
async fn readers(database: &Database, condition: &str, count: i64) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = 'test_reader' AND {condition}"
    );
    wait::until(&format!("{count} readers with {condition}"), wait::LONG, async || {
        (database.value::<i64>(&sql).await == count).then_some(())
    })
    .await;
}

async fn a_reader_that_is_dropped_leaves_nothing_running(database: &Database) {
    database
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY, pad text);
             INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n",
        )
        .await;
    let scene = Scene::new(database, &["public.t"]).await;
    let target = scene.target("t");
    let mut reader = scene.reader().await;
    assert_eq!(scene.begin(&mut reader, "t").await.expect("an answer"), Begun::Ready);
    // Nobody takes its rows, so that it comes to no end by itself.
    let selection = Selection::new(target, &target.sources[0], &[], None);
    let rows = reader.copy(&selection, None).await.expect("a COPY");
    readers(database, "state = 'active'", 1).await;
    drop((reader, rows));
    readers(database, "true", 0).await;

    let mut reader = scene.reader().await;
    assert_eq!(scene.begin(&mut reader, "t").await.expect("an answer"), Begun::Ready);
    let slow = Some("pg_sleep(3600) IS NOT NULL");
    let selection = Selection::new(target, &target.sources[0], &[], slow);
    tokio::select! {
        _ = reader.copy(&selection, None) => panic!("the first row takes an hour"),
        () = readers(database, "wait_event = 'PgSleep'", 1) => {}
    }
    drop(reader);
    readers(database, "true", 0).await;

    let mut reader = scene.reader().await;
    let other = database.connect().await;
    other.batch_execute("BEGIN; LOCK TABLE t").await.expect("the lock");
    {
        let waiting = scene.begin(&mut reader, "t");
        let seen = readers(database, "wait_event_type = 'Lock'", 1);
        tokio::select! {
            begun = waiting => panic!("{begun:?} in spite of the lock"),
            () = seen => {}
        }
    }
    drop(reader);
    readers(database, "true", 0).await;
    other.batch_execute("COMMIT").await.expect("the end");
}

async fn a_snapshot_ends_with_its_holder(database: &Database) {
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    let scene = Scene::new(database, &["public.t"]).await;
    let mut early = scene.reader().await;
    assert_eq!(scene.begin(&mut early, "t").await.expect("an answer"), Begun::Ready);
    let query = "SELECT pg_backend_pid()";
    let pid: i32 = scene.holder.client().query_one(query, &[]).await.expect("a pid").get(0);
    database.query("SELECT pg_terminate_backend($1)", &[&pid]).await;
    wait::until("the end of the holder", wait::LONG, async || scene.holder.is_lost().then_some(()))
        .await;
    let mut late = scene.reader().await;
    let error = scene.begin(&mut late, "t").await.expect_err("there is no snapshot");
    assert!(matches!(error, Error::SnapshotEnded(_)), "{error}");
    assert_eq!(Failure::from(error).class, Class::Retry);
    // Who has imported it before goes on with it.
    let selection = Selection::new(scene.target("t"), &scene.target("t").sources[0], &[], None);
    let mut rows = early.copy(&selection, None).await.expect("a COPY");
    assert!(rows.next().await.expect("an end").is_none());
    early.commit().await.expect("the end");
}

/// A database on the newest version, whose publications can do more.
async fn newest() -> Database {
    let server = Postgres::shared_version(Postgres::newest_version()).await;
    server.database("control").await
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_narrow_what_is_read_as_they_narrow_the_stream() {
    let database = newest().await;
    let version = major(&database).await;
    if version < 15 {
        return;
    }
    let name = database.name();
    let with = if version >= 18 { ", publish_generated_columns = stored" } else { "" };
    database
        .execute(&format!(
            "CREATE TABLE listed (id int PRIMARY KEY, a text, b text, c text);
             CREATE TABLE filtered (id int PRIMARY KEY, \"or\" text);
             ALTER TABLE filtered REPLICA IDENTITY FULL;
             CREATE TABLE doubled (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
             CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100);
             INSERT INTO listed VALUES (1, 'a', 'b', 'c'); INSERT INTO doubled VALUES (1);
             INSERT INTO filtered VALUES (1, 'x'), (2, 'y'), (3, 'x'), (4, NULL);
             INSERT INTO root SELECT generate_series(1, 10);
             CREATE PUBLICATION {name} FOR TABLE listed (id, c, a), filtered WHERE (\"or\" = 'x'),
               doubled, root WHERE (id > 8) WITH (publish_via_partition_root = true{with});
             CREATE PUBLICATION {name}_inserts WITH (publish = 'insert',
               publish_via_partition_root = true)"
        ))
        .await;
    let listed = tables(&["public.listed", "public.filtered", "public.doubled", "public.root"]);
    let scene = Scene::configured(&database, "publication_manage = \"never\"", &listed).await;
    assert_eq!(scene.rows("listed").await.expect("rows"), ["1\ta\tc"], "in the table's order");
    assert_eq!(scene.rows("filtered").await.expect("rows"), ["1\tx", "3\tx"]);
    let doubled = if version >= 18 { "1\t2" } else { "1" };
    assert_eq!(scene.rows("doubled").await.expect("rows"), [doubled]);
    assert_eq!(scene.rows("root").await.expect("rows"), ["10", "9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_partitions_are_found_and_read() {
    let database = newest().await;
    database
        .execute(
            "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             DO $$ BEGIN FOR n IN 0..1999 LOOP EXECUTE format(
                 'CREATE TABLE leaf_%s PARTITION OF root FOR VALUES FROM (%s) TO (%s)', n, n, n + 1);
             END LOOP; END $$;
             INSERT INTO root SELECT generate_series(0, 1999)",
        )
        .await;
    let scene = Scene::new(&database, &["public.root"]).await;
    assert_eq!(scene.target("root").sources.len(), 2000);
    let rows = scene.rows("root").await.expect("rows");
    let rows: std::collections::BTreeSet<_> = rows.into_iter().collect();
    assert_eq!(rows.len(), 2000);
}
