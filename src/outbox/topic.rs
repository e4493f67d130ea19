//! From the value of the route column to a topic: Kafka Connect's `RegexRouter`.
//!
//! A value that the whole of `topic.regex` matches is rewritten by `topic.replacement`; any other
//! is the topic as it stands. As in Java, the text replaced is the *first* match, which can be
//! shorter than the value: `a|ab` matches `ab`, but replaces its `a`.

use regex_lite::{Captures, Regex};

/// A compiled `topic = { regex, replacement }`.
#[derive(Debug)]
pub struct TopicRule {
    /// Matches whole values only.
    whole: Regex,
    first: Regex,
    replacement: Vec<Piece>,
}

/// A piece of the replacement.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// A topic rule that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicRuleError {
    #[error(
        "topic.regex is not a regular expression that walferry knows (no look-around, no \
         back-references, no \\p classes): {0}"
    )]
    Regex(#[source] regex_lite::Error),
    #[error("topic.replacement names the group {0}, which topic.regex does not have")]
    UnknownGroup(String),
    #[error(
        "topic.replacement has a $ that starts no group: write $1, ${{name}}, or \\$ for the \
         character itself"
    )]
    Dollar,
    #[error("topic.replacement ends in a backslash: write \\\\ for the character itself")]
    Backslash,
}

impl TopicRule {
    /// Compiles a rule in Java's syntax: groups `(?<name>…)`, in the replacement `$1`, `${name}` and
    /// a backslash before characters that stand for themselves.
    ///
    /// # Errors
    /// Says what is wrong with the expression or the replacement.
    pub fn compile(regex: &str, replacement: &str) -> Result<TopicRule, TopicRuleError> {
        let first = Regex::new(regex).map_err(TopicRuleError::Regex)?;
        let whole = Regex::new(&format!(r"\A(?:{regex})\z")).map_err(TopicRuleError::Regex)?;
        let replacement = parse_replacement(replacement, &first)?;
        Ok(TopicRule { whole, first, replacement })
    }

    /// The topic of a route value.
    #[must_use]
    pub fn topic(&self, route: &str) -> String {
        if !self.whole.is_match(route) {
            return route.to_owned();
        }
        let Some(captures) = self.first.captures(route) else {
            return route.to_owned();
        };
        let found = captures.get(0).map_or(0..0, |whole| whole.range());
        let (before, after) = (route.get(..found.start), route.get(found.end..));
        let mut topic = before.unwrap_or_default().to_owned();
        self.expand(&captures, &mut topic);
        topic.push_str(after.unwrap_or_default());
        topic
    }

    fn expand(&self, captures: &Captures<'_>, topic: &mut String) {
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Group(group) => {
                    topic.push_str(captures.get(*group).map_or("", |found| found.as_str()));
                }
            }
        }
    }
}

/// Whether Kafka takes `topic` as a topic's name.
#[must_use]
pub(super) fn is_valid(topic: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&topic.len()) && topic.bytes().all(legal) && !matches!(topic, "." | "..")
}

fn parse_replacement(text: &str, regex: &Regex) -> Result<Vec<Piece>, TopicRuleError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                let escaped = rest.chars().next().ok_or(TopicRuleError::Backslash)?;
                literal.push(escaped);
                rest = rest.get(escaped.len_utf8()..).unwrap_or_default();
            }
            '$' => {
                let (group, after) = parse_group(rest, regex)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Group(group));
                rest = after;
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// The group that the text after a `$` names, and the text after that.
fn parse_group<'t>(text: &'t str, regex: &Regex) -> Result<(usize, &'t str), TopicRuleError> {
    if let Some(braced) = text.strip_prefix('{') {
        let (name, after) = braced.split_once('}').ok_or(TopicRuleError::Dollar)?;
        let group = regex.capture_names().position(|group| group == Some(name));
        let group = group.ok_or_else(|| TopicRuleError::UnknownGroup(name.to_owned()))?;
        return Ok((group, after));
    }
    // Java takes the first digit, and each further one for as long as such a group exists.
    let mut digits = text.char_indices().map_while(|(at, c)| Some((at + 1, c.to_digit(10)?)));
    let (mut end, first) = digits.next().ok_or(TopicRuleError::Dollar)?;
    let mut group = first as usize;
    if group >= regex.captures_len() {
        return Err(TopicRuleError::UnknownGroup(group.to_string()));
    }
    for (after, digit) in digits {
        let longer = group * 10 + digit as usize;
        if longer >= regex.captures_len() {
            break;
        }
        (group, end) = (longer, after);
    }
    Ok((group, text.get(end..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(regex: &str, replacement: &str, route: &str) -> String {
        TopicRule::compile(regex, replacement).unwrap().topic(route)
    }

    #[test]
    fn the_default_prefixes() {
        let rule = TopicRule::compile("(?<routedByValue>.*)", "outbox.event.${routedByValue}");
        assert_eq!(rule.unwrap().topic("Order"), "outbox.event.Order");
    }

    #[test]
    fn groups_go_by_number_and_name() {
        assert_eq!(topic("(.*)-(.*)", "$2.$1", "a-b"), "b.a");
        assert_eq!(topic("(?<kind>[a-z]+)_(?P<rest>.*)", "${rest}_${kind}", "x_y"), "y_x");
        assert_eq!(topic("(.)(.)?.*", "$1$2!", "z"), "z!");
        // `$12` is group 1 and a 2 while there is no group 12; `$0` is everything.
        assert_eq!(topic("(.*)", "$12", "a"), "a2");
        assert_eq!(topic(".*", "t.$0", "a"), "t.a");
    }

    #[test]
    fn what_the_whole_regex_does_not_match_stays() {
        assert_eq!(topic("Order", "orders", "OrderLine"), "OrderLine");
        assert_eq!(topic("Order", "orders", "Order"), "orders");
    }

    #[test]
    fn the_first_match_is_replaced_as_in_java() {
        assert_eq!(topic("a|ab", "X", "ab"), "Xb");
    }

    #[test]
    fn backslashes_escape() {
        assert_eq!(topic(".*", r"a\$1\\", "x"), r"a$1\");
    }

    #[test]
    fn wrong_rules_are_errors_that_say_why() {
        let error = |regex, replacement| {
            TopicRule::compile(regex, replacement).map(drop).unwrap_err().to_string()
        };
        assert!(error("(", "x").contains("topic.regex"));
        assert!(error("(?=x)", "x").contains("look-around"));
        assert!(error(".*", "$1").contains("group 1"));
        assert!(error(".*", "${routedByValue}").contains("routedByValue"));
        assert!(error(".*", "$").contains("starts no group"));
        assert!(error(".*", "a\\").contains("backslash"));
    }

    #[test]
    fn kafka_takes_its_own_names_only() {
        for name in ["a", "outbox.event.Order", "A-b_c.9", &"x".repeat(249)] {
            assert!(is_valid(name), "{name:?}");
        }
        for name in ["", ".", "..", "a b", "ä", "a/b", "a\n", &"x".repeat(250)] {
            assert!(!is_valid(name), "{name:?}");
        }
    }
}
