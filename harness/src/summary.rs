//! What the samples of a run add up to: medians, ratios, totals. Pure functions of recorded data.

use serde::Serialize;

use crate::agreement::Agreement;
use crate::bootstrap::{Interval, Resampled};
use crate::query_summary::{QuerySummary, median_of};
use crate::record::{Run, Sample, Status};

/// One query in the table of a run.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) query: String,
    pub(crate) cells: Vec<Cell>,
}

/// One arm of a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) status: Status,
    /// Of a timeout what it would have taken at least.
    pub(crate) total_ms: Option<f64>,
    pub(crate) planning_ms: Option<f64>,
    /// Time over the first arm's time; absent where both took too long.
    pub(crate) ratio: Option<f64>,
    /// What is known of the ratio.
    pub(crate) bound: Bound,
    pub(crate) same_rows: Option<String>,
    /// Of the runs that count.
    pub(crate) times_ms: Vec<f64>,
}

/// What is known of a number that was made of times of which some are those of the limit (censored).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bound {
    #[default]
    Exact,
    AtLeast,
    AtMost,
    /// It may be smaller or larger.
    Unclear,
}

impl Bound {
    /// Of a ratio of times, of which some took too long.
    fn of(first: bool, own: bool) -> Self {
        match (first, own) {
            (false, false) => Self::Exact,
            (false, true) => Self::AtLeast,
            (true, false) => Self::AtMost,
            (true, true) => Self::Unclear,
        }
    }

    /// What stands before the number.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Exact => "",
            Self::AtLeast => "≥ ",
            Self::AtMost => "≤ ",
            Self::Unclear => "~ ",
        }
    }
}

/// The totals of one arm over the queries that every arm finished, or was stopped in at the limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Total {
    pub(crate) arm: String,
    pub(crate) total_ms: f64,
    /// Whether timeouts are in it with the limit.
    pub(crate) at_least: bool,
    /// Against the first arm; absent for the first arm itself, and where no query was finished by all.
    pub(crate) ratios: Option<Ratios>,
}

/// Times of an arm over those of the first arm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) of_totals: f64,
    pub(crate) geometric_mean: f64,
    /// Of both.
    pub(crate) bound: Bound,
    pub(crate) worst: Extreme,
    pub(crate) best: Extreme,
}

/// A query with the highest ratio, or the lowest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extreme {
    pub(crate) query: String,
    pub(crate) ratio: f64,
    pub(crate) bound: Bound,
    /// Where there are runs enough.
    pub(crate) interval: Option<Interval>,
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
    /// How many queries every arm finished, or was stopped in at the limit: those that are in the totals.
    pub(crate) counted: usize,
    /// Of these, in how many an arm was stopped.
    pub(crate) stopped: usize,
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

    /// All queries of several runs, named after their runs; `None` if these have not the same arms.
    pub(crate) fn together(runs: &[(String, Self)]) -> Option<Self> {
        let arms = runs.first()?.1.arms.clone();
        if runs.iter().any(|(_, run)| run.arms != arms) {
            return None;
        }
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
            counted: lines.iter().filter(|line| line.has_times()).count(),
            stopped: (lines
                .iter()
                .filter(|line| line.has_times() && !line.is_finished()))
            .count(),
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
    fn has_times(&self) -> bool {
        self.cells.iter().all(|cell| cell.total_ms.is_some())
    }

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
            // An arm that failed in the middle has a few good times, which say little. One that was stopped has the limit for all others.
            let finished = matches!(status, Status::Ok | Status::Wrong);
            let timed = finished || status == Status::Timeout;
            let counted = own.iter().filter(|sample| !sample.warmup);
            Cell {
                status,
                total_ms: median_of(&own, |sample| sample.total_ms).filter(|_| timed),
                planning_ms: median_of(&own, |sample| sample.planning_ms).filter(|_| finished),
                same_rows: arm.same_rows.clone(),
                times_ms: counted.filter_map(|sample| sample.total_ms).collect(),
                ..Cell::default()
            }
        })
        .collect();
    let first = cells.first().and_then(|cell| cell.total_ms);
    let is_stopped = |cell: &Cell| cell.status == Status::Timeout;
    let first_stopped = cells.first().is_some_and(is_stopped);
    for cell in cells.iter_mut().skip(1) {
        cell.bound = Bound::of(first_stopped, is_stopped(cell));
        cell.ratio = (first.zip(cell.total_ms))
            .filter(|_| cell.bound != Bound::Unclear)
            .map(|(first, own)| own / first);
    }
    Line {
        query: query.query.clone(),
        cells,
    }
}

fn totals(arms: &[String], lines: &[Line]) -> Vec<Total> {
    let counted: Vec<&Line> = lines.iter().filter(|line| line.has_times()).collect();
    let total = |arm: usize| -> f64 {
        let times = counted.iter().filter_map(|line| line.cells[arm].total_ms);
        times.sum()
    };
    let at_least = |arm: usize| {
        let mut cells = counted.iter().map(|line| &line.cells[arm]);
        cells.any(|cell| cell.status == Status::Timeout)
    };
    let totals = arms.iter().enumerate().map(|(arm, name)| Total {
        arm: name.clone(),
        total_ms: total(arm),
        at_least: at_least(arm),
        ratios: ratios(arms, arm, &counted).map(|ratios| Ratios {
            of_totals: total(arm) / total(0),
            bound: Bound::of(at_least(0), at_least(arm)),
            ..ratios
        }),
    });
    totals.collect()
}

