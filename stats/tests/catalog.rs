//! Cache hits and misses, snapshots, and stores that fail.

mod common;

use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use common::{CountingStore, batch, list, memory_store, parquet, put};
use joinwright_stats::{
    AnalyzeOptions, AnalyzeSummary, Catalog, Pass, Progress, StatsError, Store, TableStats, Value,
    list_parquet,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![("n", Arc::new(Int64Array::from_iter_values(range)))])
}

/// A folder of data files with a catalog beside it.
struct Folder {
    root: tempfile::TempDir,
    counting: Arc<CountingStore>,
    store: Store,
}

impl Folder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        let counting = CountingStore::new(Arc::new(LocalFileSystem::new()));
        let store = Store::new("file:///", counting.clone());
        Self {
            root,
            counting,
            store,
        }
    }

    fn write(&self, name: &str, range: std::ops::Range<i64>) {
        let path = self.root.path().join("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, parquet(&numbers(range))).unwrap();
    }

    fn cache(&self) -> std::path::PathBuf {
        self.root.path().join("deep/cache")
    }

    async fn files(&self) -> Vec<ObjectMeta> {
        list_parquet(&self.store, &self.prefix()).await.unwrap()
    }

    fn prefix(&self) -> Path {
        Path::from_absolute_path(self.root.path().join("data")).unwrap()
    }

    /// Analyzes with a catalog just opened; returns what it did, the reads it took, and the merged table.
    async fn analyze(&self, options: &AnalyzeOptions) -> (AnalyzeSummary, u64, Arc<TableStats>) {
        let catalog = Catalog::open(self.cache()).unwrap();
        let files = self.files().await;
        self.counting.take_reads();
        let summary = catalog
            .analyze_with("t", &self.store, &files, options, &())
            .await;
        let reads = self.counting.take_reads();
        let location = self.store.prefix_key(&self.prefix());
        let stats = catalog.snapshot().table(&[location]).unwrap();
        (summary.unwrap(), reads, stats)
    }

    fn entries(&self) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(self.cache()).unwrap();
        let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries
    }
}

#[tokio::test]
async fn only_what_changed_is_read() {
    let folder = Folder::new();
    folder.write("a b.parquet", 0..10);
    folder.write("tief/größe.parquet", 10..30);
    let scan = AnalyzeOptions::default();
    let (first, reads, stats) = folder.analyze(&scan).await;
    assert_eq!(
        (first.files, first.scanned, first.cached, first.rows),
        (2, 2, 0, 30)
    );
    assert!(reads > 0 && first.bytes_read > 0);

    let (second, reads, again) = folder.analyze(&scan).await;
    assert_eq!((second.cached, second.bytes_read, reads), (2, 0, 0));
    assert_eq!(stats, again);

    folder.write("c.parquet", 30..31);
    let (third, _, stats) = folder.analyze(&scan).await;
    assert_eq!((third.scanned, third.cached, stats.rows), (1, 2, 31));

    // The same size, other contents.
    folder.write("c.parquet", 90..91);
    let (fourth, _, stats) = folder.analyze(&scan).await;
    assert_eq!((fourth.scanned, fourth.cached), (1, 2));
    assert_eq!(stats.column("n").unwrap().max, Some(Value::Int(90)));

    let refresh = AnalyzeOptions {
        refresh: true,
        ..scan
    };
    assert_eq!(folder.analyze(&refresh).await.0.scanned, 3);
    assert_eq!(
        folder.entries().len(),
        3,
        "one entry a file, nothing temporary"
    );
}

#[tokio::test]
async fn a_scan_completes_a_footer_pass_and_serves_as_one() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let scan = AnalyzeOptions::default();
    let footer = AnalyzeOptions {
        pass: Pass::Footer,
        ..scan.clone()
    };
    let (_, reads, stats) = folder.analyze(&footer).await;
    assert_eq!((reads, stats.analyzed, stats.rows), (1, false, 10));
    assert_eq!(stats.column("n").unwrap().ndv, None);
    assert_eq!(stats.column("n").unwrap().max, Some(Value::Int(9)));
    let (summary, _, stats) = folder.analyze(&scan).await;
    assert_eq!((summary.scanned, stats.analyzed), (1, true));
    let (summary, reads, stats) = folder.analyze(&footer).await;
    assert_eq!((summary.cached, reads, stats.analyzed), (1, 0, true));
}

#[tokio::test]
async fn damaged_entries_are_misses() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let scan = AnalyzeOptions::default();
    let (_, _, truth) = folder.analyze(&scan).await;
    let entry = folder.entries().remove(0);
    let sound = fs::read(&entry).unwrap();
    let check = async |damaged: Vec<u8>| {
        fs::write(&entry, damaged).unwrap();
        let (summary, _, stats) = folder.analyze(&scan).await;
        assert_eq!((summary.scanned, &stats), (1, &truth));
        // It was written anew.
        assert_eq!(folder.analyze(&scan).await.0.cached, 1);
    };
    check(Vec::new()).await;
    check(b"something else".to_vec()).await;
    check([&sound[..], b"x"].concat()).await;
    for position in (0..sound.len()).step_by(5) {
        check(sound[..position].to_vec()).await;
        let mut flipped = sound.clone();
        flipped[position] ^= 1 << (position % 8);
        check(flipped).await;
    }
}

