//! Each command on good input.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::tiny::{QUERIES, TABLES, Tiny};
use crate::{joinwright, joinwright_with_input};

/// The rows of a csv file by column name.
fn read_csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

fn file_names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn bench_writes_a_run_folder() {
    let tiny = Tiny::write();
    let table = joinwright(
        tiny.folder(),
        &[
            "bench",
            "tiny suite",
            "--runs",
            "2",
            "--warmup",
            "1",
            "--out",
            "my run",
        ],
    )
    .ok();
    assert!(table.contains("4 queries, 4 same"), "{table}");
    for (query, ..) in QUERIES {
        assert!(table.contains(query), "{table}");
    }

    let run = tiny.folder().join("my run");
    let expected = ["README.md", "raw.csv", "report.html", "run.json"].map(String::from);
    assert_eq!(file_names(&run), BTreeSet::from(expected));
    let readme = fs::read_to_string(run.join("README.md")).unwrap();
    assert!(readme.contains("joinwright bench"), "{readme}");
    let json: Value =
        serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert!(json.is_object());

    let samples = read_csv(&fs::read_to_string(run.join("raw.csv")).unwrap());
    for (query, _, rows) in QUERIES {
        for arm in ["default", "joinwright"] {
            let of_arm: Vec<_> = samples
                .iter()
                .filter(|sample| sample["query"] == query && sample["arm"] == arm)
                .collect();
            let warmups = of_arm
                .iter()
                .filter(|sample| sample["warmup"] == "true")
                .count();
            assert_eq!((of_arm.len(), warmups), (3, 1), "{query} {arm}");
            for sample in of_arm {
                assert_eq!(sample["status"], "ok");
                assert_eq!(sample["rows"], rows.to_string(), "{query} {arm}");
                assert!(!sample["fingerprint"].is_empty());
                let ms = |column: &str| sample[column].parse::<f64>().unwrap();
                assert!(ms("planning_ms") >= 0.0 && ms("execution_ms") >= 0.0);
                let sum = ms("planning_ms") + ms("execution_ms");
                assert!(
                    (ms("total_ms") - sum).abs() <= 0.01 * sum + 0.01,
                    "{sample:?}"
                );
            }
        }
    }
    assert_eq!(samples.len(), 4 * 2 * 3);
}

#[test]
fn bench_of_some_queries_and_arms() {
    let tiny = Tiny::write();
    let arm = "estimator=textbook,enumerator=goo,cost=cout";
    let table = joinwright(
        tiny.folder(),
        &[
            "bench",
            "tiny suite",
            "--query",
            "q2,q10",
            "--arm",
            "literal",
            "--arm",
            arm,
            "--runs",
            "1",
            "--warmup",
            "0",
            "--threads",
            "1",
            "--timeout",
            "60",
        ],
    )
    .ok();
    assert!(table.contains("2 queries, 2 same"), "{table}");

    // Without --out, the folder is named by day, suite and scale, under `results`.
    let runs = file_names(&tiny.folder().join("results"));
    let run = runs.first().unwrap();
    assert!(runs.len() == 1 && run.contains("tiny"), "{runs:?}");
    let raw = tiny.folder().join("results").join(run).join("raw.csv");
    let samples = read_csv(&fs::read_to_string(raw).unwrap());
    let ran: BTreeSet<(&str, &str)> = samples
        .iter()
        .map(|sample| (sample["query"].as_str(), sample["arm"].as_str()))
        .collect();
    let expected = [
        ("q2", "literal"),
        ("q2", arm),
        ("q10", "literal"),
        ("q10", arm),
    ];
    assert_eq!(ran, BTreeSet::from(expected));
}

