//! What the tests, the demo and the benches share: real servers, a way to break the line to them, and
//! walferry itself as a child process.
//!
//! Servers are processes of this machine, fetched by `make services`. One Kafka, one registry and one
//! PostgreSQL per version serve a whole test process ([`Kafka::shared`] and its like), started by the
//! first test that asks; a test keeps to names of its own ([`unique`], [`Postgres::database`]). A test
//! that stops, pauses or crashes a server takes one for itself ([`Kafka::own`] and its like).
//!
//! Everything here panics when it cannot do its work, and says what it was waiting for: the callers
//! are tests. Nothing sleeps to be on the safe side: [`wait::until`] asks again until a deadline.

pub mod bench;
pub mod decode;
pub mod fake_registry;
pub mod kafka;
pub mod mirror;
pub mod postgres;
pub mod proxy;
pub mod registry;
pub mod services;
pub mod wait;
pub mod walferry;
pub mod workload;

pub use decode::Decoder;
pub use fake_registry::FakeRegistry;
pub use kafka::{Kafka, Listener, Record};
pub use postgres::{Database, Postgres};
pub use proxy::Proxy;
pub use registry::Registry;
pub use walferry::{Config, Walferry};
pub use workload::{Shop, Workload};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A name that no other test and no other run uses; fit for tables, topics, subjects and slots.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}_{:x}_{number}", std::process::id())
}

/// The runtime of proxies and fake servers: they outlive the runtime of the test that made them.
fn background() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("harness")
            .enable_all()
            .build()
            .expect("a tokio runtime")
    })
}

/// An HTTP client that keeps no connection: a kept one would belong to the runtime of one test.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // An earlier installation by another part of the process serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .timeout(std::time::Duration::from_secs(20))
            .build()
            .expect("an HTTP client")
    })
}
