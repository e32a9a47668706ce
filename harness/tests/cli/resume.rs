//! `bench --resume`: a run that was killed goes on, and no sample of it is taken twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::joinwright;
use crate::tiny::{QUERIES, Tiny};

/// Queries that the suite has, so that there is something to be interrupted.
const COUNT: usize = 12;

fn write_suite() -> Tiny {
    let tiny = Tiny::write();
    let queries = tiny.suite().join("my queries");
    fs::remove_dir_all(&queries).unwrap();
    fs::create_dir(&queries).unwrap();
    for at in 0..COUNT {
        let (_, sql, _) = QUERIES[at % QUERIES.len()];
        fs::write(queries.join(format!("x{at}.sql")), sql).unwrap();
    }
    tiny
}

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["bench", "tiny suite", "--runs", "4", "--warmup", "1"];
    arguments.extend(["--threads", "2", "--out", out]);
    arguments.extend(more);
    arguments
}

fn start(tiny: &Tiny, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .args(arguments)
        .current_dir(tiny.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The whole lines of a run's samples.
fn lines(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("raw.csv")).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(str::to_owned).collect()
}

/// Which samples a run has: query, arm, number, and whether it is a warm-up. None twice.
fn samples(run: &Path) -> BTreeSet<[String; 4]> {
    let mut reader = csv::Reader::from_path(run.join("raw.csv")).unwrap();
    let mut found = BTreeSet::new();
    for record in reader.records() {
        let record = record.unwrap();
        let sample = [0, 1, 2, 3].map(|at| record[at].to_owned());
        assert!(found.insert(sample), "{record:?} is there twice");
    }
    found
}

fn run_json(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap()
}

#[test]
fn killed_runs_go_on() {
    let tiny = write_suite();
    let whole = tiny.folder().join("whole");
    joinwright(tiny.folder(), &arguments("whole", &[])).ok();
    let run = tiny.folder().join("run");
    let mut kept: Vec<String> = vec![];
    // At moments that come while tables are looked at, within queries, and between them.
    for (lines_more, wait_ms) in [
        (0, 5),
        (0, 60),
        (1, 0),
        (1, 7),
        (1, 23),
        (11, 3),
        (21, 11),
        (1, 40),
    ] {
        let mut child = start(&tiny, &arguments("run", &["--resume"]));
        let started = Instant::now();
        let before = lines(&run).len();
        while lines_more > 0 && lines(&run).len() < before + lines_more {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "nothing is recorded"
            );
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was recorded in full is there as it was, with the same times.
        let now = lines(&run);
        let recorded: BTreeSet<String> = match run.join("run.json").is_file() {
            true => run_json(&run)["summary"]
                .as_array()
                .unwrap()
                .iter()
                .map(|query| query["query"].as_str().unwrap().to_owned())
                .collect(),
            false => BTreeSet::new(),
        };
        assert!(
            kept.iter().all(|line| now.contains(line)),
            "a sample is gone"
        );
        let of_recorded = |line: &&String| recorded.contains(line.split(',').next().unwrap());
        kept = now.iter().filter(of_recorded).cloned().collect();
        assert_eq!(kept.len(), recorded.len() * 10);
        // A run in the middle has a report.
        if !recorded.is_empty() {
            joinwright(tiny.folder(), &["report", "run"]).ok();
        }
    }
    let table = joinwright(tiny.folder(), &arguments("run", &["--resume"])).ok();
    assert!(table.contains("12 queries, 12 same"), "{table}");
    assert!(kept.iter().all(|line| lines(&run).contains(line)));
    assert_eq!(samples(&run), samples(&whole));
    let (run_json, whole_json) = (run_json(&run), run_json(&whole));
    for part in ["summary", "details"] {
        let names = |run: &Value| -> Vec<Value> {
            let queries = run[part].as_array().unwrap().iter();
            queries.map(|query| query["query"].clone()).collect()
        };
        assert_eq!(names(&run_json), names(&whole_json), "{part}");
    }
    assert!(
        run_json["resumed"]
            .as_array()
            .is_some_and(|times| !times.is_empty())
    );
    let mut files: Vec<String> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["README.md", "raw.csv", "report.html", "run.json"]);

    // Nothing is left to be done: not a sample changes.
    let before = fs::read_to_string(run.join("raw.csv")).unwrap();
    joinwright(tiny.folder(), &arguments("run", &["--resume"])).ok();
    assert_eq!(fs::read_to_string(run.join("raw.csv")).unwrap(), before);
}

