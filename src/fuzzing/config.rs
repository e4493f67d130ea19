//! The configuration file.

use std::io;
use std::path::Path;

use crate::config;

/// What each variable and each file holds that a configuration may name.
const SECRET: &str = "hunter2-the-secret";

/// `data` is the file. It is judged, and no secret that it takes in is shown.
pub fn config(data: &[u8]) {
    if contains(data, SECRET.as_bytes()) {
        return;
    }
    let env = |_: &str| Some(SECRET.to_owned());
    let read_file = |path: &Path| match path.to_str() {
        Some("/missing") => Err(io::Error::from(io::ErrorKind::NotFound)),
        _ => Ok(format!("{SECRET}\n")),
    };
    let shown = match config::parse_bytes(data, "walferry.toml", &env, &read_file) {
        Err(errors) => format!("{errors} {errors:?}"),
        Ok(loaded) => {
            let reports =
                loaded.warnings.iter().map(|warning| warning.report("warning", "walferry.toml"));
            reports.collect()
        }
    };
    assert!(!shown.contains(SECRET), "a secret is shown:\n{shown}");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
