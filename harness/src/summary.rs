//! What the samples of a run add up to: medians, ratios, totals. Pure functions of recorded data.

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::record::{Run, Sample, Status};

/// One query, in `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuerySummary {
    pub(crate) query: String,
    /// In the order of the run's arms.
    pub(crate) arms: Vec<ArmSummary>,
}

/// One query under one arm. Times are medians over the runs, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ArmSummary {
    pub(crate) arm: String,
    pub(crate) status: Status,
    pub(crate) planning_ms: Option<f64>,
    pub(crate) execution_ms: Option<f64>,
    pub(crate) total_ms: Option<f64>,
    pub(crate) rows: Option<u64>,
    pub(crate) fingerprint: Option<String>,
    /// Whether the rows agree with those of the first arm that returned any; absent where the arm returned none.
    pub(crate) same_rows: Option<String>,
    /// What went wrong, if anything did.
    pub(crate) error: Option<String>,
}

/// Sums up one query from its samples.
pub(crate) fn summarize(
    query: &str,
    arms: &[&str],
    samples: &[Sample],
    agreements: &[Option<Agreement>],
) -> QuerySummary {
    let summarize_arm = |(arm, agreement): (&&str, &Option<Agreement>)| {
        let own: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.query == query && sample.arm == *arm)
            .collect();
        // The first sample that went wrong says how; without one, all went well.
        let bad = own.iter().find(|sample| sample.status != Status::Ok);
        let finished = own.iter().rev().find(|sample| sample.rows.is_some());
        ArmSummary {
            arm: (*arm).to_owned(),
            status: bad.map_or(Status::Ok, |sample| sample.status),
            planning_ms: median_of(&own, |sample| sample.planning_ms),
            execution_ms: median_of(&own, |sample| sample.execution_ms),
            total_ms: median_of(&own, |sample| sample.total_ms),
            rows: finished.and_then(|sample| sample.rows),
            fingerprint: finished.and_then(|sample| sample.fingerprint.clone()),
            same_rows: agreement.as_ref().map(Agreement::label),
            error: bad.and_then(|sample| sample.error.clone()),
        }
    };
    QuerySummary {
        query: query.to_owned(),
        arms: arms.iter().zip(agreements).map(summarize_arm).collect(),
    }
}

fn median_of(samples: &[&Sample], value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    let counted = samples.iter().filter(|sample| !sample.warmup);
    median(counted.filter_map(|sample| value(sample)).collect())
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    match values.len() % 2 {
        0 => Some((values[middle - 1] + upper) / 2.0),
        _ => Some(upper),
    }
}

/// One query in the table of a run.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) query: String,
    pub(crate) cells: Vec<Cell>,
}

/// One arm of a line.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) status: Status,
    pub(crate) total_ms: Option<f64>,
    pub(crate) planning_ms: Option<f64>,
    /// Time over the first arm's time.
    pub(crate) ratio: Option<f64>,
    pub(crate) same_rows: Option<String>,
}

/// The totals of one arm over the queries that every arm finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Total {
    pub(crate) arm: String,
    pub(crate) total_ms: f64,
    /// Against the first arm; absent for the first arm itself, and where no query was finished by all.
    pub(crate) ratios: Option<Ratios>,
}

/// Times of an arm over those of the first arm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) of_totals: f64,
    pub(crate) geometric_mean: f64,
    pub(crate) worst: (String, f64),
    pub(crate) best: (String, f64),
}

/// How many queries ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) queries: usize,
    /// Every arm finished, with the same rows.
    pub(crate) same: usize,
    /// Rows differ.
    pub(crate) differ: usize,
    /// Every arm finished, but a LIMIT hides whether the rows are the same.
    pub(crate) unknown: usize,
    /// Failed or timed out in at least one arm.
    pub(crate) unfinished: usize,
}

/// All that the table of a run shows.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    pub(crate) arms: Vec<String>,
    pub(crate) lines: Vec<Line>,
    pub(crate) totals: Vec<Total>,
    /// How many queries every arm finished.
    pub(crate) finished_by_all: usize,
    pub(crate) counts: Counts,
}

