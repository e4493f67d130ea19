use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Listing;
use crate::config::settings::*;

/// Settings that list nothing.
pub(crate) fn settings() -> Settings {
    Settings {
        name: "shop".into(),
        postgres: PostgresSettings {
            target: PostgresTarget {
                hosts: vec![PostgresHost::Tcp { host: "localhost".into(), port: 5432 }],
                user: "walferry".into(),
                password: None,
                database: "shop".into(),
                target_session_attrs: TargetSessionAttrs::Any,
                tls: PostgresTls { mode: SslMode::Disable, root: SslRoot::Unset, client: None },
                channel_binding: ChannelBinding::Prefer,
                keepalives: true,
                keepalives_idle: Duration::from_secs(60),
            },
            slot: "walferry_shop".into(),
            slot_manage: Manage::Auto,
            publication: "walferry_shop".into(),
            publication_manage: Manage::Auto,
            publish_via_partition_root: true,
            connect_timeout: Duration::from_secs(10),
            stall_disconnect: Duration::from_secs(30),
            read_nap: Duration::from_micros(500),
            max_message_bytes: 1 << 23,
        },
        kafka: KafkaSettings {
            bootstrap_servers: "localhost:9092".into(),
            delivery: Delivery::AtLeastOnce,
            max_in_flight_records: 1,
            max_in_flight_bytes: 1,
            max_record_bytes: 1,
            properties: Default::default(),
        },
        registry: RegistrySettings {
            urls: vec!["http://localhost:8081".into()],
            auth: RegistryAuth::None,
            auto_register: true,
            ca_file: None,
            timeout: Duration::from_secs(1),
        },
        topics: topics(),
        format: FormatSettings {
            name_adjustment: NameAdjustment::None,
            truncate: false,
            skip: Vec::new(),
            tombstones: true,
            unavailable_value: "x".into(),
            before_delete: BeforeDelete::Key,
            column_defaults: true,
            context_headers: true,
        },
        snapshot: SnapshotSettings {
            mode: SnapshotMode::Never,
            tables: None,
            parallelism: 4,
            max_rows_per_second: None,
            engine: Engine::Auto,
            frozen_max_bytes: 1 << 40,
        },
        http: HttpSettings { listen: None },
        admin: AdminSocket::Off,
        messages: MessageSettings { enabled: false, prefixes: Vec::new() },
        shutdown_timeout: Duration::from_secs(1),
        tables: Vec::new(),
        outboxes: Vec::new(),
    }
}

fn topics() -> TopicSettings {
    TopicSettings {
        create: true,
        partitions: None,
        replication_factor: None,
        config: Default::default(),
    }
}

pub(crate) fn pattern(dotted: &str) -> TablePattern {
    let (schema, table) = dotted.split_once('.').unwrap();
    TablePattern { schema: schema.into(), table: table.into() }
}

pub(crate) fn table(dotted: &str) -> TableRule {
    TableRule {
        pattern: pattern(dotted),
        topic: None,
        key_columns: None,
        exclude_columns: Vec::new(),
        inserts_only: false,
        snapshot_where: None,
        topics: topics(),
    }
}

pub(crate) fn outbox(dotted: &str) -> OutboxRule {
    OutboxRule {
        table: pattern(dotted),
        id: "id".into(),
        key: "aggregateid".into(),
        payload: "payload".into(),
        route: "aggregatetype".into(),
        timestamp: None,
        headers: Vec::new(),
        envelope: Vec::new(),
        partition: None,
        topic_regex: "(?<routedByValue>.*)".into(),
        topic_replacement: "outbox.event.${routedByValue}".into(),
        tombstone_on_empty_payload: false,
        topics: topics(),
    }
}

fn listing(tables: &[&str], outboxes: &[&str]) -> Settings {
    Settings {
        tables: tables.iter().map(|name| table(name)).collect(),
        outboxes: outboxes.iter().map(|name| outbox(name)).collect(),
        ..settings()
    }
}

fn of_kind(oid: u32, dotted: &str, kind: Kind, ancestors: &[u32]) -> Candidate {
    let (schema, name) = dotted.split_once('.').unwrap();
    Candidate {
        oid: Oid(oid),
        schema: schema.into(),
        name: name.into(),
        kind,
        ancestors: ancestors.iter().copied().map(Oid).collect(),
    }
}

