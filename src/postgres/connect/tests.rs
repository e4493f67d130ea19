use std::sync::Mutex;

use tokio::io::AsyncReadExt;

use super::*;
use crate::failure::Class;
use crate::postgres::scripted_server::{Peer, Script, ScriptedServer, target};
use crate::postgres::wire::{ServerError, SqlState};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A login whose outcome the server's first byte decides, and which notes what it saw.
#[derive(Default)]
struct Probe {
    seen: Mutex<Vec<(Secrecy, bool, TargetSessionAttrs)>>,
}

impl Login for Probe {
    type Session = ();

    async fn login(
        &self,
        mut transport: Transport,
        endpoint: &Endpoint,
        wanted: TargetSessionAttrs,
    ) -> Result<(), Error> {
        let encrypted = matches!(transport.channel, Channel::Tls(_));
        self.seen.lock().unwrap().push((transport.secrecy, encrypted, wanted));
        let code = match transport.channel.read_u8().await {
            Ok(b'+') => return Ok(()),
            Ok(b'h') => "28000",
            Ok(b's') => "57P03",
            Ok(b'd') => "3D000",
            Ok(_) => return Err(Error::WrongRole { endpoint: endpoint.clone(), wanted }),
            Err(source) => return Err(Error::login(endpoint, source)),
        };
        let error = ServerError::new(SqlState::new(code).unwrap(), "no", None);
        Err(Error::Server { endpoint: endpoint.clone(), error })
    }
}

fn plain(answer: &'static [u8]) -> Script {
    Box::new(move |peer| peer.raw(answer))
}

fn no_tls(answer: &'static [u8]) -> Script {
    Box::new(move |peer: &mut Peer<_>| {
        assert_eq!(peer.startup(), SSL_CODE);
        peer.raw(b"N");
        peer.raw(answer);
    })
}

fn broken_tls() -> Script {
    Box::new(|peer| {
        assert_eq!(peer.startup(), SSL_CODE);
        peer.raw(b"S");
    })
}

const SSL_CODE: [u8; 4] = [0x04, 0xd2, 0x16, 0x2f];

/// Runs one search; the error's text, and how many logins were tried.
async fn search(mode: SslMode, scripts: Vec<Script>) -> (Result<(), Error>, usize) {
    let server = ScriptedServer::start(scripts);
    let probe = Probe::default();
    let found = establish(&server.target(mode), TIMEOUT, &probe).await.map(|_| ());
    server.join();
    let tried = probe.seen.lock().unwrap().len();
    (found, tried)
}

#[tokio::test]
async fn the_modes_fall_back_as_libpq_does() {
    use SslMode::{Allow, Disable, Prefer, Require};
    assert!(search(Disable, vec![plain(b"+")]).await.0.is_ok());
    assert!(search(Prefer, vec![no_tls(b"+")]).await.0.is_ok());
    // A broken handshake: on a new connection without TLS.
    assert!(search(Prefer, vec![broken_tls(), plain(b"+")]).await.0.is_ok());
    // An error in place of an answer, as of a server that cannot fork.
    assert!(search(Prefer, vec![plain(b"E"), plain(b"+")]).await.0.is_ok());
    // pg_hba.conf has no entry for the first kind.
    assert!(search(Prefer, vec![no_tls(b"h"), plain(b"+")]).await.0.is_ok());
    let (found, tried) = search(Allow, vec![plain(b"h"), no_tls(b"")]).await;
    assert!(matches!(found, Err(Error::Server { .. })), "{found:?}");
    assert_eq!(tried, 1);
    // Other errors are not about encryption.
    let (found, tried) = search(Prefer, vec![no_tls(b"d")]).await;
    assert!(matches!(found, Err(Error::Server { .. })), "{found:?}");
    assert_eq!(tried, 1);
    let (found, _) = search(Require, vec![no_tls(b"")]).await;
    let error = found.unwrap_err();
    assert!(matches!(error, Error::TlsNotOffered { mode: "require", .. }), "{error:?}");
    assert_eq!(error.class(), Class::Stop);
    let (found, _) = search(Require, vec![broken_tls()]).await;
    let error = found.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Retry);
    let (found, _) = search(Require, vec![plain(b"HTTP/1.1 400")]).await;
    let error = found.unwrap_err();
    assert!(matches!(error, Error::NotPostgres { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Stop);
}

#[tokio::test]
async fn hosts_are_tried_in_turn_until_one_settles_it() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = PostgresHost::Tcp {
        host: "127.0.0.1".to_owned(),
        port: closed.local_addr().unwrap().port(),
    };
    drop(closed);
    let probe = Probe::default();
    // Not reached, starting up, reached.
    let server = ScriptedServer::start(vec![plain(b"s"), plain(b"+")]);
    let hosts = vec![nobody.clone(), server.host(), server.host()];
    let found = establish(&target(hosts, SslMode::Disable), TIMEOUT, &probe).await;
    assert_eq!(*found.unwrap().1.host(), server.host());
    server.join();
    // An unknown database would be as unknown on the next host.
    let server = ScriptedServer::start(vec![plain(b"d")]);
    let hosts = vec![server.host(), server.host()];
    let found = establish(&target(hosts, SslMode::Disable), TIMEOUT, &probe).await;
    assert_eq!(found.unwrap_err().class(), Class::Stop);
    server.join();
    // All of them, by name, in one message; retried as long as one may come back.
    let server = ScriptedServer::start(vec![plain(b"s")]);
    let hosts = vec![nobody, server.host()];
    let error = establish(&target(hosts, SslMode::Disable), TIMEOUT, &probe).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    let text = error.to_string();
    assert!(text.contains("cannot connect") && text.contains("57P03"), "{text}");
    server.join();
}

