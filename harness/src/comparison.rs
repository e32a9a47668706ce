//! What differs between two runs: times, plans, estimates. A pure function of what both left.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::bootstrap::{self, Interval, Resampled};
use crate::comparability::differences;
use crate::details::ArmDetails;
use crate::quality::q_error;
use crate::query_summary::{ArmSummary, median};
use crate::record::{Run, Sample, Status};
use crate::report::{Ratio, Verdict, counted_times};

/// A query that is slower by less is no regression, whatever the ratio: the times of short queries are scheduling.
const LEAST_MS: f64 = 1.0;
/// Estimates within this factor are the same: they are recorded rounded.
const SAME_ESTIMATE: f64 = 1.001;

/// Two runs side by side, the first one before, the second one after.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// In what circumstances the runs differ, so that their times may not be comparable.
    pub(crate) warnings: Vec<String>,
    /// By how much a time may grow, as a fraction.
    pub(crate) tolerance: f64,
    /// The arm that tells how fast the machine was in both runs: the first one, if it and DataFusion are the same. What it does not do
    /// itself, a slower machine did not do to the others.
    pub(crate) control: Option<String>,
    /// By how much the control itself is slower, if it is beyond noise and tolerance: then the machine or the engine is another one than
    /// it was, and what is said of the other arms is beside that.
    pub(crate) drift: Option<Ratio>,
    /// Arms that both runs have, by name.
    pub(crate) arms: Vec<ArmComparison>,
    /// What one run has and the other lacks.
    pub(crate) only_before: Vec<String>,
    pub(crate) only_after: Vec<String>,
    pub(crate) regressions: usize,
}

/// One arm in both runs.
#[derive(Debug, Serialize)]
pub(crate) struct ArmComparison {
    pub(crate) arm: String,
    pub(crate) before_ms: f64,
    pub(crate) after_ms: f64,
    /// How many queries both runs finished; times and ratios are over these.
    pub(crate) finished_by_both: usize,
    pub(crate) of_totals: Option<Ratio>,
    pub(crate) geometric_mean: Option<Ratio>,
    /// Whether the total is a regression.
    pub(crate) regressed: bool,
    pub(crate) queries: Vec<QueryComparison>,
}

/// One query under one arm in both runs.
#[derive(Debug, Serialize)]
pub(crate) struct QueryComparison {
    pub(crate) query: String,
    pub(crate) before: Status,
    pub(crate) after: Status,
    pub(crate) before_ms: Option<f64>,
    pub(crate) after_ms: Option<f64>,
    pub(crate) time: Option<Ratio>,
    /// Whether the physical plan is another one; absent where a run has none.
    pub(crate) plan_changed: Option<bool>,
    /// Absent where a run kept no estimates.
    pub(crate) estimates: Option<EstimateChange>,
    pub(crate) regressed: bool,
}

/// Estimates of the same sets of relations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct EstimateChange {
    /// How many sets of relations both runs estimated.
    pub(crate) common: usize,
    pub(crate) changed: usize,
    /// The largest factor between two estimates of a set.
    pub(crate) factor: f64,
}

impl QueryComparison {
    /// Whether there is anything to be said of it.
    pub(crate) fn differs(&self) -> bool {
        let time = self.time.map(|time| time.verdict);
        self.regressed
            || self.before != self.after
            || matches!(time, Some(Verdict::Faster | Verdict::Slower))
            || self.plan_changed == Some(true)
            || self
                .estimates
                .is_some_and(|estimates| estimates.changed > 0)
    }
}

