//! `joinwright analyze`: reads tables into the statistics cache.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use joinwright_stats::{AnalyzeOptions, Budget, Catalog};

use super::{print, runtime};
use crate::cli::AnalyzeArgs;
use crate::interrupt::{Interrupt, Interrupted};
use crate::machine::available_threads;
use crate::render::stats::dropped_line;
use crate::render::{bytes, group};
use crate::statistics::{Analysis, analyze, know, open_catalog};
use crate::suite::data_folder;
use crate::tables::{TablePath, find_tables};

/// What was written halfway when Ctrl-C came is completed within this time, or left to be found damaged.
const PATIENCE: Duration = Duration::from_secs(1);

/// Kinds of dropped statistics that are told one by one.
const DROPPED: usize = 6;

/// Runs the command.
pub(super) fn run(args: AnalyzeArgs) -> Result<u8> {
    let budget = budget(args.budget)?;
    let (folder, mut keys) = data_folder(&args.dir)?;
    let tables = find_tables(&folder)?;
    let declared = parse_keys(&args.keys, &tables, &folder)?;
    let catalog = open_catalog(args.cache.folder.as_deref())?;
    let runtime = runtime(available_threads())?;
    let analysis = runtime.block_on(async {
        let mut interrupt = Interrupt::listen();
        if !declared.is_empty() {
            // Before hours of reading rather than after.
            know(&catalog, &tables).await?;
            check_columns(&declared, &catalog)?;
            keys.extend(declared);
        }
        let options = AnalyzeOptions {
            refresh: args.refresh,
            keys,
            budget,
            ..AnalyzeOptions::default()
        };
        analyze(&catalog, &tables, &options, &mut interrupt).await
    });
    if analysis
        .as_ref()
        .is_err_and(|error| error.is::<Interrupted>())
    {
        runtime.shutdown_timeout(PATIENCE);
    } else {
        runtime.shutdown_background();
    }
    print(&summary(&analysis?, budget, dropped(&catalog)))?;
    Ok(0)
}

fn budget(percent: Option<f64>) -> Result<Budget> {
    match percent {
        None => Ok(Budget::default()),
        // Who names a share means it, of little data too.
        Some(percent) if percent > 0.0 && percent.is_finite() => Ok(Budget {
            share: percent / 100.0,
            least: 0,
        }),
        Some(percent) => bail!("budget {percent} is not a number of percent above 0"),
    }
}

/// Columns of `--keys` as `(table, column)`; their tables exist.
fn parse_keys(
    keys: &[String],
    tables: &[TablePath],
    folder: &Path,
) -> Result<BTreeSet<(String, String)>> {
    let parse = |key: &String| {
        let Some((table, column)) = key.trim().rsplit_once('.') else {
            bail!("key `{key}` is not TABLE.COLUMN");
        };
        if !tables.iter().any(|known| known.name == table) {
            bail!(
                "key `{key}`: unknown table `{table}` in {}",
                folder.display()
            );
        }
        Ok((table.to_owned(), column.to_owned()))
    };
    keys.iter().map(parse).collect()
}

fn check_columns(keys: &BTreeSet<(String, String)>, catalog: &Catalog) -> Result<()> {
    let tables = catalog.snapshot().tables();
    for (table, column) in keys {
        let known = tables.iter().find(|info| info.name == *table);
        if known.is_some_and(|info| info.stats.column(column).is_none()) {
            bail!("key `{table}.{column}`: table {table} has no column `{column}`");
        }
    }
    Ok(())
}

/// What the statistics of all tables lack for space.
fn dropped(catalog: &Catalog) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    for table in catalog.snapshot().tables() {
        let dropped = table.details.dropped().into_iter();
        all.extend(dropped.map(|(what, rows, bytes)| {
            let what = format!("{}: {what}", table.name);
            (what, rows, bytes)
        }));
    }
    all
}

fn summary(analysis: &Analysis, budget: Budget, dropped: Vec<(String, u64, u64)>) -> String {
    let total = &analysis.total;
    let seconds = analysis.elapsed.as_secs_f64();
    let mut text = format!(
        "{} tables, {} files, {} rows, {}: {} files read, {} known",
        analysis.tables,
        total.files,
        group(total.rows),
        bytes(total.bytes),
        total.scanned,
        total.cached,
    );
    if total.bytes_read > 0 && seconds > 0.0 {
        let rate = (total.bytes_read as f64 / seconds) as u64;
        text.push_str(&format!(
            "; {} in {seconds:.2} s, {}/s",
            bytes(total.bytes_read),
            bytes(rate)
        ));
    }
    text.push_str(&format!(
        "; {} of statistics\n",
        bytes(total.statistics_bytes)
    ));
    if !dropped.is_empty() {
        let size: u64 = dropped.iter().map(|part| part.2).sum();
        text.push_str(&format!(
            "{} did not fit the budget of {}: {}\n",
            bytes(size),
            bytes(budget.limit(total.bytes)),
            dropped_line(dropped, DROPPED),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use joinwright_stats::AnalyzeSummary;

    use super::*;

    #[test]
    fn the_summary_tells_what_was_dropped() {
        let analysis = Analysis {
            tables: 2,
            total: AnalyzeSummary {
                files: 3,
                cached: 1,
                scanned: 2,
                rows: 12_345,
                bytes: 10 << 20,
                bytes_read: 9 << 20,
                statistics_bytes: 1 << 20,
                dropped_bytes: 2 << 20,
            },
            elapsed: Duration::from_secs(3),
        };
        let budget = budget(Some(10.0)).unwrap();
        let check = |dropped, expected: &str| {
            assert_eq!(summary(&analysis, budget, dropped), expected);
        };
        let line = "2 tables, 3 files, 12,345 rows, 10.00 MiB: 2 files read, 1 known; \
                    9.00 MiB in 3.00 s, 3.00 MiB/s; 1.00 MiB of statistics\n";
        check(Vec::new(), line);
        let dropped = vec![("t: row sample".to_owned(), 20_000, 2 << 20)];
        let second = "2.00 MiB did not fit the budget of 1.00 MiB: t: row sample (2.00 MiB)\n";
        check(dropped, &format!("{line}{second}"));
    }

    #[test]
    fn budgets_are_above_nothing() {
        for percent in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(budget(Some(percent)).is_err());
        }
        assert_eq!(budget(None).unwrap(), Budget::default());
    }
}
