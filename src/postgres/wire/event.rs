//! What arrives while a slot is being streamed (CopyBoth mode).

use super::{Error, Frame, Reader, ServerError, Tag};
use crate::postgres::{Lsn, PgTime};

/// One message of the stream, borrowed from the receive buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// One message of the output plugin.
    XLogData {
        start: Lsn,
        /// For logical replication the same as `start`.
        end: Lsn,
        sent: PgTime,
        payload: &'a [u8],
    },
    /// `wal_end` is the last position *sent*, whatever the documentation says.
    Keepalive {
        wal_end: Lsn,
        sent: PgTime,
        reply_requested: bool,
    },
    /// The server ends the stream, or answers our end of it.
    CopyDone,
    /// Of the copy, then of the command: two at the end of a stream.
    CommandComplete,
    /// The connection is idle again; the slot is free.
    ReadyForQuery,
    ServerError(ServerError),
}

/// Reads one frame of the stream; `None` for the messages that may come at any time and mean
/// nothing here. Notices are logged without their text, which can quote rows.
///
/// Allocates for a server error only.
pub fn event(frame: Frame<'_>) -> Result<Option<Event<'_>>, Error> {
    match frame.tag {
        Tag::CopyData => copy_data(frame.body).map(Some),
        Tag::CopyDone => Ok(Some(Event::CopyDone)),
        Tag::CommandComplete => Ok(Some(Event::CommandComplete)),
        Tag::ReadyForQuery => Ok(Some(Event::ReadyForQuery)),
        Tag::ErrorResponse => {
            let error = ServerError::parse(frame.tag, frame.body)?;
            Ok(Some(Event::ServerError(error)))
        }
        Tag::NoticeResponse => {
            let notice = ServerError::parse(frame.tag, frame.body)?;
            tracing::debug!(code = %notice.code, "notice of the server");
            Ok(None)
        }
        Tag::ParameterStatus | Tag::NotificationResponse => Ok(None),
        tag => Err(Error::Unexpected { tag, expected: "replication data" }),
    }
}

fn copy_data(body: &[u8]) -> Result<Event<'_>, Error> {
    let mut reader = Reader::new(Tag::CopyData, body);
    match reader.u8()? {
        b'w' => Ok(Event::XLogData {
            start: Lsn(reader.u64()?),
            end: Lsn(reader.u64()?),
            sent: PgTime(reader.i64()?),
            payload: reader.rest(),
        }),
        b'k' => {
            let keepalive = Event::Keepalive {
                wal_end: Lsn(reader.u64()?),
                sent: PgTime(reader.i64()?),
                reply_requested: reader.u8()? != 0,
            };
            reader.end()?;
            Ok(keepalive)
        }
        kind => Err(Error::UnknownCopyData(super::Byte(kind))),
    }
}
