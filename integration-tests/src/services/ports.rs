//! Free ports, also with several test processes on one machine.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

/// Below the ephemeral ports: there a client that probes its own future port can connect to itself.
const RANGE: Range<u16> = 10_000..32_000;

/// Locked files, one a port, which tell other test processes what is taken. Held until the end.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of the loopback interface that nobody listens on, reserved for this process.
pub fn free_port() -> u16 {
    let directory = lock_directory();
    loop {
        let port = fastrand::u16(RANGE);
        // Not ours to open, or locked by another process: another port.
        let Ok(file) = File::create(directory.join(port.to_string())) else { continue };
        if file.try_lock().is_err() || TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        HELD.lock().expect("the list of ports").push(file);
        return port;
    }
}

fn lock_directory() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let directory = std::env::temp_dir().join(format!("walferry-ports-{user}"));
    std::fs::create_dir_all(&directory).expect("a directory for port locks");
    directory
}
