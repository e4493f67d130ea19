//! `[registry]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::Fault;
use crate::config::reader::{Table, Value};
use crate::config::settings::{RegistryAuth, RegistrySettings};

pub(in crate::config) fn registry(table: &Table<'_>) -> Option<RegistrySettings> {
    let urls = urls(table);
    let auth = auth(table);
    let ca_file = table.text("ca_file");
    let timeout = table.duration(
        "timeout",
        Duration::from_secs(10),
        Duration::from_millis(100)..=Duration::from_secs(600),
    );
    let auto_register = table.boolean("auto_register", true);
    table.finish();
    let urls = urls?;
    if let (Some(text), false) = (&ca_file, urls.iter().any(|url| is_encrypted(url))) {
        table.context.warn(&text.place, Fault::new("unused: no registry URL is https"));
    }
    if let (false, Some(url)) = (matches!(auth, RegistryAuth::None), table.get("url"))
        && urls.iter().any(|url| !is_encrypted(url))
    {
        url.warn(Fault::new("credentials go to the registry unencrypted").remedy("an https URL"));
    }
    Some(RegistrySettings {
        urls,
        auth,
        auto_register,
        ca_file: ca_file.map(|text| PathBuf::from(text.value)),
        timeout,
    })
}

fn urls(table: &Table<'_>) -> Option<Vec<String>> {
    let value = table.required("url")?;
    if !value.is_list() {
        return url(&value).map(|url| vec![url]);
    }
    let elements = value.elements("strings")?;
    if elements.is_empty() {
        value.error(Fault::new("an empty list"));
        return None;
    }
    // Each is read, so that all that are wrong are noted.
    let read: Vec<Option<String>> = elements.iter().map(url).collect();
    let urls: Vec<String> = read.into_iter().collect::<Option<_>>()?;
    for (index, url) in urls.iter().enumerate() {
        if let (true, Some(element)) =
            (urls.iter().take(index).any(|u| u == url), elements.get(index))
        {
            element.error(Fault::new("listed twice"));
        }
    }
    Some(urls)
}

fn url(value: &Value<'_>) -> Option<String> {
    let source = value.source();
    if let Some(at) = source.rfind('@') {
        let start = source.find("://").map_or(0, |at| at + 3);
        value.mask(start.min(at)..at);
    }
    // A query can hold a token; it is refused below, but must not be shown either.
    if let Some(query) = source.find('?') {
        value.mask(query + 1..source.len());
    }
    let text = value.text()?;
    value.noted(checked(text.value.trim()))
}

/// The URL without a trailing slash; no message quotes it.
fn checked(url: &str) -> Result<String, Fault> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| Fault::new("not an http or https URL").remedy("`http://registry:8081`"))?;
    if rest.contains('@') {
        return Err(Fault::new("credentials in the URL")
            .remedy("`username` and `password` (or `password_file`), or `bearer_token`"));
    }
    if rest.contains(['?', '#']) {
        return Err(
            Fault::new("a query or fragment in the URL").remedy("scheme, host and path only")
        );
    }
    let host = rest.split('/').next().unwrap_or_default();
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '\\');
    if host.is_empty() || host.starts_with(':') || rest.contains(bad) {
        return Err(Fault::new("not a URL").remedy("`http://registry:8081`"));
    }
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(Fault::new("the port is not a number from 1 to 65535"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn auth(table: &Table<'_>) -> RegistryAuth {
    let user = table.text("username");
    let password = table.secret("password");
    let token = table.secret("bearer_token");
    if let (Some((_, place)), true) = (&token, user.is_some() || password.is_some()) {
        let fault = Fault::new("a bearer token and a username or password");
        table.context.error(place, fault.remedy("keep one of the two"));
        return RegistryAuth::None;
    }
    match (user, password, token) {
        (_, _, Some((token, _))) => RegistryAuth::Bearer(token),
        (Some(user), Some((password, _)), None) => {
            RegistryAuth::Basic { user: user.value, password }
        }
        (Some(user), None, None) => {
            // One that is there and wrong has been noted.
            if table.get("password").is_none() && table.get("password_file").is_none() {
                let fault = Fault::new("a username without a password");
                table.context.error(&user.place, fault.remedy("`password` or `password_file`"));
            }
            RegistryAuth::None
        }
        (None, Some((_, place)), None) => {
            if table.get("username").is_none() {
                table.context.error(&place, Fault::new("a password without `username`"));
            }
            RegistryAuth::None
        }
        (None, None, None) => RegistryAuth::None,
    }
}

fn is_encrypted(url: &str) -> bool {
    url.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_trailing_slash_only() {
        let checked = |url| checked(url).unwrap();
        assert_eq!(checked("http://registry:8081"), "http://registry:8081");
        assert_eq!(checked("https://r/apis/ccompat/v7/"), "https://r/apis/ccompat/v7");
        assert_eq!(checked("http://[::1]:8081"), "http://[::1]:8081");
        assert_eq!(checked("http://[::1]"), "http://[::1]");
    }

    #[test]
    fn other_urls_are_refused_without_being_quoted() {
        let all = [
            "registry:8081",
            "ftp://hunter2",
            "http://",
            "http://:8081",
            "http://u:hunter2@r",
            "http://r?token=hunter2",
            "http://r:hunter2",
            "http://r:0/",
            "http://a b",
        ];
        for url in all {
            let fault = checked(url).unwrap_err();
            assert!(!format!("{fault:?}").contains("hunter2"), "{fault:?}");
        }
    }
}
