use proptest::prelude::*;

use super::*;
use crate::failure::{Class, Failure};
use crate::postgres::query::qualified;

fn desired() -> Desired {
    Desired { main: "p".into(), inserts: "p_inserts".into(), via_root: true, unmatched: Vec::new() }
}

fn wanted(oid: u32, name: &str) -> Wanted {
    Wanted {
        oid: Oid(oid),
        schema: "public".into(),
        name: name.into(),
        owner: "shop_owner".into(),
        owned: true,
        partitioned: false,
        inserts_only: false,
        lineage: vec![(Oid(oid), "public".into())],
        unidentified: Vec::new(),
    }
}

fn inserts_only(oid: u32, name: &str) -> Wanted {
    Wanted { inserts_only: true, ..wanted(oid, name) }
}

fn keyless(oid: u32, name: &str) -> Wanted {
    Wanted { unidentified: vec![qualified("public", name)], ..wanted(oid, name) }
}

fn member(oid: u32, name: &str) -> Member {
    Member {
        oid: Oid(oid),
        schema: "public".into(),
        name: name.into(),
        narrowed: false,
        ancestors: Vec::new(),
    }
}

fn existing(name: &str, operations: Operations, members: Vec<Member>) -> Existing {
    Existing {
        oid: Oid(1),
        name: name.into(),
        owner: "shop_owner".into(),
        owned: true,
        all_tables: false,
        schemas: Vec::new(),
        operations,
        via_root: true,
        members,
    }
}

fn state(tables: Vec<Wanted>, publications: Vec<Existing>) -> State {
    State {
        database: "shop".into(),
        user: "walferry".into(),
        may_create: true,
        in_recovery: false,
        read_only: None,
        publications,
        tables,
    }
}

fn both(main: Vec<Member>, inserts: Vec<Member>) -> Vec<Existing> {
    vec![existing("p", Operations::ALL, main), existing("p_inserts", Operations::INSERT, inserts)]
}

#[test]
fn both_publications_are_made_at_the_first_start() {
    let plan = plan(&desired(), &state(vec![wanted(1, "a"), inserts_only(2, "outbox")], vec![]));
    assert_eq!(
        plan.statements,
        [
            "CREATE PUBLICATION \"p\" FOR TABLE ONLY \"public\".\"a\" WITH (publish = 'insert, \
             update, delete, truncate', publish_via_partition_root = true)",
            "CREATE PUBLICATION \"p_inserts\" FOR TABLE ONLY \"public\".\"outbox\" WITH (publish \
             = 'insert', publish_via_partition_root = true)",
        ]
    );
    assert!(plan.refusals.is_empty() && plan.missing.is_empty());
}

#[test]
fn an_empty_publication_is_made_too() {
    let plan = plan(&desired(), &state(vec![], vec![]));
    assert_eq!(plan.statements.len(), 2);
    assert!(plan.statements.iter().all(|sql| !sql.contains("FOR TABLE")), "{plan:?}");
}

#[test]
fn what_is_in_step_is_left_alone() {
    let tables = vec![wanted(1, "a"), inserts_only(2, "outbox")];
    let there = both(vec![member(1, "a")], vec![member(2, "outbox")]);
    assert_eq!(plan(&desired(), &state(tables, there)), Plan::default());
}

#[test]
fn only_the_difference_is_changed() {
    let tables = vec![wanted(1, "a"), wanted(3, "new"), inserts_only(2, "b")];
    let mut there = both(vec![member(1, "a"), member(2, "b"), member(9, "old")], vec![]);
    there[0].operations.truncate = false;
    there[1].via_root = false;
    let plan = plan(&desired(), &state(tables, there));
    assert_eq!(
        plan.statements,
        [
            "ALTER PUBLICATION \"p\" SET (publish = 'insert, update, delete, truncate')",
            "ALTER PUBLICATION \"p\" DROP TABLE ONLY \"public\".\"b\", ONLY \"public\".\"old\"",
            "ALTER PUBLICATION \"p\" ADD TABLE ONLY \"public\".\"new\"",
            "ALTER PUBLICATION \"p_inserts\" SET (publish_via_partition_root = true)",
            "ALTER PUBLICATION \"p_inserts\" ADD TABLE ONLY \"public\".\"b\"",
        ]
    );
    assert_eq!(plan.changes.len(), plan.statements.len());
}

#[test]
fn a_table_without_identity_is_refused_with_both_remedies() {
    let plan = plan(&desired(), &state(vec![wanted(1, "a"), keyless(2, "log")], vec![]));
    let [refusal] = &plan.refusals[..] else { panic!("{plan:?}") };
    assert!(plan.statements.iter().all(|sql| !sql.contains("log")));
    let remedy = refusal.remedy();
    assert!(remedy.contains("ALTER TABLE \"public\".\"log\" REPLICA IDENTITY FULL;"), "{remedy}");
    assert!(remedy.contains("inserts_only = true"), "{remedy}");
}

