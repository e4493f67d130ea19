use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::authenticate::Authenticator;
use super::*;
use crate::config::settings::{ChannelBinding, PostgresTarget, SslMode};
use crate::failure::Class;
use crate::postgres::connect::{self, Endpoint, Refusal, Secrecy};
use crate::postgres::scripted_server::{Peer, ScriptedServer, frame};
use crate::postgres::wire::{self, Authentication, Event};
use crate::postgres::{Lsn, PgTime, SystemId, Timeline};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX: usize = 1 << 22;

async fn client(server: &ScriptedServer, target: &PostgresTarget) -> Result<Client, Error> {
    let endpoint = Endpoint::new(server.host(), Some(server.address));
    Client::connect(target, &endpoint, TIMEOUT, "walferry_shop").await
}

async fn login_error(script: impl FnOnce(&mut Peer<TcpStream>) + Send + 'static) -> connect::Error {
    let server = ScriptedServer::one(script);
    let error = client(&server, &server.target(SslMode::Disable)).await.err().unwrap();
    server.join();
    match error {
        Error::Connect(error) => error,
        other => panic!("{other:?}"),
    }
}

fn request(slot: &str) -> StartReplication<'_> {
    StartReplication {
        slot,
        start: Lsn(0x10),
        proto_version: 1,
        publications: &["walferry_shop"],
        messages: true,
        max_message_bytes: MAX,
    }
}

/// Lets the client in and starts the stream.
fn stream_to<S: std::io::Read + std::io::Write>(peer: &mut Peer<S>) {
    peer.welcome();
    let (tag, query) = peer.message();
    let query = String::from_utf8(query).unwrap();
    assert!(
        tag == b'Q' && query.starts_with("START_REPLICATION SLOT \"s\" LOGICAL 0/10 ("),
        "{query}"
    );
    peer.send(b'W', &[0, 0, 0]);
}

fn data(start: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![b'w'];
    body.extend_from_slice(&start.to_be_bytes());
    body.extend_from_slice(&start.to_be_bytes());
    body.extend_from_slice(&0i64.to_be_bytes());
    body.extend_from_slice(payload);
    frame(b'd', &body)
}

/// Sleeps in `poll(2)` as the pump does, unless bytes wait inside.
fn wait(stream: &Stream) {
    if stream.has_buffered() {
        return;
    }
    let flags = if stream.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut fds = [PollFd::from_borrowed_fd(stream.fd(), flags)];
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert!(poll(&mut fds, Some(&limit)).unwrap() > 0, "slept on data");
}

/// All events up to the end of the connection, as (kind, position, payload length, checksum).
fn drain(stream: &mut Stream) -> Vec<(String, u64, usize, u64)> {
    let mut seen = Vec::new();
    loop {
        while let Some(event) = stream.next().unwrap() {
            seen.push(match event {
                Event::XLogData { start, payload, .. } => {
                    let sum = payload.iter().map(|&byte| u64::from(byte)).sum();
                    ("data".to_owned(), start.0, payload.len(), sum)
                }
                Event::Keepalive { wal_end, .. } => ("keepalive".to_owned(), wal_end.0, 0, 0),
                other => (format!("{other:?}"), 0, 0, 0),
            });
        }
        match stream.fill().unwrap() {
            Fill::Closed => return seen,
            Fill::WouldBlock => wait(stream),
            Fill::Read(_) => {}
            Fill::Full => panic!("full although everything was taken"),
        }
    }
}

#[tokio::test]
async fn the_login_sends_the_session_settings() {
    let server = ScriptedServer::one(|peer| {
        let startup = String::from_utf8_lossy(&peer.startup()).into_owned();
        for part in [
            connect::session_options().as_str(),
            "replication\0database\0",
            "application_name\0walferry_shop\0",
            "database\0shop\0",
        ] {
            assert!(startup.contains(part), "{part} in {startup}");
        }
        peer.accept();
        peer.wait_for_close();
    });
    let client = client(&server, &server.target(SslMode::Disable)).await.unwrap();
    assert_eq!(client.server_major(), 16);
    client.close().await;
    server.join();
}

