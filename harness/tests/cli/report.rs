//! `report` and `compare`: from a run folder to a page, and from two to a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::joinwright;
use crate::tiny::{QUERIES, Tiny};

/// Names and texts that would break a page that takes them for markup.
pub(crate) const ODD_NAME: &str = "odd <b>name & \"q";
pub(crate) const ODD_SQL: &str = "SELECT c.name, '</script><script>broken = 1</script><!-- <b>' AS text\n\
     FROM customer c JOIN orders o ON c.id = o.customer_id WHERE c.id < 5 AND o.total > 10;";

/// A run of the tiny suite with three runs a query, in the folder `run`.
pub(crate) fn write_run(tiny: &Tiny) {
    let odd = tiny
        .suite()
        .join("my queries")
        .join(format!("{ODD_NAME}.sql"));
    fs::write(odd, ODD_SQL).unwrap();
    let arguments = [
        "bench",
        "tiny suite",
        "--runs",
        "3",
        "--warmup",
        "1",
        "--out",
        "run",
    ];
    joinwright(tiny.folder(), &arguments).ok();
}

/// The data that a report embeds.
pub(crate) fn embedded(report: &Path) -> Value {
    let page = fs::read_to_string(report).unwrap();
    let (_, data) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_report_is_one_file_made_from_two() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let run = tiny.folder().join("run");
    let by_bench = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        !by_bench.contains("http://") || !by_bench.contains("src="),
        "loads something"
    );

    // Again from the two files alone, elsewhere.
    let moved = copy_of_run(&tiny, "moved");
    joinwright(tiny.folder(), &["report", "moved"]).ok();
    let again = fs::read_to_string(moved.join("report.html")).unwrap();
    assert_eq!(again, by_bench);
    let said = joinwright(
        tiny.folder(),
        &["report", "moved", "--out", "my report.html"],
    )
    .ok();
    assert!(said.contains("my report.html"), "{said}");
    assert_eq!(
        fs::read_to_string(tiny.folder().join("my report.html")).unwrap(),
        by_bench
    );
}

/// What was recorded of the plans: true rows, estimates, and no file's place.
#[test]
fn runs_keep_plans_with_counts() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let text = fs::read_to_string(tiny.folder().join("run/run.json")).unwrap();
    assert!(
        !text.contains(tiny.folder().to_str().unwrap()),
        "a folder of this machine"
    );
    let run: Value = serde_json::from_str(&text).unwrap();
    let details = run["details"].as_array().unwrap();
    assert_eq!(details.len(), QUERIES.len() + 1);
    let odd = details
        .iter()
        .find(|query| query["query"] == ODD_NAME)
        .unwrap();
    assert_eq!(odd["sql"].as_str().unwrap(), ODD_SQL);
    for query in details {
        let arms = query["arms"].as_array().unwrap();
        assert_eq!(arms.len(), 2);
        for arm in arms {
            let plan = &query["plans"][arm["plan"].as_u64().unwrap() as usize];
            let operators = plan["operators"].as_array().unwrap();
            for list in ["rows", "estimated", "elapsed_us"] {
                assert_eq!(
                    arm[list].as_array().unwrap().len(),
                    operators.len(),
                    "{query}"
                );
            }
            let joins = operators.iter().enumerate().filter(|(_, o)| o["j"] == true);
            let mut judged = 0;
            for (at, _) in joins {
                judged += usize::from(arm["rows"][at].is_u64() && arm["estimated"][at].is_f64());
            }
            assert!(judged > 0, "no join of {} has both numbers", query["query"]);
            let regions = arm["regions"].as_array().unwrap();
            assert!(!regions.is_empty() && regions[0]["tree"].is_object());
        }
    }
    // q10 joins two keys of known frequency; its last join returns what the query does.
    let q10 = details
        .iter()
        .find(|query| query["query"] == "q10")
        .unwrap();
    for arm in q10["arms"].as_array().unwrap() {
        assert_eq!(arm["rows"][0], 280);
    }
}

