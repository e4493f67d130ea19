//! Channel binding `tls-server-end-point` (RFC 5929): a hash of the server's certificate, made
//! with the digest of the certificate's own signature, SHA-256 in place of MD5 and SHA-1.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ContextSpecific, ObjectIdentifier, SequenceRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// The binding data for a server that showed `leaf` (DER); `None` where the RFC defines none
/// (Ed25519 has no separate digest) or the certificate cannot be parsed.
#[must_use]
pub fn server_end_point(leaf: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(leaf).ok()?;
    Some(match signature_digest(certificate.signature_algorithm())? {
        Hash::Sha224 => Sha224::digest(leaf).to_vec(),
        Hash::Sha256 => Sha256::digest(leaf).to_vec(),
        Hash::Sha384 => Sha384::digest(leaf).to_vec(),
        Hash::Sha512 => Sha512::digest(leaf).to_vec(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn signature_digest(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    if algorithm.oid == RSA_PSS {
        return pss_digest(algorithm);
    }
    SIGNATURES.iter().find(|(oid, _)| *oid == algorithm.oid).map(|(_, hash)| *hash)
}

/// RSASSA-PSS names its digest in a parameter that defaults to SHA-1.
fn pss_digest(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let Some(parameters) = &algorithm.parameters else { return Some(Hash::Sha256) };
    let der = parameters.to_der().ok()?;
    let sequence = <&SequenceRef>::from_der(&der).ok()?;
    let mut fields = SliceReader::new(sequence.as_bytes()).ok()?;
    if fields.is_finished() {
        return Some(Hash::Sha256);
    }
    let digest =
        ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(&mut fields, TagNumber(0));
    let Some(digest) = digest.ok()? else { return Some(Hash::Sha256) };
    DIGESTS.iter().find(|(oid, _)| *oid == digest.value.oid).map(|(_, hash)| *hash)
}

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const RSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");

const SIGNATURES: [(ObjectIdentifier, Hash); 13] = [
    (oid("1.2.840.113549.1.1.4"), Hash::Sha256), // md5WithRSAEncryption
    (oid("1.2.840.113549.1.1.5"), Hash::Sha256), // sha1WithRSAEncryption
    (oid("1.2.840.113549.1.1.11"), Hash::Sha256), // sha256WithRSAEncryption
    (oid("1.2.840.113549.1.1.12"), Hash::Sha384), // sha384WithRSAEncryption
    (oid("1.2.840.113549.1.1.13"), Hash::Sha512), // sha512WithRSAEncryption
    (oid("1.2.840.113549.1.1.14"), Hash::Sha224), // sha224WithRSAEncryption
    (oid("1.2.840.10045.4.1"), Hash::Sha256),    // ecdsa-with-SHA1
    (oid("1.2.840.10045.4.3.1"), Hash::Sha224),  // ecdsa-with-SHA224
    (oid("1.2.840.10045.4.3.2"), Hash::Sha256),  // ecdsa-with-SHA256
    (oid("1.2.840.10045.4.3.3"), Hash::Sha384),  // ecdsa-with-SHA384
    (oid("1.2.840.10045.4.3.4"), Hash::Sha512),  // ecdsa-with-SHA512
    (oid("1.2.840.10040.4.3"), Hash::Sha256),    // dsa-with-SHA1
    (oid("2.16.840.1.101.3.4.3.2"), Hash::Sha256), // dsa-with-SHA256
];

const DIGESTS: [(ObjectIdentifier, Hash); 6] = [
    (oid("1.2.840.113549.2.5"), Hash::Sha256),     // md5
    (oid("1.3.14.3.2.26"), Hash::Sha256),          // sha1
    (oid("2.16.840.1.101.3.4.2.4"), Hash::Sha224), // sha224
    (oid("2.16.840.1.101.3.4.2.1"), Hash::Sha256), // sha256
    (oid("2.16.840.1.101.3.4.2.2"), Hash::Sha384), // sha384
    (oid("2.16.840.1.101.3.4.2.3"), Hash::Sha512), // sha512
];
