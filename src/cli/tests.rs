//! The command line as people meet it: help texts word for word, parsing, exit codes.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, Command, PositionCommand, SlotCommand};
use super::*;

/// The help of every command, each in its file under `help/`. `UPDATE_SNAPSHOTS=1` rewrites them.
#[test]
fn help_texts_are_the_known_ones() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/help");
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut pages = Vec::new();
    collect(&mut root, "walferry", &mut pages);
    assert!(pages.len() > 10, "{} pages", pages.len());
    for (name, help) in &pages {
        let path = directory.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, help).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(*help, known, "{}: UPDATE_SNAPSHOTS=1 accepts it", path.display());
    }
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(files, pages.len(), "a page without a command in {}", directory.display());
}

/// Help of a command and of all below it.
fn collect(command: &mut clap::Command, name: &str, pages: &mut Vec<(String, String)>) {
    let lines: Vec<String> = command
        .render_long_help()
        .to_string()
        .lines()
        .map(|line| String::from(line.trim_end()))
        .collect();
    pages.push((String::from(name), lines.join("\n") + "\n"));
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let name = format!("{name}-{}", sub.get_name());
        collect(sub, &name, pages);
    }
}

#[test]
fn every_example_in_the_help_parses() {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut pages = Vec::new();
    collect(&mut root, "walferry", &mut pages);
    let mut examples = 0;
    for (_, help) in pages {
        let lines = help.lines().map(str::trim_start);
        for line in lines.filter_map(|l| l.strip_prefix("WALFERRY_LOG=debug ").or(Some(l))) {
            // An example is followed by its explanation after two spaces, or by a pipe.
            let Some(rest) = line.strip_prefix("walferry ") else { continue };
            let end = ["  ", " |", " >"].iter().filter_map(|s| rest.find(s)).min();
            let words = rest[..end.unwrap_or(rest.len())].split(' ').take_while(|w| *w != "give");
            let parsed = Cli::try_parse_from(std::iter::once("walferry").chain(words));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            examples += 1;
        }
    }
    assert!(examples >= 20, "{examples} examples");
}

#[test]
fn options_are_global_and_have_defaults() {
    let cli = Cli::try_parse_from(["walferry", "run"]).unwrap();
    assert_eq!(cli.global.config, PathBuf::from("walferry.toml"));
    assert_eq!(cli.global.log_level, "info");
    let cli = Cli::try_parse_from(["walferry", "slot", "status", "-c", "a.toml"]).unwrap();
    assert_eq!(cli.global.config, PathBuf::from("a.toml"));
    let cli = Cli::try_parse_from(["walferry", "--config", "b.toml", "check", "--json"]).unwrap();
    assert_eq!(cli.global.config, PathBuf::from("b.toml"));
    assert!(matches!(cli.command, Command::Check(args) if args.json));
}

#[test]
fn commands_take_their_arguments() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
    let Ok(Command::Position(position)) = parse("walferry position set 16/B374D848 --yes") else {
        panic!("position set");
    };
    let PositionCommand::Set(set) = position.command else { panic!("set") };
    assert_eq!((set.lsn.to_string().as_str(), set.yes), ("16/B374D848", true));
    let Ok(Command::Slot(slot)) = parse("walferry slot drop") else { panic!("slot drop") };
    assert!(matches!(slot.command, SlotCommand::Drop(args) if !args.yes));
    let Ok(Command::Tail(tail)) = parse("walferry tail a b --from-beginning -n 3") else {
        panic!("tail");
    };
    assert_eq!((tail.topics.len(), tail.from_beginning, tail.max_records), (2, true, Some(3)));
}

#[test]
fn wrong_usage_is_refused_with_code_2() {
    for (line, kind) in [
        ("walferry", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("walferry rum", ErrorKind::InvalidSubcommand),
        ("walferry run --fast", ErrorKind::UnknownArgument),
        ("walferry tail", ErrorKind::MissingRequiredArgument),
        ("walferry tail t -n 0", ErrorKind::ValueValidation),
        ("walferry position set 12", ErrorKind::ValueValidation),
        ("walferry schema --key --value", ErrorKind::ArgumentConflict),
        ("walferry run --log-format xml", ErrorKind::InvalidValue),
    ] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.kind(), kind, "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let codes = [Exit::Done, Exit::from(Class::Retry), Exit::from(Class::Stop)];
    assert_eq!(codes.map(Exit::code), [0, 1, 2]);
}
