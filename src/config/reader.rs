//! Reads typed values out of the parsed TOML, and notes everything that is wrong on the way.
//!
//! A reader never stops at the first problem: a value that cannot be had is noted and given as
//! `None`, and [`super::parse`] refuses the file if anything was noted. Which keys a section may
//! have comes from [`super::keys`]; the reader cannot ask for another (checked in debug builds),
//! and [`Table::finish`] notes every key that is not there.
//!
//! What must not be shown is collected here too: the values of secret keys, and of keys that are
//! unknown, since a misspelt `password` is still a password.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::interpolate::{self, Surroundings};
use super::keys::{Key, SECTIONS, Section, Status};
use super::problem::{Draft, Fault, nearest};
use super::quantity;

/// What all readers of one file share.
pub(super) struct Context<'a> {
    pub(super) around: Surroundings<'a>,
    pub(super) text: &'a str,
    errors: RefCell<Vec<Draft>>,
    warnings: RefCell<Vec<Draft>>,
    masked: RefCell<Vec<Range<usize>>>,
}

/// What was noted while reading.
pub(super) struct Notes {
    pub(super) errors: Vec<Draft>,
    pub(super) warnings: Vec<Draft>,
    pub(super) masked: Vec<Range<usize>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, around: Surroundings<'a>) -> Context<'a> {
        Context {
            around,
            text,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            masked: RefCell::default(),
        }
    }

    pub(super) fn error(&self, place: &Place, fault: Fault) {
        self.errors.borrow_mut().push(place.draft(fault));
    }

    pub(super) fn warn(&self, place: &Place, fault: Fault) {
        self.warnings.borrow_mut().push(place.draft(fault));
    }

    /// Keeps these bytes of the source out of everything that is shown.
    pub(super) fn mask(&self, span: Range<usize>) {
        self.masked.borrow_mut().push(span);
    }

    /// As [`Context::mask`], but not what holds the value together: a header, brackets.
    fn mask_leaves(&self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => table.values().for_each(|value| self.mask_leaves(value)),
            DeValue::Array(values) => values.iter().for_each(|value| self.mask_leaves(value)),
            _ => self.mask(value.span()),
        }
    }

    pub(super) fn into_notes(self) -> Notes {
        Notes {
            errors: self.errors.into_inner(),
            warnings: self.warnings.into_inner(),
            masked: self.masked.into_inner(),
        }
    }
}

/// Where something stands, and under which path.
#[derive(Debug, Clone)]
pub(super) struct Place {
    span: Option<Range<usize>>,
    path: String,
}

impl Place {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn draft(&self, fault: Fault) -> Draft {
        Draft { span: self.span.clone(), key: self.path.clone(), fault }
    }
}

/// A string with what it refers to put in.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) place: Place,
    interpolated: bool,
}

impl Text {
    /// Whether a part of it came from outside the file, so that it must not be shown.
    pub(super) fn is_interpolated(&self) -> bool {
        self.interpolated
    }

    /// The value for a message: not if it came from outside the file, and not all of a long one.
    pub(super) fn quoted(&self) -> String {
        if self.interpolated {
            return "the value".to_owned();
        }
        quote(&self.value)
    }
}

/// `text` in backquotes, cut to a readable length.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Value<'c> {
    context: &'c Context<'c>,
    pub(super) place: Place,
    value: &'c Spanned<DeValue<'c>>,
}

impl<'c> Value<'c> {
    pub(super) fn error(&self, fault: Fault) {
        self.context.error(&self.place, fault);
    }

    pub(super) fn warn(&self, fault: Fault) {
        self.context.warn(&self.place, fault);
    }

    /// Keeps a part of this value's source, given relative to it, out of everything shown.
    pub(super) fn mask(&self, part: Range<usize>) {
        let start = self.value.span().start;
        self.context.mask(start + part.start..start + part.end);
    }

    /// A string, with `${…}` put in.
    pub(super) fn text(&self) -> Option<Text> {
        let raw = self.raw_text()?;
        match interpolate::resolve(&raw.value, self.context.around) {
            Ok(Cow::Borrowed(_)) => Some(raw),
            Ok(Cow::Owned(value)) => Some(Text { value, interpolated: true, ..raw }),
            Err(faults) => {
                faults.into_iter().for_each(|fault| self.error(fault));
                None
            }
        }
    }