impl Comparison {
    /// Compares two runs with their samples.
    pub(crate) fn new(
        (before, samples_before): (&Run, &[Sample]),
        (after, samples_after): (&Run, &[Sample]),
        tolerance: f64,
    ) -> Self {
        let times = (counted_times(samples_before), counted_times(samples_after));
        let control = control(before, after);
        let draw = |query: &str, arm: &str| {
            let (old, new) = (times.0.get(&(query, arm))?, times.1.get(&(query, arm))?);
            let names = ["before", "after"].map(|run| format!("{arm}, {run}"));
            Resampled::new(query, (&names[0], old), (&names[1], new))
        };
        let mut arms: Vec<ArmComparison> = vec![];
        for (place, arm) in before.arms.iter().enumerate() {
            let Some(place_after) = after.arms.iter().position(|other| other.name == arm.name)
            else {
                continue;
            };
            let mut queries = vec![];
            for query in &before.summary {
                let name = query.query.as_str();
                let other = after.summary.iter().find(|other| other.query == name);
                let sides =
                    (query.arms.get(place)).zip(other.and_then(|q| q.arms.get(place_after)));
                let Some((old, new)) = sides else {
                    continue;
                };
                let key = (name, arm.name.as_str());
                let side = |arm, times: Option<&Vec<f64>>| Side {
                    arm,
                    median_ms: median(times.cloned().unwrap_or_default()),
                };
                let drawn = Drawn {
                    own: draw(name, &arm.name),
                    control: control.map(|control| draw(name, control)),
                    is_control: control == Some(&arm.name),
                };
                let mut compared = compare_query(
                    &side(old, times.0.get(&key)),
                    &side(new, times.1.get(&key)),
                    &drawn,
                    tolerance,
                );
                compared.query = name.to_owned();
                compared.estimates = (details(before, key).zip(details(after, key)))
                    .map(|(old, new)| estimate_change(old, new));
                queries.push((compared, drawn));
            }
            arms.push(compare_arm(&arm.name, queries, tolerance));
        }
        let regressions = arms.iter().map(|arm| {
            let queries = arm.queries.iter().filter(|query| query.regressed);
            queries.count() + usize::from(arm.regressed)
        });
        let control_arm = arms.iter().find(|arm| Some(arm.arm.as_str()) == control);
        Self {
            warnings: differences(before, after),
            drift: control_arm.and_then(|arm| drift(arm, tolerance)),
            tolerance,
            control: control.map(str::to_owned),
            regressions: regressions.sum(),
            only_before: missing(before, after),
            only_after: missing(after, before),
            arms,
        }
    }
}

/// The arm that both runs began each query with, under the same DataFusion.
fn control<'a>(before: &'a Run, after: &Run) -> Option<&'a str> {
    let versions = |run: &Run| (run.versions.datafusion.clone(), run.versions.arrow.clone());
    let (first, other) = (before.arms.first()?, after.arms.first()?);
    // The only arm there is has nothing beside it to be held against.
    let several = before.arms.len() > 1 && after.arms.len() > 1;
    let untouched = first.name == "default" && other.name == first.name;
    (several && untouched && versions(before) == versions(after)).then_some(&first.name)
}

/// How much slower the control is, by its total or on average, whichever is more.
fn drift(control: &ArmComparison, tolerance: f64) -> Option<Ratio> {
    let ratios = [control.of_totals, control.geometric_mean].into_iter();
    let beyond = ratios.flatten().filter(|ratio| {
        let interval = ratio.interval;
        interval.is_some_and(|interval| interval.low > 1.0 + tolerance)
    });
    beyond.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

/// The times of a query under an arm in both runs, drawn again and again.
struct Drawn {
    own: Option<Resampled>,
    /// Those of the control, if there is one; the inner `None` where it has too few.
    control: Option<Option<Resampled>>,
    is_control: bool,
}

impl Drawn {
    /// Whether the time grew beyond noise and tolerance, and more than that of the control.
    fn is_slower(&self, tolerance: f64) -> bool {
        let beyond = |interval: Option<Interval>| interval.is_some_and(|i| i.low > 1.0 + tolerance);
        let Some(own) = &self.own else {
            return false;
        };
        beyond(own.ratio())
            && match &self.control {
                _ if self.is_control => false,
                Some(Some(control)) => beyond(own.over(control)),
                Some(None) | None => true,
            }
    }
}

/// A query under an arm in one run.
struct Side<'a> {
    arm: &'a ArmSummary,
    median_ms: Option<f64>,
}

impl Side<'_> {
    fn time_ms(&self) -> Option<f64> {
        let finished = matches!(self.arm.status, Status::Ok | Status::Wrong);
        self.median_ms.filter(|_| finished)
    }
}

