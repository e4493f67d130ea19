//! Slow work off the pump: a future on the runtime whose end wakes the pump.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::wake::Wake;
use crate::failure::Failure;

/// A running background job of the pump. Dropping it cancels the job.
#[derive(Debug)]
pub(super) struct Task<T> {
    result: oneshot::Receiver<Result<T, Failure>>,
    abort: AbortHandle,
}

impl<T: Send + 'static> Task<T> {
    pub(super) fn spawn(
        runtime: &Handle,
        wake: &Wake,
        job: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Task<T> {
        let (sender, result) = oneshot::channel();
        let wake = WakeOnDrop(wake.clone());
        let job = runtime.spawn(async move {
            let wake = wake;
            let outcome = job.await;
            // A pump that is gone needs no answer.
            let _ = sender.send(outcome);
            drop(wake);
        });
        Task { result, abort: job.abort_handle() }
    }

    /// The outcome, once. `None` while the job runs.
    pub(super) fn poll(&mut self) -> Option<Result<T, Failure>> {
        match self.result.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => {
                Some(Err(Failure::retry("internal", "a background job ended without an answer")))
            }
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Wakes also when the job panics: the pump then sees the closed channel instead of waiting.
struct WakeOnDrop(Wake);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}
