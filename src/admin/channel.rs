//! From the server to the pump and back.

use tokio::sync::{mpsc, oneshot};

use super::protocol::{Request, Response};
use crate::pump::Wake;

/// Asks the pump. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    requests: mpsc::Sender<Asked>,
    wake: Wake,
}

/// The pump's end.
#[derive(Debug)]
pub struct Receiver {
    requests: mpsc::Receiver<Asked>,
}

/// A request whose sender waits. Dropped, it is answered with a refusal.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    reply: oneshot::Sender<Response>,
}

/// Requests that wait for the pump at the most.
const CAPACITY: usize = 16;

/// A channel that wakes the pump.
#[must_use]
pub fn channel(wake: Wake) -> (Sender, Receiver) {
    let (sender, requests) = mpsc::channel(CAPACITY);
    (Sender { requests: sender, wake }, Receiver { requests })
}

impl Sender {
    /// Asks, and waits for the answer.
    pub async fn ask(&self, request: Request) -> Response {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Asked { request, reply }).await;
        self.wake.wake();
        let gone = || Response::refused("walferry is stopping, or has just lost its connection");
        match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }
}

impl Receiver {
    /// The next request, if there is one. Those whose sender was told that nobody answers are passed
    /// over: nothing begins that was refused.
    pub fn try_recv(&mut self) -> Option<Asked> {
        loop {
            let asked = self.requests.try_recv().ok()?;
            if !asked.reply.is_closed() {
                return Some(asked);
            }
        }
    }
}

impl Asked {
    /// Answers it.
    pub fn answer(self, response: Response) {
        // A client that has gone needs no answer.
        let _ = self.reply.send(response);
    }
}
