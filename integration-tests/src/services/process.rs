//! Child processes that end with this one.
//!
//! `setpriv --pdeathsig` asks the kernel for a signal when the parent dies. "Parent" is the *thread*
//! that spawned the child, and threads of tests come and go: hence one thread that spawns everything
//! and lives as long as the process, however that ends.

use crate::wait;
use rustix::process::{Pid, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

pub use rustix::process::Signal;

/// A running or finished child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

/// What to start.
pub(crate) struct Launch<'a> {
    pub name: &'a str,
    /// What the child is started through, before the signal of the parent's death is set.
    pub prefix: &'a [OsString],
    pub command: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    pub directory: &'a Path,
    /// Standard output and standard error, appended.
    pub log: &'a Path,
    /// The signal at the death of this process, without `SIG`.
    pub death: &'static str,
}

impl Process {
    pub(crate) fn start(launch: Launch<'_>) -> Self {
        let log = File::options().create(true).append(true).open(launch.log);
        let log = log.unwrap_or_else(|error| panic!("log {}: {error}", launch.log.display()));
        let mut words = launch.prefix.to_vec();
        words.extend(["setpriv", "--pdeathsig", launch.death, "--"].map(OsString::from));
        words.extend(launch.command);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .envs(launch.environment)
            .current_dir(launch.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of a log"))
            .stderr(log);
        let child =
            spawn(command).unwrap_or_else(|error| panic!("starting {}: {error}", launch.name));
        Self {
            name: launch.name.to_owned(),
            pid: child.id(),
            child: Mutex::new(child),
            log: launch.log.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        // Under the lock, and only while not reaped: the id cannot have passed to another process.
        let mut child = self.child.lock().expect("child");
        if child.try_wait().expect("state of a child").is_none() {
            let pid = Pid::from_raw(self.pid.cast_signed()).expect("the id of a child");
            kill_process(pid, signal)
                .unwrap_or_else(|error| panic!("signal to {}: {error}", self.name));
        }
    }

    /// How the process ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().expect("child").try_wait().expect("state of a child")
    }

    /// Waits for the end of the process; panics with its last log lines after `deadline`.
    pub async fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        match wait::within(deadline, async || self.exited()).await {
            Some(status) => status,
            None => panic!("{} has not ended after {deadline:?}:\n{}", self.name, self.log_tail()),
        }
    }

    /// Ends the process at once and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("child");
        // Fails only for a process that has ended already.
        let _ = child.kill();
        child.wait().expect("end of a killed child");
    }

    /// What the process has written so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the log, for error messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Request {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for mut request in requests {
                    // The one who asks waits for the answer.
                    let _ = request.reply.send(request.command.spawn());
                }
            })
            .expect("the spawner thread");
        Mutex::new(sender)
    });
    let (reply, answer) = sync_channel(1);
    spawner.lock().expect("spawner").send(Request { command, reply }).expect("the spawner lives");
    answer.recv().expect("the spawner answers")
}
