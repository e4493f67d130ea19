//! What is to be sent while streaming: at most one status update that was not begun, then the end.
//!
//! A newer status replaces an older one of which no byte was written, so the memory is bounded
//! however long the socket takes nothing. Positions never go back: what was reported once is
//! repeated, should a caller report less.

use crate::postgres::{Lsn, PgTime};

/// A standby status update (`r`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Received; never less than `flushed` on the wire.
    pub written: Lsn,
    /// Durable downstream: the server forgets what is before.
    pub flushed: Lsn,
    pub applied: Lsn,
    pub now: PgTime,
    /// Ask the server to answer at once.
    pub reply: bool,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    status: Option<Status>,
    /// The highest positions queued so far.
    reported: Option<Status>,
    end: End,
}

/// How far our end of the stream has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    DoneQueued,
    DoneSent,
    TerminateQueued,
    TerminateSent,
}

impl Outbox {
    /// Queues a status; dropped after [`copy_done`](Self::copy_done), when the protocol allows no
    /// more data.
    pub(super) fn status(&mut self, status: Status) {
        if self.end != End::Open {
            return;
        }
        let mut status = status;
        if let Some(reported) = self.reported {
            status.written = status.written.max(reported.written);
            status.flushed = status.flushed.max(reported.flushed);
            status.applied = status.applied.max(reported.applied);
        }
        status.written = status.written.max(status.flushed);
        status.reply |= self.status.is_some_and(|replaced| replaced.reply);
        self.reported = Some(status);
        self.status = Some(status);
    }

    pub(super) fn copy_done(&mut self) {
        if self.end == End::Open {
            self.end = End::DoneQueued;
        }
    }

    pub(super) fn terminate(&mut self) {
        if self.end != End::TerminateSent {
            self.end = End::TerminateQueued;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.status.is_none() && !matches!(self.end, End::DoneQueued | End::TerminateQueued)
    }

    /// Appends the next message to `out`; `false` if there is none.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(status) = self.status.take() {
            encode(&status, out);
            return true;
        }
        let (message, end) = match self.end {
            End::DoneQueued => (COPY_DONE, End::DoneSent),
            End::TerminateQueued => (TERMINATE, End::TerminateSent),
            End::Open | End::DoneSent | End::TerminateSent => return false,
        };
        out.extend_from_slice(&message);
        self.end = end;
        true
    }
}

fn encode(status: &Status, out: &mut Vec<u8>) {
    out.push(b'd');
    out.extend_from_slice(&STATUS_LENGTH.to_be_bytes());
    out.push(b'r');
    for lsn in [status.written, status.flushed, status.applied] {
        out.extend_from_slice(&lsn.0.to_be_bytes());
    }
    out.extend_from_slice(&status.now.0.to_be_bytes());
    out.push(u8::from(status.reply));
}

/// The length field, the kind, three positions, the time, the flag.
const STATUS_LENGTH: u32 = 4 + 1 + 3 * 8 + 8 + 1;
const COPY_DONE: [u8; 5] = [b'c', 0, 0, 0, 4];
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

#[cfg(test)]
mod tests {
    use super::*;

    fn status(lsn: u64, reply: bool) -> Status {
        Status { written: Lsn(lsn), flushed: Lsn(lsn), applied: Lsn(lsn), now: PgTime(1), reply }
    }

    fn drain(outbox: &mut Outbox) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        loop {
            let mut message = Vec::new();
            if !outbox.next(&mut message) {
                return messages;
            }
            messages.push(message);
        }
    }

    #[test]
    fn a_newer_status_replaces_and_keeps_the_request() {
        let mut outbox = Outbox::default();
        outbox.status(status(1, true));
        outbox.status(status(0x0102, false));
        let messages = drain(&mut outbox);
        let mut expected = vec![b'd', 0, 0, 0, 38, b'r'];
        for _ in 0..3 {
            expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2]);
        }
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(messages, [expected]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn positions_never_go_back() {
        let mut outbox = Outbox::default();
        outbox.status(status(9, false));
        drain(&mut outbox);
        outbox.status(status(3, false));
        assert_eq!(outbox.status.map(|s| s.flushed), Some(Lsn(9)));
        outbox.status(Status { written: Lsn(4), flushed: Lsn(12), ..status(4, false) });
        assert_eq!(outbox.status.map(|s| (s.written, s.flushed)), Some((Lsn(12), Lsn(12))));
    }

    #[test]
    fn nothing_but_the_end_follows_the_end() {
        let mut outbox = Outbox::default();
        outbox.status(status(1, false));
        outbox.copy_done();
        outbox.status(status(2, false));
        let messages = drain(&mut outbox);
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0][0], messages[1].as_slice()), (b'd', &COPY_DONE[..]));
        outbox.copy_done();
        assert!(outbox.is_empty());
        outbox.terminate();
        assert_eq!(drain(&mut outbox), [TERMINATE.to_vec()]);
        outbox.terminate();
        assert!(outbox.is_empty());
    }
}