/// Statistics alone: the joins as DataFusion orders them, the build sides by what the catalog knows.
#[test]
fn bench_of_default_with_statistics() {
    let tiny = Tiny::write();
    // Without statistics, each item is thought to have a product of its own.
    let grouped = "SELECT c.name, g.n FROM customer c
         JOIN (SELECT product_id, count(*) AS n FROM item GROUP BY product_id) g ON c.id = g.product_id";
    fs::write(tiny.suite().join("my queries/grouped.sql"), grouped).unwrap();
    let table = joinwright(
        tiny.folder(),
        &[
            "bench",
            "tiny suite",
            "--arm",
            "default",
            "--arm",
            "default+stats",
            "--runs",
            "1",
            "--warmup",
            "0",
            "--threads",
            "2",
            "--out",
            "run",
        ],
    )
    .ok();
    assert!(table.contains("5 queries, 5 same"), "{table}");
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    let samples = read_csv(&raw);
    let plan = |query: &str, arm: &str| {
        let mut of_arm = samples
            .iter()
            .filter(|sample| sample["query"] == query && sample["arm"] == arm);
        of_arm.next().unwrap()["fingerprint"].clone()
    };
    assert_ne!(plan("grouped", "default"), plan("grouped", "default+stats"));
    let readme = fs::read_to_string(tiny.folder().join("run/README.md")).unwrap();
    assert!(readme.contains("default+stats: stats=on"), "{readme}");

    // The joins are ordered as by default, whatever the catalog knows.
    for (query, ..) in QUERIES {
        let trees = |arm: &str| -> Vec<Value> {
            let arguments = [
                "plan",
                "tiny suite",
                "--query",
                query,
                "--arm",
                arm,
                "--json",
            ];
            let lines = joinwright(tiny.folder(), &arguments).ok();
            let regions = lines.lines().map(|line| {
                let region: Value = serde_json::from_str(line).unwrap();
                region["tree"].clone()
            });
            regions.collect()
        };
        assert_eq!(trees("default+stats"), trees("default"), "{query}");
    }
}

#[test]
fn bench_of_arms_from_a_file() {
    let tiny = Tiny::write();
    let file = "[[arm]]\nname = 'plain'\nparts = 'default'\n[matrix]\nestimator = ['textbook', 'simpli']\nenumerator = ['goo', 'dphyp']\n";
    fs::write(tiny.folder().join("my arms.toml"), file).unwrap();
    let arguments = [
        "bench",
        "tiny suite",
        "--arms",
        "my arms.toml",
        "--runs",
        "1",
        "--warmup",
        "0",
        "--query",
        "q1",
        "--out",
        "run",
    ];
    let table = joinwright(tiny.folder(), &arguments).ok();
    assert!(table.contains("1 query, 1 same"), "{table}");
    // So many arms are numbers in the table, and named below it.
    assert!(
        table.contains("[5] ratio")
            && table.contains("[1] plain, [2] estimator=textbook,enumerator=goo"),
        "{table}"
    );
    assert!(
        table
            .lines()
            .all(|line| !line.starts_with(" q1 ") || line.chars().count() < 100),
        "{table}"
    );
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    let samples = read_csv(&raw);
    let arms: Vec<&str> = samples
        .iter()
        .map(|sample| sample["arm"].as_str())
        .collect();
    let expected = [
        "plain",
        "estimator=textbook,enumerator=goo",
        "estimator=textbook,enumerator=dphyp",
        "estimator=simpli,enumerator=goo",
        "estimator=simpli,enumerator=dphyp",
    ];
    assert_eq!(arms, expected);
    let readme = fs::read_to_string(tiny.folder().join("run/README.md")).unwrap();
    assert!(readme.contains("plain: arm=default"), "{readme}");
}

