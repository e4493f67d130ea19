//! Debezium 3.6 change events.
