//! Folders that are suites with no set-up, and files in them that are no queries.

use std::fs;
use std::path::Path;

use crate::joinwright;
use crate::tiny::{QUERIES, Tiny};

/// The tables and queries of the tiny suite without its `suite.toml`.
fn write_bare(tiny: &Tiny, data: &str, queries: &str) {
    let bare = tiny.folder().join("bare");
    fs::create_dir_all(bare.join(queries)).unwrap();
    if data.is_empty() {
        for entry in fs::read_dir(tiny.data()).unwrap() {
            let path = entry.unwrap().path();
            fs::rename(&path, bare.join(path.file_name().unwrap())).unwrap();
        }
    } else {
        fs::rename(tiny.data(), bare.join(data)).unwrap();
    }
    for (name, sql, _) in QUERIES {
        fs::write(bare.join(queries).join(format!("{name}.sql")), sql).unwrap();
    }
}

fn bench<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "bare", "--runs", "1", "--warmup", "0"], more].concat()
}

#[test]
fn a_folder_of_parquet_and_one_of_sql_are_a_suite() {
    for data in ["", "parquet", "data"] {
        let tiny = Tiny::write();
        write_bare(&tiny, data, "queries");
        let table = joinwright(tiny.folder(), &bench(&["--out", "run"])).ok();
        assert!(table.contains("4 queries, 4 same"), "{data}: {table}");
        let ran = |arguments: &[&str]| joinwright(tiny.folder(), arguments).ok();
        ran(&["analyze", "bare"]);
        assert!(ran(&["stats", "bare"]).contains("customer"));
        assert!(ran(&["plan", "bare", "--json"]).lines().count() >= 4);
        assert!(ran(&["explain", "bare", "q2"]).contains("product"));
        ran(&["truth", "bare", "--out", "bare/truth.csv"]);
        // A truth in the folder is the suite's.
        assert!(ran(&["estimate", "bare"]).contains("P-error"));
        ran(&["plan", "bare", "--arm", "estimator=oracle"]);
        let count = ran(&[
            "sql",
            "bare",
            "-c",
            "SELECT count(*) AS n FROM item",
            "--format",
            "csv",
        ]);
        assert_eq!(count, "n\n1200\n");
    }
}

#[test]
fn queries_may_lie_elsewhere() {
    let tiny = Tiny::write();
    write_bare(&tiny, "", "../elsewhere");
    let table = joinwright(tiny.folder(), &bench(&["--queries", "elsewhere"])).ok();
    assert!(table.contains("4 queries, 4 same"), "{table}");
    let none = joinwright(tiny.folder(), &bench(&[]));
    assert_eq!(none.status, 2);
    for word in ["bare/queries", "--queries DIR", "suite.toml"] {
        assert!(none.stderr.contains(word), "{}", none.stderr);
    }
    fs::create_dir(tiny.folder().join("nothing")).unwrap();
    let nothing = joinwright(tiny.folder(), &["bench", "nothing"]);
    assert!(
        nothing.status == 2 && nothing.stderr.contains("no Parquet"),
        "{}",
        nothing.stderr
    );
}

fn raw(folder: &Path) -> String {
    fs::read_to_string(folder.join("run/raw.csv")).unwrap()
}

/// One bad file does not stop the others.
#[test]
fn bad_files_are_rows_or_left_out() {
    let tiny = Tiny::write();
    let queries = tiny.suite().join("my queries");
    let write = |name: &str, text: &[u8]| fs::write(queries.join(name), text).unwrap();
    write("x1.sql", b"\xEF\xBB\xBFSELECT count(*) FROM orders");
    write("x2.SQL", b"SELECT count(*) FROM product");
    write("x3.sql", b"SELEC 1");
    write("x4.sql", b"SELECT '\xFF\xFE'");
    write("x5.sql", b"");
    write("x6.sql", b"-- nothing yet\n");
    write(
        "schema.sql",
        b"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, note character varying(12));",
    );
    write(
        "fkindexes.sql",
        b"create index a on t(id);\ncreate index b on t(note);",
    );
    let arguments = [
        "bench",
        "tiny suite",
        "--runs",
        "1",
        "--warmup",
        "0",
        "--out",
        "run",
    ];
    let run = joinwright(tiny.folder(), &arguments);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stdout
            .contains("8 queries, 6 same, 2 failed or timed out"),
        "{}",
        run.stdout
    );
    for (file, why) in [
        ("x3.sql", "cannot understand"),
        ("x4.sql", "no UTF-8"),
        ("x5.sql is empty", "left out"),
        ("x6.sql is empty", "left out"),
        ("schema.sql has no query", "left out"),
        ("fkindexes.sql has no query", "left out"),
    ] {
        let line = run.stderr.lines().find(|line| line.contains(file));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{file}: {}",
            run.stderr
        );
    }
    let raw = raw(tiny.folder());
    for (query, status) in [("x1", "ok"), ("x2", "ok"), ("x3", "error"), ("x4", "error")] {
        let start = format!("{query},default,1,false,{status},");
        assert!(
            raw.lines().any(|line| line.starts_with(&start)),
            "{query}: {raw}"
        );
    }
    let file = "tiny suite/my queries/x1.sql";
    joinwright(tiny.folder(), &["sql", "tiny suite", "-f", file]).ok();
    // Commands that need a plan go on without them.
    let plans = joinwright(tiny.folder(), &["plan", "tiny suite", "--json"]);
    assert_eq!(plans.status, 0, "{}", plans.stderr);
    assert!(plans.stderr.contains("x3.sql") && plans.stdout.contains("\"q1\""));
    let truth = joinwright(
        tiny.folder(),
        &["truth", "tiny suite", "--out", "truth.csv"],
    );
    assert_eq!(truth.status, 0, "{}", truth.stderr);
}
