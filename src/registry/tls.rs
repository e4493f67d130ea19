//! TLS towards the registry: rustls with one named crypto provider, so that a second one in the
//! dependency graph cannot make it panic.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::config::settings::RegistrySettings;
use crate::failure::Failure;

/// Trusts the given CA file, else the system's roots; nobody when no URL needs TLS.
pub(super) fn client_config(settings: &RegistrySettings) -> Result<ClientConfig, Failure> {
    let needed = settings.urls.iter().any(|url| url.starts_with("https:"));
    let roots = match &settings.ca_file {
        _ if !needed => RootCertStore::empty(),
        Some(file) => roots_of_file(file)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::stop("registry", "TLS cannot be set up").source(error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, Failure> {
    let unusable = |what: &str| {
        Failure::stop("registry", format!("registry.ca_file {}: {what}", file.display()))
            .remedy("name a file with the CA's certificates in PEM")
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| unusable("cannot be read").source(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| unusable("is not PEM").source(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable("holds a bad certificate").source(error))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate"));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    // Single certificates that do not parse are common in system stores and no reason to stop.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Failure::stop("registry", "the system has no root certificates")
            .remedy("install ca-certificates, or set registry.ca_file"));
    }
    Ok(roots)
}
