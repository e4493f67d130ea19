//! Debezium's four `__debezium.context.*` headers, which cost about 150 bytes a record and are off
//! unless `format.context_headers` is set.

use std::convert::Infallible;
use std::sync::Arc;

use crate::kafka::batch::RecordWriter;

/// The headers of one run of one deployment; clones share them.
#[derive(Debug, Clone)]
pub struct ContextHeaders(Arc<[Header; 4]>);

#[derive(Debug)]
struct Header {
    name: Arc<str>,
    value: Box<[u8]>,
}

impl ContextHeaders {
    /// `run_id` is a UUID in text, new for each start of the process.
    #[must_use]
    pub fn new(name: &str, run_id: &str) -> ContextHeaders {
        let header =
            |name: &str, value: &str| Header { name: name.into(), value: value.as_bytes().into() };
        ContextHeaders(Arc::new([
            header("__debezium.context.connectorLogicalName", name),
            header("__debezium.context.taskId", "0"),
            header("__debezium.context.connectorName", super::source::CONNECTOR),
            header("__debezium.context.runId", run_id),
        ]))
    }

    /// Adds them to a record.
    pub fn write(&self, record: &mut RecordWriter<'_>) {
        for header in self.0.iter() {
            super::record::infallible(record.header(&header.name, |out| {
                out.extend_from_slice(&header.value);
                Ok::<(), Infallible>(())
            }));
        }
    }
}
