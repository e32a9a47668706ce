//! Fills the catalog for a folder of tables.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_stats::{
    AnalyzeOptions, AnalyzeSummary, Catalog, Pass, Progress, Store, TableFiles, list_parquet,
};
use object_store::path::Path as StorePath;

use crate::interrupt::{Interrupt, Interrupted};
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

/// Analyzes all tables, with a bar on a terminal, until the user has had enough.
pub(crate) async fn analyze(
    catalog: &Catalog,
    tables: &[TablePath],
    options: &AnalyzeOptions,
    interrupt: &mut Interrupt,
) -> Result<Analysis> {
    let started = Instant::now();
    let listed = list(tables).await?;
    let bar = Bar::new(&listed, options.pass);
    let total = tokio::select! {
        total = catalog.analyze_tables(&listed, options, &bar) => Ok(total?),
        () = interrupt.wait() => Err(anyhow::Error::new(Interrupted).context(bar.interrupted())),
    };
    bar.bar.finish_and_clear();
    Ok(Analysis {
        tables: tables.len(),
        total: total?,
        elapsed: started.elapsed(),
    })
}

/// Gets what the cache has of each table, and of the others what their footers tell; reads no data.
pub(crate) async fn know(catalog: &Catalog, tables: &[TablePath]) -> Result<()> {
    let options = AnalyzeOptions {
        pass: Pass::Footer,
        ..AnalyzeOptions::default()
    };
    let listed = list(tables).await?;
    let bar = Bar::new(&listed, options.pass);
    catalog.analyze_tables(&listed, &options, &bar).await?;
    bar.bar.finish_and_clear();
    Ok(())
}

/// The files of each table.
async fn list(tables: &[TablePath]) -> Result<Vec<TableFiles>> {
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
    Ok(listed)
}

/// How far an analysis has come.
struct Bar {
    bar: ProgressBar,
    /// Bytes of each file.
    sizes: HashMap<String, u64>,
    state: Mutex<State>,
}

/// What decides where the bar stands.
struct State {
    files_done: usize,
    /// Bytes that were read.
    read: u64,
    /// Those of them that belong to files that are not done yet.
    pending: u64,
    /// Bytes that are to be read in all, as far as is known.
    to_read: u64,
}

impl Bar {
    fn new(tables: &[TableFiles], pass: Pass) -> Self {
        let files = || {
            let of_table = |table: &TableFiles| {
                let store = table.store.clone();
                let files = table.files.clone().into_iter();
                files.map(move |file| (store.file_key(&file.location), file.size))
            };
            tables.iter().flat_map(of_table)
        };
        let sizes: HashMap<String, u64> = files().collect();
        let to_read = sizes.values().sum();
        // Footers are a small part of the bytes, and of the time.
        let style = match pass {
            Pass::Scan => {
                "{wide_bar} {msg}, {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
            _ => "reading footers: {msg}",
        };
        let bar = ProgressBar::new(to_read);
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        bar.set_message(files_done(0, sizes.len()));
        Self {
            bar,
            sizes,
            state: Mutex::new(State {
                files_done: 0,
                read: 0,
                pending: 0,
                to_read,
            }),
        }
    }

    /// The state is numbers alone: a panic elsewhere cannot have left it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some bytes, such as footers, may be read twice.
    fn show(&self, state: &State) {
        self.bar.set_position(state.read.min(state.to_read));
    }

    /// What to tell when there is no more time.
    fn interrupted(&self) -> String {
        let done = files_done(self.state().files_done, self.sizes.len());
        format!("interrupted: {done} done and kept, the next run goes on from there")
    }
}

fn files_done(done: usize, files: usize) -> String {
    format!("{done} of {files} files")
}

impl Progress for Bar {
    fn bytes(&self, count: u64) {
        let mut state = self.state();
        state.pending += count;
        state.read += count;
        self.show(&state);
    }

    fn file_done(&self, key: &str) {
        let size = self.sizes.get(key).copied().unwrap_or(0);
        let mut state = self.state();
        state.files_done += 1;
        if state.pending >= size / 2 {
            state.pending -= size.min(state.pending);
        } else {
            // So little was read that this file came from the cache: its bytes will not be read, and must not look fast.
            state.to_read = state.to_read.saturating_sub(size);
            self.bar.set_length(state.to_read);
        }
        self.bar
            .set_message(files_done(state.files_done, self.sizes.len()));
        self.show(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_leaves_out_what_is_known() {
        let sizes = HashMap::from([("a".to_owned(), 1000), ("b".to_owned(), 5000)]);
        let bar = Bar {
            bar: ProgressBar::hidden(),
            sizes,
            state: Mutex::new(State {
                files_done: 0,
                read: 0,
                pending: 0,
                to_read: 6000,
            }),
        };
        bar.file_done("b");
        bar.bytes(990);
        bar.file_done("a");
        assert_eq!((bar.bar.position(), bar.bar.length()), (990, Some(1000)));
        bar.bytes(100);
        assert_eq!(bar.bar.position(), 1000);
        assert_eq!(
            bar.interrupted(),
            "interrupted: 2 of 2 files done and kept, the next run goes on from there"
        );
    }
}
