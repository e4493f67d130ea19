//! Checked reads over the bytes of one message: every length is verified, nothing panics.

use super::Error;
use crate::postgres::{Lsn, Oid, PgTime, Xid};

/// A cursor that never reads past the end.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, Error> {
        self.array().map(u64::from_be_bytes).map(Lsn)
    }

    pub(super) fn time(&mut self) -> Result<PgTime, Error> {
        self.array().map(i64::from_be_bytes).map(PgTime)
    }

    pub(super) fn oid(&mut self) -> Result<Oid, Error> {
        self.u32().map(Oid)
    }

    pub(super) fn xid(&mut self) -> Result<Xid, Error> {
        self.u32().map(Xid)
    }

    /// A length of the wire: 32 bits, negative is an error.
    pub(super) fn length(&mut self) -> Result<usize, Error> {
        usize::try_from(self.i32()?).map_err(|_| Error::NegativeLength)
    }

    /// A string that a zero byte ends.
    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(Error::Truncated)?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        std::str::from_utf8(text).map_err(|_| Error::InvalidUtf8)
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::TrailingBytes(self.rest.len())) }
    }
}