fn plain(oid: u32, dotted: &str) -> Candidate {
    of_kind(oid, dotted, Kind::Table, &[])
}

/// events (1) > events_2026 (2) > events_2026_01 (3); events (1) > events_old (4)
fn partitioned() -> Vec<Candidate> {
    vec![
        of_kind(1, "public.events", Kind::Partitioned, &[]),
        of_kind(2, "public.events_2026", Kind::Partitioned, &[1]),
        of_kind(3, "public.events_2026_01", Kind::Table, &[2, 1]),
        of_kind(4, "public.events_old", Kind::Table, &[1]),
    ]
}

fn role(whitelist: &Whitelist, oid: u32) -> Option<Role> {
    whitelist.entries.get(&Oid(oid)).map(|listed| listed.role)
}

fn members(whitelist: &Whitelist) -> Vec<u32> {
    whitelist.members().iter().map(|listed| listed.oid.0).collect()
}

#[test]
fn an_outbox_beats_an_exact_name_which_beats_wildcards_and_the_first_wins() {
    let settings =
        listing(&["public.*", "public.order_*", "public.orders", "public.orders"], &["public.o_*"]);
    let there = [
        plain(1, "public.orders"),
        plain(2, "public.order_1"),
        plain(3, "public.o_x"),
        plain(4, "sales.orders"),
    ];
    let whitelist = Whitelist::build(&settings, &there, None);
    assert_eq!(role(&whitelist, 1), Some(Role::Table { rule: 2 }));
    assert_eq!(role(&whitelist, 2), Some(Role::Table { rule: 0 }));
    assert_eq!(role(&whitelist, 3), Some(Role::Outbox { rule: 0 }));
    assert_eq!(role(&whitelist, 4), None);
    assert!(whitelist.entries[&Oid(3)].inserts_only);
    assert!(whitelist.unmatched.is_empty() && whitelist.problems.is_empty());
}

#[test]
fn what_matches_nothing_is_reported() {
    let settings = listing(&["public.a", "public.b*"], &["public.outbox"]);
    let whitelist = Whitelist::build(&settings, &[plain(1, "public.a")], None);
    assert_eq!(whitelist.unmatched, [pattern("public.outbox"), pattern("public.b*")]);
    assert!(whitelist.ensure().is_ok());
}

#[test]
fn what_cannot_be_replicated_is_passed_over_by_wildcards_and_an_error_by_name() {
    let kinds = [Kind::Unlogged, Kind::View, Kind::MaterializedView, Kind::ForeignTable];
    for kind in kinds {
        let there = [of_kind(1, "public.v", kind, &[])];
        let wild = Whitelist::build(&listing(&["public.*"], &[]), &there, None);
        assert!(wild.entries.is_empty() && wild.ensure().is_ok());
        assert_eq!(wild.problems.len(), usize::from(kind == Kind::Unlogged));
        assert_eq!(wild.unmatched.len(), 1);

        let exact = Whitelist::build(&listing(&["public.v"], &[]), &there, None);
        assert!(exact.entries.is_empty() && exact.unmatched.is_empty());
        let error = exact.ensure().unwrap_err().to_string();
        assert!(error.contains("public.v") && error.contains(&kind.to_string()), "{error}");
    }
    let system = Whitelist::build(&listing(&["pg_catalog.pg_class"], &[]), &[], None);
    assert!(system.ensure().is_err() && system.unmatched.is_empty());
}

#[test]
fn partitions_belong_to_their_topmost_listed_ancestor() {
    let whitelist = Whitelist::build(&listing(&["public.events"], &[]), &partitioned(), None);
    assert_eq!(members(&whitelist), [1]);
    for leaf in [2, 3, 4] {
        let listed = &whitelist.entries[&Oid(leaf)];
        assert_eq!((listed.root, listed.via), (Some(Oid(1)), Some(Oid(1))));
        assert_eq!(whitelist.target(listed).name, "events");
    }

    let middle = Whitelist::build(&listing(&["public.events_2026"], &[]), &partitioned(), None);
    assert_eq!(members(&middle), [2]);
    assert_eq!(middle.entries[&Oid(3)].root, Some(Oid(2)));
    assert_eq!(role(&middle, 4), None);

    let leaf = Whitelist::build(&listing(&["public.events_old"], &[]), &partitioned(), None);
    assert_eq!(members(&leaf), [4]);
    assert_eq!(leaf.entries[&Oid(4)].root, None);
}

