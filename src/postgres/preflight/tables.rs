//! Judgements on the listed tables: keys, columns, topics, privileges.

use std::collections::HashMap;

use super::rights::Rights;
use super::{Finding, Severity};
use crate::config::settings::{OutboxRule, Settings, TableRule};
use crate::postgres::Oid;
use crate::postgres::catalog::{ColumnFacts, RelationKind, TableFacts};
use crate::postgres::query::{identifier, qualified};
use crate::postgres::whitelist::{Listed, Role, Whitelist, dotted};
use crate::snapshot;

/// The listed tables with all that is known of them.
pub(super) struct Tables<'a> {
    settings: &'a Settings,
    whitelist: &'a Whitelist,
    facts: HashMap<Oid, TableFacts>,
    rights: HashMap<Oid, Rights>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        whitelist: &'a Whitelist,
        facts: Vec<TableFacts>,
        rights: HashMap<Oid, Rights>,
    ) -> Tables<'a> {
        let facts = facts.into_iter().map(|facts| (facts.oid, facts)).collect();
        Tables { settings, whitelist, facts, rights }
    }

    /// With `is_first` the next start is the first, which reads tables.
    pub(super) fn judge(&self, user: &str, is_first: bool) -> Vec<Finding> {
        // A partition that leaves as its root has nothing of its own to judge.
        let mut listed: Vec<_> =
            self.whitelist.entries.values().filter(|listed| listed.root.is_none()).collect();
        listed.sort_by_key(|listed| (&listed.schema, &listed.name));
        let mut findings = self.privileges(&listed, user, is_first);
        for listed in listed {
            let Some(facts) = self.facts.get(&listed.oid) else { continue };
            match listed.role {
                Role::Table { rule } => {
                    if let Some(rule) = self.settings.tables.get(rule) {
                        findings.extend(self.table(listed, facts, rule));
                    }
                }
                Role::Outbox { rule } => {
                    if let Some(rule) = self.settings.outboxes.get(rule) {
                        findings.extend(outbox(facts, rule));
                    }
                }
            }
        }
        findings
    }

    /// What reading the tables needs. The stream needs none of it.
    fn privileges(&self, listed: &[&Listed], user: &str, is_first: bool) -> Vec<Finding> {
        let user = identifier(user);
        let mut findings = Vec::new();
        let mut schemas = Vec::new();
        for listed in listed {
            let is_read = is_first && snapshot::wanted(self.settings, listed).is_some();
            let severity = if is_read { Severity::Error } else { Severity::Warning };
            for part in self.parts(listed) {
                let Some(rights) = self.rights.get(&part.oid) else { continue };
                if !rights.may_use_schema && !schemas.contains(&&part.schema) {
                    schemas.push(&part.schema);
                    let what = format!(
                        "the role lacks USAGE on schema {}, which snapshots need",
                        part.schema
                    );
                    let schema = identifier(&part.schema);
                    findings.push(
                        Finding::new(severity, what)
                            .remedy(format!("GRANT USAGE ON SCHEMA {schema} TO {user};")),
                    );
                }
                findings.extend(self.unreadable(part, rights, severity, &user));
                findings.extend(row_security(part, rights, is_read, &user));
            }
        }
        findings
    }

    /// The relations that hold a table's rows: reading a partition needs rights to itself.
    fn parts(&self, listed: &'a Listed) -> Vec<&'a Listed> {
        let mut parts: Vec<_> = self
            .whitelist
            .entries
            .values()
            .filter(|part| part.kind == RelationKind::Table && part.root == Some(listed.oid))
            .collect();
        parts.sort_by_key(|part| (&part.schema, &part.name));
        if listed.kind == RelationKind::Table || parts.is_empty() {
            parts.insert(0, listed);
        }
        parts
    }

    /// Columns that are left out need no right, but then the grant names the others, and `ctid`, by
    /// which a large table is divided.
    fn unreadable(
        &self,
        part: &Listed,
        rights: &Rights,
        severity: Severity,
        user: &str,
    ) -> Option<Finding> {
        let excluded = match part.role {
            Role::Table { rule } => {
                self.settings.tables.get(rule).map(|rule| &rule.exclude_columns)
            }
            Role::Outbox { .. } => None,
        };
        let excluded = excluded.map_or(&[][..], Vec::as_slice);
        if rights.unreadable.iter().all(|column| excluded.contains(column)) {
            return None;
        }
        let facts = self.facts.get(&part.oid);
        let columns = facts.map_or(&[][..], |facts| facts.columns.as_slice());
        let is_left_out = |column: &&ColumnFacts| excluded.contains(&column.name);
        let columns = if columns.iter().any(|column| is_left_out(&column)) {
            let read = columns.iter().filter(|column| !is_left_out(column));
            let names: Vec<_> = read.map(|column| identifier(&column.name)).collect();
            format!(" (ctid, {})", names.join(", "))
        } else {
            String::new()
        };
        let table = dotted(&part.schema, &part.name);
        let sql = qualified(&part.schema, &part.name);
        Some(
            Finding::new(
                severity,
                format!("the role lacks SELECT on {table}, which snapshots need"),
            )
            .remedy(format!("GRANT SELECT{columns} ON {sql} TO {user};")),
        )
    }

    fn table(&self, listed: &Listed, facts: &TableFacts, rule: &TableRule) -> Vec<Finding> {
        let table = dotted(&facts.schema, &facts.name);
        let mut findings = Vec::new();
        // A pattern's columns need not be in each of its tables; a named table's must be there.
        let severity = match rule.pattern.is_exact() {
            true => Severity::Error,
            false => Severity::Warning,
        };
        for column in absent(facts, &rule.exclude_columns) {
            findings.push(
                Finding::new(severity, format!("exclude_columns of {table}: no column {column}"))
                    .remedy("correct the name: it is case-sensitive"),
            );
        }
        let configured = rule.key_columns.as_deref();
        for column in absent(facts, configured.unwrap_or_default()) {
            findings.push(
                Finding::error(format!("key_columns of {table}: no column {column}"))
                    .remedy("correct the name: it is case-sensitive"),
            );
        }
        let key = key(facts, rule);
        for column in key.iter().filter(|column| rule.exclude_columns.contains(column)) {
            findings.push(
                Finding::error(format!("exclude_columns of {table} has {column}, a key column"))
                    .remedy("leave it in, or set key_columns"),
            );
        }
        if key.is_empty() {
            findings.push(
                Finding::warning(format!(
                    "{table} has no key: its records have none either, are spread over all \
                     partitions and not compacted"
                ))
                .remedy("add a primary key, or set key_columns"),
            );
        } else if !listed.inserts_only {
            findings.extend(self.coverage(listed, &table, key, configured.is_some()));
        }
        findings.extend(generated(facts, &table));
        findings
    }

    /// Deletes carry the replica identity and nothing else: a key that is not part of it would be
    /// missing in them.
    fn coverage(
        &self,
        listed: &Listed,
        table: &str,
        key: &[String],
        configured: bool,
    ) -> Option<Finding> {
        let parts = self.whitelist.entries.values().filter(|part| {
            part.kind == RelationKind::Table
                && (part.oid == listed.oid || part.root == Some(listed.oid))
        });
        let mut bare: Vec<(String, &[String])> = parts
            .filter_map(|part| {
                let identity = self.rights.get(&part.oid)?.identity.as_ref()?;
                let covers = key.iter().all(|column| identity.contains(column));
                // No identity at all is refused with the publication already.
                (!covers && !identity.is_empty())
                    .then(|| (qualified(&part.schema, &part.name), identity.as_slice()))
            })
            .collect();
        bare.sort();
        let (_, identity) = bare.first()?;
        let severity = if configured { Severity::Error } else { Severity::Warning };
        let sql: Vec<_> = bare
            .iter()
            .map(|(name, _)| format!("ALTER TABLE {name} REPLICA IDENTITY FULL;"))
            .collect();
        Some(
            Finding::new(
                severity,
                format!(
                    "deletes of {table} carry its replica identity ({}) and not all of its key \
                     ({})",
                    identity.join(", "),
                    key.join(", ")
                ),
            )
            .remedy(sql.join(" ")),
        )
    }
}