#[test]
fn a_query_that_fails_is_a_row() {
    let tiny = Tiny::write();
    let broken = tiny.suite().join("my queries/q3.sql");
    fs::write(broken, "SELECT nothing FROM customer").unwrap();
    let run = joinwright(
        tiny.folder(),
        &[
            "bench",
            "tiny suite",
            "--runs",
            "1",
            "--warmup",
            "0",
            "--out",
            "run",
        ],
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    let samples = read_csv(&raw);
    let statuses = |query: &str| -> BTreeSet<&str> {
        let of_query = samples.iter().filter(|sample| sample["query"] == query);
        of_query.map(|sample| sample["status"].as_str()).collect()
    };
    assert_eq!(statuses("q3"), BTreeSet::from(["error"]));
    assert_eq!(statuses("q11"), BTreeSet::from(["ok"]), "later queries run");
    assert!(run.stdout.contains("4 same"), "{}", run.stdout);
}

#[test]
fn plan_json_has_each_relation_once() {
    let tiny = Tiny::write();
    let lines = joinwright(tiny.folder(), &["plan", "tiny suite", "--json"]).ok();
    let mut regions = BTreeMap::new();
    for line in lines.lines() {
        let region: Value = serde_json::from_str(line).unwrap();
        let query = region["query"].as_str().unwrap().to_owned();
        assert_eq!(region["arm"], "joinwright");
        assert!(region["region"].is_u64());
        assert!(region["planning_us"].is_u64());
        assert!(region["pairs"].is_u64());
        assert!(!region["stop"].as_str().unwrap().is_empty());
        assert!(region["cost"].as_f64().unwrap() >= 0.0);

        let mut relations = Vec::new();
        for relation in region["relations"].as_array().unwrap() {
            let alias = relation["alias"].as_str().unwrap();
            assert!(relation["est_rows"].as_f64().unwrap() >= 0.0, "{relation}");
            assert!(relation.get("table").is_some(), "{relation}");
            relations.push(alias.to_owned());
        }
        let mut in_tree = Vec::new();
        aliases(&region["tree"], &mut in_tree);
        relations.sort();
        in_tree.sort();
        assert_eq!(relations, in_tree, "{line}");
        let before = in_tree.len();
        in_tree.dedup();
        assert_eq!(in_tree.len(), before, "an alias twice: {line}");
        regions.entry(query).or_insert(relations);
    }
    assert_eq!(regions["q1"], ["c", "i", "o"]);
    assert_eq!(regions["q2"], ["c", "i", "o", "p"]);
    assert_eq!(regions["q10"], ["a", "b", "c"]);
}

/// Collects the leaves of a join tree, and checks the shape of its nodes.
fn aliases(tree: &Value, found: &mut Vec<String>) {
    assert!(tree["est_rows"].as_f64().unwrap() >= 0.0, "{tree}");
    match tree.get("alias") {
        Some(alias) => found.push(alias.as_str().unwrap().to_owned()),
        None => {
            aliases(&tree["left"], found);
            aliases(&tree["right"], found);
        }
    }
}

#[test]
fn plan_estimates_of_bare_tables_are_their_rows() {
    let tiny = Tiny::write();
    fs::write(
        tiny.suite().join("my queries/bare.sql"),
        "SELECT count(*) FROM customer c, orders o, item i WHERE c.id = o.customer_id AND o.id = i.order_id",
    )
    .unwrap();
    let line = joinwright(
        tiny.folder(),
        &[
            "plan",
            "tiny suite",
            "--query",
            "bare",
            "--arm",
            "enumerator=goo",
            "--json",
        ],
    )
    .ok();
    let region: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(region["arm"], "enumerator=goo");
    let mut rows = BTreeMap::new();
    for relation in region["relations"].as_array().unwrap() {
        let table = relation["table"].as_str().unwrap();
        rows.insert(table.to_owned(), relation["est_rows"].as_f64().unwrap());
    }
    for (table, expected) in TABLES.iter().filter(|(table, _)| *table != "product") {
        // A join key that is NULL joins with nothing: those rows may be left out.
        let least = if *table == "orders" { 0.9 } else { 1.0 };
        let expected = *expected as f64;
        let estimate = rows[*table];
        assert!(
            estimate <= expected + 0.5 && estimate >= expected * least - 0.5,
            "{table} {estimate}"
        );
    }
}

#[test]
fn sql_in_three_formats() {
    let tiny = Tiny::write();
    let query = "SELECT id, city FROM customer WHERE id IN (3, 4) ORDER BY id";
    let sql = |format: &str| {
        let arguments = ["sql", "tiny suite/my data", "-c", query, "--format", format];
        joinwright(tiny.folder(), &arguments).ok()
    };
    assert_eq!(sql("csv"), "id,city\n3,city 3\n4,city 4\n");
    let table = sql("table");
    assert!(table.contains("| 3  | city 3 |"), "{table}");
    let json = sql("json");
    let rows: Vec<Value> = match serde_json::from_str::<Value>(&json) {
        Ok(Value::Array(rows)) => rows,
        _ => json
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    };
    let expected = [(3, "city 3"), (4, "city 4")];
    let expected = expected.map(|(id, city)| serde_json::json!({"id": id, "city": city}));
    assert_eq!(rows, expected);
}

#[test]
fn sql_from_option_file_and_input() {
    let tiny = Tiny::write();
    let statements = "SET joinwright.enumerator = 'goo';\n\
         -- a comment; with a semicolon\n\
         SELECT count(*) AS n FROM orders WHERE customer_id IS NULL;\n\
         SELECT 'a;b' AS text;";
    fs::write(tiny.folder().join("two statements.sql"), statements).unwrap();
    let data = "tiny suite/my data";
    let option = joinwright(
        tiny.folder(),
        &["sql", data, "-c", statements, "--format", "csv"],
    )
    .ok();
    let lines: Vec<&str> = option.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["n", "40", "text", "a;b"]);
    let arguments = ["sql", data, "-f", "two statements.sql", "--format", "csv"];
    assert_eq!(joinwright(tiny.folder(), &arguments).ok(), option);
    let input = joinwright_with_input(tiny.folder(), &["sql", data, "--format", "csv"], statements);
    assert_eq!(input.ok(), option);
}

