//! The whitelist: which relations of the database leave it, under which rule.
//!
//! The `[[table]]` and `[[outbox]]` patterns of the configuration are resolved to oids, because a
//! name is no identity: a table can be renamed, swapped for another of the same name, gain a
//! partition, or be one. The guarantee (invariant I9): nothing is listed that no rule matches,
//! and a table that was listed stays so, under its rule and topic, whatever it is called later.
//!
//! # Which rule wins
//!
//! By name, and as `Settings::listing` says for a single one: an `[[outbox]]` before any
//! `[[table]]` (its rows must never go to a table's topic); then a `[[table]]` without wildcards
//! before one with; then the first in the file. Patterns with
//! wildcards match ordinary and partitioned tables only. Views, foreign tables, unlogged tables
//! and the system's own cannot be replicated: wildcards pass over them, and one that is named
//! exactly is a [`Problem`] that stops.
//!
//! # Partitions
//!
//! With `publish_via_partition_root` a partition belongs to its topmost listed ancestor: it has
//! the ancestor's rule and [`Listed::root`] says whose topic its rows go to. Without it each
//! partition is a table of its own, as with Debezium: under the rule that matches its own name,
//! else under that of its nearest listed ancestor. Either way it is the ancestor that becomes a
//! member of the publication ([`Whitelist::members`]), so that partitions made later are in it
//! from their first row.
//!
//! # While running
//!
//! Each relation message is looked up with [`Whitelist::relation`]. An oid that is not known may
//! be a new table that a pattern matches, a table swapped in under a listed name, or a new
//! partition of a listed table: [`Whitelist::learn`] asks the catalog. Its answer "unlisted" is
//! not kept, since the next relation message may follow an `ATTACH PARTITION`.

mod problem;
mod query;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use tokio_postgres::Client;

pub use problem::Problem;

use super::Oid;
use super::catalog::RelationKind;
use crate::config::settings::{Settings, TablePattern};
use crate::failure::Failure;

/// What is listed, by oid, and what the patterns did not do.
#[derive(Debug, Clone, Default)]
pub struct Whitelist {
    pub entries: HashMap<Oid, Listed>,
    /// Patterns that no table matches: it may be created later.
    pub unmatched: Vec<TablePattern>,
    pub problems: Vec<Problem>,
    rules: Vec<Rule>,
    via_root: bool,
}

/// A relation that leaves the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub oid: Oid,
    /// Schema and name under which it was listed first; topic and record names come from them,
    /// whatever it was renamed to since.
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub role: Role,
    /// Only inserts leave: an outbox, or a `[[table]]` with `inserts_only`.
    pub inserts_only: bool,
    /// The listed ancestor under whose name and topic its rows leave; `None`: its own.
    pub root: Option<Oid>,
    /// The listed ancestor through which the publication covers it; `None`: it is a member itself.
    pub via: Option<Oid>,
}

/// The rule that a relation is listed under, as an index into the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Of `Settings::tables`.
    Table { rule: usize },
    /// Of `Settings::outboxes`.
    Outbox { rule: usize },
}

/// What a relation message means.
#[derive(Debug, PartialEq, Eq)]
pub enum Relation<'a> {
    Listed(&'a Listed),
    /// Listed, but called otherwise by now: still the same table, rule and topic.
    Renamed {
        listed: &'a Listed,
        from: String,
        to: String,
    },
    /// Not known by oid: [`Whitelist::learn`] tells.
    Unknown,
}

/// What the catalog says of an oid that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// It is in the whitelist now.
    Listed,
    /// No rule matches it: its rows stay.
    Unlisted,
    /// The table is gone and no rule matches its name: whether it was a partition of a listed
    /// table cannot be known any more. With a publication of ours it must have been one.
    Vanished,
}

/// The kinds of relation that a name can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    Partitioned,
    Unlogged,
    View,
    MaterializedView,
    ForeignTable,
}

/// A relation of the database that a pattern could mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub kind: Kind,
    /// The partitioned tables above it, from the nearest to the root.
    pub ancestors: Vec<Oid>,
}

