//! A database with a log, in which commits become visible later than they are written; a pump that
//! follows the log and reads chunks; a consumer who keeps the last value of each key.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::snapshot::visible::PgSnapshot;

/// A row: a version that every write raises, and one of its large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    small: u32,
    large: u32,
}

#[derive(Debug, Clone)]
enum Write {
    Insert(u8),
    /// Also the large value?
    Update(u8, bool),
    Move(u8, u8),
    Delete(u8),
    Truncate,
}

/// What lies in the log.
#[derive(Debug, Clone)]
enum Entry {
    Transaction { xid: u32, writes: Vec<(Write, Row)> },
    Low(u64),
    High(u64),
}

#[derive(Debug, Default)]
struct Database {
    log: Vec<Entry>,
    /// As of the last commit, visible or not.
    table: BTreeMap<u8, Row>,
    next_xid: u32,
    version: u32,
    /// Committed and not visible: their ids and keys.
    invisible: Vec<(u32, BTreeSet<u8>)>,
}

impl Database {
    fn new() -> Database {
        Database { next_xid: 10, ..Database::default() }
    }

    /// A row that an invisible transaction has written is locked until that is over.
    fn is_locked(&self, key: u8) -> bool {
        self.invisible.iter().any(|(_, keys)| keys.contains(&key))
    }

    fn commit(&mut self, writes: &[Write], hidden: bool) {
        let mut done = Vec::new();
        let mut keys = BTreeSet::new();
        for write in writes {
            self.version += 1;
            let small = self.version;
            let touched: Vec<u8> = match write {
                Write::Insert(key) | Write::Update(key, _) | Write::Delete(key) => vec![*key],
                Write::Move(from, to) => vec![*from, *to],
                Write::Truncate => self.table.keys().copied().collect(),
            };
            if touched.iter().any(|key| self.is_locked(*key)) {
                continue;
            }
            let row = match write {
                Write::Insert(key) if !self.table.contains_key(key) => {
                    let row = Row { small, large: small };
                    self.table.insert(*key, row);
                    row
                }
                Write::Update(key, whole) => {
                    let Some(row) = self.table.get_mut(key) else { continue };
                    *row = Row { small, large: if *whole { small } else { row.large } };
                    *row
                }
                Write::Move(from, to) if from != to && !self.table.contains_key(to) => {
                    let Some(row) = self.table.remove(from) else { continue };
                    let row = Row { small, ..row };
                    self.table.insert(*to, row);
                    row
                }
                Write::Delete(key) => match self.table.remove(key) {
                    Some(row) => row,
                    None => continue,
                },
                // It waits for everybody who has the table's lock.
                Write::Truncate if self.invisible.is_empty() && !hidden => {
                    self.table.clear();
                    Row { small, large: 0 }
                }
                _ => continue,
            };
            keys.extend(touched);
            done.push((write.clone(), row));
        }
        let xid = self.next_xid;
        self.next_xid += 1;
        self.log.push(Entry::Transaction { xid, writes: done });
        if hidden {
            self.invisible.push((xid, keys));
        }
    }

    fn seen(&self) -> PgSnapshot {
        let mut in_progress: Vec<u64> =
            self.invisible.iter().map(|(xid, _)| u64::from(*xid)).collect();
        in_progress.sort_unstable();
        let xmax = u64::from(self.next_xid);
        PgSnapshot { xmin: in_progress.first().copied().unwrap_or(xmax), xmax, in_progress }
    }

    /// The table as a new snapshot sees it.
    fn visible(&self) -> BTreeMap<u8, Row> {
        let hidden = |xid: &u32| self.invisible.iter().any(|(other, _)| other == xid);
        let mut table = BTreeMap::new();
        for entry in &self.log {
            let Entry::Transaction { xid, writes } = entry else { continue };
            if hidden(xid) {
                continue;
            }
            for (write, row) in writes {
                match write {
                    Write::Insert(key) | Write::Update(key, _) => {
                        table.insert(*key, *row);
                    }
                    Write::Move(from, to) => {
                        table.remove(from);
                        table.insert(*to, *row);
                    }
                    Write::Delete(key) => {
                        table.remove(key);
                    }
                    Write::Truncate => table.clear(),
                }
            }
        }
        table
    }
}

