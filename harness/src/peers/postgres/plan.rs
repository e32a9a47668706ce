//! PostgreSQL's plans, from `EXPLAIN (FORMAT JSON)`.
//!
//! Its numbers are those of one execution of an operator: the inner input of a nested loop runs once for each outer row, and below a
//! Gather each process counts what it sees.

use serde_json::Value;

use crate::operators::{Observed, Operator};
use crate::peers::{Joins, add_joins};

/// What tells operators of one kind apart.
const PROPERTIES: [&str; 16] = [
    "Join Type",
    "Hash Cond",
    "Merge Cond",
    "Index Cond",
    "Recheck Cond",
    "Join Filter",
    "Filter",
    "Index Name",
    "Alias",
    "Strategy",
    "Group Key",
    "Sort Key",
    "Cache Key",
    "Parent Relationship",
    "Subplan Name",
    "Workers Planned",
];

/// Where in a plan an operator stands.
#[derive(Clone, Copy)]
struct Place {
    /// Whether a LIMIT or a join above may have stopped asking for rows, or asked for some only.
    cut: bool,
    /// Whether it runs once for each row of another input, so that its estimate is that of one time.
    repeated: bool,
    /// Processes planned below a Gather beside the one above.
    workers: Option<f64>,
}

/// The operators of a plan with their rows.
pub(super) fn observed(root: &Value) -> Observed {
    let mut observed = Observed::default();
    let place = Place {
        cut: false,
        repeated: false,
        workers: None,
    };
    add(root, place, &mut observed);
    observed
}

/// What the joins of a plan join.
pub(super) fn joins(root: &Value) -> Joins {
    // What reads an index for another operator has no alias.
    let alias = |node: &Value| node["Alias"].as_str().map(str::to_lowercase);
    let mut joins = Joins::new();
    add_joins(root, inputs, &alias, &mut joins);
    joins
}

fn inputs(node: &Value) -> &[Value] {
    node["Plans"].as_array().map_or(&[], Vec::as_slice)
}

fn is_join(kind: &str) -> bool {
    kind.ends_with(" Join") || kind == "Nested Loop"
}

/// Sub-queries beside the inputs.
fn is_beside(node: &Value) -> bool {
    let relationship = node["Parent Relationship"].as_str().unwrap_or_default();
    ["InitPlan", "SubPlan"].contains(&relationship)
}

/// Whether the processes below a Gather share the operator's rows; otherwise each of them has all.
fn is_shared(node: &Value) -> bool {
    let below = inputs(node).iter().filter(|input| !is_beside(input));
    node["Parallel Aware"] == true
        || (node["Node Type"] != "Gather"
            && node["Node Type"] != "Gather Merge"
            && below.into_iter().any(is_shared))
}

/// How many processes' worth of rows an estimate of one process stands for: the one above helps while it has time (`costsize.c`,
/// `get_parallel_divisor`).
fn divisor(workers: f64) -> f64 {
    workers + (1.0 - 0.3 * workers).max(0.0)
}

