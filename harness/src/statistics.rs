//! Fills the catalog for a folder of tables.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_stats::{
    AnalyzeOptions, AnalyzeSummary, Catalog, Pass, Progress, Store, TableFiles, list_parquet,
};
use object_store::path::Path as StorePath;

use crate::tables::TablePath;

/// The cache folder where none is named, in the current folder.
pub(crate) const CACHE: &str = ".joinwright";

/// What an analysis of a folder did.
pub(crate) struct Analysis {
    pub(crate) tables: usize,
    pub(crate) total: AnalyzeSummary,
    pub(crate) elapsed: Duration,
}

/// Opens the catalog over its cache folder.
pub(crate) fn open_catalog(cache: Option<&Path>) -> Result<Arc<Catalog>> {
    let cache = cache.unwrap_or(Path::new(CACHE));
    Ok(Arc::new(Catalog::open(cache)?))
}

/// Analyzes all tables, with a bar on a terminal.
pub(crate) async fn analyze(
    catalog: &Catalog,
    tables: &[TablePath],
    options: &AnalyzeOptions,
) -> Result<Analysis> {
    let started = Instant::now();
    let store = Store::local();
    let mut listed = Vec::with_capacity(tables.len());
    for table in tables {
        let prefix = StorePath::from_absolute_path(&table.path)
            .with_context(|| format!("cannot read {}", table.path.display()))?;
        listed.push(TableFiles {
            name: table.name.clone(),
            store: store.clone(),
            files: list_parquet(&store, &prefix).await?,
        });
    }
    let files = listed.iter().map(|table| table.files.len()).sum();
    let all = listed.iter().flat_map(|table| &table.files);
    let bar = Bar::new(all.map(|file| file.size).sum(), files);
    let total = catalog.analyze_tables(&listed, options, &bar).await?;
    bar.bar.finish_and_clear();
    Ok(Analysis {
        tables: tables.len(),
        total,
        elapsed: started.elapsed(),
    })
}

/// Gets what the cache has of each table, and of the others what their footers tell; reads no data.
pub(crate) async fn know(catalog: &Catalog, tables: &[TablePath]) -> Result<()> {
    let options = AnalyzeOptions {
        pass: Pass::Footer,
        ..AnalyzeOptions::default()
    };
    analyze(catalog, tables, &options).await.map(drop)
}

struct Bar {
    bar: ProgressBar,
    files: usize,
    done: AtomicUsize,
}

impl Bar {
    fn new(bytes: u64, files: usize) -> Self {
        let style = "analyzing {wide_bar} {msg} {binary_bytes} of {binary_total_bytes} {binary_bytes_per_sec} {eta} left";
        let bar = ProgressBar::new(bytes);
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let done = AtomicUsize::new(0);
        Self { bar, files, done }
    }
}

impl Progress for Bar {
    fn bytes(&self, count: u64) {
        self.bar.inc(count);
    }

    fn file_done(&self, key: &str) {
        let name = key.rsplit('/').next().unwrap_or(key);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar
            .set_message(format!("{done} of {} files ({name})", self.files));
    }
}
