//! What may be confirmed, and what was delivered already. Pure but for the position topic.

pub mod ledger;
pub mod position;
pub mod startup;
