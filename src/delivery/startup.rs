//! The table of start-up cases: what position and slot together mean.
