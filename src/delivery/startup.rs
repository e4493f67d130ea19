//! The table of start-up cases: what position and slot together mean.
//!
//! Run on every connect, before the first record (I10). The position is the root of truth: it
//! holds what was delivered. The slot is the server's promise to send everything from its
//! `confirmed_flush_lsn` on. They fit when that promise reaches back to the position:
//! `confirmed <= done`. Everything else is a gap or somebody else's hand, and an operator decides.
//!
//! | position | slot | decision |
//! |---|---|---|
//! | none | none | [`Decision::FirstStart`] |
//! | intent | none | [`Decision::FirstStart`] |
//! | intent | exists | [`Decision::RepeatFirstStart`]: drop it, do it again |
//! | none, or intent with `slot_manage = "never"` | exists, the operator's | [`Decision::Adopt`] |
//! | none | exists | [`Gap::UnknownSlot`] |
//! | at | none | [`Gap::SlotMissing`] |
//! | at | lost, other plugin, other database, two-phase | [`Gap::SlotUnusable`] |
//! | at, other system, database or slot | any | [`Gap::OtherOrigin`] |
//! | at | `confirmed > done` | [`Gap::SlotAhead`] |
//! | at, older timeline, `done` past its end | exists | [`Gap::TimelineForked`] |
//! | at, same timeline, `flush < done` | exists | [`Gap::ServerBehind`] |
//! | at | otherwise | [`Decision::Resume`] |
//!
//! # Two first starts at once
//!
//! A slot that is being read is the lease: the server gives it to one client and drops it for
//! nobody. A slot that is being made has no reader yet, so a second instance could drop what the
//! first has just made, or overwrite its position with an older one. Therefore every decision but
//! [`Decision::Resume`] and [`Decision::Refuse`] is carried out, from the intent to the first
//! position, under a claim on the slot ([`crate::postgres::claim`]), and decided once more after
//! the claim was won. The commands that change slot or position claim it as well.
//!
//! - Who holds the claim is alone: position and slot, read under it, are those of a first start
//!   that is over. An intent with a slot is then one that died, and its slot is nobody's.
//! - Who does not get the claim waits for it as for an active slot, and finds a position then.
//! - The claim is released when the position is durable, before the slot is read. Both instances
//!   go on from the same position then, and the slot chooses between them.
//! - A session that is lost while its process lives loses its claim. What that process may still
//!   do is write the position of the slot that it has made. If another instance has replaced that
//!   slot by then, its own lies later in the log, so the late position lies before what the new
//!   slot has confirmed: the next record of the stream corrects it, and a start in between refuses
//!   ([`Gap::SlotAhead`]). Nothing is skipped.

use super::position::{Position, SlotOrigin};
use crate::postgres::{Lsn, Timeline};

/// The server as it answered on this connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub origin: SlotOrigin,
    pub timeline: Timeline,
    /// How far its WAL is flushed (received, on a standby).
    pub flushed: Lsn,
    /// Where each older timeline ended, as `TIMELINE_HISTORY` says.
    pub history: Vec<(Timeline, Lsn)>,
}

/// The slot as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    Missing,
    /// It exists and cannot serve, for the reason given.
    Unusable(String),
    Ready {
        confirmed: Lsn,
    },
}

/// Who makes and drops the slot (`postgres.slot_manage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    Walferry,
    Operator,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write the intent, create publication and slot, begin at its consistent point.
    FirstStart,
    /// A first start did not finish: drop the slot, then as [`FirstStart`](Self::FirstStart).
    RepeatFirstStart,
    /// Begin at the operator's slot.
    Adopt { done: Lsn },
    /// Go on from the position.
    Resume { done: Lsn },
    /// Stop with exit code 2.
    Refuse(Gap),
}

/// Why a start is refused. Each `Display` says what it means; [`Gap::remedy`] what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error(
        "the slot {slot} exists, but the position topic knows nothing of it: what was delivered \
         from it is unknown"
    )]
    UnknownSlot { slot: String },
    #[error(
        "the slot {slot} does not exist although changes were delivered up to {done}: what came \
         after it is lost"
    )]
    SlotMissing { slot: String, done: Lsn },
    #[error("the slot {slot} cannot be used: {reason}")]
    SlotUnusable { slot: String, reason: String },
    #[error("the position belongs to {position}, but the server is {server}")]
    OtherOrigin { position: String, server: String },
    #[error(
        "the slot {slot} stands at {confirmed}, past the delivered position {done}: somebody else \
         consumed or advanced it, and the changes in between were not delivered"
    )]
    SlotAhead { slot: String, confirmed: Lsn, done: Lsn },
    #[error(
        "the server is on timeline {server}, which left timeline {position} at {switch}, but \
         changes were delivered up to {done}: the promoted server does not have all of them"
    )]
    TimelineForked { server: Timeline, position: Timeline, switch: Lsn, done: Lsn },
    #[error(
        "the server is on timeline {server}, whose history does not know timeline {position} of \
         the position"
    )]
    TimelineUnknown { server: Timeline, position: Timeline },
    #[error(
        "the server's WAL ends at {flushed}, before the delivered position {done}: it was restored \
         from an older backup"
    )]
    ServerBehind { flushed: Lsn, done: Lsn },
    #[error("slot_manage is \"never\" and the slot {slot} does not exist")]
    OperatorsSlotMissing { slot: String },
}

