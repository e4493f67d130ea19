//! Logical messages (`pg_logical_emit_message`) as Debezium's `m` events.
//!
//! All of a database's messages go to the one topic `<name>.message`, keyed by their prefix. A
//! message outside any transaction has no transaction id, and its own LSN twice in `sequence`.

use std::convert::Infallible;

use super::debezium::Schemas;
use super::record::infallible;
use super::source::{self, EventContext, SourceBlock, TRANSACTION_SCHEMA, write_some_long};
use crate::avro::primitive::{write_branch, write_bytes};
use crate::kafka::{Batch, TopicName};
use crate::pgoutput::LogicalMessage;
use crate::registry::SchemaId;

/// The topic of a deployment's messages.
#[must_use]
pub fn topic(name: &str) -> TopicName {
    TopicName::from(format!("{name}.message"))
}

/// The schemas of keys and values, the same for every deployment.
#[must_use]
pub fn schemas() -> Schemas {
    let value = format!(
        concat!(
            r#"{{"type":"record","name":"MessageValue","namespace":"{namespace}","fields":["#,
            r#"{{"name":"op","type":"string"}},"#,
            r#"{{"name":"ts_ms","type":["null","long"],"default":null}},"#,
            r#"{{"name":"source","type":{source}}},"#,
            r#"{{"name":"transaction","type":{transaction},"default":null}},"#,
            r#"{{"name":"message","type":{{"type":"record","name":"Message","fields":["#,
            r#"{{"name":"prefix","type":["null","string"],"default":null}},"#,
            r#"{{"name":"content","type":["null","bytes"],"default":null}}],"#,
            r#""connect.version":1,"connect.name":"{namespace}.Message"}}}}],"#,
            r#""connect.version":1,"connect.name":"{namespace}.MessageValue"}}"#,
        ),
        namespace = NAMESPACE,
        source = source::SCHEMA_IN_NAMESPACE,
        transaction = TRANSACTION_SCHEMA,
    );
    let key = format!(
        concat!(
            r#"{{"type":"record","name":"MessageKey","namespace":"{namespace}","fields":["#,
            r#"{{"name":"prefix","type":["null","string"],"default":null}}],"#,
            r#""connect.version":1,"connect.name":"{namespace}.MessageKey"}}"#,
        ),
        namespace = NAMESPACE,
    );
    Schemas { key: Some(key), value }
}

const NAMESPACE: &str = "io.debezium.connector.postgresql";

/// What a [`MessagePlan`] is made of.
#[derive(Debug, Clone)]
pub struct MessageInput<'a> {
    /// The deployment's name.
    pub name: &'a str,
    pub database: &'a str,
    pub topic: TopicName,
    pub key_schema: SchemaId,
    pub value_schema: SchemaId,
}

/// Writes messages as records.
#[derive(Debug)]
pub struct MessagePlan {
    topic: TopicName,
    key_prefix: [u8; 5],
    value_prefix: [u8; 5],
    source: SourceBlock,
}

impl MessagePlan {
    #[must_use]
    pub fn new(input: MessageInput<'_>) -> MessagePlan {
        MessagePlan {
            topic: input.topic,
            key_prefix: input.key_schema.prefix(),
            value_prefix: input.value_schema.prefix(),
            source: SourceBlock::new(input.name, input.database, "", ""),
        }
    }

    /// Writes one message. Of `context` the LSN is replaced by the message's own; for a
    /// non-transactional message also the transaction id (none) and the last commit (its own
    /// LSN). Debezium moves the last commit to that LSN for what follows as well: that is the
    /// caller's to do.
    pub fn message(
        &mut self,
        context: &EventContext<'_>,
        message: &LogicalMessage<'_>,
        batch: &mut Batch,
    ) {
        let mut context = EventContext { lsn: message.lsn, ..*context };
        if !message.transactional {
            context.xid = None;
            context.last_commit_lsn = Some(message.lsn);
        }
        let mut record = batch.record(&self.topic);
        infallible(record.key(|out| {
            out.extend_from_slice(&self.key_prefix);
            write_some_bytes(message.prefix.as_bytes(), out);
            Ok::<(), Infallible>(())
        }));
        infallible(record.value(|out| {
            out.extend_from_slice(&self.value_prefix);
            write_bytes(b"m", out);
            write_some_long(context.now_nanos.div_euclid(1_000_000), out);
            self.source.write(&context, out);
            write_branch(0, out);
            write_some_bytes(message.prefix.as_bytes(), out);
            write_some_bytes(message.content, out);
            Ok::<(), Infallible>(())
        }));
        record.finish();
    }
}

/// Writes the value `bytes` of `["null","string"]` or `["null","bytes"]`.
fn write_some_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_branch(1, out);
    write_bytes(bytes, out);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::envelope::fixture::{KEY_ID, VALUE_ID, context, records};
    use crate::postgres::Lsn;

    fn plan() -> MessagePlan {
        MessagePlan::new(MessageInput {
            name: "srv",
            database: "gt",
            topic: topic("srv"),
            key_schema: KEY_ID,
            value_schema: VALUE_ID,
        })
    }

    fn message(transactional: bool) -> LogicalMessage<'static> {
        LogicalMessage { transactional, lsn: Lsn(120), prefix: "audit", content: b"\x00hi" }
    }

    #[test]
    fn a_message_is_an_event_keyed_by_its_prefix() {
        let mut batch = Batch::default();
        plan().message(&context(), &message(true), &mut batch);
        let records = records(&batch, &schemas());
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["topic"], json!("srv.message"));
        assert_eq!(records[0]["key"], json!({"prefix": "audit"}));
        assert_eq!(records[0]["headers"], json!([]));
        let value = &records[0]["value"];
        assert_eq!(value["op"], json!("m"));
        assert_eq!(value["ts_ms"], json!(1_795_453_768_400_i64));
        assert_eq!(value["message"], json!({"prefix": "audit", "content": [0, 104, 105]}));
        let source = &value["source"];
        assert_eq!(source["sequence"], json!("[\"50\",\"120\"]"));
        assert_eq!(source["lsn"], json!(120));
        assert_eq!(source["txId"], json!(4_294_967_295_i64));
        assert_eq!((&source["schema"], &source["table"]), (&json!(""), &json!("")));
    }

    #[test]
    fn a_message_outside_a_transaction_has_its_own_lsn_twice() {
        let mut batch = Batch::default();
        plan().message(&context(), &message(false), &mut batch);
        let source = &records(&batch, &schemas())[0]["value"]["source"];
        assert_eq!(source["txId"], json!(null));
        assert_eq!(source["sequence"], json!("[\"120\",\"120\"]"));
    }

    #[test]
    fn the_schemas_are_debeziums() {
        let schemas = schemas();
        let key = concat!(
            r#"{"type":"record","name":"MessageKey","#,
            r#""namespace":"io.debezium.connector.postgresql","fields":"#,
            r#"[{"name":"prefix","type":["null","string"],"default":null}],"#,
            r#""connect.version":1,"#,
            r#""connect.name":"io.debezium.connector.postgresql.MessageKey"}"#
        );
        assert_eq!(schemas.key.as_deref(), Some(key));
        let source = r#"{"name":"source","type":{"type":"record","name":"Source","fields":["#;
        assert!(schemas.value.contains(source));
        serde_json::from_str::<serde_json::Value>(&schemas.value).unwrap();
    }
}
