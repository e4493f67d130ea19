//! PostgreSQL servers, one per version for all tests or one for a test that crashes it.

mod database;

pub use database::{Database, Lsn};

use crate::services::{
    Certificates, Process, Services, Signal, copy_directory, free_port, run_directory,
    short_directory, unprivileged,
};
use crate::{unique, wait};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::OnceCell;

const START: Duration = Duration::from_secs(60);

/// Anyone from this machine is let in as `postgres`, the harness's own user; others need a password.
const DEFAULT_HBA: &[&str] = &[
    "local all all trust",
    "host all postgres samehost trust",
    "host all all samehost scram-sha-256",
];

/// What an own server has besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    settings: Vec<String>,
    hba: Vec<String>,
    own_system: bool,
}

impl Options {
    /// A line of `postgresql.conf`; later ones win.
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// A system identifier of its own, which takes seconds: servers share that of the template.
    pub fn own_system(mut self) -> Self {
        self.own_system = true;
        self
    }

    /// A line of `pg_hba.conf`, before the default ones.
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }
}

/// How `pg_ctl stop` stops a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Waits for clients to leave.
    Smart,
    /// Ends sessions, waits for walsenders to have sent everything.
    Fast,
    /// As a crash of the server would.
    Immediate,
}

impl Stop {
    fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::TERM,
            Self::Fast => Signal::INT,
            Self::Immediate => Signal::QUIT,
        }
    }
}

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    version: u16,
    services: Services,
    port: Mutex<u16>,
    directory: PathBuf,
    socket_directory: PathBuf,
    process: Mutex<Option<Arc<Process>>>,
}

impl Postgres {
    /// The version that a test means when it names none: `WALFERRY_PG`, or the newest.
    pub fn default_version() -> u16 {
        Self::newest_version()
    }

    /// For tests that are worth running on both ends of what is supported: 14, or `WALFERRY_PG`, so
    /// that `make matrix` runs them on each version in between as well.
    pub fn oldest_version() -> u16 {
        chosen_version().unwrap_or(14)
    }

    /// The other end: 18, or `WALFERRY_PG`.
    pub fn newest_version() -> u16 {
        chosen_version().unwrap_or(18)
    }

