//! The receive buffer: bytes in, whole frames out, nothing copied per message.
//!
//! ```text
//!   0        start            end            bytes.len()
//!   |  taken   |  not taken yet |      free        |
//! ```
//!
//! `start <= end <= bytes.len()`. The buffer grows only while the frame at its head is incomplete
//! and fills it, at most to twice what has really arrived, so an announced length alone costs
//! nothing. After a giant message it shrinks again. A frame is borrowed from it until the next
//! fill.

use crate::postgres::wire::{self, Frame};

pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The largest length that a message may announce.
    max_message: usize,
    /// Fills in a row that would have fitted into [`CAPACITY`].
    small_fills: u32,
}

impl ReceiveBuffer {
    pub(crate) fn new(max_message: usize) -> ReceiveBuffer {
        ReceiveBuffer { bytes: vec![0; CAPACITY], start: 0, end: 0, max_message, small_fills: 0 }
    }

    pub(crate) fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// The first frame, if it is complete.
    pub(crate) fn frame(&self) -> Result<Option<Frame<'_>>, wire::Error> {
        wire::split(self.unread(), self.max_message)
    }

    /// Marks the first `count` unread bytes as taken.
    pub(crate) fn take(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Takes the first frame, if it is complete, and returns it.
    pub(crate) fn take_frame(&mut self) -> Result<Option<Frame<'_>>, wire::Error> {
        let Some((tag, wire_len)) = wire::head(self.unread(), self.max_message)? else {
            return Ok(None);
        };
        if wire_len > self.end - self.start {
            return Ok(None);
        }
        let start = self.start;
        self.take(wire_len);
        Ok(self.bytes.get(start + wire::HEADER..self.start).map(|body| Frame { tag, body }))
    }

    /// The byte that the first frame begins with, complete or not.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.unread().first().copied()
    }

    /// Free space to read into, then call [`filled`](Self::filled); empty when the buffer is full
    /// of frames that were not taken yet.
    pub(crate) fn free(&mut self) -> Result<&mut [u8], wire::Error> {
        self.shrink();
        if self.start > 0 && (self.start == self.end || self.bytes.len() - self.end < LOW_SPACE) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.grow()?;
        }
        Ok(self.bytes.get_mut(self.end..).unwrap_or_default())
    }

    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        let small = self.end - self.start <= CAPACITY;
        self.small_fills = if small { self.small_fills.saturating_add(1) } else { 0 };
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Makes room for an incomplete frame that fills the buffer.
    fn grow(&mut self) -> Result<(), wire::Error> {
        let Some((_, wire_len)) = wire::head(self.unread(), self.max_message)? else {
            return Ok(());
        };
        let held = self.end - self.start;
        if wire_len > held {
            // The extra room lets the read that completes the frame take what follows, too.
            let wanted = wire_len.saturating_add(LOW_SPACE);
            self.bytes.resize(wanted.min(held.saturating_mul(2)).max(CAPACITY), 0);
        }
        Ok(())
    }

    fn shrink(&mut self) {
        let large = self.bytes.len() > CAPACITY;
        if large && self.small_fills >= SHRINK_AFTER && self.end - self.start <= CAPACITY / 2 {
            let mut small = Vec::with_capacity(CAPACITY);
            small.extend_from_slice(self.unread());
            self.end = small.len();
            self.start = 0;
            small.resize(CAPACITY, 0);
            self.bytes = small;
        }
    }
}

/// One read's worth of backlog: larger ones were not faster, and it stays in the second-level
/// cache.
const CAPACITY: usize = 256 * 1024;

/// With less free space than this, moving the unread rest to the front beats a short read.
const LOW_SPACE: usize = 32 * 1024;

/// Giant messages come in runs: the large buffer is kept until this many fills did not need it.
const SHRINK_AFTER: u32 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![b'd'];
        bytes.extend_from_slice(&(length as u32 + 4).to_be_bytes());
        bytes.resize(bytes.len() + length, fill);
        bytes
    }

    /// Moves all of `bytes` through the buffer in reads of at most `chunk` bytes.
    fn pass(buffer: &mut ReceiveBuffer, mut bytes: &[u8], chunk: usize) -> Vec<(usize, u8)> {
        let mut seen = Vec::new();
        loop {
            while let Some(frame) = buffer.take_frame().unwrap() {
                let fill = frame.body.first().copied().unwrap_or(0);
                assert!(frame.body.iter().all(|&byte| byte == fill));
                seen.push((frame.body.len(), fill));
            }
            if bytes.is_empty() {
                return seen;
            }
            let free = buffer.free().unwrap();
            let count = free.len().min(chunk).min(bytes.len());
            assert!(count > 0, "no room although the head is incomplete");
            free[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            buffer.filled(count);
        }
    }

    #[test]
    fn grows_with_what_arrives_and_shrinks_again() {
        let mut buffer = ReceiveBuffer::new(1 << 30);
        let free = buffer.free().unwrap();
        free[..5].copy_from_slice(b"d\x3f\xff\xff\xff");
        buffer.filled(5);
        assert_eq!(buffer.free().unwrap().len(), CAPACITY - 5, "a length alone costs nothing");

        let mut buffer = ReceiveBuffer::new(1 << 30);
        assert_eq!(pass(&mut buffer, &frame(5_000_000, 7), usize::MAX), [(5_000_000, 7)]);
        assert!(buffer.bytes.len() >= 5_000_000 && buffer.bytes.len() <= 10_000_000);
        for _ in 0..=SHRINK_AFTER {
            pass(&mut buffer, &frame(10, 1), usize::MAX);
        }
        assert_eq!(buffer.bytes.len(), CAPACITY);
    }

    #[test]
    fn a_full_buffer_of_whole_frames_offers_no_room() {
        let mut buffer = ReceiveBuffer::new(1 << 20);
        let bytes = frame(1000, 1).repeat(300);
        let free = buffer.free().unwrap();
        let count = free.len();
        free.copy_from_slice(&bytes[..count]);
        buffer.filled(count);
        assert!(buffer.free().unwrap().is_empty());
        assert_eq!(buffer.take_frame().unwrap().unwrap().body.len(), 1000);
        assert!(!buffer.free().unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_come_out_as_they_went_in(
            frames in proptest::collection::vec(
                (prop_oneof![0..2000usize, 0..700_000usize], any::<u8>()), 1..12),
            chunk in prop_oneof![1..100usize, 1..400_000usize],
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|&(len, fill)| frame(len, fill)).collect();
            let expected: Vec<_> =
                frames.iter().map(|&(len, fill)| (len, if len == 0 { 0 } else { fill })).collect();
            let mut buffer = ReceiveBuffer::new(1 << 20);
            prop_assert_eq!(pass(&mut buffer, &bytes, chunk.max(bytes.len() / 5000)), expected);
        }
    }
}
