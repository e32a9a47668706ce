//! What a report says of a run: times with intervals, verdicts, and how far estimates are from what was counted. A pure function of
//! `run.json` and `raw.csv`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bootstrap::{self, Interval, Resampled};
use crate::correlation::{CostAgainstTime, cost_against_time};
use crate::details::{ArmDetails, QueryDetails};
use crate::machine::{Machine, Versions};
use crate::operators::Operator;
use crate::quality::{percentile, q_error};
use crate::record::{ArmRecord, Run, Sample, Status};
use crate::summary::{Counts, Overview};

/// Joins of this many relations and more share a box.
const MOST_RELATIONS: usize = 9;

/// All that a report shows.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) run: Head<'a>,
    /// The first one is what the others are compared with.
    pub(crate) arms: Vec<ArmReport<'a>>,
    /// How many queries every arm finished; totals and means are over these.
    pub(crate) finished_by_all: usize,
    pub(crate) counts: Counts,
    pub(crate) queries: Vec<QueryReport<'a>>,
    /// q-errors of joins.
    pub(crate) boxes: Vec<QErrors>,
    pub(crate) details: &'a [QueryDetails],
    /// The query that the page is about, where it is about one alone.
    pub(crate) only: Option<&'a str>,
}

/// Where and how a run was made.
#[derive(Debug, Serialize)]
pub(crate) struct Head<'a> {
    suite: &'a str,
    scale: Option<f64>,
    command: &'a str,
    started: &'a str,
    finished: Option<&'a str>,
    interrupted: bool,
    queries: usize,
    runs: u32,
    warmup: u32,
    timeout_s: f64,
    threads: usize,
    machine: &'a Machine,
    versions: &'a Versions,
}

/// One arm over all queries.
#[derive(Debug, Serialize)]
pub(crate) struct ArmReport<'a> {
    pub(crate) name: &'a str,
    options: &'a BTreeMap<String, String>,
    pub(crate) total_ms: f64,
    pub(crate) planning_ms: f64,
    /// Against the first arm; absent for the first arm itself.
    pub(crate) against_first: Option<AgainstFirst>,
    coverage: Coverage,
}

/// An arm against the first one.
#[derive(Debug, Serialize)]
pub(crate) struct AgainstFirst {
    pub(crate) of_totals: Ratio,
    pub(crate) geometric_mean: Ratio,
    /// The query with the highest ratio, and the one with the lowest.
    worst: String,
    best: String,
    faster: usize,
    slower: usize,
    noise: usize,
    /// Queries whose physical plan is that of the first arm.
    same_plan: usize,
    /// The lowest and the highest ratio among those.
    same_plan_ratios: Option<Interval>,
}

/// A ratio of times with its interval, where there are runs enough for one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) ratio: f64,
    pub(crate) interval: Option<Interval>,
    pub(crate) verdict: Verdict,
}

/// What an interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Faster,
    Slower,
    /// The interval contains 1.
    Noise,
    /// Too few runs.
    Unknown,
}

impl Ratio {
    pub(crate) fn new(ratio: f64, interval: Option<Interval>) -> Self {
        let verdict = match interval {
            None => Verdict::Unknown,
            Some(interval) if interval.contains_one() => Verdict::Noise,
            Some(interval) if interval.high < 1.0 => Verdict::Faster,
            Some(_) => Verdict::Slower,
        };
        Self {
            ratio,
            interval,
            verdict,
        }
    }
}

/// How many joins of an arm's plans have an estimate and a count that can be held against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Coverage {
    joins: usize,
    /// Whose rows a LIMIT or a filter from above may have cut.
    cut: usize,
    /// Without an estimate or a count.
    unknown: usize,
}

/// One query.
#[derive(Debug, Serialize)]
pub(crate) struct QueryReport<'a> {
    query: &'a str,
    arms: Vec<CellReport<'a>>,
    /// Where at least five arms have both.
    cost_against_time: Option<CostAgainstTime>,
}

/// One query under one arm.
#[derive(Debug, Serialize)]
pub(crate) struct CellReport<'a> {
    status: Status,
    total_ms: Option<f64>,
    planning_ms: Option<f64>,
    /// Of the runs that count, in their order.
    times_ms: Vec<f64>,
    against_first: Option<Ratio>,
    same_rows: Option<&'a str>,
    fingerprint: Option<&'a str>,
    /// Whether its plan is that of the first arm.
    same_plan: Option<bool>,
    error: Option<&'a str>,
    /// The largest q-error of its joins.
    worst_q_error: Option<f64>,
}

