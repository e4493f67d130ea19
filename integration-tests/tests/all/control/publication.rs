//! Publications in step with the whitelist, and never at the application's expense.

use integration_tests::Database;
use tokio_postgres::Client;
use walferry::config::Settings;
use walferry::failure::{Class, Failure};
use walferry::postgres::publication::{self, Error, Publications};
use walferry::postgres::whitelist::resolve;

use super::{control, major, on_both_versions, settings, tables};

on_both_versions!(
    both_are_made_and_kept_in_step,
    a_table_without_identity_is_refused_and_goes_on_working,
    identity_counts_on_every_partition,
    only_what_is_listed_is_published,
    a_rename_while_stopped_is_not_taken_for_a_removal,
    never_only_verifies,
    a_publication_of_the_operator_is_not_taken_over,
    a_publication_made_again_has_another_oid,
);

async fn sync(client: &Client, settings: &Settings) -> Result<Publications, Error> {
    let whitelist = resolve(client, settings, None).await.expect("a whitelist");
    publication::sync(client, settings, &whitelist).await
}

/// What a publication holds: `schema.table` of each member, sorted.
async fn members(database: &Database, publication: &str) -> Vec<String> {
    let sql = format!(
        "SELECT prrelid::regclass::text FROM pg_publication_rel r JOIN pg_publication p
         ON p.oid = r.prpubid WHERE pubname = '{publication}' ORDER BY 1"
    );
    database.texts(&sql).await.into_iter().flatten().collect()
}

async fn options(database: &Database, publication: &str) -> String {
    let sql = format!(
        "SELECT concat_ws(' ', pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot)
         FROM pg_publication WHERE pubname = '{publication}'"
    );
    database.value::<String>(&sql).await
}

