//! Sockets, the SSLRequest exchange and the TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Encryption, Endpoint, Error};
use crate::config::settings::PostgresTarget;
use crate::postgres::tls;

/// An open way to a server, before the start-up message.
pub(in crate::postgres) struct Transport {
    pub(in crate::postgres) channel: Channel,
    /// `tls-server-end-point` data, where there is TLS and the certificate defines it.
    pub(in crate::postgres) end_point: Option<Vec<u8>>,
    pub(in crate::postgres) secrecy: Secrecy,
}

/// Whether somebody else on the way could read a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Secrecy {
    /// TLS, a Unix socket or the loopback interface.
    Private,
    Readable,
}

pub(in crate::postgres) enum Channel {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

pub(in crate::postgres) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Opens the socket and, as `encryption` says, TLS over it. Without a time limit of its own.
pub(super) async fn open(
    target: &PostgresTarget,
    endpoint: &Endpoint,
    encryption: Encryption,
) -> Result<Transport, Error> {
    // Files are read first: a broken one is the operator's to mend, whatever the server does.
    let tls = match encryption {
        Encryption::Plain => None,
        _ => Some(
            tls::client_config(&target.tls, endpoint.host_name())
                .map_err(|source| Error::Tls { endpoint: endpoint.clone(), source })?,
        ),
    };
    let (mut socket, peer) = connect(target, endpoint)
        .await
        .map_err(|source| Error::Socket { endpoint: endpoint.clone(), source })?;
    let unencrypted = match peer {
        Some(address) if !address.ip().to_canonical().is_loopback() => Secrecy::Readable,
        _ => Secrecy::Private,
    };
    let plain = |socket| Transport {
        channel: Channel::Plain(socket),
        end_point: None,
        secrecy: unencrypted,
    };
    let (Some(config), Some(peer)) = (tls, peer) else { return Ok(plain(socket)) };
    if !server_takes_tls(&mut socket, endpoint).await? {
        return match encryption {
            Encryption::Required => {
                let mode = tls::mode_name(target.tls.mode);
                Err(Error::TlsNotOffered { endpoint: endpoint.clone(), mode })
            }
            Encryption::Plain | Encryption::Offered => Ok(plain(socket)),
        };
    }
    let name = server_name(endpoint.host_name(), peer);
    let stream = TlsConnector::from(config)
        .connect(name, socket)
        .await
        .map_err(|source| Error::handshake(endpoint, source))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let end_point = leaf.and_then(|leaf| tls::server_end_point(leaf));
    let channel = Channel::Tls(Box::new(stream));
    Ok(Transport { channel, end_point, secrecy: Secrecy::Private })
}

async fn connect(
    target: &PostgresTarget,
    endpoint: &Endpoint,
) -> io::Result<(Socket, Option<SocketAddr>)> {
    if let Some(path) = endpoint.socket_path() {
        return Ok((Socket::Unix(UnixStream::connect(path).await?), None));
    }
    let address = endpoint.address().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if target.keepalives {
        sockopt::set_socket_keepalive(&stream, true)?;
        // The kernel counts whole seconds and refuses zero, which libpq takes for "default".
        if target.keepalives_idle.as_secs() > 0 {
            sockopt::set_tcp_keepidle(&stream, target.keepalives_idle)?;
        }
    }
    Ok((Socket::Tcp(stream), Some(address)))
}

/// Asks for TLS. Reads exactly one byte, so that nothing sent in the clear can be taken for a part
/// of the encrypted stream.
async fn server_takes_tls(socket: &mut Socket, endpoint: &Endpoint) -> Result<bool, Error> {
    let failed = |source| Error::handshake(endpoint, source);
    socket.write_all(&SSL_REQUEST).await.map_err(failed)?;
    match socket.read_u8().await.map_err(failed)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // An error message here is not authenticated by anything: its text is not shown.
        b'E' => Err(Error::SslRequestFailed { endpoint: endpoint.clone() }),
        _ => Err(Error::NotPostgres { endpoint: endpoint.clone() }),
    }
}

/// The name for SNI. One that rustls cannot send is replaced by the address, which sends none; what
/// `verify-full` compares is the URL's text, not this.
fn server_name(host: &str, peer: SocketAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned())
        .unwrap_or_else(|_| ServerName::IpAddress(peer.ip().into()))
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Reads and writes go to whichever variant there is.
macro_rules! passes_on {
    ($stream:ident { $($variant:ident),+ }) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($stream::$variant(inner) => Pin::new(inner).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($stream::$variant(inner) => Pin::new(inner).poll_write(cx, buf),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($stream::$variant(inner) => Pin::new(inner).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($stream::$variant(inner) => Pin::new(inner).poll_shutdown(cx),)+
                }
            }
        }
    };
}

passes_on!(Socket { Tcp, Unix });
passes_on!(Channel { Plain, Tls });
