//! Whole files: what is reported (files beside this one), what is resolved, what is never shown.
//!
//! `BLESS=1 cargo test config::` rewrites the expected reports and `docs/configuration.md`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::keys::{DefaultValue, Key, SECTIONS, Section, Status};
use super::*;

/// The secret of every test; it must not come out anywhere.
const HUNTER: &str = "hunter2";

fn judge(bytes: &[u8], origin: &str) -> Result<Loaded, Errors> {
    let env = |name: &str| match name {
        "PGPASSWORD" | "REGISTRY_TOKEN" | "SECRET" => Some(HUNTER.to_owned()),
        "SLOT" => Some("Bad Slot".to_owned()),
        "INJECT" => Some("x\"\nslot = \"y".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let read_file = |path: &Path| match path.to_str() {
        Some("/run/secrets/password") => Ok(format!("{HUNTER}\n")),
        Some("/run/secrets/empty") => Ok("\n".to_owned()),
        Some("/run/secrets/binary") => Err(io::Error::from(io::ErrorKind::InvalidData)),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    parse_bytes(bytes, origin, &env, &read_file)
}

fn accepted(text: &str) -> Loaded {
    judge(text.as_bytes(), "walferry.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str) -> String {
    match judge(text.as_bytes(), "walferry.toml") {
        Ok(_) => panic!("accepted: {text}"),
        Err(errors) => errors.to_string(),
    }
}

fn report(bytes: &[u8], origin: &str) -> String {
    match judge(bytes, origin) {
        Err(errors) => format!("{errors}\n"),
        Ok(loaded) => {
            let mut out = String::new();
            for warning in &loaded.warnings {
                out += &warning.report("warning", origin);
                out.push('\n');
            }
            out + "accepted\n"
        }
    }
}

/// The smallest file that is accepted.
const MINIMAL: &str = r#"
name = "shop"
[postgres]
url = "postgres://walferry@db/shop"
[kafka]
bootstrap_servers = "kafka:9092"
[registry]
url = "http://registry:8081"
[[table]]
name = "public.orders"
"#;

/// `MINIMAL` with lines put in behind a header (or, for "", at the top).
fn with(header: &str, lines: &str) -> String {
    if header.is_empty() {
        return format!("{lines}\n{MINIMAL}");
    }
    if MINIMAL.contains(&format!("\n{header}\n")) {
        return MINIMAL.replacen(&format!("{header}\n"), &format!("{header}\n{lines}\n"), 1);
    }
    format!("{MINIMAL}\n{header}\n{lines}\n")
}

// ---- reports ----

#[test]
fn reports_are_as_expected() {
    let mut cases: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    cases.push((folder().join("ten-megabytes.toml"), "x = 1\n".repeat(10 << 18).into_bytes()));
    cases.push((folder().join("not-utf8.toml"), b"name = \"shop\"\n# \xff\xfe hunter2\n".to_vec()));
    assert!(cases.len() >= 30);
    let mut different = Vec::new();
    for (path, bytes) in cases {
        let origin = path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = report(&bytes, &origin);
        assert!(!found.contains(HUNTER), "{origin} shows a secret:\n{found}");
        let expected = path.with_extension("report");
        if !agrees(&expected, &found) {
            different.push(format!("{origin} now gives\n{found}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n----\n"));
}

#[test]
fn of_a_thousand_mistakes_the_first_hundred_are_shown() {
    let lines: String = (0..1000).map(|index| format!("unknown_{index} = 1\n")).collect();
    let shown = refused(&lines);
    assert!(shown.ends_with("1005 problems in walferry.toml, of which the first 100 are shown"));
    assert!(shown.contains("unknown_94:") && !shown.contains("unknown_95:"));
}

/// Whether a file holds this text; with `BLESS` it does afterwards.
fn agrees(path: &Path, text: &str) -> bool {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
    fs::read_to_string(path).is_ok_and(|expected| expected == text)
}

fn folder() -> PathBuf {
    root().join("src/config/tests")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn problems_are_in_the_order_of_the_file_with_their_positions() {
    let text = with("[kafka]", "delivry = 1\nmax_record_bytes = true");
    let errors = judge(text.as_bytes(), "f").unwrap_err();
    let found: Vec<_> = errors
        .problems()
        .iter()
        .map(|problem| (problem.position.unwrap().line, problem.key.as_str()))
        .collect();
    assert_eq!(found, [(6, "kafka.delivry"), (7, "kafka.max_record_bytes")]);
    assert_eq!(errors.problems()[0].nearest.as_deref(), Some("`delivery`"));
}

#[test]
fn a_missing_file_is_a_problem_and_a_large_one_is_not_read() {
    let errors = load(Path::new("/nonexistent/walferry.toml")).unwrap_err();
    assert!(errors.to_string().contains("cannot read the configuration"));
    // Endless, and so never read to its end.
    let errors = load(Path::new("/dev/zero")).unwrap_err();
    assert!(errors.to_string().contains("larger than 1 MiB"));
}

#[test]
fn a_file_is_loaded() {
    let loaded = load(&root().join("config/examples/minimal.toml")).unwrap();
    assert_eq!(loaded.settings.name, "shop");
    assert!(loaded.settings.postgres.target.password.is_some());
}

// ---- what is resolved ----

#[test]
fn the_defaults_in_the_table_of_keys_are_those_that_hold() {
    let minimal = format!("{:?}", accepted(MINIMAL).settings);
    for section in SECTIONS {
        for key in section.keys() {
            let DefaultValue::Toml(value) = key.default else { continue };
            let line = format!("{} = {value}", key.name);
            if section.header().contains("outbox") {
                let outbox = format!("{MINIMAL}[[outbox]]\ntable = \"public.outbox\"\n");
                let header = section.header().replace("[[outbox]]", "");
                let explicit = accepted(&format!("{outbox}{header}\n{line}\n")).settings;
                let expected = accepted(&outbox).settings;
                assert_eq!(format!("{explicit:?}"), format!("{expected:?}"), "{line}");
                continue;
            }
            let explicit = accepted(&with(section.header(), &line)).settings;
            assert_eq!(format!("{explicit:?}"), minimal, "{} {line}", section.header());
        }
    }
}

#[test]
fn names_of_slot_and_publication_follow_the_deployment() {
    let settings = accepted(&MINIMAL.replace("\"shop\"", "\"My-Shop.v2\"")).settings;
    assert_eq!(settings.postgres.slot, "walferry_my_shop_v2");
    assert_eq!(settings.postgres.publication, "walferry_my_shop_v2");
}

#[test]
fn topics_come_on_top_of_each_other() {
    let text = with("[topics]", "partitions = 3\nconfig = { \"a.b\" = 1, c = \"x\" }")
        + "[[table]]\nname = \"public.a\"\npartitions = 6\n[table.topics]\nconfig = { c = true }\n"
        + "[[table]]\nname = \"public.b\"\n[table.topics]\ncreate = false\n";
    let settings = accepted(&text).settings;
    let topics: Vec<_> = settings.tables.iter().map(|rule| &rule.topics).collect();
    assert_eq!(topics[0].partitions, Some(3));
    assert_eq!(topics[1].partitions, Some(6));
    assert_eq!(topics[1].config["a.b"], "1");
    assert_eq!(topics[1].config["c"], "true");
    assert_eq!((topics[2].create, topics[2].partitions), (false, Some(3)));
    assert_eq!(topics[2].config["c"], "x");
}

#[test]
fn tables_find_their_rule_and_topic() {
    let text = MINIMAL.to_owned()
        + "[[table]]\nname = \"public.*\"\n[[table]]\nname = \"public.order_*\"\n"
        + "[[table]]\nname = \"public.audit\"\ntopic = \"audit-log\"\n"
        + "[[outbox]]\ntable = \"public.outbox\"\n";
    let settings = accepted(&text).settings;
    let topic = |schema: &str, table: &str| match settings.listing(schema, table)? {
        Listing::Table(rule) => {
            Some((rule.pattern.to_string(), settings.topic_for(rule, schema, table)))
        }
        Listing::Outbox(rule) => Some((rule.table.to_string(), "outbox".to_owned())),
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(topic("public", "orders"), pair("public.orders", "shop.public.orders"));
    assert_eq!(topic("public", "order_1"), pair("public.*", "shop.public.order_1"));
    assert_eq!(topic("public", "a b"), pair("public.*", "shop.public.a_b"));
    assert_eq!(topic("public", "audit"), pair("public.audit", "audit-log"));
    assert_eq!(topic("public", "outbox"), pair("public.outbox", "outbox"));
    assert_eq!(topic("private", "orders"), None);
}

#[test]
fn an_outbox_keeps_the_order_and_the_groups_as_written() {
    let text = MINIMAL.to_owned()
        + r#"
[[outbox]]
table = "public.outbox"
columns = { key = "k" }
headers = { zeta = "z", alpha = "a" }
envelope = { type = "type" }
topic = { replacement = "events.${routedByValue}.$1" }
"#;
    let settings = accepted(&text).settings;
    let outbox = &settings.outboxes[0];
    assert_eq!((outbox.id.as_str(), outbox.key.as_str()), ("id", "k"));
    let names: Vec<&str> = outbox.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["zeta", "alpha"]);
    assert_eq!(outbox.topic_replacement, "events.${routedByValue}.$1");
    assert_eq!(outbox.topic_regex, "(?<routedByValue>.*)");
}

#[test]
fn messages_alone_are_enough() {
    let text = MINIMAL.split("[[table]]").next().unwrap().to_owned() + "[messages]\nenabled = true";
    let settings = accepted(&text).settings;
    assert_eq!(settings.messages.prefixes, ["*"]);
}

#[test]
fn what_the_environment_says_cannot_become_toml() {
    let settings = accepted(&with("[format]", "unavailable_value = \"${INJECT}\"")).settings;
    assert_eq!(settings.format.unavailable_value, "x\"\nslot = \"y");
    assert_eq!(settings.postgres.slot, "walferry_shop");
}

#[test]
fn listening_can_be_turned_off() {
    assert!(accepted(&with("[http]", "listen = \"off\"")).settings.http.listen.is_none());
    assert!(accepted(MINIMAL).settings.http.listen.is_some());
}

// ---- what is never shown ----

#[test]
fn no_settings_show_a_secret() {
    let ways = [
        with("[postgres]", "password = \"hunter2\""),
        with("[postgres]", "password = \"${PGPASSWORD}\""),
        with("[postgres]", "password_file = \"/run/secrets/password\""),
        MINIMAL.replace("walferry@", "walferry:hunter2@"),
        MINIMAL.replace("db/shop", "db/shop?password=${SECRET}"),
        with("[registry]", "username = \"u\"\npassword = \"hunter2\""),
        with("[registry]", "bearer_token = \"${file:/run/secrets/password}\""),
        with("[kafka.properties]", "\"sasl.password\" = \"hunter2\""),
        with("[kafka.properties]", "\"client.id\" = \"hunter2\""),
    ];
    for text in ways {
        let loaded = accepted(&text);
        let shown = format!("{loaded:?}{:#?}{}", loaded.settings, report(text.as_bytes(), "f"));
        assert!(!shown.contains(HUNTER), "{text}\n{shown}");
    }
}

#[test]
fn a_secret_arrives_as_it_is() {
    let settings =
        accepted(&with("[postgres]", "password_file = \"/run/secrets/password\"")).settings;
    assert_eq!(settings.postgres.target.password.unwrap().expose_secret(), HUNTER);
    let settings = accepted(&with("[kafka.properties]", "\"sasl.password\" = \"a$${b}\"")).settings;
    assert_eq!(settings.kafka.properties["sasl.password"].expose_secret(), "a${b}");
}

/// A secret beside a mistake: each report shows a source line with the secret in it.
#[test]
fn no_report_shows_a_secret() {
    let ways = [
        with("[postgres]", "pasword = \"hunter2\""),
        with("[postgres]", "password = [\"hunter2\"]"),
        with("[postgres]", "password = \"hunter2\"\npassword_file = \"/run/secrets/password\""),
        with("[http]", "password = \"hunter2\""),
        with("", "passwords = { a = [\"hunter2\"], b = { c = \"hunter2\" } }"),
        MINIMAL.replace("walferry@", "walferry:hunter2@@"),
        MINIMAL.replace("walferry@db", "walferry:hunter2"),
        MINIMAL.replace("walferry@db/shop", "db/shop?password=hunter2"),
        MINIMAL.replace("postgres://walferry@", "postgres:/walferry:hunter2@"),
        MINIMAL.replace("walferry@", "walferry:${SECRET}@") + "x = 1",
        MINIMAL.replace("http://", "http://u:hunter2@"),
        MINIMAL.replace("registry:8081", "registry:8081?token=hunter2"),
        with("[kafka.properties]", "\"sasl.pasword\" = \"hunter2\""),
        with("[kafka.properties]", "\"linger.ms\" = \"hunter2\""),
        with("[kafka.properties]", "\"linger.ms\" = \"${SECRET}\""),
        with("[kafka.properties]", "acks = \"hunter2\""),
        with("[http]", "listen = \"${SECRET}\""),
        with("[postgres]", "slot = \"${SECRET}!\""),
        with("[postgres]", "slot_manage = \"${SECRET}\""),
        with("[[table]]", "topic = \"${SECRET}!\""),
        with("[format]", "envelope = \"${SECRET}\""),
        MINIMAL.replace("public.orders", "${SECRET}"),
        MINIMAL.replace("public.orders", "a.${SECRET}") + "[[table]]\nname = \"a.${SECRET}\"",
        with("[[table]]", "topic = \"x\"") + "[[table]]\nname = \"a.${SECRET}\"\ntopic = \"x\"",
        with("", "").replace("\"shop\"", "\"${SECRET} x\""),
        with("[postgres]", "password_file = \"hunter2\""),
        with("[postgres]", "password_file = \"${SECRET}\""),
        // Broken syntax, where nothing has a position.
        with("[postgres]", "password = \"hunter2"),
        with("[postgres]", "password = hunter2"),
        with("[postgres]", "password = \"\nhunter2\n\""),
        with("[postgres]", "pw = \"\"\"\nhunter2\n\"\""),
        with("[kafka.properties]", "\"x\" = 'hunter2"),
        with("", "name = \"shop\" password = \"hunter2\""),
    ];
    for text in ways {
        let shown = refused(&text);
        assert!(!shown.contains(HUNTER), "{text}\n{shown}");
        let debug = format!("{:?}", judge(text.as_bytes(), "f").unwrap_err());
        assert!(!debug.contains(HUNTER), "{text}\n{debug}");
    }
}

// ---- names for later ----

#[test]
fn names_for_later_say_so_and_what_to_write() {
    for section in SECTIONS {
        for key in section.keys() {
            let Status::Later { today, later, instead } = key.status else { continue };
            let mut values: Vec<String> =
                later.iter().map(|value| format!("\"{value}\"")).collect();
            if today.is_empty() {
                values.push("\"x\"".to_owned());
                values.push("[1, { a = 2 }]".to_owned());
            }
            for value in values {
                let line = format!("{} = {value}", key.name);
                let text = match section {
                    Section::Outbox => {
                        format!("{MINIMAL}[[outbox]]\ntable = \"public.outbox\"\n{line}")
                    }
                    section => with(section.header(), &line),
                };
                let shown = refused(&text);
                assert!(shown.contains("not available in this version yet"), "{line}\n{shown}");
                assert!(shown.contains(instead), "{line}\n{shown}");
                assert!(shown.ends_with("1 problem in walferry.toml"), "{line}\n{shown}");
            }
        }
    }
}

// ---- the files of the repository ----

#[test]
fn docs_are_up_to_date() {
    let path = root().join("docs/configuration.md");
    assert!(
        agrees(&path, &reference::markdown()),
        "run `BLESS=1 cargo test docs_are_up_to_date` and commit docs/configuration.md"
    );
}

#[test]
fn the_examples_are_accepted_without_warnings() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        let loaded = judge(&fs::read(&path).unwrap(), "example")
            .unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
        assert_eq!(loaded.warnings, [], "{}", path.display());
        count += 1;
    }
    assert!(count >= 2);
}

/// A commented-out setting is `#key = …` or `#[header]`, without a space; prose has one.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_annotated_reference_is_accepted_as_it_stands_and_uncommented() {
    let text = fs::read_to_string(root().join("config/walferry.toml")).unwrap();
    assert_eq!(accepted(&text).warnings, []);
    accepted(&uncommented(&text));
}

#[test]
fn the_annotated_reference_has_every_key() {
    let text = fs::read_to_string(root().join("config/walferry.toml")).unwrap();
    let uncommented = uncommented(&text);
    let document = DeTable::parse(&uncommented).unwrap();
    let mut seen = BTreeSet::new();
    collect(document.get_ref(), Section::Top, &mut seen);
    collect_alternatives(&text, &mut seen);
    let mut missing = Vec::new();
    for section in SECTIONS.iter().filter(|section| !is_shared(**section)) {
        for key in section.keys().iter().filter(|key| key.is_usable()) {
            if !seen.contains(&(section.header(), key.name)) && !stands_elsewhere(*section, key) {
                missing.push(format!("{} {}", section.header(), key.name));
            }
        }
    }
    assert!(missing.is_empty(), "config/walferry.toml lacks {missing:?}");
}

/// `[table.topics]` and `[outbox.topics]` have the keys of `[topics]`.
fn is_shared(section: Section) -> bool {
    matches!(section, Section::TableTopics | Section::OutboxTopics)
}

/// The same keys may stand in `[[table]]` or in `[table.topics]`, but not in both.
fn stands_elsewhere(section: Section, key: &Key) -> bool {
    section == Section::Table && Section::TableTopics.key(key.name).is_some()
}

fn collect(
    table: &DeTable<'_>,
    section: Section,
    seen: &mut BTreeSet<(&'static str, &'static str)>,
) {
    for (name, value) in table {
        let key = section.key(name.get_ref()).expect("a key of the table");
        seen.insert((section.header(), key.name));
        let inner = match (section, key.name) {
            (Section::Top, "postgres") => Section::Postgres,
            (Section::Top, "kafka") => Section::Kafka,
            (Section::Top, "registry") => Section::Registry,
            (Section::Top, "topics") => Section::Topics,
            (Section::Top, "format") => Section::Format,
            (Section::Top, "snapshot") => Section::Snapshot,
            (Section::Top, "admin") => Section::Admin,
            (Section::Top, "http") => Section::Http,
            (Section::Top, "messages") => Section::Messages,
            (Section::Top, "table") => Section::Table,
            (Section::Top, "outbox") => Section::Outbox,
            (Section::Outbox, "columns") => Section::OutboxColumns,
            (Section::Outbox, "topic") => Section::OutboxTopic,
            _ => continue,
        };
        match value.get_ref() {
            toml::de::DeValue::Table(table) => collect(table, inner, seen),
            toml::de::DeValue::Array(tables) => {
                tables.iter().filter_map(|t| t.get_ref().as_table()).for_each(|table| {
                    collect(table, inner, seen);
                });
            }
            _ => {}
        }
    }
}

/// `# or: key = …`, for what excludes the key above it.
fn collect_alternatives(text: &str, seen: &mut BTreeSet<(&'static str, &'static str)>) {
    let mut section = Section::Top;
    for line in text.lines() {
        let header = line.trim_start_matches('#');
        if let Some(found) = SECTIONS.iter().skip(1).find(|section| section.header() == header) {
            section = *found;
        }
        let Some(setting) = line.strip_prefix("# or: ") else { continue };
        DeTable::parse(setting).unwrap();
        let name = setting.split(" = ").next().unwrap();
        seen.insert((section.header(), section.key(name).expect("a key of the table").name));
    }
}

// ---- hostile input ----

#[test]
fn deep_nesting_is_refused_and_no_overflow() {
    refused(&format!("x = {}", "[".repeat(500_000)));
    refused(&format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000)));
    refused(&format!("{}x = 1", "a.".repeat(200_000)));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Lines that go together and lines that do not.
    fn lines() -> impl Strategy<Value = String> {
        let mut pool: Vec<String> = MINIMAL.lines().map(str::to_owned).collect();
        for section in SECTIONS {
            pool.push(section.header().to_owned());
            for key in section.keys() {
                for value in ["1", "true", "\"x\"", "\"${SECRET}\"", "[]", "{}", "[\"a\", 1]"] {
                    pool.push(format!("{} = {value}", key.name));
                }
            }
        }
        proptest::collection::vec(proptest::sample::select(pool), 0..25)
            .prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_no_secret_shown(text in "\\PC{0,200}") {
            prop_assume!(!text.contains(HUNTER));
            let _ = report(text.as_bytes(), "f");
        }

        #[test]
        fn any_mixture_of_lines_is_judged_and_no_secret_shown(text in lines()) {
            prop_assert!(!report(text.as_bytes(), "f").contains(HUNTER));
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = report(&bytes, "f");
        }
    }
}