impl Overview {
    /// Adds up a run from its record and its samples: times come from the samples, row agreement from the record.
    pub(crate) fn new(run: &Run, samples: &[Sample]) -> Self {
        let arms: Vec<String> = run.arms.iter().map(|arm| arm.name.clone()).collect();
        let lines: Vec<Line> = run
            .summary
            .iter()
            .map(|query| line(query, samples))
            .collect();
        Self::from_lines(arms, lines)
    }

    /// All queries of several runs with the same arms, named after their runs.
    pub(crate) fn together(runs: &[(String, Self)]) -> Option<Self> {
        let arms = runs.first()?.1.arms.clone();
        let lines = runs.iter().flat_map(|(name, overview)| {
            overview.lines.iter().map(move |line| Line {
                query: format!("{name}/{}", line.query),
                cells: line.cells.clone(),
            })
        });
        Some(Self::from_lines(arms, lines.collect()))
    }

    fn from_lines(arms: Vec<String>, lines: Vec<Line>) -> Self {
        Self {
            totals: totals(&arms, &lines),
            finished_by_all: lines.iter().filter(|line| line.is_finished()).count(),
            counts: counts(&lines),
            arms,
            lines,
        }
    }

    /// Whether the run found a fault: rows differ, or an arm failed where the first one did not. A query that fails
    /// under every arm, or takes too long, is none; nor is one that another system cannot run, which arms behind the first `own` are.
    pub(crate) fn has_faults(&self, own: usize) -> bool {
        let new_failures = self.lines.iter().any(|line| {
            let mut cells = line.cells.iter().take(own);
            let first = cells.next().is_some_and(|cell| cell.status == Status::Ok);
            first && cells.any(|cell| cell.status == Status::Error)
        });
        self.counts.differ > 0 || new_failures
    }
}

impl Line {
    fn is_finished(&self) -> bool {
        self.cells
            .iter()
            .all(|cell| matches!(cell.status, Status::Ok | Status::Wrong))
    }
}

fn line(query: &QuerySummary, samples: &[Sample]) -> Line {
    let mut cells: Vec<Cell> = query
        .arms
        .iter()
        .map(|arm| {
            let own: Vec<&Sample> = samples
                .iter()
                .filter(|sample| sample.query == query.query && sample.arm == arm.arm)
                .collect();
            let bad = own.iter().find(|sample| sample.status != Status::Ok);
            let status = bad.map_or(Status::Ok, |sample| sample.status);
            // An arm that timed out in the middle has a few good times, which say little.
            let finished = matches!(status, Status::Ok | Status::Wrong);
            Cell {
                status,
                total_ms: median_of(&own, |sample| sample.total_ms).filter(|_| finished),
                planning_ms: median_of(&own, |sample| sample.planning_ms).filter(|_| finished),
                ratio: None,
                same_rows: arm.same_rows.clone(),
            }
        })
        .collect();
    let first = cells.first().and_then(|cell| cell.total_ms);
    for cell in cells.iter_mut().skip(1) {
        cell.ratio = first.zip(cell.total_ms).map(|(first, own)| own / first);
    }
    Line {
        query: query.query.clone(),
        cells,
    }
}

fn totals(arms: &[String], lines: &[Line]) -> Vec<Total> {
    let finished: Vec<&Line> = lines.iter().filter(|line| line.is_finished()).collect();
    let total = |arm: usize| -> f64 {
        let times = finished.iter().filter_map(|line| line.cells[arm].total_ms);
        times.sum()
    };
    arms.iter()
        .enumerate()
        .map(|(arm, name)| {
            let ratios: Vec<(String, f64)> = finished
                .iter()
                .filter_map(|line| Some((line.query.clone(), line.cells[arm].ratio?)))
                .collect();
            Total {
                arm: name.clone(),
                total_ms: total(arm),
                ratios: summarize_ratios(ratios, total(arm) / total(0)),
            }
        })
        .collect()
}

fn summarize_ratios(ratios: Vec<(String, f64)>, of_totals: f64) -> Option<Ratios> {
    let logs: f64 = ratios.iter().map(|(_, ratio)| ratio.ln()).sum();
    let geometric_mean = (logs / ratios.len() as f64).exp();
    let by_ratio = |a: &&(String, f64), b: &&(String, f64)| a.1.total_cmp(&b.1);
    Some(Ratios {
        of_totals,
        geometric_mean,
        worst: ratios.iter().max_by(by_ratio)?.clone(),
        best: ratios.iter().min_by(by_ratio)?.clone(),
    })
}

