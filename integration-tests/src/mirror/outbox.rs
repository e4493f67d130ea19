//! Outbox events against what was committed: each there, in order per aggregate.

use super::order::{Arrival, History, Step};
use super::{Fault, Report};
use std::collections::{HashMap, HashSet};

/// An event that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    pub id: String,
    pub aggregate: String,
    /// The place among the events of the aggregate.
    pub number: u64,
}

/// An event as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    pub offset: i64,
    pub id: String,
    pub aggregate: String,
    /// `None` if the payload could not be read.
    pub number: Option<u64>,
}

/// Compares the events of one topic, given partition by partition.
pub fn check(promised: &[Promised], delivered: &[Delivered]) -> Report {
    let mut report = Report::new("outbox");
    report.rows = promised.len();
    let known: HashMap<&str, &Promised> = promised.iter().map(|e| (&*e.id, e)).collect();
    let mut histories: HashMap<&str, (i32, History<()>)> = HashMap::new();
    let mut seen = HashSet::new();
    for event in delivered {
        let Delivered { partition, offset, .. } = *event;
        if seen.insert(&*event.id) {
            report.changes += 1;
        }
        match known.get(&*event.id) {
            None => report.faults.push(Fault::Extra { key: event.id.clone() }),
            Some(promise) => {
                let same =
                    (&promise.aggregate, Some(promise.number)) == (&event.aggregate, event.number);
                if !same {
                    let columns = vec!["aggregate or number".to_owned()];
                    report.faults.push(Fault::Different { key: event.id.clone(), columns });
                }
            }
        }
        let (home, history) =
            histories.entry(&event.aggregate).or_insert((partition, History::default()));
        let arrival = Arrival {
            position: event.number.unwrap_or_default(),
            kind: (),
            content: digest(&event.id),
        };
        let step = match history.step(arrival) {
            step if *home == partition => step,
            step => Step::Wrong { repeat: step.is_repeat(), why: "another partition than before" },
        };
        report.repeated += u64::from(step.is_repeat());
        if let Step::Wrong { why, .. } = step {
            report.faults.push(Fault::Order {
                key: event.aggregate.clone(),
                partition,
                offset,
                why,
            });
        }
    }
    for (aggregate, (partition, history)) in histories {
        if !history.complete() {
            let why = "a replay did not reach its end";
            report.faults.push(Fault::Order {
                key: aggregate.to_owned(),
                partition,
                offset: -1,
                why,
            });
        }
    }
    let missing = promised.iter().filter(|event| !seen.contains(&*event.id));
    report.faults.extend(missing.map(|event| Fault::Missing { key: event.id.clone() }));
    report
}

fn digest(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised() -> Vec<Promised> {
        let event = |aggregate: &str, number| Promised {
            id: format!("{aggregate}{number}"),
            aggregate: aggregate.to_owned(),
            number,
        };
        vec![event("a", 1), event("a", 2), event("b", 1), event("a", 3)]
    }

    fn delivered() -> Vec<Delivered> {
        let event = |(offset, event): (usize, Promised)| Delivered {
            partition: 0,
            offset: offset as i64,
            id: event.id,
            aggregate: event.aggregate,
            number: Some(event.number),
        };
        promised().into_iter().enumerate().map(event).collect()
    }

    #[test]
    fn what_was_promised_is_right_also_when_it_comes_again() {
        check(&promised(), &delivered()).assert_exact();
        let mut twice = delivered();
        twice.extend(delivered().drain(1..));
        let report = check(&promised(), &twice);
        report.assert_right();
        assert_eq!(report.repeated, 3);
    }

    #[test]
    fn faults_are_seen() {
        let faults = |change: fn(&mut Vec<Delivered>)| {
            let mut events = delivered();
            change(&mut events);
            check(&promised(), &events).faults
        };
        assert_eq!(faults(|events| drop(events.remove(1))), [Fault::Missing { key: "a2".into() }]);
        assert!(matches!(faults(|events| events.swap(0, 1))[..], [Fault::Order { .. }]));
        let altered = faults(|events| events[3].number = Some(9));
        assert!(matches!(&altered[..], [Fault::Different { key, .. }] if key == "a3"));
        let strange = faults(|events| events[3].id = "x".into());
        assert!(strange.contains(&Fault::Extra { key: "x".into() }));
        assert!(strange.contains(&Fault::Missing { key: "a3".into() }));
        let elsewhere = faults(|events| events[1].partition = 1);
        assert!(matches!(elsewhere[..], [Fault::Order { .. }]));
        let replayed = faults(|events| events.push(events[0].clone()));
        assert!(matches!(replayed[..], [Fault::Order { offset: -1, .. }]));
    }
}