    /// The server of the default version that all tests of this process share.
    pub async fn shared() -> &'static Self {
        Self::shared_version(Self::default_version()).await
    }

    /// The server of `version` that all tests of this process share.
    pub async fn shared_version(version: u16) -> &'static Self {
        static SERVERS: Mutex<Option<HashMap<u16, &'static OnceCell<Postgres>>>> = Mutex::new(None);
        let cell = *SERVERS
            .lock()
            .expect("servers")
            .get_or_insert_default()
            .entry(version)
            .or_insert_with(|| Box::leak(Box::new(OnceCell::new())));
        cell.get_or_init(|| Self::own(version, Options::default())).await
    }

    /// A server for one test, with its own data directory.
    pub async fn own(version: u16, options: Options) -> Self {
        let services = Services::ensure(&format!("pg{version}"));
        let name = format!("postgres-{version}");
        let server = Self {
            version,
            port: Mutex::new(free_port()),
            directory: run_directory(&name),
            socket_directory: short_directory("pg"),
            process: Mutex::new(None),
            services,
        };
        server.lay_out(&options);
        server.start().await;
        server
    }

    pub fn version(&self) -> u16 {
        self.version
    }

    pub fn port(&self) -> u16 {
        *self.port.lock().expect("port")
    }

    /// The directory with the server's Unix socket: `host=` of a connection string.
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// The server shows `server` (`elsewhere` lies beside it) and trusts the clients of [`Certificates::authority`].
    pub fn certificates(&self) -> Certificates {
        self.services.certificates()
    }

    /// A URL for the super user, without TLS.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port())
    }

    /// A new database with a name of its own.
    pub async fn database(&self, stem: &str) -> Database {
        let name = unique(stem);
        let maintenance =
            Database::new("postgres".into(), self.port(), self.socket_directory.clone());
        maintenance.execute(&format!("CREATE DATABASE {name}")).await;
        self.existing_database(&name)
    }

    /// A database that is there already.
    pub fn existing_database(&self, name: &str) -> Database {
        Database::new(name.to_owned(), self.port(), self.socket_directory.clone())
    }

    /// Starts a stopped or crashed server on its old port, and waits until it answers a query.
    pub async fn start(&self) {
        let starting = async { while !self.try_start().await {} };
        if tokio::time::timeout(START, starting).await.is_err() {
            panic!("waited {START:?} for PostgreSQL {} to answer:\n{}", self.version, self.log());
        }
    }

    /// Stops the server as `pg_ctl stop` does; panics if that takes more than a minute.
    pub async fn stop(&self, mode: Stop) {
        self.begin_stop(mode).wait_exit(wait::LONG).await;
    }

    /// Asks the server to stop, and leaves the waiting to the caller.
    pub fn begin_stop(&self, mode: Stop) -> Arc<Process> {
        let process = self.running();
        process.signal(mode.signal());
        process
    }

    pub async fn restart(&self, mode: Stop) {
        self.stop(mode).await;
        self.start().await;
    }

    /// Ends the server's first process with SIGKILL; the others notice and follow.
    pub fn kill(&self) {
        self.running().kill();
    }

    /// Replaces `pg_hba.conf` by `lines` and the default ones after them.
    pub async fn set_hba(&self, lines: &[&str]) {
        self.write_hba(lines);
        self.existing_database("postgres").execute("SELECT pg_reload_conf()").await;
    }

    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Keeps a copy of a stopped server's data, as a backup would.
    pub fn back_up(&self) -> PathBuf {
        let copy = self.directory.join("backup");
        copy_directory(&self.data_directory(), &copy);
        copy
    }

    /// Puts a copy in place of a stopped server's data.
    pub fn restore(&self, copy: &Path) {
        fs::remove_dir_all(self.data_directory()).expect("the data");
        copy_directory(copy, &self.data_directory());
        unprivileged().hand_over(&self.directory);
    }

    /// Starts a stopped server as a standby without a primary, and promotes it: a new timeline.
    pub async fn start_promoted(&self) {
        fs::write(self.data_directory().join("standby.signal"), "").expect("standby.signal");
        unprivileged().hand_over(&self.directory);
        self.start().await;
        let promoted: bool = self.existing_database("postgres").value("SELECT pg_promote()").await;
        assert!(promoted, "the server was not promoted:\n{}", self.log());
    }

    fn running(&self) -> Arc<Process> {
        self.process.lock().expect("process").clone().expect("the server has been started")
    }

    fn lay_out(&self, options: &Options) {
        let data = self.data_directory();
        if options.own_system {
            self.initialise(&data);
        } else {
            copy_directory(&self.services.path(&format!("pg{}-template", self.version)), &data);
        }
        let certificates = self.certificates();
        for file in [
            certificates.key("server"),
            certificates.certificate("server"),
            certificates.key("elsewhere"),
            certificates.certificate("elsewhere"),
            certificates.authority(),
        ] {
            let copy = data.join(file.file_name().expect("a certificate's name"));
            fs::copy(&file, &copy).expect("copy of a certificate");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))
                .expect("permissions of a key");
        }
        let mut settings =
            fs::read_to_string(data.join("postgresql.conf")).expect("postgresql.conf");
        settings.push_str(SETTINGS);
        settings.push_str(&format!(
            "unix_socket_directories = '{}'\n",
            self.socket_directory.display()
        ));
        for line in &options.settings {
            settings.push_str(&format!("{line}\n"));
        }
        fs::write(data.join("postgresql.conf"), settings).expect("postgresql.conf");
        let hba: Vec<&str> = options.hba.iter().map(String::as_str).collect();
        self.write_hba(&hba);
        unprivileged().hand_over(&self.directory);
        unprivileged().hand_over(&self.socket_directory);
    }

    fn initialise(&self, data: &Path) {
        unprivileged().hand_over(&self.directory);
        let initdb = self.services.path(&format!("pg{}/bin/initdb", self.version)).into_os_string();
        let mut command = unprivileged().prefix.clone();
        command.push(initdb);
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
        let made = std::process::Command::new(&command[0])
            .args(&command[1..])
            .args(options)
            .args(["--no-sync", "--pgdata"])
            .arg(data)
            .output()
            .expect("initdb");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb: {errors}");
    }

    fn write_hba(&self, lines: &[&str]) {
        let lines = lines.iter().chain(DEFAULT_HBA).map(|line| format!("{line}\n"));
        let file = self.data_directory().join("pg_hba.conf");
        fs::write(file, lines.collect::<String>()).expect("pg_hba.conf");
    }

    /// One start; false if the process ended again, be it that another took the port or that
    /// processes of the crashed predecessor are still leaving.
    async fn try_start(&self) -> bool {
        let data = self.data_directory();
        let log = self.directory.join("log");
        let command = [
            self.services.path(&format!("pg{}/bin/postgres", self.version)).into_os_string(),
            "-D".into(),
            data.clone().into_os_string(),
            "-p".into(),
            self.port().to_string().into(),
        ];
        let process = Arc::new(Process::start(crate::services::Launch {
            name: "postgres",
            prefix: &unprivileged().prefix,
            command: command.to_vec(),
            environment: Vec::new(),
            directory: &data,
            log: &log,
            death: "QUIT",
        }));
        *self.process.lock().expect("process") = Some(process.clone());
        let database = self.existing_database("postgres");
        wait::until("PostgreSQL to answer or to end", START, async || {
            if process.exited().is_some() {
                return Some(false);
            }
            let client = database.try_connect().await.ok()?;
            client.simple_query("SELECT 1").await.ok().map(|_| true)
        })
        .await
    }
}

/// `WALFERRY_PG`.
fn chosen_version() -> Option<u16> {
    let value = std::env::var("WALFERRY_PG").ok()?;
    Some(value.parse().expect("WALFERRY_PG: a major version"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let process = self.process.lock().expect("process").take();
        if let Some(process) = process {
            process.signal(Signal::QUIT);
        }
        // Of a test that failed the log is wanted, never the data.
        let _ = fs::remove_dir_all(self.data_directory());
        let _ = fs::remove_dir_all(self.directory.join("backup"));
        let _ = fs::remove_dir_all(&self.socket_directory);
    }
}

/// `synchronous_commit` stays on: without it a slot can be read before its changes are there.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
wal_level = logical
max_wal_senders = 100
max_replication_slots = 200
max_prepared_transactions = 10
fsync = off
full_page_writes = off
synchronous_commit = on
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.crt'
log_line_prefix = '%m [%p] %q%u@%d '
log_replication_commands = on
";
