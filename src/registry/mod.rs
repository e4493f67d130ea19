//! Client of a Confluent-compatible schema registry, its cache, and the decoder of framed records.
//!
//! Only [`Registry`] does I/O. What a schema difference means ([`difference`]) and how a record reads
//! ([`decode`]) are pure.

pub mod client;
pub mod decode;
pub mod difference;
pub mod error;
mod tls;

pub use client::Registry;
pub use decode::{Decoder, Json};
pub use error::Error;

use std::fmt;

/// The id that a registry gives a schema, unique in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl SchemaId {
    /// The Confluent wire prefix: a zero byte and the id, big-endian.
    #[must_use]
    pub fn prefix(self) -> [u8; 5] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0, a, b, c, d]
    }
}

/// The name that a schema's versions are registered under: `<topic>-key` or `<topic>-value`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Subject(String);

impl Subject {
    #[must_use]
    pub fn key_of(topic: &str) -> Subject {
        Subject(format!("{topic}-key"))
    }

    #[must_use]
    pub fn value_of(topic: &str) -> Subject {
        Subject(format!("{topic}-value"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
