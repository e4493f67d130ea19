//! (see the design)

pub mod tail;
