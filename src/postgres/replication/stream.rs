//! A slot being streamed, driven by the pump without ever blocking.
//!
//! ```text
//! fill():  socket → receive buffer          one read(2) a call
//! next():  receive buffer → borrowed event  no copy, no allocation
//! queue_*: position → outbox                bounded
//! flush(): outbox → socket                  as much as it takes
//! ```
//!
//! Under TLS one read fills a buffer of ciphertext, which is decrypted as far as the receive buffer
//! has room. What is left over is invisible to `poll(2)`: ask [`has_buffered`](Stream::has_buffered)
//! before sleeping.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustls::ClientConnection;

use super::Error;
use super::buffer::ReceiveBuffer;
use super::outbox::{Outbox, Status};
use crate::postgres::connect::{Channel, Endpoint, Socket};
use crate::postgres::wire::{self, Event, event};

/// The streaming state of a replication connection.
pub struct Stream {
    socket: RawSocket,
    tls: Option<Box<Tls>>,
    received: ReceiveBuffer,
    outbox: Outbox,
    /// The message being written, and how much of it is out. Unused under TLS, where rustls holds
    /// it.
    writing: Vec<u8>,
    written: usize,
    endpoint: Endpoint,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes of the protocol; a short read means that the server has no more right now.
    Read(usize),
    WouldBlock,
    /// The buffer is full of messages that were not taken yet: take some first.
    Full,
    /// The server closed the connection; what was read before is still to be taken.
    Closed,
}

enum RawSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct Tls {
    session: ClientConnection,
    /// Ciphertext that was read and not decrypted: `start..end`.
    cipher: Vec<u8>,
    start: usize,
    end: usize,
    closed: bool,
}

impl Stream {
    pub(super) fn new(
        channel: Channel,
        received: ReceiveBuffer,
        endpoint: Endpoint,
    ) -> io::Result<Stream> {
        let (socket, tls) = match channel {
            Channel::Plain(socket) => (socket, None),
            Channel::Tls(stream) => {
                let (socket, session) = stream.into_inner();
                (socket, Some(Box::new(Tls::new(session))))
            }
        };
        // Both stay non-blocking, as tokio has set them.
        let socket = match socket {
            Socket::Tcp(stream) => RawSocket::Tcp(stream.into_std()?),
            Socket::Unix(stream) => RawSocket::Unix(stream.into_std()?),
        };
        let (outbox, writing) = (Outbox::default(), Vec::with_capacity(64));
        Ok(Stream { socket, tls, received, outbox, writing, written: 0, endpoint })
    }