/// The last value of each key; the large one may be unknown.
#[derive(Debug, Clone, Default)]
struct Consumer {
    rows: BTreeMap<u8, (u32, Option<u32>)>,
    /// Since the last restart: what was delivered last of a key, removals included.
    newest: BTreeMap<u8, u32>,
    /// By version of the row: the large values that were known when it was moved.
    moved: BTreeMap<u32, u32>,
}

impl Consumer {
    /// A consumer who knows the large value of a row takes it along when the row is moved: that is
    /// between him and the stream. Delivered again the move finds other rows in its place.
    fn taken_along(&mut self, from: u8, row: Row) -> Option<u32> {
        let known = self.rows.get(&from).and_then(|known| known.1);
        if known == Some(row.large) {
            self.moved.insert(row.small, row.large);
        }
        self.moved.get(&row.small).copied()
    }

    fn set(&mut self, key: u8, small: u32, large: Option<u32>) {
        self.never_older(key, small);
        let known = self.rows.get(&key).and_then(|row| row.1);
        self.rows.insert(key, (small, large.or(known)));
    }

    fn remove(&mut self, key: u8, small: u32) {
        self.never_older(key, small);
        self.rows.remove(&key);
    }

    fn never_older(&mut self, key: u8, small: u32) {
        let newest = self.newest.entry(key).or_insert(small);
        assert!(small >= *newest, "key {key}: {small} after {newest}");
        *newest = small;
    }
}

/// What a restart finds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Durable {
    state: WindowState,
    position: usize,
}

/// Where the reader stands.
#[derive(Debug)]
enum Reader {
    /// All that was committed before has to become visible.
    Settling(u64),
    Idle,
    Low(Request, u64),
    Read(Chunk, Vec<(u8, Row)>),
    High(Chunk, Vec<(u8, Row)>),
}

struct Pump {
    scan: Scan,
    reader: Reader,
    next: usize,
    durable: Durable,
    /// Where the last chunk's high mark is.
    high: usize,
    /// No position past this before the state is durable.
    limit: Option<usize>,
    next_mark: u64,
}

const LIMIT: usize = 2;

fn key(key: u8) -> Key {
    Key::from_texts(&[key.to_string()])
}

fn number(key: &Key) -> u8 {
    key.texts()[0].parse().unwrap()
}

impl Pump {
    fn start(durable: Durable, database: &Database) -> Pump {
        Pump {
            scan: Scan::resume(&durable.state),
            reader: Reader::Settling(u64::from(database.next_xid)),
            next: durable.position,
            durable,
            high: 0,
            limit: None,
            next_mark: database.log.len() as u64 * 1000,
        }
    }

    /// The reader does its next step.
    fn read(&mut self, database: &mut Database) {
        let reader = std::mem::replace(&mut self.reader, Reader::Idle);
        self.reader = match reader {
            Reader::Settling(xid) if database.seen().is_past(xid) => Reader::Idle,
            Reader::Idle => match self.scan.next_request(9) {
                Some(request) => {
                    self.next_mark += 1;
                    database.log.push(Entry::Low(self.next_mark));
                    Reader::Low(request, self.next_mark)
                }
                None => Reader::Idle,
            },
            Reader::Low(request, id) => {
                let seen = database.seen();
                let visible = database.visible().into_iter();
                let rows: Vec<(u8, Row)> = match &request {
                    Request::After(after) => {
                        let after = after.as_ref().map(number);
                        let behind = |key: u8| after.is_none_or(|after| key > after);
                        visible.filter(|(key, _)| behind(*key)).take(LIMIT).collect()
                    }
                    Request::Keys(keys) => {
                        visible.filter(|(number, _)| keys.contains(&key(*number))).collect()
                    }
                };
                let keys = rows.iter().map(|(number, _)| key(*number)).collect();
                Reader::Read(Chunk { id, seen, keys }, rows)
            }
            Reader::Read(chunk, rows) => {
                database.log.push(Entry::High(chunk.id));
                Reader::High(chunk, rows)
            }
            other => other,
        };
    }

    /// The stream goes on by an entry.
    fn follow(&mut self, database: &Database, consumer: &mut Consumer) {
        let Some(entry) = database.log.get(self.next).cloned() else { return };
        match entry {
            Entry::Transaction { xid, writes } => {
                for (write, row) in writes {
                    self.change(xid, &write, row, consumer);
                }
            }
            Entry::Low(id) => self.scan.low(id),
            Entry::High(id) => self.high(id, database, consumer),
        }
        self.next += 1;
    }

