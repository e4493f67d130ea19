//! What a process has used, from `/proc`.

use std::fs;
use std::time::Duration;

/// Linux counts in hundredths of a second towards user space, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process, ended threads included, to 10 ms. Also of a process that has
/// ended and was not waited for.
pub fn cpu_time(pid: u32) -> Duration {
    let (_, ticks) = stat(pid).unwrap_or_else(|| panic!("no process {pid}"));
    TICK * ticks
}

/// Whether the process has ended; its figures stay until somebody waits for it.
pub(super) fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == 'Z')
}

/// CPU time of the threads that a process has now, to the nanosecond: for short times in which no
/// thread ends.
pub fn threads_cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.unwrap_or_else(|_| panic!("no process {pid}"));
    // A thread may end in between.
    let times = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    let sum: Duration = times.sum();
    // A kernel without these figures.
    if sum.is_zero() { cpu_time(pid) } else { sum }
}

/// State, and ticks of user and system time.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let mut ticks = fields.skip(10).take(2).map(|field| field.parse::<u32>());
    Some((state, ticks.next()?.ok()? + ticks.next()?.ok()?))
}
