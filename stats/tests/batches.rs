//! Tables that are no Parquet files.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::*;
use arrow::datatypes::{Int32Type, IntervalMonthDayNano};
use common::batch;
use futures::stream;
use joinwright_stats::{AnalyzeOptions, Catalog, StatsError, Value, provider_key};

fn rows(from: i64) -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..1000).map(|i| (i % 4 != 0).then(|| vec![Some(i)])),
    );
    let text: StringViewArray = (0..1000)
        .map(|i| Some(format!("text number {}", i % 7)))
        .collect();
    let text_keys: DictionaryArray<Int32Type> = (0..1000).map(|i| ["a", "b"][i % 2]).collect();
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3); 1000]);
    batch(vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(from..from + 1000)) as ArrayRef,
        ),
        ("list", Arc::new(list)),
        ("text", Arc::new(text)),
        ("code", Arc::new(text_keys)),
        ("interval", Arc::new(interval)),
        ("nothing", Arc::new(NullArray::new(1000))),
    ])
}

async fn analyze(
    catalog: &Catalog,
    version: &str,
    polled: &AtomicUsize,
) -> joinwright_stats::AnalyzeSummary {
    let batches = stream::iter(0..30).map_polled(polled);
    let options = AnalyzeOptions::default();
    let schema = rows(0).schema();
    catalog
        .analyze_batches("public.t", version, schema, batches, &options, &())
        .await
        .unwrap()
}

trait MapPolled {
    fn map_polled(
        self,
        polled: &AtomicUsize,
    ) -> impl futures::Stream<Item = Result<RecordBatch, StatsError>> + Send;
}

impl<S: futures::Stream<Item = i64> + Send> MapPolled for S {
    fn map_polled(
        self,
        polled: &AtomicUsize,
    ) -> impl futures::Stream<Item = Result<RecordBatch, StatsError>> + Send {
        futures::StreamExt::map(self, |part| {
            polled.fetch_add(1, Ordering::SeqCst);
            Ok(rows(part * 1000))
        })
    }
}

async fn check(catalog: &Catalog) {
    let polled = AtomicUsize::new(0);
    let first = analyze(catalog, "1", &polled).await;
    assert_eq!(
        (first.rows, first.scanned, polled.load(Ordering::SeqCst)),
        (30_000, 1, 30)
    );
    let snapshot = catalog.snapshot();
    let location = [provider_key("public.t")];
    let stats = snapshot.table(&location).unwrap();
    let ndv = |name: &str| stats.column(name).unwrap().ndv;
    assert_eq!(stats.column("id").unwrap().max, Some(Value::Int(29_999)));
    assert_eq!(
        (ndv("id"), ndv("text"), ndv("code")),
        (Some(30_000.0), Some(7.0), Some(2.0))
    );
    let nulls = |name: &str| stats.column(name).unwrap().null_count;
    assert_eq!(
        (nulls("list"), nulls("interval"), nulls("nothing")),
        (Some(7_500), Some(0), Some(30_000))
    );
    assert_eq!((ndv("list"), ndv("interval")), (None, None));
    let details = snapshot.details(&location);
    assert_eq!(details.sample().unwrap().batch.num_rows(), 20_000);
    assert_eq!(details.degrees("id").unwrap().max, 1);
    // The version is known: nothing is read. Another one is read.
    assert_eq!(analyze(catalog, "1", &polled).await.cached, 1);
    assert_eq!(polled.load(Ordering::SeqCst), 30);
    assert_eq!(analyze(catalog, "2", &polled).await.scanned, 1);
    assert_eq!(polled.load(Ordering::SeqCst), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_analyzed_once_a_version() {
    check(&Catalog::in_memory()).await;
    let folder = tempfile::tempdir().unwrap();
    let open = || Catalog::open(folder.path().join("a b")).unwrap();
    check(&open()).await;
    let polled = AtomicUsize::new(0);
    assert_eq!(analyze(&open(), "2", &polled).await.cached, 1);
    let left = std::fs::read_dir(folder.path().join("a b")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn errors_of_the_source_are_reported_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for catalog in [Catalog::in_memory(), Catalog::open(folder.path()).unwrap()] {
        let failing = stream::iter([Ok(rows(0)), Err("the source has gone")]);
        let options = AnalyzeOptions::default();
        let schema = rows(0).schema();
        let error = catalog
            .analyze_batches("t", "1", schema.clone(), failing, &options, &())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("table t") && text.contains("has gone"),
            "{text}"
        );
        // Batches of another shape than promised.
        let other = batch(vec![(
            "id",
            Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        )]);
        let wrong = stream::iter([Ok::<_, StatsError>(other)]);
        let error = catalog
            .analyze_batches("t", "1", schema.clone(), wrong, &options, &())
            .await;
        assert!(
            matches!(error, Err(StatsError::Batches { .. })),
            "{error:?}"
        );
        assert!(catalog.snapshot().tables().is_empty());
        let none = stream::iter(Vec::<Result<RecordBatch, StatsError>>::new());
        let empty = catalog
            .analyze_batches("t", "1", schema, none, &options, &())
            .await
            .unwrap();
        assert_eq!((empty.rows, empty.scanned), (0, 1));
    }
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1);
}
