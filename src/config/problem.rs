//! What is wrong with a configuration, and how it is shown.
//!
//! Everything wrong with a file is reported at once, in the order of the file, each with the
//! source line and a caret. A source line can hold a secret even where the problem is another
//! one (`password = "…"` misspelt, say), so a line is shown only after every value that may be
//! secret has been replaced by `***`: [`Source`] knows those ranges and is the only thing that
//! makes excerpts. Messages themselves quote only what [`super::reader::Text`] says is harmless.

use std::fmt;
use std::ops::Range;

/// Everything wrong with one configuration; never empty.
#[derive(Debug, Clone)]
pub struct Errors {
    origin: String,
    problems: Vec<Problem>,
    /// How many were found beyond those kept.
    omitted: usize,
}

impl Errors {
    pub(super) fn new(origin: &str, mut problems: Vec<Problem>) -> Errors {
        let omitted = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        Errors { origin: origin.to_owned(), problems, omitted }
    }

    /// In the order of the file; those without a position first.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's name as given.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write!(f, "{}", problem.report("error", &self.origin))?;
            writeln!(f)?;
        }
        let count = self.problems.len() + self.omitted;
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in {}", self.origin)?;
        if self.omitted > 0 {
            write!(f, ", of which the first {} are shown", self.problems.len())?;
        }
        Ok(())
    }
}

/// One thing that is wrong, or, as a warning, doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `None` where the file as a whole is meant.
    pub position: Option<Position>,
    /// The key's path, such as `postgres.url` or `table[2].name`; empty for the file as a whole.
    pub key: String,
    /// Lower case; never a secret or an interpolated value.
    pub message: String,
    /// The valid key or value that is nearest to what was written.
    pub nearest: Option<String>,
    /// What to write instead.
    pub remedy: Option<String>,
    excerpt: Option<Excerpt>,
}

/// Where something stands; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(super) fn of_file(fault: Fault) -> Problem {
        Problem {
            position: None,
            key: String::new(),
            message: fault.message,
            nearest: fault.nearest,
            remedy: fault.remedy,
            excerpt: None,
        }
    }

    /// The report of this problem, several lines that end with a newline; `level` is `error` or
    /// `warning`.
    pub fn report(&self, level: &str, origin: &str) -> String {
        let mut out = format!("{level}: ");
        if !self.key.is_empty() {
            out += &format!("{}: ", self.key);
        }
        out += &format!("{}\n", self.message);
        let number = self.position.map(|at| at.line.to_string()).unwrap_or_default();
        let gutter = " ".repeat(number.len());
        match self.position {
            Some(at) => out += &format!("{gutter}--> {origin}:{}:{}\n", at.line, at.column),
            None => out += &format!("{gutter}--> {origin}\n"),
        }
        if let Some(excerpt) = &self.excerpt {
            let caret = format!("{}{}", " ".repeat(excerpt.caret), "^".repeat(excerpt.width));
            out += &format!("{gutter} |\n{number} | {}\n{gutter} | {caret}\n", excerpt.text);
        }
        if let Some(nearest) = &self.nearest {
            out += &format!("{gutter} = nearest: {nearest}\n");
        }
        if let Some(remedy) = &self.remedy {
            out += &format!("{gutter} = remedy: {remedy}\n");
        }
        out
    }
}

/// One source line, without secrets and cut to a readable length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the caret.
    caret: usize,
    width: usize,
}

/// What is wrong with one value, by a parser that does not know where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) nearest: Option<String>,
    pub(super) remedy: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), nearest: None, remedy: None }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Fault {
        self.remedy = Some(remedy.into());
        self
    }

    pub(super) fn nearest(mut self, nearest: Option<impl Into<String>>) -> Fault {
        self.nearest = nearest.map(Into::into);
        self
    }
}

/// A fault and where it stands: a byte range of the source.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) span: Option<Range<usize>>,
    pub(super) key: String,
    pub(super) fault: Fault,
}

