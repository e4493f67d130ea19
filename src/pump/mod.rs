//! The pump: the one thread that moves changes from the replication socket to the producer and
//! acknowledgements back to the slot.
//!
//! ```text
//!            ┌──────────────┐ session  ┌───────────┐  stop   ┌─────────┐ server answered
//!  start ──► │   Connect    │ ───────► │ Streaming │ ──────► │ Closing │ ───────────────► end
//!            └──────────────┘          └───────────┘         └─────────┘
//!              ▲     │ failure               │ replication lost, delivery failed, sink stalled
//!              │     ▼                       ▼
//!            ┌──────────────┐  nothing in  ┌──────────┐
//!            │   Backoff    │ ◄─────────── │ Settling │ (a new producer, if a delivery failed)
//!            └──────────────┘    flight    └──────────┘
//!                   ▲                            │ the registry had stalled
//!                   │          it answers        ▼
//!                   └─────────────────────── Probing
//! ```
//!
//! Whatever happens after a record was enqueued, there is one way back: leave replication, await
//! what is in flight, begin again from the position. Everything slow runs as a task on the
//! runtime; the pump never blocks but in its one `poll(2)`.

mod apply;
mod backoff;
mod closing;
mod feedback;
mod pace;
mod prepare;
mod relations;
mod session;
mod sink;
mod snapshot;
mod stall;
mod stream;
mod task;
mod topics;
mod wait;
mod wake;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::backoff::Backoff;
use self::closing::Closing;
use self::session::{Connector, Session};
use self::sink::{DeliveryFailure, Sink};
use self::stall::{Left, Probe};
use self::stream::{Core, Streaming};
use self::task::Task;
use self::topics::{Counting, Topics};
use self::wait::wait;
pub use self::wake::Wake;
use crate::admin;
use crate::config::Settings;
use crate::failure::{Class, Failure};
use crate::registry::Registry;
use crate::telemetry::{
    Activity, NotReady, Positions, PumpMetrics, Reason, Snapshot, State as Shown, Telemetry,
};

/// What asks the pump to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    level: Arc<AtomicU8>,
    wake: Wake,
}

impl Stop {
    const CLEAN: u8 = 1;
    const NOW: u8 = 2;

    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop { level: Arc::default(), wake: Wake::new()? })
    }

    /// Asks for a clean stop: drain, confirm, release the slot.
    pub fn clean(&self) {
        self.raise(Self::CLEAN);
    }

    /// Asks for a stop at once; what is in flight will be delivered again.
    pub fn now(&self) {
        self.raise(Self::NOW);
    }

    /// What wakes the pump.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    fn raise(&self, level: u8) {
        self.level.fetch_max(level, Ordering::SeqCst);
        self.wake.wake();
    }

    fn level(&self) -> u8 {
        self.level.load(Ordering::SeqCst)
    }
}

/// Everything the pump works with.
pub struct Context {
    pub settings: Arc<Settings>,
    pub runtime: Handle,
    pub registry: Arc<Registry>,
    pub telemetry: Arc<Telemetry>,
    pub stop: Stop,
    pub admin: admin::Receiver,
}

/// Deliveries that fail this often in a row, without an acknowledgement in between, are not going
/// to succeed.
const MAX_REBUILDS: u32 = 3;

/// Longest wait where nothing is due: bounds how old the heartbeat can get.
const IDLE: Duration = Duration::from_millis(500);

/// While something is in flight, reports are looked at this often.
const REPORT_INTERVAL: Duration = Duration::from_millis(2);

/// Settling for longer than this is worth a reason of its own.
const SETTLING_NOTICEABLE: Duration = Duration::from_secs(1);

/// How long a server may take to answer the end of the stream before the socket is just closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until a stop or a failure that only an operator can end.
///
/// # Errors
/// That failure; or a [`Class::Retry`] one when a clean stop could not drain in time.
pub fn run(context: Context) -> Result<(), Failure> {
    let mut pump = Pump::new(context)?;
    let mut state = pump.connect();
    loop {
        let now = Instant::now();
        pump.tick(&state, now);
        state = match pump.step(state, now) {
            Ok(State::Stopped) => break,
            Ok(next) => next,
            Err(failure) => {
                pump.unfinished = Some(failure);
                break;
            }
        };
    }
    pump.end()
}

