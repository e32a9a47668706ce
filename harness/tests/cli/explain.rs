//! `explain`: one query in all formats.

use std::fs;

use serde_json::Value;

use crate::report::{ODD_NAME, ODD_SQL, embedded};
use crate::tiny::{QUERIES, Tiny};
use crate::{Run, joinwright};

fn explain(tiny: &Tiny, query: &str, options: &[&str]) -> Run {
    let mut arguments = vec!["explain", "tiny suite", query];
    arguments.extend(options);
    joinwright(tiny.folder(), &arguments)
}

fn document(tiny: &Tiny, query: &str, options: &[&str]) -> Value {
    let options = [&["--format", "json"], options].concat();
    serde_json::from_str(&explain(tiny, query, &options).ok()).unwrap()
}

#[test]
fn text_says_what_was_chosen_and_why() {
    let tiny = Tiny::write();
    let text = explain(&tiny, "q1", &[]).ok();
    for expected in [
        "TableScan",
        "physical plan",
        "build ",
        "probe ",
        "mode=",
        "join graph:",
        "c – o: ",
        "alternatives:",
        "plan space: 2 trees",
        "stopped: exact",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert!(!text.contains("q-error"), "{text}");
    let text = explain(&tiny, "q1", &["--analyze"]).ok();
    for expected in ["q-error", "work ms", "5 rows; planning", "build "] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
}

/// Each arm says what there is to say of other orders, and why there is nothing more.
#[test]
fn arms_without_a_search_say_so() {
    let tiny = Tiny::write();
    let text = |query: &str, arm: &str| explain(&tiny, query, &["--arm", arm]).ok();
    for arm in ["default", "default+stats", "literal"] {
        let text = text("q2", arm);
        assert!(text.contains("left as written"), "{text}");
        assert!(
            text.contains("alternatives: none were looked at, as this arm does not search"),
            "{text}"
        );
        assert!(!text.contains("plan space"), "{text}");
    }
    let written = text("q2", "enumerator=written");
    assert!(written.contains("plan space: "), "{written}");
    // q2 begins with the product's kind, and the customer's city comes last: others cost less.
    assert!(
        written.contains("cheaper, but this arm keeps the written order"),
        "{written}"
    );
    let off = text("q2", "order=off");
    assert!(
        off.contains("no region of joins: this arm leaves them"),
        "{off}"
    );
    let single = [
        "explain",
        "tiny suite",
        "--sql",
        "SELECT count(*) FROM orders",
    ];
    let single = joinwright(tiny.folder(), &single).ok();
    assert!(single.ends_with("\nno region of joins\n"), "{single}");
}

#[test]
fn the_document_has_estimates_and_counts() {
    let tiny = Tiny::write();
    for (query, sql, rows) in QUERIES {
        for arm in ["joinwright", "default", "enumerator=quickpick:3,7"] {
            let plan = document(&tiny, query, &["--arm", arm]);
            let ran = document(&tiny, query, &["--arm", arm, "--analyze"]);
            assert_eq!((&ran["sql"], &ran["arm"]), (&sql.into(), &arm.into()));
            assert_eq!(plan["execution"], Value::Null);
            assert_eq!(ran["execution"]["rows"], rows);
            let operators = ran["operators"].as_array().unwrap();
            assert_eq!(operators.len(), plan["operators"].as_array().unwrap().len());
            assert_eq!(operators[0]["rows"], rows);
            let joins = || {
                operators
                    .iter()
                    .filter(|operator| operator["joins"] == true)
            };
            assert!(joins().any(|join| join["est_rows"].is_f64() && join["rows"].is_u64()));
            for (at, join) in joins().enumerate() {
                assert!(
                    join["q_error"].as_f64().is_none_or(|error| error >= 1.0),
                    "{at}"
                );
                let mode = join["mode"].as_str();
                assert!(mode.is_none_or(|mode| ["CollectLeft", "Partitioned"].contains(&mode)));
            }
            let builds = operators
                .iter()
                .filter(|operator| operator["role"] == "build");
            assert_eq!(builds.count(), joins().count());
            let region = &ran["regions"][0];
            assert!(region["tree"].is_object() && region["written_cost"].is_f64());
            let searched = arm != "default" && region["relations"].as_array().unwrap().len() > 2;
            assert_eq!(
                region["space"]["sampled"].is_u64(),
                searched,
                "{query} {arm}"
            );
        }
    }
}

/// What was not taken costs more, and says which join is to blame.
#[test]
fn alternatives_cost_more() {
    let tiny = Tiny::write();
    let document = document(&tiny, "q2", &[]);
    let region = &document["regions"][0];
    let cost = region["cost"].as_f64().unwrap();
    let others = region["alternatives"].as_array().unwrap();
    assert!(!others.is_empty());
    for other in others {
        let ratio = other["cost"].as_f64().unwrap() / cost;
        assert!(ratio >= 1.0 && (other["ratio"].as_f64().unwrap() - ratio).abs() < 1e-9);
        assert!(other["larger"]["relations"].as_array().unwrap().len() > 1);
        assert_ne!(
            other["larger"]["relations"],
            other["instead_of"]["relations"]
        );
        assert!(other["by"].is_string() && other["tree"]["left"].is_object());
    }
}

#[test]
fn diagrams_have_all_operators() {
    let tiny = Tiny::write();
    let odd = tiny
        .suite()
        .join("my queries")
        .join(format!("{ODD_NAME}.sql"));
    fs::write(odd, ODD_SQL).unwrap();
    for query in ["q1", ODD_NAME] {
        for options in [&[][..], &["--analyze"]] {
            let document = document(&tiny, query, options);
            let operators = document["operators"].as_array().unwrap().len();
            let drawn = |format: &str| {
                let options = [&["--format", format], options].concat();
                explain(&tiny, query, &options).ok()
            };
            let mermaid = drawn("mermaid");
            assert!(mermaid.starts_with("flowchart BT\n"), "{mermaid}");
            assert_eq!(mermaid.matches("[\"").count(), operators);
            assert_eq!(mermaid.matches(" -->").count(), operators - 1);
            let dot = drawn("dot");
            assert!(dot.starts_with("digraph plan {\n") && dot.ends_with("}\n"));
            assert_eq!(dot.matches(" -> n").count(), operators - 1);
            // Quotes within quotes are escaped, so that those that are not come in pairs.
            for line in mermaid.lines() {
                assert!(line.matches('"').count().is_multiple_of(2), "{line}");
            }
            for line in dot.replace("\\\\", "").replace("\\\"", "").lines() {
                assert!(line.matches('"').count().is_multiple_of(2), "{line}");
            }
        }
    }
}

#[test]
fn the_page_is_that_of_a_report() {
    let tiny = Tiny::write();
    let file = tiny.folder().join("q1.html");
    for options in [&[][..], &["--analyze"]] {
        let options = [&["--format", "html"], options].concat();
        fs::write(&file, explain(&tiny, "q1", &options).ok()).unwrap();
        let data = embedded(&file);
        assert_eq!(data["only"], "q1");
        assert_eq!(data["details"][0]["sql"], QUERIES[0].1);
    }
}

#[test]
fn queries_of_ones_own() {
    let tiny = Tiny::write();
    let sql = "SELECT count(*) FROM orders o JOIN customer c ON o.customer_id = c.id";
    let arguments = ["explain", "tiny suite", "--sql", sql, "--analyze"];
    let text = joinwright(tiny.folder(), &arguments).ok();
    assert!(text.contains("1 rows") || text.contains("1 row"), "{text}");
    let broken = [
        "explain",
        "tiny suite",
        "--sql",
        "SELECT no_such FROM orders",
    ];
    let run = joinwright(tiny.folder(), &broken);
    assert_eq!(run.status, 2);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("no_such"), "{}", run.stderr);
    // What can be planned may still fail.
    let fails = "SELECT CAST(c.name AS INT) FROM orders o JOIN customer c ON o.customer_id = c.id";
    let run = joinwright(
        tiny.folder(),
        &["explain", "tiny suite", "--sql", fails, "--analyze"],
    );
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("customer"), "{}", run.stderr);
}
