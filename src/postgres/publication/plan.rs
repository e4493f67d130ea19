//! From what is wanted and what is there to the statements between them: pure.
//!
//! Two publications carry a deployment. The first publishes every operation of the tables whose
//! replica identity serves UPDATE and DELETE; the second, `<publication>_inserts`, publishes the
//! inserts of outboxes and of tables with `inserts_only`, which therefore need no identity.
//!
//! The argument of [`plan`]: adding a table without a usable identity to a publication that
//! publishes updates makes the *application's* UPDATE and DELETE fail, so such a table is refused
//! and nothing at all is changed; tables are named with `ONLY`, because a table's inheritance
//! children would be published with it while the whitelist does not list them; both publications
//! are made from the start, even empty, because a publication that is younger than the slot is an
//! error at every read (up to 17) or silently skipped (18).
//!
//! [`verify`] changes nothing: with `publication_manage = "never"` whatever covers the whitelist
//! is right, a publication for all tables or schemas included, since the whitelist filters anyway.

use std::collections::HashSet;
use std::fmt;

use super::state::{Existing, Member, Operations, State, Wanted};
use crate::postgres::Oid;
use crate::postgres::query::{identifier, qualified};
use crate::postgres::whitelist::dotted;

/// What the settings ask for.
#[derive(Debug, Clone)]
pub struct Desired {
    pub main: String,
    pub inserts: String,
    pub via_root: bool,
    /// Names without wildcards that no table has, for the suspicion of a rename.
    pub unmatched: Vec<String>,
}

/// The way from here to there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// SQL without the closing semicolons, in order; empty when all is as it should be.
    pub statements: Vec<String>,
    /// Why nothing may be changed; with one of these no statement is to be run.
    pub refusals: Vec<Refusal>,
    /// What our role lacks for the statements.
    pub missing: Vec<Missing>,
    /// The statements in words, for the log.
    pub changes: Vec<String>,
    /// What an operator should know although it keeps nothing from working.
    pub notices: Vec<String>,
}

/// A state that only an operator can resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The table, or partitions of it, cannot serve UPDATE and DELETE.
    NoIdentity { table: String, unidentified: Vec<String> },
    /// The publication has a table that is not listed, while a listed name has no table.
    Renamed { publication: String, table: String, sql: String, unmatched: Vec<String> },
    /// The publication was made for all tables or for schemas, not by walferry.
    Foreign { publication: String, made: &'static str },
}

/// A privilege that our role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    /// The SQL that grants it.
    pub grant: String,
}

/// What has to be run so that both publications equal the whitelist.
#[must_use]
pub fn plan(desired: &Desired, state: &State) -> Plan {
    let mut plan = Plan::default();
    let mut main = Vec::new();
    let mut inserts = Vec::new();
    for table in &state.tables {
        if table.inserts_only {
            inserts.push(table);
        } else if table.unidentified.is_empty() {
            main.push(table);
        } else {
            plan.refusals.push(Refusal::NoIdentity {
                table: dotted(&table.schema, &table.name),
                unidentified: table.unidentified.clone(),
            });
        }
    }
    // What moves to the other publication is taken out of the first one: the order of the two
    // does not matter inside one transaction.
    plan.bring(desired, state, &desired.main, Operations::ALL, &main);
    plan.bring(desired, state, &desired.inserts, Operations::INSERT, &inserts);
    plan
}

/// What would have to be run by the operator so that the publications cover the whitelist.
#[must_use]
pub fn verify(desired: &Desired, state: &State) -> Plan {
    let mut plan = Plan::default();
    let mut uncovered = (Vec::new(), Vec::new());
    for table in &state.tables {
        let covered = state.publications.iter().filter(|publication| covers(publication, table));
        let operations = covered
            .map(|publication| publication.operations)
            .fold(Operations::default(), Operations::union);
        if table.inserts_only {
            if !operations.insert {
                uncovered.1.push(table);
            }
        } else if !(operations.insert && operations.update && operations.delete) {
            uncovered.0.push(table);
        } else if !table.unidentified.is_empty() {
            plan.notices.push(format!(
                "{} is published without a usable replica identity: UPDATE and DELETE of the \
                 application fail on {}",
                dotted(&table.schema, &table.name),
                table.unidentified.join(", ")
            ));
        }
    }
    plan.cover(desired, state, &desired.main, Operations::ALL, &uncovered.0, true);
    plan.cover(desired, state, &desired.inserts, Operations::INSERT, &uncovered.1, false);
    plan.narrowed(state);
    plan
}

