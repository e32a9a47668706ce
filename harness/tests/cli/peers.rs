//! `bench --peer`: another system over the same files, or a line that says how to get it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::joinwright;
use crate::postgres::Server;
use crate::tiny::{QUERIES, Tiny};

const BENCH: [&str; 10] = [
    "bench",
    "tiny suite",
    "--runs",
    "2",
    "--warmup",
    "1",
    "--out",
    "run",
    "--peer",
    "duckdb",
];

/// Whether DuckDB can be tried; says so if not.
pub(crate) fn has_duckdb() -> bool {
    let installed = Command::new("python3")
        .args(["-c", "import duckdb"])
        .output();
    let installed = installed.is_ok_and(|output| output.status.success());
    if !installed {
        println!("skipped: python3 has no package duckdb");
    }
    installed
}

/// A query that DataFusion alone understands.
fn add_foreign_query(tiny: &Tiny) {
    let sql = "SELECT count(*), array_length(make_array(1)) FROM orders";
    fs::write(tiny.suite().join("my queries/q3.sql"), sql).unwrap();
}

#[test]
fn duckdb_stands_in_the_same_table() {
    if !has_duckdb() {
        return;
    }
    let tiny = Tiny::write();
    add_foreign_query(&tiny);
    let run = joinwright(tiny.folder(), &BENCH);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let raw = check_run(tiny.folder(), "duckdb");
    // What DuckDB does not know is a row, as for any arm.
    let failed = raw
        .lines()
        .find(|line| line.starts_with("q3,duckdb,"))
        .unwrap();
    assert!(failed.contains(",error,"), "{failed}");
    let report = joinwright(tiny.folder(), &["report", "run"]);
    assert_eq!(report.status, 0, "{}", report.stderr);
}

/// Whether a run has the peer with plans, estimates and rows of all queries; the result is its samples.
fn check_run(folder: &Path, peer: &str) -> String {
    let raw = fs::read_to_string(folder.join("run/raw.csv")).unwrap();
    let text = fs::read_to_string(folder.join("run/run.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let arms: Vec<&str> = json["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| arm["name"].as_str().unwrap())
        .collect();
    assert_eq!(arms, ["default", "joinwright", peer]);
    assert!(json["arms"][2]["options"]["version"].is_string());
    for (query, _, rows) in QUERIES {
        let own: Vec<&str> = raw
            .lines()
            .filter(|line| line.starts_with(&format!("{query},{peer},")))
            .collect();
        assert_eq!(own.len(), 3, "{raw}");
        let details = json["details"]
            .as_array()
            .unwrap()
            .iter()
            .find(|own| own["query"] == query)
            .unwrap();
        let arm = details["arms"]
            .as_array()
            .unwrap()
            .iter()
            .find(|arm| arm["arm"] == peer)
            .unwrap();
        let operators = details["plans"][arm["plan"].as_u64().unwrap() as usize]["operators"]
            .as_array()
            .unwrap();
        assert_eq!(arm["rows"][0], rows, "{details}");
        let joins: Vec<usize> = (0..operators.len())
            .filter(|at| operators[*at]["j"] == true)
            .collect();
        assert!(!joins.is_empty());
        for at in joins {
            assert!(
                arm["estimated"][at].is_number() && arm["rows"][at].is_u64(),
                "{arm}"
            );
        }
        assert!(
            operators.iter().any(|operator| operator["s"].is_string()),
            "no table"
        );
    }
    raw
}

#[test]
fn absent_peers_are_skipped_with_a_line() {
    let tiny = Tiny::write();
    let empty = tiny.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .args(BENCH)
        .current_dir(tiny.folder())
        .env("PATH", &empty)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.lines().count() == 1 && said.contains("pip install duckdb"),
        "{said}"
    );
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    assert!(!raw.contains("duckdb"), "{raw}");
}

