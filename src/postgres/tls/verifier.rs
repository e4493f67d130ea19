//! The verifier of the server's certificate: libpq's three strengths of it.
//!
//! The chain is webpki's work. One case is added, because it is common with Postgres and libpq
//! takes it: a self-signed server certificate that is itself in the root file. webpki refuses it
//! (`CaUsedAsEndEntity`), although byte equality with a file that the operator named is the
//! strongest check there is; only its validity period remains to be looked at.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::host_name;

#[derive(Debug)]
pub(super) struct ServerVerifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What is asked of the certificate.
#[derive(Debug)]
pub(super) enum Check {
    Nothing,
    Chain(Roots),
    /// The host as the URL writes it.
    ChainAndName(Roots, String),
}

/// What the operator trusts.
#[derive(Debug)]
pub(super) struct Anchors {
    pub(super) store: RootCertStore,
    /// Certificates trusted as they are, too.
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
pub(super) struct Roots {
    anchors: Anchors,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl ServerVerifier {
    pub(super) fn new(check: Check, algorithms: WebPkiSupportedAlgorithms) -> ServerVerifier {
        ServerVerifier { check, algorithms }
    }
}

impl Roots {
    pub(super) fn new(
        anchors: Anchors,
        algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    ) -> Roots {
        Roots { anchors, algorithms }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.anchors.pinned.iter().any(|pinned| pinned.as_ref() == leaf.as_ref()) {
            return validity(&parse(leaf)?, now);
        }
        let verified = verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.anchors.store,
            intermediates,
            now,
            self.algorithms,
        );
        match verified {
            // What is wrong with a self-signed one is not its flags but that nobody vouches for it.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self_issued(leaf) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            verified => verified,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(roots) => roots.verify(leaf, intermediates, now)?,
            Check::ChainAndName(roots, host) => {
                roots.verify(leaf, intermediates, now)?;
                if !host_name::matches(&parse(leaf)?, host) {
                    return Err(CertificateError::NotValidForName.into());
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the bare key, because webpki does not parse X.509 version 1, which old recipes for
        // self-made Postgres certificates produce and the weak modes must take.
        let key = parse(leaf)?
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(der: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding.into())
}

fn self_issued(leaf: &CertificateDer<'_>) -> bool {
    parse(leaf).is_ok_and(|certificate| {
        let certificate = certificate.tbs_certificate();
        certificate.issuer() == certificate.subject()
    })
}

fn validity(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
