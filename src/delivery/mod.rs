//! What may be confirmed, and what was delivered already.
//!
//! The way of a change from the brokers' acknowledgement back to the slot has three steps, each a
//! small pure module: the [`ledger`] turns acknowledgements into a durable LSN, [`confirm`] lets
//! that LSN reach Postgres only after a [`position`] record holding it is durable itself, and
//! [`startup`] compares position and slot on every connect. [`resume`] drops what the server sends
//! again, and the [`tally`] says which tables of a snapshot are at the brokers. What the pure modules are asked about is gathered by `standing`.

pub mod confirm;
pub mod ledger;
pub mod position;
pub mod resume;
pub(crate) mod standing;
pub mod startup;
pub mod tally;

pub use confirm::Confirmation;
pub use ledger::{Ledger, Ticket};
pub use position::{Partial, Position, SlotOrigin};
pub use resume::ResumeFilter;
pub use tally::Tally;
