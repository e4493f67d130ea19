//! The server over real sockets.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::AbortHandle;

use super::*;
use crate::failure::Class;
use crate::telemetry::{Reason, Snapshot, State};

/// A server on a free port of the loopback, ended with the test.
struct Served {
    address: SocketAddr,
    telemetry: Arc<Telemetry>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    fn start() -> Served {
        Served::with(Limits::DEFAULT)
    }

    fn with(limits: Limits) -> Served {
        let telemetry = Telemetry::new("shop");
        let exposition = Exposition::install(Arc::clone(&telemetry)).unwrap();
        let server = HttpServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = server.address();
        let listener = TcpListener::from_std(server.listener).unwrap();
        let pages = Arc::new(Pages { telemetry: Arc::clone(&telemetry), exposition, limits });
        let task = tokio::spawn(accept(listener, pages)).abort_handle();
        Served { address, telemetry, task }
    }

    /// Sends `request` and returns everything that comes until the server closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before all is sent, which is what some tests want.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path).await
    }

    async fn request(&self, method: &str, path: &str) -> (u16, String) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = self.raw(head.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, String::from(body))
    }
}

#[tokio::test]
async fn readiness_follows_the_stream_and_says_why_not() {
    let served = Served::start();
    assert_eq!(served.get("/readyz").await, (503, "starting: starting\n".into()));
    let waiting = "slot walferry_shop is active for pid 4711";
    served.telemetry.publish(Snapshot::unready(State::AcquiringSlot, Reason::SlotActive, waiting));
    assert_eq!(served.get("/readyz").await, (503, format!("slot_active: {waiting}\n")));
    served.telemetry.publish(Snapshot { state: State::Streaming, ..Snapshot::default() });
    assert_eq!(served.get("/readyz").await, (200, "streaming\n".into()));
}

#[tokio::test]
async fn health_is_the_heartbeat() {
    let served = Served::with(Limits { heartbeat: Duration::from_millis(200), ..Limits::DEFAULT });
    served.telemetry.beat();
    assert_eq!(served.get("/healthz").await, (200, "ok\n".into()));
    sleep(Duration::from_millis(300)).await;
    let (status, body) = served.get("/healthz").await;
    assert_eq!(status, 503);
    assert!(body.starts_with("no sign of life"), "{body}");
    served.telemetry.beat();
    assert_eq!(served.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn status_is_json_and_metrics_are_text() {
    let served = Served::start();
    let (status, body) = served.get("/status").await;
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["state"], "starting");
    assert_eq!(json["not_ready"]["reason"], "starting");
    let (status, body) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("# TYPE walferry_ready gauge"), "{body}");
    assert!(body.contains("walferry_commit_to_acknowledge_seconds_bucket"), "{body}");
    let (status, body) = served.get("/").await;
    assert_eq!(status, 200);
    assert!(body.contains("/readyz") && body.contains("starting"), "{body}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let served = Served::start();
    assert_eq!(served.get("/admin").await.0, 404);
    assert_eq!(served.get("/metrics/").await.0, 404);
    assert_eq!(served.get("/status?pretty").await.0, 200, "a query is ignored");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        assert_eq!(served.request(method, "/status").await.0, 405, "{method}");
    }
    let (status, body) = served.request("HEAD", "/readyz").await;
    assert_eq!((status, body.as_str()), (503, ""), "HEAD answers as GET, without the body");
}

#[tokio::test]
async fn headers_keep_browsers_and_caches_out() {
    let served = Served::start();
    let answer = served.raw(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    for header in [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(answer.contains(header), "{header} not in {answer}");
    }
}

#[tokio::test]
async fn oversized_and_broken_heads_are_answered_with_an_error() {
    let served = Served::start();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for request in [long.as_str(), &header, &many, "\u{16}\u{3}\u{1}\r\n\r\n"] {
        let answer = served.raw(request.as_bytes()).await;
        // An answer, or nothing where the reset overtook it; never a page.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(served.get("/status").await.0, 200, "and it still serves");
}

#[tokio::test]
async fn a_body_is_never_waited_for() {
    let served = Served::start();
    let answer = served
        .raw(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn connections_are_bounded_and_free_their_places() {
    let served = Served::start();
    let mut open = Vec::new();
    for _ in 0..Limits::DEFAULT.connections {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        // An answer proves that the connection has its place.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    assert_eq!(served.get("/healthz").await.0, 0, "one more is closed without an answer");
    drop(open);
    let freed = async {
        while served.get("/healthz").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), freed).await.expect("places are freed");
}

#[tokio::test]
async fn slow_heads_and_long_connections_are_cut_off() {
    let short = Duration::from_millis(100);
    for limits in
        [Limits { head: short, ..Limits::DEFAULT }, Limits { lifetime: short, ..Limits::DEFAULT }]
    {
        let served = Served::with(limits);
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(4), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{limits:?}: the connection is still open");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn an_address_in_use_names_the_setting() {
    let first = HttpServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let failure = HttpServer::bind(first.address()).unwrap_err();
    assert_eq!(failure.class, Class::Retry);
    assert!(failure.message.contains("[http] listen"), "{failure}");
    assert!(failure.remedy.unwrap().contains(&first.address().port().to_string()));
    // 192.0.2.0/24 is reserved for documentation: no machine has it.
    let failure = HttpServer::bind(SocketAddr::from(([192, 0, 2, 1], 8080))).unwrap_err();
    assert_eq!(failure.class, Class::Stop);
}
