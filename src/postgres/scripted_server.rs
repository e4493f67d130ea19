//! A server that does what a test tells it, one script a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::config::settings::{
    ChannelBinding, PostgresHost, PostgresTarget, PostgresTls, SslMode, SslRoot, TargetSessionAttrs,
};

pub(super) type Script = Box<dyn FnOnce(&mut Peer<TcpStream>) + Send>;

pub(super) struct ScriptedServer {
    pub(super) address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// One client, from the server's side.
pub(super) struct Peer<S>(pub(super) S);

/// Settings that pass as those of a session with the start-up options.
pub(super) const REPORTED: [(&str, &str); 6] = [
    ("server_version", "16.1"),
    ("DateStyle", "ISO, DMY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("client_encoding", "UTF8"),
    ("integer_datetimes", "on"),
];

impl ScriptedServer {
    pub(super) fn start(scripts: Vec<Script>) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            for script in scripts {
                script(&mut Peer(listener.accept().unwrap().0));
            }
        });
        ScriptedServer { address, thread: Some(thread) }
    }

    pub(super) fn one(
        script: impl FnOnce(&mut Peer<TcpStream>) + Send + 'static,
    ) -> ScriptedServer {
        ScriptedServer::start(vec![Box::new(script)])
    }

    /// Waits until all scripts have run; a failed one fails the test.
    pub(super) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    pub(super) fn host(&self) -> PostgresHost {
        PostgresHost::Tcp { host: "127.0.0.1".to_owned(), port: self.address.port() }
    }

    pub(super) fn target(&self, mode: SslMode) -> PostgresTarget {
        target(vec![self.host()], mode)
    }
}

pub(super) fn target(hosts: Vec<PostgresHost>, mode: SslMode) -> PostgresTarget {
    PostgresTarget {
        hosts,
        user: "walferry".to_owned(),
        password: Some("geheim".to_owned().into()),
        database: "shop".to_owned(),
        target_session_attrs: TargetSessionAttrs::Any,
        tls: PostgresTls { mode, root: SslRoot::Unset, client: None },
        channel_binding: ChannelBinding::Prefer,
        keepalives: true,
        keepalives_idle: std::time::Duration::from_secs(60),
    }
}

impl<S: Read + Write> Peer<S> {
    /// The start-up message or SSLRequest, without its length.
    pub(super) fn startup(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    pub(super) fn message(&mut self) -> (u8, Vec<u8>) {
        let mut tag = [0];
        self.0.read_exact(&mut tag).unwrap();
        (tag[0], self.startup())
    }

    pub(super) fn send(&mut self, tag: u8, body: &[u8]) {
        self.raw(&frame(tag, body));
    }

    /// Writes bytes; a client that has gone away is no failure.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Lets the client in without asking for anything.
    pub(super) fn welcome(&mut self) {
        self.startup();
        self.accept();
    }

    pub(super) fn accept(&mut self) {
        self.send(b'R', &[0, 0, 0, 0]);
        for (name, value) in REPORTED {
            self.send(b'S', format!("{name}\0{value}\0").as_bytes());
        }
        self.send(b'K', &[0; 8]);
        self.send(b'Z', b"I");
    }

    pub(super) fn error(&mut self, code: &str, message: &str) {
        self.send(b'E', format!("SFATAL\0C{code}\0M{message}\0\0").as_bytes());
    }

    /// Waits for the client to close.
    pub(super) fn wait_for_close(&mut self) {
        let mut sink = Vec::new();
        let _ = self.0.read_to_end(&mut sink);
    }
}

pub(super) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}
