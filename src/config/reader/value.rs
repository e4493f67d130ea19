//! One value: of the type that is asked for and within its limits, or noted as wrong.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{Context, Place, Table, key_name};
use crate::config::interpolate;
use crate::config::keys::Section;
use crate::config::problem::{Fault, nearest};
use crate::config::quantity;

/// A string with what it refers to put in.
#[derive(Debug, Clone)]
pub(in crate::config) struct Text {
    pub(in crate::config) value: String,
    pub(in crate::config) place: Place,
    interpolated: bool,
}

impl Text {
    /// Whether a part of it came from outside the file, so that it must not be shown.
    pub(in crate::config) fn is_interpolated(&self) -> bool {
        self.interpolated
    }

    /// The value for a message: not if it came from outside the file, and not all of a long one.
    pub(in crate::config) fn quoted(&self) -> String {
        if self.interpolated {
            return "the value".to_owned();
        }
        quote(&self.value)
    }
}

/// `text` in backquotes, cut to a readable length.
pub(in crate::config) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// One value and where it stands.
#[derive(Clone)]
pub(in crate::config) struct Value<'c> {
    pub(super) context: &'c Context<'c>,
    pub(in crate::config) place: Place,
    pub(super) value: &'c Spanned<DeValue<'c>>,
}

impl<'c> Value<'c> {
    pub(in crate::config) fn error(&self, fault: Fault) {
        self.context.error(&self.place, fault);
    }

    pub(in crate::config) fn warn(&self, fault: Fault) {
        self.context.warn(&self.place, fault);
    }

    /// Keeps a part of this value's source, given relative to it, out of everything shown.
    pub(in crate::config) fn mask(&self, part: Range<usize>) {
        let start = self.value.span().start;
        self.context.mask(start + part.start..start + part.end);
    }

    /// A string, with `${…}` put in.
    pub(in crate::config) fn text(&self) -> Option<Text> {
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
    pub(in crate::config) fn raw_text(&self) -> Option<Text> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(Text {
                value: text.to_string(),
                place: self.place.clone(),
                interpolated: false,
            }),
            _ => self.wrong_type("a string", None),
        }
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("a boolean", Some("`true` or `false`, without quotes")),
        }
    }

    pub(in crate::config) fn integer(&self, range: &RangeInclusive<i64>) -> Option<i64> {
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

    pub(in crate::config) fn duration(&self, range: &RangeInclusive<Duration>) -> Option<Duration> {
        if !matches!(self.value.get_ref(), DeValue::String(_)) {
            return self.wrong_type("a duration", Some("a string with a unit: `\"10s\"`"));
        }
        self.noted(quantity::duration(&self.text()?.value, range))
    }

    pub(in crate::config) fn bytes(&self, range: &RangeInclusive<u64>) -> Option<u64> {
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
    pub(in crate::config) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
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
    pub(in crate::config) fn elements(&self, of: &str) -> Option<Vec<Value<'c>>> {
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
    pub(in crate::config) fn texts(&self) -> Option<Vec<Text>> {
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
    pub(in crate::config) fn entries(&self) -> Option<Vec<(String, Value<'c>)>> {
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
    pub(in crate::config) fn scalar(&self) -> Option<Text> {
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

    pub(in crate::config) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The source of this value as written.
    pub(in crate::config) fn source(&self) -> &'c str {
        self.context.text.get(self.value.span()).unwrap_or_default()
    }

    /// Notes a fault; passes a good value through.
    pub(in crate::config) fn noted<T>(&self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.error(fault)).ok()
    }

    pub(super) fn wrong_type<T>(&self, expected: &str, remedy: Option<&str>) -> Option<T> {
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

    pub(super) fn table(&self, section: Section) -> Option<Table<'c>> {
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
