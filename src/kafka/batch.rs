//! The records of one message of the stream, encoded side by side in a reused arena.
//!
//! One change can be several records (a delete and its tombstone, a changed key). They are written
//! here first, whole, so that a row that cannot be encoded leaves nothing half produced, and so
//! that a full producer queue can be waited out with a cursor instead of a copy.

use std::ops::Range;
use std::sync::Arc;

/// The name of a topic, shared by all its records.
pub type TopicName = Arc<str>;

/// Where one record lies in the arena.
#[derive(Debug, Clone)]
struct Span {
    topic: TopicName,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    partition: Option<i32>,
    timestamp_millis: Option<i64>,
}

#[derive(Debug, Clone)]
struct HeaderSpan {
    name: Arc<str>,
    value: Option<Range<usize>>,
}

/// Encoded records waiting for the producer.
#[derive(Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    spans: Vec<Span>,
    headers: Vec<HeaderSpan>,
    /// Records before this one were produced.
    next: usize,
}

/// One record as the producer takes it.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    batch: &'a Batch,
    span: &'a Span,
}

/// Writes one record; dropped without [`finish`](RecordWriter::finish) it leaves no record.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    batch: &'a mut Batch,
    topic: &'a TopicName,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    first_header: usize,
    partition: Option<i32>,
    timestamp_millis: Option<i64>,
}

/// A place in a [`Batch`] to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    arena: usize,
    spans: usize,
    headers: usize,
}

impl Batch {
    /// Forgets all records; keeps the memory up to `keep_bytes`.
    pub fn clear(&mut self, keep_bytes: usize) {
        self.arena.clear();
        self.arena.shrink_to(keep_bytes);
        self.spans.clear();
        self.headers.clear();
        self.next = 0;
    }

    /// Starts a record for `topic`.
    pub fn record<'a>(&'a mut self, topic: &'a TopicName) -> RecordWriter<'a> {
        let first_header = self.headers.len();
        RecordWriter {
            batch: self,
            topic,
            key: None,
            value: None,
            first_header,
            partition: None,
            timestamp_millis: None,
        }
    }

    /// The next record to produce, if any.
    #[must_use]
    pub fn peek(&self) -> Option<RecordView<'_>> {
        self.spans.get(self.next).map(|span| RecordView { batch: self, span })
    }

    /// The record of [`peek`](Self::peek) was taken by the producer.
    pub fn advance(&mut self) {
        debug_assert!(self.next < self.spans.len(), "advanced past the last record");
        self.next += 1;
    }

    /// Records written since the last [`clear`](Self::clear), produced ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of keys, values and headers written since the last [`clear`](Self::clear).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Whether no record was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All records, produced ones included.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        self.spans.iter().map(|span| RecordView { batch: self, span })
    }

    /// Keeps only the records for whose place `keep` answers `true`. None may have been produced.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        debug_assert_eq!(self.next, 0, "took back a produced record");
        let mut place = 0;
        self.spans.retain(|_| {
            place += 1;
            keep(place - 1)
        });
    }

    /// Where the batch ends now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { arena: self.arena.len(), spans: self.spans.len(), headers: self.headers.len() }
    }

    /// Takes back everything written since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        debug_assert!(self.next <= mark.spans, "took back a produced record");
        self.arena.truncate(mark.arena);
        self.spans.truncate(mark.spans);
        self.headers.truncate(mark.headers);
    }
}

impl RecordWriter<'_> {
    /// Writes the key with `write`, which appends to the arena.
    pub fn key<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.key = Some(self.batch.append(write)?);
        Ok(())
    }

    /// Uses the bytes of another record's key again.
    pub fn key_of(&mut self, record: usize) {
        self.key = self.batch.spans.get(record).and_then(|span| span.key.clone());
    }

    /// Writes the value with `write`, which appends to the arena. Without a value the record is a
    /// tombstone.
    pub fn value<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.value = Some(self.batch.append(write)?);
        Ok(())
    }

    /// Adds a header whose value `write` appends to the arena.
    pub fn header<E>(
        &mut self,
        name: &Arc<str>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = self.batch.append(write)?;
        self.batch.headers.push(HeaderSpan { name: Arc::clone(name), value: Some(value) });
        Ok(())
    }

    /// Adds a header with the null value.
    pub fn null_header(&mut self, name: &Arc<str>) {
        self.batch.headers.push(HeaderSpan { name: Arc::clone(name), value: None });
    }

    /// Chooses the partition instead of hashing the key.
    pub fn partition(&mut self, partition: i32) {
        self.partition = Some(partition);
    }

    /// Sets the record's timestamp (Unix milliseconds) instead of the time of producing.
    pub fn timestamp_millis(&mut self, millis: i64) {
        self.timestamp_millis = Some(millis);
    }

    /// Makes the record part of the batch and returns its index.
    pub fn finish(self) -> usize {
        let headers = self.first_header..self.batch.headers.len();
        self.batch.spans.push(Span {
            topic: Arc::clone(self.topic),
            key: self.key,
            value: self.value,
            headers,
            partition: self.partition,
            timestamp_millis: self.timestamp_millis,
        });
        self.batch.spans.len() - 1
    }
}

impl Batch {
    fn append<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.arena.len();
        write(&mut self.arena)?;
        Ok(start..self.arena.len())
    }
}

impl<'a> RecordView<'a> {
    #[must_use]
    pub fn topic(&self) -> &'a TopicName {
        &self.span.topic
    }

    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.span.key.clone().map(|range| &self.batch.arena[range])
    }

    /// `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.span.value.clone().map(|range| &self.batch.arena[range])
    }

    /// Name and value of each header, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)> {
        let batch = self.batch;
        self.batch.headers[self.span.headers.clone()]
            .iter()
            .map(|h| (&*h.name, h.value.clone().map(|range| &batch.arena[range])))
    }

    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        self.span.partition
    }

    #[must_use]
    pub fn timestamp_millis(&self) -> Option<i64> {
        self.span.timestamp_millis
    }
}
