//! The binary: the command line, and the way out.

use std::io::Write as _;

fn main() {
    let exit = walferry::cli::main();
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    leave(exit.code());
}

/// Ends the process without the exit handlers of linked libraries.
///
/// librdkafka's threads may still be closing their connections, and OpenSSL's exit handler frees
/// what they use: the process would end in a segmentation fault instead of its exit code.
#[expect(unsafe_code, reason = "the standard library has no exit without handlers")]
fn leave(code: u8) -> ! {
    // SAFETY: `_exit` takes any integer, touches no memory of ours and does not return. Nothing is
    // left that would have to run: output is flushed, and what matters is durable elsewhere.
    unsafe { libc::_exit(i32::from(code)) }
}
