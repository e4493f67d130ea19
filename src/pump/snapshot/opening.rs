//! Opening a pass, off the pump: a slot that exports its snapshot, a session that keeps it alive,
//! and what the catalog says of the tables.

use std::sync::Arc;

use super::Tools;
use crate::delivery::standing::application_name;
use crate::failure::Failure;
use crate::postgres::replication::{Client, ExportedSnapshot};
use crate::postgres::snapshot::{self, Holder, Target};
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
        tools: &crate::config::Settings,
        exported: &ExportedSnapshot,
        whitelist: &Whitelist,
        publications: &[String],
        pending: &[Oid],
    ) -> Result<Opened, Failure> {
        let postgres = &tools.postgres;
        let name = application_name(&tools.name);
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

    pub(super) fn into_parts(self) -> (Holder, Vec<Target>) {
        (self.holder, self.targets)
    }
}

/// What a later pass begins with.
pub(in crate::pump) struct Opening {
    pub(super) tools: Arc<Tools>,
    pub(super) whitelist: Arc<Whitelist>,
    pub(super) pending: Vec<Oid>,
}

impl Opening {
    /// Makes a temporary slot for as long as the import takes. That takes as long as the oldest
    /// transaction that is running now.
    pub(super) async fn open(self) -> Result<Opened, Failure> {
        let settings = &self.tools.settings;
        let postgres = &settings.postgres;
        let name = application_name(&settings.name);
        let timeout = postgres.connect_timeout;
        // Through the control connection's search: the same server, whichever of several it is.
        let control = control::connect(&postgres.target, timeout, &name).await?;
        let mut replication =
            Client::connect(&postgres.target, &control.endpoint, timeout, &name).await?;
        drop(control);
        let slot = format!("walferry_snapshot_{:08x}", fastrand::u32(..));
        let exported = replication.create_slot_exporting(&slot, true).await?;
        let publications = &self.tools.publications;
        let (whitelist, pending) = (&self.whitelist, &self.pending);
        let opened = Opened::import(settings, &exported, whitelist, publications, pending).await?;
        // The temporary slot goes with its session.
        replication.close().await;
        Ok(opened)
    }
}