#[test]
fn a_rule_for_a_partition_of_a_listed_root_is_reported_as_void() {
    let settings = listing(&["public.events_old", "public.events"], &[]);
    let whitelist = Whitelist::build(&settings, &partitioned(), None);
    assert_eq!(role(&whitelist, 4), Some(Role::Table { rule: 1 }));
    assert!(matches!(&whitelist.problems[..], [Problem::Shadowed { table, .. }]
        if table == "public.events_old"));
    assert!(whitelist.ensure().is_ok());
}

#[test]
fn a_partition_that_is_not_sent_is_reported() {
    let mut there = partitioned();
    there.push(of_kind(8, "other.remote", Kind::ForeignTable, &[1]));
    let whitelist = Whitelist::build(&listing(&["public.events"], &[]), &there, None);
    assert!(!whitelist.entries.contains_key(&Oid(8)));
    assert!(matches!(&whitelist.problems[..], [Problem::Unsent { table, .. }]
        if table == "other.remote"));
}

#[test]
fn without_the_root_each_partition_has_its_own_topic() {
    let mut settings = listing(&["public.events", "public.events_2026", "public.*_old"], &[]);
    settings.postgres.publish_via_partition_root = false;
    let whitelist = Whitelist::build(&settings, &partitioned(), None);
    assert_eq!(members(&whitelist), [1], "the publication covers partitions made later");
    assert!(whitelist.entries.values().all(|listed| listed.root.is_none()));
    // Its own rule, else that of the nearest ancestor.
    assert_eq!(role(&whitelist, 3), Some(Role::Table { rule: 1 }));
    assert_eq!(role(&whitelist, 4), Some(Role::Table { rule: 2 }));
    assert!(whitelist.problems.is_empty());
}

#[test]
fn a_renamed_table_keeps_its_rule_and_topic() {
    let settings = listing(&["public.orders", "public.x*"], &[]);
    let before = Whitelist::build(&settings, &[plain(1, "public.orders")], None);
    let Relation::Renamed { listed, from, to } = before.relation(Oid(1), "public", "x_orders")
    else {
        panic!("not seen as renamed")
    };
    assert_eq!(
        (listed.role, from.as_str(), to.as_str()),
        (Role::Table { rule: 0 }, "public.orders", "public.x_orders")
    );

    let after = Whitelist::build(&settings, &[plain(1, "public.x_orders")], Some(&before));
    assert_eq!(after.entries, before.entries);
    assert!(after.unmatched.is_empty(), "the rule of the old name still has its table");
}

#[test]
fn a_table_swapped_in_under_the_name_is_listed_beside_the_old_one() {
    let settings = listing(&["public.orders"], &[]);
    let mut whitelist = Whitelist::build(&settings, &[plain(1, "public.orders")], None);
    assert_eq!(whitelist.relation(Oid(2), "public", "orders"), Relation::Unknown);
    let lineage = [plain(2, "public.orders")];
    let learned = whitelist.admit_one(Oid(2), "public", "orders", &lineage);
    assert_eq!(learned, Learned::Listed);
    assert!(matches!(whitelist.relation(Oid(2), "public", "orders"), Relation::Listed(_)));
    assert!(matches!(whitelist.relation(Oid(1), "public", "orders_old"), Relation::Renamed { .. }));
}

#[test]
fn a_new_partition_is_learned_through_its_listed_root() {
    let mut settings = listing(&["public.events"], &[]);
    for via_root in [true, false] {
        settings.postgres.publish_via_partition_root = via_root;
        let mut whitelist = Whitelist::build(&settings, &partitioned(), None);
        let new = of_kind(9, "public.events_new", Kind::Table, &[1]);
        assert_eq!(whitelist.admit_one(Oid(9), "public", "events_new", &[new]), Learned::Listed);
        let listed = &whitelist.entries[&Oid(9)];
        assert_eq!((listed.root, listed.via), (via_root.then_some(Oid(1)), Some(Oid(1))));
    }
}

