//! The command line: arguments, exit codes, and one file a command.

pub mod args;
mod check;
mod completions;
mod deployment;
pub mod output;
mod position;
mod run;
mod schema;
mod slot;
mod snapshot;
pub mod tail;

use clap::Parser as _;

use args::{Cli, Command, GlobalArgs};
use output::Output;

use crate::config::{self, Settings};
use crate::failure::{Class, Failure};
use crate::telemetry::logging;

/// What the process tells whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The work is done.
    Done,
    /// It failed and may well succeed when it is started again.
    Failed,
    /// The configuration is wrong, or an operator has to decide: starting again helps nothing.
    Operator,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Operator => 2,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Exit {
        match class {
            Class::Retry => Exit::Failed,
            Class::Stop => Exit::Operator,
        }
    }
}

/// Parses the command line, runs the command, prints its failure. Wrong usage is exit code 2, by
/// clap itself.
pub fn main() -> Exit {
    let cli = Cli::parse();
    dispatch(&cli).unwrap_or_else(|failure| {
        Output::stderr().failure(&failure);
        Exit::from(failure.class)
    })
}

fn dispatch(cli: &Cli) -> Result<Exit, Failure> {
    logging::init(cli.global.log_format, &cli.global.log_level)?;
    match &cli.command {
        Command::Run(args) => run::run(&cli.global, args),
        Command::Check(args) => check::run(&cli.global, args),
        Command::Schema(args) => schema::run(&cli.global, args),
        Command::Slot(args) => slot::run(&cli.global, args),
        Command::Position(args) => position::run(&cli.global, args),
        Command::Snapshot(args) => snapshot::run(&cli.global, args),
        Command::Tail(args) => tail::run(&cli.global, args),
        Command::Completions(args) => completions::run(args),
    }
}

/// Reads the configuration; prints its warnings, or all its errors.
fn load_settings(global: &GlobalArgs) -> Result<Settings, Failure> {
    let loaded = config::load(&global.config).map_err(|errors| {
        Failure::stop("config", format!("the configuration cannot be used\n{errors}"))
    })?;
    let origin = global.config.display().to_string();
    for warning in &loaded.warnings {
        Output::stderr().line(&warning.report("warning", &origin));
    }
    Ok(loaded.settings)
}

/// Runs a command's work to its end. What it leaves behind (connections that close) is not waited
/// for.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = run::runtime()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests;
