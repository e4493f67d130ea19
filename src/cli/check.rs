//! `walferry check`: everything that would keep a run from working, each with its remedy, and
//! nothing changed.
//!
//! The configuration is judged first, since without it there is nobody to ask. Postgres, Kafka and
//! the registry are then asked at once; one that cannot be reached keeps nothing from being said
//! about the others.

use serde_json::{Value, json};

use super::args::{CheckArgs, GlobalArgs};
use super::deployment::{Known, Postgres, admin};
use super::output::{Output, Paint, Severity};
use super::schema::{self, Entry, Half};
use super::slot::prospect;
use super::{Exit, block_on, load_settings};
use crate::config::{self, Settings};
use crate::delivery::standing;
use crate::delivery::startup::Decision;
use crate::envelope::message;
use crate::failure::{Class, Failure};
use crate::kafka::topics::TopicSpec;
use crate::kafka::{Admin, Outlook, TopicName, position_topic};
use crate::postgres::whitelist::{self, Role, Whitelist};
use crate::postgres::{catalog, preflight};
use crate::registry::Registry;

/// One thing that was found, and where.
#[derive(Debug)]
struct Finding {
    about: &'static str,
    severity: Severity,
    what: String,
    remedy: Option<String>,
    /// It could not be looked at, and may be right.
    unreached: bool,
}

impl Finding {
    fn new(about: &'static str, severity: Severity, what: impl Into<String>) -> Finding {
        Finding { about, severity, what: what.into(), remedy: None, unreached: false }
    }

    fn failure(about: &'static str, failure: Failure) -> Finding {
        let mut what = failure.message;
        let mut cause = failure.source.as_deref().map(|cause| cause as &dyn std::error::Error);
        // A chain is short; the bound is against one that goes in circles.
        for _ in 0..16 {
            let Some(error) = cause else { break };
            let words = error.to_string();
            if !what.contains(&words) {
                what = format!("{what}: {words}");
            }
            cause = error.source();
        }
        Finding {
            about,
            severity: Severity::Error,
            what,
            remedy: failure.remedy,
            unreached: failure.class == Class::Retry,
        }
    }

    fn json(&self) -> Value {
        json!({
            "about": self.about,
            "severity": self.severity.as_str(),
            "what": self.what,
            "remedy": self.remedy,
        })
    }
}

impl From<preflight::Finding> for Finding {
    fn from(finding: preflight::Finding) -> Finding {
        let severity = match finding.severity {
            preflight::Severity::Error => Severity::Error,
            preflight::Severity::Warning => Severity::Warning,
            preflight::Severity::Info => Severity::Note,
        };
        let remedy = finding.remedy;
        Finding { remedy, ..Finding::new("postgres", severity, finding.what) }
    }
}

pub(super) fn run(global: &GlobalArgs, args: &CheckArgs) -> Result<Exit, Failure> {
    if args.json
        && let Err(errors) = config::load(&global.config)
    {
        let problems: Vec<Value> = errors.problems().iter().map(problem_json).collect();
        Output::stdout().line(&Value::Array(problems).to_string());
        return Ok(Exit::Operator);
    }
    let settings = load_settings(global)?;
    let findings = block_on(async { Ok(look(&settings).await) })?;
    if args.json {
        let findings: Vec<Value> = findings.iter().map(Finding::json).collect();
        Output::stdout().line(&Value::Array(findings).to_string());
    } else {
        print(&findings);
    }
    Ok(exit(&findings))
}

fn problem_json(problem: &config::Problem) -> Value {
    json!({
        "about": "config",
        "severity": "error",
        "key": problem.key,
        "line": problem.position.map(|at| at.line),
        "column": problem.position.map(|at| at.column),
        "what": problem.message,
        "nearest": problem.nearest,
        "remedy": problem.remedy,
    })
}