/// The text of a configuration, and which of its bytes must not be shown.
pub(super) struct Source<'t> {
    text: &'t str,
    /// Sorted, not overlapping.
    masked: Vec<Range<usize>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str, mut masked: Vec<Range<usize>>) -> Source<'t> {
        masked.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(masked.len());
        for range in masked {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Source { text, masked: merged }
    }

    /// Turns drafts into problems, in the order of the file, the same one only once.
    pub(super) fn problems(&self, mut drafts: Vec<Draft>) -> Vec<Problem> {
        drafts.sort_by_key(|draft| draft.span.as_ref().map(|span| span.start));
        let mut problems: Vec<Problem> = Vec::new();
        // An excerpt costs a pass over the text: a file of nothing but mistakes must not cost
        // its length squared. The rest is only counted.
        for (index, draft) in drafts.into_iter().enumerate() {
            let problem = if index < MAX_PROBLEMS {
                self.problem(draft)
            } else {
                Problem { key: draft.key, ..Problem::of_file(draft.fault) }
            };
            if problems.last() != Some(&problem) {
                problems.push(problem);
            }
        }
        problems
    }

    fn problem(&self, draft: Draft) -> Problem {
        let mut problem = Problem { key: draft.key, ..Problem::of_file(draft.fault) };
        if let Some(span) = draft.span {
            let start = floor_boundary(self.text, span.start);
            let before = self.text.get(..start).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
            let column = 1 + before.get(line_start..).map_or(0, |head| head.chars().count());
            problem.position = Some(Position { line, column });
            problem.excerpt = Some(self.excerpt(line_start, start..span.end));
        }
        problem
    }

    fn excerpt(&self, line_start: usize, span: Range<usize>) -> Excerpt {
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let mut text = String::new();
        let (mut shown, mut caret, mut end) = (0_usize, None, None);
        let mut in_mask = false;
        for (offset, character) in line.char_indices() {
            let at = line_start + offset;
            if at >= span.start && caret.is_none() {
                caret = Some(shown);
            }
            if at >= span.end && end.is_none() {
                end = Some(shown);
            }
            let masked = self.is_masked(at);
            match (masked, in_mask) {
                (true, true) => {}
                (true, false) => {
                    text.push_str(MASK);
                    shown += MASK.len();
                }
                (false, _) => {
                    text.push(printable(character));
                    shown += 1;
                }
            }
            in_mask = masked;
        }
        let caret = caret.unwrap_or(shown);
        let width = end.unwrap_or(shown).saturating_sub(caret).max(1);
        cut(&text, caret, width)
    }

    fn is_masked(&self, at: usize) -> bool {
        let after = self.masked.partition_point(|range| range.start <= at);
        after
            .checked_sub(1)
            .and_then(|index| self.masked.get(index))
            .is_some_and(|range| range.contains(&at))
    }
}

/// The last boundary between characters at or before `at`.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A window of a long line around the caret.
fn cut(text: &str, caret: usize, width: usize) -> Excerpt {
    let length = text.chars().count();
    if length <= MAX_LINE {
        return Excerpt { text: text.to_owned(), caret, width };
    }
    let from = caret.saturating_sub(MAX_LINE / 3);
    let mut window = String::new();
    if from > 0 {
        window.push('…');
    }
    window.extend(text.chars().skip(from).take(MAX_LINE));
    if from + MAX_LINE < length {
        window.push('…');
    }
    let caret = caret - from + usize::from(from > 0);
    let width = width.min(window.chars().count().saturating_sub(caret)).max(1);
    Excerpt { text: window, caret, width }
}

fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

/// The candidate nearest to `word`, if one is near enough to be a slip of the keyboard.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Nothing that long is a slip, and the distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

const MASK: &str = "***";

/// A report longer than this is not read.
const MAX_PROBLEMS: usize = 100;

/// Characters of a source line that are shown.
const MAX_LINE: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, span: Range<usize>, masked: &[(usize, usize)]) -> String {
        let masked = masked.iter().map(|(start, end)| *start..*end).collect();
        let draft = Draft { span: Some(span), key: "k".to_owned(), fault: Fault::new("bad") };
        let problems = Source::new(text, masked).problems(vec![draft]);
        problems[0].report("error", "f.toml")
    }

    #[test]
    fn the_caret_stands_under_the_span() {
        let shown = report("a = 1\nünd = 2\n", 6..10, &[]);
        assert_eq!(shown, "error: k: bad\n --> f.toml:2:1\n  |\n2 | ünd = 2\n  | ^^^\n");
    }

    #[test]
    fn a_masked_value_shows_neither_itself_nor_its_length() {
        let text = "password = \"hunter2\" # x\n";
        let shown = report(text, 11..20, &[(12, 19)]);
        assert!(shown.contains("1 | password = \"***\" # x\n"), "{shown}");
        assert!(shown.contains("  |            ^^^^^\n"), "{shown}");
    }

    #[test]
    fn overlapping_masks_count_as_one() {
        let shown = report("abcdefgh", 0..1, &[(4, 6), (2, 5)]);
        assert!(shown.contains("1 | ab***gh\n"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let shown = report(&text, 5000..5001, &[]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[3].chars().nth(lines[4].find('^').unwrap()), Some('X'));
        assert!(shown.len() < 500);
    }

    #[test]
    fn a_span_inside_a_character_or_past_the_end_is_no_panic() {
        report("ü", 1..1, &[]);
        report("", 5..9, &[]);
        report("a\n", 2..2, &[]);
    }

    #[test]
    fn only_slips_have_a_nearest_key() {
        assert_eq!(nearest("publicaton", ["publication", "slot"]), Some("publication"));
        assert_eq!(nearest("Slot", ["publication", "slot"]), Some("slot"));
        assert_eq!(nearest("colour", ["publication", "slot"]), None);
    }
}