fn add(node: &Value, place: Place, observed: &mut Observed) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let at = observed.operators.len();
    let joins = is_join(kind);
    // The inputs of a join: PostgreSQL names the probe side first, and builds from the second. Sub-queries come last.
    let (beside, mut children): (Vec<&Value>, Vec<&Value>) =
        inputs(node).iter().partition(|input| is_beside(input));
    if joins {
        children.reverse();
    }
    let texts = PROPERTIES.iter().filter_map(|name| {
        let value = &node[*name];
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let words = list.iter().map(|word| word.as_str().unwrap_or_default());
                words.collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        Some(format!("{}={text}", name.to_lowercase()))
    });
    observed.operators.push(Operator {
        name: kind.to_owned(),
        text: texts.collect::<Vec<_>>().join(", "),
        inputs: children.len() + beside.len(),
        partitions: 1,
        joins,
        table: node["Relation Name"].as_str().map(str::to_owned),
    });
    observed.keys.push(vec![]);
    let shared = place.workers.filter(|_| is_shared(node));
    let estimate = node["Plan Rows"].as_f64();
    let whole = estimate.map(|rows| rows * shared.map_or(1.0, divisor));
    observed
        .own_estimates
        .push(whole.filter(|_| !place.repeated));
    let loops = node["Actual Loops"].as_f64().unwrap_or_default();
    let times = match (place.workers, shared) {
        (Some(_), None) => 1.0,
        _ => loops,
    };
    let rows = node["Actual Rows"].as_f64().filter(|_| loops > 0.0);
    // Of many executions the server tells the mean, rounded.
    let rows = rows.map(|rows| (rows * times).round() as u64);
    observed.rows.push(rows.filter(|_| !place.repeated));
    let elapsed = |node: &Value| {
        let loops = node["Actual Loops"].as_f64().unwrap_or_default();
        node["Actual Total Time"].as_f64().unwrap_or_default() * loops
    };
    let below: f64 = inputs(node).iter().map(elapsed).sum();
    let own = (elapsed(node) - below).max(0.0);
    let is_timed = node["Actual Total Time"].is_number();
    observed
        .elapsed_us
        .push(is_timed.then_some((own * 1e3).ceil() as u64));
    if place.cut {
        observed.cut.push(at);
    }
    let stops = kind == "Limit" || kind == "Merge Join" || place.cut;
    // These read their input to its end, whatever is asked of them.
    let reads_all = ["Sort", "Aggregate", "Hash", "Gather Merge"].contains(&kind);
    for child in &children {
        let inner = joins && child["Parent Relationship"] == "Inner";
        let repeated = kind == "Nested Loop" && inner;
        let below = Place {
            cut: repeated || (stops && !reads_all),
            repeated: place.repeated || repeated,
            workers: match kind {
                "Gather" | "Gather Merge" => node["Workers Planned"].as_f64(),
                _ => place.workers,
            },
        };
        add(child, below, observed);
    }
    for child in beside {
        // It runs as often as it is asked, and may be asked for its first row only.
        let below = Place {
            cut: true,
            repeated: place.repeated || child["Parent Relationship"] == "SubPlan",
            workers: place.workers,
        };
        add(child, below, observed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scan(table: &str, rows: u64, loops: u64) -> Value {
        json!({"Node Type": "Seq Scan", "Relation Name": table, "Plan Rows": rows + 1, "Actual Rows": rows,
               "Actual Loops": loops, "Actual Total Time": 1.0})
    }

    #[test]
    fn joins_are_told_by_aliases() {
        let leaf = |alias: &str| with(scan("t", 1, 1), "Alias", json!(alias));
        let hash = json!({"Node Type": "Hash", "Plans": [leaf("B")]});
        let inner = json!({"Node Type": "Hash Join", "Plans": [leaf("a"), hash]});
        let bitmap = json!({"Node Type": "BitmapAnd", "Plans": [{"Node Type": "Bitmap Index Scan"}, {"Node Type": "Bitmap Index Scan"}]});
        let heap = json!({"Node Type": "Bitmap Heap Scan", "Alias": "c", "Plans": [bitmap]});
        let plan = json!({"Node Type": "Nested Loop", "Plans": [inner, heap]});
        let set = |aliases: &str| aliases.chars().map(String::from).collect();
        assert_eq!(joins(&plan), Joins::from([set("ab"), set("abc")]));
    }

    fn with(mut node: Value, name: &str, value: Value) -> Value {
        node[name] = value;
        node
    }

    fn tables(observed: &Observed) -> Vec<&str> {
        let tables = observed.operators.iter();
        tables.filter_map(|o| o.table.as_deref()).collect()
    }

    #[test]
    fn plans_have_estimates_and_rows() {
        let hash = json!({"Node Type": "Hash", "Parent Relationship": "Inner", "Plan Rows": 8, "Actual Rows": 7,
                          "Actual Loops": 1, "Actual Total Time": 1.5, "Plans": [scan("nation", 7, 1)]});
        let plan = json!({"Node Type": "Hash Join", "Join Type": "Inner", "Hash Cond": "(a = b)", "Plan Rows": 50,
            "Actual Rows": 70, "Actual Loops": 1, "Actual Total Time": 4.0,
            "Plans": [with(scan("orders", 9, 1), "Parent Relationship", json!("Outer")), hash]});
        let observed = observed(&plan);
        let names: Vec<_> = observed.operators.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["Hash Join", "Hash", "Seq Scan", "Seq Scan"]);
        assert_eq!(tables(&observed), ["nation", "orders"]);
        let text = "join type=Inner, hash cond=(a = b)";
        assert_eq!(observed.operators[0].text, text);
        assert!(observed.operators[0].joins && !observed.operators[1].joins);
        let estimates = [Some(50.0), Some(8.0), Some(8.0), Some(10.0)];
        assert_eq!(observed.own_estimates, estimates);
        assert_eq!(observed.rows, [Some(70), Some(7), Some(7), Some(9)]);
        assert_eq!(observed.elapsed_us[..2], [Some(1_500), Some(500)]);
        assert!(observed.cut.is_empty());
    }

    #[test]
    fn processes_share_rows_or_have_all() {
        let shared = with(scan("big", 100, 3), "Parallel Aware", json!(true));
        let copied = with(scan("small", 5, 3), "Parent Relationship", json!("Inner"));
        let join = json!({"Node Type": "Hash Join", "Plan Rows": 10, "Actual Rows": 20, "Actual Loops": 3,
                          "Plans": [shared, copied]});
        let gather = json!({"Node Type": "Gather", "Workers Planned": 4, "Plan Rows": 40, "Actual Rows": 60,
                            "Actual Loops": 1, "Plans": [join]});
        let observed = observed(&gather);
        assert_eq!(tables(&observed), ["small", "big"]);
        assert_eq!(observed.rows, [Some(60), Some(60), Some(5), Some(300)]);
        let estimates: Vec<f64> = observed.own_estimates.into_iter().flatten().collect();
        assert_eq!(estimates, [40.0, 40.0, 6.0, 404.0]);
    }

    /// What runs once for each outer row has no rows of its own; what stops early has too few.
    #[test]
    fn parts_of_the_rows_are_marked() {
        let inner = with(
            scan("inner", 0, 1000),
            "Parent Relationship",
            json!("Inner"),
        );
        let looped = json!({"Node Type": "Nested Loop", "Plan Rows": 5, "Actual Rows": 6, "Actual Loops": 1,
                            "Plans": [scan("outer", 1000, 1), inner]});
        let seen = observed(&looped);
        assert_eq!(tables(&seen), ["inner", "outer"]);
        assert_eq!(seen.rows, [Some(6), None, Some(1000)]);
        assert_eq!(seen.cut, [1]);
        let limit =
            |below: Value| json!({"Node Type": "Limit", "Actual Loops": 1, "Plans": [below]});
        assert_eq!(observed(&limit(scan("t", 1, 1))).cut, [1]);
        let sort = json!({"Node Type": "Sort", "Actual Loops": 1, "Plans": [scan("t", 9, 1)]});
        assert_eq!(observed(&limit(sort)).cut, [1]);
        let never = observed(&scan("t", 0, 0));
        assert_eq!(never.rows, [None]);
    }
}
