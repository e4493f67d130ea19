use std::collections::HashMap;
use std::time::Duration;

use super::rights::Rights;
use super::*;
use crate::config::settings::SnapshotMode;
use crate::pgoutput::{Relation, ReplicaIdentity};
use crate::postgres::catalog::{ColumnFacts, IdentityKind, RelationKind, ServerInfo, TableFacts};
use crate::postgres::publication::Missing;
use crate::postgres::slot::{Slot, WalStatus};
use crate::postgres::snapshot::{Source, Target};
use crate::postgres::whitelist::tests::{outbox, settings, table};
use crate::postgres::whitelist::{Candidate, Kind};
use crate::postgres::{Lsn, Oid};

fn info() -> ServerInfo {
    ServerInfo {
        version_num: 180_006,
        wal_level: "logical".into(),
        wal_sender_timeout: Duration::from_secs(60),
        max_slot_wal_keep_size: Some(1 << 40),
        max_replication_slots: 10,
        max_wal_senders: 10,
        synchronous_standby_names: String::new(),
        in_recovery: false,
        database: "shop".into(),
        database_oid: Oid(5),
        encoding: "UTF8".into(),
        user: "walferry".into(),
        is_superuser: false,
        may_replicate: true,
        slots: 0,
        wal_senders: 0,
    }
}

fn slot(name: &str) -> Slot {
    Slot {
        name: name.into(),
        plugin: Some("pgoutput".into()),
        database: Some((Oid(5), "shop".into())),
        here: true,
        temporary: false,
        two_phase: false,
        active_pid: None,
        wal_status: Some(WalStatus::Reserved),
        invalidation_reason: None,
        conflicting: false,
        synced: false,
        restart_lsn: Some(Lsn(1)),
        confirmed_flush_lsn: Some(Lsn(1)),
        retained: Some(1 << 20),
        safe_wal_size: None,
    }
}

fn missing_slot() -> SlotState {
    SlotState::Missing { name: "walferry_shop".into() }
}

fn errors(findings: &[Finding]) -> Vec<&str> {
    of(findings, Severity::Error)
}

fn of(findings: &[Finding], severity: Severity) -> Vec<&str> {
    findings.iter().filter(|f| f.severity == severity).map(|f| f.what.as_str()).collect()
}

#[test]
fn a_server_as_it_should_be_has_no_finding_worse_than_info() {
    let mut findings = server::judge(&info(), "walferry_shop");
    findings.extend(server::judge_slots(&info(), &settings(), &missing_slot(), &[]));
    assert!(findings.iter().all(|finding| finding.severity == Severity::Info), "{findings:?}");
}