/// The whitelist cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Query(#[from] super::query::Error),
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Query(error) => error.into(),
            Error::Problems(ref problems) => {
                let mut remedies: Vec<_> = problems.iter().map(Problem::remedy).collect();
                remedies.dedup();
                Failure::stop("whitelist", error.to_string()).remedy(remedies.join("; "))
            }
        }
    }
}

/// Resolves the patterns of the settings against the database.
///
/// `previous` is the whitelist of the same process, when there was one: what it lists stays
/// listed as it is, so that a table renamed meanwhile is not lost.
pub async fn resolve(
    client: &Client,
    settings: &Settings,
    previous: Option<&Whitelist>,
) -> Result<Whitelist, super::query::Error> {
    let candidates = query::candidates(client).await?;
    Ok(Whitelist::build(settings, &candidates, previous))
}

impl Whitelist {
    /// The pure part of [`resolve`].
    #[must_use]
    pub fn build(
        settings: &Settings,
        candidates: &[Candidate],
        previous: Option<&Whitelist>,
    ) -> Whitelist {
        let mut whitelist = Whitelist {
            entries: previous.map(|previous| previous.entries.clone()).unwrap_or_default(),
            rules: rules(settings),
            via_root: settings.postgres.publish_via_partition_root,
            ..Whitelist::default()
        };
        let kept: HashSet<Role> = whitelist.entries.values().map(|listed| listed.role).collect();
        whitelist.admit(candidates);
        whitelist.note(candidates);
        whitelist.note_shared_topics(settings);
        let matched = |rule: &Rule| {
            kept.contains(&rule.role)
                || (rule.exact && rule.is_system())
                || candidates.iter().any(|candidate| {
                    rule.matches(&candidate.schema, &candidate.name)
                        && (candidate.kind.is_replicated() || rule.exact)
                })
        };
        whitelist.unmatched = whitelist
            .rules
            .iter()
            .filter(|rule| !matched(rule))
            .map(|rule| rule.pattern.clone())
            .collect();
        whitelist
    }

    /// An error when a rule names something that cannot be replicated.
    pub fn ensure(&self) -> Result<(), Error> {
        let fatal: Vec<_> = self.problems.iter().filter(|p| p.is_fatal()).cloned().collect();
        if fatal.is_empty() { Ok(()) } else { Err(Error::Problems(fatal)) }
    }

