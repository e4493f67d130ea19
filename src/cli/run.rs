//! `walferry run`: the pump, and around it telemetry and signals.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::args::RunArgs;
use super::{Exit, load_settings};
use crate::admin;
use crate::cli::args::GlobalArgs;
use crate::config::Settings;
use crate::failure::Failure;
use crate::pump::{self, Context, Stop};
use crate::registry::Registry;
use crate::telemetry::http::HttpServer;
use crate::telemetry::{Exposition, Telemetry};

/// Runs until a signal or a failure.
pub(super) fn run(global: &GlobalArgs, _args: &RunArgs) -> Result<Exit, Failure> {
    let settings = Arc::new(load_settings(global)?);
    tracing::info!(
        name = settings.name,
        version = env!("CARGO_PKG_VERSION"),
        slot = settings.postgres.slot,
        "starting"
    );
    let runtime = runtime()?;
    let telemetry = Telemetry::new(settings.name.as_str());
    let exposition = Exposition::install(Arc::clone(&telemetry))?;
    serve_http(&runtime, &settings, &telemetry, exposition)?;
    let stop = Stop::new()
        .map_err(|error| Failure::retry("internal", "no file descriptor left").source(error))?;
    watch_signals(&runtime, stop.clone())?;
    let admin = serve_admin(&runtime, &settings, stop.wake());
    let context = Context {
        registry: Arc::new(Registry::new(&settings.registry)?),
        settings,
        runtime: runtime.handle().clone(),
        telemetry,
        stop,
        admin,
    };
    let outcome = pump::run(context);
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(Exit::Done)
        }
        Err(failure) => Err(failure),
    }
}

/// One worker is plenty: catalog, registry, HTTP and signals are rare.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("walferry-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::retry("internal", "no thread could be started").source(error))
}

fn serve_http(
    runtime: &Runtime,
    settings: &Settings,
    telemetry: &Arc<Telemetry>,
    exposition: Exposition,
) -> Result<(), Failure> {
    let Some(address) = settings.http.listen else { return Ok(()) };
    let server = {
        let _entered = runtime.enter();
        HttpServer::bind(address)?
    };
    tracing::info!(address = %server.address(), "serving /metrics /healthz /readyz /status");
    let telemetry = Arc::clone(telemetry);
    runtime.spawn(async move {
        match server.serve(telemetry, exposition).await {
            Ok(never) => match never {},
            Err(failure) => tracing::error!(error = %failure, "the HTTP server has ended"),
        }
    });
    Ok(())
}

/// Without the socket nothing can be asked on demand, and everything else works.
fn serve_admin(runtime: &Runtime, settings: &Settings, wake: pump::Wake) -> admin::Receiver {
    let (sender, receiver) = admin::channel(wake);
    let Some(path) = admin::socket_path(settings) else { return receiver };
    runtime.spawn(async move {
        match admin::server::bind(&path) {
            Ok((listener, _file)) => {
                tracing::debug!(path = %path.display(), "taking requests");
                admin::server::serve(listener, sender).await;
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let remedy = error.remedy();
                tracing::warn!(%error, source, remedy, "no requests can be taken");
            }
        }
    });
    receiver
}

/// The first SIGTERM or SIGINT asks for a clean stop, the second for one at once.
fn watch_signals(runtime: &Runtime, stop: Stop) -> Result<(), Failure> {
    let _entered = runtime.enter();
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::stop("internal", "signals cannot be listened to").source(error)
        })
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    runtime.spawn(async move {
        let mut first = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                stop.clean()
            } else {
                stop.now()
            }
            first = false;
        }
    });
    Ok(())
}