/// q-errors of the joins of some number of relations, of all queries under one arm.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct QErrors {
    arm: usize,
    relations: usize,
    /// Whether joins of more relations are among them.
    and_more: bool,
    joins: usize,
    /// Joins whose estimate is below the count.
    under: usize,
    p5: f64,
    p25: f64,
    p50: f64,
    p75: f64,
    p95: f64,
    max: f64,
}

/// A join whose estimate and count can be held against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Judged {
    relations: usize,
    estimated: f64,
    counted: f64,
}

impl<'a> Report<'a> {
    /// Makes a report from what a run recorded.
    pub(crate) fn new(run: &'a Run, samples: &[Sample]) -> Self {
        let overview = Overview::new(run, samples);
        let times = counted_times(samples);
        let resampled = resample(run, &times);
        let judged = judge(run);
        let queries = (run.summary.iter().zip(&overview.lines))
            .map(|(summary, line)| {
                let first = summary
                    .arms
                    .first()
                    .and_then(|arm| arm.fingerprint.as_deref());
                let cells = summary.arms.iter().zip(&line.cells).map(|(arm, cell)| {
                    let key = (summary.query.as_str(), arm.arm.as_str());
                    let fingerprint = arm.fingerprint.as_deref();
                    let interval = resampled.get(&key).and_then(Resampled::ratio);
                    CellReport {
                        status: cell.status,
                        total_ms: cell.total_ms,
                        planning_ms: cell.planning_ms,
                        times_ms: times.get(&key).cloned().unwrap_or_default(),
                        against_first: cell.ratio.map(|ratio| Ratio::new(ratio, interval)),
                        same_rows: arm.same_rows.as_deref(),
                        same_plan: first.zip(fingerprint).map(|(first, own)| first == own),
                        fingerprint,
                        error: arm.error.as_deref(),
                        worst_q_error: judged.get(&key).and_then(|(_, joins)| {
                            let errors = joins.iter().map(|j| q_error(j.estimated, j.counted));
                            errors.max_by(f64::total_cmp)
                        }),
                    }
                });
                let cells: Vec<CellReport<'_>> = cells.collect();
                let details = run.details.iter().find(|own| own.query == summary.query);
                let times: Vec<(&str, Option<f64>)> = (summary.arms.iter().zip(&cells))
                    .map(|(arm, cell)| (arm.arm.as_str(), cell.total_ms))
                    .collect();
                QueryReport {
                    query: &summary.query,
                    cost_against_time: details.and_then(|own| cost_against_time(own, &times)),
                    arms: cells,
                }
            })
            .collect::<Vec<_>>();
        let arms = run
            .arms
            .iter()
            .enumerate()
            .map(|(at, arm)| arm_report(at, arm, &overview, &queries, &resampled, &judged));
        Self {
            run: head(run),
            arms: arms.collect(),
            finished_by_all: overview.finished_by_all,
            counts: overview.counts,
            boxes: boxes(&run.arms, &judged),
            queries,
            details: &run.details,
            only: None,
        }
    }
}

fn head(run: &Run) -> Head<'_> {
    Head {
        suite: &run.suite,
        scale: run.scale,
        command: &run.command,
        started: &run.started,
        finished: run.finished.as_deref(),
        interrupted: run.interrupted,
        queries: run.queries,
        runs: run.runs,
        warmup: run.warmup,
        timeout_s: run.timeout_s,
        threads: run.threads,
        machine: &run.machine,
        versions: &run.versions,
    }
}

/// What is known by query and arm.
type ByCell<'a, T> = BTreeMap<(&'a str, &'a str), T>;

/// The times of the runs that count.
pub(crate) fn counted_times(samples: &[Sample]) -> ByCell<'_, Vec<f64>> {
    let mut times: ByCell<'_, Vec<f64>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| !sample.warmup) {
        if let Some(ms) = sample.total_ms {
            let key = (sample.query.as_str(), sample.arm.as_str());
            times.entry(key).or_default().push(ms);
        }
    }
    times
}

