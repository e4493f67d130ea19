//! A smoke of each: random bytes, and bytes close enough to the real thing to get past its door.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn any_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

/// Frames with the right length, most of a known tag and some with a body that can be right.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![select(&b"RKCWdcDIEvNASZT"[..]), any::<u8>()];
    let kind = prop_oneof![select(&b"wk"[..]), any::<u8>()];
    let copy_data = (kind, any_bytes(60)).prop_map(|(kind, rest)| [&[kind][..], &rest].concat());
    let keepalive = vec(any::<u8>(), 17).prop_map(|rest| [b"k", &rest[..]].concat());
    let error = "\\PC{0,20}".prop_map(|text| format!("C57P01\0M{text}\0\0").into_bytes());
    let frame = (tag, prop_oneof![copy_data, keepalive, error, any_bytes(60)]);
    let frame = frame.prop_map(|(tag, body)| {
        let length = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
        [&[tag][..], &length, &body].concat()
    });
    vec(frame, 0..12).prop_map(|frames| frames.concat())
}

/// Texts as Postgres prints them, with a byte changed or not.
fn cell_text() -> impl Strategy<Value = Vec<u8>> {
    const TEXTS: &[&str] = &[
        "",
        "t",
        "-128",
        "9223372036854775807",
        "1e-20",
        "-12345.678",
        "NaN",
        "Infinity",
        "2026-02-29",
        "0044-03-15 BC",
        "24:00:00",
        "23:59:60.999999+05:30",
        "(1.5,-2)",
        "2026-11-24 17:30:00.123456",
        "infinity",
        "2026-11-24 17:30:00+00",
        "$1,234.56",
        "1 year 2 mons -3 days 04:05:06.789",
        "\\x00ff",
        "1011",
        "{1,NULL,3}",
        "[5:6]={a,\"b\\\"\"}",
        "{{1,2},{3,4}}",
        "\"a\"=>\"1\", \"b\"=>NULL",
        "1 2 3",
        "{\"a\": [1, null]}",
        "new",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "{new,\"it's, \\\"old\\\"\"}",
    ];
    let change = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (select(TEXTS), change).prop_map(|(text, change)| {
        let mut bytes = text.as_bytes().to_vec();
        if let Some((place, byte)) = change.filter(|_| !bytes.is_empty()) {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

/// One column of any type, and a text for it.
fn cell() -> impl Strategy<Value = Vec<u8>> {
    let typmod = prop_oneof![
        Just(-1),
        0..70i32,
        (1..40i32, 0..40i32).prop_map(|(p, s)| p << 16 | (s + 4)),
        any::<i32>()
    ];
    (0..60u8, typmod, any::<u8>(), cell_text(), cell_text()).prop_map(
        |(choice, typmod, flags, text, default)| {
            let mut bytes = vec![0, choice];
            bytes.extend(typmod.to_be_bytes());
            bytes.push(flags);
            if flags & 2 != 0 {
                bytes.extend([&default[..], b"\0"].concat());
            }
            bytes.push(7);
            bytes.extend(text);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn any_stream_gives_the_same_events_whatever_the_reads(
        cuts in any_bytes(31),
        stream in prop_oneof![4 => stream(), 1 => any_bytes(300)],
    ) {
        let count = u8::try_from(cuts.len()).expect("few cuts");
        frame_reader(&[&[count][..], &cuts, &stream].concat());
    }

    #[test]
    fn any_message_is_parsed_whole_or_refused(
        tag in select(&b"BCORYIUDTMSEAcp"[..]),
        rest in prop_oneof![any_bytes(200), vec(select(&b"\0\0\0\x01\x02\x04KNOntub"[..]), 0..60)],
    ) {
        pgoutput(&[&[tag][..], &rest].concat());
    }

    #[test]
    fn any_row_is_written_readably_or_not_at_all(
        data in prop_oneof![4 => cell(), 1 => any_bytes(120)],
    ) {
        text_decoders(&data);
    }

    #[test]
    fn any_file_is_judged_and_no_secret_of_it_shown(
        data in prop_oneof![any_bytes(100), "\\PC{0,200}".prop_map(String::into_bytes)],
    ) {
        config(&data);
    }

    #[test]
    fn any_schema_and_record_are_read_or_refused(
        schemas in vec(select(SCHEMAS), 2),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        record in any_bytes(100),
    ) {
        let mut data = format!("{}\0{}\0", schemas[0], schemas[1]).into_bytes();
        if let Some((place, byte)) = change {
            let place = place.index(data.len());
            data[place] = byte;
        }
        data.extend(record);
        registry(&data);
    }
}

const SCHEMAS: &[&str] = &[
    "\"long\"",
    r#"{"type":"array","items":"null"}"#,
    r#"{"type":"map","values":["null","string"]}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":3},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
        {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#,
];
