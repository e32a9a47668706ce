//! What a report says of a run: times with intervals, verdicts, and how far estimates are from what was counted. A pure function of
//! `run.json` and `raw.csv`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arm_metrics::{ArmMetrics, arm_metrics};
use crate::bootstrap::{self, Interval, Resampled};
use crate::correlation::{Cost, CostAgainstTime, cost_against_time, cost_of};
use crate::details::QueryDetails;
use crate::machine::{Machine, Versions};
use crate::plan_errors::PErrors;
use crate::q_errors::{ByCell, Coverage, JudgedPlans, QErrors, boxes, judge, worst};
use crate::record::{ArmRecord, Run, Sample, Status};
use crate::summary::{Bound, Counts, Overview};

/// All that a report shows.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) run: Head<'a>,
    /// The first one is what the others are compared with.
    pub(crate) arms: Vec<ArmReport<'a>>,
    /// How many queries every arm finished, or was stopped in at the limit; totals and means are over these.
    pub(crate) counted: usize,
    /// Of these, in how many an arm was stopped.
    stopped: usize,
    pub(crate) counts: Counts,
    pub(crate) queries: Vec<QueryReport<'a>>,
    /// Of the costs that are shown against times.
    pub(crate) cost_model: Option<String>,
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
    /// Whether timeouts are in it with the limit.
    at_least: bool,
    pub(crate) planning_ms: f64,
    /// Against the first arm; absent for the first arm itself.
    pub(crate) against_first: Option<AgainstFirst>,
    coverage: Coverage,
    pub(crate) metrics: ArmMetrics,
}

/// An arm against the first one.
#[derive(Debug, Serialize)]
pub(crate) struct AgainstFirst {
    pub(crate) of_totals: Ratio,
    pub(crate) geometric_mean: Ratio,
    /// Of both.
    bound: Bound,
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
    bound: Bound,
    same_rows: Option<&'a str>,
    fingerprint: Option<&'a str>,
    /// Whether its plan is that of the first arm.
    same_plan: Option<bool>,
    error: Option<&'a str>,
    /// The largest q-error of its joins.
    worst_q_error: Option<f64>,
    /// How good its plan is, where the truth is known.
    p_error: Option<PErrors>,
    /// What its operators had reserved at most: the median of the runs.
    peak_memory_bytes: Option<u64>,
    /// Of all its regions together, by its own estimates.
    cost: Option<Cost>,
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
                let details = run.details.iter().find(|own| own.query == summary.query);
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
                        bound: cell.bound,
                        same_rows: arm.same_rows.as_deref(),
                        same_plan: first.zip(fingerprint).map(|(first, own)| first == own),
                        fingerprint,
                        error: arm.error.as_deref(),
                        worst_q_error: judged.get(&key).and_then(|(_, joins)| worst(joins)),
                        p_error: arm.p_error,
                        peak_memory_bytes: arm.peak_memory_bytes,
                        cost: details.and_then(|own| cost_of(own, &arm.arm)),
                    }
                });
                let cells: Vec<CellReport<'_>> = cells.collect();
                let times: Vec<(&str, Option<f64>)> = (summary.arms.iter().zip(&cells))
                    .map(|(arm, cell)| {
                        let finished = cell.status != Status::Timeout;
                        (arm.arm.as_str(), cell.total_ms.filter(|_| finished))
                    })
                    .collect();
                QueryReport {
                    query: &summary.query,
                    cost_against_time: details.and_then(|own| cost_against_time(own, &times)),
                    arms: cells,
                }
            })
            .collect::<Vec<_>>();
        let metrics = arm_metrics(run, samples, &judged);
        let arms = (run.arms.iter().zip(metrics).enumerate()).map(|(at, (arm, metrics))| {
            let report = arm_report(at, arm, &overview, &queries, &resampled, &judged);
            ArmReport { metrics, ..report }
        });
        Self {
            run: head(run),
            cost_model: most_common_model(&queries),
            arms: arms.collect(),
            counted: overview.counted,
            stopped: overview.stopped,
            counts: overview.counts,
            boxes: boxes(&run.arms, &judged),
            queries,
            details: &run.details,
            only: None,
        }
    }
}

/// The cost model that most costs of a run are of.
fn most_common_model(queries: &[QueryReport<'_>]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let cells = queries.iter().flat_map(|query| &query.arms);
    for cost in cells.filter_map(|cell| cell.cost.as_ref()) {
        *counts.entry(&cost.model).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(model, _)| model.to_owned())
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
    judged: &JudgedPlans<'_>,
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
            bound: ratios.bound,
            worst: ratios.worst.query.clone(),
            best: ratios.best.query.clone(),
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
        at_least: total.at_least,
        planning_ms: planning.sum(),
        against_first,
        coverage,
        metrics: ArmMetrics::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let verdict = |low, high| Ratio::new(1.0, Some(Interval { low, high })).verdict;
        assert_eq!(verdict(0.8, 0.9), Verdict::Faster);
        assert_eq!(verdict(0.9, 1.1), Verdict::Noise);
        assert_eq!(verdict(1.1, 1.2), Verdict::Slower);
        assert_eq!(Ratio::new(2.0, None).verdict, Verdict::Unknown);
    }
}
