//! The order in which the changes of one key arrive.
//!
//! A key's changes are a sequence. What arrives is that sequence, in pieces: after a crash a piece may
//! begin earlier than the one before ended, never later, and it then goes on to the end. So the last
//! arrival is always the newest change, and a reader that keeps the last value keeps the right one.

/// What tells one arrival from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<K> {
    /// Where in the order of commits.
    pub position: u64,
    pub kind: K,
    /// A digest of all else that a repeat must have in common with the first.
    pub content: u64,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    New,
    Repeat,
    /// New or repeated, but not in its place.
    Wrong {
        repeat: bool,
        why: &'static str,
    },
}

impl Step {
    pub fn is_repeat(self) -> bool {
        matches!(self, Self::Repeat | Self::Wrong { repeat: true, .. })
    }
}

/// The arrivals of one key.
#[derive(Clone, Debug)]
pub struct History<K> {
    seen: Vec<Arrival<K>>,
    /// Which of `seen` a replay reaches next; all of them when there is none.
    next: usize,
}

impl<K> Default for History<K> {
    fn default() -> Self {
        Self { seen: Vec::new(), next: 0 }
    }
}

impl<K: PartialEq> History<K> {
    pub fn step(&mut self, arrival: Arrival<K>) -> Step {
        let same = |old: &Arrival<K>| old.position == arrival.position && old.kind == arrival.kind;
        match self.seen.iter().rposition(same) {
            Some(at) => self.repeat(at, arrival.content),
            None => self.first(arrival),
        }
    }

    /// Whether the last arrival was the newest change.
    pub fn complete(&self) -> bool {
        self.next == self.seen.len()
    }

    fn repeat(&mut self, at: usize, content: u64) -> Step {
        let wrong = |why| Step::Wrong { repeat: true, why };
        let step = match at {
            _ if self.seen[at].content != content => wrong("a repeat differs from the first"),
            _ if at > self.next => wrong("a replay leaves out changes"),
            _ => Step::Repeat,
        };
        self.next = at + 1;
        step
    }

    fn first(&mut self, arrival: Arrival<K>) -> Step {
        let wrong = |why| Step::Wrong { repeat: false, why };
        let step = match self.seen.last() {
            _ if !self.complete() => wrong("a replay did not reach its end"),
            Some(last) if last.position > arrival.position => wrong("older than the one before"),
            _ => Step::New,
        };
        self.seen.push(arrival);
        self.next = self.seen.len();
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of arrivals given by their positions, and whether the last is the newest.
    fn steps(positions: &[u64]) -> (Vec<Step>, bool) {
        let mut history = History::default();
        let arrival = |position| Arrival { position, kind: (), content: position };
        let steps = positions.iter().map(|position| history.step(arrival(*position))).collect();
        (steps, history.complete())
    }

    fn wrong(positions: &[u64]) -> Option<&'static str> {
        steps(positions).0.into_iter().find_map(|step| match step {
            Step::Wrong { why, .. } => Some(why),
            _ => None,
        })
    }

    #[test]
    fn suffixes_may_be_replayed_any_number_of_times() {
        let (steps, complete) = steps(&[1, 2, 3, 2, 1, 2, 3, 4, 4]);
        assert_eq!(steps.iter().filter(|step| step.is_repeat()).count(), 5);
        assert!(complete && steps.iter().all(|step| matches!(step, Step::New | Step::Repeat)));
    }

    #[test]
    fn whatever_else_goes_back_is_wrong() {
        assert_eq!(wrong(&[2, 1]), Some("older than the one before"));
        assert_eq!(wrong(&[1, 2, 3, 1, 3]), Some("a replay leaves out changes"));
        assert_eq!(wrong(&[1, 2, 1, 3]), Some("a replay did not reach its end"));
        assert!(!steps(&[1, 2, 1]).1);
    }

    #[test]
    fn a_repeat_has_the_content_of_the_first() {
        let mut history = History::default();
        history.step(Arrival { position: 1, kind: (), content: 1 });
        let step = history.step(Arrival { position: 1, kind: (), content: 2 });
        assert_eq!(step, Step::Wrong { repeat: true, why: "a repeat differs from the first" });
    }
}
