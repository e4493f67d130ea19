//! `${VAR}`, `${VAR:-default}` and `${file:/path}` inside a string, `$${` for a literal `${`.
//!
//! It runs on a string after the TOML has been parsed, and what it puts in is not looked at
//! again, so a value from the environment can change nothing but that one string. Errors name the
//! variable or the file, never a value.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use super::problem::Fault;

/// Where values come from; handed in so that parsing stays pure.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Resolves `text`; borrowed if and only if nothing was put in.
pub(super) fn resolve<'t>(
    text: &'t str,
    around: Surroundings<'_>,
) -> Result<Cow<'t, str>, Vec<Fault>> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((reference, behind)) = after.split_once('}') else {
            faults
                .push(Fault::new("`${` without its `}`").remedy("write `$${` for a literal `${`"));
            return Err(faults);
        };
        match look_up(reference, around) {
            Ok(value) => out.push_str(&value),
            Err(fault) => faults.push(fault),
        }
        rest = behind;
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(Cow::Owned(out)) } else { Err(faults) }
}

fn look_up(reference: &str, around: Surroundings<'_>) -> Result<String, Fault> {
    if let Some(path) = reference.strip_prefix("file:") {
        return secret_file(Path::new(path), path, around);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_variable(name) {
        return Err(Fault::new("what stands in `${…}` is not a variable's name")
            .remedy("`${VAR}`, `${VAR:-default}` or `${file:/path}`; `$${` is a literal `${`"));
    }
    match ((around.env)(name), default) {
        (Some(value), None) => Ok(value),
        // As in a shell: `:-` stands in for an empty value too.
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault::new(format!("the environment variable {name} is not set"))
            .remedy(format!("set it, or give a default: `${{{name}:-…}}`"))),
    }
}

/// The content of a file that holds one value: a final line end does not belong to it. `name` is
/// what errors call it.
pub(super) fn secret_file(
    path: &Path,
    name: &str,
    around: Surroundings<'_>,
) -> Result<String, Fault> {
    let content = (around.read_file)(path).map_err(|error| {
        Fault::new(format!("cannot read {name}: {}", describe(&error)))
            .remedy("check that the file exists and that this user may read it")
    })?;
    let value = content.strip_suffix('\n').unwrap_or(&content);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(Fault::new(format!("{name} is empty")));
    }
    Ok(value.to_owned())
}

/// What the error is, by its kind only: a message could quote what was read.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => "not UTF-8".to_owned(),
        io::ErrorKind::FileTooLarge => "larger than a secret can be".to_owned(),
        kind => kind.to_string(),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with<R>(run: impl FnOnce(Surroundings<'_>) -> R) -> R {
        let env = |name: &str| match name {
            "USER" => Some("ada".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${USER}\"\nx = 1".to_owned()),
            _ => None,
        };
        let read_file = |path: &Path| match path.to_str() {
            Some("/run/s") => Ok("s3cret\r\n".to_owned()),
            Some("/run/empty") => Ok("\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        run(Surroundings { env: &env, read_file: &read_file })
    }

    fn resolved(text: &str) -> String {
        with(|around| resolve(text, around).unwrap().into_owned())
    }

    fn faults(text: &str) -> Vec<String> {
        with(|around| resolve(text, around).unwrap_err().into_iter().map(|f| f.message).collect())
    }

    #[test]
    fn variables_defaults_and_files() {
        assert_eq!(resolved("a ${USER} b ${USER}"), "a ada b ada");
        assert_eq!(resolved("${NONE:-x y}${EMPTY:-z}${USER:-no}"), "x yzada");
        assert_eq!(resolved("${EMPTY}"), "");
        assert_eq!(resolved("${NONE:-}"), "");
        assert_eq!(resolved("${file:/run/s}"), "s3cret");
    }

    #[test]
    fn an_escape_is_literal_and_other_dollars_stay() {
        assert_eq!(resolved("$${USER} $5 $$ {USER}"), "${USER} $5 $$ {USER}");
    }

    #[test]
    fn what_was_put_in_is_not_looked_at_again() {
        assert_eq!(resolved("${TRICK}"), "${USER}\"\nx = 1");
    }

    #[test]
    fn every_fault_names_its_variable() {
        assert_eq!(
            faults("${ONE}${TWO}"),
            ["the environment variable ONE is not set", "the environment variable TWO is not set"]
        );
        assert_eq!(faults("${USER"), ["`${` without its `}`"]);
        assert_eq!(faults("${}"), ["what stands in `${…}` is not a variable's name"]);
        assert_eq!(faults("${file:/gone}"), ["cannot read /gone: entity not found"]);
        assert_eq!(faults("${file:/run/empty}"), ["/run/empty is empty"]);
    }

    proptest! {
        #[test]
        fn escaping_every_reference_gives_the_text_back(text in "[a-z${}:-]{0,30}") {
            let escaped = text.replace("${", "$${");
            prop_assert_eq!(resolved(&escaped), text);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            with(|around| { let _ = resolve(&text, around); });
        }
    }
}
