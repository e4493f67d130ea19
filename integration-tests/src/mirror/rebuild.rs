//! A table from the changes in its topic, against the table.

use super::order::{Arrival, History, Step};
use super::{Cell, Counts, Facts, Fault, Report, Row};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a record says happened. Deletes come before creates where both are of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Truncate,
    Delete,
    Tombstone,
    Update,
    Create,
}

/// A record of a table's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub partition: i32,
    pub offset: i64,
    /// `None` for a table without a key, and for truncates.
    pub key: Option<String>,
    pub kind: Kind,
    /// `source.lsn`; of a tombstone it is that of its delete.
    pub position: u64,
    pub transaction: i64,
    pub before: Option<Row>,
    pub after: Option<Row>,
    /// The new key, of a delete that is one half of an update.
    pub moved_to: Option<String>,
    /// The old key, of the other half.
    pub moved_from: Option<String>,
}

impl Change {
    fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.before, &self.after, &self.moved_to, &self.moved_from).hash(&mut hasher);
        hasher.finish()
    }

    fn unfit(&self, why: &'static str) -> Fault {
        let key = self.key.clone().unwrap_or_default();
        Fault::Unfit { key, partition: self.partition, offset: self.offset, why }
    }

    fn disordered(&self, why: &'static str) -> Fault {
        let key = self.key.clone().unwrap_or_default();
        Fault::Order { key, partition: self.partition, offset: self.offset, why }
    }
}

/// Compares the records of a topic, given partition by partition, with a table and with the number
/// of changes that were committed.
pub fn check(facts: &Facts, changes: &[Change], committed: Option<&Counts>) -> Report {
    let mut report = Report::new(&facts.table);
    report.rows = facts.rows.len();
    let mut distinct = distinct(facts, changes, &mut report);
    report.changes = distinct.len() as u64;
    if let Some(committed) = committed {
        count(&distinct, committed, &mut report);
    }
    distinct.sort_by_key(|change| (change.position, change.kind));
    match facts.key.is_empty() {
        true => compare_multisets(facts, &distinct, &mut report),
        false => compare_rows(facts, &distinct, &mut report),
    }
    report
}

/// What is known of a key while its records go by.
struct Arrivals {
    partition: i32,
    history: History<Kind>,
    /// Position and transaction of a delete that waits for its tombstone.
    deleted: Option<(u64, i64)>,
    /// The same of the last delete.
    last_delete: (u64, i64),
}

/// The changes without repeats and tombstones; faults of order on the way.
fn distinct<'a>(facts: &Facts, changes: &'a [Change], report: &mut Report) -> Vec<&'a Change> {
    let mut keys: HashMap<&str, Arrivals> = HashMap::new();
    let mut keyless = HashSet::new();
    let mut distinct = Vec::new();
    for change in changes {
        let step = match &change.key {
            Some(key) => arrive(key, change, &mut keys, report),
            // A keyless row's delete has its tombstone too, but nothing to find it by.
            None if change.kind == Kind::Tombstone => continue,
            None if keyless.insert((change.position, change.kind, change.content())) => Step::New,
            None => Step::Repeat,
        };
        if let Step::Wrong { why, .. } = step {
            report.faults.push(change.disordered(why));
        }
        match (step.is_repeat(), change.kind) {
            (true, kind) => {
                report.repeated += 1;
                if kind != Kind::Tombstone {
                    report.repeated_transactions.insert(change.transaction);
                }
            }
            (false, Kind::Tombstone) => {}
            (false, _) => distinct.push(change),
        }
    }
    for (key, arrivals) in keys {
        let mut fault = |why| {
            let (key, partition) = (key.to_owned(), arrivals.partition);
            report.faults.push(Fault::Order { key, partition, offset: -1, why });
        };
        if arrivals.deleted.is_some() {
            fault("a delete without a tombstone");
        }
        if !arrivals.history.complete() {
            fault("a replay did not reach its end");
        }
    }
    check_truncates(facts, changes, report);
    distinct
}

fn arrive<'a>(
    key: &'a str,
    change: &Change,
    keys: &mut HashMap<&'a str, Arrivals>,
    report: &mut Report,
) -> Step {
    let arrivals = keys.entry(key).or_insert_with(|| Arrivals {
        partition: change.partition,
        history: History::default(),
        deleted: None,
        last_delete: (0, 0),
    });
    if arrivals.partition != change.partition {
        report.faults.push(change.disordered("another partition than before"));
    }
    let waiting = arrivals.deleted.take();
    let position = match change.kind {
        Kind::Tombstone => {
            if waiting.is_none() {
                report.faults.push(change.disordered("a tombstone without a delete"));
            }
            arrivals.last_delete.0
        }
        _ => change.position,
    };
    let arrival = Arrival { position, kind: change.kind, content: change.content() };
    let step = arrivals.history.step(arrival);
    // A crash between the two repeats the delete, or what came before it.
    if waiting.is_some() && change.kind != Kind::Tombstone && !step.is_repeat() {
        report.faults.push(change.disordered("a delete without a tombstone"));
    }
    if change.kind == Kind::Delete {
        arrivals.last_delete = (change.position, change.transaction);
        arrivals.deleted = Some(arrivals.last_delete);
    }
    step
}

