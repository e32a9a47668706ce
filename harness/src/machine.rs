//! What a run's times depend on: the machine, and the versions of what ran.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine of a run; what cannot be found out is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: Option<String>,
    /// Logical processors that this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) os: String,
}

/// Versions of the code that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) joinwright: String,
    pub(crate) datafusion: String,
    pub(crate) arrow: String,
    pub(crate) rustc: Option<String>,
    /// Of the source folder, with `-dirty` behind it where that had changes; absent where there is none.
    pub(crate) commit: Option<String>,
    /// Times of a build without optimization say nothing.
    pub(crate) optimized: bool,
}

impl Machine {
    /// The machine that this runs on.
    pub(crate) fn here() -> Self {
        let cpu = field("/proc/cpuinfo", "model name", ':');
        let memory = field("/proc/meminfo", "MemTotal", ':')
            .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let name = field("/etc/os-release", "PRETTY_NAME", '=');
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let os = [
            name.as_deref().unwrap_or(std::env::consts::OS),
            kernel.trim(),
            std::env::consts::ARCH,
        ];
        Self {
            cpu,
            cores: available_threads(),
            memory_bytes: memory.map(|kilobytes| kilobytes * 1024),
            os: os
                .join(" ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

impl Versions {
    /// The versions of this binary.
    pub(crate) fn here() -> Self {
        Self {
            joinwright: env!("CARGO_PKG_VERSION").to_owned(),
            datafusion: datafusion::DATAFUSION_VERSION.to_owned(),
            arrow: arrow::ARROW_VERSION.to_owned(),
            rustc: option_env!("JOINWRIGHT_RUSTC").map(str::to_owned),
            commit: commit(),
            optimized: !cfg!(debug_assertions),
        }
    }
}

/// How many threads can run at once; 1 where that is not known.
pub(crate) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of the first line `key SEPARATOR value` in a file of such lines.
fn field(path: &str, key: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        let value = value.trim().trim_matches('"');
        (name.trim() == key && !value.is_empty()).then(|| value.to_owned())
    })
}

fn commit() -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(source)
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let mark = if changed.trim().is_empty() {
        ""
    } else {
        "-dirty"
    };
    Some(commit + mark)
}
