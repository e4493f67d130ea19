use proptest::prelude::*;

use super::*;
use crate::postgres::{Lsn, PgTime};

const MAX: usize = 1 << 16;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn keepalive(wal_end: u64, sent: i64, reply: u8) -> Vec<u8> {
    let mut body = vec![b'k'];
    body.extend_from_slice(&wal_end.to_be_bytes());
    body.extend_from_slice(&sent.to_be_bytes());
    body.push(reply);
    frame(b'd', &body)
}

fn data(start: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![b'w'];
    body.extend_from_slice(&start.to_be_bytes());
    body.extend_from_slice(&start.to_be_bytes());
    body.extend_from_slice(&7i64.to_be_bytes());
    body.extend_from_slice(payload);
    frame(b'd', &body)
}

#[test]
fn a_frame_is_refused_by_its_header() {
    let tag = Tag::CopyData;
    assert_eq!(split(b"?", MAX), Err(Error::UnknownTag(Byte(b'?'))));
    assert_eq!(split(b"d\0\0\0\x03", MAX), Err(Error::Length { tag, length: 3 }));
    assert_eq!(split(b"d\xff\xff\xff\xff", MAX), Err(Error::Length { tag, length: u32::MAX }));
    assert_eq!(split(b"d\0\x01\0\x01", MAX), Err(Error::TooLarge { tag, length: 65537, max: MAX }));
    assert_eq!(head(b"d\0\x01\0\0", MAX), Ok(Some((tag, MAX + 1))));
    for incomplete in [&b""[..], b"d", b"d\0\0\0", b"d\0\0\0\x05"] {
        assert_eq!(split(incomplete, MAX), Ok(None));
    }
    let body: &[u8] = b"x";
    assert_eq!(split(b"d\0\0\0\x05xyz", MAX), Ok(Some(Frame { tag, body })));
}

#[test]
fn events_are_read() {
    let bytes = data(0x10, b"B");
    let read = event(split(&bytes, MAX).unwrap().unwrap()).unwrap();
    let (start, payload): (Lsn, &[u8]) = (Lsn(0x10), b"B");
    assert_eq!(read, Some(Event::XLogData { start, end: start, sent: PgTime(7), payload }));
    let bytes = keepalive(9, -1, 1);
    let read = event(split(&bytes, MAX).unwrap().unwrap()).unwrap();
    let expected = Event::Keepalive { wal_end: Lsn(9), sent: PgTime(-1), reply_requested: true };
    assert_eq!(read, Some(expected));
}

#[test]
fn malformed_bodies_are_errors() {
    let malformed = |tag, problem| Err(Error::Malformed { tag, problem });
    let copy = |body| event(Frame { tag: Tag::CopyData, body });
    assert_eq!(copy(b""), malformed(Tag::CopyData, "it ends too early"));
    assert_eq!(copy(b"w1234567"), malformed(Tag::CopyData, "it ends too early"));
    assert_eq!(copy(b"k12345678123456781x"), malformed(Tag::CopyData, "bytes are left over"));
    assert_eq!(copy(b"?"), Err(Error::UnknownCopyData(Byte(b'?'))));
    let tag = Tag::ErrorResponse;
    assert_eq!(event(Frame { tag, body: b"Mx" }), malformed(tag, "a string has no end"));
    let tag = Tag::DataRow;
    assert!(matches!(event(Frame { tag, body: b"" }), Err(Error::Unexpected { .. })));
    let short = Err(Error::Malformed { tag, problem: "it ends too early" });
    assert_eq!(data_row(b"\0\x02\0\0\0\x01x"), short);
    assert_eq!(data_row(b"\0\x02\0\0\0\x01x\xff\xff\xff\xff"), Ok(vec![Some(&b"x"[..]), None]));
}

#[test]
fn server_errors_show_no_data() {
    let body = b"SERROR\0VERROR\0C42704\0Mno such slot\0DKey (ssn)=(123) exists\0Hcreate it\0\0";
    let error = ServerError::parse(Tag::ErrorResponse, body).unwrap();
    assert_eq!(error.to_string(), "no such slot (SQLSTATE 42704)");
    assert_eq!(error.hint.as_deref(), Some("create it"));
    let body = b"C22P02\0Minvalid input syntax for type integer: \"secret\"\0\0";
    let error = ServerError::parse(Tag::ErrorResponse, body).unwrap();
    assert!(!format!("{error} {error:?}").contains("secret"));
    let long = [b"C57P01\0M", "é\n".repeat(4000).as_bytes(), b"\0\0"].concat();
    let error = ServerError::parse(Tag::ErrorResponse, &long).unwrap();
    assert!(error.message().unwrap().len() < 1030 && !error.to_string().contains('\n'));
}

/// Feeds `bytes` in the given chunks and prints what comes out, errors included.
fn read_in_chunks(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut buffer = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (chunk, later) = rest.split_at(cut.min(rest.len()));
        buffer.extend_from_slice(chunk);
        rest = later;
        loop {
            match split(&buffer, MAX) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let length = frame.wire_len();
                    match event(frame) {
                        Ok(read) => seen.push(format!("{read:?}")),
                        Err(error) => return [seen, vec![format!("{error}")]].concat(),
                    }
                    buffer.drain(..length);
                }
                Err(error) => return [seen, vec![format!("{error}")]].concat(),
            }
        }
    }
    seen
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (any::<u64>(), payload.clone()).prop_map(|(start, payload)| data(start, &payload)),
        (any::<u64>(), any::<i64>(), 0..2u8).prop_map(|(end, sent, r)| keepalive(end, sent, r)),
        Just(frame(b'N', b"C00000\0Mhello\0\0")),
        Just(frame(b'E', b"C57P01\0Mgoing down\0\0")),
        Just(frame(b'c', b"")),
        Just(frame(b'Z', b"I")),
        (any::<u8>(), payload).prop_map(|(tag, body)| frame(tag, &body)),
    ]
}

proptest! {
    #[test]
    fn the_same_events_whatever_the_chunking(
        messages in proptest::collection::vec(message(), 0..12),
        cuts in proptest::collection::vec(0..64usize, 0..80),
    ) {
        let bytes = messages.concat();
        prop_assert_eq!(read_in_chunks(&bytes, &cuts), read_in_chunks(&bytes, &[]));
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        cuts in proptest::collection::vec(0..20usize, 0..20),
    ) {
        prop_assert_eq!(read_in_chunks(&bytes, &cuts), read_in_chunks(&bytes, &[]));
        for tag in *b"RKCWdcDIEvNASZT" {
            let _ = event(Frame { tag: Tag::try_from(tag).unwrap(), body: &bytes });
        }
        let _ = Authentication::parse(&bytes);
        let _ = parameter_status(&bytes);
        let _ = data_row(&bytes);
        let _ = ServerError::parse(Tag::ErrorResponse, &bytes);
    }
}
