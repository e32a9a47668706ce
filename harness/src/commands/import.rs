//! `joinwright import`: published CSV files to a suite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::{block_on, print};
use crate::cli::{ImportArgs, Published};
use crate::import::{self, JOB, STATS};
use crate::interrupt::{Interrupt, Interrupted};
use crate::render::group;

/// Runs the command.
pub(super) fn run(args: &ImportArgs) -> Result<u8> {
    let benchmark = match args.benchmark {
        Published::Stats => STATS,
        Published::Job => JOB,
    };
    let found = import::find(&benchmark, &args.csv)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => beside(&args.csv)?,
    };
    let folder = import::create(&out)?;
    block_on(1, async {
        let interrupt = Interrupt::listen();
        let mut bytes = 0;
        for (_, file) in &found.files {
            let size =
                fs::metadata(file).with_context(|| format!("cannot read {}", file.display()));
            bytes += size?.len();
        }
        let bar = progress_bar(bytes);
        // What is done is kept: a table is a file of its own.
        let imported = tokio::task::block_in_place(|| {
            for (table, file) in &found.files {
                bar.set_message(table.name);
                let mut progress = |more| {
                    bar.inc(more);
                    if interrupt.is_set() {
                        return Err(Interrupted.into());
                    }
                    Ok(())
                };
                let rows = import::convert(&benchmark, table, file, &folder, &mut progress)?;
                bar.suspend(|| print(&format!("{}: {} rows\n", table.name, group(rows))))?;
            }
            Ok::<(), anyhow::Error>(())
        });
        bar.finish_and_clear();
        imported?;
        let tables: Vec<_> = found.files.iter().map(|(table, _)| *table).collect();
        import::write_suite(&benchmark, &tables, &out)?;
        if !found.missing.is_empty() {
            print(&format!("no file of {}\n", found.missing.join(", ")))?;
        }
        let out = out.display();
        print(&format!(
            "suite in {out}; run it by: joinwright bench {out} --queries DIR\n"
        ))?;
        Ok(0)
    })
}

/// `DIR-parquet` beside `DIR`.
fn beside(csv: &Path) -> Result<PathBuf> {
    let named = || format!("{} has no name: say where to with --out", csv.display());
    // Such as `.` or `..`, which have none of their own.
    let whole = match csv.file_name() {
        Some(_) => csv.to_owned(),
        None => csv.canonicalize().with_context(named)?,
    };
    let mut name = whole.file_name().with_context(named)?.to_owned();
    name.push("-parquet");
    Ok(whole.with_file_name(name))
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    match ProgressStyle::with_template(
        "importing {msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left",
    ) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
