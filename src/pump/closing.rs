//! The clean end of a replication connection: last status, CopyDone, and the server's answer.
//!
//! Only when the server has answered is the slot free at once for whoever comes next.

use std::time::{Duration, Instant};

use super::feedback::Feedback;
use super::wait::wait;
use super::wake::Wake;
use crate::failure::Failure;
use crate::postgres::Lsn;
use crate::postgres::replication::{Fill, Stream};
use crate::postgres::wire::Event;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What is in flight is still being acknowledged and confirmed.
    Confirming,
    /// CopyDone was queued; what the server had under way is thrown away.
    Saying,
    Done,
}

/// A stream that is read no more.
pub(super) struct Closing {
    stream: Stream,
    feedback: Feedback,
    received: Lsn,
    step: Step,
}

impl Closing {
    pub(super) fn new(stream: Stream, feedback: Feedback, received: Lsn) -> Closing {
        Closing { stream, feedback, received, step: Step::Confirming }
    }

    /// Does what can be done now and waits at most `timeout`. With `settled`, nothing is in flight
    /// any more and `confirmed` is the last word. Returns whether the server has answered.
    ///
    /// # Errors
    /// The connection is lost; the slot keeps what was confirmed before.
    pub(super) fn turn(
        &mut self,
        confirmed: Lsn,
        settled: bool,
        wake: &Wake,
        timeout: Duration,
        now: Instant,
    ) -> Result<bool, Failure> {
        if self.step == Step::Confirming {
            self.feedback.send(&mut self.stream, confirmed, self.received, now)?;
            if !settled {
                wait(None, false, wake, timeout);
                return Ok(false);
            }
            self.stream.queue_copy_done();
            self.step = Step::Saying;
        }
        if self.stream.wants_write() {
            self.stream.flush()?;
        }
        self.discard()?;
        if self.step == Step::Done {
            self.stream.queue_terminate();
            // The server sees the closed socket as well.
            let _ = self.stream.flush();
            return Ok(true);
        }
        match self.stream.fill()? {
            Fill::Read(_) | Fill::Full => {}
            Fill::WouldBlock => {
                wait(Some(self.stream.fd()), self.stream.wants_write(), wake, timeout);
            }
            Fill::Closed => {
                return Err(Failure::retry("postgres", "the server closed the connection"));
            }
        }
        Ok(false)
    }

    fn discard(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.stream.peek()? {
            let done = matches!(event, Event::ReadyForQuery);
            if let Event::ServerError(error) = &event {
                tracing::debug!(code = %error.code, "the server ended the stream with an error");
            }
            self.stream.consume()?;
            if done {
                self.step = Step::Done;
            }
        }
        Ok(())
    }
}
