//! q-errors of the joins of plans that ran: what was expected against what was counted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::details::{ArmDetails, QueryDetails};
use crate::operators::Operator;
use crate::quality::{percentile, q_error};
use crate::record::{ArmRecord, Run};

/// Joins of this many relations and more share a box.
const MOST_RELATIONS: usize = 9;

/// What is known by query and arm.
pub(crate) type ByCell<'a, T> = BTreeMap<(&'a str, &'a str), T>;

/// The joins of plans by query and arm.
pub(crate) type JudgedPlans<'a> = ByCell<'a, (Coverage, Vec<Judged>)>;

/// How many joins of an arm's plans have an estimate and a count that can be held against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Coverage {
    pub(crate) joins: usize,
    /// Whose rows a LIMIT or a filter from above may have cut.
    pub(crate) cut: usize,
    /// Without an estimate or a count.
    pub(crate) unknown: usize,
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
pub(crate) struct Judged {
    relations: usize,
    estimated: f64,
    counted: f64,
}

impl Judged {
    pub(crate) fn q_error(&self) -> f64 {
        q_error(self.estimated, self.counted)
    }
}

/// The largest q-error of a plan's joins.
pub(crate) fn worst(joins: &[Judged]) -> Option<f64> {
    joins.iter().map(Judged::q_error).max_by(f64::total_cmp)
}

/// The largest q-error of the joins of an arm's plan of a query.
pub(crate) fn worst_of(details: &QueryDetails, arm: &str) -> Option<f64> {
    let own = details.arms.iter().find(|own| own.arm == arm)?;
    let plan = details.plans.get(own.plan)?;
    worst(&judge_plan(&plan.operators, own).1)
}

/// The joins of all plans, by query and arm.
pub(crate) fn judge(run: &Run) -> JudgedPlans<'_> {
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

pub(crate) fn judge_plan(operators: &[Operator], arm: &ArmDetails) -> (Coverage, Vec<Judged>) {
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

pub(crate) fn boxes(arms: &[ArmRecord], judged: &JudgedPlans<'_>) -> Vec<QErrors> {
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
        let mut errors: Vec<f64> = joins.iter().map(Judged::q_error).collect();
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
            planning: None,
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
}