fn resample<'a>(run: &'a Run, times: &ByCell<'_, Vec<f64>>) -> ByCell<'a, Resampled> {
    let mut resampled = BTreeMap::new();
    let Some((first, others)) = run.arms.split_first() else {
        return resampled;
    };
    for query in &run.summary {
        let query = query.query.as_str();
        let Some(base) = times.get(&(query, first.name.as_str())) else {
            continue;
        };
        for arm in others {
            let own = times.get(&(query, arm.name.as_str()));
            let own =
                own.and_then(|own| Resampled::new(query, (&first.name, base), (&arm.name, own)));
            if let Some(own) = own {
                resampled.insert((query, arm.name.as_str()), own);
            }
        }
    }
    resampled
}

fn arm_report<'a>(
    at: usize,
    arm: &'a ArmRecord,
    overview: &Overview,
    queries: &[QueryReport<'_>],
    resampled: &ByCell<'_, Resampled>,
    judged: &ByCell<'_, (Coverage, Vec<Judged>)>,
) -> ArmReport<'a> {
    let finished = |query: &&QueryReport<'_>| query.arms.iter().all(|cell| cell.total_ms.is_some());
    let planning = queries.iter().filter(finished);
    let planning = planning.filter_map(|query| query.arms[at].planning_ms);
    let total = &overview.totals[at];
    let ratios = total.ratios.as_ref().filter(|_| at > 0);
    let against_first = ratios.map(|ratios| {
        // Without all queries the interval would be of another sum than the ratio.
        let known: Option<Vec<&Resampled>> = queries
            .iter()
            .filter(finished)
            .map(|query| resampled.get(&(query.query, arm.name.as_str())))
            .collect();
        let known = known.unwrap_or_default();
        let totals = bootstrap::total(&known).and_then(|total| total.ratio());
        let means = bootstrap::geometric_mean(&known);
        let verdicts = |verdict: Verdict| {
            let cells = queries
                .iter()
                .filter_map(|query| query.arms[at].against_first);
            cells.filter(|ratio| ratio.verdict == verdict).count()
        };
        let same: Vec<&CellReport<'_>> = queries
            .iter()
            .map(|query| &query.arms[at])
            .filter(|cell| cell.same_plan == Some(true))
            .collect();
        let mut spread: Vec<f64> = same
            .iter()
            .filter_map(|c| Some(c.against_first?.ratio))
            .collect();
        spread.sort_by(f64::total_cmp);
        AgainstFirst {
            of_totals: Ratio::new(ratios.of_totals, totals),
            geometric_mean: Ratio::new(ratios.geometric_mean, means),
            worst: ratios.worst.0.clone(),
            best: ratios.best.0.clone(),
            faster: verdicts(Verdict::Faster),
            slower: verdicts(Verdict::Slower),
            noise: verdicts(Verdict::Noise),
            same_plan: same.len(),
            same_plan_ratios: (spread.first().zip(spread.last()))
                .map(|(&low, &high)| Interval { low, high }),
        }
    });
    let mut coverage = Coverage::default();
    for ((_, name), (own, _)) in judged {
        if *name == arm.name {
            coverage.joins += own.joins;
            coverage.cut += own.cut;
            coverage.unknown += own.unknown;
        }
    }
    ArmReport {
        name: &arm.name,
        options: &arm.options,
        total_ms: total.total_ms,
        planning_ms: planning.sum(),
        against_first,
        coverage,
    }
}

/// The joins of all plans, by query and arm.
fn judge(run: &Run) -> ByCell<'_, (Coverage, Vec<Judged>)> {
    let mut judged = BTreeMap::new();
    for query in &run.details {
        for arm in &query.arms {
            if let Some(plan) = query.plans.get(arm.plan) {
                let key = (query.query.as_str(), arm.arm.as_str());
                judged.insert(key, judge_plan(&plan.operators, arm));
            }
        }
    }
    judged
}

