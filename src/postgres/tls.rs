//! TLS to Postgres with libpq's meaning of `sslmode`, on rustls with aws-lc.
//!
//! | `sslmode` | server certificate |
//! |---|---|
//! | `disable` | no TLS |
//! | `allow`, `prefer`, `require` | the chain, if `sslrootcert` names a file; else anything |
//! | `verify-ca` | the chain |
//! | `verify-full` | the chain and the host name |
//!
//! Which of them try without TLS, and when, is the business of [`connect`](super::connect). Two
//! deliberate differences from libpq, both on the safe side: a root file that is named but cannot
//! be read is an error in every mode (libpq goes on unverified in the weak ones), and nothing is
//! taken from the home directory.
//!
//! The handshake signature is checked in every mode, so that a channel binding always names a
//! certificate whose key the peer holds.

mod binding;
mod host_name;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

pub use binding::server_end_point;
use verifier::{Check, Roots, ServerVerifier};

use crate::config::settings::{PostgresTls, SslMode, SslRoot};

/// A TLS setting that cannot be used; an operator must change it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "sslmode={mode} needs a root certificate: add sslrootcert=FILE to the URL, or \
         sslrootcert=system with sslmode=verify-full"
    )]
    RootMissing { mode: &'static str },
    #[error(
        "sslmode={mode} is too weak for sslrootcert=system, where anybody can get a \
         certificate: use sslmode=verify-full"
    )]
    SystemRootNeedsFull { mode: &'static str },
    #[error("the system has no usable root certificates for sslrootcert=system: install them")]
    SystemRootEmpty,
    #[error("{setting} {path:?} cannot be read as PEM: {problem}")]
    File { setting: &'static str, path: PathBuf, problem: String },
    #[error("sslcert and sslkey cannot be used together: {0}")]
    ClientCertificate(rustls::Error),
    #[error("no TLS protocol version is available: {0}")]
    Provider(rustls::Error),
}

/// The configuration of one handshake with `host` (as the URL writes it; used by `verify-full`).
///
/// Reads the certificate files anew, so that rotated ones are taken at the next connection.
pub fn client_config(tls: &PostgresTls, host: &str) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let check = server_check(tls, host, &provider)?;
    let verifier = ServerVerifier::new(check, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("sslcert", certificate)?, private_key(key)?)
            .map_err(Error::ClientCertificate)?,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Connections live for days; a resumed one would come without the certificate to bind to.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What is asked of the server's certificate: the table in the module's description.
fn server_check(tls: &PostgresTls, host: &str, provider: &CryptoProvider) -> Result<Check, Error> {
    let mode = mode_name(tls.mode);
    let verifying = matches!(tls.mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let roots = match &tls.root {
        SslRoot::Unset if verifying => return Err(Error::RootMissing { mode }),
        SslRoot::Unset => return Ok(Check::Nothing),
        SslRoot::System if tls.mode != SslMode::VerifyFull => {
            return Err(Error::SystemRootNeedsFull { mode });
        }
        SslRoot::System => system_roots()?,
        SslRoot::File(path) => file_roots(path)?,
    };
    let roots = Roots::new(roots, provider.signature_verification_algorithms.all);
    Ok(match tls.mode {
        SslMode::VerifyFull => Check::ChainAndName(roots, host.to_owned()),
        _ => Check::Chain(roots),
    })
}

fn file_roots(path: &Path) -> Result<verifier::Anchors, Error> {
    let pinned = certificates("sslrootcert", path)?;
    let mut store = RootCertStore::empty();
    for certificate in &pinned {
        store.add(certificate.clone()).map_err(|error| Error::File {
            setting: "sslrootcert",
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
    }
    Ok(verifier::Anchors { store, pinned })
}

fn system_roots() -> Result<verifier::Anchors, Error> {
    let mut store = RootCertStore::empty();
    let (usable, _) =
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        return Err(Error::SystemRootEmpty);
    }
    Ok(verifier::Anchors { store, pinned: Vec::new() })
}

/// All certificates of a PEM file, at least one.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |problem: String| Error::File { setting, path: path.to_owned(), problem };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() {
        return Err(unreadable("it holds no certificate".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| Error::File {
        setting: "sslkey",
        path: path.to_owned(),
        problem: match error {
            // The parser's own words can quote a line of the file.
            rustls::pki_types::pem::Error::Io(error) => error.to_string(),
            _ => "it holds no usable, unencrypted private key".to_owned(),
        },
    })
}

/// The mode as the URL writes it.
pub(super) fn mode_name(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Allow => "allow",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

/// Registered for Postgres with IANA; servers from 17 on check it, older ones ignore it.
const ALPN: &[u8] = b"postgresql";

#[cfg(test)]
mod tests;
