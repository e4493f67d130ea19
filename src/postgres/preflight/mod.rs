//! The preflight of `walferry check`: everything about the database that would keep a deployment
//! from working, or let it surprise its operator, each with its remedy as SQL or configuration.
//!
//! Nothing is changed. The questions are asked here; the judgements are pure and in the modules
//! by subject: `server` for the server, its role and its slots, `tables` for the whitelist's
//! tables, `snapshot` for what a first start reads of them. An [`Severity::Error`] is what `run`
//! would stop at, or a loss waiting to happen.

mod rights;
mod server;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

use tokio_postgres::Client;

use super::catalog;
use super::publication::{self, Plan, Refusal, State};
use super::slot::{self, SlotState};
use super::whitelist::{self, Whitelist};
use crate::config::settings::{Manage, Settings};

/// One thing that an operator should know, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub what: String,
    /// What to do: SQL to run, or a setting to change.
    pub remedy: Option<String>,
}

/// The gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `run` would stop, or lose something.
    Error,
    /// It works, but not as one may think.
    Warning,
    Info,
}

impl Finding {
    pub(super) fn new(severity: Severity, what: impl Into<String>) -> Finding {
        Finding { severity, what: what.into(), remedy: None }
    }

    pub(super) fn error(what: impl Into<String>) -> Finding {
        Finding::new(Severity::Error, what)
    }

    pub(super) fn warning(what: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, what)
    }

    pub(super) fn info(what: impl Into<String>) -> Finding {
        Finding::new(Severity::Info, what)
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Looks at everything and reports it, the gravest first.
pub async fn findings(client: &Client, settings: &Settings) -> Result<Vec<Finding>, slot::Error> {
    let info = catalog::server_info(client).await?;
    let slot = slot::read(client, &settings.postgres.slot).await?;
    let others = slot::all(client).await?;
    let mut findings = server::judge(&info, &server::application_name(settings));
    findings.extend(server::judge_slots(&info, settings, &slot, &others));

    let whitelist = whitelist::resolve(client, settings, None).await?;
    findings.extend(judge_patterns(&whitelist));
    let (plan, state) = publication::outlook(client, settings, &whitelist).await?;
    findings.extend(judge_publications(settings, &slot, plan, &state));

    let oids: Vec<_> = whitelist.entries.keys().copied().collect();
    let facts = catalog::tables(client, &oids).await?;
    let rights = rights::read(client, &oids).await?;
    let tables = tables::Tables::new(settings, &whitelist, facts, rights);
    let is_first = matches!(slot, SlotState::Missing { .. });
    findings.extend(tables.judge(&info.user, is_first));

    if is_first {
        let targets = snapshot::read(client, settings, &whitelist).await?;
        findings.extend(snapshot::judge(&targets, settings.snapshot.max_rows_per_second));
    }

    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// Whether any of the findings is an error: `check` then exits with 2.
#[must_use]
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn judge_patterns(whitelist: &Whitelist) -> Vec<Finding> {
    let unmatched = whitelist.unmatched.iter().map(|pattern| {
        Finding::error(format!("{pattern} matches no table")).remedy(
            "create the table, or correct the name: it is case-sensitive, and `schema.table`",
        )
    });
    let problems = whitelist.problems.iter().map(|problem| {
        let severity = if problem.is_fatal() { Severity::Error } else { Severity::Warning };
        Finding::new(severity, problem.to_string()).remedy(problem.remedy())
    });
    unmatched.chain(problems).collect()
}

fn judge_publications(
    settings: &Settings,
    slot: &SlotState,
    plan: Plan,
    state: &State,
) -> Vec<Finding> {
    let mut findings: Vec<_> = plan
        .refusals
        .iter()
        .map(|refusal| Finding::error(refusal.to_string()).remedy(Refusal::remedy(refusal)))
        .collect();
    let mut grants: Vec<&str> = Vec::new();
    let never = settings.postgres.publication_manage == Manage::Never;
    if !never {
        for missing in &plan.missing {
            let finding = Finding::error(format!("the role lacks {}", missing.what));
            // One grant can serve many tables.
            let is_new = !grants.contains(&missing.grant.as_str());
            grants.push(&missing.grant);
            findings.push(if is_new {
                finding.remedy(format!("{};", missing.grant))
            } else {
                finding
            });
        }
    }
    if !plan.statements.is_empty() {
        let sql = publication::script(&plan.statements);
        findings.push(if never {
            Finding::error("the publications do not cover the whitelist").remedy(sql)
        } else if state.in_recovery {
            Finding::error("the publications must be changed, which a standby cannot do")
                .remedy(sql)
        } else if state.read_only.is_some() {
            Finding::error(
                "the publications must be changed, and default_transaction_read_only is on",
            )
            .remedy(format!("{};", publication::exception(state)))
        } else {
            Finding::info(format!("the start will run:\n{sql}"))
        });
    }
    findings.extend(plan.notices.into_iter().map(Finding::warning));
    let main = &settings.postgres.publication;
    let made = state.publications.iter().any(|publication| &publication.name == main);
    if let (SlotState::Exists(slot), false) = (slot, made) {
        findings.push(
            Finding::warning(format!(
                "slot {} is older than publication {main}, which does not exist: what was \
                 committed in between cannot be read",
                slot.name
            ))
            .remedy(format!("{};", slot::drop_sql(&slot.name))),
        );
    }
    findings
}
