//! Does a certificate belong to a host: libpq's rules, which know the common name.
//!
//! Names in `subjectAltName` count; the common name counts only where the certificate has no
//! alternative name of the host's kind (DNS name or IP address). A wildcard stands for exactly one
//! leftmost label.

use std::net::IpAddr;

use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// Whether `certificate` may speak for `host`, as the URL writes it. Unreadable means no.
pub(super) fn matches(certificate: &Certificate, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let Ok(names) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return false;
    };
    let mut same_kind_seen = false;
    for name in names.iter().flat_map(|(_critical, names)| &names.0) {
        let matched = match name {
            GeneralName::DnsName(pattern) => {
                same_kind_seen |= address.is_none();
                name_matches(pattern.as_str(), host)
            }
            GeneralName::IpAddress(octets) => {
                same_kind_seen |= address.is_some();
                address.is_some_and(|address| octets_equal(octets.as_bytes(), address))
            }
            _ => false,
        };
        if matched {
            return true;
        }
    }
    !same_kind_seen && common_name(certificate).is_some_and(|name| name_matches(&name, host))
}

fn octets_equal(octets: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => octets == address.octets(),
        IpAddr::V6(address) => octets == address.octets(),
    }
}

/// Equal without regard to ASCII case, or equal behind a wildcard label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if host.is_empty() || pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(tail), Some((label, rest))) = (pattern.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !tail.is_empty() && !label.is_empty() && tail.eq_ignore_ascii_case(rest)
}

/// The first common name of the subject.
fn common_name(certificate: &Certificate) -> Option<String> {
    let subject = certificate.tbs_certificate().subject();
    let attribute = subject.iter().find(|attribute| attribute.oid == COMMON_NAME)?;
    let der = attribute.value.to_der().ok()?;
    Some(DirectoryString::from_der(&der).ok()?.value().to_string())
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_whole_leftmost_label() {
        assert!(name_matches("db.example.org", "DB.example.ORG"));
        assert!(name_matches("*.example.org", "db.example.org"));
        for (pattern, host) in [
            ("*.example.org", "a.b.example.org"),
            ("*.example.org", "example.org"),
            ("*.example.org", ".example.org"),
            ("d*.example.org", "db.example.org"),
            ("*", "db"),
            ("*.", "db."),
            ("db.example.org", "db.example.com"),
            ("db.example.org\0.evil.org", "db.example.org"),
            ("", ""),
        ] {
            assert!(!name_matches(pattern, host), "{pattern:?} {host:?}");
        }
    }
}
