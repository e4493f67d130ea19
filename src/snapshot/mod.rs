//! What a snapshot is made of, without a connection: its durable record, the rows as text, the
//! ranges that are read side by side, the marks of the first and last rows, and the brake.
//!
//! The passes that read with it are in `pump::snapshot`, the SQL in `postgres::snapshot`.

mod choice;
pub mod copy_row;
pub mod key;
pub mod markers;
pub mod progress;
pub mod ranges;
pub mod rate;
pub mod record;
pub mod scan;
pub mod visible;
pub mod window;

pub use choice::wanted;
pub use key::Key;
pub use progress::{Progress, TableProgress, TableStage};
pub use record::{FrozenState, Record, Table, TableState, WindowState};
