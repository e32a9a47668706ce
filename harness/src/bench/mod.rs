//! One query under all arms: what runs when, what is not tried again, and whether the rows are right. Reads no clock itself.

use anyhow::Result;

use crate::agreement::{Agreement, Reference, judge, judge_number};
use crate::operators::Observed;
use crate::plan_errors::PErrors;
use crate::record::{Sample, Status};
use crate::rows::{Digest, Table};
use crate::schedule::{Schedule, find};
use crate::shape::Shape;
use crate::suite::Query;

/// What a query returned.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) digest: Digest,
    /// The rows themselves, unless they are too many to keep.
    pub(crate) table: Option<Table>,
    /// Of another system, whose types are others: only the number of rows tells.
    pub(crate) foreign: bool,
}

/// How one attempt to run a query ended.
#[derive(Clone, Debug)]
pub(crate) enum Attempt {
    Done(Box<Done>),
    Failed(String),
    TimedOut,
    /// The user wants to stop; the sample does not count.
    Interrupted,
}

/// A query that ran to its end.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) planning_ms: f64,
    pub(crate) execution_ms: f64,
    pub(crate) rows: Rows,
    pub(crate) shape: Shape,
    pub(crate) fingerprint: String,
    /// What the operators had reserved at most, where that is known.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// What the operators of the plan counted, if that was asked for.
    pub(crate) observed: Option<Observed>,
}

/// What runs queries: DataFusion, or a mock in tests.
pub(crate) trait Runner {
    /// Runs `query` once under an arm, given by its position. If asked to `observe`, it tells what the operators counted, outside
    /// of the times.
    async fn run(&mut self, arm: usize, query: &Query, observe: bool) -> Attempt;

    /// All rows that the outermost LIMIT of `query` could choose from, if they can be had.
    async fn without_limit(&mut self, arm: usize, query: &Query) -> Option<Table>;
}

/// All of one query under all arms.
#[derive(Clone, Debug)]
pub(crate) struct QueryRun {
    /// Those that were not known before.
    pub(crate) samples: Vec<Sample>,
    /// For each arm that returned rows, how they agree with those of the first arm that did.
    pub(crate) agreements: Vec<Option<Agreement>>,
    /// For each arm, what the operators counted when it first came to an end.
    pub(crate) observed: Vec<Option<Observed>>,
    /// For each arm, how good its plan is, where the truth is known. Filled in afterwards.
    pub(crate) p_errors: Vec<Option<PErrors>>,
    /// Whether nothing is left to be run; otherwise the user interrupted.
    pub(crate) whole: bool,
}

/// Where a query is run: which arms gave up, and what is known of their rows.
struct Course<'a> {
    query: &'a Query,
    done: QueryRun,
    reference: Option<Reference>,
    /// By arm how it ended, if it will not be run again: what failed or took too long once would do so again.
    gave_up: Vec<Option<Status>>,
    /// Of other systems, while no arm of ours had an end: the arm, its rows, and its sample.
    waiting: Vec<(usize, u64, Option<usize>)>,
}

impl Course<'_> {
    fn give_up(&mut self, arm: usize, status: Status) {
        if matches!(status, Status::Error | Status::Timeout) {
            self.gave_up[arm] = Some(status);
        }
    }

    /// Holds the rows of an execution to the others, and marks its sample if they differ.
    async fn judge(
        &mut self,
        runner: &mut impl Runner,
        arm: usize,
        done: &Done,
        sample: Option<usize>,
    ) -> Result<()> {
        if done.rows.foreign {
            self.waiting.push((arm, done.rows.digest.rows, sample));
        } else {
            let first_time = self.done.agreements[arm].is_none();
            let reference = &mut self.reference;
            let agreement = judge(runner, self.query, reference, arm, done, first_time).await?;
            self.agree(arm, agreement, sample);
        }
        if self.reference.is_some() {
            self.judge_waiting();
        }
        Ok(())
    }

    fn judge_waiting(&mut self) {
        for (arm, rows, sample) in std::mem::take(&mut self.waiting) {
            let agreement = judge_number(self.reference.as_ref(), rows);
            self.agree(arm, agreement, sample);
        }
    }

    fn agree(&mut self, arm: usize, agreement: Agreement, sample: Option<usize>) {
        if let Agreement::Different(why) = &agreement
            && let Some(sample) = sample.and_then(|at| self.done.samples.get_mut(at))
        {
            sample.status = Status::Wrong;
            sample.error = Some(why.clone());
        }
        let worst = self.done.agreements[arm].take().max(Some(agreement));
        self.done.agreements[arm] = worst;
    }

    /// What it came to; `whole` if nobody interrupted.
    fn end(mut self, whole: bool) -> QueryRun {
        self.judge_waiting();
        self.done.whole = whole;
        self.done
    }
}

