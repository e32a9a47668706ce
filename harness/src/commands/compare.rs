//! `joinwright compare`: two runs side by side.

use anyhow::{Result, bail};

use super::print;
use crate::EXIT_DIFFERENT;
use crate::cli::CompareArgs;
use crate::comparison::Comparison;
use crate::record::load;
use crate::render::comparison::render;

/// Runs the command.
pub(super) fn run(args: &CompareArgs) -> Result<u8> {
    let tolerance = args.tolerance / 100.0;
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        bail!(
            "tolerance {} is not a percentage of at least 0",
            args.tolerance
        );
    }
    let (before, samples_before) = load(&args.before)?;
    let (after, samples_after) = load(&args.after)?;
    let comparison = Comparison::new(
        (&before, &samples_before),
        (&after, &samples_after),
        tolerance,
    );
    if comparison.arms.is_empty() {
        bail!(
            "{} and {} have no arm in common",
            args.before.display(),
            args.after.display()
        );
    }
    if comparison.arms.iter().all(|arm| arm.queries.is_empty()) {
        bail!(
            "{} and {} have no query in common",
            args.before.display(),
            args.after.display()
        );
    }
    print(&match args.json {
        true => serde_json::to_string_pretty(&comparison)? + "\n",
        false => render(&comparison),
    })?;
    Ok(match comparison.regressions {
        0 => 0,
        _ => EXIT_DIFFERENT,
    })
}
