//! The plan table of dynamic programs: the best known plan of every set.
//!
//! A plan is its cost, its rows and its left input: four words, no pointer. Trees are made of the table once, at the
//! end. For few relations the table is an array over all sets.

use super::{Problem, cheaper_orientation};
use crate::cost::JoinRows;
use crate::join_graph::Link;
use crate::join_tree::JoinTree;
use crate::relset::RelSet;
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// The best known plan of a set.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Cost of the plan's joins.
    cost: f64,
    /// Rows of the set, whatever the plan; NaN while there is no plan.
    rows: f64,
    /// The left input; empty for a single relation.
    left: RelSet,
    /// What equalities connect with the set.
    keyed: RelSet,
}

const UNKNOWN: Plan = Plan {
    cost: f64::INFINITY,
    rows: f64::NAN,
    left: RelSet::EMPTY,
    keyed: RelSet::EMPTY,
};

/// An array over all sets has to be used for a quarter at least, unless it is small anyway.
const DENSE_SHARE: u64 = 4;
const SMALL_RELATIONS: usize = 11;
const MOST_DENSE_RELATIONS: usize = 22;

/// Best plans by set of relations.
pub(super) struct PlanTable<'a> {
    problem: &'a Problem<'a>,
    plans: Plans,
}

enum Plans {
    Dense(Vec<Plan>),
    Sparse(HashMap<RelSet, Plan, FixedState>),
}

impl Plans {
    fn get(&self, set: RelSet) -> Plan {
        match self {
            Self::Dense(plans) => plans[set.bits() as usize],
            Self::Sparse(plans) => plans.get(&set).copied().unwrap_or(UNKNOWN),
        }
    }

    fn get_mut(&mut self, set: RelSet) -> &mut Plan {
        match self {
            Self::Dense(plans) => &mut plans[set.bits() as usize],
            Self::Sparse(plans) => plans.entry(set).or_insert(UNKNOWN),
        }
    }
}

impl<'a> PlanTable<'a> {
    /// A table with the plans of single relations, for a search that will look at some `pairs` pairs.
    pub(super) fn new(problem: &'a Problem<'a>, pairs: u64) -> Self {
        let n = problem.graph.len();
        let dense = n <= SMALL_RELATIONS
            || (n <= MOST_DENSE_RELATIONS && pairs.saturating_mul(DENSE_SHARE) >= 1 << n);
        let mut plans = match dense {
            true => Plans::Dense(vec![UNKNOWN; 1 << n]),
            false => Plans::Sparse(HashMap::default()),
        };
        for relation in 0..n {
            let set = RelSet::single(relation);
            *plans.get_mut(set) = Plan {
                cost: 0.0,
                rows: problem.cardinalities.rows(set),
                left: RelSet::EMPTY,
                keyed: problem.graph.keyed_neighbors(set),
            };
        }
        Self { problem, plans }
    }

    /// Whether the set has a plan.
    pub(super) fn has(&self, set: RelSet) -> bool {
        !self.plans.get(set).rows.is_nan()
    }

    /// The cost of the best known plan; infinite if there is none.
    pub(super) fn cost(&self, set: RelSet) -> f64 {
        self.plans.get(set).cost
    }

    /// Considers the inner join of two sets that plain edges connect and that have plans.
    pub(super) fn offer(&mut self, a: RelSet, b: RelSet) {
        let (plan_a, plan_b) = (self.plans.get(a), self.plans.get(b));
        let keyed = plan_a.keyed.intersects(b);
        self.consider(a, plan_a, b, plan_b, keyed);
    }

    /// Considers the join of two sets that have plans.
    pub(super) fn offer_link(&mut self, a: RelSet, b: RelSet, link: Link) {
        let (plan_a, plan_b) = (self.plans.get(a), self.plans.get(b));
        self.consider(a, plan_a, b, plan_b, link.keyed);
    }

    fn consider(&mut self, a: RelSet, plan_a: Plan, b: RelSet, plan_b: Plan, keyed: bool) {
        let set = a.union(b);
        let known = self.plans.get_mut(set);
        let inputs = plan_a.cost + plan_b.cost;
        let rows = match known.rows.is_nan() {
            true => self.problem.cardinalities.rows(set),
            // No join costs less than nothing.
            false if inputs >= known.cost => return,
            false => known.rows,
        };
        let (left_width, right_width) = self.problem.widths(a, b);
        let (cost, a_left) = cheaper_orientation(
            self.problem.cost,
            JoinRows {
                left: plan_a.rows,
                right: plan_b.rows,
                output: rows,
                left_width,
                right_width,
                keyed,
            },
            a.first().cmp(&b.first()),
        );
        let cost = inputs + cost;
        // The first of equally cheap plans stays, whatever hashing does: enumeration has an order. A cost that
        // overflowed to infinity must still leave a plan behind.
        if cost < known.cost || known.rows.is_nan() {
            *known = Plan {
                cost,
                rows,
                left: if a_left { a } else { b },
                keyed: plan_a.keyed.union(plan_b.keyed),
            };
        }
    }

    /// The best tree of a set that has a plan.
    pub(super) fn tree(&self, set: RelSet) -> JoinTree {
        let left = self.plans.get(set).left;
        if left.is_empty() {
            debug_assert_eq!(set.len(), 1, "no plan for {set:?}");
            return JoinTree::Leaf(set.first().unwrap_or(0));
        }
        JoinTree::join(self.tree(left), self.tree(set.minus(left)))
    }
}