/// All but that of the totals.
fn ratios(arms: &[String], at: usize, lines: &[&Line]) -> Option<Ratios> {
    let known = || {
        let lines = lines.iter();
        lines.filter_map(|line| Some((*line, line.cells[at].ratio?)))
    };
    let logs: f64 = known().map(|(_, ratio)| ratio.ln()).sum();
    let extreme = |(line, ratio): (&Line, f64)| {
        let (first, own) = (&line.cells[0], &line.cells[at]);
        let first = (arms[0].as_str(), &first.times_ms[..]);
        let resampled = Resampled::new(&line.query, first, (&arms[at], &own.times_ms));
        Extreme {
            query: line.query.clone(),
            ratio,
            bound: own.bound,
            interval: resampled.and_then(|own| own.ratio()),
        }
    };
    Some(Ratios {
        of_totals: 1.0,
        geometric_mean: (logs / known().count() as f64).exp(),
        bound: Bound::Exact,
        worst: extreme(known().max_by(|a, b| a.1.total_cmp(&b.1))?),
        best: extreme(known().min_by(|a, b| a.1.total_cmp(&b.1))?),
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
    use crate::query_summary::summarize;

    fn overview(statuses: &[&[Status]]) -> Overview {
        let cell = |status: &Status| Cell {
            status: *status,
            total_ms: Some(2.0).filter(|_| *status != Status::Error),
            planning_ms: Some(1.0),
            same_rows: Some(Agreement::Same.label()),
            ..Cell::default()
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
        // All but the one with an error; two of them with a timeout.
        assert_eq!((overview.counted, overview.stopped), (3, 2));
        assert_eq!(overview.totals[1].total_ms, 6.0);
        assert!(overview.totals.iter().all(|total| total.at_least));
    }

    /// Times of two arms in three runs of each query; none are those of a limit of 1000 ms.
    fn timed(times: &[(&str, [Option<f64>; 2])]) -> Overview {
        let lines = times.iter().map(|(query, arms)| {
            let mut samples = vec![];
            for (arm, ms) in ["a", "b"].iter().zip(arms) {
                for run in 1..=3 {
                    let mut sample = Sample::new(query, arm, run, false);
                    match ms {
                        Some(ms) => sample.total_ms = Some(*ms),
                        None => sample.time_out(1000.0),
                    }
                    samples.push(sample);
                }
            }
            let summary = summarize(query, &["a", "b"], &samples, &[None, None]);
            line(&summary, &samples)
        });
        Overview::from_lines(vec!["a".to_owned(), "b".to_owned()], lines.collect())
    }

    #[test]
    fn ratios() {
        let all = [
            ("q1", [Some(10.0), Some(5.0)]),
            ("q2", [Some(10.0), Some(20.0)]),
        ];
        let overview = timed(&all);
        assert_eq!(overview.totals[0].ratios, None);
        let ratios = overview.totals[1].ratios.clone().unwrap();
        assert!((ratios.geometric_mean - 1.0).abs() < 1e-12);
        assert_eq!((ratios.of_totals, ratios.bound), (1.25, Bound::Exact));
        assert_eq!(
            (ratios.worst.query.as_str(), ratios.worst.ratio),
            ("q2", 2.0)
        );
        assert_eq!((ratios.best.query.as_str(), ratios.best.ratio), ("q1", 0.5));
        let certain = Interval {
            low: 2.0,
            high: 2.0,
        };
        assert_eq!(ratios.worst.interval, Some(certain));
        assert_eq!(timed(&[]).totals[1].ratios, None);
    }

    #[test]
    fn runs_of_other_arms_do_not_add_up() {
        let one = timed(&[("q", [Some(10.0), Some(5.0)])]);
        let mut other = one.clone();
        let runs = |other| [("x".to_owned(), one.clone()), ("y".to_owned(), other)];
        let all = Overview::together(&runs(other.clone())).unwrap();
        assert_eq!(
            (all.counts.queries, all.lines[1].query.as_str()),
            (2, "y/q")
        );
        other.arms.pop();
        assert!(Overview::together(&runs(other)).is_none());
    }

    /// What takes too long where the first arm does not is the worst regression there is.
    #[test]
    fn timeouts_are_bounds() {
        let mut all = vec![("q1", [Some(10.0), Some(50.0)]), ("q2", [Some(10.0), None])];
        let overview = timed(&all);
        let ratios = overview.totals[1].ratios.clone().unwrap();
        assert_eq!(
            (ratios.worst.query.as_str(), ratios.worst.ratio),
            ("q2", 100.0)
        );
        assert_eq!(
            (ratios.worst.bound, ratios.bound),
            (Bound::AtLeast, Bound::AtLeast)
        );
        assert_eq!(overview.totals[1].total_ms, 1050.0);
        assert!(overview.totals[1].at_least && !overview.totals[0].at_least);
        assert_eq!(overview.counts.unfinished, 1);
        // Where the first arm took too long, the ratio is no more than that; where both did, nobody knows.
        all.push(("q3", [None, Some(10.0)]));
        all.push(("q4", [None, None]));
        let overview = timed(&all);
        let ratios = overview.totals[1].ratios.clone().unwrap();
        assert_eq!(
            (ratios.best.query.as_str(), ratios.best.bound),
            ("q3", Bound::AtMost)
        );
        assert_eq!(ratios.bound, Bound::Unclear);
        assert_eq!(overview.lines[3].cells[1].ratio, None);
        assert_eq!((overview.counted, overview.stopped), (4, 3));
    }
}
