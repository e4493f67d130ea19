//! Keys, values and headers as they can be shown.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::failure::Failure;
use crate::registry::decode::unframe;
use crate::registry::{Decoder, Error, Json, Registry, SchemaId};

/// Bytes of a record, made readable.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Avro(Json),
    Text(String),
    /// Neither framed Avro nor text; why, if it looks like Avro.
    Binary {
        base64: String,
        problem: Option<String>,
    },
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Content::Avro(json) => json.serialize(serializer),
            Content::Text(text) => serializer.serialize_str(text),
            Content::Binary { base64, problem } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("base64", base64)?;
                if let Some(problem) = problem {
                    map.serialize_entry("problem", problem)?;
                }
                map.end()
            }
        }
    }
}

/// Decodes with the registry's schemas, each fetched once.
pub(super) struct Contents {
    registry: Registry,
    /// Also the schemas that cannot be had or used.
    decoders: HashMap<SchemaId, Result<Decoder, String>>,
}

impl Contents {
    pub(super) fn new(registry: Registry) -> Contents {
        Contents { registry, decoders: HashMap::new() }
    }

    pub(super) async fn optional(
        &mut self,
        bytes: Option<&[u8]>,
    ) -> Result<Option<Content>, Failure> {
        match bytes {
            None => Ok(None),
            Some(bytes) => self.of(bytes).await.map(Some),
        }
    }

    /// Framed Avro if it looks so and its schema is known, else text, else base64.
    ///
    /// # Errors
    ///
    /// When the registry gives no usable answer.
    async fn of(&mut self, bytes: &[u8]) -> Result<Content, Failure> {
        let Some((id, datum)) = unframe(bytes) else {
            return Ok(unframed(bytes));
        };
        let decoder = self.decoder(id).await?;
        Ok(match decoder.as_ref().map(|decoder| decoder.decode(datum)) {
            Ok(Ok(json)) => Content::Avro(json),
            Ok(Err(error)) => binary(bytes, Some(error.to_string())),
            Err(problem) => binary(bytes, Some(problem.clone())),
        })
    }

    async fn decoder(&mut self, id: SchemaId) -> Result<&Result<Decoder, String>, Failure> {
        if !self.decoders.contains_key(&id) {
            let decoder = match self.registry.schema_by_id(id).await {
                Ok(schema) => Decoder::new(&schema).map_err(|error| error.to_string()),
                Err(error @ Error::UnknownId(_)) => Err(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            self.decoders.insert(id, decoder);
        }
        self.decoders
            .get(&id)
            .ok_or_else(|| Failure::retry("registry", format!("schema {id} was lost")))
    }
}

fn unframed(bytes: &[u8]) -> Content {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            Content::Text(text.to_owned())
        }
        _ => binary(bytes, None),
    }
}

fn binary(bytes: &[u8], problem: Option<String>) -> Content {
    Content::Binary { base64: BASE64.encode(bytes), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text_and_the_rest_as_base64() {
        assert_eq!(unframed("{\"a\":\t1}\n".as_bytes()), Content::Text("{\"a\":\t1}\n".to_owned()));
        assert_eq!(unframed(b"\x1b[31m"), binary(b"\x1b[31m", None));
        assert_eq!(unframed(&[0xff]), binary(&[0xff], None));
        assert_eq!(
            serde_json::to_string(&binary(&[0xff], Some("why".to_owned()))).unwrap(),
            r#"{"base64":"/w==","problem":"why"}"#
        );
    }
}
