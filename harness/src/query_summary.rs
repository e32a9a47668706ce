//! What `run.json` says of each query: medians, how it ended, how good its plans are.

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::arm_metrics::peak_memory;
use crate::plan_errors::PErrors;
use crate::record::{Sample, Status};

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
    /// What its operators had reserved at most. Other systems do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peak_memory_bytes: Option<u64>,
    /// The largest q-error of the joins of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worst_q_error: Option<f64>,
    /// How good its plan is, where the suite knows the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) p_error: Option<PErrors>,
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
            peak_memory_bytes: peak_memory(query, arm, samples),
            worst_q_error: None,
            p_error: None,
            same_rows: agreement.as_ref().map(Agreement::label),
            error: bad.and_then(|sample| sample.error.clone()),
        }
    };
    QuerySummary {
        query: query.to_owned(),
        arms: arms.iter().zip(agreements).map(summarize_arm).collect(),
    }
}

pub(crate) fn median_of(
    samples: &[&Sample],
    value: impl Fn(&Sample) -> Option<f64>,
) -> Option<f64> {
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
}
