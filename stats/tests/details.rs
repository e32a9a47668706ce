//! Distributions, samples and degrees: what they hold, and that files merge into what one file would give.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use common::{batch, list, memory_store, parquet, put};
use joinwright_stats::{
    AnalyzeOptions, Budget, CODING, Catalog, Order, Pass, Store, TableDetails, TableStats, Value,
};
use object_store::path::Path;
use proptest::prelude::*;

/// Pseudo-random numbers, the same in every run.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Orders with a skewed customer, a few of them null, and a name.
fn orders(rows: std::ops::Range<u64>) -> RecordBatch {
    let id = Int64Array::from_iter_values(rows.clone().map(|row| row as i64));
    let customer = |row: u64| {
        (!row.is_multiple_of(50)).then(|| (mix(row) % (1 << (mix(row * 7) % 14))) as i64)
    };
    let customer: Int64Array = rows.clone().map(customer).collect();
    let status: StringArray = rows
        .clone()
        .map(|row| Some(["open", "paid", "sent"][(mix(row) % 3) as usize]))
        .collect();
    let note: StringArray = rows
        .map(|row| Some(format!("note {}", mix(row) % 100_000)))
        .collect();
    batch(vec![
        ("order_id", Arc::new(id) as ArrayRef),
        ("customer_id", Arc::new(customer)),
        ("status", Arc::new(status)),
        ("note", Arc::new(note)),
    ])
}

fn options() -> AnalyzeOptions {
    AnalyzeOptions {
        budget: Budget::unlimited(),
        ..AnalyzeOptions::default()
    }
}

/// A table of these files in memory, analyzed.
async fn analyzed(files: &[RecordBatch], options: &AnalyzeOptions) -> (Catalog, Store) {
    let store = memory_store();
    for (index, file) in files.iter().enumerate() {
        put(&store, &format!("orders/{index}.parquet"), parquet(file)).await;
    }
    let catalog = Catalog::in_memory();
    let metas = list(&store, "orders").await;
    catalog
        .analyze_with("orders", &store, &metas, options, &())
        .await
        .unwrap();
    (catalog, store)
}

fn known(catalog: &Catalog, store: &Store) -> (Arc<TableStats>, Arc<TableDetails>) {
    let location = [store.prefix_key(&Path::from("orders"))];
    let snapshot = catalog.snapshot();
    (
        snapshot.table(&location).unwrap(),
        snapshot.details(&location),
    )
}

fn ints(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    let array = cast(batch.column_by_name(column).unwrap(), &DataType::Int64).unwrap();
    array.as_primitive::<Int64Type>().iter().collect()
}

