//! `bench --peer`: another system over the same files, or a line that says how to get it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::joinwright;
use crate::tiny::{QUERIES, Tiny};

const BENCH: [&str; 10] = [
    "bench",
    "tiny suite",
    "--runs",
    "2",
    "--warmup",
    "1",
    "--out",
    "run",
    "--peer",
    "duckdb",
];

#[test]
fn duckdb_stands_in_the_same_table() {
    let installed = Command::new("python3")
        .args(["-c", "import duckdb"])
        .output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no package duckdb");
        return;
    }
    let tiny = Tiny::write();
    let broken = tiny.suite().join("my queries/q3.sql");
    fs::write(
        broken,
        "SELECT count(*), array_length(make_array(1)) FROM orders",
    )
    .unwrap();
    let run = joinwright(tiny.folder(), &BENCH);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    let text = fs::read_to_string(tiny.folder().join("run/run.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let arms: Vec<&str> = json["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| arm["name"].as_str().unwrap())
        .collect();
    assert_eq!(arms, ["default", "joinwright", "duckdb"], "{}", run.stderr);
    assert!(json["arms"][2]["options"]["version"].is_string());
    for (query, _, rows) in QUERIES {
        let own: Vec<&str> = raw
            .lines()
            .filter(|line| line.starts_with(&format!("{query},duckdb,")))
            .collect();
        assert_eq!(own.len(), 3, "{raw}");
        let details = json["details"]
            .as_array()
            .unwrap()
            .iter()
            .find(|own| own["query"] == query)
            .unwrap();
        let arm = details["arms"]
            .as_array()
            .unwrap()
            .iter()
            .find(|arm| arm["arm"] == "duckdb")
            .unwrap();
        let operators = details["plans"][arm["plan"].as_u64().unwrap() as usize]["operators"]
            .as_array()
            .unwrap();
        assert_eq!(arm["rows"][0], rows, "{details}");
        let joins: Vec<usize> = (0..operators.len())
            .filter(|at| operators[*at]["j"] == true)
            .collect();
        assert!(!joins.is_empty());
        for at in joins {
            assert!(
                arm["estimated"][at].is_number() && arm["rows"][at].is_u64(),
                "{arm}"
            );
        }
        assert!(
            operators.iter().any(|operator| operator["s"].is_string()),
            "no table"
        );
    }
    // What DuckDB does not know is a row, as for any arm.
    let failed = raw
        .lines()
        .find(|line| line.starts_with("q3,duckdb,"))
        .unwrap();
    assert!(failed.contains(",error,"), "{failed}");
    let report = joinwright(tiny.folder(), &["report", "run"]);
    assert_eq!(report.status, 0, "{}", report.stderr);
}

#[test]
fn absent_peers_are_skipped_with_a_line() {
    let tiny = Tiny::write();
    let empty = tiny.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .args(BENCH)
        .current_dir(tiny.folder())
        .env("PATH", &empty)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.lines().count() == 1 && said.contains("pip install duckdb"),
        "{said}"
    );
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    assert!(!raw.contains("duckdb"), "{raw}");
}

#[test]
fn unknown_peers_are_named() {
    let tiny = Tiny::write();
    for (peers, named) in [
        (&["oracle9"][..], "oracle9"),
        (&["duckdb", "duckdb"], "given twice"),
    ] {
        let mut arguments = vec!["bench", "tiny suite"];
        arguments.extend(peers.iter().flat_map(|peer| ["--peer", peer]));
        let run = joinwright(tiny.folder(), &arguments);
        assert_eq!(run.status, 2);
        assert!(
            run.stderr.contains(named) && run.stderr.lines().count() == 1,
            "{}",
            run.stderr
        );
    }
}