#[test]
fn ctrl_c_leaves_a_run_that_reports_and_goes_on() {
    let tiny = write_suite();
    // Without the name of a folder, it is found again.
    let arguments = [
        "bench",
        "tiny suite",
        "--runs",
        "6",
        "--seed",
        "7",
        "--resume",
    ];
    let mut child = start(&tiny, &arguments);
    let results = tiny.folder().join("results");
    let folder = || Some(fs::read_dir(&results).ok()?.next()?.unwrap().path());
    let started = Instant::now();
    while folder().is_none_or(|run| lines(&run).len() < 2) {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "nothing is recorded"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    let status = child.wait().unwrap().code();
    let run = folder().unwrap();
    let done = samples(&run).len();
    if status == Some(130) {
        assert_eq!(run_json(&run)["interrupted"], true);
        assert!(done < COUNT * 14);
    }
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("\"interrupted\":"));

    let table = joinwright(tiny.folder(), &arguments).ok();
    assert!(table.contains("12 queries, 12 same"), "{table}");
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1, "another run");
    assert_eq!(samples(&run).len(), COUNT * 14);
    assert_eq!(
        (&run_json(&run)["interrupted"], &run_json(&run)["seed"]),
        (&false.into(), &7.into())
    );
}

/// Ctrl-C within the first query: a folder that reports, and samples that are not taken again.
#[test]
fn ctrl_c_in_the_first_query_keeps_its_samples() {
    let tiny = Tiny::write();
    let queries = tiny.suite().join("my queries");
    fs::remove_dir_all(&queries).unwrap();
    fs::create_dir(&queries).unwrap();
    // Some tenths of a second each.
    let sql = "SELECT count(*) FROM item a, item b, item c WHERE a.amount + b.amount > c.amount AND c.product_id = 1";
    fs::write(queries.join("long.sql"), sql).unwrap();
    let arguments = [
        "bench",
        "tiny suite",
        "--runs",
        "40",
        "--threads",
        "2",
        "--out",
        "run",
        "--resume",
    ];
    let mut child = start(&tiny, &arguments);
    let cache = tiny.folder().join(".joinwright");
    let started = Instant::now();
    while !cache.exists() {
        assert!(started.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(1500));
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let run = tiny.folder().join("run");
    let kept = lines(&run);
    assert_eq!(run_json(&run)["interrupted"], true);
    assert_eq!(run_json(&run)["summary"], serde_json::json!([]));
    assert!(kept.len() > 1, "{kept:?}");
    let said = joinwright(tiny.folder(), &["report", "run"]).ok();
    assert!(said.contains("report.html"), "{said}");
    let readme = fs::read_to_string(run.join("README.md")).unwrap();
    let expected = format!("{} samples of query long are kept", kept.len() - 1);
    assert!(readme.contains(&expected), "{readme}");

    joinwright(tiny.folder(), &arguments).ok();
    let now = lines(&run);
    assert!(
        kept.iter().all(|line| now.contains(line)),
        "a sample is gone"
    );
    assert_eq!(samples(&run).len(), 2 * 41);
    let details = &run_json(&run)["details"][0]["arms"];
    assert_eq!(details.as_array().map(Vec::len), Some(2));
}

/// What is finished is said to be, with the name of its folder or without.
#[test]
fn nothing_is_left_to_be_done() {
    let tiny = Tiny::write();
    let arguments = ["bench", "tiny suite", "--runs", "1", "--resume"];
    joinwright(tiny.folder(), &arguments).ok();
    let results = tiny.folder().join("results");
    let folder = fs::read_dir(&results)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let before = fs::read_to_string(folder.join("raw.csv")).unwrap();
    let said = joinwright(tiny.folder(), &arguments).ok();
    assert!(said.starts_with("nothing is left to be done"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("raw.csv")).unwrap(), before);
    assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
}

/// A disk that was full, or a copy that broke off.
#[test]
fn a_line_that_is_cut_off_is_run_again() {
    let tiny = Tiny::write();
    joinwright(tiny.folder(), &arguments("run", &[])).ok();
    let run = tiny.folder().join("run");
    let raw = run.join("raw.csv");
    let text = fs::read_to_string(&raw).unwrap();
    let whole = samples(&run);
    for cut in [1, 4, 30] {
        fs::write(&raw, &text[..text.len() - cut]).unwrap();
        let report = joinwright(tiny.folder(), &["report", "run"]);
        assert_eq!(report.status, 0, "{}", report.stderr);
        assert!(report.stderr.contains("cut off"), "{}", report.stderr);
        joinwright(tiny.folder(), &arguments("run", &["--resume"])).ok();
        assert_eq!(samples(&run), whole);
        let kept = text[..text.len() - cut].rsplit_once('\n').unwrap().0;
        assert!(fs::read_to_string(&raw).unwrap().starts_with(kept));
    }
}

#[test]
fn a_seed_decides_the_order() {
    let tiny = write_suite();
    let order = |out: &str, seed: &str| -> Vec<String> {
        let more = ["--seed", seed];
        joinwright(tiny.folder(), &arguments(out, &more)).ok();
        let lines = lines(&tiny.folder().join(out));
        let names = lines
            .iter()
            .map(|line| line.split(',').take(2).collect::<Vec<_>>().join(" "));
        names.collect()
    };
    let (one, again, other) = (order("one", "1"), order("again", "1"), order("other", "2"));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let samples = |out: &str| samples(&tiny.folder().join(out));
    assert_eq!(samples("one"), samples("other"));
}

/// Numbers of other settings do not belong in one run.
#[test]
fn other_runs_do_not_go_on() {
    let tiny = write_suite();
    joinwright(tiny.folder(), &arguments("run", &["--query", "x1,x2"])).ok();
    let before = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    let check = |more: &[&str], named: &str| {
        let arguments = arguments("run", &[&["--resume"], more].concat());
        let run = joinwright(tiny.folder(), &arguments);
        assert_eq!(run.status, 2, "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(named), "no {named} in {}", run.stderr);
    };
    check(&["--query", "x1,x2,x3"], "number of queries");
    check(&["--query", "x1,x3"], "query x2");
    check(&["--query", "x1,x2", "--arm", "default"], "arms");
    check(&["--query", "x1,x2", "--seed", "3"], "seed");
    fs::write(tiny.suite().join("my queries/x1.sql"), "SELECT 1").unwrap();
    check(&["--query", "x1,x2"], "query x1 was another one");
    let after = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    assert_eq!(after, before);
}

/// Numbers of other data do not belong to a run.
#[test]
fn a_run_goes_on_with_the_data_that_it_began_with() {
    let tiny = write_suite();
    let only = ["--query", "x0"];
    joinwright(tiny.folder(), &arguments("run", &only)).ok();
    let again = arguments("run", &["--query", "x0", "--resume"]);
    joinwright(tiny.folder(), &again).ok();
    let (orders, parts) = (tiny.data().join("orders"), ["part 1", "part 2"]);
    let part = |at: usize| orders.join(format!("{}.parquet", parts[at]));
    fs::copy(part(0), part(1)).unwrap();
    let refused = joinwright(tiny.folder(), &again);
    assert_eq!(refused.status, 2);
    assert!(
        refused
            .stderr
            .contains("cannot go on: the data was 4 tables"),
        "{}",
        refused.stderr
    );
}