fn judge_plan(operators: &[Operator], arm: &ArmDetails) -> (Coverage, Vec<Judged>) {
    let mut coverage = Coverage::default();
    let mut judged = vec![];
    for (at, operator) in operators.iter().enumerate() {
        if !operator.joins {
            continue;
        }
        coverage.joins += 1;
        let estimated = arm.estimated.get(at).copied().flatten();
        let counted = arm.rows.get(at).copied().flatten();
        match estimated.zip(counted) {
            None => coverage.unknown += 1,
            Some(_) if arm.cut.contains(&at) => coverage.cut += 1,
            Some((estimated, counted)) => judged.push(Judged {
                relations: leaves_below(operators, at),
                estimated,
                counted: counted as f64,
            }),
        }
    }
    (coverage, judged)
}

/// The leaves below an operator; those after it in the order of `EXPLAIN` until all inputs are there.
fn leaves_below(operators: &[Operator], at: usize) -> usize {
    let mut missing = 1;
    let mut leaves = 0;
    for operator in operators.iter().skip(at) {
        missing = missing + operator.inputs - 1;
        leaves += usize::from(operator.inputs == 0);
        if missing == 0 {
            break;
        }
    }
    leaves
}

fn boxes(arms: &[ArmRecord], judged: &ByCell<'_, (Coverage, Vec<Judged>)>) -> Vec<QErrors> {
    let mut by_level: BTreeMap<(usize, usize), Vec<Judged>> = BTreeMap::new();
    for ((_, name), (_, joins)) in judged {
        let Some(arm) = arms.iter().position(|arm| arm.name == *name) else {
            continue;
        };
        for join in joins {
            let level = join.relations.min(MOST_RELATIONS);
            by_level.entry((level, arm)).or_default().push(*join);
        }
    }
    let boxes = by_level.into_iter().map(|((relations, arm), joins)| {
        let mut errors: Vec<f64> = joins
            .iter()
            .map(|j| q_error(j.estimated, j.counted))
            .collect();
        errors.sort_by(f64::total_cmp);
        let below = |join: &&Judged| join.estimated.max(1.0) < join.counted.max(1.0);
        QErrors {
            arm,
            relations,
            and_more: joins.iter().any(|join| join.relations > relations),
            joins: joins.len(),
            under: joins.iter().filter(below).count(),
            p5: percentile(&errors, 0.05),
            p25: percentile(&errors, 0.25),
            p50: percentile(&errors, 0.5),
            p75: percentile(&errors, 0.75),
            p95: percentile(&errors, 0.95),
            max: percentile(&errors, 1.0),
        }
    });
    boxes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(inputs: usize, joins: bool) -> Operator {
        Operator {
            inputs,
            joins,
            ..Operator::default()
        }
    }

    #[test]
    fn joins_are_judged_where_both_numbers_hold() {
        // A join of (a join of two scans) and a scan below a filter.
        let operators = [
            operator(2, true),
            operator(2, true),
            operator(0, false),
            operator(0, false),
            operator(1, false),
            operator(0, false),
        ];
        let mut arm = ArmDetails {
            arm: "a".to_owned(),
            plan: 0,
            estimator: "textbook".to_owned(),
            estimated: vec![Some(10.0), Some(4.0), None, None, Some(9.0), None],
            sources: vec![],
            rows: vec![Some(40), Some(4), Some(1), Some(1), Some(1), Some(1)],
            elapsed_us: vec![],
            cut: vec![],
            regions: vec![],
        };
        let (coverage, judged) = judge_plan(&operators, &arm);
        let found: Vec<_> = judged
            .iter()
            .map(|j| (j.relations, j.estimated, j.counted))
            .collect();
        assert_eq!(found, [(3, 10.0, 40.0), (2, 4.0, 4.0)]);
        assert_eq!(coverage.joins, 2);
        arm.cut = vec![1];
        arm.estimated[0] = None;
        let (coverage, judged) = judge_plan(&operators, &arm);
        assert!(judged.is_empty());
        assert_eq!((coverage.joins, coverage.cut, coverage.unknown), (2, 1, 1));
    }

    #[test]
    fn verdicts() {
        let verdict = |low, high| Ratio::new(1.0, Some(Interval { low, high })).verdict;
        assert_eq!(verdict(0.8, 0.9), Verdict::Faster);
        assert_eq!(verdict(0.9, 1.1), Verdict::Noise);
        assert_eq!(verdict(1.1, 1.2), Verdict::Slower);
        assert_eq!(Ratio::new(2.0, None).verdict, Verdict::Unknown);
    }
}
