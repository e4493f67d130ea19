use std::net::TcpStream;

use super::*;
use crate::config::settings::{ChannelBinding as Binding, SslMode as Mode};
use crate::failure::Class;
use crate::postgres::scripted_server::{Peer, ScriptedServer};

const TIMEOUT: Duration = Duration::from_secs(5);

async fn refused(script: impl FnOnce(&mut Peer<TcpStream>) + Send + 'static) -> Error {
    refused_with(script, |_| {}).await
}

async fn refused_with(
    script: impl FnOnce(&mut Peer<TcpStream>) + Send + 'static,
    change: impl FnOnce(&mut PostgresTarget),
) -> Error {
    let server = ScriptedServer::one(script);
    let mut target = server.target(Mode::Disable);
    change(&mut target);
    let error = connect(&target, TIMEOUT, "test").await.err().unwrap();
    server.join();
    assert!(!format!("{error:?} {error}").contains("geheim"));
    error
}

fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::Refused { refusal, .. } => Some(*refusal),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_is_started_with_the_shared_settings() {
    let server = ScriptedServer::one(|peer| {
        let startup = String::from_utf8_lossy(&peer.startup()).into_owned();
        assert!(startup.contains(&connect::session_options()), "{startup}");
        assert!(startup.contains("application_name\0walferry_shop\0"), "{startup}");
        peer.accept();
        peer.wait_for_close();
    });
    let target = server.target(Mode::Disable);
    let mut control = super::connect(&target, TIMEOUT, "walferry_shop").await.unwrap();
    assert_eq!(control.server_major, 16);
    assert!(!control.driver.is_finished());
    drop(control.client);
    control.driver.finished().await;
    server.join();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_is_asked_for() {
    let answers = |value: &'static str| {
        ScriptedServer::one(move |peer| {
            peer.welcome();
            let (tag, query) = peer.message();
            assert_eq!((tag, query.as_slice()), (b'Q', &b"SHOW transaction_read_only\0"[..]));
            peer.send(b'T', b"\0\x01x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
            let value = [b"\0\x01\0\0\0", &[value.len() as u8][..], value.as_bytes()].concat();
            peer.send(b'D', &value);
            peer.send(b'C', b"SHOW\0");
            peer.send(b'Z', b"I");
            peer.wait_for_close();
        })
    };
    for (value, accepted) in [("off", true), ("on", false)] {
        let server = answers(value);
        let mut target = server.target(Mode::Disable);
        target.target_session_attrs = TargetSessionAttrs::ReadWrite;
        let found = connect(&target, TIMEOUT, "test").await.map(|_| ());
        match found {
            Ok(()) => assert!(accepted),
            Err(error) => {
                assert!(!accepted);
                assert!(matches!(error, Error::WrongRole { .. }), "{error:?}");
                assert_eq!(error.class(), Class::Retry);
            }
        }
        server.join();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_login_are_told_apart() {
    let error = refused(|peer| {
        peer.startup();
        peer.error("28P01", "password authentication failed for user \"walferry\"");
    })
    .await;
    assert!(matches!(&error, Error::Server { error, .. } if error.code.as_str() == "28P01"));
    assert_eq!(error.class(), Class::Stop);
    assert!(error.remedy().is_some());

    let error = refused(|peer| {
        peer.startup();
        peer.send(b'R', &[0, 0, 0, 7]);
    })
    .await;
    assert_eq!(refusal(&error), Some(Refusal::Method), "{error:?}");

    let error = refused(|peer| {
        peer.startup();
        peer.send(b'R', b"\0\0\0\x0aPLAIN\0\0");
    })
    .await;
    assert_eq!(refusal(&error), Some(Refusal::Method), "{error:?}");

    let password = |peer: &mut Peer<TcpStream>| {
        peer.startup();
        peer.send(b'R', &[0, 0, 0, 3]);
    };
    let error = refused_with(password, |target| target.password = None).await;
    assert_eq!(refusal(&error), Some(Refusal::PasswordMissing), "{error:?}");
    let require = |target: &mut PostgresTarget| target.channel_binding = Binding::Require;
    let error = refused_with(password, require).await;
    assert_eq!(refusal(&error), Some(Refusal::ChannelBinding), "{error:?}");

    let error = refused(|peer| {
        peer.startup();
    })
    .await;
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_know_the_password_is_not_believed() {
    let error = refused(|peer| {
        peer.startup();
        peer.send(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        let first = String::from_utf8(peer.message().1.split_off(18)).unwrap();
        let nonce = first.rsplit("r=").next().unwrap();
        let challenge = format!("\0\0\0\x0br={nonce}x,s=c2FsdA==,i=4096");
        peer.send(b'R', challenge.as_bytes());
        peer.message();
        peer.send(b'R', b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    })
    .await;
    assert_eq!(refusal(&error), Some(Refusal::ServerSignature), "{error:?}");
    assert_eq!(error.class(), Class::Stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_gigabyte_is_refused_by_its_header() {
    let error = refused(|peer| {
        peer.startup();
        peer.raw(b"S\x7f\xff\xff\xff");
        peer.wait_for_close();
    })
    .await;
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}
