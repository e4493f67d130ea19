//! The HTTP server: `/metrics`, `/healthz`, `/readyz`, `/status`, and an index page for people.
//!
//! It reads shared state and changes nothing, without authentication, so it must give nothing
//! away (no row values, no secrets) and must not be a way to hurt the process: GET and HEAD only,
//! bodies are never read, heads are bounded in size and time, connections in number and life.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::exposition::Exposition;
use super::page;
use super::shared::Telemetry;
use crate::failure::Failure;

/// What the server puts up with.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The pump's loop turns at least once a second; a heart that stands still for longer is
    /// stuck.
    heartbeat: Duration,
    connections: usize,
    /// For the head of a request, and so for the idle time between two of them.
    head: Duration,
    /// Of one connection, so that a slow reader cannot hold its place.
    lifetime: Duration,
}

impl Limits {
    const DEFAULT: Limits = Limits {
        // The failed probes that a supervisor waits for come on top.
        heartbeat: Duration::from_secs(15),
        // Enough for several scrapers, probes and people; each costs a task and a buffer.
        connections: 64,
        // Below the usual scrape interval, so that a scraper opens a new connection rather than
        // meeting one that is about to be closed.
        head: Duration::from_secs(5),
        lifetime: Duration::from_secs(30),
    };
}

/// What a head may take in memory; hyper's least.
const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// How often the recorder is tidied.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The server, bound and not serving yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds early, before anything is connected, so that a wrong address shows at once. Port 0
    /// takes a free one.
    pub fn bind(listen: SocketAddr) -> Result<HttpServer, Failure> {
        let bound = std::net::TcpListener::bind(listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(HttpServer { listener, address })
        });
        bound.map_err(|error| bind_failure(listen, error))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped, which also ends all connections.
    pub async fn serve(
        self,
        telemetry: Arc<Telemetry>,
        exposition: Exposition,
    ) -> Result<Infallible, Failure> {
        let listener = TcpListener::from_std(self.listener)
            .map_err(|error| bind_failure(self.address, error))?;
        let pages = Arc::new(Pages { telemetry, exposition, limits: Limits::DEFAULT });
        Ok(accept(listener, pages).await)
    }
}

fn bind_failure(listen: SocketAddr, error: std::io::Error) -> Failure {
    let message = format!("cannot listen on {listen} ([http] listen): {error}");
    let failure = match error.kind() {
        // Somebody may be about to leave: a supervisor's next try can succeed.
        std::io::ErrorKind::AddrInUse => Failure::retry("http", message).remedy(format!(
            "another process uses port {}; end it, or give [http] listen another port",
            listen.port()
        )),
        std::io::ErrorKind::PermissionDenied => Failure::stop("http", message)
            .remedy("ports below 1024 need a privilege; give [http] listen a higher one"),
        _ => Failure::stop("http", message)
            .remedy("give [http] listen an address of this machine, such as \"0.0.0.0:8080\""),
    };
    failure.source(error)
}

/// Never returns.
async fn accept(listener: TcpListener, pages: Arc<Pages>) -> Infallible {
    let places = Arc::new(Semaphore::new(pages.limits.connections));
    let mut connections = JoinSet::new();
    let mut upkeep = interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            // Cancel safe: no connection is lost when another branch wins.
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without a free place the connection is closed rather than kept waiting.
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let pages = Arc::clone(&pages);
                        connections.spawn(async move {
                            converse(stream, pages).await;
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: it passes, and must not spin until then.
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = upkeep.tick() => pages.exposition.upkeep(),
        }
    }
}

/// One connection to its end.
async fn converse(stream: TcpStream, pages: Arc<Pages>) {
    let limits = pages.limits;
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = pages.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(limits.lifetime, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection ended"),
        Err(_) => tracing::debug!("HTTP connection closed at the end of its time"),
    }
}

/// What is answered to what.
struct Pages {
    telemetry: Arc<Telemetry>,
    exposition: Exposition,
    limits: Limits,
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

impl Pages {
    /// The answer to one request; hyper leaves the body out for HEAD.
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response =
                page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => page(StatusCode::OK, METRICS, self.exposition.render()),
            "/healthz" => self.health(),
            "/readyz" => self.readiness(),
            "/status" => self.status(),
            "/" => page(StatusCode::OK, HTML, page::render(&self.telemetry.view())),
            _ => page(
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /metrics, /healthz, /readyz and /status\n".into(),
            ),
        }
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let age = self.telemetry.heartbeat_age();
        if age <= self.limits.heartbeat {
            return page(StatusCode::OK, TEXT, "ok\n".into());
        }
        let text = format!("no sign of life from the pump for {} s\n", age.as_secs());
        page(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        match self.telemetry.readiness() {
            None => page(StatusCode::OK, TEXT, "streaming\n".into()),
            Some(why) => {
                let text = format!("{}: {}\n", why.reason.as_str(), why.message);
                page(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
            }
        }
    }

    fn status(&self) -> Response<Full<Bytes>> {
        match serde_json::to_string_pretty(&self.telemetry.view()) {
            Ok(json) => page(StatusCode::OK, JSON, json + "\n"),
            Err(error) => {
                page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("no status: {error}\n"))
            }
        }
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
