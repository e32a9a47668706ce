//! `analyze` and `stats` on a table with all that is odd: skew, dates, control characters, nulls alone, nested values, NaN.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tempfile::TempDir;

use crate::{joinwright, tiny::Tiny};

const ROWS: i64 = 30_000;

/// A folder `data` with the table `odd`, which refers to `thing`.
fn write() -> TempDir {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    write_parquet(&data.join("odd.parquet"), &odd());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..200));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    write_parquet(&data.join("thing.parquet"), &batch);
    folder
}

fn odd() -> RecordBatch {
    let rows = || 0..ROWS;
    // The square of a uniform number: low keys are frequent, and half of all rows have key 0.
    let thing = rows().map(|i| match i % 2 {
        0 => 0,
        _ => (i * 7919 % 14_142).pow(2) / 1_000_000,
    });
    let words = [
        "plain",
        "tab\there",
        "\u{1b}[31mred",
        "名前 \u{202e}",
        "it's",
        "",
    ];
    let nested = rows().map(|i| Some([Some(i as i32)]));
    let columns: [(&str, ArrayRef); 10] = [
        ("thing_id", Arc::new(Int64Array::from_iter_values(thing))),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                rows().map(|i| 10_000 + (i % 1000) as i32),
            )),
        ),
        (
            "moment",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows().map(|i| i * 3_600_000_000),
            )),
        ),
        (
            "word",
            Arc::new(StringArray::from_iter_values(
                rows().map(|i| words[(i % 6) as usize]),
            )),
        ),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                rows().map(|i| format!("name {:05}", i % 9973)),
            )),
        ),
        (
            "nothing",
            Arc::new(Int32Array::from_iter(rows().map(|_| None))),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(nested)),
        ),
        (
            "ratio",
            Arc::new(Float64Array::from_iter_values(rows().map(|i| {
                match i % 10 {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    _ => i as f64 / 1000.0,
                }
            }))),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from_iter(
                rows().map(|i| (i % 3 != 0).then_some(i % 5 == 0)),
            )),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter_values(rows().map(|i| i128::from(i % 4000)))
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// The output of `stats` with these arguments: no line too wide, no character that a terminal would act on.
#[track_caller]
fn stats(folder: &TempDir, target: &[&str]) -> String {
    let mut arguments = vec!["stats", "data"];
    arguments.extend(target);
    let text = joinwright(folder.path(), &arguments).ok();
    for line in text.lines() {
        // Wide letters count twice on a terminal, and there are a few.
        assert!(line.chars().count() <= 100, "too wide: {line}\n{text}");
    }
    let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(acts), "{text:?}");
    text
}

