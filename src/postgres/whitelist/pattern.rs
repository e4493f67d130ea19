//! Matching of `schema.table` patterns.
//!
//! `*` stands for any run of characters and `?` for one; each part is matched on its own, so that
//! a wildcard never reaches over the dot. Case matters, as in the catalog.

use crate::config::settings::TablePattern;

pub(super) fn matches(pattern: &TablePattern, schema: &str, table: &str) -> bool {
    glob(&pattern.schema, schema) && glob(&pattern.table, table)
}

/// Whether the pattern names one table, without a wildcard.
pub(super) fn is_exact(pattern: &TablePattern) -> bool {
    !pattern.schema.contains(['*', '?']) && !pattern.table.contains(['*', '?'])
}

/// Matches in at most the product of the lengths: on a mismatch only the last `*` is taken up
/// again, since it can swallow all that an earlier one could.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern.clone(), here.clone()));
                text = here;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((after_star, swallowed)) = &mut retry else { return false };
                if swallowed.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = swallowed.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, exponential.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| oracle(rest, &text[skip..])),
            ['?', rest @ ..] => !text.is_empty() && oracle(rest, &text[1..]),
            [first, rest @ ..] => text.first() == Some(first) && oracle(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn glob_equals_its_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), oracle(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn a_wildcard_stays_in_its_part() {
        let pattern = TablePattern { schema: "p*".into(), table: "order_?".into() };
        assert!(matches(&pattern, "public", "order_1"));
        assert!(!matches(&pattern, "public", "order_12"));
        assert!(!matches(&pattern, "Public", "order_1"));
        assert!(!is_exact(&pattern));
    }
}