#[test]
fn unknown_peers_are_named() {
    let tiny = Tiny::write();
    for (peers, named) in [
        (&["oracle9"][..], "oracle9"),
        (&["duckdb", "duckdb"], "given twice"),
        (&["postgres"], "postgres=postgres://"),
        (&["postgres=postgres://me:secret@host:port/db"], "address"),
    ] {
        let mut arguments = vec!["bench", "tiny suite"];
        arguments.extend(peers.iter().flat_map(|peer| ["--peer", peer]));
        let run = joinwright(tiny.folder(), &arguments);
        assert_eq!(run.status, 2);
        assert!(
            run.stderr.contains(named) && run.stderr.lines().count() == 1,
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    }
}

/// The arguments of a run with a server beside.
fn with_server(url: &str) -> Vec<String> {
    let mut arguments: Vec<String> = BENCH.map(str::to_owned).to_vec();
    arguments.pop();
    arguments.push(format!("postgres={url}"));
    arguments
}

fn bench(folder: &Path, url: &str) -> crate::Run {
    let arguments = with_server(url);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    joinwright(folder, &arguments)
}

#[test]
fn postgres_stands_in_the_same_table() {
    let Some(server) = Server::start() else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let tiny = Tiny::write();
    add_foreign_query(&tiny);
    let run = bench(tiny.folder(), &server.url());
    assert_eq!(run.status, 0, "{}", run.stderr);
    let raw = check_run(tiny.folder(), "postgres");
    let failed = raw.lines().find(|line| line.starts_with("q3,postgres,"));
    assert!(failed.unwrap().contains(",error,"), "{raw}");
    let text = fs::read_to_string(tiny.folder().join("run/run.json")).unwrap();
    assert!(text.contains("postgres:***@") && !text.contains("geheim"));

    // Tables with NULLs, keys and types, under one schema.
    let schema = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'joinwright%'";
    let schema = server.ask(schema);
    assert!(schema.starts_with("joinwright_tiny_"), "{schema}");
    let count = format!("SELECT count(*), count(customer_id), sum(total) FROM {schema}.orders");
    assert_eq!(server.ask(&count), "400|360|79800");
    let keys = "SELECT string_agg(conrelid::regclass::text, ',' ORDER BY conrelid::regclass::text) FROM pg_constraint \
                WHERE contype = 'p' AND connamespace = (SELECT oid FROM pg_namespace WHERE nspname LIKE 'joinwright%')";
    let keys = server.ask(keys);
    assert_eq!(keys, format!("{schema}.customer,{schema}.orders"));
    let analyzed = format!("SELECT reltuples FROM pg_class WHERE oid = '{schema}.item'::regclass");
    assert_eq!(server.ask(&analyzed), "1200");

    // The server ends what takes too long, and goes on.
    let long = tiny.suite().join("my queries/q4.sql");
    fs::write(&long, "SELECT count(*) FROM (SELECT pg_sleep(60)) s").unwrap();
    let peer = format!("postgres={}", server.url());
    let run = joinwright(
        tiny.folder(),
        &[
            "bench",
            "tiny suite",
            "--query",
            "q4,q10",
            "--runs",
            "1",
            "--timeout",
            "3",
            "--out",
            "late",
            "--peer",
            &peer,
        ],
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    fs::remove_file(long).unwrap();
    let raw = fs::read_to_string(tiny.folder().join("late/raw.csv")).unwrap();
    let status = |query: &str| -> Vec<&str> {
        let start = format!("{query},postgres,");
        let own = raw.lines().filter(|line| line.starts_with(&start));
        own.map(|line| line.split(',').nth(4).unwrap()).collect()
    };
    assert_eq!(
        (status("q4"), status("q10")),
        (vec!["timeout"; 2], vec!["ok"; 2])
    );

    // Found again: what was changed there is still there. Other files are other tables.
    server.ask(&format!("DELETE FROM {schema}.product"));
    fs::remove_dir_all(tiny.folder().join("run")).unwrap();
    let run = bench(tiny.folder(), &server.url());
    assert_eq!(run.status, 1, "the rows of q11 differ: {}", run.stderr);
    let product = tiny.data().join("product.parquet");
    let product = fs::File::options().write(true).open(product);
    let earlier = SystemTime::now() - Duration::from_secs(3600);
    product.unwrap().set_modified(earlier).unwrap();
    fs::remove_dir_all(tiny.folder().join("run")).unwrap();
    let run = bench(tiny.folder(), &server.url());
    assert_eq!(run.status, 0, "{}\n{}", run.stdout, run.stderr);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'joinwright%'";
    assert_eq!(server.ask(schemas), "2");
}

/// Names that were written for a system which tells capitals apart.
#[test]
fn postgres_knows_names_with_capitals() {
    let Some(server) = Server::start() else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let tiny = Tiny::write();
    fs::rename(
        tiny.data().join("item.parquet"),
        tiny.data().join("Items.parquet"),
    )
    .unwrap();
    let queries = tiny.suite().join("my queries");
    for (name, _, _) in QUERIES {
        fs::remove_file(queries.join(format!("{name}.sql"))).unwrap();
    }
    for (name, from) in [("quoted", "\"Items\""), ("plain", "Items")] {
        let sql = format!("SELECT count(*) FROM {from} AS i, orders AS o WHERE i.order_id = o.id");
        fs::write(queries.join(format!("{name}.sql")), sql).unwrap();
    }
    let run = bench(tiny.folder(), &server.url());
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("2 queries, 2 same"),
        "{}\n{}",
        run.stdout,
        run.stderr
    );
}

#[test]
fn absent_servers_are_skipped_with_a_line() {
    let tiny = Tiny::write();
    let run = bench(tiny.folder(), "postgres://me:secret@127.0.0.1:1/db");
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stderr.lines().count() == 1 && run.stderr.contains("docker run"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("me:secret"), "{}", run.stderr);
    let raw = fs::read_to_string(tiny.folder().join("run/raw.csv")).unwrap();
    assert!(!raw.contains("postgres"), "{raw}");
}

/// The suite with a truth file of its sub-plans.
fn with_truth(tiny: &Tiny) {
    let truth = joinwright(
        tiny.folder(),
        &["truth", "tiny suite", "--out", "truth.csv"],
    );
    truth.ok();
}

/// The estimates of a peer by sub-plan of q2.
fn estimates_of(folder: &Path, peer: &str) -> Vec<(String, f64)> {
    let text = fs::read_to_string(folder.join("est.csv")).unwrap();
    let lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let own = lines.filter(|line| line[0] == "q2" && line[line.len() - 1] == peer);
    own.map(|line| (line[1].to_owned(), line[3].parse().unwrap()))
        .collect()
}

fn check_estimates(peer: &str, address: &str) {
    let tiny = Tiny::write();
    let using = tiny.suite().join("my queries/q3.sql");
    let sql = "SELECT count(*) FROM orders a JOIN orders b USING (id)";
    fs::write(using, sql).unwrap();
    with_truth(&tiny);
    let run = joinwright(
        tiny.folder(),
        &[
            "estimate",
            "tiny suite",
            "--subplans",
            "truth.csv",
            "--out",
            "est.csv",
            "--query",
            "q2,q3",
            "--peer",
            address,
        ],
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    // What is not written as a condition is not taken apart.
    assert!(
        run.stderr.contains("q3: it has a join other"),
        "{}",
        run.stderr
    );
    // The system's own plan of q2 is judged beside the best one by its estimates: no plan is better than the best.
    let lines = || {
        run.stdout
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    assert!(run.stdout.contains("own plans"), "{}", run.stdout);
    let own: Vec<&str> = lines()
        .find(|line| line.first() == Some(&peer) && line.contains(&"q2"))
        .unwrap();
    let (by_estimates, chosen): (f64, f64) = (own[1].parse().unwrap(), own[6].parse().unwrap());
    assert!(by_estimates >= 1.0 && chosen >= 1.0, "{own:?}");
    assert_eq!((own[5], own[9]), ("q2", "q2"));
    let arm = Some(&"estimator=joinwright");
    let own = lines().find(|line| line.first() == arm && line.contains(&"ms"));
    let own: f64 = own.unwrap()[6].parse().unwrap();
    assert!(
        (1.0..1.1).contains(&own),
        "the samples have all rows of q2's tables: {own}"
    );
    let peers = estimates_of(tiny.folder(), peer);
    let names = |estimates: &[(String, f64)]| -> Vec<String> {
        estimates.iter().map(|(name, _)| name.clone()).collect()
    };
    let own = estimates_of(tiny.folder(), "estimator=joinwright");
    assert_eq!(names(&peers), names(&own));
    let rows = |name: &str| peers.iter().find(|(other, _)| other == name).unwrap().1;
    // What is not filtered, both know; a filter on one of a few values lies below the whole.
    assert_eq!((rows("i"), rows("o")), (1200.0, 400.0));
    assert!((1.0..20.0).contains(&rows("p")), "{peers:?}");
    assert!(rows("c+o") < rows("i+o"), "{peers:?}");
}

#[test]
fn duckdb_estimates_the_same_sub_plans() {
    if !has_duckdb() {
        return;
    }
    check_estimates("duckdb", "duckdb");
}

#[test]
fn postgres_estimates_the_same_sub_plans() {
    let Some(server) = Server::start() else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    check_estimates("postgres", &format!("postgres={}", server.url()));
}

#[test]
fn peers_need_sub_plans() {
    let tiny = Tiny::write();
    let run = joinwright(
        tiny.folder(),
        &["estimate", "tiny suite", "--peer", "duckdb"],
    );
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("--subplans"), "{}", run.stderr);
}
