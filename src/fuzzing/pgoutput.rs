//! Messages of the output plugin.

use crate::pgoutput::{Error, Message, OldTuple, Tuple, TupleBuilder};

/// `data` is one message.
///
/// Whatever is accepted can be walked to its end and written again, and ends where the message ends:
/// neither a part of it nor more than it is accepted.
pub fn pgoutput(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    for end in [0, data.len() / 2, data.len() - 1] {
        let part = data.get(..end).unwrap_or_default();
        assert!(Message::parse(part).is_err(), "the first {end} bytes are a message");
    }
    let longer = [data, b"x"].concat();
    assert_eq!(Message::parse(&longer), Err(Error::TrailingBytes(1)));
    match message {
        Message::Relation(relation) => {
            let owned = relation.to_relation().expect("a checked relation");
            assert_eq!(owned.oid, relation.oid);
        }
        Message::Insert(insert) => row(&insert.new),
        Message::Update(update) => {
            row(&update.new);
            old_row(&update.old);
        }
        Message::Delete(delete) => {
            assert_ne!(delete.old, OldTuple::None);
            old_row(&delete.old);
        }
        Message::Truncate(truncate) => {
            assert!(truncate.relations().count() * 4 < data.len());
        }
        Message::Begin(_)
        | Message::Commit(_)
        | Message::Origin(_)
        | Message::Type(_)
        | Message::Logical(_) => {}
    }
}

fn old_row(old: &OldTuple<'_>) {
    match old {
        OldTuple::None => {}
        OldTuple::Key(tuple) | OldTuple::Full(tuple) => row(tuple),
    }
}

fn row(tuple: &Tuple<'_>) {
    let mut again = TupleBuilder::default();
    for cell in tuple.iter() {
        again.push(cell);
    }
    assert_eq!(again.tuple(), *tuple);
    assert_eq!(tuple.get(tuple.len()), None);
    if let Some(last) = tuple.len().checked_sub(1) {
        assert_eq!(tuple.get(last), tuple.iter().last());
    }
}