enum State {
    /// A background job connects; see [`session`].
    Connect(Task<Box<Session>>),
    /// The next try waits.
    Backoff {
        until: Instant,
    },
    Streaming(Box<Streaming>),
    /// Replication is left; what is in flight is awaited. With a stream still to be closed, it is
    /// closed cleanly so that the slot is free.
    Settling {
        closing: Option<Box<Closing>>,
        since: Instant,
        left: Left,
    },
    /// Nothing is in flight; the registry, for which the stream had stalled, has to answer.
    Probing(Probe),
    /// As settling, but for a stop.
    Stopping {
        closing: Option<Box<Closing>>,
        deadline: Instant,
    },
    Stopped,
}

struct Pump {
    settings: Arc<Settings>,
    connector: Arc<Connector>,
    runtime: Handle,
    telemetry: Arc<Telemetry>,
    stop: Stop,
    admin: admin::Receiver,
    sink: Sink,
    counting: Counting,
    metrics: PumpMetrics,
    backoff: Backoff,
    rebuilds: u32,
    positions: Positions,
    not_ready: Option<NotReady>,
    /// Of the failure that was last logged.
    last_message: Option<String>,
    stop_seen: Option<Instant>,
    /// Why a stop left something undone.
    unfinished: Option<Failure>,
}

impl Pump {
    fn new(context: Context) -> Result<Pump, Failure> {
        let now = Instant::now();
        let Context { settings, runtime, registry, telemetry, stop, admin } = context;
        let topics = Arc::new(Topics::new(Arc::clone(&telemetry)));
        let connector = Arc::new(Connector {
            settings: Arc::clone(&settings),
            runtime: runtime.clone(),
            registry,
            topics: Arc::clone(&topics),
            whitelist: std::sync::Mutex::default(),
            telemetry: Arc::clone(&telemetry),
            wake: stop.wake.clone(),
            message_timeout: std::sync::Mutex::default(),
        });
        Ok(Pump {
            sink: Sink::new(&settings, now)?,
            counting: Counting::new(topics, now),
            metrics: PumpMetrics::new(Arc::clone(&telemetry)),
            settings,
            connector,
            runtime,
            telemetry,
            stop,
            admin,
            backoff: Backoff::default(),
            rebuilds: 0,
            positions: Positions::default(),
            not_ready: Some(NotReady::new(Reason::Starting, "connecting")),
            last_message: None,
            stop_seen: None,
            unfinished: None,
        })
    }

    /// What every turn of every state begins with: reports, the position, the signs of life.
    fn tick(&mut self, state: &State, now: Instant) {
        self.telemetry.beat();
        self.sink.collect(now, &mut self.metrics);
        self.counting.turn(&self.runtime, &self.stop.wake, || self.sink.inquiry(), now);
        if self.sink.failed().is_none() {
            let urgent = match state {
                State::Settling { .. } | State::Stopping { .. } => true,
                State::Streaming(streaming) => streaming.awaits_position(),
                _ => false,
            };
            if let Err(error) = self.sink.write_position(urgent, now) {
                self.sink.fail(&error);
            }
        }
        self.positions.acknowledged = self.sink.ledger().durable();
        self.positions.confirmed = self.sink.confirmed();
        if let State::Streaming(streaming) = state {
            (self.positions.received, self.positions.produced) = streaming.positions();
            self.not_ready = streaming.not_ready(now).or_else(|| self.sink.not_ready());
        }
        let (positions, not_ready, sink) = (self.positions, &self.not_ready, &self.sink);
        let shown = state.shown(self.not_ready.as_ref());
        self.metrics.publish(now, shown, || Snapshot {
            state: shown,
            not_ready: not_ready.clone(),
            positions,
            in_flight: sink.in_flight(),
            oldest_pending_commit: sink.ledger().oldest().map(|(_, time)| time),
        });
    }

