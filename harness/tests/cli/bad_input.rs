//! Bad input: one line on standard error that names the thing, exit status 2, and nothing half-written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tiny::Tiny;
use crate::{Run, joinwright, joinwright_with_input};

/// Every file and folder below `folder`, but for the statistics cache, which is whole at any moment.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".joinwright") {
                continue;
            }
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

#[track_caller]
fn check_run(run: &Run, named: &str) {
    assert_eq!(run.status, 2, "{}\n{}", run.stdout, run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "not one line:\n{}", run.stderr);
    assert!(lines[0].contains(named), "{named} is not in {}", lines[0]);
    assert_eq!(run.stdout, "");
}

/// Runs the binary where `tiny` is; `named` must be in what it says.
#[track_caller]
fn check(tiny: &Tiny, arguments: &[&str], named: &str) {
    let before = files(tiny.folder());
    check_run(&joinwright(tiny.folder(), arguments), named);
    assert_eq!(files(tiny.folder()), before, "{arguments:?} left something");
}

#[test]
fn missing_folders() {
    let tiny = Tiny::write();
    for arguments in [
        &["bench", "no such folder"][..],
        &["plan", "no such folder", "--json"],
        &["explain", "no such folder", "q1"],
        &["analyze", "no such folder"],
        &["stats", "no such folder"],
        &["sql", "no such folder", "-c", "SELECT 1"],
        &["bench", "tiny suite", "--queries", "no such folder"],
    ] {
        check(&tiny, arguments, "no such folder");
    }
    // A folder, but not a suite.
    check(&tiny, &["bench", "tiny suite/my data"], "suite.toml");
}

#[test]
fn folders_without_parquet() {
    let tiny = Tiny::write();
    let empty = tiny.folder().join("empty folder");
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join("notes.txt"), "no data").unwrap();
    for arguments in [
        &["analyze", "empty folder"][..],
        &["stats", "empty folder"],
        &["sql", "empty folder", "-c", "SELECT 1"],
    ] {
        check(&tiny, arguments, "empty folder");
    }
    let toml = tiny.suite().join("suite.toml");
    fs::write(
        toml,
        "name = 't'\ndata = '../empty folder'\nqueries = 'my queries'",
    )
    .unwrap();
    check(&tiny, &["bench", "tiny suite"], "empty folder");
    check(&tiny, &["plan", "tiny suite", "--json"], "empty folder");
}

#[test]
fn folders_without_queries() {
    let tiny = Tiny::write();
    fs::create_dir(tiny.folder().join("none")).unwrap();
    check(&tiny, &["bench", "tiny suite", "--queries", "none"], "none");
}

/// Runs every command that reads data over a suite whose `item.parquet` is damaged.
#[track_caller]
fn check_damaged(damage: impl Fn(Vec<u8>) -> Vec<u8>) {
    let tiny = Tiny::write();
    let path = tiny.data().join("item.parquet");
    fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
    for arguments in [
        &["bench", "tiny suite"][..],
        &["bench", "tiny suite", "--arm", "default"],
        &["plan", "tiny suite", "--json"],
        &["explain", "tiny suite", "q1"],
        &["analyze", "tiny suite/my data"],
        &["stats", "tiny suite/my data"],
        &[
            "sql",
            "tiny suite/my data",
            "-c",
            "SELECT count(*) FROM item",
        ],
    ] {
        check(&tiny, arguments, "item.parquet");
    }
}

#[test]
fn truncated_parquet_files() {
    check_damaged(|bytes| bytes[..bytes.len() / 2].to_vec());
    check_damaged(|bytes| bytes[..bytes.len() - 1].to_vec());
    check_damaged(|bytes| bytes[..3].to_vec());
    check_damaged(|_| Vec::new());
}

#[test]
fn files_that_are_not_parquet() {
    check_damaged(|_| b"id,name\n1,one\n".to_vec());
    // The right magic numbers around a footer that is not one.
    check_damaged(|mut bytes| {
        let end = bytes.len() - 8;
        bytes[end - 40..end].fill(0xFF);
        bytes
    });
}

#[test]
fn unknown_queries() {
    let tiny = Tiny::write();
    check(&tiny, &["bench", "tiny suite", "--query", "q1,q99"], "q99");
    check(
        &tiny,
        &["plan", "tiny suite", "--query", "q99", "--json"],
        "q99",
    );
    check(&tiny, &["explain", "tiny suite", "q99"], "q99");
}

