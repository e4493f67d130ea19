//! Framed Avro records as readable JSON.
//!
//! For people (`walferry tail`), not for the hot path. It decodes by itself rather than through
//! apache-avro (which is the oracle of its tests) for two reasons: apache-avro drops the attributes
//! that carry Debezium's meaning of a primitive (`connect.name`), and it reads a record that was cut
//! off as one that ends in nulls, which would show values that nobody wrote.
//!
//! Input is hostile: every length is checked against what is there, nesting and the number of values
//! are bounded, and a datum must end where the record ends.

mod json;
mod logical;
mod schema;

pub use json::Json;

use std::sync::Arc;

use super::SchemaId;
use logical::Meaning;
use schema::{Node, NodeId, Schema};

/// Why a record cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the schema cannot be used: {0}")]
    Schema(&'static str),
    #[error("the record ends early")]
    Truncated,
    #[error("{0} bytes follow the record")]
    Trailing(usize),
    #[error("the record is not of its schema: {0}")]
    Invalid(&'static str),
}

/// Splits a record into the id of its schema and the datum, if it has the Confluent frame.
#[must_use]
pub fn unframe(record: &[u8]) -> Option<(SchemaId, &[u8])> {
    let (frame, datum) = record.split_first_chunk::<5>()?;
    let [0, a, b, c, d] = *frame else {
        return None;
    };
    Some((SchemaId(u32::from_be_bytes([a, b, c, d])), datum))
}

/// A schema made ready to decode with.
#[derive(Debug)]
pub struct Decoder {
    schema: Schema,
}

impl Decoder {
    /// # Errors
    ///
    /// [`Error::Schema`] when the text is no Avro schema, or one with references to other subjects.
    pub fn new(schema: &str) -> Result<Decoder, Error> {
        Schema::parse(schema).map(|schema| Decoder { schema })
    }

    /// Decodes one datum, without its frame. Union branches are unwrapped, and dates, times and
    /// decimals are shown as such.
    ///
    /// # Errors
    ///
    /// When the datum is not of the schema.
    pub fn decode(&self, datum: &[u8]) -> Result<Json, Error> {
        let budget = VALUES_BEYOND_BYTES.saturating_add(datum.len());
        let mut reader = Reader { schema: &self.schema, rest: datum, budget };
        let value = reader.value(self.schema.root(), 0)?;
        match reader.rest.len() {
            0 => Ok(value),
            more => Err(Error::Trailing(more)),
        }
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    /// Values that may still be made: an array of nulls costs no bytes.
    budget: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, id: NodeId, depth: usize) -> Result<Json, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Invalid("it is nested too deeply"));
        }
        self.budget = self.budget.checked_sub(1).ok_or(Error::Invalid("it has too many values"))?;
        let schema = self.schema;
        match schema.node(id) {
            Node::Null => Ok(Json::Null),
            Node::Boolean => self.boolean(),
            Node::Int(meaning) => {
                let number =
                    i32::try_from(self.long()?).map_err(|_| Error::Invalid("int overflow"))?;
                Ok(meaning.number(number.into()))
            }
            Node::Long(meaning) => Ok(meaning.number(self.long()?)),
            Node::Float => Ok(Json::Float(f32::from_le_bytes(self.array()?))),
            Node::Double => Ok(Json::Double(f64::from_le_bytes(self.array()?))),
            Node::Bytes(meaning) => Ok(meaning.bytes(self.sized()?)),
            Node::String => Ok(Json::Text(self.text()?.to_owned())),
            Node::Fixed(size, meaning) => Ok(meaning.bytes(self.take(*size)?)),
            Node::Enum(symbols) => self.symbol(symbols),
            Node::Array(items) => self.items(*items, depth),
            Node::Map(values) => self.entries(*values, depth),
            Node::Union(branches) => {
                let branch = self.index()?;
                let id = branches.get(branch).ok_or(Error::Invalid("no such union branch"))?;
                self.value(*id, depth + 1)
            }
            Node::Record(fields) => {
                let mut members = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    members.push((Arc::clone(name), self.value(*field, depth + 1)?));
                }
                Ok(Json::Object(members))
            }
            Node::VariableScaleDecimal { scale, value } => {
                let scale = self.value(*scale, depth + 1)?;
                let Node::Bytes(_) = schema.node(*value) else {
                    return Err(Error::Schema("VariableScaleDecimal without bytes"));
                };
                let Json::Integer(scale) = scale else {
                    return Err(Error::Schema("VariableScaleDecimal without scale"));
                };
                Ok(Meaning::Decimal { scale }.bytes(self.sized()?))
            }
        }
    }

    fn boolean(&mut self) -> Result<Json, Error> {
        match self.array()? {
            [0] => Ok(Json::Bool(false)),
            [1] => Ok(Json::Bool(true)),
            _ => Err(Error::Invalid("a boolean is neither 0 nor 1")),
        }
    }

    fn symbol(&mut self, symbols: &[String]) -> Result<Json, Error> {
        let symbol = symbols.get(self.index()?).ok_or(Error::Invalid("no such enum symbol"))?;
        Ok(Json::Text(symbol.clone()))
    }

    fn items(&mut self, items: NodeId, depth: usize) -> Result<Json, Error> {
        let mut list = Vec::new();
        loop {
            match self.block()? {
                0 => return Ok(Json::Array(list)),
                count => {
                    for _ in 0..count {
                        list.push(self.value(items, depth + 1)?);
                    }
                }
            }
        }
    }

    fn entries(&mut self, values: NodeId, depth: usize) -> Result<Json, Error> {
        let mut members = Vec::new();
        loop {
            match self.block()? {
                0 => return Ok(Json::Object(members)),
                count => {
                    for _ in 0..count {
                        let key = self.text()?.into();
                        members.push((key, self.value(values, depth + 1)?));
                    }
                }
            }
        }
    }

    /// The number of items in the next block of an array or map.
    fn block(&mut self) -> Result<u64, Error> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes follows, for readers that skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.sized()?).map_err(|_| Error::Invalid("a string is not UTF-8"))
    }

    fn sized(&mut self) -> Result<&'a [u8], Error> {
        let length = self.index()?;
        self.take(length)
    }

    fn index(&mut self) -> Result<usize, Error> {
        usize::try_from(self.long()?).map_err(|_| Error::Invalid("a length or index is negative"))
    }

    /// A zigzag varint.
    fn long(&mut self) -> Result<i64, Error> {
        let mut bits = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                return Err(Error::Invalid("a number has more than 64 bits"));
            }
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(Error::Invalid("a number has more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }
}

/// Deeper than any table's record; shallow enough for every stack.
const MAX_DEPTH: usize = 64;

/// How many more values than bytes a datum may have.
const VALUES_BEYOND_BYTES: usize = 100_000;

#[cfg(test)]
mod tests;