/// The numbers of the first page from `raw.csv` and nothing else.
#[test]
fn headline_numbers_can_be_recomputed() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let mut times: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut raw = csv::Reader::from_path(tiny.folder().join("run/raw.csv")).unwrap();
    for sample in raw
        .deserialize::<BTreeMap<String, String>>()
        .map(Result::unwrap)
    {
        if sample["warmup"] == "false" {
            let key = (sample["arm"].clone(), sample["query"].clone());
            times
                .entry(key)
                .or_default()
                .push(sample["total_ms"].parse().unwrap());
        }
    }
    times
        .values_mut()
        .for_each(|times| times.sort_by(f64::total_cmp));
    let medians = |arm: &str| -> Vec<f64> {
        let own = times.iter().filter(|((own, _), _)| own == arm);
        own.map(|(_, times)| times[1]).collect()
    };
    let (first, other) = (medians("default"), medians("joinwright"));
    let totals: (f64, f64) = (first.iter().sum(), other.iter().sum());
    let ratios: Vec<f64> = other
        .iter()
        .zip(&first)
        .map(|(other, first)| other / first)
        .collect();
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let worst = ratios.iter().copied().fold(0.0, f64::max);

    let report = embedded(&tiny.folder().join("run/report.html"));
    let arms = &report["arms"];
    let close = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!(
            (value - expected).abs() <= 1e-9 * expected,
            "{value} for {expected}"
        );
    };
    close(&arms[0]["total_ms"], totals.0);
    close(&arms[1]["total_ms"], totals.1);
    let against = &arms[1]["against_first"];
    close(&against["of_totals"]["ratio"], totals.1 / totals.0);
    close(&against["geometric_mean"]["ratio"], mean);
    let queries = report["queries"].as_array().unwrap();
    let slowest = queries
        .iter()
        .find(|query| query["query"] == against["worst"])
        .unwrap();
    close(&slowest["arms"][1]["against_first"]["ratio"], worst);
    // Intervals hold what they are about.
    for query in queries {
        let ratio = &query["arms"][1]["against_first"];
        let (low, high) = (&ratio["interval"]["low"], &ratio["interval"]["high"]);
        let ratio = ratio["ratio"].as_f64().unwrap();
        assert!(low.as_f64().unwrap() <= ratio && ratio <= high.as_f64().unwrap());
    }
    let verdicts = ["faster", "slower", "noise"].map(|verdict| against[verdict].as_u64().unwrap());
    assert_eq!(verdicts.iter().sum::<u64>(), queries.len() as u64);
}

/// Runs of versions that kept no plans.
#[test]
fn older_runs_have_reports_too() {
    let tiny = Tiny::write();
    for run in ["2026-11-24-tpch-0.1", "2026-11-24-debian"] {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../results")
            .join(run);
        let copy = tiny.folder().join(run);
        fs::create_dir(&copy).unwrap();
        let text = fs::read_to_string(kept.join("run.json")).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json.as_object_mut().unwrap().remove("details");
        fs::write(copy.join("run.json"), json.to_string()).unwrap();
        fs::copy(kept.join("raw.csv"), copy.join("raw.csv")).unwrap();
        joinwright(tiny.folder(), &["report", run]).ok();
        let report = embedded(&copy.join("report.html"));
        assert!(report["details"].as_array().unwrap().is_empty());
        assert!(report["queries"].as_array().unwrap().len() > 20);
    }
}

#[test]
fn a_run_is_no_regression_of_itself() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let text = joinwright(tiny.folder(), &["compare", "run", "run"]).ok();
    assert!(text.contains("no regression"), "{text}");
    assert!(!text.contains("WARNING"), "{text}");
    let json = joinwright(tiny.folder(), &["compare", "run", "run", "--json"]).ok();
    let comparison: Value = serde_json::from_str(&json).unwrap();
    let arms = comparison["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 2);
    for arm in arms {
        assert_eq!(arm["of_totals"]["ratio"], 1.0);
        assert_eq!(arm["finished_by_both"], QUERIES.len() + 1);
        for query in arm["queries"].as_array().unwrap() {
            assert_eq!(query["plan_changed"], false);
            assert_eq!(query["estimates"]["changed"], 0);
            assert!(query["estimates"]["common"].as_u64().unwrap() > 0);
            assert_eq!(query["regressed"], false);
        }
    }
}

/// Rewrites the samples of a run.
fn change_samples(raw: &Path, change: impl Fn(&mut BTreeMap<String, String>)) {
    let mut reader = csv::Reader::from_path(raw).unwrap();
    let header: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let samples: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let mut writer = csv::Writer::from_path(raw).unwrap();
    writer.write_record(&header).unwrap();
    for mut sample in samples {
        change(&mut sample);
        writer
            .write_record(header.iter().map(|column| &sample[column]))
            .unwrap();
    }
    writer.flush().unwrap();
}

/// A folder with the two files that a run is made again from.
fn copy_of_run(tiny: &Tiny, name: &str) -> PathBuf {
    let (run, copy) = (tiny.folder().join("run"), tiny.folder().join(name));
    fs::create_dir(&copy).unwrap();
    for file in ["run.json", "raw.csv"] {
        fs::copy(run.join(file), copy.join(file)).unwrap();
    }
    copy
}

