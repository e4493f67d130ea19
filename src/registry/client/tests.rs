use std::convert::Infallible;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::failure::Class;

/// What a test's server got.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    path: String,
    authorization: Option<String>,
    body: String,
}

/// What it answers: status, headers, body. `None`: nothing, ever.
type Reply = Option<(u16, &'static [(&'static str, &'static str)], String)>;

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    count: Arc<AtomicU64>,
}

impl Server {
    async fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(AtomicU64::new(0));
        let shared = (Arc::new(reply), Arc::clone(&asked), Arc::clone(&count));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (reply, asked, count) = shared.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (reply, asked) = (Arc::clone(&reply), Arc::clone(&asked));
                    count.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let request = receive(request).await;
                        asked.lock().unwrap().push(request.clone());
                        let Some((status, headers, body)) = reply(&request) else {
                            std::future::pending::<()>().await;
                            unreachable!()
                        };
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(*name, *value);
                        }
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Server { url, asked, count }
    }

    fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn receive(request: Request<Incoming>) -> Asked {
    let (parts, body) = request.into_parts();
    Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        authorization: parts
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    }
}

fn reply(status: u16, body: &str) -> Reply {
    Some((status, &[], body.to_owned()))
}

fn settings(urls: &[&str]) -> RegistrySettings {
    RegistrySettings {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        auth: RegistryAuth::None,
        auto_register: true,
        ca_file: None,
        timeout: Duration::from_secs(20),
    }
}

fn registry(urls: &[&str]) -> Registry {
    Registry::new(&settings(urls)).unwrap()
}

fn subject() -> Subject {
    Subject::value_of("shop.public.orders")
}

const SCHEMA: &str = r#"{"type":"record","name":"Value","fields":[{"name":"a","type":"int"}]}"#;

async fn error_of(status: u16, body: &str) -> Error {
    let body = body.to_owned();
    let server = Server::start(move |_| reply(status, &body)).await;
    registry(&[&server.url]).register(&subject(), SCHEMA).await.unwrap_err()
}

