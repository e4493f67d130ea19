//! Messages built by hand, and properties over arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::postgres::{Lsn, Oid, PgTime, Xid};

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn tuple(cells: &[Cell<'_>]) -> Vec<u8> {
    let mut builder = TupleBuilder::default();
    for &cell in cells {
        builder.push(cell);
    }
    builder.wire_bytes()
}

#[test]
fn begin_and_commit() {
    let begin = bytes(&[b"B", &7u64.to_be_bytes(), &9i64.to_be_bytes(), &3u32.to_be_bytes()]);
    assert_eq!(
        Message::parse(&begin),
        Ok(Message::Begin(Begin { commit_lsn: Lsn(7), commit_time: PgTime(9), xid: Xid(3) }))
    );
    let commit = bytes(&[b"C\0", &7u64.to_be_bytes(), &8u64.to_be_bytes(), &9i64.to_be_bytes()]);
    assert_eq!(
        Message::parse(&commit),
        Ok(Message::Commit(Commit { commit_lsn: Lsn(7), end_lsn: Lsn(8), commit_time: PgTime(9) }))
    );
}

#[test]
fn relation_becomes_owned() {
    let message = bytes(&[
        b"R",
        &42u32.to_be_bytes(),
        b"public\0orders\0d",
        &2u16.to_be_bytes(),
        b"\x01id\0",
        &20u32.to_be_bytes(),
        &(-1i32).to_be_bytes(),
        b"\0note\0",
        &1043u32.to_be_bytes(),
        &24i32.to_be_bytes(),
    ]);
    let Ok(Message::Relation(relation)) = Message::parse(&message) else {
        panic!("not a relation")
    };
    let relation = relation.to_relation().unwrap();
    assert_eq!((relation.schema.as_str(), relation.name.as_str()), ("public", "orders"));
    assert_eq!(relation.identity, ReplicaIdentity::Default);
    let columns: Vec<_> =
        relation.columns.iter().map(|c| (c.name.as_str(), c.key, c.type_oid.0, c.typmod)).collect();
    assert_eq!(columns, [("id", true, 20, -1), ("note", false, 1043, 24)]);
}

#[test]
fn rows_keep_every_kind_of_cell() {
    let cells =
        [Cell::Text(b"1"), Cell::Null, Cell::Unchanged, Cell::Binary(b"\0"), Cell::Text(b"")];
    let update =
        bytes(&[b"U", &5u32.to_be_bytes(), b"K", &tuple(&cells[..2]), b"N", &tuple(&cells)]);
    let Ok(Message::Update(update)) = Message::parse(&update) else { panic!("not an update") };
    assert_eq!(update.relation, Oid(5));
    assert_eq!(update.new.iter().collect::<Vec<_>>(), cells);
    assert_eq!(update.new.get(3), Some(Cell::Binary(b"\0")));
    assert_eq!(update.new.get(5), None);
    let OldTuple::Key(old) = update.old else { panic!("no key") };
    assert_eq!(old.len(), 2);
}

#[test]
fn deletes_must_carry_an_old_row() {
    let good = bytes(&[b"D", &5u32.to_be_bytes(), b"O", &tuple(&[Cell::Null])]);
    assert!(matches!(
        Message::parse(&good),
        Ok(Message::Delete(Delete { old: OldTuple::Full(_), .. }))
    ));
    let bad = bytes(&[b"D", &5u32.to_be_bytes(), b"N", &tuple(&[Cell::Null])]);
    assert_eq!(Message::parse(&bad), Err(Error::UnknownTuple(b'N')));
}

#[test]
fn truncate_and_logical() {
    let message =
        bytes(&[b"T", &2u32.to_be_bytes(), &[3], &5u32.to_be_bytes(), &6u32.to_be_bytes()]);
    let Ok(Message::Truncate(truncate)) = Message::parse(&message) else { panic!("no truncate") };
    assert!(truncate.cascade && truncate.restart_identity);
    assert_eq!(truncate.relations().collect::<Vec<_>>(), [Oid(5), Oid(6)]);

    let message = bytes(&[b"M\x01", &9u64.to_be_bytes(), b"shop\0", &3u32.to_be_bytes(), b"abc"]);
    assert_eq!(
        Message::parse(&message),
        Ok(Message::Logical(LogicalMessage {
            transactional: true,
            lsn: Lsn(9),
            prefix: "shop",
            content: b"abc"
        }))
    );
}

#[test]
fn wrong_bytes_are_named() {
    assert_eq!(Message::parse(b""), Err(Error::Truncated));
    assert_eq!(Message::parse(b"Z"), Err(Error::UnknownMessage(b'Z')));
    assert_eq!(Message::parse(b"B\0"), Err(Error::Truncated));
    let long = bytes(&[b"B", &[0; 20], b"x"]);
    assert_eq!(Message::parse(&long), Err(Error::TrailingBytes(1)));
    let negative = bytes(&[b"I", &5u32.to_be_bytes(), b"N\0\x01t", &(-1i32).to_be_bytes()]);
    assert_eq!(Message::parse(&negative), Err(Error::NegativeLength));
    let cell = bytes(&[b"I", &5u32.to_be_bytes(), b"N\0\x01x"]);
    assert_eq!(Message::parse(&cell), Err(Error::UnknownCell(b'x')));
    let huge = bytes(&[b"T", &i32::MAX.to_be_bytes(), &[0; 5]]);
    assert_eq!(Message::parse(&huge), Err(Error::Truncated));
    let identity = bytes(&[b"R", &5u32.to_be_bytes(), b"s\0t\0x\0\0"]);
    assert_eq!(Message::parse(&identity), Err(Error::UnknownIdentity(b'x')));
    let name = bytes(&[b"O", &5u64.to_be_bytes(), b"\xff\0"]);
    assert_eq!(Message::parse(&name), Err(Error::InvalidUtf8));
}

#[derive(Debug, Clone)]
enum OwnedCell {
    Null,
    Unchanged,
    Text(Vec<u8>),
}

fn cells() -> impl Strategy<Value = Vec<OwnedCell>> {
    let cell = prop_oneof![
        Just(OwnedCell::Null),
        Just(OwnedCell::Unchanged),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(OwnedCell::Text),
    ];
    proptest::collection::vec(cell, 0..30)
}

proptest! {
    /// Whatever arrives is parsed or refused.
    #[test]
    fn arbitrary_bytes_never_panic(
        tag in prop::sample::select(&b"BCORYIUDTMSEAcp"[..]),
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let message = bytes(&[&[tag], &rest]);
        match Message::parse(&message) {
            Ok(Message::Relation(relation)) => { relation.to_relation().unwrap(); }
            Ok(Message::Insert(insert)) => {
                prop_assert_eq!(insert.new.iter().count(), insert.new.len());
            }
            _ => {}
        }
    }

    /// A row reads back as it was written, and no prefix of it is taken for a row.
    #[test]
    fn tuples_round_trip_and_prefixes_are_refused(cells in cells(), cut in any::<prop::sample::Index>()) {
        let mut builder = TupleBuilder::default();
        for cell in &cells {
            builder.push(match cell {
                OwnedCell::Null => Cell::Null,
                OwnedCell::Unchanged => Cell::Unchanged,
                OwnedCell::Text(text) => Cell::Text(text),
            });
        }
        let message = bytes(&[b"I", &1u32.to_be_bytes(), b"N", &builder.wire_bytes()]);
        let Ok(Message::Insert(insert)) = Message::parse(&message) else {
            return Err(TestCaseError::fail("refused"));
        };
        prop_assert_eq!(insert.new, builder.tuple());
        prop_assert_eq!(insert.new.iter().count(), cells.len());
        let end = cut.index(message.len());
        prop_assert!(Message::parse(&message[..end]).is_err());
    }
}