#[tokio::test]
async fn an_entry_of_another_file_is_not_taken() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let scan = AnalyzeOptions::default();
    folder.analyze(&scan).await;
    let foreign = folder.entries().remove(0);
    folder.write("b.parquet", 50..60);
    folder.analyze(&scan).await;
    let own = folder
        .entries()
        .into_iter()
        .find(|path| *path != foreign)
        .unwrap();
    fs::copy(&foreign, &own).unwrap();
    let (summary, _, stats) = folder.analyze(&scan).await;
    assert_eq!((summary.scanned, summary.cached, stats.rows), (1, 1, 20));
    assert_eq!(stats.column("n").unwrap().max, Some(Value::Int(59)));
}

#[tokio::test]
async fn an_unusable_cache_folder() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let file = folder.root.path().join("data/a.parquet");
    let error = Catalog::open(file.join("cache")).unwrap_err();
    assert!(error.to_string().contains("a.parquet"), "{error}");
    assert!(matches!(
        Catalog::open(&file),
        Err(StatsError::CacheFolder { .. })
    ));
    // Writing fails once the folder has gone, and the analysis does not care.
    let catalog = Catalog::open(folder.cache()).unwrap();
    fs::remove_dir_all(folder.cache()).unwrap();
    fs::write(folder.cache(), "in its place").unwrap();
    let files = folder.files().await;
    let summary = catalog.analyze("t", &folder.store, &files).await.unwrap();
    assert_eq!((summary.scanned, catalog.snapshot().tables().len()), (1, 1));
}

#[tokio::test]
async fn nothing_half_analyzed_is_published_or_cached() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let path = folder.root.path().join("data/b.parquet");
    let whole = parquet(&numbers(0..10_000));
    fs::write(&path, whole.slice(5000..)).unwrap();
    let catalog = Catalog::open(folder.cache()).unwrap();
    let files = folder.files().await;
    let error = catalog
        .analyze("t", &folder.store, &files)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("b.parquet"), "{error}");
    assert!(catalog.snapshot().tables().is_empty());
    fs::remove_file(&path).unwrap();
    assert_eq!(folder.analyze(&AnalyzeOptions::default()).await.0.files, 1);
    assert!(folder.entries().len() <= 1);
    // A file that is gone, and one that is not what was listed.
    let error = catalog.analyze("t", &folder.store, &files[1..]).await;
    assert!(matches!(error, Err(StatsError::Store { .. })), "{error:?}");
}

/// Replaces a file while it is analyzed.
struct Replace<'a>(std::sync::Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>);

