//! The configuration: the TOML as written, and the settings as resolved.

pub mod settings;

pub use settings::Settings;