/// What is wrong for certain counts more than what could not be looked at.
fn exit(findings: &[Finding]) -> Exit {
    let errors = || findings.iter().filter(|finding| finding.severity == Severity::Error);
    match (errors().any(|finding| !finding.unreached), errors().next().is_some()) {
        (true, _) => Exit::Operator,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    }
}

/// By subject, and the gravest first.
fn print(findings: &[Finding]) {
    let output = Output::stdout();
    let mut about = "";
    for finding in findings {
        if finding.about != about {
            about = finding.about;
            output.line(&output.paint(Paint::Bold, about));
        }
        output.finding(finding.severity, &finding.what, finding.remedy.as_deref());
    }
    let count = |severity| findings.iter().filter(|found| found.severity == severity).count();
    let plural =
        |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    output.line(&format!(
        "{}, {}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning")
    ));
}

/// What Postgres said, for the questions to the others.
struct Seen {
    findings: Vec<Finding>,
    postgres: Option<Postgres>,
    whitelist: Whitelist,
    entries: Vec<Entry>,
}

async fn look(settings: &Settings) -> Vec<Finding> {
    let Seen { mut findings, mut postgres, whitelist, entries } = look_at_postgres(settings).await;
    let (kafka, registry) = tokio::join!(
        look_at_kafka(settings, postgres.as_mut(), &whitelist),
        look_at_registry(settings, &entries)
    );
    sort(&mut findings);
    for mut more in [kafka, registry] {
        sort(&mut more);
        findings.extend(more);
    }
    findings
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}

async fn look_at_postgres(settings: &Settings) -> Seen {
    let mut seen = Seen {
        findings: Vec::new(),
        postgres: None,
        whitelist: Whitelist::default(),
        entries: Vec::new(),
    };
    if let Err(failure) = ask_postgres(settings, &mut seen).await {
        seen.findings.push(Finding::failure("postgres", failure));
    }
    seen
}

async fn ask_postgres(settings: &Settings, seen: &mut Seen) -> Result<(), Failure> {
    let control = super::deployment::control(settings).await?;
    let client = &control.client;
    let findings = preflight::findings(client, settings).await?;
    seen.findings.extend(findings.into_iter().map(Finding::from));
    seen.whitelist = whitelist::resolve(client, settings, None).await?;
    for (table, entry) in schema::entries(client, settings, &seen.whitelist).await? {
        match entry {
            Ok(entry) => seen.entries.push(entry),
            Err(failure) => {
                let mut finding = Finding::failure("postgres", failure);
                // The message names the table, and what to change.
                finding.remedy.get_or_insert_with(|| format!("correct the listing of {table}"));
                // The preflight says of a missing column what this would say again.
                let known = |known: &Finding| {
                    known.what.contains(&table) && known.severity == Severity::Error
                };
                if !seen.findings.iter().any(known) {
                    seen.findings.push(finding);
                }
            }
        }
    }
    // Without the privilege there is no replication connection, which the preflight has said.
    if !catalog::server_info(client).await?.may_replicate {
        return Ok(());
    }
    let postgres = Postgres::look_through(control, settings).await?;
    seen.findings.push(Finding::new(
        "postgres",
        Severity::Ok,
        format!(
            "PostgreSQL {} answers as system {}, timeline {}; {} of its tables are listed",
            postgres.version(),
            postgres.server.origin.system,
            postgres.server.timeline,
            seen.whitelist.entries.len()
        ),
    ));
    seen.postgres = Some(postgres);
    Ok(())
}

async fn look_at_kafka(
    settings: &Settings,
    postgres: Option<&mut Postgres>,
    whitelist: &Whitelist,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(failure) = ask_kafka(settings, postgres, whitelist, &mut findings).await {
        findings.push(Finding::failure("kafka", failure));
    }
    findings
}