#[test]
fn each_fault_of_the_server_is_found_with_its_remedy() {
    type Change = fn(&mut ServerInfo);
    let cases: [(Change, Severity, &str); 8] = [
        (|i| i.wal_level = "replica".into(), Severity::Error, "wal_level is replica"),
        (|i| i.may_replicate = false, Severity::Error, "may not replicate"),
        (|i| i.is_superuser = true, Severity::Warning, "superuser"),
        (|i| i.encoding = "SQL_ASCII".into(), Severity::Warning, "SQL_ASCII"),
        (|i| i.synchronous_standby_names = "*".into(), Severity::Error, "synchronous standby"),
        (|i| i.max_slot_wal_keep_size = None, Severity::Warning, "max_slot_wal_keep_size"),
        (|i| i.wal_sender_timeout = Duration::ZERO, Severity::Info, "wal_sender_timeout is off"),
        (|i| (i.in_recovery, i.version_num) = (true, 150_000), Severity::Error, "standby"),
    ];
    for (change, severity, what) in cases {
        let mut info = info();
        change(&mut info);
        let findings = server::judge(&info, "walferry_shop");
        let found = findings.iter().find(|finding| finding.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{what}: {findings:?}"));
        assert_eq!(found.severity, severity, "{what}");
        assert!(found.remedy.is_some() || severity != Severity::Error, "{what}");
    }
}

#[test]
fn synchronous_standby_names_are_read_as_the_server_reads_them() {
    for names in [
        "*",
        "a, *",
        "FIRST 1 (a, walferry_SHOP)",
        "ANY 2 (\"walferry_shop\", b)",
        "1 (walferry_shop)",
        "walferry_shop",
    ] {
        assert!(server::would_be_synchronous(names, "walferry_shop"), "{names}");
    }
    for names in ["", "a, b", "FIRST 1 (walferry_shop2)", "ANY 1 ()", ")("] {
        assert!(!server::would_be_synchronous(names, "walferry_shop"), "{names}");
    }
    let long = format!("walferry_{}", "x".repeat(64));
    assert!(server::would_be_synchronous(&long[..63], &long));
}

#[test]
fn slots_are_judged() {
    let mut settings = settings();
    let mut exhausted = info();
    (exhausted.slots, exhausted.wal_senders) = (10, 10);
    let findings = server::judge_slots(&exhausted, &settings, &missing_slot(), &[]);
    assert_eq!(errors(&findings).len(), 2, "{findings:?}");
    let mut ours = slot("walferry_shop");
    ours.active_pid = Some(4711);
    let findings =
        server::judge_slots(&exhausted, &settings, &SlotState::Exists(ours.clone()), &[]);
    assert!(errors(&findings).is_empty());
    assert!(findings[0].what.contains("4711"));

    ours.wal_status = Some(WalStatus::Lost);
    let findings = server::judge_slots(&info(), &settings, &SlotState::Exists(ours), &[]);
    assert_eq!(errors(&findings).len(), 1);

    settings.postgres.slot_manage = Manage::Never;
    let findings = server::judge_slots(&info(), &settings, &missing_slot(), &[]);
    let remedy = findings[0].remedy.as_deref().unwrap();
    assert!(remedy.contains("pg_create_logical_replication_slot('walferry_shop'"), "{remedy}");
}

#[test]
fn a_forgotten_slot_of_another_reader_is_a_warning_when_it_keeps_much() {
    let settings = settings();
    let mut other = slot("forgotten");
    let mut judge = |retained, active| {
        (other.retained, other.active_pid) = (Some(retained), active);
        server::judge_slots(&info(), &settings, &missing_slot(), std::slice::from_ref(&other))
    };
    assert_eq!(judge(1 << 30, None)[0].severity, Severity::Warning);
    assert_eq!(judge(1 << 20, None)[0].severity, Severity::Info);
    assert!(judge(1 << 40, Some(1)).is_empty());
}

/// A database with one table `public.orders (id, customer, total, doubled generated)`.
struct Shop {
    settings: Settings,
    facts: TableFacts,
    rights: Rights,
}

fn shop() -> Shop {
    let column = |name: &str, generated| ColumnFacts {
        name: name.into(),
        type_oid: Oid(23),
        typmod: -1,
        not_null: true,
        default: None,
        generated,
        identity: false,
    };
    let mut settings = settings();
    settings.tables.push(table("public.orders"));
    Shop {
        settings,
        facts: TableFacts {
            oid: Oid(1),
            schema: "public".into(),
            name: "orders".into(),
            kind: RelationKind::Table,
            root: None,
            identity: IdentityKind::Default,
            columns: vec![column("id", false), column("customer", false), column("doubled", true)],
            primary_key: vec!["id".into()],
            unique_key: Vec::new(),
        },
        rights: Rights {
            unreadable: Vec::new(),
            may_use_schema: true,
            row_security: false,
            row_security_hides: false,
            identity: Some(vec!["id".into()]),
        },
    }
}

impl Shop {
    fn judge(&self) -> Vec<Finding> {
        let candidate = Candidate {
            oid: Oid(1),
            schema: "public".into(),
            name: "orders".into(),
            kind: Kind::Table,
            ancestors: Vec::new(),
        };
        let whitelist = Whitelist::build(&self.settings, &[candidate], None);
        let rights = HashMap::from([(Oid(1), self.rights.clone())]);
        tables::Tables::new(&self.settings, &whitelist, vec![self.facts.clone()], rights)
            .judge("walferry", true)
    }
}

#[test]
fn a_sound_table_only_has_its_generated_columns_told() {
    let findings = shop().judge();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.ends_with("doubled") && findings[0].severity == Severity::Info);
}

