//! The control connection's eye on the server while the stream runs.
//!
//! Every few seconds: how far the server is and how much WAL the slot holds back (for telemetry);
//! whether the publications are still the ones that were there at start; and whether the
//! whitelist's patterns match tables that are new, which are then added to the publications.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::relations::Relations;
use super::snapshot::Snapshots;
use super::task::Task;
use crate::config::Settings;
use crate::failure::Failure;
use crate::postgres::slot::{self, SlotState};
use crate::postgres::whitelist::{self, Whitelist};
use crate::postgres::{Oid, publication};
use crate::telemetry::{ServerView, Telemetry};

/// Between two looks at the server's position.
const LOOK: Duration = Duration::from_secs(2);

/// Every so many looks the catalog is compared as well.
const CATALOG_EVERY: u32 = 5;

/// What the watcher tells the pump when there are more tables: before the publications send them,
/// and after. What was written between the two is in no stream.
#[derive(Debug)]
pub(super) enum News {
    Listed(Arc<Whitelist>),
    Published(Arc<Whitelist>),
}

/// The running watcher, as the pump holds it.
pub(super) struct Watch {
    task: Task<()>,
    news: Receiver<News>,
}

impl Watch {
    pub(super) fn new(task: Task<()>, news: Receiver<News>) -> Watch {
        Watch { task, news }
    }

    /// Takes over what is new.
    ///
    /// # Errors
    /// What the watcher found makes going on wrong, or the control connection is lost.
    pub(super) fn apply(
        &mut self,
        relations: &mut Relations,
        snapshots: &mut Snapshots,
        now: Instant,
    ) -> Result<(), Failure> {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Listed(whitelist) => relations.set_whitelist(whitelist),
                News::Published(whitelist) => snapshots.set_whitelist(whitelist, now),
            }
        }
        match self.task.poll() {
            None => Ok(()),
            Some(Ok(())) => Err(Failure::retry("postgres", "the control connection ended")),
            Some(Err(failure)) => Err(failure),
        }
    }
}

/// What the watcher works with.
pub(super) struct Watcher {
    pub(super) control: Arc<Client>,
    pub(super) settings: Arc<Settings>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) whitelist: Arc<Whitelist>,
    /// The oid of each publication that the stream was started with.
    pub(super) publications: Vec<(String, Oid)>,
    pub(super) news: Sender<News>,
}

impl Watcher {
    /// Looks until something is wrong.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut looks = 0;
        loop {
            self.look().await?;
            looks += 1;
            if looks % CATALOG_EVERY == 0 {
                self.compare_publications().await?;
                self.compare_whitelist().await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&self) -> Result<(), Failure> {
        let head = slot::head(&self.control).await?;
        let slot = match slot::read(&self.control, &self.settings.postgres.slot).await? {
            SlotState::Exists(slot) => Some(slot),
            SlotState::Missing { .. } => None,
        };
        self.telemetry.observe_server(ServerView {
            head,
            retained_wal_bytes: slot.as_ref().and_then(|slot| slot.retained),
            safe_wal_bytes: slot
                .as_ref()
                .and_then(|slot| slot.safe_wal_size)
                .map(|bytes| u64::try_from(bytes).unwrap_or(0)),
            wal_status: slot
                .and_then(|slot| slot.wal_status)
                .map(|status| status.as_str().to_owned()),
        });
        Ok(())
    }

    async fn compare_publications(&self) -> Result<(), Failure> {
        let names: Vec<String> = self.publications.iter().map(|(name, _)| name.clone()).collect();
        let now = publication::oids(&self.control, &names).await?;
        for (name, oid) in &self.publications {
            let found = now.iter().find(|(known, _)| known == name);
            if found.is_some_and(|(_, now)| now == oid) {
                continue;
            }
            let what = if found.is_some() { "recreated" } else { "dropped" };
            return Err(Failure::stop(
                "publication",
                format!(
                    "the publication {name} was {what} while it was in use: changes in between may \
                     be missing from the stream"
                ),
            )
            .remedy("compare the topics with the tables, then start walferry again"));
        }
        Ok(())
    }

    async fn compare_whitelist(&mut self) -> Result<(), Failure> {
        let before = &self.whitelist;
        let now = whitelist::resolve(&self.control, &self.settings, Some(before)).await?;
        if now.entries == before.entries {
            return Ok(());
        }
        let now = Arc::new(now);
        // First the pump knows the tables, then the publication sends them. A pump that is gone
        // needs no news.
        let _ = self.news.send(News::Listed(Arc::clone(&now)));
        let publications = publication::sync(&self.control, &self.settings, &now).await?;
        tracing::info!(changes = ?publications.changes, "the whitelist matches more tables now");
        let _ = self.news.send(News::Published(Arc::clone(&now)));
        self.whitelist = now;
        Ok(())
    }
}
