//! `walferry completions`: the shell's completion script on standard output.

use std::io::Write as _;

use clap::CommandFactory as _;

use super::Exit;
use super::args::{Cli, CompletionsArgs};
use crate::failure::Failure;

/// Writes the script for the shell.
pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    // Rendered first: clap_complete panics when the reader of a pipe has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "walferry", &mut script);
    std::io::stdout().write_all(&script).map_err(|error| {
        Failure::retry("cli", format!("cannot write the completions: {error}")).source(error)
    })?;
    Ok(Exit::Done)
}