    fn step(&mut self, state: State, now: Instant) -> Result<State, Failure> {
        if self.stop.level() >= Stop::NOW {
            let failure = || Failure::retry("stop", "stopped at once, as the second signal asked");
            self.unfinished.get_or_insert_with(failure);
            return Ok(State::Stopped);
        }
        let stopping = self.stop.level() >= Stop::CLEAN;
        match state {
            State::Connect(_) | State::Backoff { .. } | State::Probing(_) if stopping => {
                Ok(self.begin_stop(None, now))
            }
            State::Connect(task) => self.connecting(task, now),
            State::Backoff { until } if now >= until => Ok(self.connect()),
            State::Backoff { until } => {
                wait(None, false, &self.stop.wake, IDLE.min(until - now));
                Ok(State::Backoff { until })
            }
            State::Streaming(streaming) => self.streaming(streaming, stopping, now),
            State::Settling { closing, .. } if stopping => Ok(self.begin_stop(closing, now)),
            State::Settling { closing, since, left } => self.settling(closing, since, left, now),
            State::Probing(probe) => Ok(self.probing(probe)),
            State::Stopping { closing, deadline } => self.stopping(closing, deadline, now),
            State::Stopped => Ok(State::Stopped),
        }
    }

    /// Hands over what an operator asks for.
    fn take_requests(&mut self, streaming: &mut Streaming, now: Instant) {
        while let Some(asked) = self.admin.try_recv() {
            streaming.snapshots().ask(asked, now);
        }
    }

    fn connect(&self) -> State {
        let connector = Arc::clone(&self.connector);
        let job = async move { connector.connect().await };
        State::Connect(Task::spawn(&self.runtime, &self.stop.wake, job))
    }

    fn connecting(&mut self, mut task: Task<Box<Session>>, now: Instant) -> Result<State, Failure> {
        let outcome = task.poll();
        if !self.sink.has_in_flight()
            && let Some(message_timeout) = self.connector.told()
        {
            self.sink.set_message_timeout(&self.settings, message_timeout)?;
        }
        match outcome {
            None => {
                wait(None, false, &self.stop.wake, IDLE);
                Ok(State::Connect(task))
            }
            Some(Ok(session)) => {
                self.sink.begin(session.source.clone(), session.done, now);
                tracing::info!(position = %session.done, "streaming");
                self.not_ready = None;
                self.last_message = None;
                let read_nap = self.settings.postgres.read_nap;
                Ok(State::Streaming(Box::new(Streaming::new(*session, read_nap, now))))
            }
            Some(Err(failure)) if failure.class == Class::Stop => Err(failure),
            Some(Err(failure)) => Ok(self.back_off(&failure, now)),
        }
    }

    fn back_off(&mut self, failure: &Failure, now: Instant) -> State {
        self.report(failure);
        self.telemetry.reconnect(failure.kind);
        State::Backoff { until: now + self.backoff.after(failure) }
    }

    fn streaming(
        &mut self,
        mut streaming: Box<Streaming>,
        stopping: bool,
        now: Instant,
    ) -> Result<State, Failure> {
        if let Some(failure) = self.sink.failed().cloned() {
            return self.rebuild(&failure, streaming, now);
        }
        if stopping && (!streaming.in_transaction() || self.stop_is_overdue(now)) {
            return Ok(self.begin_stop(Some(Box::new(streaming.into_closing())), now));
        }
        let stalled = self.sink.stalled_for(now).max(streaming.blocked_for(now));
        if stalled > self.settings.postgres.stall_disconnect {
            return Ok(self.leave_stalled(streaming, now));
        }
        self.take_requests(&mut streaming, now);
        let mut core =
            Core { sink: &mut self.sink, metrics: &mut self.metrics, wake: &self.stop.wake };
        match streaming.turn(&mut core, now) {
            Ok(()) => {
                if self.sink.has_progressed() {
                    self.backoff.reset();
                    self.rebuilds = 0;
                }
                Ok(State::Streaming(streaming))
            }
            Err(failure) if failure.class == Class::Stop => {
                // What came before is delivered and confirmed, so that nothing of it is repeated
                // each time somebody starts the process again.
                self.unfinished = Some(failure);
                Ok(self.begin_stop(Some(Box::new(streaming.into_closing())), now))
            }
            Err(failure) => {
                self.report(&failure);
                self.telemetry.reconnect(failure.kind);
                drop(streaming);
                Ok(State::Settling { closing: None, since: now, left: Left::Lost })
            }
        }
    }
}

