//! Reading a table in chunks: the reader's side, off the pump.
//!
//! A chunk is handed over before its high mark is written, so it is there when the stream passes
//! that mark.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Tools;
use super::writer::Table;
use crate::delivery::standing::application_name;
use crate::envelope::{Marker, SnapshotContext};
use crate::failure::Failure;
use crate::kafka::Batch;
use crate::pgoutput::TupleBuilder;
use crate::postgres::snapshot::{self, ChunkReader, Error, Locked, Selection, Target, obstacle};
use crate::postgres::whitelist::Whitelist;
use crate::postgres::{Oid, PgTime, slot};
use crate::pump::sink::unix_micros;
use crate::snapshot::copy_row::read_row;
use crate::snapshot::rate::Rate;
use crate::snapshot::scan::Request;
use crate::snapshot::window::Chunk;
use crate::snapshot::{Key, visible::PgSnapshot};

/// What the pump asks a reader for.
#[derive(Debug)]
pub(super) enum Ask {
    /// That everything that is committed by now is visible.
    Settle,
    Read {
        id: u64,
        request: Request,
        /// Rows at the most, if they are asked for by place.
        limit: usize,
    },
}

/// What a reader answers.
#[derive(Debug)]
pub(super) enum Answer {
    Settled(Facts),
    Chunk(Rows),
    Ended(Ended),
}

/// Why there is nothing more to be read in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    Dropped,
    /// For this reason the table has to be read at one snapshot.
    Impossible(&'static str),
}

/// What is known of a table before its first chunk.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) primary_key: Vec<String>,
    /// The planner's estimate.
    pub(super) rows: Option<u64>,
    pub(super) bytes: u64,
}

/// A chunk that is encoded: a record for each of its keys.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) chunk: Chunk,
    pub(super) batch: Batch,
    /// No row lies behind it.
    pub(super) is_last: bool,
    /// Its rows were so large that it was not read to its end.
    pub(super) is_cut: bool,
}

/// What marks in the log begin with: see [`mark`].
pub(super) fn prefix(name: &str) -> String {
    format!("walferry.{name}")
}

/// Which edge of a chunk a mark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Low,
    High,
}

/// The content of a mark.
fn mark(edge: Edge, id: u64) -> String {
    match edge {
        Edge::Low => format!("low {id}"),
        Edge::High => format!("high {id}"),
    }
}

/// Reads the content of a mark.
pub(super) fn parse_mark(content: &[u8]) -> Option<(Edge, u64)> {
    let (edge, id) = std::str::from_utf8(content).ok()?.split_once(' ')?;
    let edge = match edge {
        "low" => Edge::Low,
        "high" => Edge::High,
        _ => return None,
    };
    Some((edge, id.parse().ok()?))
}

/// Rows of a chunk at the most.
const MOST_ROWS: usize = 4096;

/// Encoded bytes that a chunk should have.
const CHUNK_BYTES: usize = 1024 * 1024;

/// With more a chunk ends where it is: the rows before were small.
const CUT_BYTES: usize = 4 * CHUNK_BYTES;

/// Between two looks whether older transactions have ended.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// Reads one table.
pub(super) struct Chunks {
    pub(super) tools: Arc<Tools>,
    pub(super) whitelist: Arc<Whitelist>,
    pub(super) oid: Oid,
    pub(super) condition: Option<String>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) answers: mpsc::Sender<Answer>,
}

/// The table as it was when it was last looked at.
struct Shape {
    fingerprint: String,
    table: Table,
    selection: Selection,
    key: Vec<String>,
    /// Where they are in a row.
    places: Vec<usize>,
    is_alone: bool,
}

