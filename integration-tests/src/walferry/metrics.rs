//! Prometheus's text format, as far as tests ask.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(Sample::parse).collect() }
    }

    /// The sum of all samples of this name that have these labels; `None` without one.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matching = self.samples.iter().filter(|sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        });
        matching.map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// The names, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (name, rest) =
            line.split_at(line.find(['{', ' ']).unwrap_or_else(|| panic!("a sample: {line}")));
        let mut labels = BTreeMap::new();
        let mut rest = rest.trim_start_matches('{');
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("a label: {line}"));
            labels.insert(key.trim_start_matches(',').trim().to_owned(), value);
            rest = after;
        }
        let number = rest.trim_start_matches('}').split_whitespace().next();
        let value = number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("a value: {line}"));
        Self { name: name.to_owned(), labels, value }
    }
}

/// Text up to a quotation mark that is not escaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_summed_over_the_labels_that_are_not_named() {
        let metrics = Metrics::parse(
            "# HELP rows x\n# TYPE rows counter\nrows{table=\"a, \\\"b\\\"=1\",op=\"c\"} 3\n\
             rows{table=\"d\",op=\"c\"} 4 1700000000\nup 1\nlag +Inf\n",
        );
        assert_eq!(metrics.get("rows", &[]), Some(7.0));
        assert_eq!(metrics.get("rows", &[("table", "a, \"b\"=1")]), Some(3.0));
        assert_eq!(metrics.get("rows", &[("op", "d")]), None);
        assert_eq!(metrics.get("up", &[]), Some(1.0));
        assert_eq!(metrics.get("lag", &[]), Some(f64::INFINITY));
        assert_eq!(metrics.names(), ["lag", "rows", "up"]);
    }
}