#[test]
fn sql_arms_agree() {
    let tiny = Tiny::write();
    for (_, query, _) in QUERIES {
        let rows = |arm: &str| {
            let arguments = [
                "sql",
                "tiny suite/my data",
                "-c",
                query,
                "--arm",
                arm,
                "--format",
                "csv",
            ];
            let text = joinwright(tiny.folder(), &arguments).ok();
            let mut rows: Vec<String> = text.lines().map(String::from).collect();
            rows[1..].sort();
            rows
        };
        let default = rows("default");
        assert!(default.len() > 1, "{query}");
        for arm in [
            "default+stats",
            "literal",
            "joinwright",
            "enumerator=goo",
            "enumerator=goo,stats=on",
        ] {
            assert_eq!(rows(arm), default, "{arm}: {query}");
        }
    }
}

#[test]
fn stats_before_and_after_analyze() {
    let tiny = Tiny::write();
    let data = "tiny suite/my data";
    let stats = |more: &[&str]| {
        let mut arguments = vec!["stats", data];
        arguments.extend(more);
        joinwright(tiny.folder(), &arguments).ok()
    };
    let line_of = |text: &str, name: &str| -> String {
        let line = text.lines().find(|line| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        });
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    };
    let footers = stats(&[]);
    for (table, rows) in TABLES {
        let line = line_of(&footers, table).replace([',', '_'], "");
        assert!(line.contains(&rows.to_string()), "{line}");
    }

    joinwright(tiny.folder(), &["analyze", data]).ok();
    assert_ne!(stats(&[]), footers, "analyze leaves a mark");
    let columns = stats(&["customer"]);
    // 50 ids, 5 cities: so few that the distinct count is exact.
    assert!(line_of(&columns, "id").contains("50"), "{columns}");
    assert!(line_of(&columns, "city").contains('5'), "{columns}");
    let column = stats(&["orders.customer_id"]);
    assert!(
        column.contains("customer_id") && column.contains("40"),
        "40 NULLs: {column}"
    );

    // The cache folder lies where the program ran, and a second pass finds its entries.
    assert!(tiny.folder().join(".joinwright").is_dir());
    joinwright(tiny.folder(), &["analyze", data]).ok();
    joinwright(tiny.folder(), &["analyze", data, "--refresh"]).ok();
    assert_eq!(stats(&["customer"]), columns);
}

#[test]
fn help_names_the_commands() {
    let tiny = Tiny::write();
    let help = joinwright(tiny.folder(), &["--help"]).ok();
    for command in [
        "bench", "analyze", "stats", "sql", "plan", "explain", "import",
    ] {
        assert!(help.contains(command), "{help}");
    }
    assert!(
        joinwright(tiny.folder(), &["--version"])
            .ok()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}
