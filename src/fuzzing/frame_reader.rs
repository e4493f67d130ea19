//! Bytes of a server to frames and events.

use super::Input;
use crate::postgres::replication::buffer::ReceiveBuffer;
use crate::postgres::wire::{
    Authentication, Frame, ServerError, Tag, data_row, event, parameter_status, split,
};

const MAX_MESSAGE: usize = 1 << 20;

/// `data`: how many reads cut the stream (a byte), the length of each, then the stream.
///
/// The events, and the error that ends them, are the same however the stream is cut into reads, and
/// the buffer takes no more memory than what has arrived is worth.
pub fn frame_reader(data: &[u8]) {
    let mut input = Input(data);
    let cuts: Vec<usize> = (0..input.u8() % 32).map(|_| usize::from(input.u8())).collect();
    let stream = input.0;
    let whole = events_of_the_whole(stream);
    assert_eq!(events_in_reads(stream, &cuts), whole);
    assert_eq!(events_in_reads(stream, &[]), whole);
    login_messages(stream);
}

fn events_of_the_whole(mut stream: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match split(stream, MAX_MESSAGE) {
            Ok(None) => return seen,
            Ok(Some(frame)) => {
                let (_, rest) = stream.split_at(frame.wire_len());
                stream = rest;
                if !take(frame, &mut seen) {
                    return seen;
                }
            }
            Err(error) => {
                seen.push(error.to_string());
                return seen;
            }
        }
    }
}

/// The lengths of the reads repeat until the stream ends; without one, a read takes all it can.
fn events_in_reads(mut stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut buffer = ReceiveBuffer::new(MAX_MESSAGE);
    let empty = buffer.free().expect("an empty buffer").len();
    let mut held = 0;
    let mut reads = cuts.iter().copied().filter(|&length| length > 0).cycle();
    loop {
        loop {
            match buffer.take_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    held -= frame.wire_len();
                    if !take(frame, &mut seen) {
                        return seen;
                    }
                }
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
        if stream.is_empty() {
            return seen;
        }
        let free = buffer.free().expect("frames were judged above");
        assert!(free.len() + held <= empty.max(2 * held), "{} bytes for {held}", free.len());
        let count = reads.next().unwrap_or(usize::MAX).min(free.len()).min(stream.len());
        assert!(count > 0, "no room although the first frame is incomplete");
        let (read, rest) = stream.split_at(count);
        free.split_at_mut(count).0.copy_from_slice(read);
        stream = rest;
        held += count;
        buffer.filled(count);
    }
}

/// Whether the stream goes on after this frame.
fn take(frame: Frame<'_>, seen: &mut Vec<String>) -> bool {
    match event(frame) {
        Ok(event) => {
            seen.push(format!("{event:?}"));
            true
        }
        Err(error) => {
            seen.push(error.to_string());
            false
        }
    }
}

/// Bodies of the messages that come before the stream.
fn login_messages(body: &[u8]) {
    let _ = Authentication::parse(body);
    let _ = parameter_status(body);
    if let Ok(row) = data_row(body) {
        let held: usize = row.iter().flatten().map(|value| value.len()).sum();
        assert!(held <= body.len());
    }
    if let Ok(error) = ServerError::parse(Tag::ErrorResponse, body) {
        let shown = error.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
}
