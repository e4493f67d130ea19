//! Ways in and out: TLS, passwords, certificates and sockets of Postgres and Kafka, and the rights
//! that are enough.

use integration_tests::kafka::{Operation, PAT, Resource};
use integration_tests::postgres::Options;
use integration_tests::{
    Config, Database, Decoder, Kafka, Listener, Postgres, Registry, Walferry, unique, wait,
};
use serde_json::Value;

const PASSWORD: &str = "right-one";

async fn database(stem: &str) -> (Database, &'static Kafka, &'static Registry) {
    let (postgres, kafka, registry) =
        tokio::join!(Postgres::shared(), Kafka::shared(), Registry::shared());
    let database = postgres.database(stem).await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    (database, kafka, registry)
}

/// A role that may do everything, with [`PASSWORD`].
async fn role(database: &Database) -> String {
    let role = unique("role");
    let sql = format!("CREATE ROLE {role} LOGIN SUPERUSER REPLICATION PASSWORD '{PASSWORD}'");
    database.execute(&sql).await;
    role
}

async fn config(stem: &str, database: &Database, url: &str) -> Config {
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    Config::new(stem, database, kafka, registry).postgres_url(url).table("public.t")
}

/// Runs walferry until it is ready, delivers a row, and says how many of its sessions had TLS.
async fn works(config: &Config, kafka: &Kafka, database: &Database) -> i64 {
    let walferry = Walferry::run(config).await;
    let sql = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND ";
    let sql = format!("{sql} application_name = 'walferry_{}'", config.name());
    let encrypted = database.value(&sql).await;
    database.execute("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t").await;
    kafka.first_records(&config.topic("public.t"), 1, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    encrypted
}

/// Runs walferry to its refusal.
async fn refused(config: &Config, texts: &[&str]) {
    let walferry = Walferry::start(config);
    let code = walferry.wait_exit(wait::LONG).await;
    let log = walferry.log();
    assert_eq!(code, 2, "{log}");
    for text in texts {
        assert!(log.contains(text), "no {text:?} in\n{log}");
    }
    assert!(!log.contains(PASSWORD), "the password:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_does_what_it_says() {
    let (database, kafka, _) = database("sslmode").await;
    let certificates = kafka.certificates();
    let ca = certificates.authority().display().to_string();
    let stranger = certificates.stranger().display().to_string();
    let user = format!("{}:{PASSWORD}", role(&database).await);
    let url = |parameters: &str| database.url_as(&user, parameters);
    for (parameters, encrypted) in [
        ("sslmode=disable".to_owned(), 0),
        ("sslmode=require".to_owned(), 2),
        (format!("sslmode=verify-ca&sslrootcert={ca}"), 2),
        (format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require"), 2),
    ] {
        let config = config("sslmode", &database, &url(&parameters)).await;
        assert_eq!(works(&config, kafka, &database).await, encrypted, "{parameters}");
    }
    for (parameters, text) in [
        (format!("sslmode=verify-ca&sslrootcert={stranger}"), "sslrootcert"),
        (format!("sslmode=verify-full&sslrootcert={stranger}"), "sslrootcert"),
        ("sslmode=disable&channel_binding=require".to_owned(), "channel_binding"),
    ] {
        refused(&config("sslmode", &database, &url(&parameters)).await, &[text]).await;
    }
    let wrong = database.url_as(&user.replace(PASSWORD, "wrong-one"), "sslmode=require");
    refused(&config("sslmode", &database, &wrong).await, &["postgres.password_file"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_server_and_client_are_judged() {
    let options = Options::default()
        .setting("ssl_cert_file = 'elsewhere.crt'")
        .setting("ssl_key_file = 'elsewhere.key'")
        .hba("hostssl all client samehost cert")
        .hba("hostnossl all client samehost reject");
    let postgres = Postgres::own(Postgres::default_version(), options).await;
    let database = postgres.database("certificates").await;
    database
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE client LOGIN SUPERUSER REPLICATION",
        )
        .await;
    let (kafka, certificates) = (Kafka::shared().await, postgres.certificates());
    let ca = certificates.authority().display().to_string();
    let url = |mode: &str, client: &str| {
        let certificate = certificates.certificate(client).display().to_string();
        let key = certificates.key(client).display().to_string();
        let parameters =
            format!("sslmode={mode}&sslrootcert={ca}&sslcert={certificate}&sslkey={key}");
        database.url_as("client", &parameters)
    };
    let accepted = config("client_cert", &database, &url("verify-ca", "client")).await;
    assert_eq!(works(&accepted, kafka, &database).await, 2);
    let impostor = config("client_cert", &database, &url("verify-ca", "impostor")).await;
    refused(&impostor, &["sslcert"]).await;
    let host = config("client_cert", &database, &url("verify-full", "client")).await;
    refused(&host, &["host name of the certificate"]).await;
    let plain = database.url_as("client", "sslmode=disable");
    refused(&config("client_cert", &database, &plain).await, &["pg_hba.conf"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_at_tls_1_2_is_spoken_to() {
    let options = Options::default().setting("ssl_max_protocol_version = 'TLSv1.2'");
    let postgres = Postgres::own(Postgres::default_version(), options).await;
    let (database, kafka) = (postgres.database("tls_1_2").await, Kafka::shared().await);
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    let user = format!("{}:{PASSWORD}", role(&database).await);
    let ca = postgres.certificates().authority().display().to_string();
    let parameters = format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require");
    let config = config("tls_1_2", &database, &database.url_as(&user, &parameters)).await;
    assert_eq!(works(&config, kafka, &database).await, 2);
}

/// The system's roots are those that OpenSSL's variable names.
#[tokio::test(flavor = "multi_thread")]
async fn the_roots_of_the_system_verify_the_server() {
    let (database, kafka, _) = database("system_roots").await;
    let certificates = kafka.certificates();
    let user = format!("{}:{PASSWORD}", role(&database).await);
    let url = database.url_as(&user, "sslmode=verify-full&sslrootcert=system");
    let with = async |roots: std::path::PathBuf| {
        let roots = roots.display().to_string();
        config("system_roots", &database, &url).await.env("SSL_CERT_FILE", &roots)
    };
    assert_eq!(works(&with(certificates.authority()).await, kafka, &database).await, 2);
    refused(&with(certificates.stranger()).await, &["sslrootcert"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_and_a_list_of_hosts_lead_to_the_server() {
    let (database, kafka, _) = database("hosts").await;
    let config = config("socket", &database, &database.socket_url()).await;
    works(&config, kafka, &database).await;

    // First a dead port, then a server that takes no writes, then the right one.
    let dead = integration_tests::services::free_port();
    let other = if Postgres::default_version() == 14 { 18 } else { 14 };
    let other = Postgres::shared_version(other).await;
    let name = database.name();
    let maintenance = other.existing_database("postgres");
    maintenance.execute(&format!("CREATE DATABASE {name}")).await;
    maintenance
        .execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await;
    let url = format!(
        "postgres://postgres@127.0.0.1:{dead},127.0.0.1:{},127.0.0.1:{}/{name}?sslmode=disable\
         &target_session_attrs=read-write",
        other.port(),
        database.port()
    );
    works(&self::config("hosts", &database, &url).await, kafka, &database).await;
}

/// Output settings of role and database change nothing: both deliveries are equal.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_settings_of_a_role_do_not_change_what_arrives() {
    let (database, kafka, registry) = database("hostile").await;
    let (friendly, hostile) = (role(&database).await, role(&database).await);
    database
        .execute(
            "CREATE TABLE public.v (id int PRIMARY KEY, d date, ts timestamptz, f float8, r real,
               b bytea, i interval, m money, n numeric, fs float8[], tss timestamptz[], u text)",
        )
        .await;
    for setting in [
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Kolkata'",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "search_path = 'information_schema'",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "default_transaction_isolation = 'serializable'",
    ] {
        database.execute(&format!("ALTER ROLE {hostile} SET {setting}")).await;
    }
    let mut runs = Vec::new();
    for user in [&friendly, &hostile] {
        let url = database.url_as(&format!("{user}:{PASSWORD}"), "sslmode=disable");
        let config =
            Config::new("hostile", &database, kafka, registry).postgres_url(&url).table("public.v");
        runs.push((Walferry::run(&config).await, config));
    }
    database
        .execute(
            "INSERT INTO v VALUES (1, '2026-11-24', '2026-11-24 17:30:00.123456+01', 0.1::float8 + 0.2,
               1.1::real / 3, '\\x00ff80', '1 year 2 mons -3 days 04:05:06.789', '1234.56', 1e30,
               ARRAY[1.0 / 3, 2e-300], ARRAY['2026-01-01 00:00:00+00'::timestamptz], 'Größe 🦭')",
        )
        .await;
    let mut rows: Vec<Value> = Vec::new();
    for (walferry, config) in &runs {
        let records = kafka.first_records(&config.topic("public.v"), 1, wait::LONG).await;
        let event = Decoder::new(registry).event(&records[0]).await;
        rows.push(event.value.expect("a value")["after"].clone());
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    }
    assert_eq!(rows[0], rows[1]);
    assert_eq!(rows[0]["u"], "Größe 🦭");
    assert_eq!(rows[0]["f"].as_f64(), Some(0.1 + 0.2));
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_through_sasl_and_client_certificates() {
    let (database, kafka, _) = database("listeners").await;
    for listener in [Listener::SaslSsl, Listener::Mtls, Listener::Ssl] {
        let config =
            config("listeners", &database, &database.url()).await.listener(kafka, listener);
        works(&config, kafka, &database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_of_kafka_are_named_and_waited_for() {
    let (database, kafka, _) = database("credentials").await;
    let config = config("credentials", &database, &database.url())
        .await
        .listener(kafka, Listener::SaslSsl)
        .kafka_property("sasl.password", "hush-hush");
    let walferry = Walferry::start(&config);
    walferry.wait_unready_because("uthentication").await;
    assert!(!walferry.log().contains("hush"), "{}", walferry.log());
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// On which topics docs/operations.md lets a user of Kafka do something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Topics {
    Records,
    Position,
}

/// What docs/operations.md says that a user of Kafka needs.
const LEAST_ACLS: [(Topics, Operation); 6] = [
    (Topics::Records, Operation::Write),
    (Topics::Records, Operation::Create),
    (Topics::Position, Operation::Write),
    (Topics::Position, Operation::Read),
    (Topics::Position, Operation::DescribeConfigs),
    (Topics::Position, Operation::Create),
];

/// A deployment of its own, as the user that may do just this.
async fn allowed(
    stem: &str,
    database: &Database,
    kafka: &Kafka,
    acls: &[(Topics, Operation)],
) -> Config {
    let config = config(stem, database, &database.url())
        .await
        .listener(kafka, Listener::SaslSsl)
        .kafka_property("sasl.username", PAT.0)
        .kafka_property("sasl.password", PAT.1);
    let (prefix, position) = (format!("{}.", config.name()), config.position_topic());
    for &(topics, operation) in acls {
        let resource = match topics {
            Topics::Records => Resource::TopicPrefix(&prefix),
            Topics::Position => Resource::Topic(&position),
        };
        kafka.allow(PAT.0, resource, operation).await;
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_acls_of_kafka_are_enough() {
    let (database, kafka, _) = database("acls").await;
    let config = allowed("acls", &database, kafka, &LEAST_ACLS).await;
    works(&config, kafka, &database).await;
    works(&config, kafka, &database).await;
}

/// Each of them is needed, and named with its topic when it is missing.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_least_acls_is_needed_and_named() {
    let (database, kafka, _) = database("acl").await;
    for missing in LEAST_ACLS {
        let mut acls = LEAST_ACLS.to_vec();
        acls.retain(|acl| *acl != missing);
        let (topics, operation) = missing;
        if missing == (Topics::Records, Operation::Write) {
            // It implies Describe, without which nothing gets as far as writing.
            acls.push((Topics::Records, Operation::Describe));
        }
        let config = allowed("acl", &database, kafka, &acls).await;
        let topic = match topics {
            Topics::Records => config.topic("public.t"),
            Topics::Position => config.position_topic(),
        };
        let walferry = Walferry::start(&config);
        let code = wait::until("the refusal", wait::LONG, async || {
            // The record's topic is asked for with the first row.
            database.execute("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t").await;
            walferry.exited()
        })
        .await;
        let log = walferry.log();
        assert_eq!(code, 2, "{missing:?}:\n{log}");
        let remedy = format!("--operation {operation:?} --topic {topic}");
        assert!(log.contains(&remedy), "no {remedy:?} without {missing:?} in\n{log}");
    }
}

const LEAST_PRIVILEGE: &str = include_str!("../../../config/least-privilege.sql");

/// The role of the SQL file, as it stands there, does the whole job.
#[tokio::test(flavor = "multi_thread")]
async fn the_least_privileged_role_runs_the_job() {
    let (database, kafka, registry) = database("least").await;
    for (mode, heading) in [
        ("never", "With publication_manage = \"never\""),
        ("auto", "With publication_manage = \"auto\""),
    ] {
        let (role, owner) = (unique("least"), unique("owner"));
        database
            .execute(&format!(
                "CREATE ROLE {owner}; DROP TABLE IF EXISTS orders, outbox;
                 CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (7);
                 CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype text, aggregateid text,
                                      type text, payload jsonb);
                 ALTER TABLE orders OWNER TO {owner}; ALTER TABLE outbox OWNER TO {owner}"
            ))
            .await;
        let url = database.url_as(&format!("{role}:change-me"), "sslmode=require");
        let config = Config::new("least", &database, kafka, registry)
            .postgres_url(&url)
            .postgres(&format!("publication_manage = \"{mode}\""))
            .snapshot("mode = \"initial\"")
            .table("public.orders")
            .outbox("public.outbox");
        for heading in ["Always", "To read tables", heading] {
            let part = LEAST_PRIVILEGE.split("-- == ").find(|part| part.starts_with(heading));
            let (_, part) = part.expect("a part of this heading").split_once('\n').expect("lines");
            let inserts = format!("\"{}_inserts\"", config.publication());
            let part = part
                .replace("\"walferry\"", &format!("\"{role}\""))
                .replace("\"shop\"", &format!("\"{}\"", database.name()))
                .replace("\"walferry_shop_inserts\"", &inserts)
                .replace("\"walferry_shop\"", &format!("\"{}\"", config.publication()))
                .replace("\"shop_owner\"", &format!("\"{owner}\""));
            database.execute(&part).await;
        }
        let walferry = Walferry::run(&config).await;
        let aggregate = unique("least");
        database
            .execute(&format!(
                "INSERT INTO orders VALUES (1); DELETE FROM orders WHERE id = 1;
                 INSERT INTO outbox VALUES (gen_random_uuid(), '{aggregate}', '1', 'made', '{{}}')"
            ))
            .await;
        // The row that was there, then one that comes and goes, with its tombstone.
        kafka.first_records(&config.topic("public.orders"), 4, wait::LONG).await;
        kafka.first_records(&format!("outbox.event.{aggregate}"), 1, wait::LONG).await;
        let lsn = database.current_lsn().await;
        database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    }
}
