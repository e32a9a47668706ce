//! Stores that are slow, fail, or lie.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use common::{batch, list, parquet, put};
use futures::stream::BoxStream;
use joinwright_stats::{AnalyzeOptions, Catalog, Pass, Snapshot, StatsError, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::*;

/// Fails, waits, or cuts answers short, by the number of the read.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    reads: AtomicU64,
    /// Of so many reads one fails; 0 for none.
    fail_every: u64,
    /// All reads fail from then on.
    fail_from: u64,
    delay: Duration,
    short: AtomicBool,
}

impl Faulty {
    fn new(fail_every: u64, fail_from: u64, delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            reads: AtomicU64::new(0),
            fail_every,
            fail_from,
            delay,
            short: AtomicBool::new(false),
        })
    }

    async fn fault(&self) -> Result<()> {
        let read = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(self.delay).await;
        match read >= self.fail_from
            || (self.fail_every > 0 && read.is_multiple_of(self.fail_every))
        {
            true => Err(Error::Generic {
                store: "faulty",
                source: "the connection was reset".into(),
            }),
            false => Ok(()),
        }
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head {
            self.fault().await?;
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.fault().await?;
        let mut read = self.inner.get_ranges(location, ranges).await?;
        if self.short.load(Ordering::SeqCst) {
            read.iter_mut()
                .for_each(|bytes| bytes.truncate(bytes.len() / 2));
        }
        Ok(read)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn rows(file: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(file * 2000..(file + 1) * 2000);
    let names: StringArray = (0..2000)
        .map(|i| Some(format!("name {}", i % 77)))
        .collect();
    batch(vec![("id", Arc::new(ids)), ("name", Arc::new(names))])
}

const FILES: i64 = 6;

async fn store(faulty: &Arc<Faulty>) -> Store {
    let store = Store::new("memory://faulty/", faulty.clone());
    for file in 0..FILES {
        put(&store, &format!("t/{file}.parquet"), parquet(&rows(file))).await;
    }
    store
}

fn columns(snapshot: &Snapshot) -> String {
    let stats = snapshot.table(&["memory://faulty/t/".to_owned()]);
    format!("{stats:?}")
}

/// What a store without faults gives.
async fn truth() -> String {
    let store = store(&Faulty::new(0, u64::MAX, Duration::ZERO)).await;
    let catalog = Catalog::in_memory();
    catalog
        .analyze("t", &store, &list(&store, "t").await)
        .await
        .unwrap();
    columns(&catalog.snapshot())
}

#[tokio::test]
async fn reads_that_fail_now_and_then_are_tried_again() {
    let store = store(&Faulty::new(3, u64::MAX, Duration::from_millis(1))).await;
    let catalog = Catalog::in_memory();
    catalog
        .analyze("t", &store, &list(&store, "t").await)
        .await
        .unwrap();
    assert_eq!(columns(&catalog.snapshot()), truth().await);
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_and_what_was_complete_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let truth = truth().await;
    // Each read in turn is the first that fails for good.
    for fail_from in [1, 3, 7, 8, 9, 10, 11] {
        let faulty = Faulty::new(0, fail_from, Duration::ZERO);
        let store = store(&faulty).await;
        let files = list(&store, "t").await;
        let cache = folder.path().join(fail_from.to_string());
        let catalog = Catalog::open(&cache).unwrap();
        let options = AnalyzeOptions {
            concurrency: 1,
            ..AnalyzeOptions::default()
        };
        let error = catalog
            .analyze_with("t", &store, &files, &options, &())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("memory://faulty/t/") && text.contains("connection was reset"),
            "{text}"
        );
        assert!(catalog.snapshot().tables().is_empty());
        // What is in the cache is whole: with the rest it makes the truth.
        let sound = Store::new("memory://faulty/", Arc::new(copy(&faulty.inner).await));
        let again = Catalog::open(&cache).unwrap();
        let done = again
            .analyze("t", &sound, &list(&sound, "t").await)
            .await
            .unwrap();
        assert_eq!(done.cached + done.scanned, FILES as usize);
        assert_eq!(columns(&again.snapshot()), truth);
    }
}

async fn copy(from: &InMemory) -> InMemory {
    let to = InMemory::new();
    for file in 0..FILES {
        let path = Path::from(format!("t/{file}.parquet"));
        let bytes = from.get(&path).await.unwrap().bytes().await.unwrap();
        to.put(&path, bytes.into()).await.unwrap();
    }
    to
}

#[tokio::test]
async fn short_answers_are_errors() {
    let faulty = Faulty::new(0, u64::MAX, Duration::ZERO);
    let store = store(&faulty).await;
    let files = list(&store, "t").await;
    faulty.short.store(true, Ordering::SeqCst);
    let error = Catalog::in_memory()
        .analyze("t", &store, &files)
        .await
        .unwrap_err();
    assert!(matches!(error, StatsError::Parquet { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_that_is_dropped_leaves_a_sound_cache() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&Faulty::new(0, u64::MAX, Duration::from_millis(3))).await;
    let files = list(&store, "t").await;
    for milliseconds in [1, 5, 10, 15, 20, 25] {
        let catalog = Catalog::open(folder.path()).unwrap();
        let options = AnalyzeOptions {
            refresh: true,
            ..AnalyzeOptions::default()
        };
        let analysis = catalog.analyze_with("t", &store, &files, &options, &());
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), analysis).await;
    }
    let catalog = Catalog::open(folder.path()).unwrap();
    catalog.analyze("t", &store, &files).await.unwrap();
    assert_eq!(
        catalog
            .analyze("t", &store, &files)
            .await
            .unwrap()
            .bytes_read,
        0
    );
    let snapshot = catalog.snapshot();
    let stats = snapshot.table(&["memory://faulty/t/".to_owned()]).unwrap();
    assert_eq!(
        (stats.rows, stats.column("name").unwrap().ndv),
        (12_000, Some(77.0))
    );
}

/// Readers never wait for an analysis, and never see half of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn snapshots_never_mix_versions() {
    let store = store(&Faulty::new(0, u64::MAX, Duration::from_millis(1))).await;
    let files = list(&store, "t").await;
    let catalog = Arc::new(Catalog::in_memory());
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (catalog, done) = (Arc::clone(&catalog), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::SeqCst) {
                    let snapshot = catalog.snapshot();
                    let location = ["memory://faulty/t/".to_owned()];
                    if let Some(stats) = snapshot.table(&location) {
                        assert!(
                            [1, 2, 3].map(|n| n * 4000).contains(&stats.rows),
                            "{}",
                            stats.rows
                        );
                        assert_eq!(stats.files as u64 * 2000, stats.rows);
                        assert_eq!(
                            snapshot
                                .details(&location)
                                .sample()
                                .unwrap()
                                .batch
                                .num_rows() as u64,
                            stats.rows
                        );
                        seen += 1;
                    }
                }
                seen
            })
        })
        .collect();
    let options = AnalyzeOptions {
        refresh: true,
        pass: Pass::Scan,
        ..AnalyzeOptions::default()
    };
    for round in 0..12usize {
        let some = &files[..2 * (round % 3 + 1)];
        catalog
            .analyze_with("t", &store, some, &options, &())
            .await
            .unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}
