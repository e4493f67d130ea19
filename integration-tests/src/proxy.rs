//! A TCP proxy that breaks connections in the ways that networks do.

use crate::background;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

const BUFFER: usize = 16 * 1024;
const BACKLOG: u32 = 1024;

/// A port of this machine that leads to another one. Ends when dropped, with its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    shared: Arc<Shared>,
}

/// What happens to the connections, now.
#[derive(Clone, Debug)]
struct State {
    target: SocketAddr,
    mode: Mode,
    delay: Duration,
    bytes_per_second: Option<u64>,
    /// Connections older than this generation are reset.
    generation: u64,
    /// Connections older than this generation see an end of what the target sends.
    half_closed: u64,
    /// Connections, by their number, that pass nothing any more, not even their end.
    silenced: BTreeSet<usize>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    BlackHole,
}

/// Replaces a piece of what the target sends, if it is the one.
type Damage = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// What all connections share.
#[derive(Default)]
struct Shared {
    counters: Counters,
    damage: Mutex<Option<Damage>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counters.fmt(f)
    }
}

impl Shared {
    /// The answer of the damage to this piece, which is then done.
    fn damaged(&self, piece: &[u8]) -> Option<Vec<u8>> {
        let mut damage = self.damage.lock().expect("damage");
        let answer = damage.as_mut()?(piece)?;
        *damage = None;
        Some(answer)
    }
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicUsize,
    open: AtomicUsize,
    to_target: AtomicU64,
    from_target: AtomicU64,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub fn to(port: u16) -> Self {
        let state = State {
            target: (Ipv4Addr::LOCALHOST, port).into(),
            mode: Mode::Pass,
            delay: Duration::ZERO,
            bytes_per_second: None,
            generation: 0,
            half_closed: 0,
            silenced: BTreeSet::new(),
            ended: false,
        };
        let (state, watched) = watch::channel(state);
        let shared = Arc::new(Shared::default());
        let port = crate::services::free_port();
        // Listening before anyone is told of the port.
        let listener = {
            let _runtime = background().enter();
            listen(port)
        };
        background().spawn(accept(port, listener, watched, shared.clone()));
        Self { port, state, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another port: a failover of the address.
    pub fn retarget(&self, port: u16) {
        self.state.send_modify(|state| state.target = (Ipv4Addr::LOCALHOST, port).into());
    }

    /// Lets everything through again, at full speed.
    pub fn pass(&self) {
        self.state.send_modify(|state| {
            state.mode = Mode::Pass;
            state.delay = Duration::ZERO;
            state.bytes_per_second = None;
        });
    }

    /// Resets the open connections; new ones are let through.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Resets the open connections and refuses new ones.
    pub fn refuse(&self) {
        self.state.send_modify(|state| {
            state.mode = Mode::Refuse;
            state.generation += 1;
        });
    }

    /// Accepts connections and takes bytes no further, open ones included.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| state.mode = Mode::BlackHole);
    }

    /// Holds each piece of data back for a while.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Limits each direction of each connection.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.state.send_modify(|state| state.bytes_per_second = Some(bytes_per_second));
    }

    /// Ends the target's half of the open connections, as if it had said goodbye but still listened.
    pub fn half_close(&self) {
        self.state.send_modify(|state| state.half_closed += 1);
    }

    /// Passes nothing of one connection any more, in either direction, not even its end; counted
    /// from 1 in the order of their acceptance.
    pub fn silence(&self, connection: usize) {
        self.state.send_modify(|state| _ = state.silenced.insert(connection));
    }

    /// Offers each piece of what the target sends to `damage` until it answers. The answer goes out in
    /// the place of that piece, and is the last of that connection.
    pub fn damage_once(&self, damage: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        *self.shared.damage.lock().expect("damage") = Some(Box::new(damage));
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.counters.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.counters.open.load(Ordering::Relaxed)
    }

    /// Bytes passed to the target, and back from it.
    pub fn bytes(&self) -> (u64, u64) {
        let Counters { to_target, from_target, .. } = &self.shared.counters;
        (to_target.load(Ordering::Relaxed), from_target.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            state.ended = true;
            state.generation += 1;
        });
    }
}

/// A socket that holds the port; connections are refused until it listens.
fn hold(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an address to reuse");
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).expect("the proxy's port");
    socket
}

fn listen(port: u16) -> TcpListener {
    hold(port).listen(BACKLOG).expect("a listening proxy")
}

