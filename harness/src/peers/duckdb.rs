//! DuckDB, through its Python package: a script that reads requests and writes answers, one JSON object a line.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::duckdb_joins::Files;
use super::process::{Answer, Process};
use super::{Data, Effort, Ended, Ran, Task};
use crate::interrupt::{Interrupt, Interrupted};
use crate::operators::{Observed, Operator};

const SCRIPT: &str = include_str!("run_duckdb.py");
const PYTHON: &str = "python3";

/// What DuckDB says of an operator that is told elsewhere, or that is none of the query.
const TOLD_ELSEWHERE: [&str; 6] = [
    "Estimated Cardinality",
    "Filename(s)",
    "Total Files Read",
    "Function",
    "Projections",
    "Text",
];

/// The version that is installed; the error says how to get it.
pub(super) fn version() -> std::result::Result<String, String> {
    let asked = Command::new(PYTHON)
        .args(["-c", "import duckdb; print(duckdb.__version__)"])
        .stdin(Stdio::null())
        .output();
    let missing = |why: String| {
        format!("peer duckdb is skipped, {why}: get it by `{PYTHON} -m pip install duckdb`")
    };
    let output = asked.map_err(|error| missing(format!("{PYTHON} does not start ({error})")))?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && !told.is_empty() {
        true => Ok(told),
        false => Err(missing(format!("{PYTHON} has no package of that name"))),
    }
}

/// By table its files.
pub(super) fn files(data: Data<'_>) -> Result<Files> {
    let tables = data.tables.iter();
    tables
        .map(|table| Ok((table.name.clone(), table.files()?)))
        .collect()
}

/// Starts the script over these tables.
pub(super) async fn start(
    data: Data<'_>,
    effort: Effort,
    mut interrupt: Interrupt,
) -> Result<Process> {
    let files = files(data)?;
    let load = effort.task == Task::Estimate;
    let opening =
        json!({"threads": effort.threads, "tables": files, "load": load, "cold": effort.cold});
    let mut process = Process::new(PYTHON, &["-c", SCRIPT], opening.to_string());
    match process.open(effort.timeout, &mut interrupt).await {
        Answer::Line(answer) => check_opened(&answer)?,
        Answer::Interrupted => return Err(Interrupted.into()),
        Answer::TimedOut | Answer::Gone => bail!("duckdb does not start"),
    }
    Ok(process)
}

/// Asks, and understands the answer.
pub(super) async fn ask<T>(
    process: &mut Process,
    request: &Value,
    patience: Duration,
    interrupt: &mut Interrupt,
    understand: impl FnOnce(&str) -> Result<T>,
) -> Ended<T> {
    let line = request.to_string();
    match process.ask(&line, patience, interrupt).await {
        Answer::Line(line) => match understand(&line) {
            Ok(understood) => Ended::Done(understood),
            Err(error) => Ended::Failed(crate::one_line(&error)),
        },
        Answer::Interrupted => Ended::Interrupted,
        Answer::TimedOut => Ended::TimedOut,
        Answer::Gone => Ended::Failed("duckdb ended".to_owned()),
    }
}

/// Runs a query once.
pub(super) async fn run(
    process: &mut Process,
    sql: &str,
    observe: bool,
    timeout: Duration,
    interrupt: &mut Interrupt,
) -> Ended<Ran> {
    let request = json!({"sql": sql, "explain": observe});
    ask(process, &request, timeout, interrupt, understand).await
}

/// The rows that it expects of a query.
pub(super) async fn estimate(
    process: &mut Process,
    sql: &str,
    timeout: Duration,
    interrupt: &mut Interrupt,
) -> Ended<f64> {
    let request = json!({"estimate": sql});
    ask(process, &request, timeout, interrupt, expected).await
}

/// The estimate of the topmost operator that has one. A result that is known to be empty has none.
fn expected(answer: &str) -> Result<f64> {
    let reply: Reply = serde_json::from_str(answer).context("duckdb's answer is no JSON")?;
    if let Some(error) = reply.error {
        bail!("{error}");
    }
    let plan = reply.plan.context("duckdb tells no plan")?;
    let mut node = &plan[0];
    loop {
        let estimate = &node["extra_info"]["Estimated Cardinality"];
        if let Some(rows) = number(estimate) {
            return Ok(rows);
        }
        if node["name"] == "EMPTY_RESULT" {
            return Ok(0.0);
        }
        let below = children(node).first();
        node = below.context("duckdb's plan has no estimate")?;
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim_start_matches('~').parse().ok(),
        value => value.as_f64(),
    }
}

/// Whether it could read the tables, by its first answer.
fn check_opened(answer: &str) -> Result<()> {
    let answer: Value = serde_json::from_str(answer).context("duckdb does not answer")?;
    match answer["error"].as_str() {
        Some(error) => bail!("duckdb cannot read the tables: {error}"),
        None => Ok(()),
    }
}

/// What the script answers.
#[derive(Deserialize)]
pub(super) struct Reply {
    pub(super) error: Option<String>,
    planning_ms: Option<f64>,
    execution_ms: Option<f64>,
    rows: Option<u64>,
    pub(super) plan: Option<Value>,
}