/// The stream sends all rows whatever the policies say; a snapshot refuses to send fewer.
fn row_security(part: &Listed, rights: &Rights, is_read: bool, user: &str) -> Option<Finding> {
    let table = dotted(&part.schema, &part.name);
    if !rights.row_security {
        return None;
    }
    let bypass = format!("ALTER ROLE {user} BYPASSRLS;");
    if is_read && rights.row_security_hides {
        let what = format!("row-level security of {table} would hide rows from the snapshot");
        return Some(Finding::error(what).remedy(bypass));
    }
    let finding = Finding::warning(format!(
        "row-level security of {table} does not apply to the stream: all of its rows are sent"
    ));
    Some(if rights.row_security_hides {
        finding.remedy(format!("for snapshots as well: {bypass}"))
    } else {
        finding
    })
}

/// The columns of the record key.
fn key<'a>(facts: &'a TableFacts, rule: &'a TableRule) -> &'a [String] {
    match &rule.key_columns {
        Some(columns) => columns,
        None if facts.primary_key.is_empty() => &facts.unique_key,
        None => &facts.primary_key,
    }
}

fn absent<'a>(
    facts: &'a TableFacts,
    columns: &'a [String],
) -> impl Iterator<Item = &'a String> + 'a {
    columns.iter().filter(|column| !facts.columns.iter().any(|there| there.name == **column))
}

fn generated(facts: &TableFacts, table: &str) -> Option<Finding> {
    let columns: Vec<_> =
        facts.columns.iter().filter(|column| column.generated).map(|c| c.name.as_str()).collect();
    (!columns.is_empty()).then(|| {
        Finding::info(format!(
            "generated columns of {table} are not sent by the server: {}",
            columns.join(", ")
        ))
    })
}

fn outbox(facts: &TableFacts, rule: &OutboxRule) -> Vec<Finding> {
    let table = dotted(&facts.schema, &facts.name);
    let mut columns = vec![
        ("columns.id", &rule.id),
        ("columns.key", &rule.key),
        ("columns.payload", &rule.payload),
        ("columns.route", &rule.route),
    ];
    columns.extend(rule.timestamp.iter().map(|column| ("timestamp", column)));
    columns.extend(rule.partition.iter().map(|column| ("partition", column)));
    columns.extend(rule.headers.iter().map(|(_, column)| ("headers", column)));
    columns.extend(rule.envelope.iter().map(|(_, column)| ("envelope", column)));
    columns
        .into_iter()
        .filter(|(_, column)| {
            !facts.columns.iter().any(|there| there.name == **column && !there.generated)
        })
        .map(|(setting, column)| {
            Finding::error(format!("the outbox {table} has no column {column} ({setting})"))
                .remedy("add the column, or name the right one in its [[outbox]]")
        })
        .collect()
}
