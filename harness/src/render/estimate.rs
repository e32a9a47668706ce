//! The quality of estimates on a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Grid, rows};
use crate::quality::{Quality, percentile, q_error};

/// Sub-plans that are told one by one.
const WORST: usize = 10;

/// One sub-plan.
#[derive(Clone, Debug)]
pub(crate) struct Estimated {
    pub(crate) query: String,
    pub(crate) sub_plan: String,
    pub(crate) relations: usize,
    pub(crate) true_rows: u128,
    pub(crate) est_rows: f64,
    pub(crate) upper_bound: Option<f64>,
    /// Where the estimate comes from.
    pub(crate) source: &'static str,
}

impl Estimated {
    fn q_error(&self) -> f64 {
        q_error(self.est_rows, self.true_rows as f64)
    }
}

/// What one arm estimated.
#[derive(Clone, Debug)]
pub(crate) struct ArmEstimates {
    pub(crate) arm: String,
    pub(crate) sub_plans: Vec<Estimated>,
    /// By region its relations, and the time that the estimator took to prepare.
    pub(crate) prepared: Vec<(usize, Duration)>,
    /// By region the number of sub-plans, and the time that their estimates took.
    pub(crate) estimated: Vec<(usize, Duration)>,
    /// By query, under C_out, where all connected sub-plans are known.
    pub(crate) p_errors: Vec<(String, f64)>,
    /// The same of the plans that the arm, or another system, really has.
    pub(crate) own_plans: Vec<(String, f64)>,
}

impl ArmEstimates {
    pub(crate) fn new(arm: &str) -> Self {
        Self {
            arm: arm.to_owned(),
            sub_plans: vec![],
            prepared: vec![],
            estimated: vec![],
            p_errors: vec![],
            own_plans: vec![],
        }
    }

    fn quality(&self, keep: impl Fn(&Estimated) -> bool) -> Quality {
        let kept = self.sub_plans.iter().filter(|sub_plan| keep(sub_plan));
        Quality::of(kept.map(|s| (s.est_rows, s.true_rows as f64)))
    }
}

