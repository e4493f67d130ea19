//! The ledger of what is in flight.
