//! What must hold whatever the bytes are, said once for both of its drivers.
//!
//! Each function here takes bytes from outside, gives them to one reader of the product, and panics
//! where an invariant does not hold. The tests of this module drive it with some hundred made-up
//! inputs (`make test`); the targets in `fuzz/` drive it with libFuzzer for as long as one likes
//! (`make fuzz`). An input that libFuzzer finds goes into those tests.
//!
//! Compiled for the two alone: without the feature `fuzzing` there is no such module.

// A panic is how a broken invariant is reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod frame_reader;
mod pgoutput;
mod registry;
#[cfg(test)]
mod tests;
mod text_decoders;

pub use config::config;
pub use frame_reader::frame_reader;
pub use pgoutput::pgoutput;
pub use registry::registry;
pub use text_decoders::text_decoders;

/// Takes an input apart. What is not there is zero, so that every input means something.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes([self.u8(), self.u8(), self.u8(), self.u8()])
    }

    /// The bytes up to the next NUL, which is taken too, or all that are left.
    fn until_nul(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        taken
    }
}
