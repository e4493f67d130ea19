use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConnection, ServerConfig, ServerConnection};

use super::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/postgres/testdata").join(name)
}

fn settings(mode: SslMode, root: Option<&str>) -> PostgresTls {
    let root = root.map_or(SslRoot::Unset, |name| SslRoot::File(path(name)));
    PostgresTls { mode, root, client: None }
}

/// A server that shows one certificate, whatever it looks like.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server(
    name: &str,
    key: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("test", &path(&format!("{name}.pem"))).unwrap();
    let key = private_key(&path(&format!("{key}.key"))).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key)))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// A whole handshake in memory; the client's error, if any.
fn handshake(client: Arc<ClientConfig>, server: ServerConfig) -> Result<(), rustls::Error> {
    let name = ServerName::try_from("sni.example.org").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| server.read_tls(bytes));
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(&wire, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
    }
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    Ok(())
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>) {
    while !wire.is_empty() {
        assert!(read(&mut wire).unwrap() > 0);
    }
}

fn outcome(mode: SslMode, root: Option<&str>, host: &str, certificate: &str) -> &'static str {
    let client = client_config(&settings(mode, root), host).unwrap();
    match handshake(client, server(certificate, certificate, &rustls::version::TLS13)) {
        Ok(()) => "ok",
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => "issuer",
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)) => "name",
        Err(rustls::Error::InvalidCertificate(_)) => "certificate",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_six_modes_ask_what_libpq_asks() {
    use SslMode::{Allow, Prefer, Require, VerifyCa, VerifyFull};
    let (root, other, none) = (Some("root.pem"), Some("other-root.pem"), None);
    for (mode, root, host, certificate, expected) in [
        (Allow, none, "x", "san", "ok"),
        (Prefer, none, "x", "self-signed", "ok"),
        (Require, none, "x", "san", "ok"),
        (Require, none, "x", "v1", "ok"),
        (Require, root, "x", "san", "ok"),
        (Require, other, "x", "san", "issuer"),
        (Prefer, other, "x", "san", "issuer"),
        (Allow, other, "x", "san", "issuer"),
        (VerifyCa, root, "x", "san", "ok"),
        (VerifyCa, other, "db.example.org", "san", "issuer"),
        (VerifyCa, root, "x", "v1", "certificate"),
        (VerifyFull, root, "db.example.org", "san", "ok"),
        (VerifyFull, root, "DB.example.org.", "san", "ok"),
        (VerifyFull, root, "a.wild.example.org", "san", "ok"),
        (VerifyFull, root, "a.b.wild.example.org", "san", "name"),
        (VerifyFull, root, "10.1.2.3", "san", "ok"),
        (VerifyFull, root, "10.1.2.4", "san", "name"),
        (VerifyFull, root, "ignored.example.org", "san", "name"),
        (VerifyFull, root, "db.example.org", "cn", "ok"),
        (VerifyFull, root, "other.example.org", "cn", "name"),
        (VerifyFull, other, "db.example.org", "san", "issuer"),
        (VerifyFull, Some("self-signed.pem"), "db.example.org", "self-signed", "ok"),
        (VerifyFull, Some("self-signed.pem"), "x", "self-signed", "name"),
        (VerifyCa, root, "x", "self-signed", "issuer"),
    ] {
        let found = outcome(mode, root, host, certificate);
        assert_eq!(found, expected, "{mode:?} {root:?} {host} {certificate}");
    }
}

#[test]
fn the_peer_must_hold_the_key_even_where_nothing_else_is_asked() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = || client_config(&settings(SslMode::Require, None), "x").unwrap();
        assert_eq!(handshake(client(), server("san", "san", version)), Ok(()));
        let wrong = handshake(client(), server("san", "cn", version));
        assert!(
            matches!(wrong, Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))),
            "{wrong:?}"
        );
    }
}

#[test]
fn validity_is_looked_at_for_pinned_certificates_too() {
    for (root, leaf) in [("self-signed.pem", "self-signed.pem"), ("root.pem", "san.pem")] {
        let provider = aws_lc_rs::default_provider();
        let settings = settings(SslMode::VerifyCa, Some(root));
        let check = server_check(&settings, "x", &provider).unwrap();
        let verifier = ServerVerifier::new(check, provider.signature_verification_algorithms);
        let leaf = certificates("test", &path(leaf)).unwrap().remove(0);
        let at = |seconds| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let name = ServerName::try_from("x").unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], now).map(|_| ())
        };
        assert_eq!(at(4_000_000_000), Ok(()));
        assert!(format!("{:?}", at(1_000_000_000)).contains("NotValidYet"));
        assert!(format!("{:?}", at(9_000_000_000)).contains("Expired"));
    }
}

#[test]
fn settings_that_cannot_be_used_say_what_to_do() {
    let problem = |tls: &PostgresTls| client_config(tls, "x").map(|_| ()).unwrap_err().to_string();
    assert!(problem(&settings(SslMode::VerifyCa, None)).contains("sslrootcert=FILE"));
    let system = |mode| PostgresTls { mode, root: SslRoot::System, client: None };
    assert!(problem(&system(SslMode::Require)).contains("use sslmode=verify-full"));
    assert!(problem(&system(SslMode::VerifyCa)).contains("use sslmode=verify-full"));
    let missing = settings(SslMode::Prefer, Some("missing.pem"));
    assert!(problem(&missing).contains("sslrootcert"));
    let keyed = |certificate, key| PostgresTls {
        client: Some((path(certificate), path(key))),
        ..settings(SslMode::Require, None)
    };
    assert!(client_config(&keyed("san.pem", "san.key"), "x").is_ok());
    assert!(problem(&keyed("san.pem", "cn.key")).contains("sslcert and sslkey"));
    assert!(problem(&keyed("san.pem", "san.pem")).contains("no usable, unencrypted private key"));
    assert!(problem(&keyed("san.key", "san.key")).contains("no certificate"));
}

#[test]
fn channel_binding_takes_the_digest_of_the_signature() {
    // As `openssl x509 -outform der | openssl dgst` prints them.
    for (name, expected) in [
        (
            "san.pem",
            Some(
                "cfe5e0ad8af479915ef3a03068e46d9c648af4b710eb7ce49146ef098a70c09c\
                 67b474e68416e307af25515b11f868f6",
            ),
        ),
        ("cn.pem", Some("fa71ac1ac25fd0ac2281874ea2a1f4ddf6541adbabe4998f7f67157bc7cb0cbe")),
        (
            "self-signed.pem",
            Some(
                "e92f1077f881f477e3589a4c5b46ccb0efd46780f3c02d1f821dcafbd46f5552\
                 b587bc5a64052d1877b6b43fdbb5b11543a800edbeb5de477a268a34f3c5c989",
            ),
        ),
        ("sha1.pem", Some("06793a60682da398da1990627f407147b8aceb0561cc24e5f41907b79d2af009")),
        (
            "pss.pem",
            Some(
                "25e7175993afbd6e9a8ea22c489de0bb00348143e77a718e392360f0847960f5\
                 b667d93f8d64ca45fb850339b5cb9acd",
            ),
        ),
        ("ed.pem", None),
    ] {
        let leaf = certificates("test", &path(name)).unwrap().remove(0);
        let binding = server_end_point(&leaf);
        let hex: Option<String> =
            binding.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        assert_eq!(hex.as_deref(), expected, "{name}");
    }
    assert_eq!(server_end_point(b"\x30\x03nonsense"), None);
}
