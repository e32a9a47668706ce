//! Made data: generates the tables of TPC-H and TPC-DS into a folder that is either whole or not there.

mod fingerprint;
mod tpcds;
mod tpch;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use arrow::record_batch::RecordBatchReader;
use indicatif::{ProgressBar, ProgressStyle};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::interrupt::{Interrupt, Interrupted};
use crate::suite::{Source, Suite};

pub(crate) use fingerprint::data_record;

/// Several row groups even in small tables, so that two threads can share a scan.
const ROWS_PER_GROUP: usize = 128 * 1024;

/// A table to be made.
pub(crate) struct Recipe {
    pub(crate) table: &'static str,
    /// About how many rows it will have, for the progress bar.
    pub(crate) expected_rows: u64,
    pub(crate) make: Box<dyn FnOnce() -> Box<dyn RecordBatchReader> + Send>,
}

/// By table the columns of its primary key, as the specifications of TPC-H and TPC-DS declare them.
pub(crate) fn primary_keys(source: &Source) -> BTreeMap<String, Vec<String>> {
    let keys = match source {
        Source::TpcH(_) => &tpch::PRIMARY_KEYS[..],
        Source::TpcDs(_) => &tpcds::PRIMARY_KEYS[..],
        Source::Folder => &[],
    };
    let owned = |columns: &str| columns.split(' ').map(str::to_owned).collect();
    let keys = keys.iter();
    keys.map(|(table, columns)| ((*table).to_owned(), owned(columns)))
        .collect()
}

/// Makes the data of a suite unless it is there; a suite that brings its data is left alone.
pub(crate) fn ensure(suite: &Suite, threads: usize, interrupt: &Interrupt) -> Result<()> {
    let recipes = match suite.source {
        Source::TpcH(scale) => tpch::recipes(scale),
        Source::TpcDs(scale) => tpcds::recipes(scale)?,
        Source::Folder => return Ok(()),
    };
    if suite.data.exists() {
        return check_whole(&suite.data, &recipes);
    }
    generate(&suite.data, recipes, threads, interrupt)
}

fn check_whole(folder: &Path, recipes: &[Recipe]) -> Result<()> {
    for recipe in recipes {
        let file = folder.join(format!("{}.parquet", recipe.table));
        if !file.is_file() {
            bail!(
                "{} is missing: remove {} to make the data anew",
                file.display(),
                folder.display()
            );
        }
    }
    Ok(())
}

/// Writes into a folder beside the target and renames it when all is on disk.
fn generate(
    folder: &Path,
    recipes: Vec<Recipe>,
    threads: usize,
    interrupt: &Interrupt,
) -> Result<()> {
    let partial = Partial::create(folder)?;
    let bar = progress_bar(folder, &recipes);
    // The largest tables first, so that no thread is left with one at the end.
    let mut recipes = recipes;
    recipes.sort_by_key(|recipe| recipe.expected_rows);
    let queue = Mutex::new(recipes);
    let next = || match queue.lock() {
        Ok(mut queue) => queue.pop(),
        Err(_) => None,
    };
    let work = || -> Result<()> {
        while let Some(recipe) = next() {
            write_table(&partial.path, recipe, &bar, interrupt)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        results.into_iter().try_for_each(|result| match result {
            Ok(result) => result,
            Err(_) => bail!("the generator of {} broke down", folder.display()),
        })
    })?;
    bar.finish_and_clear();
    partial.publish(folder)
}

