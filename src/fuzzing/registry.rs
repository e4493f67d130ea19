//! What a registry answers and what a topic holds, as `tail` and the messages about a refused schema
//! read them.

use super::Input;
use crate::registry::decode::{Decoder, unframe};
use crate::registry::difference::differences;

/// `data`: a schema's text, NUL, another one, NUL, then a record.
///
/// All of it ends, in memory bounded by the record, and a schema does not differ from itself.
pub fn registry(data: &[u8]) {
    let mut input = Input(data);
    let (Ok(old), Ok(new)) =
        (std::str::from_utf8(input.until_nul()), std::str::from_utf8(input.until_nul()))
    else {
        return;
    };
    let record = input.0;
    let _ = unframe(record);
    for text in [old, new] {
        if let Ok(decoder) = Decoder::new(text) {
            let _ = decoder.decode(record);
        }
        assert!(differences(text, text).is_empty(), "{text} differs from itself");
    }
    assert!(differences(old, new).len() <= 21);
}
