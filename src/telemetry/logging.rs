//! Logs: text for people, JSON for machines, on standard error.
//!
//! A bare level (`debug`) is walferry's own; libraries stay at `warn`, because their debug output
//! is long and has been seen to hold statements and headers. Who wants it names the target:
//! `walferry=debug,librdkafka=debug`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The level without a setting.
pub const DEFAULT_LEVEL: &str = "info";

/// Starts logging for the process. `level` is a level or a list of `target=level`.
pub fn init(format: LogFormat, level: &str) -> Result<(), Failure> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => builder
            .with_ansi(use_colour(
                std::io::stderr().is_terminal(),
                std::env::var_os("NO_COLOR").as_deref(),
            ))
            .finish()
            .try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_span_list(false).finish().try_init()
        }
    };
    installed.map_err(|error| Failure::stop("log", "logging is already set up").source(error))
}

/// Colours are for terminals, unless `NO_COLOR` has a value (<https://no-color.org>).
#[must_use]
pub fn use_colour(terminal: bool, no_color: Option<&std::ffi::OsStr>) -> bool {
    terminal && no_color.is_none_or(std::ffi::OsStr::is_empty)
}

fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let wrong = || {
        Failure::stop("log", format!("log level \"{}\" is not known", level.escape_debug())).remedy(
            "use error, warn, info, debug or trace, or a list such as \
             walferry=debug,librdkafka=info (--log-level, WALFERRY_LOG)",
        )
    };
    let level = level.trim();
    if level.contains(['=', ',', '[']) {
        // The last directive for a target counts, so the caller's own can override these.
        return EnvFilter::try_new(format!("warn,walferry={DEFAULT_LEVEL},{level}"))
            .map_err(|error| wrong().source(error));
    }
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let level = level.to_ascii_lowercase();
    if !known.contains(&level.as_str()) {
        return Err(wrong());
    }
    // Libraries never say more than `warn`, and not more than walferry does.
    let libraries = if matches!(level.as_str(), "off" | "error") { level.as_str() } else { "warn" };
    EnvFilter::try_new(format!("{libraries},walferry={level}"))
        .map_err(|error| wrong().source(error))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a level lets through: own debug and info, a library's warn and debug.
    fn logged(level: &str) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(level).unwrap())
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "walferry::pump", "own-debug");
            tracing::info!(target: "walferry::pump", "own-info");
            tracing::error!(target: "walferry::pump", "own-error");
            tracing::warn!(target: "librdkafka", "library-warn");
            tracing::debug!(target: "librdkafka", "library-debug");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().filter_map(|line| line.split(' ').next_back()).map(String::from).collect()
    }

    #[test]
    fn a_bare_level_is_for_walferry_alone() {
        assert_eq!(logged("info"), ["own-info", "own-error", "library-warn"]);
        assert_eq!(logged("DEBUG"), ["own-debug", "own-info", "own-error", "library-warn"]);
        assert_eq!(logged("trace"), ["own-debug", "own-info", "own-error", "library-warn"]);
        assert_eq!(logged("error"), ["own-error"]);
        assert!(logged("off").is_empty());
    }

    #[test]
    fn targets_can_be_named() {
        let all = ["own-info", "own-error", "library-warn", "library-debug"];
        assert_eq!(logged("librdkafka=debug"), all);
        assert_eq!(logged("walferry=error,librdkafka=off"), ["own-error"]);
    }

    #[test]
    fn a_wrong_level_names_the_setting() {
        for wrong in ["verbose", "walferry=loud", ""] {
            let failure = filter(wrong).unwrap_err();
            assert!(failure.remedy.unwrap().contains("--log-level"), "{wrong}");
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        assert!(use_colour(true, None));
        assert!(use_colour(true, Some(OsStr::new(""))));
        assert!(!use_colour(true, Some(OsStr::new("1"))));
        assert!(!use_colour(false, None));
    }
}