#[test]
fn a_regression_has_exit_status_1() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let slow = copy_of_run(&tiny, "slow");
    change_samples(&slow.join("raw.csv"), |sample| {
        if sample["arm"] == "joinwright" && sample["query"] == "q2" {
            let ms: f64 = sample["total_ms"].parse().unwrap();
            // Far beyond whatever noise the machine had.
            sample.insert("total_ms".to_owned(), (ms * 50.0 + 1000.0).to_string());
        }
    });
    let compared = joinwright(tiny.folder(), &["compare", "run", "slow", "--json"]);
    assert_eq!(compared.status, 1, "{}", compared.stderr);
    let comparison: Value = serde_json::from_str(&compared.stdout).unwrap();
    let regressed: BTreeSet<(&str, &str)> = comparison["arms"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|arm| {
            arm["queries"]
                .as_array()
                .unwrap()
                .iter()
                .map(move |query| (arm, query))
        })
        .filter(|(_, query)| query["regressed"] == true)
        .map(|(arm, query)| {
            (
                arm["arm"].as_str().unwrap(),
                query["query"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(regressed, BTreeSet::from([("joinwright", "q2")]));
    let text = joinwright(tiny.folder(), &["compare", "run", "slow"]);
    assert_eq!(text.status, 1);
    let line = text
        .stdout
        .lines()
        .find(|line| line.contains("q2"))
        .unwrap();
    assert!(line.contains("REGRESSION"), "{}", text.stdout);
    // The other way round it is a gain.
    let gain = joinwright(tiny.folder(), &["compare", "slow", "run"]).ok();
    assert!(gain.contains("faster"), "{gain}");
    // Whoever tolerates everything.
    joinwright(
        tiny.folder(),
        &["compare", "run", "slow", "--tolerance", "100000000"],
    )
    .ok();
}

/// The arm by which the others are judged is slower as well.
#[test]
fn a_slower_baseline_is_not_silent() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let slow = copy_of_run(&tiny, "slow");
    change_samples(&slow.join("raw.csv"), |sample| {
        let ms: f64 = sample["total_ms"].parse().unwrap();
        sample.insert("total_ms".to_owned(), (ms * 4.0).to_string());
    });
    let compared = joinwright(tiny.folder(), &["compare", "run", "slow"]);
    assert_eq!(compared.status, 1, "{}", compared.stdout);
    assert!(
        compared
            .stdout
            .contains("WARNING: arm default itself takes 4.00"),
        "{}",
        compared.stdout
    );
    // The others are no slower than that.
    assert!(
        compared.stdout.contains("no regression"),
        "{}",
        compared.stdout
    );
    let relative = joinwright(tiny.folder(), &["compare", "run", "slow", "--relative"]).ok();
    assert!(
        relative.contains("WARNING: arm default itself"),
        "{relative}"
    );
    let json = joinwright(tiny.folder(), &["compare", "run", "slow", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["drift"]["ratio"], 4.0);
    let faster = joinwright(tiny.folder(), &["compare", "slow", "run"]).ok();
    assert!(!faster.contains("WARNING"), "{faster}");
}

/// What differs beside what is compared is said first.
#[test]
fn runs_in_other_circumstances_are_compared_with_a_warning() {
    let tiny = Tiny::write();
    write_run(&tiny);
    let (run, other) = (tiny.folder().join("run"), tiny.folder().join("other"));
    fs::create_dir(&other).unwrap();
    fs::copy(run.join("raw.csv"), other.join("raw.csv")).unwrap();
    let text = fs::read_to_string(run.join("run.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let data = json["data"].clone();
    assert_eq!(data["tables"], 4);
    assert!(data["bytes"].as_u64().unwrap() > 1_000, "{data}");
    let compare = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let mut json = json.clone();
        change(&mut json);
        fs::write(other.join("run.json"), json.to_string()).unwrap();
        let text = joinwright(tiny.folder(), &["compare", "run", "other"]).ok();
        let told = text.lines().skip(1).take_while(|line| !line.is_empty());
        let told: Vec<&str> = told.map(str::trim).collect();
        assert!(text.starts_with("WARNING: "), "{text}");
        assert_eq!(told.len(), expected.len(), "{text}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "no {expected} in {text}");
        }
        let json = joinwright(tiny.folder(), &["compare", "run", "other", "--json"]).ok();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["warnings"], serde_json::json!(told));
    };
    compare(
        &|run| run["cold"] = true.into(),
        &["page cache: kept (hot) before, dropped before each sample (cold) after"],
    );
    compare(
        &|run| {
            run["suite"] = "huge".into();
            run["scale"] = 10.0.into();
            run["threads"] = 999.into();
            run["machine"]["cores"] = 999.into();
            run["data"]["fingerprint"] = "another".into();
            run["details"][0]["sql"] = "SELECT 2".into();
        },
        &[
            "suite: tiny before, huge after",
            "scale factor: none before, 10 after",
            "(another) after",
            "before, 999 after",
            "999 cores",
            "the text of queries: ",
        ],
    );
}
