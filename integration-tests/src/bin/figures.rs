//! `make figures`: the tables of the last `make bench`, into the README.

use integration_tests::bench::write_readme;
use std::process::ExitCode;

fn main() -> ExitCode {
    match write_readme() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
