//! The tutorials say what the example does, and the example is an arm like any other.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::tiny::Tiny;

#[test]
fn the_tutorial_has_the_program_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = fs::read_to_string(folder.join("examples/own_arm.rs")).unwrap();
    let (_, program) = program.split_once("\n\n").unwrap();
    let tutorial = fs::read_to_string(folder.join("../docs/own-estimator.md")).unwrap();
    assert!(
        tutorial.contains(program.trim()),
        "docs/own-estimator.md has another program"
    );
    let code = program.lines().map(str::trim);
    let lines = code
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count();
    assert!(lines <= 60, "{lines} lines of code");
}

#[test]
fn the_estimator_of_the_tutorial_is_an_arm() {
    let binary = Path::new(env!("CARGO_BIN_EXE_joinwright"));
    let example = binary.with_file_name("examples").join("own_arm");
    if !example.is_file() {
        println!(
            "skipped: the example own_arm is not built, as it is by `cargo test` without `--test`"
        );
        return;
    }
    let tiny = Tiny::write();
    let run = Command::new(&example)
        .args([
            "bench",
            "tiny suite",
            "--runs",
            "1",
            "--warmup",
            "0",
            "--out",
            "run",
        ])
        .args([
            "--arm",
            "default",
            "--arm",
            "estimator=foreign-keys,cost=cout",
        ])
        .current_dir(tiny.folder())
        .output()
        .unwrap();
    let (said, failed) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{failed}");
    assert!(said.contains("4 queries, 4 same"), "{said}");
    let kept = fs::read_to_string(tiny.folder().join("run/run.json")).unwrap();
    assert!(kept.contains("\"estimator\":\"foreign-keys\""));
}