#[tokio::test]
async fn a_schema_is_registered_once() {
    let server = Server::start(|_| reply(200, r#"{"id":7}"#)).await;
    let registry = registry(&[&format!("{}/apis/ccompat/v7", server.url)]);
    assert_eq!(registry.known(&subject(), SCHEMA), None);
    for _ in 0..3 {
        assert_eq!(registry.register(&subject(), SCHEMA).await, Ok(SchemaId(7)));
    }
    assert_eq!(registry.known(&subject(), SCHEMA), Some(SchemaId(7)));
    assert_eq!(registry.known(&subject(), "other"), None);
    let asked = server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, "POST");
    assert_eq!(asked[0].path, "/apis/ccompat/v7/subjects/shop.public.orders-value/versions");
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(body, serde_json::json!({ "schema": SCHEMA }));
}

#[tokio::test]
async fn look_up_only_never_registers() {
    let server =
        Server::start(|_| reply(404, r#"{"error_code":40403,"message":"Schema not found"}"#)).await;
    let settings = RegistrySettings { auto_register: false, ..settings(&[&server.url]) };
    let error = Registry::new(&settings).unwrap().register(&subject(), SCHEMA).await.unwrap_err();
    assert!(matches!(error, Error::Unregistered { .. }), "{error:?}");
    assert_eq!(server.requests()[0].path, "/subjects/shop.public.orders-value");
    let failure = Failure::from(error);
    assert_eq!(failure.class, Class::Stop);
    let remedy = failure.remedy.unwrap();
    assert!(remedy.contains("auto_register = true"), "{remedy}");
    assert!(remedy.contains(&format!("{}/subjects/", server.url)), "{remedy}");
}

#[tokio::test]
async fn an_incompatible_schema_is_explained() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/subjects/shop.public.orders-value/versions/latest" => reply(
            200,
            r#"{"subject":"s","id":1,"version":1,"schema":"{\"type\":\"record\",\"name\":\"Value\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"}]}"}"#,
        ),
        _ => reply(409, r#"{"error_code":409,"message":"Schema being registered is\nincompatible"}"#),
    })
    .await;
    let error = registry(&[&server.url]).register(&subject(), SCHEMA).await.unwrap_err();
    let Error::Incompatible { differences, reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*differences, ["field a of Value was string and is int now"]);
    assert_eq!(reason, "Schema being registered is incompatible");
    let failure = Failure::from(error);
    assert_eq!(failure.class, Class::Stop);
    assert!(failure.message.contains("field a of Value was string"), "{}", failure.message);
    assert!(failure.remedy.unwrap().contains("/config/shop.public.orders-value"));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let invalid = error_of(422, r#"{"error_code":42201,"message":"bad"}"#).await;
    assert_eq!(invalid, Error::Invalid { subject: subject(), reason: "bad".to_owned() });
    for status in [401, 403] {
        let error = error_of(status, "<html>").await;
        assert!(matches!(error, Error::Unauthorised { .. }), "{error:?}");
        assert_eq!(Failure::from(error).class, Class::Stop);
    }
    // Without look-up mode "not found" is about the URL, not the schema.
    assert!(error_of(404, r#"{"error_code":404,"message":"no"}"#).await.is_retry());
}

#[tokio::test]
async fn what_is_no_registry_is_asked_again_later() {
    for (status, body) in [
        (200, "<!doctype html><title>Log in</title>"),
        (404, "<html>nginx</html>"),
        (500, r#"{"error_code":50001,"message":"store"}"#),
        (503, ""),
        (302, ""),
        (200, ""),
        (200, r#"{"id":"seven"}"#),
        (200, r#"{"id":-1}"#),
        (200, "[]"),
    ] {
        let error = error_of(status, body).await;
        assert!(error.is_retry(), "{status} {body}: {error:?}");
        assert_eq!(Failure::from(error).class, Class::Retry);
    }
}

#[tokio::test]
async fn too_many_requests_say_for_how_long() {
    let server = Server::start(|_| Some((429, &[("retry-after", "17")], String::new()))).await;
    // The second URL is the same overloaded registry: it is left alone as well.
    let error =
        registry(&[&server.url, &server.url]).register(&subject(), SCHEMA).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    assert_eq!(server.requests().len(), 1);
    let error = error_of(429, "").await;
    assert_eq!(error.retry_after(), Some(DEFAULT_RETRY_AFTER));
}

#[tokio::test]
async fn a_registry_that_hangs_is_given_up() {
    let server = Server::start(|_| None).await;
    let settings =
        RegistrySettings { timeout: Duration::from_millis(200), ..settings(&[&server.url]) };
    let started = Instant::now();
    let error = Registry::new(&settings).unwrap().register(&subject(), SCHEMA).await.unwrap_err();
    assert!(error.is_retry());
    assert!(error.to_string().contains("registry.timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_it() {
    let server = Server::start(|_| {
        Some((200, &[], format!(r#"{{"id":7,"x":"{}"}}"#, "x".repeat(2 * MAX_BODY_BYTES))))
    })
    .await;
    let error = registry(&[&server.url]).register(&subject(), SCHEMA).await.unwrap_err();
    assert!(error.is_retry());
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[tokio::test]
async fn the_next_url_is_asked_and_remembered() {
    let broken = Server::start(|_| reply(500, "{}")).await;
    let good = Server::start(|asked| {
        let number = asked.body.len();
        reply(200, &format!(r#"{{"id":{number}}}"#))
    })
    .await;
    let urls = ["http://127.0.0.1:1", &broken.url, &good.url];
    let registry = registry(&urls);
    registry.register(&subject(), SCHEMA).await.unwrap();
    registry.register(&subject(), "\"string\"").await.unwrap();
    assert_eq!(broken.count.load(Ordering::Relaxed), 1);
    assert_eq!(good.count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refused_connection_is_named_without_the_password() {
    let error = registry(&["http://user:hunter2@127.0.0.1:1/base/"])
        .register(&subject(), SCHEMA)
        .await
        .unwrap_err();
    assert!(error.is_retry());
    let text = format!("{error} {error:?} {:?}", registry(&["http://user:hunter2@127.0.0.1:1"]));
    assert!(text.contains("http://127.0.0.1:1/base"), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn credentials_are_sent() {
    for (auth, header) in [
        (
            RegistryAuth::Basic { user: "u".to_owned(), password: SecretString::from("p") },
            "Basic dTpw",
        ),
        (RegistryAuth::Bearer(SecretString::from("t")), "Bearer t"),
    ] {
        let server = Server::start(|_| reply(200, r#"{"id":1}"#)).await;
        let settings = RegistrySettings { auth, ..settings(&[&server.url]) };
        Registry::new(&settings).unwrap().register(&subject(), SCHEMA).await.unwrap();
        assert_eq!(server.requests()[0].authorization.as_deref(), Some(header));
    }
}

#[tokio::test]
async fn subjects_are_escaped() {
    let server = Server::start(|_| reply(200, r#"{"id":1}"#)).await;
    let subject = Subject::key_of("a/b c?d#e");
    registry(&[&server.url]).register(&subject, SCHEMA).await.unwrap();
    assert_eq!(server.requests()[0].path, "/subjects/a%2Fb%20c%3Fd%23e-key/versions");
}

#[tokio::test]
async fn schemas_are_fetched_by_id_once() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/schemas/ids/7" => reply(200, r#"{"schema":"\"string\""}"#),
        _ => reply(404, r#"{"error_code":40403,"message":"Schema 8 not found"}"#),
    })
    .await;
    let registry = registry(&[&server.url]);
    for _ in 0..2 {
        assert_eq!(registry.schema_by_id(SchemaId(7)).await.unwrap().as_ref(), "\"string\"");
    }
    assert_eq!(registry.schema_by_id(SchemaId(8)).await, Err(Error::UnknownId(SchemaId(8))));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn bad_settings_are_named() {
    for url in ["registry:8081", "ftp://registry", "http://"] {
        let failure = Registry::new(&settings(&[url])).unwrap_err();
        assert_eq!(failure.class, Class::Stop);
        assert!(failure.message.contains("registry.url"), "{}", failure.message);
    }
    let missing =
        RegistrySettings { ca_file: Some("missing.pem".into()), ..settings(&["https://registry"]) };
    assert!(Registry::new(&missing).unwrap_err().message.contains("registry.ca_file missing.pem"));
}
