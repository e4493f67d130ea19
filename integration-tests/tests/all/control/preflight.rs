//! Findings and the role of config/least-privilege.sql.

use integration_tests::{Database, unique};
use walferry::postgres::preflight::{Finding, Severity, findings, has_errors};
use walferry::postgres::whitelist::resolve;
use walferry::postgres::{publication, slot};

use super::{control, control_as, on_both_versions, settings, tables};

on_both_versions!(
    the_least_privileges_are_enough_in_both_modes,
    what_a_role_lacks_is_granted_by_what_is_printed,
    tables_with_faults_are_found,
    what_a_first_start_reads_is_estimated_and_its_rights_are_named,
);

const LEAST_PRIVILEGE: &str = include_str!("../../../../config/least-privilege.sql");

const OUTBOX: &str = "[[outbox]]\ntable = \"public.outbox\"\n";

/// Creates the tables of the SQL file's example, owned by a role of their own.
async fn shop(database: &Database) -> String {
    let owner = unique("owner");
    database
        .execute(&format!(
            "CREATE ROLE {owner}; CREATE TABLE orders (id int PRIMARY KEY);
             CREATE TABLE outbox (id uuid, aggregatetype text, aggregateid text, payload jsonb);
             ALTER TABLE orders OWNER TO {owner}; ALTER TABLE outbox OWNER TO {owner};"
        ))
        .await;
    owner
}

/// The part of the SQL file under a heading, with the names of this test.
fn part(heading: &str, database: &Database, role: &str, owner: &str) -> String {
    let text = LEAST_PRIVILEGE.split("-- == ").find(|part| part.starts_with(heading));
    text.unwrap_or_else(|| panic!("no part {heading}"))
        .lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace("\"walferry\"", &format!("\"{role}\""))
        .replace("\"shop\"", &format!("\"{}\"", database.name()))
        .replace("\"walferry_shop\"", &format!("\"{}\"", database.name()))
        .replace("\"walferry_shop_inserts\"", &format!("\"{}_inserts\"", database.name()))
        .replace("\"shop_owner\"", &format!("\"{owner}\""))
}

fn worst(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.what.as_str()).collect()
}

async fn the_least_privileges_are_enough_in_both_modes(database: &Database) {
    let owner = shop(database).await;
    let listed = format!("{}{OUTBOX}", tables(&["public.orders"]));
    for (mode, heading) in [
        ("never", "With publication_manage = \"never\""),
        ("auto", "With publication_manage = \"auto\""),
    ] {
        let role = unique("walferry");
        for heading in ["Always", "To read tables", heading] {
            database.execute(&part(heading, database, &role, &owner)).await;
        }
        let settings = settings(database, &format!("publication_manage = \"{mode}\""), &listed);
        let client = control_as(database, &role, "change-me").await;
        let found = findings(&client, &settings).await.expect("findings");
        assert!(!has_errors(&found), "{mode}: {:?}", worst(&found));
        assert!(!found.iter().any(|finding| finding.what.contains("the role lacks")), "{found:?}");
        let whitelist = resolve(&client, &settings, None).await.expect("a whitelist");
        publication::sync(&client, &settings, &whitelist).await.expect("publications");
        slot::create(&client, database.name()).await.expect("a slot");
        client.query("SELECT * FROM public.orders, public.outbox", &[]).await.expect("rows");
        slot::drop(&client, database.name()).await.expect("dropped");
        if mode == "never" {
            client.batch_execute("CREATE PUBLICATION x").await.expect_err("it is the least");
            let name = database.name();
            database.execute(&format!("DROP PUBLICATION {name}, {name}_inserts")).await;
        }
    }
}

async fn what_a_role_lacks_is_granted_by_what_is_printed(database: &Database) {
    shop(database).await;
    let role = unique("bare");
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; REVOKE ALL ON SCHEMA public FROM public"
        ))
        .await;
    let client = control_as(database, &role, "x").await;
    let listed = format!("{}{OUTBOX}", tables(&["public.orders"]));
    let settings = settings(database, "", &listed);
    let whitelist = resolve(&client, &settings, None).await.expect("a whitelist");
    let error = publication::sync(&client, &settings, &whitelist).await.expect_err("no rights");
    assert!(matches!(error, publication::Error::Privileges { .. }), "{error}");

    let found = findings(&client, &settings).await.expect("findings");
    let lacking: Vec<_> = found
        .iter()
        .filter(|finding| {
            finding.what.contains("the role lacks") || finding.what.contains("may not replicate")
        })
        .collect();
    // CREATE, ownership of two, replication; USAGE, SELECT on two.
    assert_eq!(lacking.len(), 7, "{found:#?}");
    for finding in lacking {
        if let Some(sql) = &finding.remedy {
            database.execute(sql).await;
        }
    }
    let found = findings(&client, &settings).await.expect("findings");
    assert!(!has_errors(&found), "{:?}", worst(&found));
    assert!(!found.iter().any(|finding| finding.what.contains("the role lacks")), "{found:?}");
    publication::sync(&client, &settings, &whitelist).await.expect("publications");
    slot::create(&client, database.name()).await.expect("a slot");
    slot::drop(&client, database.name()).await.expect("dropped");
}

