//! `joinwright analyze`: reads tables into the statistics cache.

use anyhow::Result;
use joinwright_stats::AnalyzeOptions;

use super::{block_on, print};
use crate::cli::AnalyzeArgs;
use crate::machine::available_threads;
use crate::render::{bytes, group};
use crate::statistics::{Analysis, analyze, open_catalog};
use crate::tables::find_tables;

/// Runs the command.
pub(super) fn run(args: AnalyzeArgs) -> Result<u8> {
    let tables = find_tables(&args.dir)?;
    let catalog = open_catalog(args.cache.folder.as_deref())?;
    let options = AnalyzeOptions {
        refresh: args.refresh,
        ..AnalyzeOptions::default()
    };
    let analysis = block_on(available_threads(), analyze(&catalog, &tables, &options))?;
    print(&(summary_line(&analysis) + "\n"))?;
    Ok(0)
}

fn summary_line(analysis: &Analysis) -> String {
    let total = &analysis.total;
    let seconds = analysis.elapsed.as_secs_f64();
    let mut line = format!(
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
        line.push_str(&format!(
            "; {} in {seconds:.2} s, {}/s",
            bytes(total.bytes_read),
            bytes(rate)
        ));
    }
    line
}