/// Within a partition no change may pass a truncate. A repeat may: it is in its key's order.
fn check_truncates(facts: &Facts, changes: &[Change], report: &mut Report) {
    let mut latest: HashMap<i32, (u64, u64)> = HashMap::new();
    let mut seen = HashSet::new();
    for change in changes.iter().filter(|change| change.kind != Kind::Tombstone) {
        if facts.key.is_empty() || !seen.insert((&change.key, change.position, change.kind)) {
            continue;
        }
        let (any, truncate) = latest.entry(change.partition).or_default();
        let passed = match change.kind {
            Kind::Truncate => *any > change.position,
            _ => *truncate > change.position,
        };
        if passed {
            report.faults.push(change.disordered("on the wrong side of a truncate"));
        }
        *any = change.position.max(*any);
        if change.kind == Kind::Truncate {
            *truncate = change.position.max(*truncate);
        }
    }
}

/// An update of the key is one update, whatever records it became.
fn count(distinct: &[&Change], committed: &Counts, report: &mut Report) {
    let mut delivered = Counts::new();
    for change in distinct {
        let kind = match change.kind {
            Kind::Delete if change.moved_to.is_some() => continue,
            Kind::Create if change.moved_from.is_some() => Kind::Update,
            kind => kind,
        };
        *delivered.entry(kind).or_default() += 1;
    }
    for kind in [Kind::Create, Kind::Update, Kind::Delete, Kind::Truncate] {
        let of = |counts: &Counts| counts.get(&kind).copied().unwrap_or_default();
        let (committed, delivered) = (of(committed), of(&delivered));
        if committed != delivered {
            report.faults.push(Fault::Count { kind, committed, delivered });
        }
    }
}

/// A table under construction.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<String, Row>,
    /// Rows between the halves of an update of their key, by position and old key.
    moving: HashMap<(u64, String), Row>,
}

impl Rows {
    fn apply(&mut self, facts: &Facts, change: &Change) -> Result<(), &'static str> {
        if change.kind == Kind::Truncate {
            self.rows.clear();
            return Ok(());
        }
        let key = change.key.clone().ok_or("a record without a key")?;
        let former = match change.kind {
            Kind::Create => {
                let from = change.moved_from.clone();
                from.and_then(|old| self.moving.remove(&(change.position, old)))
            }
            _ => Some(self.rows.remove(&key).ok_or("a change of a row that is not there")?),
        };
        let fits = match (&change.before, &former) {
            _ if !facts.full || change.kind == Kind::Create => Ok(()),
            (Some(before), Some(former)) if before == former => Ok(()),
            _ => Err("before is not the row as it was"),
        };
        match change.kind {
            Kind::Delete => {
                if let (Some(row), Some(_)) = (former, &change.moved_to) {
                    self.moving.insert((change.position, key), row);
                }
            }
            _ => {
                let after = change.after.as_ref().ok_or("no after")?;
                let row = fill(after, former.as_ref())?;
                if facts.key_of(&row).as_ref() != Some(&key) {
                    return Err("the key is not that of the row");
                }
                if self.rows.insert(key, row).is_some() {
                    return Err("created where a row was already");
                }
            }
        }
        fits
    }
}

/// The row with what was not sent taken from the former one.
fn fill(after: &Row, former: Option<&Row>) -> Result<Row, &'static str> {
    let mut row = after.clone();
    for (name, cell) in &mut row {
        if *cell == Cell::Unsent {
            let old = former.and_then(|former| former.get(name));
            *cell = old.ok_or("an unsent value without a former one")?.clone();
        }
    }
    Ok(row)
}

fn compare_rows(facts: &Facts, distinct: &[&Change], report: &mut Report) {
    let mut rebuilt = Rows::default();
    for change in distinct {
        if let Err(why) = rebuilt.apply(facts, change) {
            report.faults.push(change.unfit(why));
        }
    }
    let mut rebuilt = rebuilt.rows;
    for row in &facts.rows {
        let key = facts.key_of(row).unwrap_or_default();
        let Some(copy) = rebuilt.remove(&key) else {
            report.faults.push(Fault::Missing { key });
            continue;
        };
        let names: HashSet<&String> = row.keys().chain(copy.keys()).collect();
        let mut columns: Vec<String> =
            names.into_iter().filter(|name| row.get(*name) != copy.get(*name)).cloned().collect();
        if !columns.is_empty() {
            columns.sort();
            report.faults.push(Fault::Different { key, columns });
        }
    }
    report.faults.extend(rebuilt.into_keys().map(|key| Fault::Extra { key }));
}

/// Rows without a key can be the same: they are counted. Order does not matter to the sums.
fn compare_multisets(facts: &Facts, distinct: &[&Change], report: &mut Report) {
    let mut sums: BTreeMap<&Row, i64> = BTreeMap::new();
    for change in distinct {
        if let Some(before) = &change.before {
            *sums.entry(before).or_default() -= 1;
        }
        if let Some(after) = &change.after {
            *sums.entry(after).or_default() += 1;
        }
    }
    for row in &facts.rows {
        *sums.entry(row).or_default() -= 1;
    }
    for (row, sum) in sums {
        let key = format!("{row:?}");
        match sum {
            0 => {}
            1.. => report.faults.push(Fault::Extra { key }),
            _ => report.faults.push(Fault::Missing { key }),
        }
    }
}

#[cfg(test)]
mod tests;
