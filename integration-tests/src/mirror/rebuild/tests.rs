use super::*;
use crate::mirror::Column;

fn row(id: u64, note: &str) -> Row {
    let cells = [("id", id.to_string()), ("note", note.to_owned())];
    cells.map(|(name, text)| (name.to_owned(), Cell::Text(text))).into()
}

fn facts(full: bool, key: &[&str], rows: Vec<Row>) -> Facts {
    let column =
        |name: &str| Column { name: name.to_owned(), expression: name.to_owned(), scale: None };
    Facts {
        table: "public.notes".to_owned(),
        columns: vec![column("id"), column("note")],
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        full,
        rows,
    }
}

fn change(kind: Kind, position: u64, id: u64) -> Change {
    Change {
        partition: 0,
        offset: position as i64,
        key: Some(format!("id={id}")),
        kind,
        position,
        transaction: position as i64,
        before: None,
        after: None,
        moved_to: None,
        moved_from: None,
    }
}

fn create(position: u64, id: u64, note: &str) -> Change {
    Change { after: Some(row(id, note)), ..change(Kind::Create, position, id) }
}

fn update(position: u64, id: u64, note: &str) -> Change {
    Change { after: Some(row(id, note)), ..change(Kind::Update, position, id) }
}

/// Rows 1 and 2, row 2 changed, row 3 made and deleted, row 4 become 5 with its note unsent.
fn story() -> Vec<Change> {
    let mut moved = create(9, 5, "");
    moved.moved_from = Some("id=4".to_owned());
    moved.after.as_mut().unwrap().insert("note".to_owned(), Cell::Unsent);
    let gone = Change { moved_to: Some("id=5".to_owned()), ..change(Kind::Delete, 9, 4) };
    vec![
        create(1, 1, "one"),
        create(2, 2, "two"),
        create(3, 3, "three"),
        create(4, 4, "large"),
        update(5, 2, "zwei"),
        update(6, 2, "due"),
        change(Kind::Delete, 7, 3),
        change(Kind::Tombstone, 0, 3),
        gone,
        change(Kind::Tombstone, 0, 4),
        moved,
    ]
}

fn table() -> Facts {
    facts(false, &["id"], vec![row(1, "one"), row(2, "due"), row(5, "large")])
}

fn committed() -> Counts {
    Counts::from([(Kind::Create, 4), (Kind::Update, 3), (Kind::Delete, 1)])
}

fn faults(alter: impl FnOnce(&mut Vec<Change>)) -> Vec<Fault> {
    let mut changes = story();
    alter(&mut changes);
    check(&table(), &changes, Some(&committed())).faults
}

#[test]
fn a_table_is_rebuilt_from_its_changes() {
    let report = check(&table(), &story(), Some(&committed()));
    report.assert_exact();
    assert_eq!((report.rows, report.changes), (3, 9));
}

#[test]
fn a_replayed_suffix_is_counted_and_is_no_fault() {
    let mut changes = story();
    changes.extend(story().drain(4..));
    let report = check(&table(), &changes, Some(&committed()));
    report.assert_right();
    assert_eq!(report.repeated, 7);
    assert_eq!(report.repeated_transactions.len(), 4);
}

#[test]
fn every_single_dropped_record_is_seen() {
    for at in 0..story().len() {
        assert!(!faults(|changes| drop(changes.remove(at))).is_empty(), "record {at}");
    }
}

#[test]
fn what_is_missing_extra_or_different_is_named() {
    let lost = faults(|changes| drop(changes.remove(0)));
    assert!(lost.contains(&Fault::Missing { key: "id=1".into() }));
    assert!(lost.contains(&Fault::Count { kind: Kind::Create, committed: 4, delivered: 3 }));
    let invented = faults(|changes| changes.push(create(20, 6, "six")));
    assert!(invented.contains(&Fault::Extra { key: "id=6".into() }));
    let altered = faults(|changes| changes[5].after = Some(row(2, "tre")));
    assert_eq!(altered, [Fault::Different { key: "id=2".into(), columns: vec!["note".into()] }]);
}

#[test]
fn swapped_changes_of_a_key_are_seen() {
    let faults = faults(|changes| changes.swap(4, 5));
    let order = |fault: &Fault| matches!(fault, Fault::Order { key, .. } if key == "id=2");
    assert!(faults.iter().any(order), "{faults:?}");
}

#[test]
fn an_old_value_at_the_end_is_seen() {
    let faults = faults(|changes| changes.push(update(5, 2, "zwei")));
    assert!(matches!(faults[..], [Fault::Order { offset: -1, .. }]), "{faults:?}");
}

#[test]
fn a_key_stays_in_its_partition() {
    let faults = faults(|changes| changes[5].partition = 1);
    assert!(matches!(faults[..], [Fault::Order { partition: 1, .. }]), "{faults:?}");
}

#[test]
fn before_is_the_row_as_it_was_under_identity_full() {
    let table = facts(true, &["id"], vec![row(1, "uno")]);
    let with = |note: &str| {
        let second = Change { before: Some(row(1, note)), ..update(2, 1, "uno") };
        check(&table, &[create(1, 1, "one"), second], None)
    };
    with("one").assert_exact();
    assert!(matches!(with("won").faults[..], [Fault::Unfit { .. }]));
}

#[test]
fn a_truncate_empties_the_table_and_nothing_passes_it() {
    let table = facts(false, &["id"], vec![row(2, "two")]);
    let truncate = Change { key: None, ..change(Kind::Truncate, 2, 0) };
    let right = vec![create(1, 1, "one"), truncate, create(3, 2, "two")];
    check(&table, &right, None).assert_exact();
    for (one, other) in [(0, 1), (1, 2)] {
        let mut changes = right.clone();
        changes.swap(one, other);
        let faults = check(&table, &changes, None).faults;
        assert!(faults.iter().any(|fault| matches!(fault, Fault::Order { .. })), "{faults:?}");
    }
}

#[test]
fn rows_without_a_key_are_counted() {
    let table = facts(true, &[], vec![row(1, "one"), row(1, "one")]);
    let keyless = |change: Change| Change { key: None, ..change };
    let mut changes: Vec<Change> =
        (1..=3).map(|position| keyless(create(position, 1, "one"))).collect();
    let tombstone = keyless(change(Kind::Tombstone, 0, 1));
    let before = Some(row(1, "one"));
    changes.extend([Change { before, ..keyless(change(Kind::Delete, 4, 1)) }, tombstone]);
    check(&table, &changes, None).assert_exact();
    changes.push(changes[0].clone());
    assert_eq!(check(&table, &changes, None).repeated, 1);
    changes.truncate(2);
    check(&table, &changes, None).assert_exact();
    assert!(matches!(check(&table, &changes[..1], None).faults[..], [Fault::Missing { .. }]));
    changes.extend([keyless(create(8, 1, "one"))]);
    assert!(matches!(check(&table, &changes, None).faults[..], [Fault::Extra { .. }]));
}
