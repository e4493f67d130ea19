//! Wakes the pump out of its `poll(2)` from any other thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// An `eventfd` that other threads write to and the pump polls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wake {
    fd: Arc<OwnedFd>,
}

impl Wake {
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Wake> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Wake { fd: Arc::new(fd) })
    }

    /// Ends the current or the next wait of the pump.
    pub fn wake(&self) {
        // The only way to fail is a counter near its limit of 2^64: then the pump is awake anyway.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Takes back all wake-ups so far.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fd, &mut count);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_awake(wake: &Wake) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(wake.fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn wakes_once_however_often_it_was_called() {
        let wake = Wake::new().unwrap();
        assert!(!is_awake(&wake));
        wake.wake();
        wake.wake();
        assert!(is_awake(&wake));
        wake.clear();
        assert!(!is_awake(&wake));
    }
}