#[test]
fn a_table_without_identity_may_send_inserts() {
    let table = Wanted { inserts_only: true, ..keyless(2, "log") };
    let plan = plan(&desired(), &state(vec![table], vec![]));
    assert!(plan.refusals.is_empty());
    assert!(plan.statements[1].contains("\"log\"") && !plan.statements[0].contains("\"log\""));
}

#[test]
fn a_member_that_may_be_a_renamed_table_stops() {
    let mut desired = desired();
    desired.unmatched = vec!["public.orders".into()];
    let there = both(vec![member(1, "orders_v2")], vec![]);
    let plan = plan(&desired, &state(vec![], there));
    let [refusal @ Refusal::Renamed { .. }] = &plan.refusals[..] else { panic!("{plan:?}") };
    assert!(refusal.to_string().contains("public.orders_v2"));
    let remedy = refusal.remedy();
    let sql = "ALTER PUBLICATION \"p\" DROP TABLE ONLY \"public\".\"orders_v2\";";
    assert!(remedy.contains("public.orders renamed") && remedy.contains(sql), "{remedy}");
}

#[test]
fn a_partition_covered_through_its_root_is_no_rename() {
    let mut desired = desired();
    desired.unmatched = vec!["public.x".into()];
    let leaf = Member { ancestors: vec![Oid(1)], ..member(2, "events_1") };
    let there = both(vec![member(1, "events"), leaf], vec![]);
    let plan = plan(&desired, &state(vec![wanted(1, "events")], there));
    assert!(plan.refusals.is_empty(), "{plan:?}");
    assert!(plan.statements[0].contains("DROP TABLE ONLY \"public\".\"events_1\""));
}

#[test]
fn a_publication_for_all_tables_or_schemas_is_not_taken_over() {
    for change in [
        &(|e: &mut Existing| e.all_tables = true) as &dyn Fn(&mut Existing),
        &|e: &mut Existing| e.schemas = vec!["public".into()],
    ] {
        let mut there = both(vec![], vec![]);
        change(&mut there[0]);
        let plan = plan(&desired(), &state(vec![wanted(1, "a")], there));
        assert!(matches!(plan.refusals[..], [Refusal::Foreign { .. }]), "{plan:?}");
    }
}

#[test]
fn each_missing_privilege_has_its_grant() {
    let mut tables = vec![wanted(1, "a")];
    tables[0].owned = false;
    let mut state = state(tables, vec![]);
    state.may_create = false;
    let grants = |plan: Plan| plan.missing.into_iter().map(|m| m.grant).collect::<Vec<_>>();
    let owner = "GRANT \"shop_owner\" TO \"walferry\"";
    let create = "GRANT CREATE ON DATABASE \"shop\" TO \"walferry\"";
    assert_eq!(grants(plan(&desired(), &state)), [create, owner]);

    state.publications = both(vec![], vec![]);
    state.publications[0].owned = false;
    assert_eq!(grants(plan(&desired(), &state)), [owner, owner]);

    // Nothing to change needs nothing.
    state.publications[0].members = vec![member(1, "a")];
    assert_eq!(grants(plan(&desired(), &state)), [""; 0]);
}

#[test]
fn verifying_accepts_whatever_covers_the_tables() {
    let tables = vec![wanted(1, "a"), inserts_only(2, "outbox")];
    let all = Existing { all_tables: true, ..existing("p", Operations::ALL, vec![]) };
    assert_eq!(verify(&desired(), &state(tables.clone(), vec![all])), Plan::default());

    let schema =
        Existing { schemas: vec!["public".into()], ..existing("p", Operations::ALL, vec![]) };
    assert_eq!(verify(&desired(), &state(tables.clone(), vec![schema])), Plan::default());

    let there = both(vec![member(1, "a")], vec![member(2, "outbox")]);
    assert_eq!(verify(&desired(), &state(tables, there)), Plan::default());

    let leaf = Wanted {
        lineage: vec![(Oid(3), "public".into()), (Oid(1), "other".into())],
        ..wanted(3, "leaf")
    };
    let root = vec![existing("p", Operations::ALL, vec![member(1, "root")])];
    assert_eq!(verify(&desired(), &state(vec![leaf], root)), Plan::default());
}

#[test]
fn verifying_prints_the_sql_that_is_needed() {
    let tables = vec![wanted(1, "a"), inserts_only(2, "outbox")];
    let nothing = verify(&desired(), &state(tables.clone(), vec![]));
    assert_eq!(nothing.statements.len(), 2);

    let narrow = vec![existing("p", Operations::INSERT, vec![member(1, "a"), member(2, "outbox")])];
    assert_eq!(
        verify(&desired(), &state(tables, narrow)).statements,
        ["ALTER PUBLICATION \"p\" SET (publish = 'insert, update, delete, truncate')"]
    );

    let root = Wanted { partitioned: true, ..wanted(1, "events") };
    let leaves =
        Existing { via_root: false, ..existing("p", Operations::ALL, vec![member(1, "x")]) };
    assert_eq!(
        verify(&desired(), &state(vec![root], vec![leaves])).statements,
        ["ALTER PUBLICATION \"p\" SET (publish_via_partition_root = true)"]
    );
}