#[track_caller]
fn json(folder: &TempDir, target: &[&str]) -> Value {
    let mut arguments = vec!["stats", "data", "--json"];
    arguments.extend(target);
    let text = joinwright(folder.path(), &arguments).ok();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

const COLUMNS: [&str; 10] = [
    "thing_id", "day", "moment", "word", "name", "nothing", "list", "ratio", "flag", "price",
];

#[test]
fn stats_of_footers_alone() {
    let folder = write();
    check(
        &stats(&folder, &[]),
        &[
            "odd",
            "30,000",
            "footer only",
            "budget 2.00 MiB",
            "cache folder",
        ],
    );
    check(
        &stats(&folder, &["odd"]),
        &["only footers were read", "1997-05-19", "row group"],
    );
    for column in COLUMNS {
        let text = stats(&folder, &[&format!("odd.{column}")]);
        check(&text, &["footer only", "distinct       ?"]);
        assert!(!text.contains("most common"), "{text}");
        let known = json(&folder, &[&format!("odd.{column}")]);
        assert_eq!(
            (&known["analyzed"], &known["ndv"]),
            (&Value::Bool(false), &Value::Null)
        );
    }
    check(&stats(&folder, &["odd.day"]), &["ranges of row groups"]);
    check(&stats(&folder, &["odd.name"]), &["only footers were read"]);
}

#[test]
fn stats_of_analyzed_tables() {
    let folder = write();
    let line = joinwright(folder.path(), &["analyze", "data"]).ok();
    check(
        &line,
        &[
            "2 tables, 2 files, 30,200 rows",
            "2 files read",
            "of statistics",
        ],
    );
    assert_eq!(
        line.lines().count(),
        1,
        "nothing is dropped of little data: {line}"
    );

    check(&stats(&folder, &[]), &["analyzed", "budget 2.00 MiB"]);
    let table = stats(&folder, &["odd"]);
    check(
        &table,
        &[
            "thing_id",
            "key",
            "row sample",
            "max degree",
            "~",
            "1 file, 1 row group",
        ],
    );
    for column in COLUMNS {
        stats(&folder, &[&format!("odd.{column}")]);
    }

    let key = stats(&folder, &["odd.thing_id"]);
    check(
        &key,
        &[
            "degrees",
            "ℓ2 norm",
            "key sample",
            "quantiles",
            "█",
            "most common value",
        ],
    );
    check(
        &stats(&folder, &["thing.id"]),
        &["each has one row", "distinct       200"],
    );
    check(
        &stats(&folder, &["odd.day"]),
        &["histogram", "1997-05-19 … "],
    );
    check(&stats(&folder, &["odd.moment"]), &["1970-01-01T00:00:00 "]);
    let word = stats(&folder, &["odd.word"]);
    check(
        &word,
        &[
            "tab\\there",
            "\\u{1b}[31mred",
            "名前 \\u{202e}",
            "it's",
            "5,000",
            "16.7 %",
            "exact",
        ],
    );
    check(
        &stats(&folder, &["odd.nothing"]),
        &["the column has no values", "100 % of 30,000"],
    );
    check(
        &stats(&folder, &["odd.list"]),
        &["only the nulls are counted"],
    );
    check(
        &stats(&folder, &["odd.ratio"]),
        &["NaN            ~", "inf", " 28.0 ", " NaN "],
    );
    check(
        &stats(&folder, &["odd.flag"]),
        &["histogram, exact", "false", "true", "33.3 %"],
    );
    check(&stats(&folder, &["odd.price"]), &["… 1.99 ", "39.99"]);
}

#[test]
fn stats_as_json() {
    let folder = write();
    joinwright(folder.path(), &["analyze", "data"]).ok();
    let all = json(&folder, &[]);
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|table| &table["table"])
        .collect();
    assert_eq!(names, ["odd", "thing"]);
    let odd = json(&folder, &["odd"]);
    for table in [&all[0], &odd] {
        assert_eq!(table["rows"], ROWS);
        assert_eq!(
            (&table["files"], &table["row_groups"]),
            (&1.into(), &1.into())
        );
        assert_eq!(
            (&table["analyzed"], &table["stale"]),
            (&true.into(), &false.into())
        );
        assert!(
            table["bytes"].as_u64() > Some(1000) && table["statistics_bytes"].as_u64() > Some(1000)
        );
        assert!(table["age_s"].is_u64() && table["page_index"].is_boolean());
        assert_eq!(table["dropped"], Value::Array(Vec::new()));
        let columns = table["columns"].as_array().unwrap();
        let names: Vec<_> = columns
            .iter()
            .map(|column| column["column"].as_str().unwrap())
            .collect();
        assert_eq!(names, COLUMNS);
        assert_eq!(
            (&columns[0]["key"], &columns[0]["min"]),
            (&true.into(), &0.into())
        );
        assert_eq!(columns[5]["null_count"], ROWS);
    }
    assert!(odd["sample"]["rows"].as_u64() > Some(0) && odd["sample"]["complete"].is_boolean());
    assert_eq!(odd["key_samples"][0]["column"], "thing_id");
    assert!(odd["key_samples"][0]["share"].as_f64() > Some(0.0));
    assert!(odd["degrees"][0]["max"].as_u64() >= Some(15_000));

    for column in COLUMNS {
        let known = json(&folder, &[&format!("odd.{column}")]);
        assert_eq!(
            (&known["table"], &known["column"]),
            (&"odd".into(), &column.into())
        );
        let Some(histogram) = known["histogram"].as_array() else {
            assert!(
                ["nothing", "list"].contains(&column),
                "{column} has no histogram"
            );
            continue;
        };
        let part =
            |bucket: &Value| bucket["below"].as_f64().unwrap() + bucket["equal"].as_f64().unwrap();
        let rows: f64 = histogram.iter().map(part).sum();
        let null =
            known["null_count"].as_f64().unwrap() + known["nan_estimate"].as_f64().unwrap_or(0.0);
        assert!(
            (rows - (ROWS as f64 - null)).abs() < 0.01 * ROWS as f64,
            "{column}: {rows} rows"
        );
        assert!(
            histogram.iter().all(|bucket| !bucket["upper"].is_null()),
            "{column}"
        );
    }
    let word = json(&folder, &["odd.word"]);
    let common = word["common"].as_array().unwrap();
    assert_eq!(common.len(), 6);
    let red = common
        .iter()
        .find(|entry| entry["value"] == "\u{1b}[31mred")
        .unwrap();
    assert_eq!((&red["count"], &red["error"]), (&5000.into(), &0.into()));
    assert_eq!(json(&folder, &["odd.day"])["min"], "1997-05-19");
    assert_eq!(json(&folder, &["odd.ratio"])["max"], "inf");
    let nan = json(&folder, &["odd.ratio"])["nan_estimate"]
        .as_f64()
        .unwrap();
    assert!((nan - 3000.0).abs() < 300.0, "{nan}");
    assert!(json(&folder, &["odd.thing_id"])["degrees"]["top"][0].as_u64() >= Some(15_000));
}

