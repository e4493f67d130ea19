//! The report: one section a bench, kept in JSON, printed as Markdown.

use crate::services::workspace;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The order of the sections; one of another name comes after them.
const ORDER: [&str; 7] =
    ["drain", "snapshot", "latency", "start", "idle", "encode", "instructions"];

/// Those whose tables the README shows.
const IN_README: [&str; 6] = ["drain", "snapshot", "latency", "start", "idle", "encode"];

/// Between these lines of the README.
const MARKS: [&str; 2] = ["<!-- bench: begin", "<!-- bench: end"];

/// Cells in rows below a head.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    pub fn row(mut self, cells: impl IntoIterator<Item = String>) -> Self {
        let mut row: Vec<String> = cells.into_iter().collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
        self
    }

    /// Markdown, its columns aligned for the eye.
    fn render(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| lines().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).filter_map(width).collect();
        let render = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
            format!("|{}\n", cells.collect::<String>())
        };
        let rule: String =
            widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
        let rows: String = self.rows.iter().map(render).collect();
        format!("{}|{rule}\n{rows}", render(&self.head))
    }
}

/// What one bench has found.
#[derive(Clone, Debug)]
pub struct Section {
    /// The bench: the key in the JSON.
    pub name: &'static str,
    pub title: &'static str,
    /// What was done and how it was measured.
    pub method: String,
    /// What the figures should be.
    pub target: &'static str,
    pub table: Table,
    /// More that is worth knowing, a line each.
    pub notes: Vec<String>,
    /// All figures, for machines.
    pub figures: Value,
}

impl Section {
    /// Prints the section and puts it into the report.
    pub fn publish(self) {
        let section = json!({
            "title": self.title,
            "method": self.method,
            "target": self.target,
            "table": self.table.render(),
            "notes": self.notes,
            "figures": self.figures,
            "measured": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        });
        println!("\n{}", markdown(&section));
        let directory = workspace().join("target/bench");
        fs::create_dir_all(&directory).expect("target/bench");
        let file = directory.join("report.json");
        let mut report = read(&file);
        report.insert(self.name.to_owned(), section);
        report.insert("machine".to_owned(), machine());
        let text = serde_json::to_string_pretty(&report).expect("JSON");
        fs::write(&file, text + "\n").expect("report.json");
        let file = directory.join("report.md");
        fs::write(&file, document(&report)).expect("report.md");
        println!("written to {}", file.strip_prefix(workspace()).unwrap_or(&file).display());
    }
}

/// Puts the tables of the report into the README, in the place of those that are there.
///
/// # Errors
/// Says what is missing.
pub fn write_readme() -> Result<(), String> {
    let report = read(&workspace().join("target/bench/report.json"));
    let missing = IN_README.iter().find(|name| !report.contains_key(**name));
    if let Some(name) = missing {
        return Err(format!("no figures of the bench {name}: run make bench first"));
    }
    let file = workspace().join("README.md");
    let page = fs::read_to_string(&file).map_err(|error| format!("README.md: {error}"))?;
    let page = between_marks(&page, &readme(&report)).ok_or("README.md has lost its marks")?;
    fs::write(&file, page).map_err(|error| format!("README.md: {error}"))
}

/// The tables, with a line about the machine.
fn readme(report: &Map<String, Value>) -> String {
    let mut text = format!("{}\n", machine_line(&report["machine"]));
    for section in IN_README.iter().filter_map(|name| report.get(*name)) {
        let part = |key: &str| section[key].as_str().unwrap_or_default();
        text.push_str(&format!("\n**{}.** {}\n\n{}", part("title"), part("method"), part("table")));
    }
    text
}

/// `page` with `text` between the lines of its marks; `None` without the marks.
fn between_marks(page: &str, text: &str) -> Option<String> {
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin)?;
    let (mark, rest) = rest.split_once('\n')?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{mark}\n{text}\n{end}{after}"))
}

fn read(file: &PathBuf) -> Map<String, Value> {
    let old = fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    old.unwrap_or_default()
}

fn document(report: &Map<String, Value>) -> String {
    let mut text = format!("# walferry's figures\n\n{}\n", machine_line(&report["machine"]));
    let known = ORDER.iter().copied();
    let others = report.keys().map(String::as_str);
    let others = others.filter(|name| !ORDER.contains(name) && *name != "machine");
    for section in known.chain(others).filter_map(|name| report.get(name)) {
        text.push_str(&format!("\n{}", markdown(section)));
    }
    text
}

fn markdown(section: &Value) -> String {
    let text = |key: &str| section[key].as_str().unwrap_or_default();
    let notes = section["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let notes: String = notes.map(|note| format!("- {note}\n")).collect();
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    let target = text("target");
    let target = if target.is_empty() { String::new() } else { format!("\nTarget: {target}.\n") };
    format!("## {}\n\n{}\n\n{}{target}{notes}", text("title"), text("method"), text("table"))
}

fn machine_line(machine: &Value) -> String {
    format!(
        "{} cores ({}), {} GiB, PostgreSQL, Kafka, the registry and the reader all on them.",
        machine["cores"],
        machine["model"].as_str().unwrap_or("?"),
        machine["memory_gib"],
    )
}

fn machine() -> Value {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kilobytes = line("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "model": line("/proc/cpuinfo", "model name"),
        "memory_gib": kilobytes.map(|kilobytes| (kilobytes + (1 << 19)) >> 20),
    })
}

#[cfg(test)]
mod tests {
    use super::{IN_README, MARKS, Table, between_marks, readme, workspace};
    use serde_json::{Map, Value, json};

    fn report() -> Map<String, Value> {
        let section = |name: &&str| {
            let table = Table::new(["a"]).row([format!("of {name}")]).render();
            ((*name).to_owned(), json!({ "title": name, "method": "How.", "table": table }))
        };
        let machine = json!({ "cores": 2, "model": "Z80", "memory_gib": 1 });
        let machine = ("machine".to_owned(), machine);
        IN_README.iter().map(section).chain([machine]).collect()
    }

    #[test]
    fn the_readme_gets_the_tables_between_its_marks() {
        let page = std::fs::read_to_string(workspace().join("README.md")).unwrap();
        let tables = readme(&report());
        assert!(tables.starts_with("2 cores (Z80), 1 GiB"), "{tables}");
        assert!(tables.contains("**drain.** How.\n\n| a        |\n"), "{tables}");
        let once = between_marks(&page, &tables).expect("the marks");
        assert_eq!(once.matches(&tables).count(), 1);
        assert_eq!(between_marks(&once, &tables).as_deref(), Some(&*once), "not by replacing");
        let outside = |page: &str| {
            let [begin, end] = MARKS.map(|mark| page.find(mark).unwrap());
            [page[..begin].to_owned(), page[end..].to_owned()]
        };
        assert_eq!(outside(&once), outside(&page));
        assert_eq!(between_marks("no marks", &tables), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = Table::new(["a", "rows/s"])
            .row(["walferry".to_owned(), "1".to_owned()])
            .row(["µ".to_owned()]);
        let expected = "\
            | a        | rows/s |\n\
            |----------|--------|\n\
            | walferry | 1      |\n\
            | µ        |        |\n";
        assert_eq!(table.render(), expected);
    }
}