impl Pump {
    /// Leaves replication because nothing was acknowledged for too long.
    fn leave_stalled(&mut self, streaming: Box<Streaming>, now: Instant) -> State {
        let limit = humantime::format_duration(self.settings.postgres.stall_disconnect);
        let waits_for = streaming.waits_for();
        let waits = match &waits_for {
            Some(waits_for) => waits_for.message.clone(),
            None => self.sink.describe_stall(),
        };
        self.report(&Failure::retry(
            "stall",
            format!("nothing was acknowledged for {limit}; replication is left meanwhile: {waits}"),
        ));
        self.telemetry.reconnect("stall");
        let left = match waits_for.map(|waits_for| waits_for.reason) {
            Some(Reason::Registry) => Left::RegistryStalled,
            _ => Left::KafkaStalled,
        };
        State::Settling { closing: Some(Box::new(streaming.into_closing())), since: now, left }
    }

    /// Leaves replication after a failed delivery and begins again with a new producer.
    fn rebuild(
        &mut self,
        failure: &DeliveryFailure,
        streaming: Box<Streaming>,
        now: Instant,
    ) -> Result<State, Failure> {
        if !failure.is_outage {
            self.rebuilds += 1;
        }
        let failure = failure.failure(self.rebuilds > MAX_REBUILDS);
        if failure.class == Class::Stop {
            return Err(failure);
        }
        self.report(&failure);
        self.telemetry.reconnect("rebuild");
        let closing = Some(Box::new(streaming.into_closing()));
        Ok(State::Settling { closing, since: now, left: Left::Lost })
    }

    fn settling(
        &mut self,
        closing: Option<Box<Closing>>,
        since: Instant,
        left: Left,
        now: Instant,
    ) -> Result<State, Failure> {
        let closing = closing.filter(|_| now - since < CLOSE_TIMEOUT);
        let waited = Instant::now();
        let closing = match closing {
            Some(mut closing) => {
                let confirmed = self.sink.confirmed();
                match closing.turn(confirmed, true, &self.stop.wake, REPORT_INTERVAL, now) {
                    Ok(true) | Err(_) => None,
                    Ok(false) => Some(closing),
                }
            }
            None if self.sink.is_drained() => return self.settled(left, now),
            None => {
                self.say_what_settling_waits_for(now - since);
                wait(None, false, &self.stop.wake, REPORT_INTERVAL);
                None
            }
        };
        self.metrics.spent(Activity::WaitingKafka, waited.elapsed());
        Ok(State::Settling { closing, since, left })
    }

    /// Whatever ended the stream, by now it is Kafka that holds the next connection up.
    fn say_what_settling_waits_for(&mut self, waited: Duration) {
        let is_stalled = self.not_ready.as_ref().is_some_and(|why| why.reason == Reason::Stalled);
        if waited < SETTLING_NOTICEABLE || is_stalled {
            return;
        }
        let (left, why) = (self.sink.in_flight().records, self.sink.describe_stall());
        let message = format!("{left} records in flight are not acknowledged: {why}");
        self.not_ready = Some(NotReady::new(Reason::Kafka, message));
    }

    /// Nothing is in flight any more: the next connection may begin, unless it would stall again.
    fn settled(&mut self, left: Left, now: Instant) -> Result<State, Failure> {
        if self.sink.failed().is_some() {
            self.sink.rebuild(&self.settings)?;
        }
        if left == Left::RegistryStalled {
            let Connector { registry, .. } = &*self.connector;
            let (registry, telemetry) = (Arc::clone(registry), Arc::clone(&self.telemetry));
            let probe = Probe::start(&self.runtime, &self.stop.wake, registry, telemetry);
            return Ok(State::Probing(probe));
        }
        Ok(State::Backoff { until: now + self.backoff.next() })
    }

    fn probing(&mut self, mut probe: Probe) -> State {
        if probe.has_answer() {
            tracing::info!("the registry answers again");
            return self.connect();
        }
        if let Some(failure) = probe.failure() {
            let message = format!("replication is left until the registry answers: {failure}");
            self.not_ready = Some(NotReady::new(Reason::Registry, message));
        }
        let waited = Instant::now();
        wait(None, false, &self.stop.wake, IDLE);
        self.metrics.spent(Activity::WaitingRegistry, waited.elapsed());
        State::Probing(probe)
    }

    fn begin_stop(&mut self, closing: Option<Box<Closing>>, now: Instant) -> State {
        tracing::info!(in_flight = self.sink.in_flight().records, "stopping");
        self.not_ready = Some(NotReady::new(Reason::Stopping, "stopping"));
        let deadline = self.stop_since(now) + self.settings.shutdown_timeout;
        State::Stopping { closing, deadline }
    }