/// Whether a publication sends changes of the table, whatever it was made for.
fn covers(publication: &Existing, table: &Wanted) -> bool {
    publication.all_tables
        || table.lineage.iter().any(|(oid, schema)| {
            publication.members.iter().any(|member| member.oid == *oid)
                || publication.schemas.contains(schema)
        })
}

impl Plan {
    fn bring(
        &mut self,
        desired: &Desired,
        state: &State,
        name: &str,
        operations: Operations,
        tables: &[&Wanted],
    ) {
        let Some(existing) = find(state, name) else {
            self.create(desired, state, name, operations, tables);
            return;
        };
        if existing.all_tables || !existing.schemas.is_empty() {
            let made = if existing.all_tables { "FOR ALL TABLES" } else { "FOR TABLES IN SCHEMA" };
            self.refusals.push(Refusal::Foreign { publication: name.to_owned(), made });
            return;
        }
        let before = self.statements.len();
        self.options(existing, operations, desired.via_root);
        self.remove(desired, state, existing, tables);
        let members: HashSet<Oid> = existing.members.iter().map(|member| member.oid).collect();
        let added: Vec<_> =
            tables.iter().copied().filter(|table| !members.contains(&table.oid)).collect();
        self.add(state, name, &added);
        if self.statements.len() > before && !existing.owned {
            self.missing.push(Missing {
                what: format!("ownership of the publication {name}"),
                grant: grant_role(&existing.owner, &state.user),
            });
        }
        let listed = existing.members.iter().filter(|m| tables.iter().any(|t| t.oid == m.oid));
        self.warn_of_narrowed(name, listed);
    }

    fn create(
        &mut self,
        desired: &Desired,
        state: &State,
        name: &str,
        operations: Operations,
        tables: &[&Wanted],
    ) {
        let members =
            if tables.is_empty() { String::new() } else { format!(" FOR TABLE {}", only(tables)) };
        self.statements.push(format!(
            "CREATE PUBLICATION {}{members} WITH (publish = '{}', publish_via_partition_root = {})",
            identifier(name),
            operations.sql(),
            desired.via_root
        ));
        self.changes.push(format!("creates publication {name} with {}", names(tables)));
        if !state.may_create {
            let grant = format!(
                "GRANT CREATE ON DATABASE {} TO {}",
                identifier(&state.database),
                identifier(&state.user)
            );
            let what = format!("CREATE on the database {}", state.database);
            if !self.missing.iter().any(|missing| missing.grant == grant) {
                self.missing.push(Missing { what, grant });
            }
        }
        self.require_ownership(state, tables);
    }

    /// `ALTER PUBLICATION … SET (…)` for what differs.
    fn options(&mut self, existing: &Existing, operations: Operations, via_root: bool) {
        let mut options = Vec::new();
        if existing.operations != operations {
            options.push(format!("publish = '{}'", operations.sql()));
        }
        if existing.via_root != via_root {
            options.push(format!("publish_via_partition_root = {via_root}"));
        }
        if !options.is_empty() {
            let options = options.join(", ");
            self.statements
                .push(format!("ALTER PUBLICATION {} SET ({options})", identifier(&existing.name)));
            self.changes.push(format!("sets {options} on publication {}", existing.name));
        }
    }

    fn remove(
        &mut self,
        desired: &Desired,
        state: &State,
        existing: &Existing,
        tables: &[&Wanted],
    ) {
        let wanted: HashSet<Oid> = tables.iter().map(|table| table.oid).collect();
        // A table that is refused keeps the whole plan from being run, so it needs no case here.
        let removed: Vec<&Member> =
            existing.members.iter().filter(|member| !wanted.contains(&member.oid)).collect();
        if removed.is_empty() {
            return;
        }
        let listed: HashSet<Oid> = state.tables.iter().map(|table| table.oid).collect();
        for member in &removed {
            let is_listed = listed.contains(&member.oid)
                || member.ancestors.iter().any(|ancestor| listed.contains(ancestor));
            if !is_listed && !desired.unmatched.is_empty() {
                self.refusals.push(Refusal::Renamed {
                    publication: existing.name.clone(),
                    table: dotted(&member.schema, &member.name),
                    sql: drop_tables(&existing.name, &[*member]),
                    unmatched: desired.unmatched.clone(),
                });
            }
        }
        self.statements.push(drop_tables(&existing.name, &removed));
        let names: Vec<_> = removed.iter().map(|m| dotted(&m.schema, &m.name)).collect();
        self.changes.push(format!(
            "removes {} from publication {}",
            names.join(", "),
            existing.name
        ));
    }

