//! `joinwright calibrate`: the constants of the cost models, fitted to this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use joinwright_optimizer::CostConstants;

use super::{block_on, print};
use crate::calibration::{CONSTANTS, Calibration, FitError, Samples};
use crate::cli::CalibrateArgs;
use crate::interrupt::Interrupt;
use crate::machine::{Machine, Versions, available_threads};
use crate::render::Grid;

/// Runs the command.
pub(super) fn run(args: CalibrateArgs) -> Result<u8> {
    let threads = args.threads.unwrap_or_else(available_threads);
    if threads == 0 {
        bail!("--threads is 1 at least");
    }
    // A folder that cannot be written to is better known now than after minutes of measuring.
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("measuring {wide_bar} {pos} of {len} {elapsed}")
    {
        bar.set_style(style);
    }
    let rows = usize::try_from(args.rows)?;
    let runs = usize::try_from(args.runs)?;
    let samples = block_on(threads, async {
        let interrupt = Interrupt::listen();
        let done = |done: usize, all: usize| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        Samples::measure(threads, rows, runs, &interrupt, &done).await
    })?;
    bar.finish_and_clear();
    let (constants, joins, scans) = samples.fit();
    samples.write(&args.out)?;
    let calibration = Calibration {
        constants,
        joins,
        scans,
        versions: Versions::here(),
        machine: Machine::here(),
    };
    save(&calibration, &args.out.join(CONSTANTS))?;
    print(&format!(
        "{}\n{}\n{}\n\nwritten to {}\n",
        table(&constants)?,
        said("joins", joins),
        said("scans", scans),
        args.out.display()
    ))?;
    Ok(0)
}

fn save(calibration: &Calibration, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(calibration)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn said(what: &str, error: FitError) -> String {
    format!(
        "{what}: {} times, predicted within a factor of {:.2} (median), {:.2} (90 %), {:.2} (all)",
        error.samples, error.median, error.p90, error.max
    )
}

/// The constants beside those that the project ships.
fn table(constants: &CostConstants) -> Result<String> {
    let (here, shipped) = (
        serde_json::to_value(constants)?,
        serde_json::to_value(CostConstants::default())?,
    );
    let mut rows = vec![];
    for (model, constants) in here.as_object().into_iter().flatten() {
        for (name, value) in constants.as_object().into_iter().flatten() {
            let number = |value: Option<&serde_json::Value>| {
                let value = value.and_then(serde_json::Value::as_f64);
                value.map_or_else(String::new, |value| format!("{value:.3}"))
            };
            let shipped = shipped.get(model).and_then(|model| model.get(name));
            rows.push(vec![
                format!("{model}.{name}"),
                number(Some(value)),
                number(shipped),
            ]);
        }
    }
    let header = ["constant", "here", "shipped"].map(str::to_owned).to_vec();
    let left = vec![0];
    Ok(Grid { header, rows, left }.to_terminal())
}
