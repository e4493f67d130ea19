//! What an operator asks a running instance for, over a Unix socket.
//!
//! One JSON object a line in both directions ([`protocol`]). Whoever may open the socket may ask:
//! its file belongs to the user that walferry runs as, and nobody else may use it. The pump is
//! handed requests over a [channel](channel()) that wakes it, and answers them between two messages.

pub mod channel;
#[cfg(test)]
mod fixture;
pub mod protocol;
pub mod server;

pub use channel::{Asked, Receiver, Sender, channel};
pub use protocol::{Request, Response};

use std::path::PathBuf;

use crate::config::Settings;
use crate::config::settings::AdminSocket;

/// Where the instance of these settings listens; `None`: nowhere.
#[must_use]
pub fn socket_path(settings: &Settings) -> Option<PathBuf> {
    match &settings.admin {
        AdminSocket::Off => None,
        AdminSocket::Path(path) => Some(path.clone()),
        AdminSocket::Default => {
            let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
            let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from);
            Some(directory.join(format!("walferry-{}.sock", settings.name)))
        }
    }
}
