//! walferry itself, as the process that a user runs.

mod config;
mod metrics;

pub use config::Config;
pub use metrics::Metrics;

use crate::services::{Launch, Process, Signal, run_directory};
use crate::{http, wait};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// A running (or finished) `walferry run`.
#[derive(Debug)]
pub struct Walferry {
    process: Process,
    http: String,
    directory: PathBuf,
}

impl Walferry {
    /// Starts `walferry run` and waits until it is ready.
    pub async fn run(config: &Config) -> Self {
        let walferry = Self::start(config);
        walferry.wait_ready().await;
        walferry
    }

    /// Starts `walferry run` and waits for nothing.
    pub fn start(config: &Config) -> Self {
        Self::start_under(config, &[])
    }

    /// The same under a tool (`valgrind` and its options), which is given the command to run.
    pub fn start_under(config: &Config, tool: &[&str]) -> Self {
        let directory = run_directory("walferry");
        let file = directory.join("walferry.toml");
        fs::write(&file, config.toml()).expect("walferry.toml");
        let mut command: Vec<OsString> = tool.iter().map(Into::into).collect();
        command.extend([binary().into(), "run".into(), "--config".into(), file.into()]);
        command.extend(config.arguments().iter().map(Into::into));
        let process = Process::start(Launch {
            name: "walferry",
            prefix: &[],
            command,
            environment: config.environment(),
            directory: &directory,
            log: &directory.join("log"),
            death: "KILL",
        });
        Self { process, http: format!("http://{}", config.http_address()), directory }
    }

    /// Waits until `/readyz` says yes; panics with the log if it does not, or if walferry ends.
    pub async fn wait_ready(&self) {
        self.wait_readiness(true, wait::LONG).await;
    }

    /// Waits until `/readyz` says no.
    pub async fn wait_unready(&self) {
        self.wait_readiness(false, wait::LONG).await;
    }

    /// Waits until `/readyz` says no, for a reason that holds `text`.
    pub async fn wait_unready_because(&self, text: &str) {
        let reached = wait::within(wait::LONG, async || {
            let exit = self.process.exited();
            assert!(exit.is_none(), "walferry ended with {exit:?}:\n{}", self.process.log_tail());
            let (status, answer) = self.get("/readyz").await?;
            (status == 503 && answer.contains(text)).then_some(())
        });
        if reached.await.is_none() {
            let answer = self.get("/readyz").await;
            let log = self.process.log_tail();
            panic!("waited for {text:?} in /readyz, which says {answer:?}:\n{log}");
        }
    }

    async fn wait_readiness(&self, ready: bool, deadline: Duration) {
        let reached = wait::within(deadline, async || {
            let exit = self.process.exited();
            assert!(exit.is_none(), "walferry ended with {exit:?}:\n{}", self.process.log_tail());
            let (status, _) = self.get("/readyz").await?;
            ((status == 200) == ready).then_some(())
        });
        let log = || self.process.log_tail();
        assert!(reached.await.is_some(), "waited {deadline:?} for readiness {ready}:\n{}", log());
    }

    /// Status code and text of a path of its HTTP server; `None` if it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = http().get(format!("{}{path}", self.http)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// `/status`.
    pub async fn status(&self) -> Value {
        let (_, text) = self.get("/status").await.expect("an answer from /status");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("/status: {error}: {text}"))
    }

    /// `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        let (_, text) = self.get("/metrics").await.expect("an answer from /metrics");
        Metrics::parse(&text)
    }

    /// Sends SIGTERM and waits for the exit code.
    pub async fn stop(&self) -> i32 {
        self.process.signal(Signal::TERM);
        self.wait_exit(wait::LONG).await
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Waits for its end: the exit code, or 128 plus the signal.
    pub async fn wait_exit(&self, deadline: Duration) -> i32 {
        exit_code(self.process.wait_exit(deadline).await)
    }

    /// The same, if it has ended.
    pub fn exited(&self) -> Option<i32> {
        self.process.exited().map(exit_code)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Standard output and standard error so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log holds `text`.
    pub async fn wait_log(&self, text: &str, deadline: Duration) {
        let found = wait::within(deadline, async || self.log().contains(text).then_some(()));
        assert!(
            found.await.is_some(),
            "waited {deadline:?} for {text:?} in the log:\n{}",
            self.process.log_tail()
        );
    }

    /// The directory that it was started in, with its `walferry.toml` and `log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_line("VmRSS:")
    }

    /// The highest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory_line("VmHWM:")
    }

    fn memory_line(&self, name: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running walferry");
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("kilobytes");
        kilobytes * 1024
    }
}

/// Runs a command of walferry to its end, with `--config` where `config` is given: `check`, `slot drop`, …
pub async fn command(arguments: &[&str], config: Option<&Config>) -> Output {
    let mut command = tokio::process::Command::new(binary());
    command.args(arguments).kill_on_drop(true);
    if let Some(config) = config {
        let file = run_directory("command").join("walferry.toml");
        fs::write(&file, config.toml()).expect("walferry.toml");
        command.arg("--config").arg(file).envs(config.environment());
    }
    let output = tokio::time::timeout(wait::LONG, command.output()).await;
    output
        .unwrap_or_else(|_| panic!("waited {:?} for walferry {arguments:?}", wait::LONG))
        .expect("a process")
}

/// The binary: `WALFERRY_BIN`, or the one that cargo built beside this test.
///
/// Cargo builds it with neither `cargo test -p integration-tests` nor `cargo run --bin demo`, so a
/// missing one and one older than its sources panic with the command that builds it.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find_binary).clone()
}

fn find_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WALFERRY_BIN") {
        return path.into();
    }
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    let remedy = format!("build it with\n    cargo build{release} --bin walferry");
    let test = std::env::current_exe().expect("the path of this test");
    // Tests lie in deps/ below the directory of binaries.
    let candidates = test.ancestors().skip(1).take(2).map(|directory| directory.join("walferry"));
    let Some(binary) = candidates.into_iter().find(|path| path.is_file()) else {
        panic!("no walferry beside {}; {remedy}", test.display());
    };
    // Cargo's own list of what went into the binary: "<binary>: <source> <source> …".
    let inputs = fs::read_to_string(binary.with_extension("d")).expect("the binary's inputs");
    let (_, sources) = inputs.split_once(": ").expect("a list of inputs");
    let sources = sources.trim_end().replace("\\ ", "\0");
    for source in sources.split(' ').map(|source| source.replace('\0', " ")) {
        let newer = modified(Path::new(&source)) > modified(&binary);
        assert!(!newer, "{} is older than {source}; {remedy}", binary.display());
    }
    binary
}

/// When a file was written; a source that is gone counts as new.
fn modified(path: &Path) -> SystemTime {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.unwrap_or_else(|_| SystemTime::now())
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .expect("a code or a signal")
}
