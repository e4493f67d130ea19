//! A registry that answers as told: nonsense, refusals, or never.

use crate::background;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer to one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, content type, extra headers (`name: value`), body.
    Http { status: u16, content_type: String, headers: Vec<String>, body: String },
    /// The request is read, and nothing comes back.
    Hang,
    /// The connection is closed after the request.
    Close,
    /// The bytes as they are, then the end of the connection.
    Raw(Vec<u8>),
    /// The answer after a pause.
    After(Duration, Box<Answer>),
}

impl Answer {
    /// A registry's own JSON.
    pub fn json(status: u16, body: &str) -> Self {
        let content_type = "application/vnd.schemaregistry.v1+json".to_owned();
        Self::Http { status, content_type, headers: Vec::new(), body: body.to_owned() }
    }

    /// The login page of something that is no registry.
    pub fn html(status: u16) -> Self {
        let body = "<!DOCTYPE html><html><body>Please sign in</body></html>".to_owned();
        Self::Http { status, content_type: "text/html".to_owned(), headers: Vec::new(), body }
    }

    /// 409 with the registry's reason.
    pub fn incompatible(reason: &str) -> Self {
        Self::json(409, &serde_json::json!({ "error_code": 409, "message": reason }).to_string())
    }

    /// 429 that asks to come back after some seconds.
    pub fn too_many_requests(seconds: u32) -> Self {
        Self::Http {
            status: 429,
            content_type: "text/plain".to_owned(),
            headers: vec![format!("Retry-After: {seconds}")],
            body: "slow down".to_owned(),
        }
    }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(value)
    }
}

/// The server; ends when dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    next: VecDeque<Answer>,
    then: Answer,
    requests: Vec<Request>,
}

impl FakeRegistry {
    /// A server that answers every request with `answer`.
    pub async fn start(answer: Answer) -> Self {
        let port = crate::services::free_port();
        let shared = Shared { next: VecDeque::new(), then: answer, requests: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let served = shared.clone();
        let listener = {
            let _runtime = background().enter();
            let listener =
                std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
            listener.set_nonblocking(true).expect("a socket for tokio");
            TcpListener::from_std(listener).expect("a listener")
        };
        let task = background().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Self { port, shared, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers the next request with `answer`; several queue up.
    pub fn next(&self, answer: Answer) {
        self.shared.lock().expect("answers").next.push_back(answer);
    }

    /// Answers every request from now on with `answer`, when the queue is empty.
    pub fn then(&self, answer: Answer) {
        self.shared.lock().expect("answers").then = answer;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().expect("answers").requests.clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let mut answer = {
            let mut shared = shared.lock().expect("answers");
            shared.requests.push(request);
            let next = shared.next.pop_front();
            next.unwrap_or_else(|| shared.then.clone())
        };
        while let Answer::After(pause, later) = answer {
            tokio::time::sleep(pause).await;
            answer = *later;
        }
        let (bytes, goes_on) = match answer {
            Answer::Http { status, content_type, headers, body } => {
                let mut head =
                    format!("HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\n");
                head.extend(headers.iter().map(|header| format!("{header}\r\n")));
                head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
                (head.into_bytes(), true)
            }
            Answer::Raw(bytes) => (bytes, false),
            Answer::Hang => std::future::pending().await,
            Answer::Close | Answer::After(..) => return,
        };
        if stream.write_all(&bytes).await.is_err() || !goes_on {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