async fn tables_with_faults_are_found(database: &Database) {
    database
        .execute(
            "CREATE TABLE keyed (id int PRIMARY KEY, other int,
               twice int GENERATED ALWAYS AS (other * 2) STORED);
             CREATE TABLE bare (x int);
             CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             CREATE UNLOGGED TABLE cache_1 (id int); CREATE VIEW seen AS SELECT 1 AS a;
             CREATE TABLE outbox (id int, payload text);",
        )
        .await;
    let listed = "[[table]]\nname = \"public.keyed\"\nkey_columns = [\"other\"]\n\
                  exclude_columns = [\"nope\"]\n";
    let rest = tables(&["public.bare", "public.hidden", "public.cache_*", "public.gone"]);
    let settings = settings(database, "", &format!("{listed}{rest}{OUTBOX}"));
    let client = control(database).await;
    let found = findings(&client, &settings).await.expect("findings");
    let expected = [
        (Severity::Error, "carry its replica identity (id) and not all of its key (other)"),
        (Severity::Error, "no column nope"),
        (Severity::Error, "public.bare is not added to the publication"),
        (Severity::Error, "public.gone matches no table"),
        (Severity::Error, "public.cache_* matches no table"),
        (Severity::Error, "no column aggregatetype (columns.route)"),
        (Severity::Warning, "public.bare has no key"),
        (Severity::Warning, "row-level security of public.hidden"),
        (Severity::Warning, "public.cache_1 is listed but is an unlogged table"),
        (Severity::Warning, "max_slot_wal_keep_size is unlimited"),
        (Severity::Info, "generated columns of public.keyed"),
        (Severity::Info, "wal_sender_timeout"),
    ];
    for (severity, what) in expected {
        let finding = found.iter().find(|finding| finding.what.contains(what));
        let finding = finding.unwrap_or_else(|| panic!("{what}: {found:#?}"));
        assert_eq!(finding.severity, severity, "{what}");
        assert!(finding.remedy.is_some() || severity != Severity::Error, "{what}");
    }
    assert!(found.is_sorted_by_key(|finding| finding.severity));
}

async fn what_a_first_start_reads_is_estimated_and_its_rights_are_named(database: &Database) {
    let role = unique("first");
    database
        .execute(&format!(
            "CREATE ROLE {role} SUPERUSER LOGIN REPLICATION PASSWORD 'x';
             CREATE TABLE orders (id int PRIMARY KEY, note text, secret text);
             INSERT INTO orders SELECT generate_series(1, 5000); ANALYZE orders;
             CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
             CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             CREATE TABLE outbox (id uuid, aggregatetype text, aggregateid text, payload jsonb)"
        ))
        .await;
    let listed = format!(
        "{}{}{OUTBOX}",
        tables(&["public.parts", "public.hidden"]),
        "[[table]]\nname = \"public.orders\"\nexclude_columns = [\"secret\"]\n"
    );
    let mut settings = settings(database, "", &listed);
    settings.snapshot.mode = walferry::config::settings::SnapshotMode::Initial;
    let client = control_as(database, &role, "x").await;
    let found = findings(&client, &settings).await.expect("findings");
    let read: Vec<_> = found.iter().filter(|f| f.what.starts_with("the first start")).collect();
    assert_eq!(read.len(), 4, "three tables and their sum: {read:?}");
    let orders = read.iter().find(|finding| finding.what.contains("public.orders: "));
    let orders = &orders.expect("an estimate").what;
    assert!(orders.contains("about 5000 rows") && orders.ends_with("in about 1s"), "{orders}");
    assert!(!has_errors(&found), "{:?}", worst(&found));

    // What is printed is enough, and no more than that.
    database.execute(&format!("ALTER ROLE {role} NOSUPERUSER; GRANT pg_monitor TO {role}")).await;
    let client = control_as(database, &role, "x").await;
    let found = findings(&client, &settings).await.expect("findings");
    let snapshot = |finding: &&Finding| {
        finding.what.contains("SELECT on") || finding.what.contains("hide rows")
    };
    let lacking: Vec<_> = found.iter().filter(snapshot).collect();
    // Three tables, the outbox, and the policies.
    assert_eq!(lacking.len(), 5, "{found:#?}");
    let partition = "the role lacks SELECT on public.part_1, which snapshots need";
    assert!(worst(&found).contains(&partition), "{lacking:?}");
    for finding in lacking {
        database.execute(finding.remedy.as_deref().expect("a remedy")).await;
    }
    let found = findings(&client, &settings).await.expect("findings");
    assert!(!found.iter().any(|finding| snapshot(&finding)), "{:?}", worst(&found));
    client.query("SELECT ctid, id, note FROM public.orders", &[]).await.expect("rows");
    client.query("SELECT secret FROM public.orders", &[]).await.expect_err("not granted");
}