fn counts(values: impl IntoIterator<Item = Option<i64>>) -> HashMap<i64, u64> {
    let mut counts = HashMap::new();
    values
        .into_iter()
        .flatten()
        .for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

/// Degrees of `customer_id` against the truth.
fn check_degrees(details: &TableDetails, rows: &RecordBatch, exact: bool) {
    let truth = counts(ints(rows, "customer_id"));
    let degrees = details.degrees("customer_id").unwrap();
    assert_eq!(degrees.rows, truth.values().sum::<u64>());
    assert_eq!(degrees.exact, exact);
    let most = *truth.values().max().unwrap();
    assert!(degrees.max >= most && (!exact || degrees.max == most));
    for (power, norm) in degrees.norms.iter().enumerate() {
        let power = power as f64 + 1.0;
        let sum: f64 = truth
            .values()
            .map(|count| (*count as f64).powf(power))
            .sum();
        let true_norm = sum.powf(1.0 / power);
        assert!(*norm >= true_norm * (1.0 - 1e-9), "{norm} for {true_norm}");
        assert!(!exact || *norm <= true_norm * (1.0 + 1e-9));
    }
    if let Some(vector) = &degrees.vector {
        for (key, count) in truth {
            assert_eq!(
                u64::from(vector.degree(Value::Int(key.into()).hash())),
                count
            );
        }
    }
}

/// The key sample holds every row of the keys below its bound, and no other.
fn check_key_rows(details: &TableDetails, rows: &RecordBatch, column: &str) -> f64 {
    let sample = details.key_rows(column).unwrap();
    let below =
        |key: &i64| sample.below == u64::MAX || Value::Int((*key).into()).hash() < sample.below;
    let expected = counts(
        ints(rows, column)
            .into_iter()
            .filter(|key| key.as_ref().is_some_and(below)),
    );
    assert_eq!(counts(ints(&sample.batch, column)), expected);
    assert_eq!(sample.hashes.len(), sample.batch.num_rows());
    for (key, hash) in ints(&sample.batch, column).into_iter().zip(&sample.hashes) {
        assert_eq!(Value::Int(key.unwrap().into()).hash(), *hash);
    }
    sample.share()
}

#[tokio::test]
async fn small_tables_are_complete() {
    let rows = orders(0..5_000);
    let (catalog, store) = analyzed(std::slice::from_ref(&rows), &options()).await;
    let (stats, details) = known(&catalog, &store);
    let sample = details.sample().unwrap();
    assert!(sample.complete);
    assert_eq!(sample.batch.columns(), rows.columns());
    check_degrees(&details, &rows, true);
    assert_eq!(check_key_rows(&details, &rows, "customer_id"), 1.0);
    let id = stats.column("order_id").unwrap();
    assert_eq!((id.ndv, id.ndv_exact), (Some(5_000.0), true));
    assert!(details.distribution("nothing").is_none() && details.key_rows("nothing").is_none());
}

#[tokio::test]
async fn middling_tables_keep_their_keys_and_codes() {
    let rows = orders(0..50_000);
    let (catalog, store) = analyzed(std::slice::from_ref(&rows), &options()).await;
    let (stats, details) = known(&catalog, &store);
    let keys: Vec<_> = stats
        .columns
        .iter()
        .filter(|column| column.is_key)
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(keys, ["order_id", "customer_id"]);
    check_degrees(&details, &rows, true);
    for column in keys {
        assert_eq!(check_key_rows(&details, &rows, column), 1.0);
    }
    let whole = details.key_rows("order_id").unwrap();
    let schema = whole.batch.schema();
    let coding = |column: &str| {
        schema
            .field_with_name(column)
            .unwrap()
            .metadata()
            .get(CODING)
            .map(String::as_str)
    };
    assert_eq!(
        (coding("status"), coding("note")),
        (None, Some("fingerprint"))
    );
    assert_eq!(
        whole.batch.column_by_name("status").unwrap(),
        rows.column_by_name("status").unwrap()
    );
    let prints: BTreeSet<_> = ints(&whole.batch, "note").into_iter().flatten().collect();
    assert!(prints.len() > 10_000, "{}", prints.len());
    let sample = details.sample().unwrap();
    assert_eq!((sample.batch.num_rows(), sample.complete), (20_000, false));
    // A uniform sample: each third of the rows has its third.
    let first = ints(&sample.batch, "order_id")
        .into_iter()
        .flatten()
        .filter(|id| *id < 50_000 / 3)
        .count();
    assert!(
        (first as f64 - 20_000.0 / 3.0).abs() < 5.0 * 70.0,
        "{first}"
    );
}

#[tokio::test]
async fn large_tables_are_sampled_by_key() {
    let rows = orders(0..400_000);
    let (catalog, store) = analyzed(std::slice::from_ref(&rows), &options()).await;
    let (stats, details) = known(&catalog, &store);
    check_degrees(&details, &rows, true);
    let share = check_key_rows(&details, &rows, "order_id");
    assert!((0.03..0.08).contains(&share), "{share}");
    check_key_rows(&details, &rows, "customer_id");
    let sample = details.sample().unwrap();
    assert_eq!((sample.batch.num_rows(), sample.complete), (20_000, false));
    // Rows of samples are rows of the table.
    let by_id: BTreeMap<_, _> = ints(&rows, "order_id")
        .into_iter()
        .zip(ints(&rows, "customer_id"))
        .collect();
    for batch in [&sample.batch, &details.key_rows("order_id").unwrap().batch] {
        for (id, customer) in ints(batch, "order_id")
            .into_iter()
            .zip(ints(batch, "customer_id"))
        {
            assert_eq!(by_id[&id], customer);
        }
    }
    assert_eq!(stats.column("customer_id").unwrap().null_count, Some(8_000));
    let distribution = details.distribution("order_id").unwrap();
    for value in [0i128, 1, 200_000, 399_999, 123_456] {
        let rank = distribution.histogram.rank(&Value::Int(value)).unwrap();
        assert!(
            (rank.below - value as f64 / 400_000.0).abs() < 0.01,
            "{value}: {rank:?}"
        );
    }
}

#[tokio::test]
async fn a_budget_drops_the_least_useful_first_and_says_so() {
    let rows = orders(0..400_000);
    let small = AnalyzeOptions {
        budget: Budget {
            share: 0.02,
            least: 0,
        },
        ..options()
    };
    let (catalog, store) = analyzed(std::slice::from_ref(&rows), &small).await;
    let (stats, details) = known(&catalog, &store);
    let (data, statistics) = catalog.snapshot().sizes();
    assert!(
        statistics as f64 <= 0.02 * data as f64,
        "{statistics} of {data}"
    );
    assert!(!details.dropped().is_empty());
    // What is left is still right.
    let sample = details.sample().unwrap();
    assert!(sample.batch.num_rows() < 20_000);
    check_degrees(&details, &rows, true);
    assert!(stats.column("order_id").unwrap().ndv.is_some());
    let nothing = AnalyzeOptions {
        budget: Budget {
            share: 0.0,
            least: 0,
        },
        ..options()
    };
    let (catalog, store) = analyzed(std::slice::from_ref(&rows), &nothing).await;
    let (stats, details) = known(&catalog, &store);
    assert_eq!(stats.rows, 400_000);
    assert!(details.sample().is_none() && details.degrees("order_id").is_none());
    assert!(details.key_rows("order_id").is_none() && details.distribution("note").is_none());
}

#[tokio::test]
async fn keys_of_texts_take_nothing_from_other_parts() {
    let rows = orders(0..100_000);
    let options = |keys: &[&str], share| AnalyzeOptions {
        keys: keys
            .iter()
            .map(|key| ("orders".to_owned(), (*key).to_owned()))
            .collect(),
        budget: Budget { share, least: 0 },
        ..AnalyzeOptions::default()
    };
    let kept = async |keys: &[&str], share| {
        let (catalog, store) = analyzed(std::slice::from_ref(&rows), &options(keys, share)).await;
        let (_, details) = known(&catalog, &store);
        let dropped = details.dropped().into_iter();
        let dropped: Vec<String> = dropped.map(|part| part.0).collect();
        let all = details.all_rows();
        let is_whole = |name: &str| {
            let all = all.as_ref()?;
            let field = all.batch.schema_ref().field_with_name(name).ok()?.clone();
            Some(!field.metadata().contains_key(CODING))
        };
        (dropped, is_whole("note"), is_whole("customer_id"))
    };
    // With room, texts are known as they are, and otherwise by fingerprints.
    let (_, note, customer) = kept(&["customer_id", "note"], 10.0).await;
    assert_eq!((note, customer), (Some(true), Some(true)));
    let (_, note, _) = kept(&["customer_id"], 10.0).await;
    assert_eq!(note, Some(false));
    for share in [0.05, 0.1, 0.2, 0.3, 0.5] {
        let (without, ..) = kept(&["customer_id"], share).await;
        let (with, note, customer) = kept(&["customer_id", "note"], share).await;
        let others = with.iter().filter(|what| !what.ends_with("of note"));
        let more: Vec<_> = others.filter(|what| !without.contains(what)).collect();
        assert!(more.is_empty(), "{share}: {more:?}");
        assert!(note != Some(true) || customer == Some(true));
    }
}

#[tokio::test]
async fn declared_keys_are_scanned_again_and_only_those() {
    let store = memory_store();
    put(&store, "orders/a.parquet", parquet(&orders(0..30_000))).await;
    put(&store, "items/a.parquet", parquet(&orders(0..30_000))).await;
    let catalog = Catalog::in_memory();
    let (orders, items) = (list(&store, "orders").await, list(&store, "items").await);
    catalog.analyze("orders", &store, &orders).await.unwrap();
    catalog.analyze("items", &store, &items).await.unwrap();
    let declared = AnalyzeOptions {
        keys: [
            ("orders".to_owned(), "status".to_owned()),
            ("gone".to_owned(), "x".to_owned()),
        ]
        .into(),
        ..options()
    };
    let scanned = async |table: &str, files: &[object_store::ObjectMeta]| {
        let done = catalog
            .analyze_with(table, &store, files, &declared, &())
            .await;
        done.unwrap().scanned
    };
    assert_eq!(scanned("orders", &orders).await, 1);
    assert_eq!(scanned("orders", &orders).await, 0);
    assert_eq!(scanned("items", &items).await, 0);
    let (stats, details) = known(&catalog, &store);
    assert!(stats.column("status").unwrap().is_key);
    assert_eq!(
        details
            .degrees("status")
            .unwrap()
            .vector
            .as_ref()
            .unwrap()
            .hashes
            .len(),
        3
    );
}

#[tokio::test]
async fn new_files_make_a_table_stale_until_they_are_scanned() {
    let store = memory_store();
    put(&store, "orders/a.parquet", parquet(&orders(0..10_000))).await;
    let catalog = Catalog::in_memory();
    let metas = list(&store, "orders").await;
    catalog.analyze("orders", &store, &metas).await.unwrap();
    put(&store, "orders/b.parquet", parquet(&orders(10_000..20_000))).await;
    let metas = list(&store, "orders").await;
    for pass in [Pass::Listing, Pass::Footer] {
        let options = AnalyzeOptions { pass, ..options() };
        catalog
            .analyze_with("orders", &store, &metas, &options, &())
            .await
            .unwrap();
        let (stats, details) = known(&catalog, &store);
        assert!(stats.stale && !stats.analyzed);
        let rows = stats.rows as f64;
        assert!(
            (rows - 20_000.0).abs() < 2_000.0 && (pass == Pass::Listing || rows == 20_000.0),
            "{rows}"
        );
        let ndv = stats.column("order_id").unwrap().ndv.unwrap();
        assert!((ndv - 20_000.0).abs() < 2_000.0, "{ndv}");
        assert_eq!(stats.column("status").unwrap().ndv, Some(3.0));
        assert!(details.sample().is_some() && details.distribution("status").is_some());
    }
    catalog.analyze("orders", &store, &metas).await.unwrap();
    let (stats, _) = known(&catalog, &store);
    assert!(stats.analyzed && !stats.stale);
    assert_eq!(
        stats.column("order_id").unwrap().order,
        Some(Order::Ascending)
    );
}

#[tokio::test]
async fn footers_alone_give_a_histogram_of_ranges() {
    let store = memory_store();
    let parts: Vec<_> = (0..10)
        .map(|part| orders(part * 1000..(part + 1) * 1000))
        .collect();
    put(
        &store,
        "orders/a.parquet",
        common::parquet_with(&parts, Default::default()),
    )
    .await;
    let catalog = Catalog::in_memory();
    let metas = list(&store, "orders").await;
    let footer = AnalyzeOptions {
        pass: Pass::Footer,
        ..options()
    };
    catalog
        .analyze_with("orders", &store, &metas, &footer, &())
        .await
        .unwrap();
    let (stats, details) = known(&catalog, &store);
    let histogram = &details.distribution("order_id").unwrap().histogram;
    let rank = histogram.rank(&Value::Int(2_500)).unwrap();
    assert!((rank.below - 0.25).abs() < 0.01, "{rank:?}");
    assert!(details.distribution("status").is_none() && details.sample().is_none());
    assert_eq!(
        stats.column("order_id").unwrap().order,
        Some(Order::Ascending)
    );
    assert_eq!(
        stats.column("customer_id").unwrap().order,
        Some(Order::Mixed)
    );
}

/// One row group: only its pages tell how the column runs.
#[tokio::test]
async fn page_indexes_sharpen_what_footers_tell() {
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_data_page_row_count_limit(500)
        .set_write_batch_size(100)
        .build();
    let store = memory_store();
    let squares = Int64Array::from_iter_values((0..10_000).map(|i| i * i));
    let rows = batch(vec![("square", Arc::new(squares) as ArrayRef)]);
    put(
        &store,
        "orders/a.parquet",
        common::parquet_with(&[rows], properties),
    )
    .await;
    let catalog = Catalog::in_memory();
    let footer = AnalyzeOptions {
        pass: Pass::Footer,
        ..options()
    };
    let metas = list(&store, "orders").await;
    let done = catalog
        .analyze_with("orders", &store, &metas, &footer, &())
        .await
        .unwrap();
    assert!(done.bytes_read <= 64 << 10);
    let (stats, details) = known(&catalog, &store);
    assert_eq!(
        stats.column("square").unwrap().order,
        Some(Order::Ascending)
    );
    let histogram = &details.distribution("square").unwrap().histogram;
    for i in [1_000i128, 5_000, 9_000] {
        let rank = histogram.rank(&Value::Int(i * i)).unwrap();
        assert!(
            (rank.below - i as f64 / 10_000.0).abs() < 0.02,
            "{i}: {rank:?}"
        );
    }
    assert!(catalog.snapshot().tables()[0].page_index);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_whatever_the_number_of_threads() {
    let rows = orders(0..300_000);
    let mut seen = Vec::new();
    for concurrency in [1, 2, 7] {
        let options = AnalyzeOptions {
            concurrency,
            ..options()
        };
        let (catalog, store) = analyzed(std::slice::from_ref(&rows), &options).await;
        let (stats, details) = known(&catalog, &store);
        let of = |column: &str| details.distribution(column).unwrap();
        seen.push((
            stats,
            of("note"),
            of("customer_id"),
            details.sample().unwrap().batch.clone(),
            details.key_rows("order_id").unwrap().batch.clone(),
        ));
    }
    assert!(seen[0] == seen[1] && seen[1] == seen[2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Cut into files anywhere and listed in any order, a table keeps its statistics.
    #[test]
    fn grouping_does_not_matter(
        rows in 100u64..60_000,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let whole = orders(0..rows);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(rows as usize)).collect();
            cuts.extend([0, rows as usize]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| whole.slice(cut[0], cut[1] - cut[0])).collect();
            let (catalog, store) = analyzed(std::slice::from_ref(&whole), &options()).await;
            let (one, one_details) = known(&catalog, &store);
            let (catalog, store) = analyzed(&parts, &options()).await;
            let (many, many_details) = known(&catalog, &store);
            assert_eq!(one.rows, many.rows);
            for (a, b) in one.columns.iter().zip(&many.columns) {
                assert_eq!((&a.name, a.null_count, &a.min, &a.max), (&b.name, b.null_count, &b.min, &b.max));
                let (a, b) = (a.ndv.unwrap(), b.ndv.unwrap());
                assert!((a - b).abs() <= 0.05 * a, "{a} {b}");
            }
            check_degrees(&many_details, &whole, true);
            check_key_rows(&many_details, &whole, "customer_id");
            let truth = counts(ints(&whole, "customer_id"));
            for details in [&one_details, &many_details] {
                let distribution = details.distribution("customer_id").unwrap();
                for (value, count) in &truth {
                    match distribution.common.find(&Value::Int((*value).into())) {
                        Some(entry) => assert!(entry.count <= *count && *count <= entry.count + entry.error),
                        None => assert!(*count <= distribution.common.missing && *count as f64 <= 0.001 * rows as f64 + 1.0),
                    }
                }
                let sample = details.sample().unwrap();
                assert_eq!(sample.batch.num_rows() as u64, rows.min(20_000));
                let ids: BTreeSet<_> = ints(&sample.batch, "order_id").into_iter().collect();
                assert_eq!(ids.len() as u64, rows.min(20_000));
            }
        });
    }
}