impl Chunks {
    /// Answers until nobody asks any more.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let settings = Arc::clone(&self.tools.settings);
        let (postgres, name) = (&settings.postgres, application_name(&settings.name));
        let (target, timeout) = (&postgres.target, postgres.connect_timeout);
        let mut reader = ChunkReader::connect(target, timeout, &name).await?;
        let prefix = prefix(&settings.name);
        let mut shape = None;
        let mut rate = Rate::new(settings.snapshot.max_rows_per_second);
        while let Some(ask) = self.asks.recv().await {
            let (id, request, limit) = match ask {
                Ask::Settle => {
                    settle(&reader).await?;
                    let answer = match self.target(&reader).await? {
                        Ok(target) => Answer::Settled(Facts {
                            rows: target.sources.iter().map(|source| source.rows).sum(),
                            bytes: target.bytes(),
                            primary_key: target.primary_key,
                        }),
                        Err(reason) => Answer::Ended(reason),
                    };
                    self.answer(answer).await;
                    continue;
                }
                Ask::Read { id, request, limit } => (id, request, limit),
            };
            reader.mark(&prefix, &mark(Edge::Low, id)).await?;
            let answer = self.read(&mut reader, &mut shape, id, &request, limit).await?;
            if let Answer::Chunk(rows) = &answer {
                if rows.is_cut {
                    // The rest of a COPY can only be left by leaving the session.
                    reader = ChunkReader::connect(target, timeout, &name).await?;
                }
                let pause = rate.take(rows.batch.len() as u64, Instant::now());
                tokio::time::sleep(pause).await;
            }
            self.answer(answer).await;
            reader.mark(&prefix, &mark(Edge::High, id)).await?;
        }
        Ok(())
    }

    async fn answer(&self, answer: Answer) {
        // A pump that has given the table up needs no answer.
        let _ = self.answers.send(answer).await;
        self.tools.wake.wake();
    }

    /// Reads one chunk, of the table as it is now.
    async fn read(
        &self,
        reader: &mut ChunkReader,
        shape: &mut Option<Shape>,
        id: u64,
        request: &Request,
        limit: usize,
    ) -> Result<Answer, Failure> {
        loop {
            let only = shape.as_ref().is_none_or(|shape| shape.is_alone);
            let Some(locked) = reader.begin(self.oid, only).await? else {
                reader.commit().await?;
                return Ok(Answer::Ended(Ended::Dropped));
            };
            if shape.as_ref().is_none_or(|shape| shape.fingerprint != locked.fingerprint) {
                reader.commit().await?;
                match self.shape(reader, locked.fingerprint).await? {
                    Ok(found) => *shape = Some(found),
                    Err(reason) => return Ok(Answer::Ended(reason)),
                }
                continue;
            }
            let Some(shape) = shape else { continue };
            let rows = self.copy(reader, shape, id, locked, request, limit).await?;
            if !rows.is_cut {
                reader.commit().await?;
            }
            return Ok(Answer::Chunk(rows));
        }
    }

    async fn copy(
        &self,
        reader: &mut ChunkReader,
        shape: &Shape,
        id: u64,
        locked: Locked,
        request: &Request,
        limit: usize,
    ) -> Result<Rows, Failure> {
        let columns = shape.table.columns();
        let mut writer = shape.table.writer().await?;
        let mut rows = reader.copy(&shape.selection, &shape.key, request, limit).await?;
        let (mut batch, mut keys) = (Batch::default(), Vec::new());
        let now_nanos = unix_micros().saturating_mul(1000);
        let mut tuple = TupleBuilder::default();
        let mut is_cut = false;
        while let Some(line) = rows.next().await? {
            if batch.bytes() > CUT_BYTES {
                is_cut = true;
                break;
            }
            let key = read_row(&line, columns, &mut tuple)
                .ok()
                .and_then(|()| Key::of(&tuple.tuple(), &shape.places));
            let key = key.ok_or_else(|| {
                Failure::stop("protocol", "a row that was read in chunks has no primary key")
            })?;
            keys.push(key);
            let marker = Marker::Incremental;
            shape.table.write(&mut writer, &line, marker, now_nanos, &mut batch).await?;
        }
        let is_last = matches!(request, Request::After(_)) && keys.len() < limit && !is_cut;
        Ok(Rows { chunk: Chunk { id, seen: locked.seen, keys }, batch, is_last, is_cut })
    }

    /// What the catalog says of the table now; or why it cannot be read in chunks.
    async fn target(&self, reader: &ChunkReader) -> Result<Result<Target, Ended>, Failure> {
        let (client, publications) = (reader.client(), &self.tools.publications);
        let targets = snapshot::targets(client, &self.whitelist, publications, &[self.oid]).await?;
        let Some(target) = targets.into_iter().next() else { return Ok(Err(Ended::Dropped)) };
        let inserts_only =
            self.whitelist.entries.get(&self.oid).is_some_and(|listed| listed.inserts_only);
        Ok(match obstacle(&target, inserts_only) {
            Some(reason) => Err(Ended::Impossible(reason)),
            None => Ok(target),
        })
    }

    async fn shape(
        &self,
        reader: &ChunkReader,
        fingerprint: String,
    ) -> Result<Result<Shape, Ended>, Failure> {
        let target = match self.target(reader).await? {
            Ok(target) => target,
            Err(reason) => return Ok(Err(reason)),
        };
        let client = reader.client();
        let context = SnapshotContext {
            lsn: slot::head(client).await?,
            xid: None,
            time: PgTime::from_unix_micros(unix_micros()),
        };
        let excluded = self.tools.preparer.excluded(&self.whitelist, self.oid);
        let selection = Selection::of_target(&target, &excluded, self.condition.as_deref());
        let places = places(&target);
        let (key, is_alone) = (target.primary_key.clone(), target.is_alone());
        let preparer = Arc::clone(&self.tools.preparer);
        let table = Table::new(preparer, target, &self.whitelist, context, true);
        Ok(Ok(Shape { fingerprint, table, selection, key, places, is_alone }))
    }
}