async fn accept(
    port: u16,
    listener: TcpListener,
    mut state: watch::Receiver<State>,
    shared: Arc<Shared>,
) {
    let mut listener = Some(listener);
    loop {
        let (mode, ended) = {
            let now = state.borrow_and_update();
            (now.mode, now.ended)
        };
        if ended {
            return;
        }
        if mode == Mode::Refuse {
            drop(listener.take());
            let held = hold(port);
            let changed = state.wait_for(|now| now.mode != Mode::Refuse || now.ended).await.is_ok();
            if !changed {
                return;
            }
            listener = Some(held.listen(BACKLOG).expect("a listening proxy"));
            continue;
        }
        let open = listener.get_or_insert_with(|| listen(port));
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = open.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let number = shared.counters.accepted.fetch_add(1, Ordering::Relaxed) + 1;
                let connection = connection(number, client, state.clone(), shared.clone());
                background().spawn(connection);
            }
        }
    }
}

async fn connection(
    number: usize,
    client: TcpStream,
    state: watch::Receiver<State>,
    shared: Arc<Shared>,
) {
    let _open = Open::new(&shared.counters);
    let born = state.borrow().clone();
    let mut cut = state.clone();
    let cut = cut.wait_for(|now| now.generation > born.generation);
    // An answer of "reset" rather than an orderly end, when this is dropped.
    client.set_zero_linger().expect("a socket's linger");
    client.set_nodelay(true).expect("a socket's nodelay");
    let passing = async {
        let mut waiting = state.clone();
        if waiting.wait_for(|now| now.mode != Mode::BlackHole).await.is_err() {
            return;
        }
        let target = state.borrow().target;
        let Ok(server) = TcpStream::connect(target).await else { return };
        server.set_nodelay(true).expect("a socket's nodelay");
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        let half = Some(born.half_closed);
        let up = Way { number, half: None, state: state.clone(), shared: &shared };
        let down = Way { number, half, state: state.clone(), shared: &shared };
        let up = up.copy(client_reads, server_writes);
        let down = down.copy(server_reads, client_writes);
        tokio::join!(up, down);
    };
    tokio::select! {
        _ = cut => {}
        () = passing => {}
    }
}

/// One direction of a connection.
struct Way<'a> {
    number: usize,
    /// The generation that has not seen a half close.
    half: Option<u64>,
    state: watch::Receiver<State>,
    shared: &'a Shared,
}

impl Way<'_> {
    /// Passes bytes on until the end of one side.
    async fn copy(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let Way { number, half, mut state, shared } = self;
        let counters = &shared.counters;
        let counter = if half.is_some() { &counters.from_target } else { &counters.to_target };
        let mut buffer = vec![0; BUFFER];
        let mut closing = state.clone();
        let mut ending = state.clone();
        let closed = async {
            match half {
                Some(generation) => {
                    drop(closing.wait_for(|now| now.half_closed > generation).await);
                }
                None => std::future::pending().await,
            }
        };
        let passing = async {
            loop {
                let limit = state.borrow().bytes_per_second.map_or(BUFFER, |rate| {
                    usize::try_from(rate / 20).unwrap_or(BUFFER).clamp(1, BUFFER)
                });
                let Ok(count @ 1..) = from.read(&mut buffer[..limit]).await else { return };
                if state.wait_for(|now| now.passes(number)).await.is_err() {
                    return;
                }
                let pause = {
                    let now = state.borrow();
                    let paced = now.bytes_per_second.map(|rate| count as f64 / rate as f64);
                    now.delay + Duration::from_secs_f64(paced.unwrap_or_default())
                };
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                // Before the write: whoever has read the bytes finds them counted.
                counter.fetch_add(count as u64, Ordering::Relaxed);
                let damaged = half.and_then(|_| shared.damaged(&buffer[..count]));
                let piece = damaged.as_deref().unwrap_or(&buffer[..count]);
                if to.write_all(piece).await.is_err() || damaged.is_some() {
                    return;
                }
            }
        };
        tokio::select! {
            () = closed => {}
            () = passing => {}
        }
        if ending.wait_for(|now| !now.silenced.contains(&number)).await.is_ok() {
            // The peer may have gone already.
            let _ = to.shutdown().await;
        }
    }
}

impl State {
    fn passes(&self, connection: usize) -> bool {
        self.mode != Mode::BlackHole && !self.silenced.contains(&connection)
    }
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
