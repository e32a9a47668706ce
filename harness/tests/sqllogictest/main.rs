//! DataFusion's own test suite with this project's rule installed: no result may change.
//!
//! The crate `datafusion-sqllogictest` ships DataFusion's test files and the engine that runs them. Each file runs with
//! DataFusion untouched, with joins ordered by the statistics of every Parquet table, and with joins ordered by absurd
//! estimates. A record that is as expected in the first run has to be so in the others, except that
//! - an EXPLAIN may show another plan,
//! - the rows of a query without ORDER BY may come in another order,
//! - `SHOW ALL` lists our settings, too.
//!
//! Records that fail with DataFusion untouched tell nothing. Nearly all need files of DataFusion's repository that the
//! crate does not ship (`../../testing/data`, `../core/tests/data`). TPC-H's data, which it does not ship either, is generated.
//!
//! `cargo test` runs the files with joins. All files, and what became of each:
//!
//! ```text
//! JOINWRIGHT_SLT=all cargo test --release -p joinwright --test sqllogictest -- --nocapture
//! ```
//!
//! Any other value of the variable is a part of the names of the files to run.

mod absurd;
mod engine;
mod judge;
mod run;
mod suite;
mod tpch;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use engine::Mode;
use judge::{Tally, judge};
use suite::Suite;

/// The modes whose results must be those of [`Mode::Untouched`].
const MODES: [Mode; 2] = [Mode::Statistics, Mode::Absurd(1)];

/// The files of the everyday run: those with joins, subqueries, or Parquet tables.
const EVERYDAY: &[&str] = &["tpch/tpch.slt", "joins.slt"];

#[test]
fn results_of_datafusions_own_tests() -> Result<()> {
    let suite = Suite::copy()?;
    // Statements name files relative to it. The other test of this program uses absolute paths.
    std::env::set_current_dir(suite.root())?;
    let wanted = std::env::var("JOINWRIGHT_SLT").ok();
    let files: Vec<_> = suite
        .files()?
        .into_iter()
        .filter(|file| match wanted.as_deref() {
            None => EVERYDAY.iter().any(|everyday| file == Path::new(everyday)),
            Some("all") => true,
            Some(part) => file.to_string_lossy().contains(part),
        })
        .collect();

    let mut tallies: Vec<Tally> = MODES.map(|_| Tally::default()).into();
    let mut no_baseline = Vec::new();
    for file in &files {
        let run = |mode| block_on(run::run_file(&suite.test_files(), file, mode));
        let untouched = match run(Mode::Untouched) {
            Ok(Some(untouched)) => untouched,
            Ok(None) => {
                no_baseline.push(format!(
                    "{}: DataFusion's own runner skips it",
                    file.display()
                ));
                continue;
            }
            Err(error) => {
                no_baseline.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        for (mode, total) in MODES.into_iter().zip(&mut tallies) {
            let tally = match run(mode) {
                Ok(reordered) => judge(&untouched, &reordered.unwrap_or_default()),
                Err(error) => Tally::broken(&file.to_string_lossy(), &error.to_string()),
            };
            println!("{mode:?} {}: {tally}", file.display());
            total.merge(tally);
        }
    }

    report(&tallies, &no_baseline);
    for (mode, tally) in MODES.into_iter().zip(&tallies) {
        assert!(
            tally.wrong.is_empty(),
            "{} records are wrong under {mode:?}",
            tally.wrong.len()
        );
        // Else the rule is not installed, and all of this says nothing.
        assert!(
            wanted.is_some() || tally.other_plan > 0,
            "no plan changed under {mode:?}"
        );
        assert!(tally.same > 0, "nothing ran under {mode:?}");
    }
    Ok(())
}

fn report(tallies: &[Tally], no_baseline: &[String]) {
    for line in no_baseline {
        println!("not run: {line}");
    }
    let mut reasons = BTreeMap::<&str, usize>::new();
    for (_, reason) in tallies.iter().take(1).flat_map(|tally| &tally.unfit) {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("{count} records fail with DataFusion untouched: {reason}");
    }
    for (mode, tally) in MODES.into_iter().zip(tallies) {
        for (place, instead) in &tally.wrong {
            println!("wrong under {mode:?} at {place}: {instead}");
        }
    }
    for (mode, tally) in MODES.into_iter().zip(tallies) {
        println!("{mode:?}: {tally}");
    }
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
