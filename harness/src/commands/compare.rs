//! `joinwright compare`: two runs side by side, or two runs of several suites.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use super::print;
use crate::EXIT_DIFFERENT;
use crate::cli::CompareArgs;
use crate::comparison::Comparison;
use crate::record::load;
use crate::render::comparison::render;
use crate::several::runs_below;

/// Runs the command.
pub(super) fn run(args: &CompareArgs) -> Result<u8> {
    let tolerance = args.tolerance / 100.0;
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        bail!(
            "tolerance {} is not a percentage of at least 0",
            args.tolerance
        );
    }
    let (before, after) = (runs_below(&args.before)?, runs_below(&args.after)?);
    if before.is_empty() || after.is_empty() {
        let comparison = compare(&args.before, &args.after, tolerance)?;
        print(&match args.json {
            true => serde_json::to_string_pretty(&comparison)? + "\n",
            false => render(&comparison),
        })?;
        return Ok(status(&comparison, args.relative));
    }
    let mut compared = BTreeMap::new();
    let mut worst = 0;
    for name in before.iter().filter(|name| after.contains(name)) {
        let comparison = compare(&args.before.join(name), &args.after.join(name), tolerance)?;
        worst = worst.max(status(&comparison, args.relative));
        compared.insert(name.as_str(), comparison);
    }
    if compared.is_empty() {
        let (before, after) = (args.before.display(), args.after.display());
        bail!("{before} and {after} have no suite in common");
    }
    if args.json {
        let suites = serde_json::json!({ "suites": compared });
        print(&(serde_json::to_string_pretty(&suites)? + "\n"))?;
        return Ok(worst);
    }
    for (name, comparison) in &compared {
        print(&format!("suite {name}\n\n{}\n", render(comparison)))?;
    }
    for (own, other, run) in [(&before, &after, "first"), (&after, &before, "second")] {
        let missing = own.iter().filter(|name| !other.contains(name));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        if !missing.is_empty() {
            print(&format!(
                "only in the {run} run: suite {}\n",
                missing.join(", ")
            ))?;
        }
    }
    Ok(worst)
}

fn status(comparison: &Comparison, relative: bool) -> u8 {
    let drifted = comparison.drift.is_some() && !relative;
    match comparison.regressions > 0 || drifted {
        true => EXIT_DIFFERENT,
        false => 0,
    }
}

fn compare(before: &Path, after: &Path, tolerance: f64) -> Result<Comparison> {
    let (run_before, samples_before) = load(before)?;
    let (run_after, samples_after) = load(after)?;
    let comparison = Comparison::new(
        (&run_before, &samples_before),
        (&run_after, &samples_after),
        tolerance,
    );
    let (before, after) = (before.display(), after.display());
    if comparison.arms.is_empty() {
        bail!("{before} and {after} have no arm in common");
    }
    if comparison.arms.iter().all(|arm| arm.queries.is_empty()) {
        bail!("{before} and {after} have no query in common");
    }
    Ok(comparison)
}
