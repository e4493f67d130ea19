//! Reads typed values out of the parsed TOML, and notes everything that is wrong on the way.
//!
//! A reader never stops at the first problem: a value that cannot be had is noted and given as
//! `None`, and [`super::parse`] refuses the file if anything was noted. Which keys a section may
//! have comes from [`super::keys`]; the reader cannot ask for another (checked in debug builds),
//! and [`Table::finish`] notes every key that is not there.

mod context;
mod value;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use toml::de::{DeTable, DeValue};

use super::interpolate;
use super::keys::{Key, SECTIONS, Section, Status};
use super::problem::{Fault, nearest};

pub(super) use context::{Context, Notes, Place};
pub(super) use value::{Text, Value, quote};

/// One section of the file; absent, it has no keys.
pub(super) struct Table<'c> {
    pub(super) context: &'c Context<'c>,
    section: Section,
    pub(super) place: Place,
    entries: Option<&'c DeTable<'c>>,
}

impl<'c> Table<'c> {
    pub(super) fn root(context: &'c Context<'c>, entries: &'c DeTable<'c>) -> Table<'c> {
        let place = Place { span: None, path: String::new() };
        Table { context, section: Section::Top, place, entries: Some(entries) }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.entries.is_none()
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Value<'c>> {
        debug_assert!(self.section.key(name).is_some(), "{name} is not in the table of keys");
        let (_, value) = self.entries?.get_key_value(name)?;
        let place = Place { span: Some(value.span()), path: self.path_of(name) };
        Some(Value { context: self.context, place, value })
    }

    /// The value of a key that must be there. That it is missing is noted, unless the whole
    /// section is, which [`Table::section`] has noted then.
    pub(super) fn required(&self, name: &str) -> Option<Value<'c>> {
        let value = self.get(name);
        if value.is_none() && !self.is_absent() {
            self.context.error(&self.place, Fault::new(format!("the key `{name}` is missing")));
        }
        value
    }

    /// A string; empty ones are refused.
    pub(super) fn text(&self, name: &str) -> Option<Text> {
        self.get(name).and_then(|value| filled(&value))
    }

    pub(super) fn required_text(&self, name: &str) -> Option<Text> {
        self.required(name).and_then(|value| filled(&value))
    }

    pub(super) fn boolean(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(|value| value.boolean()).unwrap_or(default)
    }

    pub(super) fn duration(
        &self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.get(name).and_then(|value| value.duration(&range)).unwrap_or(default)
    }

    /// A size in bytes.
    pub(super) fn size(&self, name: &str, default: usize, range: RangeInclusive<u64>) -> usize {
        let size = self.get(name).and_then(|value| value.bytes(&range));
        size.and_then(|size| usize::try_from(size).ok()).unwrap_or(default)
    }

    pub(super) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.get(name).and_then(|value| value.integer(&range))
    }

    pub(super) fn choice<T: Copy>(&self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        self.get(name).and_then(|value| value.choice(choices)).unwrap_or(default)
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<Text>> {
        self.get(name).and_then(|value| value.texts())
    }

    /// The entries of a table with free keys; none if it is absent.
    pub(super) fn entries(&self, name: &str) -> Vec<(String, Value<'c>)> {
        self.get(name).and_then(|value| value.entries()).unwrap_or_default()
    }

    /// A secret, given under `name` or in the file named by `<name>_file`.
    pub(super) fn secret(&self, name: &str) -> Option<(SecretString, Place)> {
        let file_name = format!("{name}_file");
        let (inline, file) = (self.get(name), self.get(&file_name));
        if let (Some(_), Some(file)) = (&inline, &file) {
            file.error(
                Fault::new(format!("given twice: `{name}` and `{file_name}`"))
                    .remedy("keep one of them"),
            );
            return None;
        }
        let (value, secret) = match (inline, file) {
            (Some(value), _) => {
                let text = filled(&value)?;
                (value, text.value)
            }
            (None, Some(value)) => {
                // The secret itself, put where its file belongs, must not come out either.
                if !value.source().trim_start_matches(['"', '\'']).starts_with(['/', '.', '$']) {
                    value.context.mask_leaves(value.value);
                }
                let path = filled(&value)?.value;
                let content =
                    interpolate::secret_file(Path::new(&path), "the file", self.context.around);
                let secret = value.noted(content)?;
                (value, secret)
            }
            (None, None) => return None,
        };
        if secret.contains('\0') {
            value.error(Fault::new("a secret cannot hold a NUL character"));
            return None;
        }
        Some((SecretString::from(secret), value.place))
    }

    /// A table with known keys; absent ones are empty, and noted if they are required.
    pub(super) fn section(&self, name: &str, section: Section, required: bool) -> Table<'c> {
        let absent = || Table {
            context: self.context,
            section,
            place: Place { span: None, path: self.path_of(name) },
            entries: None,
        };
        match self.get(name) {
            Some(value) => value.table(section).unwrap_or_else(absent),
            None => {
                if required {
                    let header = section.header();
                    let fault = Fault::new(format!("the section `{header}` is missing"));
                    self.context.error(&self.place, fault);
                }
                absent()
            }
        }
    }

    /// Each of a list of tables, `[[name]]`.
    pub(super) fn sections(&self, name: &str, section: Section) -> Vec<Table<'c>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        if !value.is_list() {
            let remedy = format!("`{}`, with two brackets", section.header());
            let _: Option<()> = value.wrong_type("a list of tables", Some(&remedy));
            return Vec::new();
        }
        let elements = value.elements("tables").unwrap_or_default();
        elements.iter().filter_map(|element| element.table(section)).collect()
    }

    /// Notes the keys that this section does not have, and hides what may be secret.
    pub(super) fn finish(&self) {
        let Some(entries) = self.entries else { return };
        for (name, value) in entries {
            let place = Place { span: Some(name.span()), path: self.path_of(name.get_ref()) };
            let Some(key) = self.section.key(name.get_ref()) else {
                self.context.mask_leaves(value);
                self.context.error(&place, self.unknown(name.get_ref()));
                continue;
            };
            if key.secret && !matches!(key.name, "url") {
                self.context.mask_leaves(value);
            }
            if let Status::Later { .. } = key.status {
                let place = Place { span: Some(value.span()), ..place };
                self.finish_later(key, &Value { context: self.context, place, value });
            }
        }
    }

    fn finish_later(&self, key: &Key, value: &Value<'c>) {
        let Status::Later { today, later, instead } = key.status else { return };
        let known =
            || today.iter().map(|literal| literal.trim_matches('"')).chain(later.iter().copied());
        let mut fault = match today {
            [] => Fault::new("not available in this version yet"),
            _ => Fault::new("this value is not available in this version yet"),
        };
        if today.iter().any(|literal| literal.starts_with('"')) {
            let Some(text) = value.text() else { return };
            if today.iter().any(|literal| literal.trim_matches('"') == text.value) {
                return;
            }
            if !known().any(|name| name == text.value) {
                let list: Vec<String> = known().map(|name| format!("`{name}`")).collect();
                fault = Fault::new(format!("{} is not one of {}", text.quoted(), list.join(", ")))
                    .nearest(nearest(&text.value, known()));
            }
        } else if today.iter().any(|literal| is_literal(value.value.get_ref(), literal)) {
            return;
        }
        value.error(fault.remedy(instead));
    }

    fn unknown(&self, name: &str) -> Fault {
        let here = self.section.keys().iter().filter(|key| key.is_usable()).map(|key| key.name);
        let near = nearest(name, here.clone());
        let fault = Fault::new("unknown key").nearest(near.map(|near| format!("`{near}`")));
        if near.is_some() {
            return fault;
        }
        let elsewhere: Vec<String> = SECTIONS
            .iter()
            .filter(|section| section.key(name).is_some_and(Key::is_usable))
            .map(|section| match section.header() {
                "" => "the top of the file, before any section".to_owned(),
                header => format!("`{header}`"),
            })
            .collect();
        if elsewhere.is_empty() {
            let list: Vec<&str> = here.collect();
            return fault.remedy(format!("the keys here are {}", list.join(", ")));
        }
        fault.remedy(format!("`{name}` belongs in {}", elsewhere.join(" or ")))
    }

    fn path_of(&self, name: &str) -> String {
        let name = key_name(name);
        if self.place.path.is_empty() { name } else { format!("{}.{name}", self.place.path) }
    }
}

fn filled(value: &Value<'_>) -> Option<Text> {
    let text = value.text()?;
    if text.value.trim().is_empty() {
        value.error(Fault::new("an empty string"));
        return None;
    }
    Some(text)
}

/// A key as it is written in a path: quoted unless bare, and not all of a long one.
fn key_name(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() <= 100 && !name.is_empty() && name.chars().all(is_bare) {
        return name.to_owned();
    }
    format!("\"{}\"", quote(name).trim_matches('`'))
}

/// Whether a value is what this piece of TOML says: `true`, `false`, a number or `[]`.
fn is_literal(value: &DeValue<'_>, literal: &str) -> bool {
    match value {
        DeValue::Boolean(boolean) => literal == boolean.to_string(),
        DeValue::Integer(integer) => literal == integer.as_str(),
        DeValue::Array(elements) => literal == "[]" && elements.is_empty(),
        _ => false,
    }
}
