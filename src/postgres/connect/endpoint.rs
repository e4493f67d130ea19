//! One concrete place to connect to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::config::settings::PostgresHost;

/// A host of the URL with the address that it was resolved to. Cheap to clone: every error names
/// one.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Place>);

#[derive(PartialEq, Eq)]
struct Place {
    host: PostgresHost,
    address: Option<SocketAddr>,
}

impl Endpoint {
    /// `address` is `None` for a Unix socket.
    #[must_use]
    pub fn new(host: PostgresHost, address: Option<SocketAddr>) -> Endpoint {
        Endpoint(Arc::new(Place { host, address }))
    }

    /// The host as the URL writes it.
    #[must_use]
    pub fn host(&self) -> &PostgresHost {
        &self.0.host
    }

    /// The address that the name had; `None` for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// The host name that certificates are checked against; empty for a Unix socket.
    pub(super) fn host_name(&self) -> &str {
        match self.host() {
            PostgresHost::Tcp { host, .. } => host,
            PostgresHost::Unix { .. } => "",
        }
    }

    /// The file of the Unix socket.
    pub(super) fn socket_path(&self) -> Option<PathBuf> {
        match self.host() {
            PostgresHost::Tcp { .. } => None,
            PostgresHost::Unix { directory, port } => Some(socket_file(directory, *port)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", HostName(self.host()))?;
        match (self.host(), self.address()) {
            (PostgresHost::Tcp { host, .. }, Some(address))
                if *host != address.ip().to_string() =>
            {
                write!(f, " ({})", address.ip())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All addresses of a host, in the resolver's order.
pub(super) async fn resolve(
    host: &PostgresHost,
    timeout: Duration,
) -> Result<Vec<Endpoint>, Error> {
    let (name, port) = match host {
        PostgresHost::Unix { .. } => {
            return Ok(vec![Endpoint::new(host.clone(), None)]);
        }
        PostgresHost::Tcp { host, port } => (host.as_str(), *port),
    };
    let unresolved = |problem: String| Error::Resolve { host: HostName(host).to_string(), problem };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let lookup = tokio::net::lookup_host((bare, port));
    let addresses = match tokio::time::timeout(timeout, lookup).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(unresolved(error.to_string())),
        Err(_) => return Err(unresolved("the resolver did not answer in time".to_owned())),
    };
    let endpoints: Vec<_> =
        addresses.map(|address| Endpoint::new(host.clone(), Some(address))).collect();
    if endpoints.is_empty() {
        return Err(unresolved("the name has no address".to_owned()));
    }
    Ok(endpoints)
}

fn socket_file(directory: &std::path::Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

struct HostName<'a>(&'a PostgresHost);

impl fmt::Display for HostName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PostgresHost::Tcp { host, port } => write!(f, "{host}:{port}"),
            PostgresHost::Unix { directory, port } => {
                write!(f, "{}", socket_file(directory, *port).display())
            }
        }
    }
}