#[test]
fn what_a_publication_leaves_out_is_said() {
    let narrowed = Member { narrowed: true, ..member(1, "a") };
    let state = state(vec![wanted(1, "a")], both(vec![narrowed], vec![]));
    for plan in [plan(&desired(), &state), verify(&desired(), &state)] {
        assert!(plan.statements.is_empty());
        assert!(matches!(&plan.notices[..], [notice] if notice.contains("row filter")));
    }
}

#[test]
fn the_failure_prints_the_sql() {
    let missing = Missing { what: "x".into(), grant: "GRANT x TO y".into() };
    let error = Error::Privileges { missing: vec![missing], statements: vec!["CREATE z".into()] };
    let failure = Failure::from(error);
    assert_eq!(failure.class, crate::failure::Class::Stop);
    let remedy = failure.remedy.unwrap();
    assert!(remedy.contains("GRANT x TO y;") && remedy.contains("CREATE z;"), "{remedy}");
}

/// Carries out the membership part of a plan on the state, as the server would.
fn apply(state: &mut State, plan: &Plan) {
    let all = state.tables.clone();
    for statement in &plan.statements {
        let tables = || {
            all.iter()
                .filter(|t| statement.contains(&qualified(&t.schema, &t.name)))
                .map(|t| member(t.oid.0, &t.name))
        };
        let name = statement.split('"').nth(1).unwrap().to_owned();
        let at = state.publications.iter().position(|p| p.name == name);
        let operations =
            if name.ends_with("_inserts") { Operations::INSERT } else { Operations::ALL };
        match at {
            None => state.publications.push(existing(&name, operations, tables().collect())),
            Some(at) => {
                let publication = &mut state.publications[at];
                if statement.contains(" ADD TABLE ") {
                    publication.members.extend(tables());
                } else if statement.contains(" DROP TABLE ") {
                    let sql = |m: &Member| qualified(&m.schema, &m.name);
                    publication.members.retain(|m| !statement.contains(&sql(m)));
                } else {
                    publication.operations = operations;
                    publication.via_root = true;
                }
            }
        }
    }
}

proptest! {
    /// From any state, one plan reaches the whitelist and the next one has nothing to do; a
    /// table without identity never enters the publication that publishes updates.
    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_do(
        tables in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..6),
        there in proptest::collection::vec((0_u32..9, any::<bool>()), 0..9),
        made in any::<bool>(),
        options in any::<bool>(),
    ) {
        let tables: Vec<_> = tables.iter().enumerate().map(|(i, (inserts, keyless))| {
            let name = format!("t{i}");
            let unidentified =
                if *keyless { vec![qualified("public", &name)] } else { Vec::new() };
            Wanted { inserts_only: *inserts, unidentified, ..wanted(i as u32, &name) }
        }).collect();
        let mut publications = both(vec![], vec![]);
        for (oid, main) in there {
            let members = &mut publications[usize::from(!main)].members;
            if !members.iter().any(|m| m.oid == Oid(oid)) {
                members.push(member(oid, &format!("t{oid}")));
            }
        }
        if options {
            publications[0].operations.delete = false;
            publications[1].via_root = false;
        }
        let mut state = state(tables, if made { publications } else { Vec::new() });
        let first = plan(&desired(), &state);
        let unusable = state.tables.iter().filter(|t| !t.inserts_only && !t.unidentified.is_empty());
        prop_assert_eq!(first.refusals.len(), unusable.count());
        for table in state.tables.iter().filter(|t| !t.unidentified.is_empty()) {
            let sql = qualified(&table.schema, &table.name);
            let adds = |s: &&String| s.starts_with("CREATE") || s.contains(" ADD TABLE ");
            prop_assert!(first.statements.iter().filter(adds)
                .all(|s| !s.contains(&sql) || s.contains("\"p_inserts\"")));
        }
        if first.refusals.is_empty() {
            // Members that are not listed at all are known to the state by name only.
            apply(&mut state, &first);
            prop_assert_eq!(plan(&desired(), &state).statements, Vec::<String>::new());
        }
    }
}

#[test]
fn a_read_only_session_is_waited_out_only_where_the_server_is() {
    let error = |whose| Error::ReadOnly {
        whose,
        exception: exception(&state(Vec::new(), Vec::new())),
        statements: vec!["CREATE PUBLICATION p".to_owned()],
    };
    let ours = Failure::from(error(ReadOnly::Ours));
    assert_eq!(ours.class, Class::Stop);
    let remedy = ours.remedy.unwrap();
    assert!(remedy.contains(r#"ALTER ROLE "walferry" IN DATABASE "shop" SET"#), "{remedy}");
    assert_eq!(Failure::from(error(ReadOnly::Servers)).class, Class::Retry);
}
