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
    let wake_fd = wake.fd();
    let woken = PollFd::from_borrowed_fd(wake_fd, PollFlags::IN);
    let flags = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let both;
    let mut pair;
    let mut single;
    let fds: &mut [PollFd<'_>] = if let Some(socket) = socket {
        both = PollFd::from_borrowed_fd(socket, flags);
        pair = [woken, both];
        &mut pair
    } else {
        single = [woken];
        &mut single
    };
    if poll(fds, Some(&timeout)).is_ok() && fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
        wake.clear();
    }
}
