//! Waiting for a condition, with a deadline that names it.

use std::future::Future;
use std::time::Duration;

/// Long enough for anything that is going to happen on a loaded machine with two cores.
pub const LONG: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives something; panics with `what` after `deadline`.
pub async fn until<T, F, P>(what: &str, deadline: Duration, probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    match within(deadline, probe).await {
        Some(value) => value,
        None => panic!("waited {deadline:?} for {what}"),
    }
}

/// Asks `probe` until it gives something, or `deadline` has passed.
pub async fn within<T, F, P>(deadline: Duration, mut probe: P) -> Option<T>
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let asking = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(value) = probe().await {
                return value;
            }
        }
    };
    tokio::time::timeout(deadline, asking).await.ok()
}