    /// A string as it stands.
    pub(super) fn raw_text(&self) -> Option<Text> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(Text {
                value: text.to_string(),
                place: self.place.clone(),
                interpolated: false,
            }),
            _ => self.wrong_type("a string", None),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("a boolean", Some("`true` or `false`, without quotes")),
        }
    }

    pub(super) fn integer(&self, range: &RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return self.wrong_type("an integer", Some("a whole number, without quotes"));
        };
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let inside = value.filter(|value| range.contains(value));
        if inside.is_none() {
            self.error(Fault::new(format!(
                "out of range: from {} to {}",
                range.start(),
                range.end()
            )));
        }
        inside
    }

    pub(super) fn duration(&self, range: &RangeInclusive<Duration>) -> Option<Duration> {
        if !matches!(self.value.get_ref(), DeValue::String(_)) {
            return self.wrong_type("a duration", Some("a string with a unit: `\"10s\"`"));
        }
        self.noted(quantity::duration(&self.text()?.value, range))
    }

    pub(super) fn bytes(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let value = match self.value.get_ref() {
            DeValue::Integer(integer) => {
                u64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(u64::MAX)
            }
            DeValue::String(_) => self.noted(quantity::bytes(&self.text()?.value))?,
            _ => return self.wrong_type("a size", Some("bytes, or a string such as `\"16MiB\"`")),
        };
        self.noted(quantity::in_range(value, range))
    }

    /// One of a few strings.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text.value);
        if found.is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            let list: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
            self.error(
                Fault::new(format!("{} is not one of {}", text.quoted(), list.join(", ")))
                    .nearest(nearest(&text.value, names)),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// The elements of a list; `None` if it is none.
    pub(super) fn elements(&self, of: &str) -> Option<Vec<Value<'c>>> {
        let DeValue::Array(elements) = self.value.get_ref() else {
            return self.wrong_type(&format!("a list of {of}"), None);
        };
        let element = |(index, value): (usize, &'c Spanned<DeValue<'c>>)| Value {
            context: self.context,
            place: Place {
                span: Some(value.span()),
                path: format!("{}[{}]", self.place.path, index + 1),
            },
            value,
        };
        Some(elements.iter().enumerate().map(element).collect())
    }

    /// A list of strings that are neither empty nor there twice; what is wrong is left out.
    pub(super) fn texts(&self) -> Option<Vec<Text>> {
        let mut texts: Vec<Text> = Vec::new();
        for element in self.elements("strings")? {
            let Some(text) = element.text() else { continue };
            if text.value.is_empty() {
                element.error(Fault::new("an empty string"));
            } else if texts.iter().any(|other| other.value == text.value) {
                element.error(Fault::new(format!("{} is listed twice", text.quoted())));
            } else {
                texts.push(text);
            }
        }
        Some(texts)
    }

    /// The entries of a table whose keys are free, in the order of the file.
    pub(super) fn entries(&self) -> Option<Vec<(String, Value<'c>)>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return self.wrong_type("a table", None);
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'c Spanned<Cow<'c, str>>, &'c Spanned<DeValue<'c>>)| {
            let name = key.get_ref().to_string();
            let path = format!("{}.{}", self.place.path, key_name(&name));
            let place = Place { span: Some(value.span()), path };
            (name, Value { context: self.context, place, value })
        };
        Some(entries.into_iter().map(entry).collect())
    }

    /// A string, number or boolean as the text that it is.
    pub(super) fn scalar(&self) -> Option<Text> {
        let value = match self.value.get_ref() {
            DeValue::String(_) => return self.text(),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|i| i.to_string())
            }
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            DeValue::Boolean(boolean) => Some(boolean.to_string()),
            _ => None,
        };
        match value {
            Some(value) => Some(Text { value, place: self.place.clone(), interpolated: false }),
            None => self.wrong_type("a string, a number or a boolean", None),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The source of this value as written.
    pub(super) fn source(&self) -> &'c str {
        self.context.text.get(self.value.span()).unwrap_or_default()
    }

    /// Notes a fault; passes a good value through.
    pub(super) fn noted<T>(&self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.error(fault)).ok()
    }

    fn wrong_type<T>(&self, expected: &str, remedy: Option<&str>) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "a list",
            other => match other.type_str() {
                "string" => "a string",
                "float" => "a float",
                "boolean" => "a boolean",
                "datetime" => "a date or time",
                _ => "a table",
            },
        };
        let mut fault = Fault::new(format!("expected {expected}, found {found}"));
        fault.remedy = remedy.map(str::to_owned);
        self.error(fault);
        None
    }

    fn table(&self, section: Section) -> Option<Table<'c>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Table {
                context: self.context,
                section,
                place: self.place.clone(),
                entries: Some(table),
            }),
            _ => self.wrong_type("a table", None),
        }
    }
}

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
