//! What an arm comes to over all queries beside its time: q-errors, P-errors, planning by phase, memory.

use serde::Serialize;

use crate::phases::PlanningPhases;
use crate::plan_errors::PErrors;
use crate::q_errors::{Judged, JudgedPlans};
use crate::quality::percentile;
use crate::query_summary::median_of;
use crate::record::{ArmRecord, Run, Sample};

/// One arm, or another system. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ArmMetrics {
    /// Of the joins of its plans, as far as estimate and count can be held against each other.
    pub(crate) q_error: Option<JoinErrors>,
    pub(crate) p_error_cout: Option<PlanErrors>,
    pub(crate) p_error_hashjoin: Option<PlanErrors>,
    /// Of a query, on average.
    pub(crate) planning: Option<PlanningPhases>,
    pub(crate) memory: Option<Memory>,
}

/// q-errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct JoinErrors {
    pub(crate) joins: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

/// P-errors of the plans of queries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct PlanErrors {
    pub(crate) queries: usize,
    /// Geometric.
    pub(crate) mean: f64,
    pub(crate) p90: f64,
    pub(crate) max: f64,
}

/// What the operators of a query had reserved at most, in bytes; of each query the median of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) mean_bytes: u64,
    pub(crate) max_bytes: u64,
}

/// In the order of the run's arms.
pub(crate) fn arm_metrics(
    run: &Run,
    samples: &[Sample],
    judged: &JudgedPlans<'_>,
) -> Vec<ArmMetrics> {
    let arms = run.arms.iter().enumerate();
    arms.map(|(at, arm)| ArmMetrics {
        q_error: join_errors(arm, judged),
        p_error_cout: plan_errors(run, at, |errors| errors.cout),
        p_error_hashjoin: plan_errors(run, at, |errors| errors.hashjoin),
        planning: planning(run, arm),
        memory: memory(run, arm, samples),
    })
    .collect()
}

/// The median over the runs that count.
pub(crate) fn peak_memory(query: &str, arm: &str, samples: &[Sample]) -> Option<u64> {
    let own: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.query == query && sample.arm == arm)
        .collect();
    let median = median_of(&own, |sample| sample.peak_memory_bytes.map(|b| b as f64));
    median.map(|bytes| bytes as u64)
}

fn join_errors(arm: &ArmRecord, judged: &JudgedPlans<'_>) -> Option<JoinErrors> {
    let own = judged.iter().filter(|((_, name), _)| *name == arm.name);
    let joins = own.flat_map(|(_, (_, joins))| joins);
    let mut errors: Vec<f64> = joins.map(Judged::q_error).collect();
    errors.sort_by(f64::total_cmp);
    (!errors.is_empty()).then(|| JoinErrors {
        joins: errors.len(),
        p50: percentile(&errors, 0.5),
        p95: percentile(&errors, 0.95),
        max: percentile(&errors, 1.0),
    })
}

fn plan_errors(run: &Run, arm: usize, error: impl Fn(&PErrors) -> f64) -> Option<PlanErrors> {
    let queries = run.summary.iter();
    let known = queries.filter_map(|query| query.arms.get(arm)?.p_error.as_ref());
    let mut errors: Vec<f64> = known.map(error).collect();
    errors.sort_by(f64::total_cmp);
    let logs: f64 = errors.iter().map(|error| error.ln()).sum();
    (!errors.is_empty()).then(|| PlanErrors {
        queries: errors.len(),
        mean: (logs / errors.len() as f64).exp(),
        p90: percentile(&errors, 0.9),
        max: percentile(&errors, 1.0),
    })
}

fn planning(run: &Run, arm: &ArmRecord) -> Option<PlanningPhases> {
    let arms = run.details.iter().flat_map(|query| &query.arms);
    let known = arms.filter(|own| own.arm == arm.name);
    let known: Vec<PlanningPhases> = known.filter_map(|own| own.planning).collect();
    let count = known.len() as u64;
    let mean = |part: fn(&PlanningPhases) -> u64| known.iter().map(part).sum::<u64>() / count;
    (count > 0).then(|| PlanningPhases {
        total_us: mean(|phases| phases.total_us),
        prepare_us: mean(|phases| phases.prepare_us),
        search_us: mean(|phases| phases.search_us),
        emit_us: mean(|phases| phases.emit_us),
        datafusion_us: mean(|phases| phases.datafusion_us),
    })
}

fn memory(run: &Run, arm: &ArmRecord, samples: &[Sample]) -> Option<Memory> {
    let queries = run.summary.iter();
    let peaks: Vec<u64> = queries
        .filter_map(|query| peak_memory(&query.query, &arm.name, samples))
        .collect();
    Some(Memory {
        max_bytes: peaks.iter().copied().max()?,
        mean_bytes: peaks.iter().sum::<u64>() / peaks.len() as u64,
    })
}