    fn change(&mut self, xid: u32, write: &Write, row: Row, consumer: &mut Consumer) {
        let change = match write {
            Write::Insert(number) => {
                consumer.set(*number, row.small, Some(row.large));
                Change::Set { key: key(*number), partial: false }
            }
            Write::Update(number, whole) => {
                consumer.set(*number, row.small, whole.then_some(row.large));
                Change::Set { key: key(*number), partial: !whole }
            }
            Write::Move(from, to) => {
                let known = consumer.taken_along(*from, row);
                consumer.remove(*from, row.small);
                consumer.set(*to, row.small, known);
                Change::Moved { from: key(*from), to: key(*to), partial: true }
            }
            Write::Delete(number) => {
                consumer.remove(*number, row.small);
                Change::Removed { key: key(*number) }
            }
            Write::Truncate => {
                consumer.rows.clear();
                Change::Truncated
            }
        };
        if self.scan.change(Xid(xid), change) {
            self.limit.get_or_insert(self.next);
        }
    }

    fn high(&mut self, id: u64, database: &Database, consumer: &mut Consumer) {
        let is_mine = matches!(&self.reader, Reader::High(chunk, _) if chunk.id == id);
        let reader = std::mem::replace(&mut self.reader, Reader::Idle);
        let (chunk, rows) = match reader {
            Reader::High(chunk, rows) if is_mine => (chunk, rows),
            other => {
                self.reader = other;
                return;
            }
        };
        match self.scan.high(&chunk, rows.len() < LIMIT, false) {
            Verdict::Again => {}
            Verdict::Lost => self.reader = Reader::Settling(u64::from(database.next_xid)),
            Verdict::Rows(keep) => {
                self.high = self.next;
                for ((number, row), _) in rows.iter().zip(keep).filter(|(_, keep)| *keep) {
                    consumer.set(*number, row.small, Some(row.large));
                }
            }
        }
    }

    /// The state becomes durable.
    fn record(&mut self) {
        self.durable.state = self.scan.state();
        self.limit = None;
    }

    /// What was delivered is acknowledged, and the position becomes durable as far as it may.
    fn confirm(&mut self) {
        self.durable.position = self.limit.map_or(self.next, |limit| self.next.min(limit));
        if self.scan.is_settling() && self.durable.position > self.high {
            self.scan.settled();
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Write>, bool),
    Reveal(usize),
    Read,
    Follow,
    Record,
    Confirm,
    Restart,
}

fn write() -> impl Strategy<Value = Write> {
    let number = 0..5u8;
    prop_oneof![
        4 => number.clone().prop_map(Write::Insert),
        8 => (number.clone(), any::<bool>()).prop_map(|(key, whole)| Write::Update(key, whole)),
        16 => (number.clone(), number.clone()).prop_map(|(from, to)| Write::Move(from, to)),
        3 => number.prop_map(Write::Delete),
        // Rare: it ends the scan.
        1 => Just(Write::Truncate),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::collection::vec(write(), 1..4), any::<bool>())
            .prop_map(|(writes, hidden)| Step::Commit(writes, hidden)),
        3 => (0..4usize).prop_map(Step::Reveal),
        8 => Just(Step::Read),
        8 => Just(Step::Follow),
        2 => Just(Step::Record),
        2 => Just(Step::Confirm),
        1 => Just(Step::Restart),
    ]
}

fn reveal(database: &mut Database, which: usize) {
    if !database.invisible.is_empty() {
        let which = which % database.invisible.len();
        database.invisible.remove(which);
    }
}

