//! The control: `pg_recvlogical` writing to `/dev/null`, the least that a client can do.

use super::{Backlog, cpu_time, usage};
use crate::postgres::{Database, Lsn};
use crate::services::{Launch, Process, run_directory};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(1);
const REMEDY: &str = "the benches need pg_recvlogical as control; on Debian or Ubuntu:\n    \
                      apt-get install postgresql-client";

/// A running `pg_recvlogical`.
pub struct RecvLogical {
    process: Process,
}

impl RecvLogical {
    /// The program: of the newest version in Debian's directories, or in `PATH`. Ends this program
    /// with the remedy if there is none.
    pub fn find() -> PathBuf {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut installed: Vec<(u16, PathBuf)> = versions
            .filter_map(|version| {
                let number = version.file_name().to_str()?.parse().ok()?;
                Some((number, version.path().join("bin/pg_recvlogical")))
            })
            .filter(|(_, program)| program.is_file())
            .collect();
        installed.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = || {
            let programs = std::env::split_paths(&path).map(|entry| entry.join("pg_recvlogical"));
            programs.into_iter().find(|program| program.is_file())
        };
        installed.pop().map(|(_, program)| program).or_else(in_path).unwrap_or_else(|| {
            eprintln!("{REMEDY}");
            std::process::exit(2)
        })
    }

    /// Reads `slot` up to `end`.
    pub fn start(
        program: &Path,
        database: &Database,
        backlog: &Backlog<'_>,
        slot: &str,
        end: Lsn,
    ) -> Self {
        let directory = run_directory("pg_recvlogical");
        let port = database.port().to_string();
        let end = format!("--endpos={:X}/{:X}", end >> 32, end as u32);
        let publications = format!("publication_names={}", backlog.publication());
        let arguments = [
            ["-h", "127.0.0.1"],
            ["-p", &port],
            ["-U", "postgres"],
            ["-d", database.name()],
            ["-S", slot],
            ["-f", "/dev/null"],
            ["-o", "proto_version=1"],
            ["-o", &publications],
            ["--start", "--no-loop"],
        ];
        let mut command = vec![program.into()];
        command.extend(arguments.iter().flatten().map(Into::into));
        command.push(end.into());
        Self {
            process: Process::start(Launch {
                name: "pg_recvlogical",
                prefix: &[],
                command,
                environment: Vec::new(),
                directory: &directory,
                log: &directory.join("log"),
                death: "KILL",
            }),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Blocks until it has read everything: when that was, and its CPU time until then.
    pub fn wait(&self, deadline: Duration) -> (Instant, Duration) {
        let started = Instant::now();
        // Not waited for until its figures are read: they go with it.
        while !usage::has_ended(self.pid()) {
            assert!(started.elapsed() < deadline, "waited {deadline:?} for pg_recvlogical");
            std::thread::sleep(LOOK);
        }
        let (ended, used) = (Instant::now(), cpu_time(self.pid()));
        let status = self.process.exited().expect("an ended process");
        assert!(status.success(), "pg_recvlogical: {status}:\n{}", self.process.log_tail());
        (ended, used)
    }
}
