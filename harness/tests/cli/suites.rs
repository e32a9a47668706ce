//! Several suites in one run.

use std::fs;
use std::path::Path;

use crate::joinwright;
use crate::tiny::{QUERIES, Tiny};

/// A second suite over the same tables, with one query.
fn write_second(tiny: &Tiny, name: &str) {
    let folder = tiny.folder().join(name);
    fs::create_dir_all(folder.join("queries")).unwrap();
    let toml =
        format!("name = \"{name}\"\ndata = \"../tiny suite/my data\"\nqueries = \"queries\"");
    fs::write(folder.join("suite.toml"), toml).unwrap();
    fs::write(folder.join("queries/z1.sql"), QUERIES[0].1).unwrap();
}

fn bench<'a>(suites: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["bench"];
    arguments.extend(suites);
    arguments.extend(["--runs", "1", "--warmup", "0"]);
    arguments.extend(more);
    arguments
}

fn samples(folder: &Path) -> usize {
    let text = fs::read_to_string(folder.join("raw.csv")).unwrap();
    text.lines().count() - 1
}

#[test]
fn each_has_a_folder_and_all_have_a_line() {
    let tiny = Tiny::write();
    write_second(&tiny, "second");
    let arguments = bench(&["tiny suite", "second"], &["--out", "runs"]);
    let out = joinwright(tiny.folder(), &arguments).ok();
    let runs = tiny.folder().join("runs");
    assert_eq!(samples(&runs.join("tiny")), 8);
    assert_eq!(samples(&runs.join("second")), 2);
    let (tables, together) = out.split_once("tiny, second together\n").unwrap();
    assert!(tables.contains("4 queries, 4 same") && tables.contains("1 query, 1 same"));
    assert!(together.contains("5 queries, 5 same"), "{together}");
    assert!(together.contains("worst ") && together.contains("total: default"));

    // What is done is not done again.
    let mut arguments = arguments;
    arguments.push("--resume");
    let again = joinwright(tiny.folder(), &arguments).ok();
    let together = |out: &str| out.split_once("together\n").unwrap().1.to_owned();
    assert_eq!(together(&again), together(&out));
    assert_eq!(samples(&runs.join("tiny")), 8);

    // Without a folder named, each has its own under results.
    joinwright(tiny.folder(), &bench(&["second", "tiny suite"], &[])).ok();
    let made = fs::read_dir(tiny.folder().join("results")).unwrap();
    assert_eq!(made.count(), 2);
}

/// The folder of all is a run as well.
#[test]
fn several_suites_are_reported_and_compared_together() {
    let tiny = Tiny::write();
    write_second(&tiny, "second <b>");
    for out in ["before", "after"] {
        joinwright(
            tiny.folder(),
            &bench(&["tiny suite", "second <b>"], &["--out", out]),
        )
        .ok();
    }
    let after = tiny.folder().join("after");
    let page = fs::read_to_string(after.join("index.html")).unwrap();
    let link = "<a href=\"second%20%3Cb%3E/report.html\">second &lt;b></a>";
    assert!(
        page.contains(link) && page.contains("href=\"tiny/report.html\""),
        "{page}"
    );
    assert!(page.contains("5 queries, 5 same"));
    for file in ["index.html", "tiny/report.html"] {
        fs::remove_file(after.join(file)).unwrap();
    }
    let said = joinwright(tiny.folder(), &["report", "after"]).ok();
    assert!(
        said.contains("2 reports") && said.contains("index.html"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(after.join("index.html")).unwrap(), page);
    assert!(after.join("tiny/report.html").is_file());

    let text = joinwright(tiny.folder(), &["compare", "before", "after"]).ok();
    assert!(
        text.contains("suite second <b>") && text.contains("suite tiny"),
        "{text}"
    );
    let json = joinwright(tiny.folder(), &["compare", "before", "after", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["suites"].as_object().unwrap().len(), 2);
    fs::remove_dir_all(after.join("tiny")).unwrap();
    let less = joinwright(tiny.folder(), &["compare", "before", "after"]).ok();
    assert!(less.contains("only in the first run: suite tiny"), "{less}");
}

#[test]
fn what_is_wrong_with_one_is_said_before_any_runs() {
    let tiny = Tiny::write();
    write_second(&tiny, "second");
    write_second(&tiny, "broken");
    fs::write(tiny.folder().join("broken/queries/z1.sql"), "SELEC 1").unwrap();
    for (suites, more, named) in [
        (&["tiny suite", "broken"][..], &[][..], "z1.sql"),
        (&["tiny suite", "nowhere"], &[], "nowhere"),
        (&["second", "./second"], &[], "two suites are called second"),
        (&["tiny suite", "second"], &["--query", "q1"], "--query"),
    ] {
        let run = joinwright(tiny.folder(), &bench(suites, more));
        assert_eq!(run.status, 2, "{}", run.stderr);
        assert!(
            run.stderr.contains(named) && run.stderr.lines().count() == 1,
            "{}",
            run.stderr
        );
    }
    assert!(!tiny.folder().join("results").exists());
}

#[test]
fn cold_runs_have_no_warm_up() {
    let tiny = Tiny::write();
    let arguments = ["bench", "tiny suite", "--cold", "--warmup", "2"];
    let run = joinwright(tiny.folder(), &arguments);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("--warmup"), "{}", run.stderr);
}
