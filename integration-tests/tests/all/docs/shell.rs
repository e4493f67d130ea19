//! Commands in the documentation: are they commands?

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use walferry::cli::args::Cli;

/// Programs whose use the tests cannot judge.
const OTHERS: [&str; 8] = ["cargo", "curl", "docker", "export", "git", "jq", "kubectl", "psql"];

/// The directories whose files commands may name.
const OURS: [&str; 6] = ["config/", "deploy/", "docker/", "docs/", "integration-tests/", "src/"];

/// What is wrong with a script. The programs that it uses and that nobody judges go to `others`.
pub(super) fn problems(root: &Path, script: &str, others: &mut BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for command in commands(script) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        if let Err(why) = judge(root, &words, others) {
            problems.push(format!("`{}`: {why}", words.join(" ")));
        }
    }
    problems
}

/// Judges a span of code in the text, where a command may be named without its arguments.
pub(super) fn judge_span(root: &Path, span: &str) -> Result<(), String> {
    let words: Vec<&str> = span.split(' ').collect();
    match words[..] {
        ["make", _, ..] => judge(root, &words, &mut BTreeSet::new()),
        ["walferry", _, ..] => match Cli::try_parse_from(&words) {
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
            other => parsed(other),
        },
        _ => Ok(()),
    }
}

fn judge(root: &Path, words: &[&str], others: &mut BTreeSet<String>) -> Result<(), String> {
    let is_assignment = |word: &&str| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_uppercase() || c == '_'))
    };
    let start = words.iter().position(|word| !is_assignment(word)).unwrap_or(words.len());
    let Some((program, arguments)) = words[start..].split_first() else { return Ok(()) };
    for file in arguments.iter().filter(|word| OURS.iter().any(|ours| word.starts_with(ours))) {
        if !root.join(file).exists() {
            return Err(format!("{file} does not exist"));
        }
    }
    match program.rsplit('/').next() {
        Some("walferry") => {
            parsed(Cli::try_parse_from(["walferry"].iter().chain(arguments.iter())))
        }
        Some("make") => {
            let targets = targets(root);
            let mut named = arguments.iter().filter(|argument| !is_assignment(argument));
            let unknown = named.find(|target| !targets.contains(**target));
            unknown.map_or(Ok(()), |target| Err(format!("the Makefile has no target {target}")))
        }
        Some(other) if OTHERS.contains(&other) => {
            others.insert(other.to_owned());
            Ok(())
        }
        _ => Err(format!("{program} is no command that the documentation may use")),
    }
}

fn parsed(cli: Result<Cli, clap::Error>) -> Result<(), String> {
    match cli {
        Ok(_) => Ok(()),
        Err(error) if error.exit_code() == 0 => Ok(()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn targets(root: &Path) -> BTreeSet<String> {
    let makefile = std::fs::read_to_string(root.join("Makefile")).expect("the Makefile");
    let heads = makefile.lines().filter_map(|line| line.split_once(':'));
    heads
        .filter(|(name, _)| !name.contains([' ', '\t', '$']))
        .map(|(name, _)| name.into())
        .collect()
}

/// The commands of a script, as words: comments gone, long lines joined, pipes taken apart. Knows
/// as much of the shell as documentation should need.
fn commands(script: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words) = (Vec::new(), Vec::new());
    let mut word: Option<String> = None;
    let mut quote = None;
    let joined = script.replace("\\\n", " ");
    let mut rest = joined.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => while rest.next_if(|c| *c != '\n').is_some() {},
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '\n' | '|' | ';' | '&') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

#[test]
fn scripts_become_commands() {
    let script =
        "# nothing\nA=1 make test  # all\npsql -c \"SELECT 1; -- '\" |\n jq . && a \\\n  b\n";
    let expected: [&[&str]; 4] =
        [&["A=1", "make", "test"], &["psql", "-c", "SELECT 1; -- '"], &["jq", "."], &["a", "b"]];
    assert_eq!(commands(script), expected);
}