#[tokio::test]
async fn a_session_with_other_settings_is_refused() {
    let error = login_error(|peer| {
        peer.startup();
        peer.send(b'R', &[0, 0, 0, 0]);
        peer.send(b'S', b"DateStyle\0German, DMY\0");
        peer.send(b'Z', b"I");
    })
    .await;
    assert!(matches!(error, connect::Error::SettingLost { name: "DateStyle", .. }), "{error:?}");
    assert_eq!(error.class(), Class::Stop);
}

#[tokio::test]
async fn hostile_logins_are_told_apart() {
    let wire_error = |error: connect::Error| match error {
        connect::Error::Protocol { source, .. } => source,
        other => panic!("{other:?}"),
    };
    let answer = |bytes: &'static [u8]| {
        login_error(move |peer| {
            peer.startup();
            peer.raw(bytes);
            peer.wait_for_close();
        })
    };
    let error = wire_error(answer(b"R\0\0\0\x03").await);
    assert!(matches!(error, wire::Error::Length { length: 3, .. }), "{error:?}");
    let error = wire_error(answer(b"R\x7f\xff\xff\xff").await);
    assert!(matches!(error, wire::Error::TooLarge { .. }), "{error:?}");
    let error = wire_error(answer(b"HTTP/1.1 400 Bad Request").await);
    assert!(matches!(error, wire::Error::UnknownTag(_)), "{error:?}");
    let error = wire_error(answer(b"R\0\0\0\x05\0").await);
    assert!(matches!(error, wire::Error::Malformed { .. }), "{error:?}");
    let error = wire_error(answer(b"Z\0\0\0\x05I").await);
    assert!(matches!(error, wire::Error::Unexpected { .. }), "{error:?}");
    let error = answer(b"R\0\0\0\x08\0\0\0\x63").await;
    let method =
        connect::Error::Refused { refusal: Refusal::Method, endpoint: endpoint_of(&error) };
    assert_eq!(error.to_string(), method.to_string());
    let error = login_error(|peer| {
        peer.startup();
        peer.error("28P01", "password authentication failed");
    })
    .await;
    assert_eq!(error.class(), Class::Stop);
    assert!(error.to_string().contains("SQLSTATE 28P01"), "{error}");
    // An endless message below the limit: bytes without end are bounded by the next header.
    let error = login_error(|peer| {
        peer.startup();
        peer.raw(b"N\0\x0f\xff\xff");
        for _ in 0..40 {
            peer.raw(&[b'x'; 64 * 1024]);
        }
    })
    .await;
    let error = wire_error(error);
    assert!(matches!(error, wire::Error::UnknownTag(_)), "{error:?}");
}