impl Gap {
    /// The commands that end the situation on purpose.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Gap::UnknownSlot { .. } | Gap::SlotAhead { .. } => "`walferry slot adopt` accepts the \
                slot as it stands and goes on from there; `walferry slot drop --yes` gives it up, \
                and the next start makes a new one"
                .into(),
            Gap::SlotMissing { .. } => "`walferry slot create` makes a new slot and accepts that \
                the changes since the position were not delivered"
                .into(),
            Gap::SlotUnusable { .. } => "`walferry slot drop --yes`, then `walferry slot create`, \
                accepts that the changes since the position were not delivered; if the slot is \
                somebody else's, set another postgres.slot and `walferry slot create`"
                .into(),
            Gap::OtherOrigin { .. } => "check postgres.url, postgres.slot and \
                kafka.bootstrap_servers: a copy of a deployment needs a `name` of its own; if the \
                database was moved on purpose, `walferry slot adopt` takes the slot that is there, \
                and `walferry slot create` makes one where there is none"
                .into(),
            Gap::TimelineForked { .. } | Gap::TimelineUnknown { .. } | Gap::ServerBehind { .. } => {
                "compare the topics with the tables; `walferry slot \
                adopt` accepts the server as it is and goes on from the slot"
                    .into()
            }
            Gap::OperatorsSlotMissing { slot } => format!(
                "`walferry slot create` makes it, or, once the publication is there, SELECT \
                 pg_create_logical_replication_slot('{}', 'pgoutput'); with slot_manage = \"auto\" \
                 the start makes it",
                slot.replace('\'', "''")
            ),
        }
    }
}

/// Decides. Pure; see the module's table.
#[must_use]
pub fn decide(
    position: Option<&Position>,
    slot: &Slot,
    server: &Server,
    ownership: Ownership,
) -> Decision {
    let name = || server.origin.slot.clone();
    let (origin, timeline, done) = match position {
        Some(Position::At { origin, timeline, done, .. }) => (origin, *timeline, *done),
        Some(Position::Intent(_)) | None => {
            return decide_first(position, slot, server, ownership);
        }
    };
    if *origin != server.origin {
        return Decision::Refuse(Gap::OtherOrigin {
            position: origin.to_string(),
            server: server.origin.to_string(),
        });
    }
    let confirmed = match slot {
        Slot::Missing => return Decision::Refuse(Gap::SlotMissing { slot: name(), done }),
        Slot::Unusable(reason) => {
            let reason = reason.clone();
            return Decision::Refuse(Gap::SlotUnusable { slot: name(), reason });
        }
        Slot::Ready { confirmed } => *confirmed,
    };
    if confirmed > done {
        return Decision::Refuse(Gap::SlotAhead { slot: name(), confirmed, done });
    }
    match history_gap(server, timeline, done) {
        Some(gap) => Decision::Refuse(gap),
        None => Decision::Resume { done },
    }
}

fn decide_first(
    position: Option<&Position>,
    slot: &Slot,
    server: &Server,
    ownership: Ownership,
) -> Decision {
    let name = server.origin.slot.clone();
    let ours = position.is_some_and(|intent| *intent.origin() == server.origin);
    match (slot, ownership) {
        (Slot::Missing, Ownership::Walferry) => Decision::FirstStart,
        (Slot::Missing, Ownership::Operator) => {
            Decision::Refuse(Gap::OperatorsSlotMissing { slot: name })
        }
        (Slot::Ready { .. } | Slot::Unusable(_), Ownership::Walferry) if ours => {
            Decision::RepeatFirstStart
        }
        (Slot::Unusable(reason), _) => {
            Decision::Refuse(Gap::SlotUnusable { slot: name, reason: reason.clone() })
        }
        (Slot::Ready { confirmed }, Ownership::Operator) => Decision::Adopt { done: *confirmed },
        (Slot::Ready { .. }, Ownership::Walferry) => {
            Decision::Refuse(Gap::UnknownSlot { slot: name })
        }
    }
}

