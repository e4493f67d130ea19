//! The frames and messages of the frontend/backend protocol 3.0, as far as this client reads them.
//!
//! Pure functions over slices. The bytes are the network's, so every length is checked: a frame is
//! refused by its five-byte header (unknown tag, length below four, larger than the caller's
//! maximum) before anything is buffered for it, and a body is read through [`Reader`] only. What
//! comes out never depends on how the bytes were cut into reads: [`split`] answers from the whole
//! prefix, and a property test cuts at random places.

mod event;
mod server_error;

pub use event::{Event, event};
pub use server_error::{ServerError, SqlState};

use std::fmt;

/// Bytes before the body: the tag and the length.
pub const HEADER: usize = 5;

/// One message of the server, body not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub tag: Tag,
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Bytes that the frame takes on the wire, header included.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        HEADER + self.body.len()
    }
}

/// The messages that a server may send this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    Authentication = b'R',
    BackendKeyData = b'K',
    CommandComplete = b'C',
    CopyBothResponse = b'W',
    CopyData = b'd',
    CopyDone = b'c',
    DataRow = b'D',
    EmptyQueryResponse = b'I',
    ErrorResponse = b'E',
    NegotiateProtocolVersion = b'v',
    NoticeResponse = b'N',
    NotificationResponse = b'A',
    ParameterStatus = b'S',
    ReadyForQuery = b'Z',
    RowDescription = b'T',
}

impl TryFrom<u8> for Tag {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Tag, Error> {
        Ok(match byte {
            b'R' => Tag::Authentication,
            b'K' => Tag::BackendKeyData,
            b'C' => Tag::CommandComplete,
            b'W' => Tag::CopyBothResponse,
            b'd' => Tag::CopyData,
            b'c' => Tag::CopyDone,
            b'D' => Tag::DataRow,
            b'I' => Tag::EmptyQueryResponse,
            b'E' => Tag::ErrorResponse,
            b'v' => Tag::NegotiateProtocolVersion,
            b'N' => Tag::NoticeResponse,
            b'A' => Tag::NotificationResponse,
            b'S' => Tag::ParameterStatus,
            b'Z' => Tag::ReadyForQuery,
            b'T' => Tag::RowDescription,
            unknown => return Err(Error::UnknownTag(Byte(unknown))),
        })
    }
}

/// Bytes that are not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the server sent a message with the unknown tag {0}")]
    UnknownTag(Byte),
    #[error("the server sent a {tag:?} message with the impossible length {length}")]
    Length { tag: Tag, length: u32 },
    #[error(
        "the server announced a {tag:?} message of {length} bytes; at most {max} are taken \
         (postgres.max_message_bytes)"
    )]
    TooLarge { tag: Tag, length: u32, max: usize },
    #[error("the server sent a malformed {tag:?} message: {problem}")]
    Malformed { tag: Tag, problem: &'static str },
    #[error("the server sent replication data of the unknown kind {0}")]
    UnknownCopyData(Byte),
    #[error("the server sent a {tag:?} message where {expected} was due")]
    Unexpected { tag: Tag, expected: &'static str },
}

/// A byte, shown as a character where it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Byte(pub u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}'", char::from(self.0))
        } else {
            write!(f, "0x{:02x}", self.0)
        }
    }
}

/// The tag and the whole wire length of the frame that `bytes` begins with; `None` while its
/// header is incomplete.
///
/// `max` bounds the length that the message announces (its body and four).
pub fn head(bytes: &[u8], max: usize) -> Result<Option<(Tag, usize)>, Error> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let tag = Tag::try_from(first)?;
    let Some(length) = bytes.get(1..HEADER).and_then(|field| <[u8; 4]>::try_from(field).ok())
    else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(length);
    if !(4..=i32::MAX as u32).contains(&length) {
        return Err(Error::Length { tag, length });
    }
    match usize::try_from(length) {
        Ok(announced) if announced <= max => Ok(Some((tag, announced + 1))),
        _ => Err(Error::TooLarge { tag, length, max }),
    }
}

/// The frame that `bytes` begins with; `None` while it is incomplete.
pub fn split(bytes: &[u8], max: usize) -> Result<Option<Frame<'_>>, Error> {
    let Some((tag, wire_len)) = head(bytes, max)? else { return Ok(None) };
    Ok(bytes.get(HEADER..wire_len).map(|body| Frame { tag, body }))
}

/// What the server asks of a client that logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5Password {
        salt: [u8; 4],
    },
    /// The names of the mechanisms, each ended by a NUL.
    Sasl {
        mechanisms: &'a [u8],
    },
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// Kerberos, GSS, SSPI and whatever else there may be, by its number.
    Unsupported(u32),
}

impl<'a> Authentication<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Authentication<'a>, Error> {
        let mut reader = Reader::new(Tag::Authentication, body);
        let request = match reader.u32()? {
            0 => Authentication::Ok,
            3 => Authentication::CleartextPassword,
            5 => Authentication::Md5Password { salt: reader.array()? },
            10 => return Ok(Authentication::Sasl { mechanisms: reader.rest() }),
            11 => return Ok(Authentication::SaslContinue(reader.rest())),
            12 => return Ok(Authentication::SaslFinal(reader.rest())),
            other => return Ok(Authentication::Unsupported(other)),
        };
        reader.end()?;
        Ok(request)
    }
}

/// A setting that the server reports.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), Error> {
    let mut reader = Reader::new(Tag::ParameterStatus, body);
    let pair = (reader.text()?, reader.text()?);
    reader.end()?;
    Ok(pair)
}

/// The columns of a `DataRow` of a simple query, in text; `None` is NULL.
pub fn data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>, Error> {
    let mut reader = Reader::new(Tag::DataRow, body);
    let columns = reader.u16()?;
    let mut row = Vec::new();
    for _ in 0..columns {
        row.push(match reader.u32()? {
            u32::MAX => None,
            length => Some(reader.bytes(length as usize)?),
        });
    }
    reader.end()?;
    Ok(row)
}

/// Checked reads from the body of one message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    tag: Tag,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(tag: Tag, body: &'a [u8]) -> Reader<'a> {
        Reader { tag, rest: body }
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    /// The bytes up to the next NUL, which is taken too.
    pub fn c_string(&mut self) -> Result<&'a [u8], Error> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        let text = self.bytes(end.ok_or_else(|| self.malformed("a string has no end"))?)?;
        self.u8()?;
        Ok(text)
    }

    pub fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = self.c_string()?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("a string is not UTF-8"))
    }

    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub fn end(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.malformed("bytes are left over"))
    }

    fn malformed(&self, problem: &'static str) -> Error {
        Error::Malformed { tag: self.tag, problem }
    }
}

#[cfg(test)]
mod tests;