    /// What a relation message with this oid and name means, as far as it is known.
    #[must_use]
    pub fn relation(&self, oid: Oid, schema: &str, name: &str) -> Relation<'_> {
        let Some(listed) = self.entries.get(&oid) else { return Relation::Unknown };
        if listed.schema == schema && listed.name == name {
            return Relation::Listed(listed);
        }
        let (from, to) = (dotted(&listed.schema, &listed.name), dotted(schema, name));
        Relation::Renamed { listed, from, to }
    }

    /// Asks the catalog about the unknown oid of a relation message, and lists it if a rule or a
    /// listed ancestor says so. Cancel-safe: the whitelist changes after the only wait.
    pub async fn learn(
        &mut self,
        client: &Client,
        oid: Oid,
        schema: &str,
        name: &str,
    ) -> Result<Learned, super::query::Error> {
        let lineage = query::lineage(client, oid).await?;
        Ok(self.admit_one(oid, schema, name, &lineage))
    }

    /// The entry whose topic and schema the rows of `listed` leave under: itself or its root.
    #[must_use]
    pub fn target<'a>(&'a self, listed: &'a Listed) -> &'a Listed {
        listed.root.and_then(|root| self.entries.get(&root)).unwrap_or(listed)
    }

    /// What owns a topic: a table, a partitioned table whose partitions are published as it, or else
    /// each partition.
    pub fn targets(&self) -> impl Iterator<Item = &Listed> {
        self.entries.values().filter(|listed| {
            let is_split = listed.kind == RelationKind::Partitioned && !self.via_root;
            listed.root.is_none() && !is_split
        })
    }

    /// What belongs into a publication, ordered by oid: partitions of it are covered through it.
    pub fn members(&self) -> Vec<&Listed> {
        let mut members: Vec<_> = self.entries.values().filter(|l| l.via.is_none()).collect();
        members.sort_by_key(|listed| listed.oid);
        members
    }

    fn admit_one(&mut self, oid: Oid, schema: &str, name: &str, lineage: &[Candidate]) -> Learned {
        if lineage.iter().any(|candidate| candidate.oid == oid) {
            self.admit(lineage);
            // The catalog knows the table's name now; the message has that of its place in the
            // WAL, under which it may have been listed.
            if !self.entries.contains_key(&oid) {
                self.admit_by_name(oid, schema, name, lineage);
            }
            return if self.entries.contains_key(&oid) {
                Learned::Listed
            } else {
                Learned::Unlisted
            };
        }
        self.admit_by_name(oid, schema, name, &[]);
        if self.entries.contains_key(&oid) { Learned::Listed } else { Learned::Vanished }
    }

    fn admit_by_name(&mut self, oid: Oid, schema: &str, name: &str, lineage: &[Candidate]) {
        let known = lineage.iter().find(|candidate| candidate.oid == oid);
        self.admit(&[Candidate {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: known.map_or(Kind::Table, |candidate| candidate.kind),
            ancestors: known.map(|candidate| candidate.ancestors.clone()).unwrap_or_default(),
        }]);
    }

    /// Lists the candidates that a rule or a listed ancestor matches; entries stay as they are.
    fn admit(&mut self, candidates: &[Candidate]) {
        let own: HashMap<Oid, Own> = candidates
            .iter()
            .filter(|candidate| candidate.kind.is_replicated())
            .filter_map(|candidate| Some((candidate.oid, self.own(candidate)?)))
            .collect();
        for candidate in candidates.iter().filter(|candidate| candidate.kind.is_replicated()) {
            if self.entries.contains_key(&candidate.oid) {
                continue;
            }
            if let Some(listed) = self.listed(candidate, &own) {
                self.entries.insert(candidate.oid, listed);
            }
        }
    }

    /// The rule of a relation by its name, or the one it was listed under already.
    fn own(&self, candidate: &Candidate) -> Option<Own> {
        if let Some(listed) = self.entries.get(&candidate.oid) {
            return Some(Own { role: listed.role, inserts_only: listed.inserts_only });
        }
        let rule = winner(&self.rules, &candidate.schema, &candidate.name)?;
        Some(Own { role: rule.role, inserts_only: rule.inserts_only })
    }

    fn listed(&self, candidate: &Candidate, own: &HashMap<Oid, Own>) -> Option<Listed> {
        // An ancestor that is listed already need not be among the candidates.
        let rule_of = |oid: &Oid| {
            own.get(oid).copied().or_else(|| {
                let listed = self.entries.get(oid)?;
                Some(Own { role: listed.role, inserts_only: listed.inserts_only })
            })
        };
        let nearest = candidate.ancestors.iter().find_map(|oid| Some((*oid, rule_of(oid)?)));
        let topmost = candidate.ancestors.iter().rev().find_map(|oid| Some((*oid, rule_of(oid)?)));
        let (rule, root) = if self.via_root {
            match topmost {
                Some((root, rule)) => (rule, Some(root)),
                None => (rule_of(&candidate.oid)?, None),
            }
        } else {
            (rule_of(&candidate.oid).or_else(|| nearest.map(|(_, rule)| rule))?, None)
        };
        Some(Listed {
            oid: candidate.oid,
            schema: candidate.schema.clone(),
            name: candidate.name.clone(),
            kind: match candidate.kind {
                Kind::Partitioned => RelationKind::Partitioned,
                _ => RelationKind::Table,
            },
            role: rule.role,
            inserts_only: rule.inserts_only,
            root,
            via: topmost.map(|(oid, _)| oid),
        })
    }

    /// Collects what the patterns did not do.
    fn note(&mut self, candidates: &[Candidate]) {
        let mut problems = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.exact && rule.is_system()) {
            problems.push(Problem::System { pattern: rule.pattern.clone() });
        }
        problems.extend(candidates.iter().filter_map(|candidate| self.problem(candidate)));
        self.problems = problems;
    }

    /// A table swapped in under a listed name shares the topic of its predecessor, and is meant to.
    fn note_shared_topics(&mut self, settings: &Settings) {
        let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for listed in self.entries.values() {
            // Rows of a partition leave as its root's; those of a root as its partitions'.
            let is_split = listed.kind == RelationKind::Partitioned && !self.via_root;
            let Role::Table { rule } = listed.role else { continue };
            if let Some(rule) = settings.tables.get(rule)
                && listed.root.is_none()
                && !is_split
            {
                let topic = settings.topic_for(rule, &listed.schema, &listed.name);
                topics.entry(topic).or_default().insert(dotted(&listed.schema, &listed.name));
            }
        }
        self.problems.extend(topics.into_iter().filter(|(_, tables)| tables.len() > 1).map(
            |(topic, tables)| Problem::SharedTopic { topic, tables: tables.into_iter().collect() },
        ));
    }

    fn problem(&self, candidate: &Candidate) -> Option<Problem> {
        let rule = winner(&self.rules, &candidate.schema, &candidate.name);
        let named = rule.filter(|rule| rule.exact);
        let table = dotted(&candidate.schema, &candidate.name);
        let kind = candidate.kind;
        if kind.is_replicated() {
            named?;
            let root = self.entries.get(&candidate.oid)?.root?;
            let root = self.entries.get(&root)?;
            return Some(Problem::Shadowed { table, root: dotted(&root.schema, &root.name) });
        }
        if let Some(rule) = named {
            return Some(Problem::NotReplicated { pattern: rule.pattern.clone(), kind });
        }
        let is_part = candidate.ancestors.iter().any(|oid| self.entries.contains_key(oid));
        let is_meant = is_part || (rule.is_some() && kind == Kind::Unlogged);
        is_meant.then_some(Problem::Unsent { table, kind })
    }
}

