//! The schema registry: Apicurio, spoken to through its Confluent-compatible API.

use crate::services::{Process, Services, Signal, free_port, run_directory};
use crate::{http, wait};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::OnceCell;

const API: &str = "/apis/ccompat/v7";
const START: Duration = Duration::from_secs(60);
/// Confluent's default; Apicurio's own is to allow everything.
const DEFAULT_COMPATIBILITY: &str = "BACKWARD";

/// A registry server. An own one keeps its schemas when it is stopped and started.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    directory: PathBuf,
    services: Services,
    process: Mutex<Option<Arc<Process>>>,
}

impl Registry {
    /// The registry that all tests of this process share.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Registry> = OnceCell::const_new();
        SHARED.get_or_init(Self::own).await
    }

    /// A registry for one test.
    pub async fn own() -> Self {
        let registry = Self {
            services: Services::ensure("registry"),
            port: free_port(),
            directory: run_directory("registry"),
            process: Mutex::new(None),
        };
        registry.start().await;
        registry
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL that walferry is given.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same through another port: a proxy's.
    pub fn url_through(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{API}")
    }

    pub async fn start(&self) {
        let log = self.directory.join("log");
        let mut command = self.services.java("registry", 192);
        let storage = self.directory.join("storage");
        for (property, value) in [
            ("quarkus.http.host", "127.0.0.1".to_owned()),
            ("quarkus.http.port", self.port.to_string()),
            ("quarkus.management.host", "127.0.0.1".to_owned()),
            ("quarkus.management.port", free_port().to_string()),
            ("apicurio.datasource.url", format!("jdbc:h2:file:{}", storage.display())),
        ] {
            command.push(format!("-D{property}={value}").into());
        }
        command.push("-jar".into());
        command.push(self.services.path("registry/quarkus-run.jar").into());
        let process = Arc::new(Process::start(crate::services::Launch {
            name: "registry",
            prefix: &[],
            command,
            environment: Vec::new(),
            directory: &self.directory,
            log: &log,
            death: "KILL",
        }));
        *self.process.lock().expect("process") = Some(process.clone());
        let ready = wait::within(START, async || {
            assert!(process.exited().is_none(), "the registry ended:\n{}", process.log_tail());
            // A write: the registry accepts connections long before it can store anything.
            let body = json!({ "compatibility": DEFAULT_COMPATIBILITY });
            let sent = http().put(format!("{}/config", self.url())).json(&body).send().await;
            sent.ok()?.error_for_status().ok()
        });
        assert!(
            ready.await.is_some(),
            "waited {START:?} for the registry:\n{}",
            process.log_tail()
        );
    }

    /// Ends the registry in order.
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

    /// Sets the compatibility of one subject: `BACKWARD`, `FULL`, `NONE`, …
    pub async fn set_compatibility(&self, subject: &str, level: &str) {
        let url = format!("{}/config/{subject}", self.url());
        let sent = http().put(url).json(&json!({ "compatibility": level })).send().await;
        sent.and_then(reqwest::Response::error_for_status)
            .expect("setting a subject's compatibility");
    }

    pub async fn subjects(&self) -> Vec<String> {
        let subjects = self.get("/subjects").await.expect("subjects");
        serde_json::from_value(subjects).expect("a list of subjects")
    }

    /// The versions of a subject; none if it does not exist.
    pub async fn versions(&self, subject: &str) -> Vec<i32> {
        let versions = self.get(&format!("/subjects/{subject}/versions")).await;
        versions
            .map_or_else(Vec::new, |list| serde_json::from_value(list).expect("a list of versions"))
    }

    /// The id and text of a subject's newest schema.
    pub async fn latest(&self, subject: &str) -> Option<(i32, String)> {
        let latest = self.get(&format!("/subjects/{subject}/versions/latest")).await?;
        let id = latest["id"].as_i64().expect("an id");
        Some((i32::try_from(id).expect("an id of 32 bits"), latest["schema"].as_str()?.to_owned()))
    }

    /// The text of the schema with this id.
    pub async fn schema(&self, id: i32) -> Option<String> {
        Some(self.get(&format!("/schemas/ids/{id}")).await?["schema"].as_str()?.to_owned())
    }

    /// Registers a schema: its id, or the registry's status and answer.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<i32, (u16, String)> {
        let url = format!("{}/subjects/{subject}/versions", self.url());
        let answer =
            http().post(url).json(&json!({ "schema": schema })).send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("an answer's text"));
        if !status.is_success() {
            return Err((status.as_u16(), text));
        }
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        Ok(i32::try_from(answer["id"].as_i64().expect("an id")).expect("an id of 32 bits"))
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = http().get(format!("{}{path}", self.url())).send().await.expect("an answer");
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return None;
        }
        let answer = answer.error_for_status().expect("success");
        Some(answer.json().await.expect("JSON"))
    }

    fn running(&self) -> Arc<Process> {
        self.process.lock().expect("process").clone().expect("the registry has been started")
    }
}
