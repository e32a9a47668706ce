//! `joinwright report`: the report of a run, made again from what the run left, or those of a run of several suites.

use std::fs;

use anyhow::{Context, Result, bail};

use super::print;
use crate::cli::ReportArgs;
use crate::record::{load, write_report};
use crate::render::report::render;
use crate::report::Report;
use crate::several::{runs_below, write_index};

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Result<u8> {
    let suites = runs_below(&args.run)?;
    if !suites.is_empty() {
        if args.out.is_some() {
            bail!(
                "{} has the runs of several suites: --out is for one",
                args.run.display()
            );
        }
        for name in &suites {
            let folder = args.run.join(name);
            let (run, samples) = load(&folder)?;
            write_report(&folder, &run, &samples)?;
        }
        let path = write_index(&args.run, &suites)?;
        let count = suites.len();
        print(&format!(
            "{count} reports, with an index in {}\n",
            path.display()
        ))?;
        return Ok(0);
    }
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
