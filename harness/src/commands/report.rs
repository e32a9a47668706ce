//! `joinwright report`: the report of a run, made again from what the run left.

use std::fs;

use anyhow::{Context, Result};

use super::print;
use crate::cli::ReportArgs;
use crate::record::{load, write_report};
use crate::render::report::render;
use crate::report::Report;

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Result<u8> {
    let (run, samples) = load(&args.run)?;
    let path = match &args.out {
        Some(path) => {
            let page = render(&Report::new(&run, &samples))?;
            fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
            path.clone()
        }
        None => write_report(&args.run, &run, &samples)?,
    };
    print(&format!("report in {}\n", path.display()))?;
    Ok(0)
}
