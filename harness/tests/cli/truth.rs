//! `joinwright truth`, and the estimators that have a file behind them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::joinwright;
use crate::tiny::Tiny;

/// By query and sub-plan the true rows and the kind of its edges.
type Counts = BTreeMap<(String, String), (String, String)>;

fn read(path: &Path) -> Counts {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let lines = reader.deserialize().map(Result::unwrap);
    lines
        .map(|line: BTreeMap<String, String>| {
            let cell = |name: &str| line[name].clone();
            let key = (cell("query"), cell("sub_plan"));
            (key, (cell("true_rows"), cell("edges")))
        })
        .collect()
}

/// The one number that a query returns.
fn number(tiny: &Tiny, sql: &str) -> String {
    let data = "tiny suite/my data";
    let text = joinwright(tiny.folder(), &["sql", data, "-c", sql, "--format", "csv"]).ok();
    text.lines().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn truth_is_what_queries_return() {
    let tiny = Tiny::write();
    let out = tiny.folder().join("truth.csv");
    let arguments = ["truth", "tiny suite", "--out", "truth.csv"];
    let text = joinwright(tiny.folder(), &arguments).ok();
    assert!(
        text.contains("4 queries") && text.contains(" 0 without"),
        "{text}"
    );
    let counts = read(&out);
    for (query, sub_plan, edges, from) in [
        ("q1", "c", "written", "customer"),
        ("q1", "c+o", "written", "customer c, orders o WHERE c.id = o.customer_id"),
        (
            "q1",
            "c+i+o",
            "written",
            "customer c, orders o, item i WHERE c.id = o.customer_id AND o.id = i.order_id",
        ),
        ("q2", "p", "written", "product WHERE kind = 'kind 1'"),
        (
            "q2",
            "c+i+o+p",
            "written",
            "customer c, orders o, item i, product p WHERE c.id = o.customer_id AND o.id = i.order_id
             AND p.id = i.product_id AND p.kind = 'kind 1' AND c.city = 'city 2'",
        ),
        (
            "q10",
            "a+b",
            "written",
            "orders a, orders b WHERE a.customer_id = b.customer_id AND a.total < b.total",
        ),
        (
            "q10",
            "b+c",
            "implied",
            "orders b, customer c WHERE b.customer_id = c.id AND c.city = 'city 0'",
        ),
    ] {
        let key = (query.to_owned(), sub_plan.to_owned());
        let rows = number(&tiny, &format!("SELECT count(*) FROM {from}"));
        let expected = (rows, edges.to_owned());
        assert_eq!(counts.get(&key), Some(&expected), "{query} {sub_plan}");
    }
    let whole = ("q10".to_owned(), "a+b+c".to_owned());
    assert_eq!(counts[&whole].0, "280");

    // Cut off in the middle of a line, it goes on from there.
    let whole = fs::read_to_string(&out).unwrap();
    fs::write(&out, &whole[..whole.len() / 2]).unwrap();
    let text = joinwright(tiny.folder(), &arguments).ok();
    assert!(!text.contains(" 0 known before"), "{text}");
    assert_eq!(read(&out), counts);
    let again = joinwright(tiny.folder(), &arguments).ok();
    assert!(again.starts_with("0 sub-plans"), "{again}");
}

#[test]
fn sub_plans_beyond_the_cap_are_told() {
    let tiny = Tiny::write();
    let capped = [
        "truth",
        "tiny suite",
        "--query",
        "q10",
        "--cap",
        "10",
        "--out",
        "t.csv",
    ];
    let text = joinwright(tiny.folder(), &capped).ok();
    assert!(text.contains("q10 a+b: more rows to join"), "{text}");
    let key = ("q10".to_owned(), "a+b".to_owned());
    assert_eq!(read(&tiny.folder().join("t.csv"))[&key].0, "");
    let arguments = ["truth", "tiny suite", "--query", "q10", "--out", "t.csv"];
    joinwright(tiny.folder(), &arguments).ok();
    assert_ne!(read(&tiny.folder().join("t.csv"))[&key].0, "");
}

#[test]
fn the_oracle_is_right() {
    let tiny = Tiny::write();
    joinwright(tiny.folder(), &["truth", "tiny suite", "--out", "t.csv"]).ok();
    fs::write(
        tiny.folder().join("mine.csv"),
        "query,sub_plan,rows\nq10,c+b,77\n",
    )
    .unwrap();
    for (arm, of_pair) in [
        ("estimator=oracle:t.csv", None),
        ("estimator=inject:mine.csv:base=textbook", Some("77")),
    ] {
        let estimate = [
            "estimate",
            "tiny suite",
            "--subplans",
            "t.csv",
            "--out",
            "est.csv",
            "--arm",
        ];
        joinwright(tiny.folder(), &[&estimate[..], &[arm]].concat()).ok();
        let mut reader = csv::Reader::from_path(tiny.folder().join("est.csv")).unwrap();
        for line in reader.deserialize() {
            let line: BTreeMap<String, String> = line.unwrap();
            let rows = |name: &str| line[name].parse::<f64>().unwrap().max(1.0);
            match of_pair {
                None => assert_eq!(rows("est_rows"), rows("true_rows"), "{line:?}"),
                Some(expected) if line["query"] == "q10" && line["sub_plan"] == "b+c" => {
                    assert_eq!(rows("est_rows").to_string(), expected);
                }
                Some(_) => {}
            }
        }
    }
    let bench = [
        "bench",
        "tiny suite",
        "--runs",
        "1",
        "--warmup",
        "0",
        "--arm",
        "default",
        "--arm",
    ];
    let noisy = "estimator=oracle:t.csv:noise=100:seed=3";
    let text = joinwright(tiny.folder(), &[&bench[..], &[noisy]].concat()).ok();
    assert!(text.contains("4 queries, 4 same"), "{text}");
}
