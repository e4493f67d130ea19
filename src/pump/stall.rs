//! Replication that is left because nothing moves, and who has to answer before it is taken again.
//!
//! A slot in the hands of a client that answers and does not confirm keeps Postgres from shutting
//! down, so replication is left after `stall_disconnect`. It must not be taken again only to stall
//! again, so whoever caused the stall has to answer first:
//!
//! - Kafka: what is in flight is awaited before any next connection, and that is its answer.
//! - The registry: nothing is in flight, so it is asked by a [`Probe`], until it answers. What it
//!   is asked is what it did not answer. A refusal is an answer too: it concerns a table, and is
//!   found again, with the table's name, where the table's row is read.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::backoff::Backoff;
use super::task::Task;
use super::wake::Wake;
use crate::failure::{Class, Failure};
use crate::registry::Registry;
use crate::telemetry::Telemetry;

/// Why replication was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It was lost, or a delivery failed.
    Lost,
    /// The brokers did not acknowledge.
    KafkaStalled,
    /// A row waited for its schema.
    RegistryStalled,
}

/// Asks the registry until it answers.
pub(super) struct Probe {
    task: Task<()>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Probe {
    pub(super) fn start(
        runtime: &Handle,
        wake: &Wake,
        registry: Arc<Registry>,
        telemetry: Arc<Telemetry>,
    ) -> Probe {
        let failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failure);
        let task = Task::spawn(runtime, wake, async move {
            let mut backoff = Backoff::default();
            loop {
                let failure = match registry.ask_again().await.map_err(Failure::from) {
                    Err(failure) if failure.class == Class::Retry => failure,
                    Ok(()) | Err(_) => return Ok(()),
                };
                telemetry.failure(&failure);
                let pause = backoff.after(&failure);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.message);
                tokio::time::sleep(pause).await;
            }
        });
        Probe { task, failure }
    }

    /// Whether it has answered.
    pub(super) fn has_answer(&mut self) -> bool {
        self.task.poll().is_some()
    }

    /// What the last try came to.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
