//! The directories of one test process: data and logs of the servers that it starts.

use super::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many finished runs keep their files, for a look at their logs.
const KEPT_RUNS: usize = 2;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A new directory `target/harness/<process id>/<number>-<name>`.
pub fn run_directory(name: &str) -> PathBuf {
    static SWEEP: Once = Once::new();
    let runs = workspace().join("target/harness");
    SWEEP.call_once(|| sweep(&runs, KEPT_RUNS));
    make(&runs.join(std::process::id().to_string()), name)
}

/// A new directory with a short path: a Unix socket's path has about a hundred characters at most.
pub fn short_directory(name: &str) -> PathBuf {
    static SWEEP: Once = Once::new();
    let user = rustix::process::geteuid().as_raw();
    let runs = std::env::temp_dir().join(format!("walferry-run-{user}"));
    SWEEP.call_once(|| sweep(&runs, 0));
    make(&runs.join(std::process::id().to_string()), name)
}

fn make(run: &Path, name: &str) -> PathBuf {
    let directory = run.join(format!("{}-{name}", NEXT.fetch_add(1, Ordering::Relaxed)));
    // What a process with the same id left behind is of no use.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("creating {}: {error}", directory.display()));
    directory
}

/// Removes the runs of processes that are gone, but for the newest few.
fn sweep(runs: &Path, kept: usize) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut finished: Vec<_> = entries
        .flatten()
        .filter(|entry| !Path::new("/proc").join(entry.file_name()).exists())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    finished.sort();
    finished.reverse();
    for (_, path) in finished.into_iter().skip(kept) {
        // Another process may be sweeping as well.
        let _ = fs::remove_dir_all(path);
    }
}