/// Runs one query under all arms in turn; each round starts with another arm, so that none is always first. What is `known` already is
/// not run again.
pub(crate) async fn bench_query(
    runner: &mut impl Runner,
    query: &Query,
    arms: &[String],
    schedule: Schedule,
    known: &[Sample],
) -> Result<QueryRun> {
    let mut course = Course {
        query,
        done: QueryRun {
            samples: vec![],
            agreements: vec![None; arms.len()],
            observed: vec![None; arms.len()],
            p_errors: vec![None; arms.len()],
            whole: true,
        },
        reference: None,
        gave_up: vec![None; arms.len()],
        waiting: vec![],
    };
    let order = schedule.arms(&query.name, arms.len());
    if !known.is_empty() && !warm_up_again(runner, &mut course, arms, &order, known).await? {
        return Ok(course.end(false));
    }
    for round in 0..schedule.rounds() {
        for turn in 0..arms.len() {
            let arm = order[(round as usize + turn) % arms.len()];
            let (run, warmup) = schedule.run(round);
            if let Some(sample) = find(known, &arms[arm], run, warmup) {
                course.give_up(arm, sample.status);
                continue;
            }
            let mut sample = Sample::new(&query.name, &arms[arm], run, warmup);
            sample.cold = schedule.cold;
            if let Some(status) = course.gave_up[arm] {
                // The run would have been as long at least.
                if status == Status::Timeout && !warmup {
                    sample.time_out(schedule.timeout_ms);
                    sample.error = Some(NOT_RUN.to_owned());
                    course.done.samples.push(sample);
                }
                continue;
            }
            let observe = course.done.observed[arm].is_none();
            let mut ended = None;
            match runner.run(arm, query, observe).await {
                Attempt::Interrupted => return Ok(course.end(false)),
                Attempt::TimedOut => sample.time_out(schedule.timeout_ms),
                Attempt::Failed(message) => {
                    sample.status = Status::Error;
                    sample.error = Some(message);
                }
                Attempt::Done(done) => {
                    sample.finish(&done);
                    ended = Some(done);
                }
            }
            course.give_up(arm, sample.status);
            course.done.samples.push(sample);
            if let Some(mut done) = ended {
                if observe {
                    course.done.observed[arm] = done.observed.take();
                }
                let place = course.done.samples.len() - 1;
                course.judge(runner, arm, &done, Some(place)).await?;
            }
        }
    }
    Ok(course.end(true))
}

/// What stands in the place of an error where a run was not tried.
const NOT_RUN: &str = "not run: an earlier run took too long";

/// Once for each arm, and no sample: a process that goes on has seen neither plans nor rows, and its files may be cold. False if the user
/// interrupted.
async fn warm_up_again(
    runner: &mut impl Runner,
    course: &mut Course<'_>,
    arms: &[String],
    order: &[usize],
    known: &[Sample],
) -> Result<bool> {
    for &arm in order {
        let mut own = known.iter().filter(|sample| sample.arm == arms[arm]);
        if own.any(|sample| matches!(sample.status, Status::Error | Status::Timeout)) {
            continue;
        }
        match runner.run(arm, course.query, true).await {
            Attempt::Interrupted => return Ok(false),
            Attempt::Done(mut done) => {
                course.done.observed[arm] = done.observed.take();
                course.judge(runner, arm, &done, None).await?;
            }
            Attempt::Failed(_) | Attempt::TimedOut => {}
        }
        let mut own = known.iter().filter(|sample| sample.arm == arms[arm]);
        if let Some(wrong) = own.find(|sample| sample.status == Status::Wrong) {
            let why = wrong.error.clone().unwrap_or_default();
            course.agree(arm, Agreement::Different(why), None);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
