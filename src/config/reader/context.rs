//! What the readers of one file share, and where they note what is wrong.
//!
//! What must not be shown is collected here too: the values of secret keys, and of keys that are
//! unknown, since a misspelt `password` is still a password.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::config::interpolate::Surroundings;
use crate::config::problem::{Draft, Fault};

/// What all readers of one file share.
pub(in crate::config) struct Context<'a> {
    pub(in crate::config) around: Surroundings<'a>,
    pub(in crate::config) text: &'a str,
    errors: RefCell<Vec<Draft>>,
    warnings: RefCell<Vec<Draft>>,
    masked: RefCell<Vec<Range<usize>>>,
}

/// What was noted while reading.
pub(in crate::config) struct Notes {
    pub(in crate::config) errors: Vec<Draft>,
    pub(in crate::config) warnings: Vec<Draft>,
    pub(in crate::config) masked: Vec<Range<usize>>,
}

impl<'a> Context<'a> {
    pub(in crate::config) fn new(text: &'a str, around: Surroundings<'a>) -> Context<'a> {
        Context {
            around,
            text,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            masked: RefCell::default(),
        }
    }

    pub(in crate::config) fn error(&self, place: &Place, fault: Fault) {
        self.errors.borrow_mut().push(place.draft(fault));
    }

    pub(in crate::config) fn warn(&self, place: &Place, fault: Fault) {
        self.warnings.borrow_mut().push(place.draft(fault));
    }

    /// Keeps these bytes of the source out of everything that is shown.
    pub(in crate::config) fn mask(&self, span: Range<usize>) {
        self.masked.borrow_mut().push(span);
    }

    /// As [`Context::mask`], but not what holds the value together: a header, brackets.
    pub(super) fn mask_leaves(&self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => table.values().for_each(|value| self.mask_leaves(value)),
            DeValue::Array(values) => values.iter().for_each(|value| self.mask_leaves(value)),
            _ => self.mask(value.span()),
        }
    }

    pub(in crate::config) fn into_notes(self) -> Notes {
        Notes {
            errors: self.errors.into_inner(),
            warnings: self.warnings.into_inner(),
            masked: self.masked.into_inner(),
        }
    }
}

/// Where something stands, and under which path.
#[derive(Debug, Clone)]
pub(in crate::config) struct Place {
    pub(super) span: Option<Range<usize>>,
    pub(super) path: String,
}

impl Place {
    pub(in crate::config) fn path(&self) -> &str {
        &self.path
    }

    fn draft(&self, fault: Fault) -> Draft {
        Draft { span: self.span.clone(), key: self.path.clone(), fault }
    }
}
