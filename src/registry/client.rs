//! The HTTP client: register or look up a schema, fetch one by id.
//!
//! One call asks each configured URL in turn, the one that answered last first, until one gives a
//! usable answer; there is no other retry here, because only the caller knows how long it may wait.
//! A registry is not trusted to be one: bodies are bounded, redirects are not followed (a log-in page
//! is no registry, and credentials are not for its host), and what is not the expected JSON is an
//! error to try again.
//!
//! Ids are cached by subject and exact text, schemas by id: both never change in a registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::difference::differences;
use super::{Error, SchemaId, Subject, tls};
use crate::config::settings::{RegistryAuth, RegistrySettings};
use crate::failure::Failure;

/// A registry and what is known of it.
pub struct Registry {
    http: Client,
    urls: Vec<Url>,
    /// Index of the URL that answered last.
    preferred: AtomicUsize,
    auth: RegistryAuth,
    auto_register: bool,
    ids: Mutex<HashMap<Subject, HashMap<Arc<str>, SchemaId>>>,
    schemas: Mutex<HashMap<SchemaId, Arc<str>>>,
    /// The last registration without a usable answer.
    unanswered: Mutex<Option<(Subject, Arc<str>)>>,
}

impl Registry {
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// When a URL, the CA file or the system's roots cannot be used.
    pub fn new(settings: &RegistrySettings) -> Result<Registry, Failure> {
        let urls = settings.urls.iter().map(|url| parse_url(url)).collect::<Result<_, _>>()?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls::client_config(settings)?)
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("walferry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Failure::stop("registry", "the HTTP client cannot be set up").source(error)
            })?;
        Ok(Registry {
            http,
            urls,
            preferred: AtomicUsize::new(0),
            auth: settings.auth.clone(),
            auto_register: settings.auto_register,
            ids: Mutex::default(),
            schemas: Mutex::default(),
            unanswered: Mutex::default(),
        })
    }

    /// The id of `schema` under `subject`, if it was asked for before. Asks nobody.
    #[must_use]
    pub fn known(&self, subject: &Subject, schema: &str) -> Option<SchemaId> {
        lock(&self.ids).get(subject)?.get(schema).copied()
    }

    /// The id of `schema` under `subject`: registers it, or looks it up when `auto_register` is off.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn register(&self, subject: &Subject, schema: &str) -> Result<SchemaId, Error> {
        if let Some(id) = self.known(subject, schema) {
            return Ok(id);
        }
        let outcome = self.ask_for_id(subject, schema).await;
        let mut unanswered = lock(&self.unanswered);
        match &outcome {
            Err(error) if error.is_retry() => {
                *unanswered = Some((subject.clone(), Arc::from(schema)));
            }
            _ => {
                unanswered.take_if(|(asked, text)| asked == subject && **text == *schema);
            }
        }
        outcome
    }

    /// Asks once more what had no usable answer last: a registry that serves reads alone (its
    /// storage is away) answers [`probe`](Self::probe), and still gives no id. Without such a
    /// question this is [`probe`](Self::probe).
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn ask_again(&self) -> Result<(), Error> {
        let unanswered = lock(&self.unanswered).clone();
        match unanswered {
            Some((subject, schema)) => self.register(&subject, &schema).await.map(|_| ()),
            None => self.probe().await,
        }
    }

    async fn ask_for_id(&self, subject: &Subject, schema: &str) -> Result<SchemaId, Error> {
        let path: &[&str] = if self.auto_register {
            &["subjects", subject.as_str(), "versions"]
        } else {
            &["subjects", subject.as_str()]
        };
        let body = serde_json::json!({ "schema": schema }).to_string();
        let answer = self.ask(Method::POST, path, Some(&body)).await?;
        let Registered { id } = match answer.into_result() {
            Ok(registered) => registered,
            Err(refusal) => return Err(self.refused(subject, schema, refusal).await),
        };
        lock(&self.ids).entry(subject.clone()).or_default().insert(Arc::from(schema), id);
        Ok(id)
    }

    /// Asks for something that every registry has, and so finds out whether it is one and takes
    /// the credentials.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorised`] or [`Error::Retry`].
    pub async fn probe(&self) -> Result<(), Error> {
        let answer = self.ask(Method::GET, &["schemas", "types"], None).await?;
        let url = answer.url.clone();
        match answer.into_result::<Vec<String>>() {
            Ok(_) => Ok(()),
            Err(refusal) => Err(retry(url, refusal.describe())),
        }
    }

    /// The text of the schema with this id.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownId`], [`Error::Unauthorised`] or [`Error::Retry`].
    pub async fn schema_by_id(&self, id: SchemaId) -> Result<Arc<str>, Error> {
        if let Some(schema) = lock(&self.schemas).get(&id) {
            return Ok(Arc::clone(schema));
        }
        let number = id.to_string();
        let answer = self.ask(Method::GET, &["schemas", "ids", &number], None).await?;
        let url = answer.url.clone();
        match answer.into_result::<SchemaText>() {
            Ok(SchemaText { schema }) => {
                let schema: Arc<str> = Arc::from(schema);
                lock(&self.schemas).insert(id, Arc::clone(&schema));
                Ok(schema)
            }
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Err(Error::UnknownId(id)),
            Err(refusal) => Err(retry(url, refusal.describe())),
        }
    }

    /// Turns a refusal into words; asks for the latest version to say what differs from it.
    async fn refused(&self, subject: &Subject, schema: &str, refusal: Refusal) -> Error {
        let subject = subject.clone();
        match (refusal.status, refusal.code) {
            (StatusCode::CONFLICT, _) => {
                let differences = match self.latest(&subject).await {
                    Some(latest) => differences(&latest, schema),
                    None => Vec::new(),
                };
                let command = self.compatibility_command(&refusal.url, &subject);
                Error::Incompatible { subject, reason: refusal.message, differences, command }
            }
            (StatusCode::NOT_FOUND, Some(40401 | 40403)) if !self.auto_register => {
                let command = self.register_command(&refusal.url, &subject);
                Error::Unregistered { subject, command }
            }
            (StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST, _) => {
                Error::Invalid { subject, reason: refusal.message }
            }
            _ => retry(refusal.url.clone(), refusal.describe()),
        }
    }

    async fn latest(&self, subject: &Subject) -> Option<String> {
        let path = ["subjects", subject.as_str(), "versions", "latest"];
        let answer = self.ask(Method::GET, &path, None).await.ok()?;
        answer.into_result::<SchemaText>().ok().map(|latest| latest.schema)
    }

    /// Asks one URL after the other until one answers for itself.
    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&str>,
    ) -> Result<Answer, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.urls.len() {
            let index = (first + turn) % self.urls.len();
            let Some(url) = self.urls.get(index) else {
                break;
            };
            match self.ask_one(url, &method, path, body).await {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                // Asked to wait, or refused: another door of the same registry says the same.
                Err(error) if !error.is_retry() || error.retry_after().is_some() => {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| retry(String::new(), "no URL is configured".to_owned())))
    }

    async fn ask_one(
        &self,
        base: &Url,
        method: &Method,
        path: &[&str],
        body: Option<&str>,
    ) -> Result<Answer, Error> {
        let url = join(base, path);
        let shown = display_url(base);
        let mut request = self.http.request(method.clone(), url).header(ACCEPT, MEDIA_TYPES);
        request = match &self.auth {
            RegistryAuth::None => request,
            RegistryAuth::Basic { user, password } => {
                request.basic_auth(user, Some(password.expose_secret()))
            }
            RegistryAuth::Bearer(token) => request.bearer_auth(token.expose_secret()),
        };
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_owned());
        }
        let mut response =
            request.send().await.map_err(|error| retry(shown.clone(), transport(&error)))?;
        let status = response.status();
        let after = retry_after(status, response.headers().get(RETRY_AFTER));
        let body = read_body(&mut response).await.map_err(|reason| retry(shown.clone(), reason))?;
        Answer { url: shown, status, body }.checked(after)
    }

    fn register_command(&self, url: &str, subject: &Subject) -> String {
        format!(
            "walferry schema … > schema.json; jq -Rs '{{schema: .}}' schema.json | curl{} -H \
             'Content-Type: {MEDIA_TYPE}' -d @- {url}/subjects/{subject}/versions",
            self.curl_auth()
        )
    }

    fn compatibility_command(&self, url: &str, subject: &Subject) -> String {
        format!(
            "curl{} -X PUT -H 'Content-Type: {MEDIA_TYPE}' -d '{{\"compatibility\":\"NONE\"}}' \
             {url}/config/{subject}",
            self.curl_auth()
        )
    }

    fn curl_auth(&self) -> &'static str {
        match self.auth {
            RegistryAuth::None => "",
            RegistryAuth::Basic { .. } => " -u USER",
            RegistryAuth::Bearer(_) => " -H \"Authorization: Bearer $TOKEN\"",
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(display_url).collect();
        f.debug_struct("Registry").field("urls", &urls).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Registered {
    id: SchemaId,
}

impl<'de> Deserialize<'de> for SchemaId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<SchemaId, D::Error> {
        u32::deserialize(deserializer).map(SchemaId)
    }
}

