//! Two runs side by side, for a terminal.

use super::{Grid, milliseconds, ratio};
use crate::comparison::{ArmComparison, Comparison, QueryComparison};
use crate::record::Status;
use crate::report::{Ratio, Verdict};

/// For each arm the queries that differ, and what they add up to.
pub(crate) fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    if !comparison.warnings.is_empty() {
        out.push_str("WARNING: the runs differ in more than what ran, so their times may not be comparable\n");
        for warning in &comparison.warnings {
            out.push_str(&format!("  {warning}\n"));
        }
        out.push('\n');
    }
    for arm in &comparison.arms {
        out.push_str(&render_arm(arm));
        out.push('\n');
    }
    for (missing, run) in [
        (&comparison.only_before, "first"),
        (&comparison.only_after, "second"),
    ] {
        if !missing.is_empty() {
            out.push_str(&format!("only in the {run} run: {}\n", missing.join(", ")));
        }
    }
    if let Some(control) = &comparison.control {
        out.push_str(&format!(
            "arm {control} is the same in both runs, so its times tell how fast the machine was: a regression is slower than it, too\n"
        ));
    }
    let tolerance = comparison.tolerance * 100.0;
    if let (Some(drift), Some(control)) = (comparison.drift, &comparison.control) {
        out.push_str(&format!(
            "WARNING: arm {control} itself takes {} times as long as before, beyond noise and tolerance: the machine or the engine is not \
             what it was, and all arms may be slower by that\n",
            with_interval(drift)
        ));
    }
    out.push_str(&match comparison.regressions {
        0 => format!("no regression beyond noise and a tolerance of {tolerance} %\n"),
        1 => format!("1 regression beyond noise and a tolerance of {tolerance} %\n"),
        many => format!("{many} regressions beyond noise and a tolerance of {tolerance} %\n"),
    });
    out
}

fn render_arm(arm: &ArmComparison) -> String {
    let header = [
        "query",
        "before ms",
        "after ms",
        "ratio",
        "95 %",
        "time",
        "plan",
        "estimates",
    ];
    let rows: Vec<Vec<String>> = (arm.queries.iter().filter(|query| query.differs()))
        .map(row)
        .collect();
    let mut out = format!("arm {}\n", arm.arm);
    if !rows.is_empty() {
        let grid = Grid {
            header: header.map(str::to_owned).to_vec(),
            rows,
            left: vec![0, 4, 5, 6, 7],
        };
        out.push_str(&grid.to_terminal());
        out.push('\n');
    }
    let same = arm.queries.iter().filter(|query| !query.differs()).count();
    let other = match arm.queries.len() == same {
        true => "",
        false => "other ",
    };
    out.push_str(&format!(
        "{same} {other}queries: same plan, same estimates, times inside the noise\n"
    ));
    if let (Some(totals), Some(mean)) = (arm.of_totals, arm.geometric_mean) {
        out.push_str(&format!(
            "total of {} queries: {} ms before, {} ms after, ratio {}{}; geometric mean {}\n",
            arm.finished_by_both,
            milliseconds(arm.before_ms),
            milliseconds(arm.after_ms),
            with_interval(totals),
            match arm.regressed {
                true => ", REGRESSION",
                false => "",
            },
            with_interval(mean),
        ));
    }
    out
}

fn row(query: &QueryComparison) -> Vec<String> {
    let time = |status, ms: Option<f64>| match (status, ms) {
        (Status::Error, _) => "error".to_owned(),
        (Status::Timeout, _) => "timeout".to_owned(),
        (Status::Ok | Status::Wrong, Some(ms)) => milliseconds(ms),
        (Status::Ok | Status::Wrong, None) => "-".to_owned(),
    };
    let verdict = match (query.regressed, query.time.map(|time| time.verdict)) {
        (true, _) if query.after == Status::Wrong => "WRONG ROWS",
        (true, _) => "REGRESSION",
        (_, Some(Verdict::Faster)) => "faster",
        (_, Some(Verdict::Slower)) => "slower",
        (_, Some(Verdict::Noise)) => "inside the noise",
        (_, Some(Verdict::Unknown)) => "too few runs",
        (_, None) => "",
    };
    let plan = match query.plan_changed {
        Some(true) => "changed",
        Some(false) => "same",
        None => "-",
    };
    let estimates = match query.estimates {
        Some(change) if change.changed > 0 => format!(
            "{} of {} changed, up to {}×",
            change.changed,
            change.common,
            ratio(change.factor)
        ),
        Some(_) => "same".to_owned(),
        None => "-".to_owned(),
    };
    vec![
        query.query.clone(),
        time(query.before, query.before_ms),
        time(query.after, query.after_ms),
        query.time.map(|time| ratio(time.ratio)).unwrap_or_default(),
        query.time.map(interval).unwrap_or_default(),
        verdict.to_owned(),
        plan.to_owned(),
        estimates,
    ]
}

fn interval(time: Ratio) -> String {
    let interval = time.interval;
    interval.map_or_else(String::new, |i| {
        format!("{} to {}", ratio(i.low), ratio(i.high))
    })
}

fn with_interval(time: Ratio) -> String {
    match (time.interval, time.verdict) {
        (None, _) => ratio(time.ratio),
        (Some(_), Verdict::Noise) => format!(
            "{} ({}, inside the noise)",
            ratio(time.ratio),
            interval(time)
        ),
        (Some(_), _) => format!("{} ({})", ratio(time.ratio), interval(time)),
    }
}