fn compare_arm(arm: &str, queries: Vec<(QueryComparison, Drawn)>, tolerance: f64) -> ArmComparison {
    let both = || queries.iter().filter(|(query, _)| query.time.is_some());
    let finished = both().count();
    let sum = |ms: fn(&QueryComparison) -> Option<f64>| -> f64 {
        both().filter_map(|(q, _)| ms(q)).sum()
    };
    let (before_ms, after_ms) = (sum(|query| query.before_ms), sum(|query| query.after_ms));
    // Without all queries a sum would be of other ones than the ratio is.
    let all = |drawn: fn(&Drawn) -> Option<&Resampled>| -> Vec<&Resampled> {
        let drawn: Option<Vec<&Resampled>> = both().map(|(_, own)| drawn(own)).collect();
        drawn.unwrap_or_default()
    };
    let own = all(|drawn| drawn.own.as_ref());
    let control = all(|drawn| drawn.control.as_ref()?.as_ref());
    let totals = Drawn {
        own: bootstrap::total(&own),
        control: (!control.is_empty()).then(|| bootstrap::total(&control)),
        is_control: queries.iter().any(|(_, drawn)| drawn.is_control),
    };
    let interval = totals.own.as_ref().and_then(Resampled::ratio);
    let logs: f64 = both()
        .filter_map(|(query, _)| Some(query.time?.ratio.ln()))
        .sum();
    let mean = (logs / finished as f64).exp();
    ArmComparison {
        arm: arm.to_owned(),
        before_ms,
        after_ms,
        finished_by_both: finished,
        geometric_mean: (finished > 0).then(|| Ratio::new(mean, bootstrap::geometric_mean(&own))),
        regressed: totals.is_slower(tolerance),
        of_totals: (finished > 0).then(|| Ratio::new(after_ms / before_ms, interval)),
        queries: queries.into_iter().map(|(query, _)| query).collect(),
    }
}

/// All but the name and the estimates.
fn compare_query(
    before: &Side<'_>,
    after: &Side<'_>,
    drawn: &Drawn,
    tolerance: f64,
) -> QueryComparison {
    let (before_ms, after_ms) = (before.time_ms(), after.time_ms());
    let times = before_ms.zip(after_ms);
    let interval = drawn.own.as_ref().and_then(Resampled::ratio);
    let longer = times.is_some_and(|(before, after)| after - before >= LEAST_MS);
    let plans = (before.arm.fingerprint.as_ref()).zip(after.arm.fingerprint.as_ref());
    let fails = before.arm.status == Status::Ok && after.arm.status != Status::Ok;
    QueryComparison {
        query: String::new(),
        before: before.arm.status,
        after: after.arm.status,
        before_ms,
        after_ms,
        time: times.map(|(before, after)| Ratio::new(after / before, interval)),
        plan_changed: plans.map(|(old, new)| old != new),
        estimates: None,
        regressed: fails || (longer && drawn.is_slower(tolerance)),
    }
}

fn details<'a>(run: &'a Run, (query, arm): (&str, &str)) -> Option<&'a ArmDetails> {
    let query = run.details.iter().find(|own| own.query == query)?;
    query.arms.iter().find(|own| own.arm == arm)
}

/// The estimates of the sets of relations that the plans of both runs join.
fn estimate_change(old: &ArmDetails, new: &ArmDetails) -> EstimateChange {
    let (old, new) = (estimated_sets(&old.regions), estimated_sets(&new.regions));
    let mut change = EstimateChange {
        common: 0,
        changed: 0,
        factor: 1.0,
    };
    for (set, before) in &old {
        if let Some(after) = new.get(set) {
            let factor = q_error(*after, *before);
            change.common += 1;
            change.changed += usize::from(factor > SAME_ESTIMATE);
            change.factor = change.factor.max(factor);
        }
    }
    change
}

/// Estimated rows by set of relations, of all regions of a query; relations are told apart by region.
fn estimated_sets(regions: &[Value]) -> BTreeMap<(usize, Vec<String>), f64> {
    let mut sets = BTreeMap::new();
    for (place, region) in regions.iter().enumerate() {
        collect_sets(&region["tree"], place, &mut sets);
    }
    sets
}

fn collect_sets(
    tree: &Value,
    region: usize,
    sets: &mut BTreeMap<(usize, Vec<String>), f64>,
) -> Vec<String> {
    let mut aliases = match tree["alias"].as_str() {
        Some(alias) => vec![alias.to_owned()],
        None if tree["left"].is_object() => {
            let mut aliases = collect_sets(&tree["left"], region, sets);
            aliases.extend(collect_sets(&tree["right"], region, sets));
            aliases
        }
        None => vec![],
    };
    aliases.sort_unstable();
    if let Some(rows) = tree["est_rows"].as_f64() {
        sets.insert((region, aliases.clone()), rows);
    }
    aliases
}

