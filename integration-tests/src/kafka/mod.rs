//! Kafka brokers: one for all tests, or one for a test that stops it.

mod client;
mod wire;

pub use client::Record;
pub use wire::{Operation, Resource};

use crate::proxy::Proxy;
use crate::services::{
    Certificates, Process, Services, Signal, copy_directory, free_port, run_directory, service_file,
};
use crate::wait;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::OnceCell;

const START: Duration = Duration::from_secs(60);
const HEAP_MEGABYTES: u32 = 192;

/// The ways into a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// No encryption; whoever comes may do everything.
    Plaintext,
    /// TLS, the client not asked for a certificate; whoever comes may do everything.
    Ssl,
    /// A password without encryption.
    SaslPlaintext,
    /// A password over TLS.
    SaslSsl,
    /// TLS with a client certificate.
    Mtls,
    /// As `Plaintext`, through [`Kafka::proxy`]; own brokers only.
    Proxied,
}

const LISTENERS: [(Listener, &str); 6] = [
    (Listener::Plaintext, "PLAINTEXT"),
    (Listener::Ssl, "SSL"),
    (Listener::SaslPlaintext, "SASL_PLAINTEXT"),
    (Listener::SaslSsl, "SASL_SSL"),
    (Listener::Mtls, "MTLS"),
    (Listener::Proxied, "PROXIED"),
];

/// A user of the SASL listeners with its password: it may do everything.
pub const ADMIN: (&str, &str) = ("admin", "admin-secret");
/// A user of the SASL listeners with its password: it may do what [`Kafka::allow`] allows.
pub const PAT: (&str, &str) = ("pat", "pat-secret");

/// A single broker, its own controller.
#[derive(Debug)]
pub struct Kafka {
    services: Services,
    directory: PathBuf,
    ports: [u16; LISTENERS.len()],
    proxy: Proxy,
    process: Mutex<Option<Arc<Process>>>,
}