async fn both_are_made_and_kept_in_step(database: &Database) {
    database
        .execute(
            r#"CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE "B ""c" (id int PRIMARY KEY);
               CREATE TABLE log (x int); CREATE TABLE outbox (id int)"#,
        )
        .await;
    let client = control(database).await;
    let (main, inserts) = (database.name(), format!("{}_inserts", database.name()));
    let outbox = "[[outbox]]\ntable = \"public.outbox\"\n";
    let log = "[[table]]\nname = \"public.log\"\ninserts_only = true\n";
    let first = settings(database, "", &format!("{}{outbox}{log}", tables(&["public.a"])));
    let made = sync(&client, &first).await.expect("publications");
    assert_eq!(made.changes.len(), 2);
    let names: Vec<_> = made.oids.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [main, &inserts]);
    assert_eq!(members(database, main).await, ["a"]);
    assert_eq!(members(database, &inserts).await, ["log", "outbox"]);
    assert_eq!(options(database, main).await, "t t t t t");
    assert_eq!(options(database, &inserts).await, "t f f f t");

    let again = sync(&client, &first).await.expect("publications");
    assert!(again.changes.is_empty() && again.oids == made.oids, "{again:?}");

    let lines = "publish_via_partition_root = false";
    let mut other = settings(database, lines, &format!("{}{outbox}", tables(&["public.x"])));
    other.tables[0].pattern.table = "B \"*".into();
    let changed = sync(&client, &other).await.expect("publications");
    assert_eq!(members(database, main).await, [r#""B ""c""#]);
    assert_eq!(members(database, &inserts).await, ["outbox"]);
    assert_eq!(options(database, main).await, "t t t t f");
    assert_eq!(changed.oids, made.oids);
}

async fn a_table_without_identity_is_refused_and_goes_on_working(database: &Database) {
    database
        .execute(
            "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE bare (x int);
             CREATE TABLE late (id int PRIMARY KEY DEFERRABLE);
             CREATE TABLE lost (id int NOT NULL); CREATE UNIQUE INDEX lost_id ON lost (id);
             ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_id; DROP INDEX lost_id;
             CREATE TABLE none (id int PRIMARY KEY); ALTER TABLE none REPLICA IDENTITY NOTHING;",
        )
        .await;
    let client = control(database).await;
    let all = settings(database, "", &tables(&["public.*"]));
    let Err(Error::Refused(refusals)) = sync(&client, &all).await else { panic!("not refused") };
    assert_eq!(refusals.len(), 4, "{refusals:?}");
    let made: i64 = database.value("SELECT count(*) FROM pg_publication").await;
    assert_eq!(made, 0, "nothing is changed");
    let failure = Failure::from(Error::Refused(refusals.clone()));
    assert_eq!(failure.class, Class::Stop);

    // The oracle: the server refuses exactly these.
    database.execute("CREATE PUBLICATION everything FOR ALL TABLES").await;
    for table in ["good", "bare", "late", "lost", "none"] {
        let column = if table == "bare" { "x" } else { "id" };
        let update = format!("UPDATE public.{table} SET {column} = 1");
        let result = client.batch_execute(&update).await;
        let is_refused =
            refusals.iter().any(|r| r.to_string().contains(&format!("public.{table} ")));
        assert_eq!(result.is_err(), is_refused, "{table}");
    }
    database.execute("DROP PUBLICATION everything").await;

    // The first remedy, as printed.
    for refusal in &refusals {
        let remedy = refusal.remedy();
        let sql = remedy.split(" (").next().expect("SQL");
        database.execute(sql).await;
    }
    sync(&client, &all).await.expect("publications");
    database.execute("UPDATE bare SET x = 1; UPDATE late SET id = 1; DELETE FROM lost").await;
}

async fn identity_counts_on_every_partition(database: &Database) {
    database
        .execute(
            "CREATE TABLE events (id int) PARTITION BY RANGE (id);
             CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
             ALTER TABLE events REPLICA IDENTITY FULL;",
        )
        .await;
    let client = control(database).await;
    let settings = settings(database, "", &tables(&["public.events"]));
    let Err(Error::Refused(refusals)) = sync(&client, &settings).await else {
        panic!("the partition has no identity")
    };
    assert!(refusals[0].remedy().contains(r#"ALTER TABLE "public"."events_1" REPLICA"#));
    database.execute("ALTER TABLE events_1 REPLICA IDENTITY FULL").await;
    sync(&client, &settings).await.expect("publications");
    database.execute("INSERT INTO events VALUES (1); UPDATE events SET id = 2").await;
    assert_eq!(members(database, database.name()).await, ["events"]);
}

async fn only_what_is_listed_is_published(database: &Database) {
    database
        .execute(
            "CREATE TABLE parent (id int PRIMARY KEY);
             CREATE TABLE child (secret text) INHERITS (parent)",
        )
        .await;
    let client = control(database).await;
    let parent = settings(database, "", &tables(&["public.parent"]));
    sync(&client, &parent).await.expect("publications");
    assert_eq!(members(database, database.name()).await, ["parent"]);
    // The child has no key: published, this would fail.
    database.execute("INSERT INTO child VALUES (1, 'x'); UPDATE child SET secret = 'y'").await;
}

async fn a_rename_while_stopped_is_not_taken_for_a_removal(database: &Database) {
    database.execute("CREATE TABLE orders (id int PRIMARY KEY)").await;
    let client = control(database).await;
    let settings = settings(database, "", &tables(&["public.orders"]));
    sync(&client, &settings).await.expect("publications");
    database.execute("ALTER TABLE orders RENAME TO purchases").await;
    let Err(error @ Error::Refused(_)) = sync(&client, &settings).await else {
        panic!("the renamed table vanished")
    };
    assert_eq!(members(database, database.name()).await, ["purchases"]);
    let remedy = Failure::from(error).remedy.expect("a remedy");
    let sql = remedy.split("run: ").nth(1).expect("SQL");
    database.execute(sql).await;
    sync(&client, &settings).await.expect("publications");
    assert!(members(database, database.name()).await.is_empty());
}

async fn never_only_verifies(database: &Database) {
    database.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE outbox (id int)").await;
    let client = control(database).await;
    let listed = format!("{}[[outbox]]\ntable = \"public.outbox\"\n", tables(&["public.a"]));
    let settings = settings(database, "publication_manage = \"never\"", &listed);
    let Err(Error::Incomplete { statements }) = sync(&client, &settings).await else {
        panic!("there are no publications")
    };
    assert_eq!(database.value::<i64>("SELECT count(*) FROM pg_publication").await, 0);
    database.execute(&statements.join(";\n")).await;
    let made = sync(&client, &settings).await.expect("what it asked for is enough");
    assert_eq!(made.oids.len(), 2);
    let name = database.name();

    let wide: &[&str] = match major(database).await {
        14 => &["FOR ALL TABLES"],
        _ => &["FOR ALL TABLES", "FOR TABLES IN SCHEMA public"],
    };
    for wide in wide {
        database
            .execute(&format!(
                "DROP PUBLICATION IF EXISTS {name}, {name}_inserts; CREATE PUBLICATION {name} {wide}"
            ))
            .await;
        let made = sync(&client, &settings).await.expect("it covers the whitelist");
        assert_eq!(made.oids.len(), 1, "{wide}");
        assert!(made.changes.is_empty());
    }
    database.execute(&format!("ALTER PUBLICATION {name} SET (publish = 'insert')")).await;
    let Err(Error::Incomplete { statements }) = sync(&client, &settings).await else {
        panic!("updates are not published")
    };
    database.execute(&statements.join(";\n")).await;
    sync(&client, &settings).await.expect("what it asked for is enough");
}

async fn a_publication_of_the_operator_is_not_taken_over(database: &Database) {
    database.execute("CREATE TABLE a (id int PRIMARY KEY)").await;
    let client = control(database).await;
    let settings = settings(database, "", &tables(&["public.a"]));
    let name = database.name();
    database.execute(&format!("CREATE PUBLICATION {name} FOR ALL TABLES")).await;
    assert!(matches!(sync(&client, &settings).await, Err(Error::Refused(_))));
    if major(database).await >= 15 {
        database
            .execute(&format!(
                "DROP PUBLICATION {name}; CREATE PUBLICATION {name} FOR TABLES IN SCHEMA public"
            ))
            .await;
        assert!(matches!(sync(&client, &settings).await, Err(Error::Refused(_))));
        database
            .execute(&format!(
                "DROP PUBLICATION {name}; CREATE PUBLICATION {name} FOR TABLE a WHERE (id > 1)"
            ))
            .await;
        let synced = sync(&client, &settings).await.expect("publications");
        assert!(synced.notices.iter().any(|n| n.contains("row filter")), "{synced:?}");
    }
}

async fn a_publication_made_again_has_another_oid(database: &Database) {
    let client = control(database).await;
    let settings = settings(database, "", &tables(&["public.later"]));
    let before = sync(&client, &settings).await.expect("publications").oids;
    let names: Vec<_> = before.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(publication::oids(&client, &names).await.expect("oids"), before);
    let name = database.name();
    database.execute(&format!("DROP PUBLICATION {name}; CREATE PUBLICATION {name}")).await;
    let after = publication::oids(&client, &names).await.expect("oids");
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

/// A locked table is waited for briefly; then nothing has changed and the start can be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_not_waited_for_for_ever() {
    let database = integration_tests::Postgres::shared_version(18).await.database("locked").await;
    database.execute("CREATE TABLE a (id int PRIMARY KEY)").await;
    let holder = database.connect().await;
    let lock = "BEGIN; LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE";
    holder.batch_execute(lock).await.expect("the lock");
    let client = control(&database).await;
    let settings = settings(&database, "", &tables(&["public.a"]));
    let error = sync(&client, &settings).await.expect_err("the table is locked");
    assert_eq!(Failure::from(error).class, Class::Retry);
    let made: i64 = database.value("SELECT count(*) FROM pg_publication").await;
    assert_eq!(made, 0);
    holder.batch_execute("COMMIT").await.expect("the end of the lock");
    sync(&client, &settings).await.expect("the same connection can go on");
    let timeout = client.query_one("SHOW lock_timeout", &[]).await.expect("a setting");
    assert_eq!(timeout.get::<_, &str>(0), "0");
}
