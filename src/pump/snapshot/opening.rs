//! Opening a pass, off the pump: a slot that exports its snapshot, a session that keeps it alive,
//! and what the catalog says of the tables.

use std::sync::Arc;

use super::Tools;
use crate::config::Settings;
use crate::delivery::standing::application_name;
use crate::failure::Failure;
use crate::postgres::replication::{Client, ExportedSnapshot};
use crate::postgres::snapshot::{self, Holder, Target, obstacle};
use crate::postgres::whitelist::Whitelist;
use crate::postgres::{Lsn, Oid, control};

/// A snapshot that tables can be read at.
pub(in crate::pump) struct Opened {
    holder: Holder,
    targets: Vec<Target>,
}

impl Opened {
    /// Imports what a slot has exported; `pending` are the tables to be read.
    ///
    /// # Errors
    /// The export has ended, or the catalog cannot be read.
    pub(in crate::pump) async fn import(
        settings: &Settings,
        exported: &ExportedSnapshot,
        whitelist: &Whitelist,
        publications: &[String],
        pending: &[Oid],
    ) -> Result<Opened, Failure> {
        let postgres = &settings.postgres;
        let name = application_name(&settings.name);
        let timeout = postgres.connect_timeout;
        let ExportedSnapshot { at, snapshot } = exported;
        let holder = Holder::import(&postgres.target, timeout, &name, snapshot, *at).await?;
        let client = holder.client();
        let targets = snapshot::targets(client, whitelist, publications, pending).await?;
        Ok(Opened { holder, targets })
    }

    /// The snapshot sees exactly what committed before this LSN.
    pub(in crate::pump) fn at(&self) -> Lsn {
        self.holder.at()
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Takes out the tables that are larger than this and can be read in chunks.
    pub(in crate::pump) fn take_large(&mut self, whitelist: &Whitelist, most: u64) -> Vec<Oid> {
        let is_large =
            |target: &Target| target.bytes() > most && in_chunks(target, whitelist).is_ok();
        let (large, rest) = std::mem::take(&mut self.targets).into_iter().partition(is_large);
        self.targets = rest;
        large.iter().map(|target: &Target| target.oid).collect()
    }

    pub(in crate::pump) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    pub(super) fn into_parts(self) -> (Holder, Vec<Target>) {
        (self.holder, self.targets)
    }
}

/// Whether a table can be read in chunks; the reason if not.
fn in_chunks(target: &Target, whitelist: &Whitelist) -> Result<(), &'static str> {
    let inserts_only = whitelist.entries.get(&target.oid).is_some_and(|listed| listed.inserts_only);
    obstacle(target, inserts_only).map_or(Ok(()), Err)
}

/// Tables by how they are read.
pub(in crate::pump) struct Sorted {
    pub(super) windows: Vec<Oid>,
    pub(super) at_once: Vec<Oid>,
}

/// Sorts tables, and waits until a snapshot can be taken soon.
pub(in crate::pump) struct Sorting {
    pub(super) tools: Arc<Tools>,
    pub(super) whitelist: Arc<Whitelist>,
    /// With whether chunks are preferred.
    pub(super) pending: Vec<(Oid, bool)>,
}

/// Takes a snapshot. The stream is held meanwhile, so that it cannot pass the snapshot's point.
pub(in crate::pump) struct Opening {
    pub(super) tools: Arc<Tools>,
    pub(super) whitelist: Arc<Whitelist>,
    pub(super) tables: Vec<Oid>,
}

impl Opening {
    pub(super) async fn open(self) -> Result<Opened, Failure> {
        let Opening { tools, whitelist, tables } = self;
        let (replication, exported) = export(&tools.settings).await?;
        let publications = &tools.publications;
        let opened =
            Opened::import(&tools.settings, &exported, &whitelist, publications, &tables).await?;
        // The temporary slot goes with its session.
        replication.close().await;
        Ok(opened)
    }
}

/// Makes a temporary slot. That takes as long as the oldest transaction that is running now.
async fn export(settings: &Settings) -> Result<(Client, ExportedSnapshot), Failure> {
    let postgres = &settings.postgres;
    let (name, timeout) = (application_name(&settings.name), postgres.connect_timeout);
    // Through the control connection's search: the same server, whichever of several it is.
    let control = control::connect(&postgres.target, timeout, &name).await?;
    let mut replication =
        Client::connect(&postgres.target, &control.endpoint, timeout, &name).await?;
    drop(control);
    let slot = format!("walferry_snapshot_{:08x}", fastrand::u32(..));
    let exported = replication.create_slot_exporting(&slot, true).await?;
    Ok((replication, exported))
}

impl Sorting {
    /// Goes on as soon as a slot could be made: the transactions that were running, perhaps for
    /// long, have ended then.
    pub(super) async fn sort(self) -> Result<Sorted, Failure> {
        let settings = &self.tools.settings;
        let postgres = &settings.postgres;
        let (name, timeout) = (application_name(&settings.name), postgres.connect_timeout);
        let control = control::connect(&postgres.target, timeout, &name).await?;
        let windows = self.windows(&control.client).await?;
        drop(control);
        let at_once = self.pending.iter().map(|(oid, _)| *oid);
        let at_once: Vec<Oid> = at_once.filter(|oid| !windows.contains(oid)).collect();
        if !at_once.is_empty() {
            let (replication, _) = export(settings).await?;
            replication.close().await;
        }
        Ok(Sorted { windows, at_once })
    }

    /// Those of the tables that are to be read in chunks, and can be.
    async fn windows(&self, client: &tokio_postgres::Client) -> Result<Vec<Oid>, Failure> {
        let preferred = self.pending.iter().filter(|(_, windows)| *windows).map(|(oid, _)| *oid);
        let preferred: Vec<Oid> = preferred.collect();
        if preferred.is_empty() {
            return Ok(preferred);
        }
        let (whitelist, publications) = (&self.whitelist, &self.tools.publications);
        let targets = snapshot::targets(client, whitelist, publications, &preferred).await?;
        let mut windows = Vec::new();
        for target in &targets {
            match in_chunks(target, whitelist) {
                Ok(()) => windows.push(target.oid),
                Err(reason) => tracing::info!(
                    table = target.relation.qualified(),
                    reason,
                    "the table cannot be read in chunks: the stream is held while it is read"
                ),
            }
        }
        Ok(windows)
    }
}