#[test]
fn unknown_arms() {
    let tiny = Tiny::write();
    for (arm, named) in [
        ("fast", "fast"),
        ("enumerator=fast", "fast"),
        ("estimator=fast", "fast"),
        ("cost=fast", "fast"),
        ("speed=9", "speed"),
        ("enumerator=", "enumerator"),
        ("enumerator=goo,enumerator=dpccp", "enumerator"),
        ("budget=-1", "-1"),
        ("stats=9", "stats"),
        ("default+more", "default+more"),
    ] {
        check(
            &tiny,
            &["bench", "tiny suite", "--arm", "default", "--arm", arm],
            named,
        );
        check(
            &tiny,
            &["plan", "tiny suite", "--json", "--arm", arm],
            named,
        );
        let sql = ["sql", "tiny suite/my data", "-c", "SELECT 1", "--arm", arm];
        check(&tiny, &sql, named);
    }
}

#[test]
fn broken_arms_files() {
    let tiny = Tiny::write();
    let bench = ["bench", "tiny suite", "--arms", "arms.toml"];
    check(&tiny, &bench, "arms.toml");
    for (text, named) in [
        ("", "no arm"),
        ("[[arm]]\nparts = 'fast'", "fast"),
        (
            "[[arm]]\nparts = 'default'\n[[arm]]\nparts = 'default'",
            "default",
        ),
        ("[matrix]\ncost = ['fast']", "fast"),
        ("[matrix", "arms.toml"),
    ] {
        fs::write(tiny.folder().join("arms.toml"), text).unwrap();
        check(&tiny, &bench, named);
    }
}

#[test]
fn unknown_tables_and_columns_of_stats() {
    let tiny = Tiny::write();
    // `stats` opens the cache: what it leaves there is not looked at.
    check(
        &tiny,
        &["stats", "tiny suite/my data", "nothing"],
        "nothing",
    );
    check(
        &tiny,
        &["stats", "tiny suite/my data", "orders.nothing"],
        "nothing",
    );
}

#[test]
fn broken_suite_files() {
    let tiny = Tiny::write();
    for text in [
        "name = ",
        "data = 'd'",
        "name = 't'\ndata = 7\nqueries = 'my queries'",
        "\u{0}\u{1}",
    ] {
        fs::write(tiny.suite().join("suite.toml"), text).unwrap();
        check(&tiny, &["bench", "tiny suite"], "suite.toml");
    }
}

#[test]
fn broken_sql() {
    let tiny = Tiny::write();
    let data = "tiny suite/my data";
    fs::write(
        tiny.folder().join("broken query.sql"),
        "SELEC 1 FROM customer",
    )
    .unwrap();
    check(
        &tiny,
        &["sql", data, "-f", "broken query.sql"],
        "broken query.sql",
    );
    check(&tiny, &["sql", data, "-f", "no such.sql"], "no such.sql");
    check(
        &tiny,
        &["sql", data, "-c", "SELECT nothing FROM customer"],
        "nothing",
    );
    check(
        &tiny,
        &["sql", data, "-c", "SELECT 1 FROM no_such_table"],
        "no_such_table",
    );
    check(&tiny, &["sql", data, "-c", "SELECT 1; SELECT (2"], "SQL");
    let input = joinwright_with_input(tiny.folder(), &["sql", data], "SELECT * FROM no_such_table");
    check_run(&input, "no_such_table");
    // Text that is not text.
    fs::write(tiny.folder().join("binary.sql"), [0xFF, 0xFE, 0x00]).unwrap();
    check(&tiny, &["sql", data, "-f", "binary.sql"], "binary.sql");
    fs::write(tiny.suite().join("my queries/q9.sql"), [0xFF, 0xFE, 0x00]).unwrap();
    check(&tiny, &["bench", "tiny suite", "--query", "q9"], "q9.sql");
    check(
        &tiny,
        &["plan", "tiny suite", "--query", "q9", "--json"],
        "q9.sql",
    );
}