impl Kafka {
    /// The broker that all tests of this process share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::own(&[])).await
    }

    /// A broker for one test, with broker properties besides the usual ones.
    pub async fn own(properties: &[(&str, &str)]) -> Self {
        let ports = LISTENERS.map(|_| free_port());
        let kafka = Self {
            services: Services::ensure("kafka"),
            directory: run_directory("kafka"),
            proxy: Proxy::to(ports[Listener::Proxied as usize]),
            ports,
            process: Mutex::new(None),
        };
        copy_directory(&kafka.services.path("kafka-template"), &kafka.directory.join("data"));
        fs::write(kafka.directory.join("server.properties"), kafka.properties(properties))
            .expect("server.properties");
        kafka.start().await;
        kafka
    }

    /// The address of a listener, as walferry is given it.
    pub fn bootstrap(&self, listener: Listener) -> String {
        let host = match listener {
            // The name in the broker's certificate.
            Listener::Ssl | Listener::SaslSsl | Listener::Mtls => "localhost",
            Listener::Plaintext | Listener::SaslPlaintext | Listener::Proxied => "127.0.0.1",
        };
        format!("{host}:{}", self.port(listener))
    }

    /// librdkafka's properties for a listener, as [`ADMIN`] where there are users.
    pub fn client_properties(&self, listener: Listener) -> Vec<(String, String)> {
        let certificates = self.certificates();
        let path = |path: PathBuf| path.display().to_string();
        let protocol = match listener {
            Listener::Plaintext | Listener::Proxied => "plaintext",
            Listener::Ssl | Listener::Mtls => "ssl",
            Listener::SaslPlaintext => "sasl_plaintext",
            Listener::SaslSsl => "sasl_ssl",
        };
        let mut properties = vec![("security.protocol", protocol.to_owned())];
        if matches!(listener, Listener::Ssl | Listener::SaslSsl | Listener::Mtls) {
            properties.push(("ssl.ca.location", path(certificates.authority())));
        }
        if listener == Listener::Mtls {
            properties.push(("ssl.certificate.location", path(certificates.certificate("client"))));
            properties.push(("ssl.key.location", path(certificates.key("client"))));
        }
        if matches!(listener, Listener::SaslPlaintext | Listener::SaslSsl) {
            properties.push(("sasl.mechanism", "SCRAM-SHA-512".to_owned()));
            properties.push(("sasl.username", ADMIN.0.to_owned()));
            properties.push(("sasl.password", ADMIN.1.to_owned()));
        }
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The broker shows `server` and trusts the clients of [`Certificates::authority`].
    pub fn certificates(&self) -> Certificates {
        self.services.certificates()
    }

    /// The proxy in front of [`Listener::Proxied`].
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Starts a stopped or killed broker, with what it had stored, and waits until it answers.
    pub async fn start(&self) {
        let process = Arc::new(Process::start(crate::services::Launch {
            name: "kafka",
            prefix: &[],
            command: self.command(),
            environment: Vec::new(),
            directory: &self.directory,
            log: &self.directory.join("log"),
            death: "KILL",
        }));
        *self.process.lock().expect("process") = Some(process.clone());
        let ready = wait::within(START, async || {
            assert!(process.exited().is_none(), "Kafka ended:\n{}", process.log_tail());
            self.answers().await
        });
        assert!(ready.await.is_some(), "waited {START:?} for Kafka:\n{}", process.log_tail());
    }

    /// Ends the broker in order.
    pub async fn stop(&self) {
        let process = self.running();
        process.signal(Signal::TERM);
        process.wait_exit(wait::LONG).await;
    }

    pub fn kill(&self) {
        self.running().kill();
    }

    /// Stops answering, with connections left open.
    pub fn pause(&self) {
        self.running().signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.running().signal(Signal::CONT);
    }

    /// What the broker has logged so far: warnings and errors.
    pub fn log(&self) -> String {
        self.running().log()
    }

    fn port(&self, listener: Listener) -> u16 {
        match listener {
            Listener::Proxied => self.proxy.port(),
            _ => self.ports[listener as usize],
        }
    }

    fn running(&self) -> Arc<Process> {
        self.process.lock().expect("process").clone().expect("the broker has been started")
    }

    fn command(&self) -> Vec<OsString> {
        let mut command = self.services.java("kafka", HEAP_MEGABYTES);
        let logging = service_file("log4j2.properties");
        command.push(format!("-Dlog4j2.configurationFile={}", logging.display()).into());
        command.extend(["-cp".into(), class_path(&self.services), "kafka.Kafka".into()]);
        command.push(self.directory.join("server.properties").into());
        command
    }

    fn properties(&self, extra: &[(&str, &str)]) -> String {
        let template = service_file("server.properties");
        let mut text = fs::read_to_string(&template).expect("the template of server.properties");
        let mut fill = |name: &str, value: &str| text = text.replace(&format!("@{name}@"), value);
        for ((_, name), port) in LISTENERS.iter().zip(self.ports) {
            fill(name, &port.to_string());
        }
        fill("CONTROLLER", &free_port().to_string());
        fill("PROXIED_ADVERTISED", &self.proxy.port().to_string());
        fill("DATA", &self.directory.join("data").display().to_string());
        fill("CERTIFICATES", &self.certificates().directory().display().to_string());
        for (name, value) in extra {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let process = self.process.lock().expect("process").take();
        if let Some(process) = process {
            process.kill();
        }
        // Of a test that failed the log is wanted, never the data.
        let _ = fs::remove_dir_all(self.directory.join("data"));
    }
}

/// Sorted, as for the warm-up run: else the class-data archive does not fit.
fn class_path(services: &Services) -> OsString {
    let jars = fs::read_dir(services.path("kafka")).expect("Kafka's class path");
    let mut jars: Vec<PathBuf> = jars.map(|jar| jar.expect("a directory entry").path()).collect();
    jars.sort();
    std::env::join_paths(jars).expect("paths without colons")
}