#[derive(Deserialize)]
struct SchemaText {
    schema: String,
}

/// The JSON that registries send with an error status.
#[derive(Deserialize)]
struct Complaint {
    error_code: Option<i64>,
    #[serde(default)]
    message: String,
}

/// An answer of something that behaves like a registry.
struct Answer {
    url: String,
    status: StatusCode,
    body: Vec<u8>,
}

/// An error status with the registry's explanation.
struct Refusal {
    url: String,
    status: StatusCode,
    code: Option<i64>,
    message: String,
}

impl Answer {
    /// Sorts out what is not a registry's judgement: overload, outage, log-in pages, other servers.
    fn checked(self, after: Option<Duration>) -> Result<Answer, Error> {
        let status = self.status;
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(Error::Unauthorised { url: self.url, status: status.as_u16() });
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Error::Retry {
                url: self.url,
                reason: "too many requests".to_owned(),
                after: Some(after.unwrap_or(DEFAULT_RETRY_AFTER)),
            });
        }
        if status.is_server_error() || status.is_redirection() {
            let reason = format!("HTTP {}", status.as_u16());
            return Err(Error::Retry { url: self.url, reason, after });
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&self.body).is_err() {
            let start = self.body.iter().find(|byte| !byte.is_ascii_whitespace());
            let what = if start == Some(&b'<') { "HTML or XML" } else { "no JSON" };
            let reason = format!("it answers with {what} (HTTP {})", status.as_u16());
            return Err(Error::Retry { url: self.url, reason, after });
        }
        Ok(self)
    }

    fn into_result<T: for<'de> Deserialize<'de>>(self) -> Result<T, Refusal> {
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).map_err(|_| Refusal {
                url: self.url,
                status: self.status,
                code: None,
                message: "the JSON is not what a registry answers".to_owned(),
            });
        }
        let (code, message) = match serde_json::from_slice::<Complaint>(&self.body) {
            Ok(complaint) => (complaint.error_code, shorten(&complaint.message)),
            Err(_) => (None, String::new()),
        };
        Err(Refusal { url: self.url, status: self.status, code, message })
    }
}