/// All tables.
pub(crate) fn render(arms: &[ArmEstimates]) -> String {
    let mut out = String::new();
    for grid in [levels(arms), plans(arms)] {
        out.push_str(&grid.to_terminal());
        out.push_str("\n\n");
    }
    for arm in arms {
        out.push_str(&format!("{}: worst sub-plans\n", arm.arm));
        out.push_str(&worst(arm).to_terminal());
        out.push_str("\n\n");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// q-errors by number of relations, the arms side by side.
fn levels(arms: &[ArmEstimates]) -> Grid {
    let mut sizes: Vec<usize> = arms
        .iter()
        .flat_map(|arm| arm.sub_plans.iter().map(|s| s.relations))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let header = ["relations", "arm", "sub-plans"];
    let errors = ["p50", "p90", "p95", "p99", "max", "under"];
    let mut lines = vec![];
    let mut add = |size: String, keep: &dyn Fn(&Estimated) -> bool| {
        for arm in arms {
            let quality = arm.quality(keep);
            let errors = [
                quality.p50,
                quality.p90,
                quality.p95,
                quality.p99,
                quality.max,
            ];
            let mut line = vec![size.clone(), arm.arm.clone(), quality.sub_plans.to_string()];
            line.extend(errors.map(factor));
            line.push(format!("{:.0} %", quality.under * 100.0));
            lines.push(line);
        }
    };
    for size in sizes {
        add(size.to_string(), &|s| s.relations == size);
    }
    add("2 and more".to_owned(), &|s| s.relations > 1);
    Grid {
        header: header
            .iter()
            .chain(&errors)
            .map(ToString::to_string)
            .collect(),
        rows: lines,
        left: vec![0, 1],
    }
}

/// P-errors and times.
fn plans(arms: &[ArmEstimates]) -> Grid {
    let header = [
        "arm",
        "P-error",
        "p50",
        "p90",
        "max",
        "of",
        "own plans",
        "p90",
        "max",
        "of",
        "prepare p50",
        "max",
        "a sub-plan",
    ];
    let line = |arm: &ArmEstimates| {
        let by_estimates = PErrors::of(&arm.p_errors);
        let mut line = vec![
            arm.arm.clone(),
            factor(by_estimates.mean),
            factor(by_estimates.p50),
            factor(by_estimates.p90),
            factor(by_estimates.max),
            by_estimates.worst,
        ];
        let own = PErrors::of(&arm.own_plans);
        line.extend([own.mean, own.p90, own.max].map(factor));
        line.push(own.worst);
        let mut prepared: Vec<f64> = arm.prepared.iter().map(|p| p.1.as_secs_f64()).collect();
        prepared.sort_by(f64::total_cmp);
        let (sub_plans, elapsed) = arm.estimated.iter().fold((0, Duration::ZERO), |sum, one| {
            (sum.0 + one.0, sum.1 + one.1)
        });
        line.extend([
            milliseconds(percentile(&prepared, 0.5)),
            milliseconds(percentile(&prepared, 1.0)),
            format!(
                "{:.2} µs",
                elapsed.as_secs_f64() * 1e6 / sub_plans.max(1) as f64
            ),
        ]);
        line
    };
    Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: arms.iter().map(line).collect(),
        left: vec![0, 5, 9],
    }
}

/// P-errors of many queries.
struct PErrors {
    /// Geometric.
    mean: f64,
    p50: f64,
    p90: f64,
    max: f64,
    /// The query that has the largest.
    worst: String,
}

impl PErrors {
    fn of(queries: &[(String, f64)]) -> Self {
        let mut errors: Vec<f64> = queries.iter().map(|query| query.1).collect();
        errors.sort_by(f64::total_cmp);
        let logs: f64 = errors.iter().map(|error| error.ln()).sum();
        let worst = queries.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        Self {
            mean: (logs / errors.len() as f64).exp(),
            p50: percentile(&errors, 0.5),
            p90: percentile(&errors, 0.9),
            max: percentile(&errors, 1.0),
            worst: worst.map(|worst| worst.0.clone()).unwrap_or_default(),
        }
    }
}

fn worst(arm: &ArmEstimates) -> Grid {
    let mut worst: Vec<&Estimated> = arm.sub_plans.iter().collect();
    worst.sort_by(|a, b| b.q_error().total_cmp(&a.q_error()));
    worst.truncate(WORST);
    let header = [
        "query",
        "sub-plan",
        "true rows",
        "estimated",
        "q-error",
        "source",
        "reason",
    ];
    let line = |s: &&Estimated| {
        vec![
            s.query.clone(),
            s.sub_plan.clone(),
            rows(s.true_rows as f64),
            rows(s.est_rows),
            factor(s.q_error()),
            s.source.to_owned(),
            reason(arm, s),
        ]
    };
    Grid {
        header: header.map(str::to_owned).to_vec(),
        rows: worst.iter().map(line).collect(),
        left: vec![0, 1, 5, 6],
    }
}

/// Where most of a sub-plan's error comes from: the smallest sub-plan inside it that has half of it, on a logarithmic scale, and the
/// relation that brought it there.
fn reason(arm: &ArmEstimates, sub_plan: &Estimated) -> String {
    fn relations(sub_plan: &Estimated) -> BTreeSet<&str> {
        sub_plan.sub_plan.split('+').collect()
    }
    let all = relations(sub_plan);
    let of_query = arm.sub_plans.iter().filter(|s| s.query == sub_plan.query);
    let inside: Vec<(&Estimated, BTreeSet<&str>)> = of_query
        .map(|s| (s, relations(s)))
        .filter(|(_, relations)| relations.is_subset(&all))
        .collect();
    let much = sub_plan.q_error().sqrt();
    let first =
        inside
            .iter()
            .filter(|(s, _)| s.q_error() >= much)
            .min_by(|(a, in_a), (b, in_b)| {
                let size = in_a.len().cmp(&in_b.len());
                size.then(b.q_error().total_cmp(&a.q_error()))
            });
    let Some((first, relations)) = first else {
        return String::new();
    };
    let smaller = inside
        .iter()
        .filter(|(_, before)| before.len() + 1 == relations.len() && before.is_subset(relations));
    let best = smaller.min_by(|(a, _), (b, _)| a.q_error().total_cmp(&b.q_error()));
    match best {
        Some((before, known)) => {
            let last: Vec<&str> = relations.difference(known).copied().collect();
            let last = last.join("+");
            let (from, to) = (factor(before.q_error()), factor(first.q_error()));
            format!("{} ⋈ {last}: {from} → {to}", before.sub_plan)
        }
        None if relations.len() == 1 => format!("predicates on {}", first.sub_plan),
        None => format!("{}: {}", first.sub_plan, factor(first.q_error())),
    }
}

fn milliseconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds.is_nan() => "–".to_owned(),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

fn factor(factor: f64) -> String {
    match factor {
        f if f.is_nan() => "–".to_owned(),
        f if f < 10.0 => format!("{f:.2}"),
        f if f < 100.0 => format!("{f:.1}"),
        f => format!("{f:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimated(sub_plan: &str, est_rows: f64) -> Estimated {
        Estimated {
            query: "q".to_owned(),
            sub_plan: sub_plan.to_owned(),
            relations: sub_plan.split('+').count(),
            true_rows: 1_000,
            est_rows,
            upper_bound: None,
            source: "ndv",
        }
    }

    fn check(known: &[(&str, f64)], expected: &str) {
        let mut arm = ArmEstimates::new("arm");
        arm.sub_plans = known.iter().map(|(s, rows)| estimated(s, *rows)).collect();
        let last = arm.sub_plans.last().expect("some");
        assert_eq!(reason(&arm, last), expected);
    }

    #[test]
    fn the_reason_is_the_first_jump() {
        let join = [
            ("a", 1_000.0),
            ("a+b", 900.0),
            ("b+c", 20.0),
            ("a+b+c", 10.0),
        ];
        check(&join, "b+c: 50.0");
        let join = [
            ("a", 1_000.0),
            ("b", 1_000.0),
            ("c", 500.0),
            ("b+c", 20.0),
            ("a+b+c", 10.0),
        ];
        check(&join, "b ⋈ c: 1.00 → 50.0");
        check(
            &[("a", 10.0), ("b", 900.0), ("a+b", 9.0)],
            "predicates on a",
        );
        check(&[("Left(a+b)", 10.0)], "Left(a+b): 100");
    }
}
