//! `joinwright search`, which needs no data.

use std::path::Path;

use serde_json::Value;

use crate::joinwright;

fn search(arguments: &[&str]) -> crate::Run {
    let arguments = [&["search"], arguments].concat();
    joinwright(Path::new("."), &arguments)
}

/// The lines of a search as JSON.
#[track_caller]
fn lines(arguments: &[&str]) -> Vec<Value> {
    let out = search(&[arguments, &["--json"]].concat()).ok();
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_object_for_each_search() {
    let found = lines(&[
        "--shape",
        "star",
        "--relations",
        "8",
        "--seed",
        "1,2",
        "--seed",
        "3",
        "--enumerator",
        "dpccp",
        "--enumerator",
        "goo",
        "--cost",
        "cout",
    ]);
    assert_eq!(found.len(), 6);
    let keys = [
        "cost",
        "enumerator",
        "pairs",
        "relations",
        "search_us",
        "seed",
        "shape",
        "stop",
    ];
    for pair in found.chunks(2) {
        for line in pair {
            let mut names: Vec<&str> = line
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            names.sort_unstable();
            assert_eq!(names, keys);
            assert_eq!(
                (&line["shape"], &line["relations"]),
                (&"star".into(), &8.into())
            );
        }
        let [exact, greedy] = pair else {
            panic!("{pair:?}")
        };
        // (n-1) 2^(n-2) for a star.
        assert_eq!(
            (&exact["pairs"], &exact["stop"]),
            (&448.into(), &"exact".into())
        );
        assert_eq!(greedy["enumerator"], "goo");
        assert!(exact["cost"].as_f64() <= greedy["cost"].as_f64());
        assert_eq!(exact["seed"], greedy["seed"]);
    }
    assert_ne!(found[0]["cost"], found[2]["cost"]);
}

#[test]
fn all_shapes_and_odd_sizes() {
    for shape in [
        "chain",
        "cycle",
        "star",
        "clique",
        "grid",
        "tree",
        "snowflake",
    ] {
        for relations in ["1", "2", "7", "10"] {
            let arguments = [
                "--shape",
                shape,
                "--relations",
                relations,
                "--enumerator",
                "dphyp",
            ];
            let (first, again) = (lines(&arguments), lines(&arguments));
            assert_eq!(first[0]["stop"], "exact", "{shape} {relations}");
            assert_eq!(first[0]["cost"], again[0]["cost"]);
        }
    }
}

#[test]
fn budgets_and_tables() {
    let arguments = [
        "--shape",
        "clique",
        "--relations",
        "12",
        "--enumerator",
        "dpccp",
        "--budget",
        "100",
    ];
    assert_eq!(lines(&arguments)[0]["stop"], "greedy after 100 pairs");
    let table = search(&arguments).ok();
    for word in [
        "shape",
        "search_us",
        "clique",
        "dpccp",
        "greedy after 100 pairs",
    ] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn bad_input() {
    for (arguments, named) in [
        (&["--shape", "blob", "--relations", "3"][..], "blob"),
        (
            &[
                "--shape",
                "chain",
                "--relations",
                "3",
                "--enumerator",
                "fast",
            ],
            "fast",
        ),
        (
            &["--shape", "chain", "--relations", "3", "--cost", "cheap"],
            "cheap",
        ),
        (&["--shape", "clique", "--relations", "5000"], "5000"),
        (&["--shape", "chain", "--relations", "0"], "relations"),
        (&["--shape", "chain", "--relations", "many"], "many"),
        (
            &["--shape", "chain", "--relations", "3", "--seed", "-1"],
            "-1",
        ),
        (
            &["--shape", "chain", "--relations", "3", "--budget", "lots"],
            "lots",
        ),
    ] {
        let run = search(arguments);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            run.stderr
        );
        let first = run.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(named), "{arguments:?}: {}", run.stderr);
    }
}
