//! What the tests need of a Markdown file: its blocks of code, and the text around them.

use std::path::{Path, PathBuf};

/// One file of documentation.
#[derive(Debug)]
pub(super) struct Document {
    /// Relative to the repository.
    pub(super) path: PathBuf,
    pub(super) blocks: Vec<Block>,
    /// The file without its blocks, line for line.
    pub(super) prose: String,
}

/// A fenced block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) language: String,
    /// Of its fence, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

impl Document {
    pub(super) fn read(root: &Path, path: &Path) -> Document {
        let text = std::fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Document::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Document {
        let (mut blocks, mut prose) = (Vec::new(), String::new());
        let mut open: Option<Block> = None;
        for (index, line) in text.lines().enumerate() {
            match (open.take(), line.trim_start().strip_prefix("```")) {
                (None, None) => prose.push_str(line),
                (None, Some(language)) => {
                    let language = language.trim().to_owned();
                    open = Some(Block { language, line: index + 1, text: String::new() });
                }
                (Some(block), Some(_)) => blocks.push(block),
                (Some(mut block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
            }
            prose.push('\n');
        }
        assert!(open.is_none(), "{}: a block is not closed", path.display());
        Document { path: path.to_owned(), blocks, prose }
    }

    /// The blocks in this language, each with its place for messages.
    pub(super) fn blocks_in(&self, language: &str) -> impl Iterator<Item = (String, &str)> {
        let wanted = self.blocks.iter().filter(move |block| block.language == language);
        wanted.map(|block| (self.place(block.line), block.text.as_str()))
    }

    pub(super) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// The spans of code in the text, each with its place. None goes over a blank line.
    pub(super) fn spans(&self) -> Vec<(String, String)> {
        let mut spans = Vec::new();
        let mut line = 1;
        for paragraph in self.prose.split("\n\n") {
            let mut at = line;
            for (index, part) in paragraph.split('`').enumerate() {
                if index % 2 == 1 {
                    spans.push((self.place(at), part.replace('\n', " ")));
                }
                at += part.matches('\n').count();
            }
            line += paragraph.matches('\n').count() + 2;
        }
        spans
    }

    /// The targets of links.
    pub(super) fn links(&self) -> Vec<&str> {
        let after = self.prose.split("](").skip(1);
        after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
    }

    /// The names under which headings can be linked to, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let text = heading.trim_start_matches('#').trim().to_lowercase();
                let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}