    /// For `poll(2)`: readable when there is something to [`fill`](Self::fill), writable when
    /// [`flush`](Self::flush) can go on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The server that is streaming.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether `fill` would bring bytes without the socket becoming readable.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.start < tls.end || tls.session_has_plaintext())
    }

    /// Reads once, without blocking.
    pub fn fill(&mut self) -> Result<Fill, Error> {
        let free = self.received.free().map_err(|source| protocol(&self.endpoint, source))?;
        if free.is_empty() {
            return Ok(Fill::Full);
        }
        let read = match &mut self.tls {
            None => self.socket.read(free),
            Some(tls) => tls.read(&mut self.socket, free),
        };
        match read {
            Ok(0) => Ok(Fill::Closed),
            Ok(count) => {
                self.received.filled(count);
                Ok(Fill::Read(count))
            }
            Err(error) if is_no_progress(&error) => Ok(Fill::WouldBlock),
            Err(error) => Err(lost(&self.endpoint, error)),
        }
    }

    /// Takes the next whole message; `None` when more bytes are needed. Ask until then before
    /// sleeping in `poll(2)`: what came with the start of the stream is here already.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.skip()?;
        let frame = self.received.take_frame();
        match frame.map_err(|source| protocol(&self.endpoint, source))? {
            Some(frame) => event(frame).map_err(|source| protocol(&self.endpoint, source)),
            None => Ok(None),
        }
    }

    /// Shows the message that [`next`](Self::next) would take, and leaves it. Costs what `next`
    /// costs; may be repeated, also after more was filled.
    pub fn peek(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.skip()?;
        match self.received.frame().map_err(|source| protocol(&self.endpoint, source))? {
            Some(frame) => event(frame).map_err(|source| protocol(&self.endpoint, source)),
            None => Ok(None),
        }
    }

    /// Takes the message that [`peek`](Self::peek) showed; nothing if there is none.
    pub fn consume(&mut self) -> Result<(), Error> {
        self.skip()?;
        let frame = self.received.frame().map_err(|source| protocol(&self.endpoint, source))?;
        let length = frame.map_or(0, |frame| frame.wire_len());
        self.received.take(length);
        Ok(())
    }

    /// Queues a status update. It replaces one that was not begun to be written (and keeps its
    /// request for a reply), and never reports less than was reported before.
    pub fn queue_status(&mut self, status: Status) {
        self.outbox.status(status);
    }

    /// Queues the clean end: after it the server sends what is under way, then
    /// [`Event::CopyDone`], [`Event::CommandComplete`] (twice) and [`Event::ReadyForQuery`], when
    /// the slot is free. No status goes out after it.
    pub fn queue_copy_done(&mut self) {
        self.outbox.copy_done();
    }

    /// Queues the end of the session, for after [`Event::ReadyForQuery`].
    pub fn queue_terminate(&mut self) {
        self.outbox.terminate();
    }

    /// Writes as much of what is queued as the socket takes; `true` when all is written.
    pub fn flush(&mut self) -> Result<bool, Error> {
        loop {
            let written = match &mut self.tls {
                None => self.write_plain(),
                Some(tls) => tls.write_pending(&mut self.socket),
            };
            match written {
                Ok(true) if self.outbox.is_empty() => return Ok(true),
                Ok(true) => self.begin_next()?,
                Ok(false) => return Ok(false),
                Err(error) => return Err(lost(&self.endpoint, error)),
            }
        }
    }

    /// Whether something waits for the socket to become writable.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        let under_way = match &self.tls {
            None => self.written < self.writing.len(),
            Some(tls) => tls.session.wants_write(),
        };
        under_way || !self.outbox.is_empty()
    }

    /// Moves one queued message to where it is written from; only when the last one is out.
    fn begin_next(&mut self) -> Result<(), Error> {
        self.writing.clear();
        self.written = 0;
        self.outbox.next(&mut self.writing);
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let accepted = tls.session.writer().write_all(&self.writing);
        self.writing.clear();
        accepted.map_err(|error| lost(&self.endpoint, error))
    }

    fn write_plain(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.writing.get(self.written..)
            && !rest.is_empty()
        {
            match self.socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if is_no_progress(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Drops the messages that mean nothing to the stream. Costs one comparison where there are
    /// none, as nearly always.
    fn skip(&mut self) -> Result<(), Error> {
        while matches!(self.received.first_byte(), Some(b'N' | b'S' | b'A')) {
            let frame = self.received.take_frame();
            match frame.map_err(|source| protocol(&self.endpoint, source))? {
                Some(frame) => event(frame).map_err(|source| protocol(&self.endpoint, source))?,
                None => break,
            };
        }
        Ok(())
    }
}

impl Tls {
    fn new(session: ClientConnection) -> Tls {
        Tls { session, cipher: vec![0; CIPHER_CAPACITY], start: 0, end: 0, closed: false }
    }

    /// Fills `plain` from what is decrypted, what is read, and at most one read of the socket.
    fn read(&mut self, socket: &mut RawSocket, plain: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.decrypt(plain)?;
        if filled == 0 && self.start == self.end && !self.closed {
            // Emptied first: a read that brings nothing must not bring the old bytes back.
            (self.start, self.end) = (0, 0);
            self.end = socket.read(&mut self.cipher)?;
            self.closed = self.end == 0;
            filled = self.decrypt(plain)?;
        }
        if filled == 0 && !self.closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }

    /// Decrypts until `plain` is full or nothing is left.
    fn decrypt(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            while let Some(free) = plain.get_mut(filled..)
                && !free.is_empty()
            {
                match self.session.reader().read(free) {
                    Ok(0) => {
                        self.closed = true;
                        return Ok(filled);
                    }
                    Ok(count) => filled += count,
                    Err(error) if is_no_progress(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            let mut rest = self.cipher.get(self.start..self.end).unwrap_or_default();
            if rest.is_empty() || filled == plain.len() {
                return Ok(filled);
            }
            let taken = self.session.read_tls(&mut rest)?;
            if taken == 0 {
                // After a close notification rustls takes nothing more.
                self.closed = true;
                return Ok(filled);
            }
            self.start += taken;
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Whether rustls holds decrypted bytes. (Its reader cannot be asked without `&mut`; a session
    /// that wants no more input is one that is full.)
    fn session_has_plaintext(&self) -> bool {
        !self.session.wants_read() && !self.closed
    }

    fn write_pending(&mut self, socket: &mut RawSocket) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if is_no_progress(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            RawSocket::Tcp(stream) => stream.as_fd(),
            RawSocket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for RawSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            RawSocket::Tcp(stream) => stream.read(buf),
            RawSocket::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for RawSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            RawSocket::Tcp(stream) => stream.write(buf),
            RawSocket::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn protocol(endpoint: &Endpoint, source: wire::Error) -> Error {
    Error::Protocol { endpoint: endpoint.clone(), source }
}

fn lost(endpoint: &Endpoint, source: io::Error) -> Error {
    Error::Lost { endpoint: endpoint.clone(), source }
}

fn is_no_progress(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Four full TLS records.
const CIPHER_CAPACITY: usize = 64 * 1024;