/// What an execution came to.
fn understand(answer: &str) -> Result<Ran> {
    let reply: Reply = serde_json::from_str(answer).context("duckdb's answer is no JSON")?;
    if let Some(error) = reply.error {
        bail!("{error}");
    }
    Ok(Ran {
        planning_ms: reply.planning_ms.unwrap_or_default(),
        execution_ms: reply.execution_ms.unwrap_or_default(),
        rows: reply.rows.context("no statement returns rows")?,
        observed: reply.plan.as_ref().and_then(observed),
    })
}

/// The operators of a plan with their rows, below those that only explain. Of some queries, such as counts that are known without
/// running, DuckDB shows none.
fn observed(plan: &Value) -> Option<Observed> {
    let mut observed = Observed::default();
    let mut root = plan;
    if let Some(top) = plan["operator"].as_array().and_then(|list| list.first()) {
        root = top;
    }
    while ["", "RESULT_COLLECTOR", "EXPLAIN_ANALYZE"].contains(&kind(root)) {
        match children(root).first() {
            Some(child) => root = child,
            None => return None,
        }
    }
    add(root, false, &mut vec![], &mut observed);
    observed.cut.sort_unstable();
    observed.cut.dedup();
    Some(observed)
}

fn kind(node: &Value) -> &str {
    let named = node["type"]
        .as_str()
        .or_else(|| node["operator_type"].as_str());
    named.unwrap_or_default()
}

pub(super) fn children(node: &Value) -> &[Value] {
    node["children"].as_array().map_or(&[], Vec::as_slice)
}

/// An operator above: its position, and if it is a join, the names in its conditions.
type Above = (usize, BTreeSet<String>);

/// `cut`: whether a LIMIT above may have stopped asking for rows.
fn add(node: &Value, cut: bool, path: &mut Vec<Above>, observed: &mut Observed) {
    let kind = kind(node);
    let none = Map::new();
    let info = node["extra_info"].as_object().unwrap_or(&none);
    let joins = kind.ends_with("_JOIN") || kind == "CROSS_PRODUCT";
    let at = observed.operators.len();
    // The inputs of a join: DuckDB names the probe side first, and builds from the second.
    let mut inputs: Vec<&Value> = children(node).iter().collect();
    if joins {
        inputs.reverse();
    }
    observed.operators.push(Operator {
        name: kind.to_owned(),
        text: text(info),
        inputs: inputs.len(),
        partitions: 1,
        joins,
        table: info.get("Filename(s)").map(table_of),
    });
    observed.keys.push(vec![]);
    let estimate = info.get("Estimated Cardinality").and_then(number);
    observed.own_estimates.push(estimate);
    let rows = ["intermediate_rows", "operator_cardinality"]
        .iter()
        .find_map(|name| node[name].as_u64());
    observed.rows.push(rows);
    let seconds = ["timing", "operator_timing"]
        .iter()
        .find_map(|name| node[name].as_f64());
    let elapsed = seconds.map(|seconds| (seconds * 1e6).ceil() as u64);
    observed.elapsed_us.push(elapsed);
    if cut {
        observed.cut.push(at);
    }
    if let Some(filters) = info.get("Dynamic Filters") {
        observed.cut.extend(cut_by_filters(&word(filters), path));
        observed.cut.push(at);
    }
    let stops = (cut || kind == "LIMIT" || kind == "STREAMING_LIMIT")
        && ![
            "ORDER_BY",
            "TOP_N",
            "HASH_GROUP_BY",
            "PERFECT_HASH_GROUP_BY",
            "UNGROUPED_AGGREGATE",
        ]
        .contains(&kind);
    let conditions = info.get("Conditions").map(word).unwrap_or_default();
    path.push((at, names_in(&conditions)));
    for (place, input) in inputs.into_iter().enumerate() {
        // A join reads its build side to the end, whatever is asked of it.
        let builds = joins && place == 0;
        add(input, stops && !builds, path, observed);
    }
    path.pop();
}

/// The operators between a scan and the topmost join whose keys filter it: they lack the rows that this join would drop. A filter names
/// the columns of its join, and no operator, so a join with a column of that name may be taken for it.
fn cut_by_filters(filters: &str, path: &[Above]) -> Vec<usize> {
    let filtered = names_in(filters);
    let topmost = path
        .iter()
        .position(|(_, names)| !names.is_disjoint(&filtered));
    let below = topmost.map_or(path.len(), |at| at + 1);
    path[below..].iter().map(|(at, _)| *at).collect()
}

/// The words of a condition that may be columns.
fn names_in(text: &str) -> BTreeSet<String> {
    const WORDS: [&str; 6] = ["optional", "IN", "AND", "OR", "PRF", "BF"];
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let name = |word: &&str| {
        !WORDS.contains(word) && word.starts_with(|c: char| c.is_alphabetic() || c == '_')
    };
    words.filter(name).map(str::to_owned).collect()
}