async fn ask_kafka(
    settings: &Settings,
    postgres: Option<&mut Postgres>,
    whitelist: &Whitelist,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let admin = admin(settings)?;
    let topic = position_topic::topic_name(&settings.name);
    match position_topic::outlook(&admin, &settings.name, &settings.topics).await? {
        Outlook::Exists { .. } => {
            findings.push(Finding::new(
                "kafka",
                Severity::Ok,
                format!("topic {topic} is in order"),
            ));
        }
        Outlook::Creatable => {
            let what = format!("topic {topic} will be created");
            findings.push(Finding::new("kafka", Severity::Ok, what));
        }
        Outlook::Refused(failure) => findings.push(Finding::failure("kafka", failure)),
    }
    ask_about_topics(&admin, &topics(settings, whitelist), findings).await?;
    if let Some(postgres) = postgres {
        let known = Known::read(&admin, settings).await?;
        let known = postgres.look_again(settings, &admin, known).await?;
        findings.push(compare(settings, postgres, &known));
    }
    Ok(())
}

async fn ask_about_topics(
    admin: &Admin,
    topics: &[TopicSpec],
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let (mut there, mut creatable) = (0, 0);
    for outlook in admin.outlook(topics).await? {
        match outlook {
            Outlook::Exists { .. } => there += 1,
            Outlook::Creatable => creatable += 1,
            Outlook::Refused(failure) => findings.push(Finding::failure("kafka", failure)),
        }
    }
    let what = format!("of the tables' topics {there} exist and {creatable} will be created");
    findings.push(Finding::new("kafka", Severity::Ok, what));
    Ok(())
}

/// The topics that are known before there are rows: those of outboxes are in their rows.
fn topics(settings: &Settings, whitelist: &Whitelist) -> Vec<TopicSpec> {
    let mut topics: Vec<TopicSpec> = whitelist
        .entries
        .values()
        .filter(|listed| schema::has_rows_of_its_own(listed, settings))
        .filter_map(|listed| {
            let Role::Table { rule } = listed.role else { return None };
            let rule = settings.tables.get(rule)?;
            let topic = settings.topic_for(rule, &listed.schema, &listed.name);
            Some(TopicSpec::new(TopicName::from(topic), &rule.topics))
        })
        .collect();
    if settings.messages.enabled {
        topics.push(TopicSpec::new(message::topic(&settings.name), &settings.topics));
    }
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    topics.dedup_by(|one, other| one.name == other.name);
    topics
}

/// Position and slot against each other, as a start does.
fn compare(settings: &Settings, postgres: &Postgres, known: &Known) -> Finding {
    if let Known::Unreadable(reason) = known {
        let mut finding = Finding::new("kafka", Severity::Error, reason.clone());
        finding.remedy = Some(
            "`walferry position show` prints it, `walferry position set` replaces it".to_owned(),
        );
        return finding;
    }
    match postgres.decide(settings, known.position()) {
        Decision::Refuse(gap) => Finding::failure("kafka", standing::refusal(&gap)),
        other => Finding::new("kafka", Severity::Ok, prospect(&other)),
    }
}

async fn look_at_registry(settings: &Settings, entries: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(failure) = ask_registry(settings, entries, &mut findings).await {
        findings.push(Finding::failure("registry", failure));
    }
    findings
}

async fn ask_registry(
    settings: &Settings,
    entries: &[Entry],
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let registry = Registry::new(&settings.registry)?;
    registry.probe().await?;
    findings.push(Finding::new("registry", Severity::Ok, "the schema registry answers"));
    if settings.registry.auto_register {
        return Ok(());
    }
    // Without `auto_register` asking for an id is looking it up. Subjects of outboxes depend on
    // their rows.
    let halves = entries.iter().filter(|entry| !entry.outbox).flat_map(|e| [&e.key, &e.value]);
    for half in halves {
        let Half::Schema { subject, text } = half else { continue };
        if let Err(error) = registry.register(subject, text).await {
            findings.push(Finding::failure("registry", error.into()));
        }
    }
    Ok(())
}
