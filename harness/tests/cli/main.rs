//! The binary as its users meet it: arguments in, files, text and an exit status out.

mod bad_input;
mod browser;
mod calibrate;
mod commands;
mod explain;
mod folders;
mod import;
mod metrics;
mod peers;
mod postgres;
mod report;
mod resume;
mod search;
mod statistics;
mod suites;
mod tiny;
mod truth;
mod tutorial;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a run of the binary came to.
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The output of a run that had to succeed.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs the binary in `folder`, with nothing on standard input.
fn joinwright(folder: &Path, arguments: &[&str]) -> Run {
    joinwright_with_input(folder, arguments, "")
}

fn joinwright_with_input(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        // A panic has one line without it, and one line is what bad input is checked for.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that never reads its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
