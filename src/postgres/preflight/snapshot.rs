//! What a first start would read, and about how long that takes.

use std::time::Duration;

use tokio_postgres::Client;

use super::Finding;
use crate::config::Settings;
use crate::postgres::slot::Bytes;
use crate::postgres::snapshot::{self, Target};
use crate::postgres::whitelist::Whitelist;
use crate::snapshot::wanted;

/// Looks the tables up that the configuration wants to have read.
pub(super) async fn estimate(
    client: &Client,
    settings: &Settings,
    whitelist: &Whitelist,
) -> Result<Vec<Finding>, snapshot::Error> {
    let mut listed: Vec<_> =
        whitelist.targets().filter(|listed| wanted(settings, listed).is_some()).collect();
    listed.sort_by_key(|listed| (&listed.schema, &listed.name));
    let oids: Vec<_> = listed.iter().map(|listed| listed.oid).collect();
    let main = settings.postgres.publication.clone();
    let publications = [format!("{main}_inserts"), main];
    let targets = snapshot::targets(client, whitelist, &publications, &oids).await?;
    Ok(judge(&targets))
}

/// Tables that are named one by one: the largest.
const MOST: usize = 20;

fn judge(targets: &[Target]) -> Vec<Finding> {
    if targets.is_empty() {
        return Vec::new();
    }
    let mut largest: Vec<&Target> = targets.iter().collect();
    largest.sort_by_key(|target| std::cmp::Reverse(target.bytes()));
    let one = |target: &&Target| {
        let (rows, bytes) = (rows(target), target.bytes());
        Finding::info(format!(
            "snapshot: {} has {}, {}: about {}",
            target.relation.qualified(),
            counted(rows),
            Bytes(bytes),
            duration(rows, bytes)
        ))
    };
    let mut findings: Vec<Finding> = largest.iter().take(MOST).map(one).collect();
    if targets.len() > 1 {
        let all: Option<u64> = targets.iter().map(rows).sum();
        let bytes = targets.iter().map(Target::bytes).sum();
        findings.push(Finding::info(format!(
            "snapshot: a first start reads {} tables with {}, {}: about {}, during which the \
             stream is held",
            targets.len(),
            counted(all),
            Bytes(bytes),
            duration(all, bytes)
        )));
    }
    findings
}

fn rows(target: &Target) -> Option<u64> {
    target.sources.iter().map(|source| source.rows).sum()
}

fn counted(rows: Option<u64>) -> String {
    rows.map_or_else(
        || "an unknown number of rows (never analysed)".to_owned(),
        |rows| format!("about {rows} rows"),
    )
}

/// What one server with some cores does: 200 000 rows or 50 MB a second.
fn duration(rows: Option<u64>, bytes: u64) -> String {
    let seconds = (rows.unwrap_or_default() / 200_000).max(bytes / 50_000_000);
    match seconds {
        0 => "a second".to_owned(),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::{Relation, ReplicaIdentity};
    use crate::postgres::Oid;
    use crate::postgres::snapshot::Source;

    fn target(name: &str, rows: Option<u64>, bytes: u64) -> Target {
        let relation = Relation {
            oid: Oid(1),
            schema: "public".to_owned(),
            name: name.to_owned(),
            identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        };
        let source = Source {
            oid: Oid(1),
            schema: "public".to_owned(),
            name: name.to_owned(),
            pages: bytes / 8192,
            rows,
            bytes,
            filter: None,
        };
        let (outbox, primary_key) = (false, Vec::new());
        Target { oid: Oid(1), relation, sources: vec![source], outbox, primary_key }
    }

    #[test]
    fn tables_are_told_with_their_size_and_all_of_them_together() {
        let targets =
            [target("small", None, 8192), target("large", Some(2_000_000), 5_000_000_000)];
        let findings: Vec<String> = judge(&targets).into_iter().map(|found| found.what).collect();
        assert_eq!(findings.len(), 3);
        assert!(findings[0].starts_with("snapshot: public.large has about 2000000 rows, "));
        assert!(findings[0].ends_with(": about 1m 40s"), "{}", findings[0]);
        assert!(findings[1].contains("never analysed"), "{}", findings[1]);
        assert!(findings[2].contains("2 tables"), "{}", findings[2]);
        assert!(judge(&[]).is_empty());
    }
}