impl Refusal {
    fn describe(&self) -> String {
        format!("HTTP {}: {}", self.status.as_u16(), self.message)
    }
}

fn retry(url: String, reason: String) -> Error {
    Error::Retry { url, reason, after: None }
}

/// A failed exchange in words, down to its cause and without the URL, which may hold a password.
fn transport(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within registry.timeout".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) {
        "the exchange failed".to_owned()
    } else {
        cause.to_string()
    }
}

async fn read_body(response: &mut reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(format!("the answer is larger than {MAX_BODY_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Only the number of seconds; a date counts as absent.
fn retry_after(status: StatusCode, header: Option<&HeaderValue>) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let seconds: u64 = header?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The registry's words on one line and of bounded length.
fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    // The text is not repeated: it may hold a password.
    let bad = |what: &str| {
        Failure::stop("registry", format!("a URL in registry.url {what}"))
            .remedy("registry.url = \"http://registry:8081\"")
    };
    let url = Url::parse(text).map_err(|_| bad("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        return Err(bad("is neither http:// nor https://"));
    }
    Ok(url)
}

/// Appends path segments, escaped, to the base URL's own.
fn join(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// A URL for messages: without user, password and query.
fn display_url(url: &Url) -> String {
    let mut shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        shown.push_str(&format!(":{port}"));
    }
    shown.push_str(url.path().trim_end_matches('/'));
    shown
}

/// Every critical section is a look-up or an insertion: a panic elsewhere leaves the map whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// Schemas of the widest tables (1600 columns) take a few hundred KiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

const MAX_MESSAGE_CHARS: usize = 2000;

/// Leaves time for the next URL when a host does not answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// When the registry is overloaded and does not say for how long.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A registry cannot put walferry to sleep for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