impl Kind {
    fn is_replicated(self) -> bool {
        matches!(self, Kind::Table | Kind::Partitioned)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Table => "a table",
            Kind::Partitioned => "a partitioned table",
            Kind::Unlogged => "an unlogged table",
            Kind::View => "a view",
            Kind::MaterializedView => "a materialized view",
            Kind::ForeignTable => "a foreign table",
        })
    }
}

/// One pattern with what it means.
#[derive(Debug, Clone)]
struct Rule {
    pattern: TablePattern,
    exact: bool,
    role: Role,
    inserts_only: bool,
}

/// What a name is listed under.
#[derive(Debug, Clone, Copy)]
struct Own {
    role: Role,
    inserts_only: bool,
}

impl Rule {
    fn matches(&self, schema: &str, name: &str) -> bool {
        self.pattern.matches(schema, name)
    }

    fn is_system(&self) -> bool {
        self.pattern.schema.starts_with("pg_") || self.pattern.schema == "information_schema"
    }
}

/// The rules in the order in which they win.
fn rules(settings: &Settings) -> Vec<Rule> {
    let rule = |pattern: &TablePattern, role, inserts_only| Rule {
        pattern: pattern.clone(),
        exact: pattern.is_exact(),
        role,
        inserts_only,
    };
    let outboxes = settings.outboxes.iter().enumerate();
    let outboxes = outboxes.map(|(i, o)| rule(&o.table, Role::Outbox { rule: i }, true));
    let tables = settings.tables.iter().enumerate();
    let tables = tables.map(|(i, t)| rule(&t.pattern, Role::Table { rule: i }, t.inserts_only));
    let mut rules: Vec<Rule> = outboxes.chain(tables).collect();
    // Outboxes are in front already. Stable: what ties stays in the order of the file.
    rules.sort_by_key(|rule| matches!(rule.role, Role::Table { .. }) && !rule.exact);
    rules
}

fn winner<'a>(rules: &'a [Rule], schema: &str, name: &str) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.matches(schema, name))
}

/// `schema.table` for people.
pub(crate) fn dotted(schema: &str, name: &str) -> String {
    format!("{schema}.{name}")
}