#[test]
fn budgets_and_keys() {
    let folder = write();
    let analyze = |more: &[&str]| {
        let mut arguments = vec!["analyze", "data", "--refresh"];
        arguments.extend(more);
        joinwright(folder.path(), &arguments)
    };
    let text = analyze(&["--budget", "0.5"]).ok();
    check(&text, &["did not fit the budget of", "odd: ", "KiB"]);
    check(&stats(&folder, &["odd"]), &["dropped ", "for space"]);
    let dropped = json(&folder, &["odd"]);
    let first = &dropped["dropped"][0];
    assert!(
        first["what"].is_string() && first["rows"].is_u64() && first["bytes"].as_u64() > Some(0)
    );

    analyze(&["--keys", "odd.day,odd.name", "--keys", "odd.price"]).ok();
    let columns = json(&folder, &["odd"])["columns"].clone();
    let keys = columns
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["key"] == true);
    let names: Vec<_> = keys
        .map(|column| column["column"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["thing_id", "day", "name", "price"]);
    check(&stats(&folder, &["odd.name"]), &["degrees        max 4, "]);

    for (arguments, named) in [
        (["--budget", "0"], "budget 0"),
        (["--budget", "much"], "much"),
        (["--keys", "odd"], "`odd` is not TABLE.COLUMN"),
        (["--keys", "odd.day,even.day"], "unknown table `even`"),
        (["--keys", "odd.date"], "no column `date`"),
    ] {
        let run = analyze(&arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stdout);
        check(&run.stderr, &[named]);
    }
}

#[test]
fn suites_are_folders_too() {
    let tiny = Tiny::write();
    let line = joinwright(tiny.folder(), &["analyze", "tiny suite"]).ok();
    check(&line, &["4 tables, 5 files"]);
    let text = joinwright(tiny.folder(), &["stats", "tiny suite", "orders"]).ok();
    check(&text, &["customer_id", "2 files", "all rows"]);
}

/// Small files that take a while together.
#[test]
fn interrupted_analyses_keep_what_is_complete() {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("data/many");
    fs::create_dir_all(&table).unwrap();
    write_parquet(&table.join("0.parquet"), &odd());
    const FILES: usize = 80;
    for file in 1..FILES {
        fs::copy(
            table.join("0.parquet"),
            table.join(format!("{file}.parquet")),
        )
        .unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_joinwright"))
        .args(["analyze", "data"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let entries = || {
        let cache = fs::read_dir(folder.path().join(".joinwright"));
        let files = cache.into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "stats"))
            .count()
    };
    let start = Instant::now();
    while entries() < 3 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let status = child.wait().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(status.code(), Some(130), "{stderr}");
    check(&stderr, &["interrupted: ", " of 80 files done and kept"]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let kept = entries();
    assert!((3..FILES).contains(&kept), "{kept}");

    // The next run reads what is missing, and no more.
    let line = joinwright(folder.path(), &["analyze", "data"]).ok();
    let known = format!("{} files read, {kept} known", FILES - kept);
    check(&line, &["80 files", &known]);
}
