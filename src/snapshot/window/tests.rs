use super::*;

fn key(number: u32) -> Key {
    Key::from_texts(&[number.to_string()])
}

fn seen(text: &str) -> PgSnapshot {
    text.parse().unwrap()
}

#[test]
fn a_chunk_that_does_not_see_what_was_streamed_is_read_again() {
    let mut window = Window::settled();
    window.change(Xid(12), Change::Set { key: key(1), partial: false });
    window.low(1);
    let chunk = |seen| Chunk { id: 1, seen, keys: vec![key(1)] };
    assert_eq!(window.high(&chunk(seen("12:20:12"))), Outcome::Again);
    window.low(1);
    let rows = Outcome::Rows { keep: vec![true], reread: vec![] };
    assert_eq!(window.high(&chunk(seen("20:20:"))), rows);
    assert_eq!(window.unseen(), 0);
}

#[test]
fn what_the_stream_has_changed_meanwhile_is_left_out() {
    let mut window = Window::settled();
    window.low(1);
    window.change(Xid(12), Change::Set { key: key(1), partial: true });
    window.change(Xid(12), Change::Set { key: key(2), partial: false });
    window.change(Xid(12), Change::Removed { key: key(3) });
    let keys = (1..5).map(key).collect();
    let outcome = window.high(&Chunk { id: 1, seen: seen("20:20:"), keys });
    let keep = vec![false, false, false, true];
    assert_eq!(outcome, Outcome::Rows { keep, reread: vec![key(1)] });
}

#[test]
fn marks_of_another_run_are_no_window() {
    let mut window = Window::settled();
    window.low(7);
    let chunk = Chunk { id: 1, seen: seen("20:20:"), keys: vec![] };
    assert_eq!(window.high(&chunk), Outcome::Again);
}

#[test]
fn memory_is_bounded_by_reading_again() {
    let mut window = Window::settled();
    window.low(1);
    for number in 0..=MOST as u32 {
        window.change(Xid(12), Change::Set { key: key(number), partial: false });
    }
    let chunk = |id| Chunk { id, seen: seen("20:20:"), keys: vec![key(1)] };
    assert_eq!(window.high(&chunk(1)), Outcome::Again);
    window.low(2);
    for xid in 0..=MOST as u32 {
        window.change(Xid(100 + xid), Change::Removed { key: key(1) });
    }
    assert_eq!(window.high(&chunk(2)), Outcome::Lost);
}
