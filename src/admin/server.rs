//! The socket.

mod socket_file;

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::channel::Sender;
use super::protocol::{Request, Response};
pub use socket_file::{BindError, SocketFile};

/// A line at the most: a request names tables.
const MAX_LINE: u64 = 64 * 1024;

/// How long the pump may take to answer: it does between two messages, and once what was asked is
/// durable.
const ANSWER: Duration = Duration::from_secs(20);

/// Listens, for the process's own user alone. A file that a dead process has left is replaced. The
/// file goes with the second value.
///
/// # Errors
/// Another instance listens there, or the file cannot be made.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let (listener, file) = SocketFile::listen(path)?;
    let listener = UnixListener::from_std(listener);
    Ok((listener.map_err(|source| BindError::Io { path: path.to_owned(), source })?, file))
}

/// Answers clients until the process ends.
pub async fn serve(listener: UnixListener, sender: Sender) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, sender.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin socket does not accept");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, sender: Sender) {
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_LINE);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_whole = line.last() == Some(&b'\n');
        let response = if is_whole {
            answer(&line, &sender).await
        } else {
            Response::refused("a request is one line of at most 64 KiB")
        };
        let mut text = serde_json::to_vec(&response).unwrap_or_default();
        text.push(b'\n');
        if write.write_all(&text).await.is_err() || !is_whole {
            return;
        }
    }
}

async fn answer(line: &[u8], sender: &Sender) -> Response {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Response::refused(format!("not a request: {error}")),
    };
    match tokio::time::timeout(ANSWER, sender.ask(request)).await {
        Ok(response) => response,
        Err(_) => Response::Refused {
            message: "walferry did not answer: it is connecting, or waits for Kafka".to_owned(),
            remedy: Some("see /status, and try again".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::channel;
    use crate::admin::fixture::Directory;
    use crate::pump::Wake;

    async fn exchange(path: &Path, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(line).await.unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn requests_reach_the_pump_and_answers_come_back() {
        let directory = Directory::new();
        let path = directory.file("s.sock");
        let (sender, mut receiver) = channel(Wake::new().unwrap());
        let (listener, _file) = bind(&path).unwrap();
        tokio::spawn(serve(listener, sender));
        let pump = tokio::spawn(async move {
            loop {
                if let Some(asked) = receiver.try_recv() {
                    let is_pause = asked.request == Request::Pause;
                    assert!(is_pause, "{:?}", asked.request);
                    asked.answer(Response::Accepted { tables: vec![] });
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let answer = exchange(&path, b"{\"request\":\"pause\"}\n").await;
        assert_eq!(answer, "{\"response\":\"accepted\",\"tables\":[]}\n");
        pump.await.unwrap();
        // The pump has gone.
        let answer = exchange(&path, b"{\"request\":\"pause\"}\n").await;
        assert!(answer.contains("refused") && answer.contains("stopping"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_bounded() {
        let directory = Directory::new();
        let path = directory.file("s.sock");
        let (sender, _receiver) = channel(Wake::new().unwrap());
        let (listener, _file) = bind(&path).unwrap();
        tokio::spawn(serve(listener, sender));
        let answer = exchange(&path, b"{\"request\":\"dance\"}\n").await;
        assert!(answer.contains("not a request"), "{answer}");
        let long = vec![b'x'; 64 * 1024];
        let answer = exchange(&path, &long).await;
        assert!(answer.contains("at most 64 KiB"), "{answer}");
    }
}
