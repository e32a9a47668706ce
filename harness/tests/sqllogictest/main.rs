//! DataFusion's own test suite with this project's rule installed: no result may change.
//!
//! The crate `datafusion-sqllogictest` ships DataFusion's test files and the engine that runs them. Each file runs with
//! DataFusion untouched, with joins ordered by the statistics of every Parquet table, and with joins ordered by absurd
//! estimates while DataFusion's own estimates see those statistics and aggregates are computed in part below joins
//! wherever they can be. A record that is as expected in the first run has
//! to be so in the others, except that
//! - an EXPLAIN may show another plan,
//! - the rows of a query without ORDER BY may come in another order,
//! - `SHOW ALL` lists our settings, too.
//!
//! Records that fail with DataFusion untouched are unfit to tell anything. They need files of DataFusion's repository that
//! the crate does not ship (`../../testing/data`, `../core/tests/data`), or show paths in a plan. TPC-H's data, which it
//! does not ship either, is generated, as Parquet.
//!
//! All files run in `cargo test`. What became of each, and of some files alone:
//!
//! ```text
//! cargo test --release -p joinwright --test sqllogictest -- --nocapture
//! JOINWRIGHT_SLT=join cargo test --release -p joinwright --test sqllogictest -- --nocapture
//! ```

mod absurd;
mod engine;
mod judge;
mod run;
mod suite;
mod tpch;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use anyhow::Result;
use futures::{StreamExt, stream};
use tempfile::TempDir;

use engine::Mode;
use judge::{Tally, judge};
use suite::Suite;

/// The modes whose results must be those of [`Mode::Untouched`].
const MODES: [Mode; 2] = [Mode::Statistics, Mode::Absurd(1)];

#[test]
fn results_of_datafusions_own_tests() -> Result<()> {
    let suite = Suite::copy()?;
    // Statements name files relative to it. The other test of this program uses absolute paths.
    std::env::set_current_dir(suite.root())?;
    let part = std::env::var("JOINWRIGHT_SLT").unwrap_or_default();
    // Files of one name share a scratch folder: they must not run at once.
    let mut by_name = BTreeMap::<_, Vec<PathBuf>>::new();
    for file in suite.files()? {
        if file.to_string_lossy().contains(&part) {
            let name = file.file_stem().map(ToOwned::to_owned);
            by_name.entry(name).or_default().push(file);
        }
    }
    let at_once = std::thread::available_parallelism()?.get();
    let total = block_on(
        stream::iter(by_name.into_values())
            .map(|files| compare_files(suite.test_files(), files))
            .buffer_unordered(at_once)
            .fold(Default::default(), |mut total: Comparison, files| async {
                total.merge(files);
                total
            }),
    );

    for line in &total.not_run {
        println!("not run: {line}");
    }
    for (mode, tally) in MODES.into_iter().zip(&total.tallies) {
        for (place, instead) in &tally.wrong {
            println!("wrong under {mode:?} at {place}: {instead}");
        }
    }
    for (mode, tally) in MODES.into_iter().zip(&total.tallies) {
        println!("{mode:?}: {tally}");
    }
    for (mode, tally) in MODES.into_iter().zip(&total.tallies) {
        let wrong = tally.wrong.len();
        assert!(wrong == 0, "{wrong} records are wrong under {mode:?}");
        assert!(tally.same > 0, "nothing ran under {mode:?}");
        // Else there are no statistics, or the rule is not installed, and all of this says nothing.
        let touched = tally.tables > 0 && tally.reordered > 0;
        assert!(
            !part.is_empty() || touched,
            "no join was reordered under {mode:?}"
        );
        let forced = mode != Mode::Statistics;
        assert!(
            !part.is_empty() || !forced || tally.eager_plan > 0,
            "no aggregate was computed below joins under {mode:?}"
        );
    }
    Ok(())
}

/// What became of some files in each of [`MODES`].
#[derive(Default)]
struct Comparison {
    tallies: [Tally; MODES.len()],
    /// Files that do not run with DataFusion untouched.
    not_run: Vec<String>,
}

impl Comparison {
    fn merge(&mut self, other: Self) {
        for (tally, other) in self.tallies.iter_mut().zip(other.tallies) {
            tally.merge(other);
        }
        self.not_run.extend(other.not_run);
    }
}

/// Runs each of these files in all modes, one after the other.
async fn compare_files(test_files: PathBuf, files: Vec<PathBuf>) -> Comparison {
    let mut all = Comparison::default();
    for file in files {
        let untouched = match run::run_file(&test_files, &file, Mode::Untouched).await {
            Ok(Some(untouched)) => untouched,
            Ok(None) => {
                let line = format!("{}, which DataFusion's own runner skips", file.display());
                all.not_run.push(line);
                continue;
            }
            Err(error) => {
                all.not_run.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        for (mode, total) in MODES.into_iter().zip(&mut all.tallies) {
            let tally = match run::run_file(&test_files, &file, mode).await {
                Ok(reordered) => judge(&untouched, &reordered.unwrap_or_default()),
                Err(error) => Tally::broken(&file.to_string_lossy(), &error.to_string()),
            };
            println!("{mode:?} {}: {tally}", file.display());
            total.merge(tally);
        }
    }
    all
}

#[test]
fn tpch_answers() -> Result<()> {
    let folder = TempDir::new()?;
    suite::write_tpch(folder.path())?;
    for mode in [Mode::Untouched].into_iter().chain(MODES) {
        block_on(tpch::check_answers(folder.path(), mode))?;
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Some files nest expressions hundreds deep.
        .thread_stack_size(16 << 20)
        .build()
        .expect("a runtime")
        .block_on(future)
}