/// What an operator does, by the names of its properties.
fn text(info: &Map<String, Value>) -> String {
    let told = info
        .iter()
        .filter(|(name, _)| !TOLD_ELSEWHERE.contains(&name.as_str()));
    told.map(|(name, value)| format!("{}={}", name.to_lowercase(), word(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A property as text.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let words = list.iter().map(|value| value.as_str().unwrap_or_default());
            words.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// The table of the first file: that of its name, or of the folder around it.
fn table_of(files: &Value) -> String {
    let files = files.as_str().unwrap_or_default();
    let first = Path::new(files.split(", ").next().unwrap_or_default());
    let name = first.file_stem().unwrap_or_default().to_string_lossy();
    name.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_estimates_and_rows() {
        let plan = json!({"operator": [{"type": "RESULT_COLLECTOR", "children": [{
            "type": "HASH_JOIN", "intermediate_rows": 70, "timing": 0.0015,
            "extra_info": {"Join Type": "INNER", "Conditions": ["a = b", "c = d"], "Estimated Cardinality": "50"},
            "children": [
                {"type": "TABLE_SCAN", "intermediate_rows": 9, "extra_info":
                    {"Filename(s)": "/data/orders.parquet", "Filters": "x>1", "Dynamic Filters": "b", "Estimated Cardinality": "~40"}},
                {"type": "TABLE_SCAN", "intermediate_rows": 7, "extra_info": {"Filename(s)": "/data/nation.parquet"}}
            ]
        }]}]});
        let answer = json!({"planning_ms": 1.0, "execution_ms": 2.0, "rows": 70, "plan": plan});
        let ran = understand(&answer.to_string()).unwrap();
        assert_eq!((ran.rows, ran.execution_ms), (70, 2.0));
        let observed = ran.observed.unwrap();
        let names: Vec<_> = observed
            .operators
            .iter()
            .map(|o| (o.name.as_str(), o.inputs))
            .collect();
        assert_eq!(
            names,
            [("HASH_JOIN", 2), ("TABLE_SCAN", 0), ("TABLE_SCAN", 0)]
        );
        assert_eq!(
            observed.operators[0].text,
            "conditions=a = b, c = d, join type=INNER"
        );
        let tables: Vec<_> = observed
            .operators
            .iter()
            .map(|o| o.table.as_deref())
            .collect();
        assert_eq!(tables, [None, Some("nation"), Some("orders")]);
        assert_eq!(observed.own_estimates, [Some(50.0), None, Some(40.0)]);
        assert_eq!(observed.rows, [Some(70), Some(7), Some(9)]);
        assert_eq!(observed.elapsed_us, [Some(1_500), None, None]);
        assert_eq!(observed.cut, [2]);
    }

    /// Keys of a join reach the scans below it, past other joins.
    #[test]
    fn joins_below_a_filter_lack_rows() {
        let scan = |filters: &str| json!({"type": "TABLE_SCAN", "extra_info": {"Filename(s)": "/t.parquet", "Dynamic Filters": filters}});
        let join = |conditions: &str, probe: Value| {
            let build = json!({"type": "DUMMY_SCAN", "extra_info": {}});
            json!({"type": "HASH_JOIN", "extra_info": {"Conditions": conditions}, "children": [probe, build]})
        };
        let cut = |filters: &str| {
            let plan = join("a = x", join("b = y", join("c = z", scan(filters))));
            observed(&plan).unwrap().cut
        };
        // Positions: join, build, join, build, join, build, scan.
        assert_eq!(cut("optional: c IN PRF(z)"), [6]);
        assert_eq!(
            cut("optional: c IN PRF(z), (optional: (b >= 1) AND optional: (b <= 7))"),
            [4, 6]
        );
        assert_eq!(cut("a = 3"), [2, 4, 6]);
        assert_eq!(cut("optional: q IN (1, 2)"), [6]);
    }

    #[test]
    fn the_topmost_estimate_counts() {
        let answer = |node: Value| expected(&json!({"plan": [node]}).to_string()).ok();
        let scan = json!({"name": "SEQ_SCAN", "children": [], "extra_info": {"Estimated Cardinality": "7"}});
        let above =
            json!({"name": "PROJECTION", "children": [scan], "extra_info": {"Projections": "1"}});
        assert_eq!(answer(above), Some(7.0));
        let empty = json!({"name": "EMPTY_RESULT", "children": [], "extra_info": {}});
        assert_eq!(answer(empty), Some(0.0));
        assert_eq!(answer(json!({"name": "X", "children": []})), None);
    }

    #[test]
    fn errors_are_those_of_the_system() {
        assert!(check_opened(r#"{"error": "no file"}"#).is_err());
        assert!(check_opened(r#"{"version": "2.0.0"}"#).is_ok());
        let failed = understand(r#"{"error": "Catalog Error: x"}"#);
        assert_eq!(failed.err().unwrap().to_string(), "Catalog Error: x");
        assert!(understand("nothing").is_err());
        let none = understand(r#"{"rows": 1, "plan": {"result": "error"}}"#).unwrap();
        assert!(none.observed.is_none());
    }
}
