//! What the catalog says of tables is true, within the bars of `common/accuracy.rs`.
//!
//! `cargo bench --bench statistics -- accuracy DIR` makes the same comparison over data of any size.

#[path = "common/accuracy.rs"]
mod accuracy;
#[path = "common/made.rs"]
mod made;
#[path = "common/tables.rs"]
mod tables;

use std::path::Path;

use arrow::compute::concat_batches;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use joinwright_stats::{AnalyzeOptions, Catalog};
use tpchgen::generators::{LineItemGenerator, OrderGenerator};
use tpchgen_arrow::{LineItemArrow, OrderArrow};

/// Analyzes the tables of a folder, and compares what is said of `expected` columns with DataFusion's answers. What a second
/// catalog finds in the cache has to be as good.
async fn check(folder: &Path, expected: usize) {
    let cache = tempfile::tempdir().unwrap();
    let found = tables::tables_of(folder).await.unwrap();
    for _ in 0..2 {
        let catalog = Catalog::open(cache.path()).unwrap();
        let options = AnalyzeOptions::default();
        catalog.analyze_tables(&found, &options, &()).await.unwrap();
        let snapshot = catalog.snapshot();
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config(config);
        let mut reports = Vec::new();
        for table in &found {
            let path = folder.join(&table.name);
            let path = match path.is_dir() {
                true => path,
                false => path.with_extension("parquet"),
            };
            let options = ParquetReadOptions::default();
            let path = path.to_str().unwrap();
            context
                .register_parquet(table.name.as_str(), path, options)
                .await
                .unwrap();
            let locations = tables::locations(table);
            let stats = snapshot.table(&locations).unwrap();
            let details = snapshot.details(&locations);
            let checked = accuracy::check_table(&context, &table.name, &stats, &details).await;
            reports.extend(checked.unwrap());
        }
        assert_eq!(reports.len(), expected);
        assert!(reports.iter().any(|report| report.degrees.is_some()));
        assert!(reports.iter().any(|report| report.common > 0));
        println!("{}", accuracy::HEADER.join(" | "));
        for report in &reports {
            println!("{}", report.cells().join(" | "));
        }
        let violations = accuracy::violations(&reports);
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    }
}

fn all(reader: impl RecordBatchReader) -> RecordBatch {
    let schema = reader.schema();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// One file too large to be looked at as a whole, and one table of several files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpch() {
    const SCALE: f64 = 0.05;
    let folder = tempfile::tempdir().unwrap();
    let lines = all(LineItemArrow::new(LineItemGenerator::new(SCALE, 1, 1)));
    assert!(lines.num_rows() > 262_144);
    made::write(&folder.path().join("lineitem.parquet"), &lines, 100_000);
    for part in 1..=5 {
        let orders = all(OrderArrow::new(OrderGenerator::new(SCALE, part, 5)));
        let path = folder.path().join(format!("orders/{part}.parquet"));
        made::write(&path, &orders, 4_000);
    }
    check(folder.path(), 16 + 9).await;
}

/// All types, in files of very different size, of which one lacks columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skew_nulls_and_nan() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join("mixed").join(name);
    made::write(&file("a.parquet"), &made::mixed(0..60_000), 25_000);
    made::write(&file("b.parquet"), &made::mixed(60_000..65_000), 1_000);
    made::write(&file("c.parquet"), &made::mixed(65_000..65_400), 1_000);
    let few = made::mixed(65_400..90_000).project(&[0, 1, 2, 5]).unwrap();
    made::write(&file("d.parquet"), &few, 30_000);
    made::write(&file("e.parquet"), &made::mixed(0..0), 1_000);
    check(folder.path(), 14).await;
}

/// A file that is sampled beside one that is not, of other values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampled_and_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join("slim").join(name);
    made::write(&file("a.parquet"), &made::slim(0..600_000), 100_000);
    made::write(&file("b.parquet"), &made::slim(600_000..700_000), 100_000);
    check(folder.path(), 4).await;
}
