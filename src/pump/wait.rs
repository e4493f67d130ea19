//! The pump's one `poll(2)`.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::wake::Wake;

/// Waits until there is something to read (or room to write, if `write`), a wake-up, or the time
/// is over. A signal ends the wait early, which does no harm.
pub(super) fn wait(socket: Option<BorrowedFd<'_>>, write: bool, wake: &Wake, timeout: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let woken = PollFd::from_borrowed_fd(wake.fd(), PollFlags::IN);
    let flags = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut fds = [woken.clone(), woken];
    let fds = match socket {
        Some(socket) => {
            fds[1] = PollFd::from_borrowed_fd(socket, flags);
            &mut fds[..]
        }
        None => &mut fds[..1],
    };
    let ready = poll(fds, Some(&timeout)).is_ok();
    if ready && fds.first().is_some_and(|woken| !woken.revents().is_empty()) {
        wake.clear();
    }
}
