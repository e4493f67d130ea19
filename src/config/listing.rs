//! Which table is listed under what, and the topic it goes to.

use std::fmt;

use super::settings::{OutboxRule, Settings, TablePattern, TableRule};

/// What the configuration says of one table of the database.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    Table(&'a TableRule),
    Outbox(&'a OutboxRule),
}

impl Settings {
    /// What `schema.table` is listed as; `None`: it must not leave the database.
    ///
    /// An outbox wins over a `[[table]]` pattern that happens to match it, a `[[table]]` named in
    /// full over one with wildcards, and of several with wildcards the first in the file.
    pub fn listing(&self, schema: &str, table: &str) -> Option<Listing<'_>> {
        if let Some(rule) = self.outboxes.iter().find(|rule| rule.table.matches(schema, table)) {
            return Some(Listing::Outbox(rule));
        }
        let matching = || self.tables.iter().filter(|rule| rule.pattern.matches(schema, table));
        matching()
            .find(|rule| rule.pattern.is_exact())
            .or_else(|| matching().next())
            .map(Listing::Table)
    }

    /// The topic of a table's change events: the rule's own, or `<name>.<schema>.<table>` with
    /// each character that a topic cannot have replaced by `_`, as Debezium does.
    ///
    /// Two tables can end up with one topic this way (`a b` and `a$b`); that is for the caller,
    /// who knows all tables, to refuse.
    pub fn topic_for(&self, rule: &TableRule, schema: &str, table: &str) -> String {
        match &rule.topic {
            Some(topic) => topic.clone(),
            None => topic_name(&format!("{}.{schema}.{table}", self.name)),
        }
    }
}

/// `name` with each illegal character replaced by `_`.
pub(super) fn topic_name(name: &str) -> String {
    name.chars().map(|c| if is_topic_character(c) { c } else { '_' }).collect()
}

/// Whether a topic may have exactly this name.
pub(super) fn is_topic(name: &str) -> bool {
    (1..=MAX_TOPIC).contains(&name.len())
        && name != "."
        && name != ".."
        && name.chars().all(is_topic_character)
}

fn is_topic_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl TablePattern {
    /// Whether the table is meant; case matters, as in the catalog.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        glob(&self.schema, schema) && glob(&self.table, table)
    }

    /// Whether it names one table, without a wildcard.
    pub fn is_exact(&self) -> bool {
        let has_wildcard = |part: &str| part.contains(['*', '?']);
        !has_wildcard(&self.schema) && !has_wildcard(&self.table)
    }
}

/// As it is written in the configuration: a part is quoted where it must be.
impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_part(f, &self.schema)?;
        f.write_str(".")?;
        write_part(f, &self.table)
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    if part.contains(['.', '"']) || part.trim() != part || part.is_empty() {
        write!(f, "\"{}\"", part.replace('"', "\"\""))
    } else {
        f.write_str(part)
    }
}

/// Whether `text` matches `pattern`, where `*` is any run of characters and `?` is one.
///
/// On a mismatch only the last `*` is taken up again: an earlier one could not help, since the
/// last one can swallow all that an earlier one could. So it costs at most the product of the
/// lengths.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let text_here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                last_star = Some((pattern.clone(), text_here.clone()));
                text = text_here;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((after_star, mut swallowed)) = last_star.take() else { return false };
                if swallowed.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = swallowed.clone();
                last_star = Some((after_star, swallowed));
            }
        }
    }
}

/// Kafka's limit.
const MAX_TOPIC: usize = 249;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(schema: &str, table: &str) -> TablePattern {
        TablePattern { schema: schema.to_owned(), table: table.to_owned() }
    }

    #[test]
    fn wildcards_cover_a_part_and_never_the_dot_between() {
        let orders = pattern("public", "order_*");
        assert!(orders.matches("public", "order_"));
        assert!(orders.matches("public", "order_2024.01"));
        assert!(!orders.matches("public", "orders"));
        assert!(!orders.matches("Public", "order_1"));
        assert!(pattern("p?", "*").matches("pü", ""));
        assert!(!pattern("p?", "*").matches("p", "x"));
    }

    #[test]
    fn exact_and_displayed() {
        assert!(pattern("public", "orders").is_exact());
        assert!(!pattern("p*", "orders").is_exact());
        assert!(!pattern("public", "order?").is_exact());
        assert_eq!(pattern("public", "orders").to_string(), "public.orders");
        assert_eq!(pattern("my.s", "a\"b").to_string(), "\"my.s\".\"a\"\"b\"");
    }

    #[test]
    fn illegal_topic_characters_become_underscores() {
        assert_eq!(topic_name("shop.public.Größe $1-a_b"), "shop.public.Gr__e__1-a_b");
        assert!(is_topic("a.b-c_D9"));
        for bad in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            assert!(!is_topic(bad), "{bad}");
        }
    }

    /// The obvious definition, exponential.
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
        fn glob_equals_its_definition(p in "[ab*?]{0,8}", t in "[ab]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&p, &t), oracle(&chars(&p), &chars(&t)));
        }
    }

    #[test]
    fn many_stars_are_cheap() {
        assert!(!glob(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!glob(&format!("{}b", "*a".repeat(30)), &"a".repeat(200)));
    }
}