fn endpoint_of(error: &connect::Error) -> Endpoint {
    match error {
        connect::Error::Refused { endpoint, .. } => endpoint.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn passwords_are_sent_only_where_nobody_reads_them() {
    let target = crate::postgres::scripted_server::target(vec![], SslMode::Prefer);
    let ask = |secrecy, request| {
        let mut out = BytesMut::new();
        let mut login = Authenticator::new(&target, None, secrecy);
        login.answer(request, &mut out).map(|_| out)
    };
    let cleartext = Authentication::CleartextPassword;
    assert_eq!(ask(Secrecy::Readable, cleartext), Err(Refusal::Cleartext));
    assert_eq!(ask(Secrecy::Private, cleartext).unwrap(), &b"p\0\0\0\x0bgeheim\0"[..]);
    let md5 = ask(Secrecy::Readable, Authentication::Md5Password { salt: [1, 2, 3, 4] }).unwrap();
    assert!(md5.starts_with(b"p\0\0\0\x28md5") && !md5.ends_with(b"geheim\0"));
}

#[test]
fn scram_is_bound_to_the_channel_where_it_can_be() {
    let both = Authentication::Sasl { mechanisms: b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0" };
    let unbound = Authentication::Sasl { mechanisms: b"SCRAM-SHA-256\0\0" };
    let first = |binding, end_point: Option<&[u8]>, request| {
        let mut target = crate::postgres::scripted_server::target(vec![], SslMode::Prefer);
        target.channel_binding = binding;
        let end_point = end_point.map(<[u8]>::to_vec);
        let mut login = Authenticator::new(&target, end_point, Secrecy::Private);
        let mut out = BytesMut::new();
        login.answer(request, &mut out)?;
        let text = String::from_utf8_lossy(&out).into_owned();
        Ok(text.split(",,").next().unwrap().replace(|c: char| c < ' ', "|"))
    };
    use ChannelBinding::{Disable, Prefer, Require};
    let hash = Some(&b"hash"[..]);
    let plus =
        |text: &str| text.contains("SCRAM-SHA-256-PLUS") && text.contains("p=tls-server-end");
    assert!(plus(&first(Prefer, hash, both).unwrap()));
    assert!(plus(&first(Require, hash, both).unwrap()));
    // Could, was not offered.
    assert!(first(Prefer, hash, unbound).unwrap().ends_with('y'));
    assert_eq!(first(Require, hash, unbound), Err(Refusal::ChannelBinding));
    // Could not, or may not.
    assert!(first(Prefer, None, both).unwrap().ends_with('n'));
    assert_eq!(first(Require, None, both), Err(Refusal::ChannelBinding));
    assert!(first(Disable, hash, both).unwrap().ends_with('n'));
    // And nothing weaker with `require`.
    for weaker in [
        Authentication::Ok,
        Authentication::CleartextPassword,
        Authentication::Md5Password { salt: [0; 4] },
    ] {
        assert_eq!(first(Require, hash, weaker), Err(Refusal::ChannelBinding));
    }
}

#[test]
fn a_server_cannot_cut_scram_short() {
    let target = crate::postgres::scripted_server::target(vec![], SslMode::Prefer);
    let mut out = BytesMut::new();
    let start = || {
        let mut out = BytesMut::new();
        let mut login = Authenticator::new(&target, None, Secrecy::Private);
        let sasl = Authentication::Sasl { mechanisms: b"SCRAM-SHA-256\0\0" };
        assert_eq!(login.answer(sasl, &mut out), Ok(false));
        let nonce = String::from_utf8_lossy(&out).rsplit("r=").next().unwrap().to_owned();
        (login, format!("r={nonce}x,s=c2FsdA==,i=4096"))
    };
    let (mut login, _) = start();
    assert_eq!(login.answer(Authentication::Ok, &mut out), Err(Refusal::Incomplete));
    let (mut login, challenge) = start();
    let challenge = Authentication::SaslContinue(challenge.as_bytes());
    assert_eq!(login.answer(challenge, &mut out), Ok(false));
    assert_eq!(login.answer(Authentication::Ok, &mut out), Err(Refusal::Incomplete));
    let (mut login, challenge) = start();
    let challenge = Authentication::SaslContinue(challenge.as_bytes());
    assert_eq!(login.answer(challenge, &mut out), Ok(false));
    let wrong = Authentication::SaslFinal(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(login.answer(wrong, &mut out), Err(Refusal::ServerSignature));
    let (mut login, _) = start();
    let foreign = Authentication::SaslContinue(b"r=other,s=c2FsdA==,i=4096");
    assert_eq!(login.answer(foreign, &mut out), Err(Refusal::Scram));
    let (mut login, challenge) = start();
    let costly = challenge.replace("i=4096", "i=2000000000");
    let costly = Authentication::SaslContinue(costly.as_bytes());
    assert_eq!(login.answer(costly, &mut out), Err(Refusal::Scram));
}

#[tokio::test]
async fn commands_are_answered() {
    let server = ScriptedServer::one(|peer| {
        peer.welcome();
        let row = |peer: &mut Peer<TcpStream>, columns: &[Option<&str>]| {
            let mut body = vec![0, columns.len() as u8];
            for column in columns {
                let length = column.map_or(u32::MAX, |text| text.len() as u32);
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(column.unwrap_or("").as_bytes());
            }
            peer.send(b'T', b"\0\0");
            peer.send(b'N', b"C00000\0Mjust so\0\0");
            peer.send(b'D', &body);
            peer.send(b'C', b"X\0");
            peer.send(b'Z', b"I");
        };
        assert_eq!(peer.message().1, b"IDENTIFY_SYSTEM\0");
        row(peer, &[Some("7300000000000000001"), Some("2"), Some("16/B374D848"), Some("shop")]);
        assert_eq!(peer.message().1, b"TIMELINE_HISTORY 2\0");
        row(peer, &[Some("00000002.history"), Some("1\t0/3000148\tno reason\n")]);
        let (_, query) = peer.message();
        assert!(query.starts_with(b"CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput"));
        peer.send(b'E', b"SERROR\0C53400\0Mall replication slots are in use\0\0");
        peer.send(b'Z', b"I");
        peer.message();
        row(peer, &[Some("s"), Some("0/99"), Some("00000003-1"), Some("pgoutput")]);
        peer.message();
        peer.send(b'E', b"SERROR\0C55006\0Mreplication slot \"s\" is active for PID 42\0\0");
        peer.send(b'Z', b"I");
    });
    let mut client = client(&server, &server.target(SslMode::Disable)).await.unwrap();
    let system = client.identify_system().await.unwrap();
    assert_eq!(system.system_id, SystemId(7_300_000_000_000_000_001));
    assert_eq!((system.timeline, system.flushed), (Timeline(2), Lsn(0x16_B374_D848)));
    assert_eq!(system.database.as_deref(), Some("shop"));
    let history = client.timeline_history(Timeline(2)).await.unwrap();
    assert_eq!(history, [TimelineSwitch { timeline: Timeline(1), switch: Lsn(0x300_0148) }]);
    assert_eq!(client.timeline_history(Timeline(1)).await.unwrap(), []);
    let error = client.create_slot_exporting("s", false).await.unwrap_err();
    assert_eq!(error.server_error().map(|e| e.code.to_string()).as_deref(), Some("53400"));
    assert_eq!(error.class(), Class::Stop);
    let slot = client.create_slot_exporting("s", false).await.unwrap();
    assert_eq!((slot.at, slot.snapshot.as_str()), (Lsn(0x99), "00000003-1"));
    let error = client.start_replication(&request("s")).await.err().unwrap();
    assert!(
        matches!(&error, Error::SlotActive { pid: Some(42), slot } if slot == "s"),
        "{error:?}"
    );
    assert_eq!(error.class(), Class::Retry);
    server.join();
}

#[tokio::test]
async fn a_stream_is_read_peeked_answered_and_ended() {
    let server = ScriptedServer::one(|peer| {
        peer.welcome();
        peer.message();
        // The first data comes in one packet with the start.
        let packet = [frame(b'W', &[0, 0, 0]), data(0x20, b"B"), frame(b'S', b"a\0b\0")].concat();
        peer.raw(&[packet, data(0x30, b"C")].concat());
        let (tag, status) = peer.message();
        assert_eq!((tag, status[0], status.len()), (b'd', b'r', 34));
        assert_eq!(status[9..17], 0x20u64.to_be_bytes());
        assert_eq!(peer.message().0, b'c');
        peer.raw(&data(0x40, b"late"));
        peer.send(b'c', b"");
        peer.send(b'C', b"COPY 0\0");
        peer.send(b'Z', b"I");
        assert_eq!(peer.message().0, b'X');
    });
    let client = client(&server, &server.target(SslMode::Disable)).await.unwrap();
    let mut stream = client.start_replication(&request("s")).await.unwrap();
    while stream.peek().unwrap().is_none() {
        wait(&stream);
        stream.fill().unwrap();
    }
    let is_data = |event: &Option<Event<'_>>, lsn| matches!(event, Some(Event::XLogData { start, .. }) if *start == Lsn(lsn));
    assert!(is_data(&stream.peek().unwrap(), 0x20));
    assert!(is_data(&stream.peek().unwrap(), 0x20));
    stream.consume().unwrap();
    while stream.peek().unwrap().is_none() {
        wait(&stream);
        stream.fill().unwrap();
    }
    assert!(is_data(&stream.next().unwrap(), 0x30));
    stream.consume().unwrap();
    assert_eq!(stream.next().unwrap(), None);
    let lsn = Lsn(0x20);
    let status = Status { written: lsn, flushed: lsn, applied: lsn, now: PgTime(0), reply: false };
    stream.queue_status(status);
    assert!(stream.wants_write());
    stream.queue_copy_done();
    assert!(stream.flush().unwrap() && !stream.wants_write());
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("ReadyForQuery") {
        match stream.next().unwrap() {
            Some(event) => kinds.push(format!("{event:?}").split(' ').next().unwrap().to_owned()),
            None => {
                wait(&stream);
                stream.fill().unwrap();
            }
        }
    }
    assert_eq!(kinds, ["XLogData", "CopyDone", "CommandComplete", "ReadyForQuery"]);
    stream.queue_terminate();
    assert!(stream.flush().unwrap());
    server.join();
}

#[tokio::test]
async fn a_full_buffer_stops_reading_and_a_full_socket_stops_writing() {
    let server = ScriptedServer::one(|peer| {
        stream_to(peer);
        for lsn in 0..400u64 {
            peer.raw(&data(lsn, &[1; 4096]));
        }
        peer.error("57P01", "terminating connection due to administrator command");
    });
    let client = client(&server, &server.target(SslMode::Disable)).await.unwrap();
    let mut stream = client.start_replication(&request("s")).await.unwrap();
    while stream.fill().unwrap() != Fill::Full {
        wait(&stream);
    }
    let events = drain(&mut stream);
    assert_eq!(events.len(), 401);
    for (lsn, event) in events.iter().take(400).enumerate() {
        assert_eq!((event.1, event.2, event.3), (lsn as u64, 4096, 4096));
    }
    assert!(events[400].0.contains("57P01"), "{:?}", events[400]);
    server.join();
}

#[tokio::test]
async fn hostile_streams_are_errors() {
    for (bytes, expected) in [
        (&b"d\0\0\0\x03"[..], "impossible length"),
        (b"d\x7f\0\0\0", "at most 4194304 are taken"),
        (b"?\0\0\0\x04", "unknown tag"),
        (b"d\0\0\0\x05q", "unknown kind"),
        (b"T\0\0\0\x06\0\0", "where replication data was due"),
        (b"d\0\0\0\x08kxyz", "ends too early"),
    ] {
        let server = ScriptedServer::one(move |peer| {
            stream_to(peer);
            peer.raw(bytes);
        });
        let client = client(&server, &server.target(SslMode::Disable)).await.unwrap();
        let mut stream = client.start_replication(&request("s")).await.unwrap();
        let error = loop {
            match stream.next() {
                Ok(Some(event)) => panic!("{event:?}"),
                Ok(None) => {
                    wait(&stream);
                    assert_ne!(stream.fill().unwrap(), Fill::Closed, "no error for {expected}");
                }
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains(expected), "{error}");
        server.join();
    }
}

mod over_tls {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::config::settings::SslRoot;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/postgres/testdata").join(name)
    }

    fn encrypt(peer: &mut Peer<TcpStream>) -> Peer<StreamOwned<ServerConnection, TcpStream>> {
        assert_eq!(peer.startup(), [0x04, 0xd2, 0x16, 0x2f]);
        peer.raw(b"S");
        let certificate = CertificateDer::from_pem_file(path("san.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(path("san.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        Peer(StreamOwned::new(session, peer.0.try_clone().unwrap()))
    }

    #[tokio::test]
    async fn a_stream_is_read_and_answered() {
        let server = ScriptedServer::one(|peer| {
            let mut peer = encrypt(peer);
            stream_to(&mut peer);
            // Many small messages in few records, then one over many records.
            let small: Vec<u8> = (0..20_000u64).flat_map(|lsn| data(lsn, &[2; 40])).collect();
            peer.raw(&small);
            peer.raw(&data(1, &vec![3; 3_000_000]));
            let (tag, status) = peer.message();
            assert_eq!((tag, status[0]), (b'd', b'r'));
            assert_eq!(peer.message().0, b'c');
            peer.send(b'c', b"");
            peer.0.conn.send_close_notify();
            peer.0.conn.complete_io(&mut peer.0.sock).unwrap();
        });
        let mut target = server.target(SslMode::VerifyCa);
        target.tls.root = SslRoot::File(path("root.pem"));
        let client = client(&server, &target).await.unwrap();
        let mut stream = client.start_replication(&request("s")).await.unwrap();
        let status = Status {
            written: Lsn(1),
            flushed: Lsn(1),
            applied: Lsn(1),
            now: PgTime(0),
            reply: true,
        };
        stream.queue_status(status);
        stream.queue_copy_done();
        while !stream.flush().unwrap() {
            wait(&stream);
        }
        let events = drain(&mut stream);
        assert_eq!(events.len(), 20_002);
        for (lsn, event) in events.iter().take(20_000).enumerate() {
            assert_eq!((event.1, event.2, event.3), (lsn as u64, 40, 80));
        }
        assert_eq!((events[20_000].2, events[20_000].3), (3_000_000, 9_000_000));
        assert_eq!(events[20_001].0, "CopyDone");
        assert_eq!(stream.fill().unwrap(), Fill::Closed);
        server.join();
    }
}
