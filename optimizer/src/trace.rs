//! What the rule did to each region, as plain data. The harness renders it.

use crate::estimate::{Cardinalities, EstimateSource};
use crate::join_graph::{EdgeKind, JoinKind};
use crate::join_tree::JoinTree;
use crate::relset::RelSet;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One optimized region.
#[derive(Debug, Clone, Serialize)]
pub struct Trace {
    /// Number of the region in its query, in the order in which the rule met them: outer regions
    /// before the regions inside their leaves.
    pub region: usize,
    /// The leaves.
    pub relations: Vec<TraceRelation>,
    /// What connects them.
    pub edges: Vec<TraceEdge>,
    /// The tree the plan has now.
    pub tree: TraceTree,
    /// Its cost.
    pub cost: f64,
    /// The tree the query came with.
    pub written: TraceTree,
    /// Its cost under the same estimates.
    pub written_cost: f64,
    /// Whether `tree` is another one than `written`, in shape or in which input builds.
    pub reordered: bool,
    /// The share of plausible worlds in which the cheapest order found costs less than the written one, where the guard
    /// was asked. If it is too small `tree` is `written`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub won: Option<f64>,
    /// Csg-cmp-pairs or candidate joins looked at in one pass of the optimizer.
    pub pairs: u64,
    /// Why the search stopped, or why there was none.
    pub stop: String,
    /// Time for estimation and search in microseconds, in all passes, where the caller lent a clock.
    pub planning_us: Option<u64>,
    /// The estimator used.
    pub estimator: String,
    /// The enumerator used.
    pub enumerator: String,
    /// The cost model used.
    pub cost_model: String,
}

impl Trace {
    /// What a region is recognized by from pass to pass, whatever the order of its relations.
    fn sorted_aliases(&self) -> Vec<&str> {
        let mut aliases: Vec<&str> = self.relations.iter().map(|r| r.alias.as_str()).collect();
        aliases.sort_unstable();
        aliases
    }
}

/// A leaf of a region.
#[derive(Debug, Clone, Serialize)]
pub struct TraceRelation {
    /// Its name, unique in the region.
    pub alias: String,
    /// The table, if it is one.
    pub table: Option<String>,
    /// Its predicates, as SQL-like text.
    pub predicates: Vec<String>,
    /// Rows of the table before its predicates.
    pub base_rows: f64,
    /// Estimated rows after its predicates.
    pub est_rows: f64,
    /// Where the estimate came from.
    pub source: EstimateSource,
    /// Its table has files that its statistics do not cover, so that they were scaled.
    pub stale: bool,
}

/// A predicate between relations.
#[derive(Debug, Clone, Serialize)]
pub struct TraceEdge {
    /// The aliases of the relations it connects.
    pub relations: Vec<String>,
    /// Whether a hash join can use it.
    pub kind: EdgeKind,
    /// The kind of join it belongs to.
    pub join: JoinKind,
    /// The predicate, as SQL-like text.
    pub predicate: String,
}

/// A join tree with estimates.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TraceTree {
    /// The join of two trees.
    Join {
        /// The build side.
        left: Box<TraceTree>,
        /// The probe side.
        right: Box<TraceTree>,
        /// Estimated rows of the join.
        est_rows: f64,
        /// Where the estimate came from.
        source: EstimateSource,
    },
    /// A relation.
    Leaf {
        /// Its name.
        alias: String,
        /// Estimated rows after its predicates.
        est_rows: f64,
        /// Where the estimate came from.
        source: EstimateSource,
    },
}

impl TraceTree {
    /// A join tree with the estimates for its nodes.
    pub fn new(tree: &JoinTree, aliases: &[String], cardinalities: &dyn Cardinalities) -> Self {
        fn annotate(
            tree: &JoinTree,
            aliases: &[String],
            cardinalities: &dyn Cardinalities,
        ) -> (TraceTree, RelSet) {
            let (tree, set) = match tree {
                JoinTree::Leaf(index) => {
                    let set = RelSet::single(*index);
                    let estimate = cardinalities.estimate(set);
                    let leaf = TraceTree::Leaf {
                        alias: aliases.get(*index).cloned().unwrap_or_default(),
                        est_rows: estimate.rows,
                        source: estimate.source,
                    };
                    (leaf, set)
                }
                JoinTree::Join(left, right) => {
                    let (left, left_set) = annotate(left, aliases, cardinalities);
                    let (right, right_set) = annotate(right, aliases, cardinalities);
                    let set = left_set.union(right_set);
                    let estimate = cardinalities.estimate(set);
                    let join = TraceTree::Join {
                        left: Box::new(left),
                        right: Box::new(right),
                        est_rows: estimate.rows,
                        source: estimate.source,
                    };
                    (join, set)
                }
            };
            (tree, set)
        }
        annotate(tree, aliases, cardinalities).0
    }

    /// Where the estimate of the tree's root came from.
    pub fn source(&self) -> EstimateSource {
        match self {
            Self::Join { source, .. } | Self::Leaf { source, .. } => *source,
        }
    }

    /// Estimated rows of the tree's root.
    pub fn est_rows(&self) -> f64 {
        match self {
            Self::Join { est_rows, .. } | Self::Leaf { est_rows, .. } => *est_rows,
        }
    }
}

/// Where the time of planning a query goes, in all passes of the optimizer together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// Everything that this crate does between an optimized plan and the planner that makes operators of it.
    pub all: Duration,
    /// Of that, searches for join trees, with the estimates that they ask for.
    pub search: Duration,
    /// Of that, making plans of the trees found.
    pub emit: Duration,
}

/// A part of [`TimeSpent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    All,
    Search,
    Emit,
}

/// Keeps the traces of one query, to be taken before the next one is planned. Clones share one log.
#[derive(Debug, Clone, Default)]
pub struct TraceLog {
    traces: Arc<Mutex<Vec<Trace>>>,
    spent: Arc<Mutex<TimeSpent>>,
}

impl TraceLog {
    /// The time that the planned query took, where the caller lent a clock; zero afterwards.
    pub fn take_spent(&self) -> TimeSpent {
        std::mem::take(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn spend(&self, phase: Phase, time: Duration) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = match phase {
            Phase::All => &mut spent.all,
            Phase::Search => &mut spent.search,
            Phase::Emit => &mut spent.emit,
        };
        *spent += time;
    }

    /// The regions of the planned query; the log is empty afterwards.
    pub fn take(&self) -> Vec<Trace> {
        std::mem::take(&mut *self.traces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in the regions of one pass of the optimizer, in place of those of the pass before.
    ///
    /// The optimizer runs its rules up to three times. What the last pass leaves is the plan, but
    /// what it found was the order that the passes before had chosen: the order in which the query came
    /// is known to the first pass alone, and is carried on from there.
    pub(crate) fn pass(&self, mut traces: Vec<Trace>) {
        let mut known = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        for earlier in known.iter() {
            let aliases = earlier.sorted_aliases();
            if let Some(trace) = traces.iter_mut().find(|t| t.sorted_aliases() == aliases) {
                trace.reordered |= earlier.reordered;
                trace.written = earlier.written.clone();
                trace.written_cost = earlier.written_cost;
                trace.planning_us = trace
                    .planning_us
                    .zip(earlier.planning_us)
                    .map(|(a, b)| a + b);
            }
        }
        *known = traces;
    }
}
