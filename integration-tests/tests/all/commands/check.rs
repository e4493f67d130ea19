//! `walferry check`, the reports of a wrong configuration, and that no secret is ever printed.

use integration_tests::walferry::binary;
use integration_tests::{Walferry, unique, wait};
use serde_json::Value;

use super::{Shop, walferry};

/// A password that is found in any output.
const PASSWORD: &str = "hunter2-Xyzzy";

fn with_severity<'a>(findings: &'a Value, severity: &str) -> Vec<&'a Value> {
    let all = findings.as_array().expect("an array").iter();
    all.filter(|finding| finding["severity"] == severity).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_right_passes_before_and_after_the_first_start() {
    let shop = Shop::open("right").await;
    let first = walferry("check", &shop.config).await.exits(0);
    let first = first.says("will be created").says("the next start is the first");
    first.says("the schema registry answers").says("0 errors");
    let topics = shop.kafka.topics().await;
    assert!(!topics.iter().any(|topic| topic.contains(shop.config.name())), "check made a topic");
    assert!(shop.database.texts("SELECT pubname FROM pg_publication").await.is_empty());

    shop.deliver().await;
    let findings = walferry("check --json", &shop.config).await.exits(0).json();
    assert!(with_severity(&findings, "error").is_empty(), "{findings}");
    walferry("check", &shop.config).await.exits(0).says("slot and position fit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_lacks_is_named_with_the_sql_that_grants_it() {
    let shop = Shop::open("bare").await;
    let role = unique("bare");
    shop.database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await;
    let user = format!("{role}:{PASSWORD}");
    let config = shop.config.clone().postgres_url(&shop.database.url_as(&user, "sslmode=disable"));
    let said = walferry("check", &config).await.exits(2);
    let said = said.says(&format!("ALTER ROLE \"{role}\" REPLICATION;"));
    let said = said.says(&format!("GRANT CREATE ON DATABASE \"{}\"", shop.database.name()));
    // One cause is reported once: without the privilege there is no replication connection.
    assert!(!said.out.contains("WAL sender"), "{}", said.out);
    let findings = walferry("check --json", &config).await.exits(2).json();
    for finding in with_severity(&findings, "error") {
        assert!(finding["remedy"].is_string(), "{finding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_a_table_is_an_error_and_a_gap_is_one_too() {
    let shop = Shop::open("typo").await;
    let config = shop.config.clone().table("public.ordres");
    let said = walferry("check", &config).await.exits(2);
    said.says("public.ordres matches no table").says("1 error,");

    shop.deliver().await;
    let slot = shop.config.slot();
    shop.database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    walferry("check", &shop.config).await.exits(2).says("walferry slot create");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_does_not_hide_the_rest() {
    let shop = Shop::open("unreached").await;
    let port = integration_tests::services::free_port();
    let away = format!("127.0.0.1:{port}");
    let config = shop.config.twin().bootstrap(&away).registry_url(&format!("http://{away}"));
    let said = walferry("check", &config).await.exits(1);
    let said = said.says("kafka.bootstrap_servers").says("no usable answer from the registry");
    said.says("PostgreSQL").says("2 errors");
    let config = shop.config.twin().postgres_url(&shop.database.url_through(port));
    let said = walferry("check", &config).await.exits(1);
    said.says("cannot connect").says("the schema registry answers");
    // Something wrong for certain counts more.
    let config = config.toml_text("[topics]\ncreate = false");
    walferry("check", &config).await.exits(2).says("kafka-topics --bootstrap-server");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_must_be_there_are_looked_up() {
    let shop = Shop::open("lookup").await;
    let config = shop.config.twin().registry("auto_register = false");
    let said = walferry("check", &config).await.exits(2);
    said.says("does not have this schema").says("walferry schema");
    shop.deliver().await;
    shop.insert(1).await;
    shop.deliver().await;
    walferry("check", &config).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_reported_whole() {
    let shop = Shop::open("wrong").await;
    let config = shop.config.clone().postgres("slto = \"x\"").top("shutdown_timeout = 5");
    for command in ["check", "run", "schema", "slot status", "position show", "tail x"] {
        let said = walferry(command, &config).await.exits(2);
        let said = said.says("postgres.slto").says("nearest: `slot`").says("shutdown_timeout");
        assert_eq!(said.err.matches("postgres.slto:").count(), 1, "{}", said.err);
    }
    let findings = walferry("check --json", &config).await.exits(2).json();
    let keys: Vec<_> = with_severity(&findings, "error").iter().map(|f| f["key"].clone()).collect();
    assert!(keys.contains(&Value::from("postgres.slto")), "{findings}");
    walferry("run --nonsense", &config).await.exits(2).says("--nonsense");
}

/// Every command and a run, as talkative as they can be, with a secret in each place that has one.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_printed() {
    let shop = Shop::open("secret").await;
    let role = unique("secret");
    shop.database
        .execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'"))
        .await;
    let url = shop.database.url_as(&format!("{role}:{PASSWORD}"), "sslmode=disable");
    let right = shop.config.clone().postgres_url(&url);
    let wrong_password = url.replace(PASSWORD, &format!("{PASSWORD}-wrong"));
    let configs = [
        right.clone(),
        right.clone().kafka_property("sasl.password", PASSWORD),
        shop.config.clone().postgres_url(&wrong_password),
        right.clone().registry(&format!("pasword = \"{PASSWORD}\"")),
        right
            .clone()
            .registry("username = \"walferry\"")
            .registry(&format!("password = \"{PASSWORD}\"")),
    ];
    for config in &configs {
        for command in ["check", "check --json", "slot status", "position show", "schema"] {
            let said = walferry(&format!("--log-level trace {command}"), config).await;
            assert!(!said.out.contains(PASSWORD) && !said.err.contains(PASSWORD), "{said:?}");
        }
    }
    let run = Walferry::run(&right.argument("--log-level=trace")).await;
    shop.insert(1).await;
    let lsn = shop.database.current_lsn().await;
    shop.database.wait_confirmed(&shop.config.slot(), lsn, wait::LONG).await;
    let (_, status) = run.get("/status").await.expect("an answer");
    assert_eq!(run.stop().await, 0);
    assert!(!run.log().contains(PASSWORD) && !status.contains(PASSWORD));
    assert!(!run.log().contains("note 1"), "a row value in the log");
}

/// On a terminal there are colours, unless `NO_COLOR` forbids them; elsewhere there are none.
#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let shop = Shop::open("colour").await;
    let said = walferry("check", &shop.config).await.exits(0);
    assert!(!said.out.contains('\x1b'), "{}", said.out);
    let on_terminal = async |no_color: &str| {
        let file = integration_tests::services::run_directory("terminal").join("walferry.toml");
        std::fs::write(&file, shop.config.toml()).expect("walferry.toml");
        let line = format!("{} check --config {}", binary().display(), file.display());
        let output = tokio::process::Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("NO_COLOR", no_color)
            .env("TERM", "xterm")
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("script, of bsdutils");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(on_terminal("").await.contains('\x1b'));
    let plain = on_terminal("1").await;
    assert!(plain.contains("0 errors") && !plain.contains('\x1b'), "{plain}");
}