#[tokio::test]
async fn prefer_standby_makes_a_second_pass() {
    let server = ScriptedServer::start(vec![plain(b"r"), plain(b"+")]);
    let probe = Probe::default();
    let mut target = server.target(SslMode::Disable);
    target.target_session_attrs = TargetSessionAttrs::PreferStandby;
    establish(&target, TIMEOUT, &probe).await.unwrap();
    server.join();
    let wanted: Vec<_> = probe.seen.lock().unwrap().iter().map(|seen| seen.2).collect();
    assert_eq!(wanted, [TargetSessionAttrs::Standby, TargetSessionAttrs::Any]);
}

#[tokio::test]
async fn silence_ends_with_the_time_limit() {
    let server = ScriptedServer::one(Peer::wait_for_close);
    let target = server.target(SslMode::Disable);
    let found = establish(&target, Duration::from_millis(50), &Probe::default()).await;
    let error = found.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Retry);
    server.join();
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_retried() {
    let host = PostgresHost::Tcp { host: "db.invalid".to_owned(), port: 5432 };
    let found = establish(&target(vec![host], SslMode::Disable), TIMEOUT, &Probe::default()).await;
    let error = found.unwrap_err();
    assert!(error.to_string().contains("db.invalid:5432 cannot be resolved"), "{error}");
    assert_eq!(error.class(), Class::Retry);
}

#[tokio::test]
async fn unix_sockets_never_ask_for_tls() {
    let directory = tempfile_directory();
    let listener = std::os::unix::net::UnixListener::bind(directory.join(".s.PGSQL.5433")).unwrap();
    let thread = std::thread::spawn(move || {
        use std::io::Write;
        listener.accept().unwrap().0.write_all(b"+").unwrap();
    });
    let host = PostgresHost::Unix { directory: directory.clone(), port: 5433 };
    let probe = Probe::default();
    establish(&target(vec![host], SslMode::Require), TIMEOUT, &probe).await.unwrap();
    thread.join().unwrap();
    assert_eq!(*probe.seen.lock().unwrap(), [(Secrecy::Private, false, TargetSessionAttrs::Any)]);
    std::fs::remove_dir_all(directory).unwrap();
}

fn tempfile_directory() -> std::path::PathBuf {
    let name = format!("walferry-connect-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn server_errors_are_classed_by_their_code() {
    for (code, class) in [
        ("28P01", Class::Stop),
        ("28000", Class::Stop),
        ("3D000", Class::Stop),
        ("42501", Class::Stop),
        ("58P01", Class::Stop),
        ("53400", Class::Stop),
        ("53300", Class::Retry),
        ("57P01", Class::Retry),
        ("57P03", Class::Retry),
        ("58030", Class::Retry),
        ("XX000", Class::Retry),
    ] {
        assert_eq!(sqlstate_class(SqlState::new(code).unwrap()), class, "{code}");
    }
}