#[test]
fn a_query_without_plan_is_named() {
    let tiny = Tiny::write();
    fs::write(tiny.suite().join("my queries/q9.sql"), "SELECT FROM FROM").unwrap();
    check(
        &tiny,
        &["plan", "tiny suite", "--query", "q9", "--json"],
        "q9",
    );
    check(&tiny, &["explain", "tiny suite", "q9"], "q9");
}

/// Permissions do not bind the administrator, so a file stands in for a folder that takes no files.
#[test]
fn results_folders_that_take_no_files() {
    let tiny = Tiny::write();
    fs::write(tiny.folder().join("a file"), "in the way").unwrap();
    let bench = |out: &'static str| ["bench", "tiny suite", "--runs", "1", "--out", out];
    check(&tiny, &bench("a file"), "a file");
    check(&tiny, &bench("a file/run"), "a file/run");
    check(&tiny, &bench("/proc/nothing/run"), "/proc/nothing/run");
    fs::write(tiny.folder().join("results"), "in the way").unwrap();
    check(&tiny, &["bench", "tiny suite", "--runs", "1"], "results");
    assert_eq!(
        fs::read_to_string(tiny.folder().join("a file")).unwrap(),
        "in the way"
    );
}

/// A folder that already holds a run keeps it.
#[test]
fn runs_are_not_written_over() {
    let tiny = Tiny::write();
    let bench = [
        "bench",
        "tiny suite",
        "--runs",
        "1",
        "--warmup",
        "0",
        "--out",
        "run",
    ];
    joinwright(tiny.folder(), &bench).ok();
    let raw = fs::read(tiny.folder().join("run/raw.csv")).unwrap();
    check(&tiny, &bench, "run");
    assert_eq!(fs::read(tiny.folder().join("run/raw.csv")).unwrap(), raw);
}

#[test]
fn impossible_numbers() {
    let tiny = Tiny::write();
    // clap's own message has several lines: the first one names the thing.
    for (arguments, named) in [
        (["bench", "tiny suite", "--runs", "0"], "runs"),
        (["bench", "tiny suite", "--runs", "many"], "many"),
        (["bench", "tiny suite", "--threads", "0"], "threads"),
        (["bench", "tpch", "--scale", "0"], "scale"),
        (["bench", "tpch", "--scale", "-1"], "-1"),
        (["bench", "tiny suite", "--timeout", "0"], "timeout"),
    ] {
        let before = files(tiny.folder());
        let run = joinwright(tiny.folder(), &arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stderr);
        let first = run.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(named), "{arguments:?}: {}", run.stderr);
        assert_eq!(files(tiny.folder()), before, "{arguments:?} left something");
    }
}

/// A cache folder that cannot be used is named; it is not fatal to have none, but a file in its place is an error.
#[test]
fn cache_folder_that_is_a_file() {
    let tiny = Tiny::write();
    fs::write(tiny.folder().join("my cache"), "in the way").unwrap();
    for arguments in [
        &["analyze", "tiny suite/my data", "--cache", "my cache"][..],
        &["stats", "tiny suite/my data", "--cache", "my cache"],
        &["bench", "tiny suite", "--cache", "my cache"],
    ] {
        check(&tiny, arguments, "my cache");
    }
}

#[test]
fn constants_that_cannot_be_read() {
    let tiny = Tiny::write();
    fs::write(tiny.folder().join("no constants.json"), "[]").unwrap();
    for (arm, named) in [
        ("constants=no such file.json", "no such file.json"),
        ("constants=no constants.json", "no constants.json"),
    ] {
        check(&tiny, &["bench", "tiny suite", "--arm", arm], named);
    }
    check(
        &tiny,
        &["calibrate", "--out", "no constants.json"],
        "no constants.json",
    );
    check(
        &tiny,
        &["calibrate", "--out", "new", "--threads", "0"],
        "--threads",
    );
}

#[test]
fn arms_do_not_have_the_names_of_peers() {
    let tiny = Tiny::write();
    let arms = "[[arm]]\nname = 'duckdb'\nparts = 'default'";
    fs::write(tiny.folder().join("arms.toml"), arms).unwrap();
    let bench = ["bench", "tiny suite", "--arms", "arms.toml"];
    // Without the package a line says so first.
    let run = joinwright(tiny.folder(), &[&bench[..], &["--peer", "duckdb"]].concat());
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("name of a peer"), "{}", run.stderr);
}
