//! Primary keys of rows, as the texts that Postgres prints.

use std::fmt;

use crate::pgoutput::{Cell, Tuple};

/// The primary key of a row: the texts of its columns in key order, each with its length before it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The key of a row, whose key columns are at these places of the tuple. `None` if one was not
    /// sent: a value that is NULL or was left out is no key.
    #[must_use]
    pub fn of(tuple: &Tuple<'_>, columns: &[usize]) -> Option<Key> {
        let mut bytes = Vec::new();
        for &column in columns {
            let Some(Cell::Text(text)) = tuple.get(column) else { return None };
            bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(text);
        }
        Some(Key(bytes.into()))
    }

    /// The key with these texts.
    #[must_use]
    pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> Key {
        let mut bytes = Vec::new();
        for text in texts {
            let text = text.as_ref().as_bytes();
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text);
        }
        Key(bytes.into())
    }

    /// Its texts, in key order. In a database without an encoding they may be no UTF-8: such bytes
    /// are replaced, and the key then matches no row.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut rest = &*self.0;
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let (text, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = behind;
        }
        texts
    }
}

/// A key is a value of a row: it is not shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::TupleBuilder;

    #[test]
    fn texts_are_kept_apart() {
        let texts = ["a", "", "bc"];
        assert_eq!(Key::from_texts(&texts).texts(), texts);
        assert_ne!(Key::from_texts(&["ab", "c"]), Key::from_texts(&["a", "bc"]));
    }

    #[test]
    fn columns_are_taken_in_key_order() {
        let cells = [Cell::Text(b"1"), Cell::Null, Cell::Text(b"x"), Cell::Unchanged];
        let tuple: TupleBuilder = cells.into_iter().collect();
        assert_eq!(Key::of(&tuple.tuple(), &[2, 0]), Some(Key::from_texts(&["x", "1"])));
        for missing in [1, 3, 9] {
            assert_eq!(Key::of(&tuple.tuple(), &[0, missing]), None);
        }
    }
}