fn run(steps: &[Step]) {
    let mut database = Database::new();
    let all: Vec<Write> = (0..5).step_by(2).map(Write::Insert).collect();
    database.commit(&all, false);
    // The stream begins behind what is there already.
    let begin = Durable { position: database.log.len(), ..Durable::default() };
    let mut consumer = Consumer::default();
    let mut pump = Pump::start(begin, &database);
    for step in steps {
        match step {
            Step::Commit(writes, hidden) => database.commit(writes, *hidden),
            Step::Reveal(which) => reveal(&mut database, *which),
            Step::Read => pump.read(&mut database),
            Step::Follow => pump.follow(&database, &mut consumer),
            Step::Record => pump.record(),
            Step::Confirm => pump.confirm(),
            Step::Restart => {
                // What is delivered again may be older than what was delivered before it.
                consumer.newest.clear();
                pump = Pump::start(pump.durable.clone(), &database);
            }
        }
    }
    while !database.invisible.is_empty() {
        reveal(&mut database, 0);
    }
    for _ in 0..1000 {
        pump.read(&mut database);
        pump.follow(&database, &mut consumer);
        pump.record();
        pump.confirm();
    }
    while pump.next < database.log.len() {
        pump.follow(&database, &mut consumer);
    }
    assert!(pump.scan.is_done(), "the scan does not end: {:?}", pump.scan.state());
    let expected: BTreeMap<u8, (u32, Option<u32>)> =
        database.table.iter().map(|(key, row)| (*key, (row.small, Some(row.large)))).collect();
    assert_eq!(consumer.rows, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn consumers_end_with_the_table_and_never_see_an_older_row_again(
        steps in proptest::collection::vec(step(), 0..100),
    ) {
        run(&steps);
    }
}

/// A scan that has met all rows, with one key to be read again.
fn with_one_key() -> Scan {
    let state = WindowState {
        is_through: true,
        reread: vec![vec!["1".to_owned()]],
        ..WindowState::default()
    };
    let mut scan = Scan::resume(&state);
    assert_eq!(scan.next_request(9), Some(Request::Keys(BTreeSet::from([key(1)]))));
    scan.low(1);
    scan
}

fn chunk(keys: &[u8]) -> Chunk {
    Chunk { id: 1, seen: "90:90:".parse().unwrap(), keys: keys.iter().copied().map(key).collect() }
}

fn moved_to_one() -> Change {
    Change::Moved { from: key(5), to: key(1), partial: true }
}

#[test]
fn a_key_that_is_moved_to_again_while_it_is_read_is_read_once_more() {
    let mut scan = with_one_key();
    scan.change(Xid(12), moved_to_one());
    // The reader came before, and found no row.
    assert_eq!(scan.high(&chunk(&[]), true, false), Verdict::Rows(vec![]));
    scan.settled();
    assert_eq!(scan.state().reread, [["1"]]);
    assert!(!scan.is_done());
}

#[test]
fn a_key_that_is_moved_to_before_its_chunk_is_durable_is_read_once_more() {
    let mut scan = with_one_key();
    assert_eq!(scan.high(&chunk(&[1]), true, false), Verdict::Rows(vec![true]));
    scan.change(Xid(12), moved_to_one());
    scan.settled();
    assert_eq!(scan.state().reread, [["1"]]);
    assert_eq!(scan.next_request(9), Some(Request::Keys(BTreeSet::from([key(1)]))));
}

#[test]
fn what_a_chunk_has_achieved_counts_when_it_is_durable() {
    let mut scan = Scan::resume(&WindowState::default());
    assert_eq!(scan.next_request(9), Some(Request::After(None)));
    scan.low(1);
    assert_eq!(scan.high(&chunk(&[3, 4]), false, false), Verdict::Rows(vec![true, true]));
    assert_eq!(scan.state(), WindowState::default());
    assert_eq!(scan.next_request(9), None, "one chunk at a time");
    scan.settled();
    assert_eq!(scan.state().after, Some(vec!["4".to_owned()]));
    assert_eq!(scan.state().rows, 2);
    assert_eq!(scan.next_request(9), Some(Request::After(Some(key(4)))));
}

#[test]
fn a_chunk_that_was_cut_goes_on_behind_its_last_row_and_forgets_no_key() {
    let mut scan = Scan::resume(&WindowState::default());
    scan.next_request(9);
    scan.low(1);
    assert_eq!(scan.high(&chunk(&[3]), false, true), Verdict::Rows(vec![true]));
    scan.settled();
    assert_eq!(scan.next_request(9), Some(Request::After(Some(key(3)))));

    let mut scan = with_one_key();
    assert_eq!(scan.high(&chunk(&[]), false, true), Verdict::Again);
    assert_eq!(scan.state().reread, [["1"]]);
}