#[test]
fn the_unlisted_and_the_vanished_are_told_apart_and_not_remembered() {
    let mut whitelist = Whitelist::build(&listing(&["public.orders"], &[]), &[], None);
    let other = [plain(5, "public.other")];
    assert_eq!(whitelist.admit_one(Oid(5), "public", "other", &other), Learned::Unlisted);
    assert_eq!(whitelist.admit_one(Oid(6), "public", "gone", &[]), Learned::Vanished);
    assert_eq!(whitelist.relation(Oid(5), "public", "other"), Relation::Unknown);
    // Dropped since, but the message's name is listed.
    assert_eq!(whitelist.admit_one(Oid(7), "public", "orders", &[]), Learned::Listed);
    // Renamed since: the message still has the listed name.
    let renamed = [plain(8, "public.orders_old")];
    assert_eq!(whitelist.admit_one(Oid(8), "public", "orders", &renamed), Learned::Listed);
}

proptest! {
    /// Nothing is listed that no rule matches by its own name or an ancestor's, and everything
    /// that a rule matches by name is.
    #[test]
    fn listed_is_what_a_rule_matches(
        tables in proptest::collection::vec("s\\.[ab*?]{1,3}", 0..4),
        outboxes in proptest::collection::vec("s\\.[ab*?]{1,3}", 0..2),
        names in proptest::collection::vec(("s\\.[ab]{1,3}", any::<bool>()), 0..8),
        via_root in any::<bool>(),
    ) {
        let mut settings = listing(
            &tables.iter().map(String::as_str).collect::<Vec<_>>(),
            &outboxes.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        settings.postgres.publish_via_partition_root = via_root;
        // The first is the root of those that say so.
        let there: Vec<_> = names.iter().enumerate().map(|(i, (name, child))| {
            let ancestors: &[u32] = if *child && i > 0 { &[0] } else { &[] };
            let kind = if i == 0 { Kind::Partitioned } else { Kind::Table };
            of_kind(i as u32, name, kind, ancestors)
        }).collect();
        let whitelist = Whitelist::build(&settings, &there, None);
        let named = |candidate: &Candidate| {
            let mut rules = settings.tables.iter().map(|rule| &rule.pattern)
                .chain(settings.outboxes.iter().map(|rule| &rule.table));
            rules.any(|rule| rule.matches(&candidate.schema, &candidate.name))
        };
        for candidate in &there {
            let expected = named(candidate)
                || candidate.ancestors.iter().any(|oid| named(&there[oid.0 as usize]));
            let listed = whitelist.entries.get(&candidate.oid);
            prop_assert_eq!(listed.is_some(), expected);
            if let Some(listed) = listed {
                let same = match settings.listing(&candidate.schema, &candidate.name) {
                    Some(Listing::Table(rule)) => settings.tables.iter()
                        .position(|other| std::ptr::eq(rule, other))
                        .map(|rule| Role::Table { rule }),
                    Some(Listing::Outbox(rule)) => settings.outboxes.iter()
                        .position(|other| std::ptr::eq(rule, other))
                        .map(|rule| Role::Outbox { rule }),
                    None => None,
                };
                let own = listed.via.is_none() || (!via_root && same.is_some());
                prop_assert!(!own || same == Some(listed.role));
                let target = whitelist.target(listed);
                prop_assert!(target.root.is_none());
                prop_assert!(via_root || listed.root.is_none());
            }
        }
    }
}

#[test]
fn tables_that_map_to_one_topic_stop() {
    let mut settings = settings();
    settings.tables.push(table("public.*"));
    let candidate = |oid, name: &str| Candidate {
        oid: Oid(oid),
        schema: "public".into(),
        name: name.into(),
        kind: Kind::Table,
        ancestors: Vec::new(),
    };
    let there = [candidate(1, "a b"), candidate(2, "a$b"), candidate(3, "ab")];
    let whitelist = Whitelist::build(&settings, &there, None);
    let error = whitelist.ensure().unwrap_err().to_string();
    assert_eq!(error, "public.a b and public.a$b map to one topic, shop.public.a_b");

    // A table swapped in under a listed name is no such case.
    let before = Whitelist::build(&settings, &there[2..], None);
    let swapped =
        Whitelist::build(&settings, &[candidate(4, "ab"), candidate(3, "old")], Some(&before));
    assert_eq!(swapped.entries.len(), 2);
    assert_eq!(swapped.problems, []);
}