    fn add(&mut self, state: &State, name: &str, tables: &[&Wanted]) {
        if tables.is_empty() {
            return;
        }
        self.statements.push(format!(
            "ALTER PUBLICATION {} ADD TABLE {}",
            identifier(name),
            only(tables)
        ));
        self.changes.push(format!("adds {} to publication {name}", names(tables)));
        self.require_ownership(state, tables);
    }

    fn require_ownership(&mut self, state: &State, tables: &[&Wanted]) {
        for table in tables.iter().filter(|table| !table.owned) {
            self.missing.push(Missing {
                what: format!("ownership of the table {}", dotted(&table.schema, &table.name)),
                grant: grant_role(&table.owner, &state.user),
            });
        }
    }

    /// The operator's SQL for what a publication in mode `never` lacks.
    fn cover(
        &mut self,
        desired: &Desired,
        state: &State,
        name: &str,
        operations: Operations,
        uncovered: &[&Wanted],
        always: bool,
    ) {
        let Some(existing) = find(state, name) else {
            if always || !uncovered.is_empty() {
                self.create(desired, state, name, operations, uncovered);
            }
            return;
        };
        // The option says which relation the changes of a partition name, so it only matters
        // where something is partitioned.
        let partitioned = state.tables.iter().any(|t| t.partitioned && covers(existing, t));
        let via_root = if partitioned { desired.via_root } else { existing.via_root };
        let wanted = if uncovered.is_empty() {
            existing.operations
        } else {
            existing.operations.union(operations)
        };
        self.options(existing, wanted, via_root);
        let absent: Vec<_> =
            uncovered.iter().copied().filter(|table| !covers(existing, table)).collect();
        self.add(state, name, &absent);
    }

    fn narrowed(&mut self, state: &State) {
        for publication in &state.publications {
            self.warn_of_narrowed(&publication.name, publication.members.iter());
        }
    }

    fn warn_of_narrowed<'a>(&mut self, name: &str, members: impl Iterator<Item = &'a Member>) {
        for member in members.filter(|member| member.narrowed) {
            self.notices.push(format!(
                "publication {name} has a row filter or column list for {}: what it leaves out \
                 never arrives",
                dotted(&member.schema, &member.name)
            ));
        }
    }
}

impl Refusal {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Refusal::NoIdentity { table, unidentified } => {
                let sql: Vec<_> = unidentified
                    .iter()
                    .map(|table| format!("ALTER TABLE {table} REPLICA IDENTITY FULL;"))
                    .collect();
                format!(
                    "{} (or add a primary key, or REPLICA IDENTITY USING INDEX), or set \
                     inserts_only = true in the [[table]] of {table}",
                    sql.join(" ")
                )
            }
            Refusal::Renamed { table, sql, unmatched, .. } => format!(
                "if {table} is {} renamed, list it by its new name (with `topic` to keep the old \
                 topic); if it is not to be sent any more, run: {sql};",
                unmatched.join(" or ")
            ),
            Refusal::Foreign { publication, .. } => format!(
                "set publication_manage = \"never\" to use it as it is, or another publication, \
                 or run: DROP PUBLICATION {};",
                identifier(publication)
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoIdentity { table, unidentified } => write!(
                f,
                "{table} is not added to the publication: without a usable replica identity on {} \
                 the application's UPDATE and DELETE would fail",
                unidentified.join(", ")
            ),
            Refusal::Renamed { publication, table, unmatched, .. } => write!(
                f,
                "publication {publication} has {table}, which is not listed, while there is no \
                 table for the listed {}: it may have been renamed",
                unmatched.join(", ")
            ),
            Refusal::Foreign { publication, made } => {
                write!(f, "publication {publication} was made {made}, not by walferry")
            }
        }
    }
}

fn find<'a>(state: &'a State, name: &str) -> Option<&'a Existing> {
    state.publications.iter().find(|publication| publication.name == name)
}

fn only(tables: &[&Wanted]) -> String {
    let tables: Vec<_> =
        tables.iter().map(|t| format!("ONLY {}", qualified(&t.schema, &t.name))).collect();
    tables.join(", ")
}

fn names(tables: &[&Wanted]) -> String {
    if tables.is_empty() {
        return "no tables".to_owned();
    }
    let names: Vec<_> = tables.iter().map(|table| dotted(&table.schema, &table.name)).collect();
    names.join(", ")
}

fn drop_tables(publication: &str, members: &[&Member]) -> String {
    let tables: Vec<_> =
        members.iter().map(|m| format!("ONLY {}", qualified(&m.schema, &m.name))).collect();
    format!("ALTER PUBLICATION {} DROP TABLE {}", identifier(publication), tables.join(", "))
}

fn grant_role(owner: &str, user: &str) -> String {
    format!("GRANT {} TO {}", identifier(owner), identifier(user))
}