#[test]
fn each_fault_of_a_table_is_found() {
    type Change = fn(&mut Shop);
    let cases: [(Change, Severity, &str); 11] = [
        (|s| s.facts.primary_key.clear(), Severity::Warning, "has no key"),
        (
            |s| s.settings.tables[0].key_columns = Some(vec!["nope".into()]),
            Severity::Error,
            "key_columns of public.orders: no column nope",
        ),
        (
            |s| s.settings.tables[0].key_columns = Some(vec!["customer".into()]),
            Severity::Error,
            "carry its replica identity (id) and not all of its key (customer)",
        ),
        (
            |s| s.rights.identity = Some(vec!["customer".into()]),
            Severity::Warning,
            "carry its replica identity (customer) and not all of its key (id)",
        ),
        (
            |s| s.settings.tables[0].exclude_columns = vec!["ID".into()],
            Severity::Error,
            "exclude_columns of public.orders: no column ID",
        ),
        (
            |s| s.settings.tables[0].exclude_columns = vec!["id".into()],
            Severity::Error,
            "has id, a key column",
        ),
        (
            |s| s.rights.unreadable = vec!["id".into()],
            Severity::Warning,
            "lacks SELECT on public.orders",
        ),
        (|s| s.rights.may_use_schema = false, Severity::Warning, "USAGE on schema public"),
        (|s| s.rights.row_security = true, Severity::Warning, "row-level security"),
        (
            |s| {
                s.settings.tables.clear();
                s.settings.outboxes.push(outbox("public.orders"));
                s.settings.outboxes[0].headers = vec![("x".into(), "doubled".into())];
            },
            Severity::Error,
            "has no column doubled (headers)",
        ),
        (
            |s| {
                s.settings.tables.clear();
                s.settings.outboxes.push(outbox("public.orders"));
            },
            Severity::Error,
            "has no column payload (columns.payload)",
        ),
    ];
    for (change, severity, what) in cases {
        let mut shop = shop();
        change(&mut shop);
        let findings = shop.judge();
        let found = findings.iter().find(|finding| finding.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{what}: {findings:?}"));
        assert_eq!(found.severity, severity, "{what}");
    }
}

#[test]
fn a_key_under_identity_full_or_without_deletes_needs_no_more() {
    let mut shop = shop();
    shop.settings.tables[0].key_columns = Some(vec!["customer".into()]);
    shop.rights.identity = None;
    assert!(errors(&shop.judge()).is_empty());
    shop.rights.identity = Some(vec!["id".into()]);
    shop.settings.tables[0].inserts_only = true;
    assert!(errors(&shop.judge()).is_empty());
}

#[test]
fn publications_are_judged_by_who_manages_them() {
    let mut settings = settings();
    let plan = Plan {
        statements: vec!["CREATE x".into()],
        missing: vec![
            Missing { what: "ownership of a".into(), grant: "GRANT o TO w".into() },
            Missing { what: "ownership of b".into(), grant: "GRANT o TO w".into() },
        ],
        notices: vec!["narrow".into()],
        ..Plan::default()
    };
    let state = State::default();
    let auto = judge_publications(&settings, &missing_slot(), plan.clone(), &state);
    assert_eq!(errors(&auto).len(), 2);
    let grants = auto.iter().filter(|f| f.remedy.as_deref() == Some("GRANT o TO w;"));
    assert_eq!(grants.count(), 1);
    assert_eq!(of(&auto, Severity::Info), ["the start will run:\nCREATE x;"]);
    assert_eq!(of(&auto, Severity::Warning), ["narrow"]);

    settings.postgres.publication_manage = Manage::Never;
    let there = SlotState::Exists(slot("walferry_shop"));
    let never = judge_publications(&settings, &there, plan, &state);
    assert_eq!(errors(&never).len(), 1);
    assert!(of(&never, Severity::Warning).iter().any(|what| what.contains("older than")));
}

#[test]
fn only_columns_that_are_sent_need_a_right() {
    let mut shop = shop();
    shop.settings.snapshot.mode = SnapshotMode::Initial;
    shop.settings.tables[0].exclude_columns = vec!["customer".into()];
    shop.rights.unreadable = vec!["customer".into()];
    assert!(errors(&shop.judge()).is_empty());
    shop.rights.unreadable.push("doubled".into());
    let findings = shop.judge();
    assert_eq!(errors(&findings).len(), 1, "a start would stop at it: {findings:?}");
    let grant = findings.iter().find_map(|finding| finding.remedy.as_deref());
    let sql = r#"GRANT SELECT (ctid, "id", "doubled") ON "public"."orders" TO "walferry";"#;
    assert_eq!(grant, Some(sql));
    shop.settings.snapshot.mode = SnapshotMode::Never;
    assert!(errors(&shop.judge()).is_empty(), "the stream needs no right");
}

#[test]
fn policies_that_would_hide_rows_stop_a_snapshot() {
    let mut shop = shop();
    shop.settings.snapshot.mode = SnapshotMode::Initial;
    (shop.rights.row_security, shop.rights.row_security_hides) = (true, true);
    let findings = shop.judge();
    assert_eq!(
        errors(&findings),
        ["row-level security of public.orders would hide rows from the \
                                    snapshot"]
    );
    let remedies: Vec<_> = findings.iter().filter_map(|f| f.remedy.as_deref()).collect();
    assert_eq!(remedies, ["ALTER ROLE \"walferry\" BYPASSRLS;"]);
    shop.rights.row_security_hides = false;
    assert!(errors(&shop.judge()).is_empty());
}

#[test]
fn a_first_start_is_estimated() {
    let target = |name: &str, rows: &[Option<u64>]| Target {
        oid: Oid(1),
        relation: Relation {
            oid: Oid(1),
            schema: "public".into(),
            name: name.into(),
            identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        },
        sources: rows
            .iter()
            .map(|rows| Source {
                oid: Oid(1),
                schema: "public".into(),
                name: name.into(),
                pages: 1,
                rows: *rows,
                bytes: 1 << 20,
                filter: None,
            })
            .collect(),
        outbox: false,
        primary_key: Vec::new(),
    };
    let targets =
        [target("a", &[Some(7_000_000), Some(5_000_000)]), target("b", &[None]), target("c", &[])];
    let findings = snapshot::judge(&targets, None);
    assert_eq!(
        of(&findings, Severity::Info),
        [
            "the first start reads public.a: about 12000000 rows, 2.0 MiB, in about 2m",
            "the first start reads public.b: 1.0 MiB, and nobody knows how many rows before an \
             ANALYZE",
            "the first start reads public.c: about 0 rows, 0 bytes, in about 1s",
            "the first start reads 3 tables: more than 12000000 rows, 3.0 MiB, in more than 2m: \
             tables without an ANALYZE are not counted",
        ]
    );
    let slower = snapshot::judge(&targets[..1], Some(10_000));
    assert!(slower[0].what.ends_with("in about 20m"), "{slower:?}");
    assert!(snapshot::judge(&[], None).is_empty());
}