/// Where the columns of the primary key are in a row of the target.
fn places(target: &Target) -> Vec<usize> {
    let columns = &target.relation.columns;
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    target.primary_key.iter().filter_map(place).collect()
}

/// Waits until every transaction that is older than this call has ended, for everybody: those that
/// were streamed before are then visible to each new statement.
async fn settle(reader: &ChunkReader) -> Result<(), Error> {
    let now = reader.new_transaction_id().await?;
    let is_past = |seen: &PgSnapshot| seen.is_past(now);
    while !is_past(&reader.current_snapshot().await?) {
        tokio::time::sleep(SETTLE_INTERVAL).await;
    }
    Ok(())
}

/// Rows of the first chunk of a table: it is not known how large they are.
pub(super) const FIRST_LIMIT: usize = 16;

/// Rows of the next chunk, so that it has about as many bytes as it should.
pub(super) fn next_limit(limit: usize, bytes: usize, rows: usize) -> usize {
    if rows == 0 {
        return limit;
    }
    let row = (bytes / rows).max(1);
    (CHUNK_BYTES / row).clamp(1, (limit * 4).min(MOST_ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_log() {
        for edge in [Edge::Low, Edge::High] {
            let content = mark(edge, u64::MAX);
            assert_eq!(parse_mark(content.as_bytes()), Some((edge, u64::MAX)));
        }
        for other in [&b""[..], b"low", b"low x", b"mid 3", b"\xff 3"] {
            assert_eq!(parse_mark(other), None);
        }
    }

    #[test]
    fn chunks_have_about_the_same_bytes_whatever_the_rows() {
        assert_eq!(next_limit(16, 16 * 100, 16), 64, "at most four times as many");
        assert_eq!(next_limit(4096, 4096 * 100, 4096), MOST_ROWS);
        assert_eq!(next_limit(512, 512 << 20, 512), 1, "rows of a megabyte");
        assert_eq!(next_limit(64, 0, 0), 64);
    }
}