    fn stopping(
        &mut self,
        closing: Option<Box<Closing>>,
        deadline: Instant,
        now: Instant,
    ) -> Result<State, Failure> {
        let drained = self.sink.is_drained() && self.sink.failed().is_none();
        if now >= deadline || self.sink.failed().is_some() {
            let left = self.sink.in_flight().records;
            let failure = || {
                Failure::retry(
                    "stop",
                    format!("stopped with {left} records in flight; they will be delivered again"),
                )
                .remedy("see why Kafka does not acknowledge, or raise shutdown_timeout")
            };
            self.unfinished.get_or_insert_with(failure);
            return Ok(State::Stopped);
        }
        let Some(mut closing) = closing else {
            if drained {
                return Ok(State::Stopped);
            }
            wait(None, false, &self.stop.wake, REPORT_INTERVAL);
            return Ok(State::Stopping { closing: None, deadline });
        };
        let confirmed = self.sink.confirmed();
        match closing.turn(confirmed, drained, &self.stop.wake, REPORT_INTERVAL, now) {
            Ok(true) => Ok(State::Stopped),
            Ok(false) => Ok(State::Stopping { closing: Some(closing), deadline }),
            Err(failure) => {
                // The position is what counts; the slot is told at the next start.
                self.report(&failure);
                Ok(State::Stopping { closing: None, deadline })
            }
        }
    }

    /// Whether a stop has waited long enough for the end of the transaction under way.
    fn stop_is_overdue(&mut self, now: Instant) -> bool {
        now - self.stop_since(now) > self.settings.shutdown_timeout / 2
    }

    fn stop_since(&mut self, now: Instant) -> Instant {
        *self.stop_seen.get_or_insert(now)
    }

    /// Logs a failure once, and counts it each time.
    fn report(&mut self, failure: &Failure) {
        self.telemetry.failure(failure);
        self.not_ready = Some(NotReady::new(reason(failure), failure.message.clone()));
        let repeated = self.last_message.as_deref() == Some(&failure.message);
        let remedy = failure.remedy.as_deref();
        let source = std::error::Error::source(failure).map(ToString::to_string);
        if repeated {
            tracing::debug!(kind = failure.kind, error = %failure, "still failing");
        } else {
            tracing::warn!(kind = failure.kind, error = %failure, source, remedy, "not streaming");
            self.last_message = Some(failure.message.clone());
        }
    }

    /// The last snapshot, and the outcome.
    fn end(mut self) -> Result<(), Failure> {
        let (reason, message) = match &self.unfinished {
            Some(failure) => (reason(failure), failure.message.clone()),
            None => (Reason::Stopping, "stopped".to_owned()),
        };
        if let Some(failure) = &self.unfinished {
            self.telemetry.failure(failure);
        }
        self.metrics.flush();
        self.telemetry.publish(Snapshot {
            state: Shown::Stopped,
            not_ready: Some(NotReady::new(reason, message)),
            positions: self.positions,
            ..Snapshot::default()
        });
        self.unfinished.map_or(Ok(()), Err)
    }
}

impl State {
    /// As others see it; what is waited for tells the ways to wait apart.
    fn shown(&self, not_ready: Option<&NotReady>) -> Shown {
        let slot_is_held = not_ready.is_some_and(|why| why.reason == Reason::SlotActive);
        match self {
            State::Connect(_) | State::Backoff { .. } if slot_is_held => Shown::AcquiringSlot,
            State::Connect(_) | State::Backoff { .. } => Shown::Connecting,
            State::Streaming(streaming) if streaming.is_snapshotting() => Shown::Snapshot,
            State::Streaming(_) => Shown::Streaming,
            State::Settling { left: Left::Lost, .. } => Shown::Rebuilding,
            State::Settling { .. } | State::Probing(_) => Shown::Stalled,
            State::Stopping { .. } => Shown::Draining,
            State::Stopped => Shown::Stopped,
        }
    }
}

fn reason(failure: &Failure) -> Reason {
    match (failure.class, failure.kind) {
        (Class::Stop, _) => Reason::Failed,
        (_, "slot_active") => Reason::SlotActive,
        (_, "kafka") => Reason::Kafka,
        (_, "delivery") => Reason::Rebuilding,
        (_, "registry") => Reason::Registry,
        (_, "stall") => Reason::Stalled,
        _ => Reason::Postgres,
    }
}