fn counts(lines: &[Line]) -> Counts {
    let mut counts = Counts {
        queries: lines.len(),
        ..Counts::default()
    };
    for line in lines {
        let unknown = Agreement::Unknown.label();
        if line.cells.iter().any(|cell| cell.status == Status::Wrong) {
            counts.differ += 1;
        } else if !line.is_finished() {
            counts.unfinished += 1;
        } else if (line.cells.iter()).any(|cell| cell.same_rows.as_ref() == Some(&unknown)) {
            counts.unknown += 1;
        } else {
            counts.same += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn warm_ups_do_not_count_and_failures_show() {
        let sample = |arm: &str, warmup, status, total: Option<f64>| {
            let mut sample = Sample::new("q1", arm, 1, warmup);
            sample.status = status;
            sample.total_ms = total;
            sample.rows = total.map(|_| 7);
            sample
        };
        let samples = [
            sample("a", true, Status::Ok, Some(900.0)),
            sample("a", false, Status::Ok, Some(2.0)),
            sample("a", false, Status::Ok, Some(4.0)),
            sample("b", true, Status::Timeout, None),
        ];
        let agreements = [Some(Agreement::Same), None];
        let summary = summarize("q1", &["a", "b"], &samples, &agreements);
        assert_eq!(summary.arms[0].total_ms, Some(3.0));
        assert_eq!(summary.arms[0].rows, Some(7));
        assert_eq!(summary.arms[1].status, Status::Timeout);
        assert_eq!(summary.arms[1].total_ms, None);
        assert_eq!(summary.arms[1].same_rows, None);
    }

    fn overview(statuses: &[&[Status]]) -> Overview {
        let cell = |status: &Status| Cell {
            status: *status,
            total_ms: Some(2.0),
            planning_ms: Some(1.0),
            ratio: None,
            same_rows: Some(Agreement::Same.label()),
        };
        let lines = statuses.iter().map(|cells| Line {
            query: "q".to_owned(),
            cells: cells.iter().map(cell).collect(),
        });
        Overview::from_lines(vec!["a".to_owned(), "b".to_owned()], lines.collect())
    }

    #[test]
    fn faults_are_different_rows_and_new_failures() {
        use Status::{Error, Ok, Timeout, Wrong};
        let check = |statuses: [Status; 2], expected| {
            let overview = overview(&[&[Ok, Ok], &statuses]);
            assert_eq!(overview.has_faults(2), expected, "{statuses:?}");
        };
        check([Ok, Ok], false);
        check([Ok, Wrong], true);
        check([Wrong, Ok], true);
        check([Ok, Error], true);
        check([Error, Ok], false);
        check([Error, Error], false);
        check([Ok, Timeout], false);
        check([Timeout, Wrong], true);
        assert!(!overview(&[&[Ok, Error]]).has_faults(1));
        assert!(overview(&[&[Ok, Wrong]]).has_faults(1));
    }

    #[test]
    fn each_query_counts_once() {
        use Status::{Error, Ok, Timeout, Wrong};
        let overview = overview(&[&[Ok, Ok], &[Error, Ok], &[Timeout, Wrong], &[Ok, Timeout]]);
        let expected = Counts {
            queries: 4,
            same: 1,
            differ: 1,
            unknown: 0,
            unfinished: 2,
        };
        assert_eq!(overview.counts, expected);
        assert_eq!(overview.finished_by_all, 1);
        assert_eq!(overview.totals[1].total_ms, 2.0);
    }

    #[test]
    fn ratios() {
        let ratio = |name: &str, ratio| (name.to_owned(), ratio);
        let all = vec![ratio("q1", 0.5), ratio("q2", 2.0), ratio("q3", 1.0)];
        let ratios = summarize_ratios(all, 0.7).unwrap();
        assert!((ratios.geometric_mean - 1.0).abs() < 1e-12);
        assert_eq!(ratios.worst, ratio("q2", 2.0));
        assert_eq!(ratios.best, ratio("q1", 0.5));
        assert_eq!(summarize_ratios(Vec::new(), 1.0), None);
    }
}