fn progress_bar(folder: &Path, recipes: &[Recipe]) -> ProgressBar {
    let rows = recipes.iter().map(|recipe| recipe.expected_rows).sum();
    let style = "making {msg} {wide_bar} {human_pos} rows {per_sec} {eta} left";
    let bar = ProgressBar::new(rows).with_message(folder.display().to_string());
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write_table(
    folder: &Path,
    recipe: Recipe,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<()> {
    let path = folder.join(format!("{}.parquet", recipe.table));
    let writing = || format!("cannot write {}", path.display());
    let reader = (recipe.make)();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .build();
    let file = File::create(&path).with_context(writing)?;
    let mut writer =
        ArrowWriter::try_new(file, reader.schema(), Some(properties)).with_context(writing)?;
    for batch in reader {
        if interrupt.is_set() {
            return Err(Interrupted.into());
        }
        let batch = batch.with_context(|| format!("cannot make table {}", recipe.table))?;
        writer.write(&batch).with_context(writing)?;
        bar.inc(batch.num_rows() as u64);
    }
    let mut file = writer.into_inner().with_context(writing)?;
    file.flush().with_context(writing)?;
    file.sync_all().with_context(writing)
}

/// A folder that is removed unless it is published.
struct Partial {
    path: PathBuf,
    /// The folder around it, if that was made for it.
    made_parent: Option<PathBuf>,
}

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.partial-");
        let parent = target.parent().unwrap_or(Path::new("."));
        let made_parent = (!parent.exists()).then(|| parent.to_owned());
        remove_stale(parent, &prefix);
        let path = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, made_parent })
    }

    fn publish(self, target: &Path) -> Result<()> {
        sync_folder(&self.path)?;
        if let Err(error) = fs::rename(&self.path, target) {
            // Another process was faster; the data is the same.
            if target.is_dir() {
                return Ok(());
            }
            return Err(error).with_context(|| format!("cannot create {}", target.display()));
        }
        sync_folder(target.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename it is not there any more; and what cannot be removed is never taken for data.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(parent) = &self.made_parent {
            // It goes only if it is empty, that is, if nothing was published in it.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Removes what killed runs left; folders of running processes are theirs.
fn remove_stale(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else {
            continue;
        };
        let own = process == std::process::id().to_string();
        if own || !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("cannot write {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use arrow::row::{RowConverter, SortField};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    fn rows(file: &Path) -> i64 {
        let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
        reader.metadata().file_metadata().num_rows()
    }

    /// Tables of more rows take long to make; their keys are as regular.
    const FEW_ROWS: u64 = 100_000;

    #[test]
    fn rows_keep_to_their_primary_keys() {
        for (source, recipes) in [
            (Source::TpcH(0.01), tpch::recipes(0.01)),
            (Source::TpcDs(1.0), tpcds::recipes(1.0).unwrap()),
        ] {
            let keys = primary_keys(&source);
            assert_eq!(keys.len(), recipes.len());
            for recipe in recipes {
                let (table, few) = (recipe.table, recipe.expected_rows < FEW_ROWS);
                let reader = (recipe.make)();
                let schema = reader.schema();
                let places = keys[table].iter().map(|key| schema.index_of(key));
                let places: Vec<usize> = places.collect::<Result<_, _>>().unwrap();
                let fields = places
                    .iter()
                    .map(|at| schema.field(*at).data_type().clone());
                let fields = fields.map(SortField::new).collect();
                let converter = RowConverter::new(fields).unwrap();
                let mut seen = HashSet::new();
                for batch in reader.take_while(|_| few) {
                    let batch = batch.unwrap().project(&places).unwrap();
                    assert!(
                        batch.columns().iter().all(|c| c.null_count() == 0),
                        "{table}"
                    );
                    let rows = converter.convert_columns(batch.columns()).unwrap();
                    for row in &rows {
                        assert!(seen.insert(row.owned()), "a key of {table} is there twice");
                    }
                }
                assert_eq!(seen.is_empty(), !few, "{table}");
            }
        }
    }

    #[test]
    fn data_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("data/tpch-sf0.001");
        let (sender, interrupt) = Interrupt::manual();
        fs::create_dir_all(folder.path().join("data/.tpch-sf0.001.partial-999999999")).unwrap();

        sender.send_replace(true);
        let error = generate(&target, tpch::recipes(0.001), 2, &interrupt).unwrap_err();
        assert!(error.is::<Interrupted>());
        let left: Vec<_> = fs::read_dir(target.parent().unwrap()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");

        sender.send_replace(false);
        generate(&target, tpch::recipes(0.001), 2, &interrupt).unwrap();
        check_whole(&target, &tpch::recipes(0.001)).unwrap();
        assert_eq!(rows(&target.join("nation.parquet")), 25);
        assert_eq!(rows(&target.join("orders.parquet")), 1500);

        fs::remove_file(target.join("part.parquet")).unwrap();
        let message = check_whole(&target, &tpch::recipes(0.001)).unwrap_err();
        assert!(message.to_string().contains("part.parquet is missing"));
    }
}