/// Arms and queries of one run that the other lacks.
fn missing(run: &Run, other: &Run) -> Vec<String> {
    let arms = run
        .arms
        .iter()
        .filter(|arm| !other.arms.iter().any(|o| o.name == arm.name));
    let queries = run
        .summary
        .iter()
        .filter(|query| !other.summary.iter().any(|o| o.query == query.query));
    arms.map(|arm| format!("arm {}", arm.name))
        .chain(queries.map(|query| format!("query {}", query.query)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(status: Status) -> ArmSummary {
        ArmSummary {
            arm: "a".to_owned(),
            status,
            planning_ms: None,
            execution_ms: None,
            total_ms: None,
            rows: None,
            fingerprint: None,
            peak_memory_bytes: None,
            worst_q_error: None,
            p_error: None,
            same_rows: None,
            error: None,
        }
    }

    fn drawn(before: &[f64], after: &[f64]) -> Option<Resampled> {
        Resampled::new("q", ("before", before), ("after", after))
    }

    #[track_caller]
    fn check(before: &[f64], after: &[f64], control: Option<[&[f64]; 2]>, regressed: bool) {
        let ok = summary(Status::Ok);
        let side = |times: &[f64]| Side {
            arm: &ok,
            median_ms: median(times.to_vec()),
        };
        let drawn = Drawn {
            own: drawn(before, after),
            control: control.map(|[before, after]| drawn(before, after)),
            is_control: false,
        };
        let found = compare_query(&side(before), &side(after), &drawn, 0.1);
        assert_eq!(found.regressed, regressed, "{found:?}");
    }

    #[test]
    fn a_regression_is_beyond_noise_and_tolerance() {
        check(&[20.0, 21.0, 20.5], &[30.0, 31.0, 30.5], None, true);
        // Within the tolerance.
        check(&[20.0, 21.0, 20.5], &[21.5, 22.0, 22.1], None, false);
        // Twice as long at the median, and inside the noise.
        check(&[20.0, 21.0, 20.5], &[19.0, 41.0, 42.0], None, false);
        // A tenth of a millisecond.
        check(&[0.1, 0.1, 0.1], &[0.2, 0.2, 0.2], None, false);
        // Two runs say nothing.
        check(&[20.0, 21.0], &[50.0, 51.0], None, false);
    }

    #[test]
    fn a_slower_machine_is_no_regression() {
        let (before, after) = (&[20.0, 21.0, 20.5], &[30.0, 31.0, 30.5]);
        check(before, after, Some([before, after]), false);
        check(before, after, Some([before, before]), true);
        let control = Drawn {
            own: drawn(before, after),
            control: Some(drawn(before, after)),
            is_control: true,
        };
        assert!(!control.is_slower(0.1));
    }

    #[test]
    fn a_query_that_fails_now_is_a_regression() {
        let (ok, error) = (summary(Status::Ok), summary(Status::Error));
        let regressed = |before, after| {
            let side = |arm| Side {
                arm,
                median_ms: Some(1.0),
            };
            let drawn = Drawn {
                own: None,
                control: None,
                is_control: false,
            };
            compare_query(&side(before), &side(after), &drawn, 0.1).regressed
        };
        assert!(regressed(&ok, &error));
        assert!(!regressed(&error, &ok));
        assert!(!regressed(&error, &error));
    }

    #[test]
    fn estimates_are_compared_by_set() {
        let arm = |tree: Value| ArmDetails {
            arm: "a".to_owned(),
            plan: 0,
            estimator: String::new(),
            estimated: vec![],
            sources: vec![],
            rows: vec![],
            elapsed_us: vec![],
            cut: vec![],
            regions: vec![serde_json::json!({ "tree": tree })],
            planning: None,
        };
        let leaf = |alias: &str, rows: f64| serde_json::json!({"alias": alias, "est_rows": rows});
        let join = |left: Value, right: Value, rows: f64| serde_json::json!({"left": left, "right": right, "est_rows": rows});
        let old = arm(join(
            join(leaf("x", 10.0), leaf("y", 20.0), 40.0),
            leaf("z", 5.0),
            100.0,
        ));
        let new = arm(join(
            leaf("x", 10.0),
            join(leaf("z", 5.0), leaf("y", 60.0), 7.0),
            100.0,
        ));
        let expected = EstimateChange {
            common: 4,
            changed: 1,
            factor: 3.0,
        };
        assert_eq!(estimate_change(&old, &new), expected);
    }
}
