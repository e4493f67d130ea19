//! Watches what the server sends on the control connection, message by message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::postgres::connect::{Channel, Refusal, Secrecy};
use crate::postgres::wire;

/// A channel that fails before a message reaches tokio-postgres that it should not act on.
pub(super) struct Guard {
    channel: Channel,
    watch: Watch,
}

/// Why the guard failed a read.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Stopped {
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Protocol(wire::Error),
}

impl Guard {
    pub(super) fn new(channel: Channel, secrecy: Secrecy) -> Guard {
        Guard { channel, watch: Watch::new(secrecy) }
    }
}

/// The guard's own error inside an I/O error.
pub(super) fn stopped(error: &io::Error) -> Option<Stopped> {
    error.get_ref()?.downcast_ref::<Stopped>().copied()
}

/// The pure part: where in which message the stream stands.
///
/// tokio-postgres takes a request for a password as the very first message only, so only there it
/// must be looked for.
struct Watch {
    secrecy: Secrecy,
    /// The first bytes of the message under way.
    head: [u8; AUTHENTICATION_HEAD],
    held: usize,
    /// Bytes of the message under way that are still to come, once its header is known.
    rest: Option<usize>,
    first: bool,
}

impl Watch {
    fn new(secrecy: Secrecy) -> Watch {
        Watch { secrecy, head: [0; AUTHENTICATION_HEAD], held: 0, rest: None, first: true }
    }

    fn see(&mut self, mut bytes: &[u8]) -> Result<(), Stopped> {
        while let Some((&byte, after)) = bytes.split_first() {
            match self.rest {
                None => {
                    self.push(byte);
                    bytes = after;
                    self.check_header()?;
                }
                Some(rest) => {
                    let count = rest.min(bytes.len());
                    let (body, after) = bytes.split_at(count);
                    for &byte in body.iter().take(AUTHENTICATION_HEAD) {
                        self.push(byte);
                    }
                    bytes = after;
                    self.rest = Some(rest - count);
                    self.check_request()?;
                }
            }
            if self.rest == Some(0) {
                (self.rest, self.held, self.first) = (None, 0, false);
            }
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.head.get_mut(self.held) {
            *slot = byte;
            self.held += 1;
        }
    }

    /// tokio-postgres's own queries bring more kinds of messages than this client's: only the
    /// length is looked at.
    fn check_header(&mut self) -> Result<(), Stopped> {
        let [_, a, b, c, d, ..] = self.head;
        if self.held < wire::HEADER {
            return Ok(());
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let tag = wire::Tag::CopyData;
        match usize::try_from(length) {
            Ok(announced) if announced < 4 => {
                Err(Stopped::Protocol(wire::Error::Length { tag, length }))
            }
            Ok(announced) if announced <= MESSAGE_LIMIT => {
                self.rest = Some(announced - 4);
                Ok(())
            }
            _ => {
                let max = MESSAGE_LIMIT;
                Err(Stopped::Protocol(wire::Error::TooLarge { tag, length, max }))
            }
        }
    }

    fn check_request(&self) -> Result<(), Stopped> {
        let asked = self.first && self.held == AUTHENTICATION_HEAD && self.head == CLEARTEXT;
        if asked && self.secrecy == Secrecy::Readable {
            return Err(Stopped::Refused(Refusal::Cleartext));
        }
        Ok(())
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut guard.channel).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(guard.watch.see(read).map_err(io::Error::other))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().channel).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().channel).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().channel).poll_shutdown(cx)
    }
}

/// Header and request code of an authentication message.
const AUTHENTICATION_HEAD: usize = 9;

/// The server asks for the password as it is.
const CLEARTEXT: [u8; AUTHENTICATION_HEAD] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// Catalog answers are small; nothing that this connection asks for comes near.
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleartext_is_seen_however_it_is_cut() {
        for cut in 0..CLEARTEXT.len() {
            let (a, b) = CLEARTEXT.split_at(cut);
            let mut watch = Watch::new(Secrecy::Readable);
            let seen = watch.see(a).and_then(|()| watch.see(b));
            assert!(matches!(seen, Err(Stopped::Refused(Refusal::Cleartext))), "cut at {cut}");
            let mut watch = Watch::new(Secrecy::Private);
            assert!(watch.see(a).and_then(|()| watch.see(b)).is_ok());
        }
    }

    #[test]
    fn lengths_are_followed_from_message_to_message() {
        let mut watch = Watch::new(Secrecy::Readable);
        let mut bytes = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x04D\0\0\0\x0cabcdefgh".to_vec();
        assert!(watch.see(&bytes).is_ok());
        assert_eq!((watch.rest, watch.held), (None, 0));
        bytes.extend_from_slice(b"D\x7f\0\0\0");
        for size in 1..7 {
            let mut watch = Watch::new(Secrecy::Readable);
            let seen = bytes.chunks(size).try_for_each(|chunk| watch.see(chunk));
            assert!(matches!(seen, Err(Stopped::Protocol(wire::Error::TooLarge { .. }))));
        }
        let mut watch = Watch::new(Secrecy::Readable);
        let seen = watch.see(b"D\0\0\0\x03");
        assert!(matches!(seen, Err(Stopped::Protocol(wire::Error::Length { .. }))));
    }
}
