//! What a start would find of its topics, without creating anything.
//!
//! The cluster itself is asked: a missing topic's creation is rehearsed with all that the real one
//! would carry, so rights, limits and policies are judged by those that enforce them.

use std::time::Instant;

use super::{Admin, Creation, TopicSpec, TopicState};
use crate::failure::{Class, Failure};

/// A topic before anything is done about it.
#[derive(Debug)]
pub enum Outlook {
    Exists {
        partitions: i32,
    },
    /// Missing, and the cluster says that it would create it.
    Creatable,
    /// Missing or not to be used, for the reason given.
    Refused(Failure),
}

impl Admin {
    /// What [`ensure`](Self::ensure) would find; in the order of `topics`.
    ///
    /// # Errors
    ///
    /// [`Retry`](crate::failure::Class::Retry): no broker answers in time.
    pub async fn outlook(&self, topics: &[TopicSpec]) -> Result<Vec<Outlook>, Failure> {
        let mut outlooks = Vec::with_capacity(topics.len());
        for spec in topics {
            outlooks.push(match self.topic_outlook(spec).await {
                Err(failure) if failure.class == Class::Stop => Outlook::Refused(failure),
                answer => answer?,
            });
        }
        Ok(outlooks)
    }

    async fn topic_outlook(&self, spec: &TopicSpec) -> Result<Outlook, Failure> {
        let deadline = Instant::now() + self.timeout;
        match self.topic_state(&spec.name, deadline).await? {
            TopicState::Ready { partitions } => Ok(Outlook::Exists { partitions }),
            TopicState::Electing => Ok(Outlook::Refused(Failure::retry(
                "kafka",
                format!("topic {} has partitions without a leader", spec.name),
            ))),
            TopicState::Missing => {
                self.create_missing(&[spec], deadline, Creation::Rehearsed).await?;
                Ok(Outlook::Creatable)
            }
        }
    }
}