impl Progress for Replace<'_> {
    fn bytes(&self, _count: u64) {
        if let Some(replace) = self.0.lock().unwrap().take() {
            replace();
        }
    }
    fn file_done(&self, _key: &str) {}
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_an_error() {
    let folder = Folder::new();
    folder.write("a.parquet", 0..10);
    let catalog = Catalog::open(folder.cache()).unwrap();
    let files = folder.files().await;
    let replace = || folder.write("a.parquet", 5..15);
    let progress = Replace(std::sync::Mutex::new(Some(Box::new(replace))));
    let options = AnalyzeOptions::default();
    let result = catalog
        .analyze_with("t", &folder.store, &files, &options, &progress)
        .await;
    assert!(
        matches!(result, Err(StatsError::Changed { .. })),
        "{result:?}"
    );
    assert_eq!(folder.entries(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn snapshots_are_immutable_and_found_by_location() {
    let store = memory_store();
    for (path, range) in [
        ("t/1.parquet", 0..5),
        ("t/2.parquet", 5..12),
        ("tt/1.parquet", 0..3),
    ] {
        put(&store, path, parquet(&numbers(range))).await;
    }
    let catalog = Catalog::in_memory();
    let before = catalog.snapshot();
    catalog
        .analyze("t", &store, &list(&store, "t").await)
        .await
        .unwrap();
    catalog
        .analyze("tt", &store, &list(&store, "tt").await)
        .await
        .unwrap();
    let snapshot = catalog.snapshot();
    let rows = |locations: &[&str]| {
        let locations: Vec<_> = locations.iter().map(|l| l.to_string()).collect();
        snapshot.table(&locations).map(|stats| stats.rows)
    };
    assert_eq!(rows(&["memory://test/t/"]), Some(12));
    assert_eq!(rows(&["memory://test/"]), Some(15));
    assert_eq!(rows(&["memory://test/t/2.parquet"]), Some(7));
    assert_eq!(
        rows(&["memory://test/t/2.parquet", "memory://test/t/"]),
        Some(12)
    );
    assert_eq!(rows(&["memory://test/t"]), None);
    assert_eq!(rows(&["memory://test/u/"]), None);
    assert_eq!(rows(&[]), None);
    assert!(before.tables().is_empty());
    let tables = snapshot.tables();
    let shown: Vec<_> = tables
        .iter()
        .map(|t| (t.name.as_str(), t.files.len(), t.stats.rows))
        .collect();
    assert_eq!(shown, [("t", 2, 12), ("tt", 1, 3)]);
    assert!(tables[0].analyzed_at.is_some());

    // A file leaves the table, and with it the catalog; the old snapshot keeps it.
    store
        .inner()
        .delete(&Path::from("t/1.parquet"))
        .await
        .unwrap();
    let summary = catalog
        .analyze("t", &store, &list(&store, "t").await)
        .await
        .unwrap();
    assert_eq!((summary.cached, summary.rows), (1, 7));
    let location = ["memory://test/t/".to_owned()];
    assert_eq!(catalog.snapshot().table(&location).unwrap().rows, 7);
    assert_eq!(snapshot.table(&location).unwrap().rows, 12);
}

#[tokio::test]
async fn wide_footers_take_two_reads() {
    let counting = CountingStore::new(Arc::new(object_store::memory::InMemory::new()));
    let store = Store::new("memory://test/", counting.clone());
    let names: Vec<_> = (0..3000).map(|i| format!("column number {i}")).collect();
    let array = Arc::new(Int64Array::from(vec![1]));
    let wide = batch(
        names
            .iter()
            .map(|name| (name.as_str(), array.clone() as _))
            .collect(),
    );
    put(&store, "t/wide.parquet", parquet(&wide)).await;
    put(&store, "t/small.parquet", parquet(&numbers(0..5))).await;
    let files = list(&store, "t").await;
    let options = AnalyzeOptions {
        pass: Pass::Footer,
        ..AnalyzeOptions::default()
    };
    for (file, expected) in files.iter().zip([1, 2]) {
        counting.take_reads();
        let catalog = Catalog::in_memory();
        let file = std::slice::from_ref(file);
        catalog
            .analyze_with("t", &store, file, &options, &())
            .await
            .unwrap();
        assert_eq!(counting.take_reads(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_may_share_a_folder() {
    let folder = Folder::new();
    for i in 0..20 {
        folder.write(&format!("{i}.parquet"), 0..100);
    }
    let files = folder.files().await;
    let cache: &FilePath = &folder.cache();
    let analyze = async |_: usize| {
        let catalog = Catalog::open(cache).unwrap();
        catalog.analyze("t", &folder.store, &files).await.unwrap();
    };
    futures::future::join_all((0..4).map(analyze)).await;
    let (summary, reads, stats) = folder.analyze(&AnalyzeOptions::default()).await;
    assert_eq!((summary.cached, reads, stats.rows), (20, 0, 2000));
    assert_eq!(folder.entries().len(), 20);
}

#[tokio::test]
async fn entries_of_files_that_are_gone_are_collected() {
    let folder = Folder::new();
    for name in ["a.parquet", "b.parquet", "c.parquet"] {
        folder.write(name, 0..10);
    }
    let options = AnalyzeOptions::default();
    folder.analyze(&options).await;
    let foreign = folder.cache().join("0123456789abcdef.stats");
    fs::write(&foreign, "no entry at all").unwrap();
    fs::remove_file(folder.root.path().join("data/b.parquet")).unwrap();
    // Nothing was read, so nothing is cleaned up: that is for when there is work anyway.
    folder.analyze(&options).await;
    assert_eq!(folder.entries().len(), 4);
    folder.write("d.parquet", 0..10);
    folder.analyze(&options).await;
    // What cannot be read may be of another version of this program.
    assert_eq!(folder.entries().len(), 4);
    assert!(foreign.exists());
    let catalog = Catalog::open(folder.cache()).unwrap();
    assert!(catalog.cache_bytes() > 0);
}

/// A table of a hundred files: one more costs its own scan.
#[tokio::test]
async fn another_file_costs_its_own_reads_alone() {
    let folder = Folder::new();
    for file in 0..100 {
        folder.write(&format!("{file:03}.parquet"), file * 10..file * 10 + 10);
    }
    let options = AnalyzeOptions::default();
    let (first, reads, _) = folder.analyze(&options).await;
    let (again, none, _) = folder.analyze(&options).await;
    assert_eq!((again.cached, again.bytes_read, none), (100, 0, 0));
    folder.write("100.parquet", 1000..1010);
    let (one, own, stats) = folder.analyze(&options).await;
    assert_eq!((one.scanned, one.cached, stats.rows), (1, 100, 1010));
    assert_eq!(own, reads / 100);
    assert!(one.bytes_read <= first.bytes_read / 100 + 10);
    assert_eq!(stats.column("n").unwrap().ndv, Some(1010.0));
}
