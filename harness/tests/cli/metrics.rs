//! What a run knows of its arms beside their times: P-errors, planning by phase, memory, costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::joinwright;
use crate::peers::has_duckdb;
use crate::report::embedded;
use crate::tiny::{QUERIES, Tiny};

/// Finds the best order by the truth.
pub(crate) const BEST: &str = "estimator=oracle,cost=cout,boldness=1,min_gain=0";
/// Begins with what no predicate restricts.
const BAD: &str = "hint=((i o) p c),physical=off";

/// A suite that knows its truth, and a run of it.
pub(crate) fn write_judged_run(tiny: &Tiny, queries: &str, more: &[&str]) {
    let toml = tiny.suite().join("suite.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("truth = \"truth.csv\"\n{text}")).unwrap();
    let counted = ["truth", "tiny suite", "--out", "tiny suite/truth.csv"];
    joinwright(tiny.folder(), &counted).ok();
    let mut arguments = vec!["bench", "tiny suite", "--runs", "3", "--out", "run"];
    arguments.extend(["--query", queries]);
    arguments.extend(more);
    joinwright(tiny.folder(), &arguments).ok();
}

fn run_json(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("run/run.json")).unwrap()).unwrap()
}

fn query<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut queries = list.as_array().unwrap().iter();
    queries.find(|query| query["query"] == name).unwrap()
}

#[test]
fn orders_are_judged_by_the_truth() {
    let tiny = Tiny::write();
    let mut arms = vec!["--arm", "default", "--arm", BEST];
    if has_duckdb() {
        arms.extend(["--peer", "duckdb"]);
    }
    write_judged_run(&tiny, "q1,q2,q10", &arms);
    let run = run_json(tiny.folder());
    for name in ["q1", "q2", "q10"] {
        let arms = query(&run["summary"], name)["arms"].as_array().unwrap();
        for (at, arm) in arms.iter().enumerate() {
            let errors = ["cout", "hashjoin"].map(|model| arm["p_error"][model].as_f64());
            let [cout, hash_join] = errors.map(|error| error.unwrap_or_default());
            assert!(cout >= 1.0 && hash_join >= 1.0, "{name}: {arm}");
            assert!(at != 1 || cout == 1.0, "{name}: {arm}");
            assert!(
                arm["worst_q_error"]
                    .as_f64()
                    .is_some_and(|error| error >= 1.0)
            );
        }
    }
    let readme = fs::read_to_string(tiny.folder().join("run/README.md")).unwrap();
    for part in [
        "| P-error C_out mean / p90 / max",
        "| q-error p50",
        "P-error hashjoin |",
        "default P-error |",
    ] {
        assert!(readme.contains(part), "no {part} in {readme}");
    }
    // The curve has a point of each query and arm.
    let report = embedded(&tiny.folder().join("run/report.html"));
    for cell in report["queries"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|q| q["arms"].as_array().unwrap())
    {
        assert!(
            cell["p_error"]["cout"].is_f64() || cell["p_error"]["cout"].is_u64(),
            "{cell}"
        );
    }
    assert_eq!(report["arms"][1]["metrics"]["p_error_cout"]["max"], 1.0);
}

/// An order that begins with the largest join costs more, by the sum of what it joins.
#[test]
fn a_bad_order_has_its_true_cost() {
    let tiny = Tiny::write();
    write_judged_run(&tiny, "q2", &["--arm", "default", "--arm", BAD]);
    let run = run_json(tiny.folder());
    let error = &query(&run["summary"], "q2")["arms"][1]["p_error"]["cout"];
    let mut rows = BTreeMap::new();
    let mut truth = csv::Reader::from_path(tiny.suite().join("truth.csv")).unwrap();
    for line in truth.records().map(Result::unwrap) {
        if &line[0] == "q2" {
            rows.insert(line[1].to_owned(), line[2].parse::<f64>().unwrap());
        }
    }
    let sum = |sets: &[&str]| sets.iter().map(|set| rows[*set]).sum::<f64>();
    let chosen = sum(&["i+o", "i+o+p", "c+i+o+p"]);
    let others = [
        sum(&["i+p", "i+o+p", "c+i+o+p"]),
        sum(&["c+o", "c+i+o", "c+i+o+p"]),
        sum(&["c+o", "i+p", "c+i+o+p"]),
        sum(&["i+o", "c+i+o", "c+i+o+p"]),
    ];
    let best = others.into_iter().fold(chosen, f64::min);
    let expected = chosen.max(1.0) / best.max(1.0);
    assert!(
        (error.as_f64().unwrap() - expected).abs() < 1e-9,
        "{error} for {expected}"
    );
    assert!(expected > 1.0);
}

/// Without a truth nothing is said of P-errors.
#[test]
fn planning_has_phases_and_queries_a_peak_of_memory() {
    let tiny = Tiny::write();
    let arguments = ["bench", "tiny suite", "--runs", "3", "--out", "run"];
    joinwright(tiny.folder(), &arguments).ok();
    let run = run_json(tiny.folder());
    for query in run["details"].as_array().unwrap() {
        for arm in query["arms"].as_array().unwrap() {
            let part = |name: &str| arm["planning"][name].as_u64().unwrap();
            let parts = ["prepare_us", "search_us", "emit_us", "datafusion_us"].map(part);
            let sum: u64 = parts.iter().sum();
            // Each is rounded down.
            assert!(
                sum <= part("total_us") && sum + 4 >= part("total_us"),
                "{arm}"
            );
            assert!(parts[3] > 0);
            assert_eq!(parts[0] > 0, arm["arm"] == "joinwright", "{parts:?}");
        }
    }
    let mut raw = csv::Reader::from_path(tiny.folder().join("run/raw.csv")).unwrap();
    let mut samples = 0;
    for sample in raw
        .deserialize::<BTreeMap<String, String>>()
        .map(Result::unwrap)
    {
        let bytes: u64 = sample["peak_memory_bytes"].parse().unwrap();
        // A hash join keeps its build side.
        assert!(bytes > 0 && bytes < 1 << 30, "{sample:?}");
        samples += 1;
    }
    assert_eq!(samples, QUERIES.len() * 2 * 4);
    let readme = fs::read_to_string(tiny.folder().join("run/README.md")).unwrap();
    assert!(
        readme.contains("| planning ms: prepare + search + emit + DataFusion"),
        "{readme}"
    );
    assert!(readme.contains("| peak memory mean / max") && !readme.contains("P-error hashjoin |"));
    let report = embedded(&tiny.folder().join("run/report.html"));
    let model = report["cost_model"].as_str().unwrap();
    for query in report["queries"].as_array().unwrap() {
        for cell in query["arms"].as_array().unwrap() {
            assert_eq!(cell["cost"]["model"], model);
            assert!(
                cell["peak_memory_bytes"]
                    .as_u64()
                    .is_some_and(|bytes| bytes > 0)
            );
        }
    }
}
