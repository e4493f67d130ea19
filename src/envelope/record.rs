//! Small pieces that every writer of records needs.

use std::convert::Infallible;

use crate::kafka::Batch;

/// Takes the result of a writer that cannot fail.
#[inline]
pub(crate) fn infallible(result: Result<(), Infallible>) {
    match result {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// Runs `write` and takes back whatever it wrote if it fails, so that a batch never holds half a
/// change.
#[inline]
pub(crate) fn whole_or_nothing<T, E>(
    batch: &mut Batch,
    write: impl FnOnce(&mut Batch) -> Result<T, E>,
) -> Result<T, E> {
    let mark = batch.mark();
    let result = write(batch);
    if result.is_err() {
        batch.rewind(mark);
    }
    result
}
