//! What can be seen from outside: metrics, status, probes and logs.
//!
//! The pump writes, everybody else reads. On the pump's side is [`PumpMetrics`]: plain integers
//! counted per row, flushed per batch. In the middle is [`Telemetry`], shared: the last
//! [`Snapshot`], totals as atomics, the heartbeat. On the readers' side [`http`] answers
//! `/metrics`, `/healthz`, `/readyz` and `/status` from it. Gauges are set when they are asked
//! for, from the same snapshot that `/status` shows, so that the two never disagree and nobody
//! pays for them in between.
//!
//! No row value and no secret reaches this module: names of tables, positions, counts, and error
//! texts that keep to that rule themselves.

mod activity;
mod counters;
mod exposition;
mod histogram;
pub mod http;
pub mod logging;
pub mod metrics;
mod page;
mod shared;
mod status;

pub use activity::{Activity, Shares, SlowSide};
pub use counters::{PumpMetrics, RecordKind, Skip, TableIndex};
pub use exposition::Exposition;
pub use shared::{ServerView, Telemetry};
pub use status::{InFlight, NotReady, Positions, Reason, Snapshot, State};