/// Whether the server's WAL can be the one that `done` on `timeline` points into.
fn history_gap(server: &Server, timeline: Timeline, done: Lsn) -> Option<Gap> {
    if timeline == server.timeline {
        let behind = server.flushed < done;
        return behind.then_some(Gap::ServerBehind { flushed: server.flushed, done });
    }
    match server.history.iter().find(|(known, _)| *known == timeline) {
        None => Some(Gap::TimelineUnknown { server: server.timeline, position: timeline }),
        Some((_, switch)) if done > *switch => Some(Gap::TimelineForked {
            server: server.timeline,
            position: timeline,
            switch: *switch,
            done,
        }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Oid, SystemId};

    fn origin() -> SlotOrigin {
        SlotOrigin { system: SystemId(1), database: Oid(5), slot: "walferry_shop".into() }
    }

    fn server() -> Server {
        Server {
            origin: origin(),
            timeline: Timeline(2),
            flushed: Lsn(1000),
            history: vec![(Timeline(1), Lsn(500))],
        }
    }

    fn at(timeline: u32, done: u64) -> Position {
        Position::At {
            origin: origin(),
            timeline: Timeline(timeline),
            done: Lsn(done),
            partial: None,
        }
    }

    fn ready(confirmed: u64) -> Slot {
        Slot::Ready { confirmed: Lsn(confirmed) }
    }

    fn gap(decision: Decision) -> Gap {
        match decision {
            Decision::Refuse(gap) => {
                assert!(!gap.remedy().is_empty());
                gap
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn first_starts() {
        let intent = Position::Intent(origin());
        let ours = Ownership::Walferry;
        assert_eq!(decide(None, &Slot::Missing, &server(), ours), Decision::FirstStart);
        assert_eq!(decide(Some(&intent), &Slot::Missing, &server(), ours), Decision::FirstStart);
        assert_eq!(decide(Some(&intent), &ready(10), &server(), ours), Decision::RepeatFirstStart);
        assert!(matches!(gap(decide(None, &ready(10), &server(), ours)), Gap::UnknownSlot { .. }));
    }

    #[test]
    fn an_intent_for_another_slot_does_not_drop_this_one() {
        let other = SlotOrigin { slot: "other".into(), ..origin() };
        let decision =
            decide(Some(&Position::Intent(other)), &ready(10), &server(), Ownership::Walferry);
        assert!(matches!(gap(decision), Gap::UnknownSlot { .. }));
    }

    #[test]
    fn the_operators_slot_is_adopted_and_never_made_or_dropped() {
        let theirs = Ownership::Operator;
        let intent = Position::Intent(origin());
        for position in [None, Some(&intent)] {
            let adopted = Decision::Adopt { done: Lsn(10) };
            assert_eq!(decide(position, &ready(10), &server(), theirs), adopted);
            assert!(matches!(
                gap(decide(position, &Slot::Missing, &server(), theirs)),
                Gap::OperatorsSlotMissing { .. }
            ));
            assert!(matches!(
                gap(decide(position, &Slot::Unusable("lost".into()), &server(), theirs)),
                Gap::SlotUnusable { .. }
            ));
        }
    }

    #[test]
    fn resumes_when_the_slot_reaches_back_to_the_position() {
        for confirmed in [1, 700, 800] {
            assert_eq!(
                decide(Some(&at(2, 800)), &ready(confirmed), &server(), Ownership::Walferry),
                Decision::Resume { done: Lsn(800) }
            );
        }
        assert!(matches!(
            gap(decide(Some(&at(2, 800)), &ready(801), &server(), Ownership::Walferry)),
            Gap::SlotAhead { .. }
        ));
    }

    #[test]
    fn gaps_are_refused() {
        let decide = |position, slot: Slot| {
            gap(decide(Some(&position), &slot, &server(), Ownership::Walferry))
        };
        assert!(matches!(decide(at(2, 800), Slot::Missing), Gap::SlotMissing { .. }));
        let lost = Slot::Unusable("its WAL was removed".into());
        assert!(matches!(decide(at(2, 800), lost), Gap::SlotUnusable { .. }));
        assert!(matches!(decide(at(2, 1001), ready(10)), Gap::ServerBehind { .. }));
        assert!(matches!(decide(at(3, 10), ready(10)), Gap::TimelineUnknown { .. }));
    }

    #[test]
    fn other_origins_are_refused_before_anything_else() {
        for other in [
            SlotOrigin { system: SystemId(2), ..origin() },
            SlotOrigin { database: Oid(6), ..origin() },
            SlotOrigin { slot: "other".into(), ..origin() },
        ] {
            let position =
                Position::At { origin: other, timeline: Timeline(2), done: Lsn(1), partial: None };
            for slot in [Slot::Missing, ready(1)] {
                let decision = decide(Some(&position), &slot, &server(), Ownership::Walferry);
                assert!(matches!(gap(decision), Gap::OtherOrigin { .. }));
            }
        }
    }

    #[test]
    fn a_promotion_is_followed_only_without_loss() {
        assert_eq!(
            decide(Some(&at(1, 500)), &ready(400), &server(), Ownership::Walferry),
            Decision::Resume { done: Lsn(500) }
        );
        assert!(matches!(
            gap(decide(Some(&at(1, 501)), &ready(400), &server(), Ownership::Walferry)),
            Gap::TimelineForked { .. }
        ));
    }
}
