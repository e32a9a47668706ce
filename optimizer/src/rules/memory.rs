//! What earlier passes of the optimizer decided about the query it is planning.
//!
//! The optimizer runs its rules up to three times. A region that comes again as an earlier pass left it would be estimated and
//! searched again, with the same result.

use super::reorder_joins::readable;
use crate::estimate::Evaluations;
use crate::extract::Region;
use crate::join_tree::JoinTree;
use crate::options::JoinwrightOptions;
use crate::trace::Trace;
use datafusion::common::HashMap;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::optimizer::OptimizerConfig;
use joinwright_stats::Snapshot;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Queries that are remembered: as many may be planned at once without doing work twice.
const QUERIES: usize = 64;

/// Regions that are remembered of one query: a session state that plans many queries looks like one query.
const REGIONS: usize = 1024;

/// Tells one query from others.
#[derive(Debug, Clone)]
pub(super) struct QueryId {
    /// When the session began to plan it, in nanoseconds.
    start: i64,
    /// The statistics that it is planned with.
    snapshot: Weak<Snapshot>,
    options: String,
}

impl PartialEq for QueryId {
    fn eq(&self, other: &Self) -> bool {
        self.start == other.start
            && self.snapshot.ptr_eq(&other.snapshot)
            && self.options == other.options
    }
}

impl QueryId {
    /// `None` if the session does not say when it began.
    pub(super) fn new(
        config: &dyn OptimizerConfig,
        snapshot: &Arc<Snapshot>,
        options: &JoinwrightOptions,
    ) -> Option<Self> {
        Some(Self {
            start: config.query_execution_start_time()?.timestamp_nanos_opt()?,
            snapshot: Arc::downgrade(snapshot),
            options: format!("{options:?}"),
        })
    }
}

/// A region as it stands in a plan: its tree, with relations and predicates in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RegionText(String);

impl RegionText {
    /// The text of a region whose relations are joined as `tree` says.
    pub(super) fn new(region: &Region, tree: &JoinTree) -> Self {
        let mut text = String::new();
        write_tree(tree, region, &mut text);
        let mut predicates: Vec<String> = vec![];
        for class in &region.classes {
            let mut members: Vec<String> = class
                .members
                .iter()
                .map(|member| readable(&member.key, region))
                .collect();
            members.sort_unstable();
            predicates.push(members.join(" = "));
        }
        let filters = region.filters.iter();
        predicates.extend(filters.map(|filter| readable(&filter.predicate, region)));
        let operators = region.operators.iter().map(|operator| {
            let condition = operator.join.condition();
            let condition = condition.map_or_else(String::new, |e| readable(&e, region));
            format!(
                "{} {:?} {:?} {condition}",
                operator.place.kind.as_str(),
                operator.place.left,
                operator.place.right
            )
        });
        predicates.extend(operators);
        predicates.sort_unstable();
        for predicate in predicates {
            text.push('\n');
            text.push_str(&predicate);
        }
        Self(text)
    }
}

fn write_tree(tree: &JoinTree, region: &Region, text: &mut String) {
    match tree {
        JoinTree::Join(left, right) => {
            text.push('(');
            write_tree(left, region, text);
            text.push(' ');
            write_tree(right, region, text);
            text.push(')');
        }
        JoinTree::Leaf(index) => {
            let Some(relation) = region.graph.relations.get(*index) else {
                return;
            };
            let split = relation.predicates.iter().flat_map(split_conjunction);
            let mut predicates: Vec<String> = split.map(ToString::to_string).collect();
            predicates.sort_unstable();
            predicates.dedup();
            // Writing to a string does not fail.
            let _ = write!(text, "{} {:?}", relation.alias, relation.table);
            let _ = write!(text, " {} {predicates:?}", relation.base.rows);
            for membership in &relation.memberships {
                let _ = write!(text, " {:?} {}", membership.keys, membership.share);
            }
        }
    }
}

/// Queries whose evaluated predicates are remembered.
const EVALUATED: usize = 4;

/// What was decided, by query and region.
#[derive(Debug, Default)]
pub(super) struct Memory {
    queries: Mutex<VecDeque<(QueryId, HashMap<RegionText, Trace>)>>,
    evaluations: Mutex<VecDeque<(QueryId, Evaluations)>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(QueryId, HashMap<RegionText, Trace>)>> {
        // Nothing is left half done where it is held.
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What earlier passes evaluated; the last pass takes it.
    pub(super) fn evaluations(&self, query: &QueryId, last: bool) -> Evaluations {
        let evaluations = self.evaluations.lock();
        let mut evaluations = evaluations.unwrap_or_else(PoisonError::into_inner);
        let place = evaluations.iter().position(|known| known.0 == *query);
        if let Some((_, known)) = place.and_then(|place| evaluations.remove(place)) {
            if !last {
                evaluations.push_back((query.clone(), known.clone()));
            }
            return known;
        }
        let new = Evaluations::default();
        if !last {
            if evaluations.len() == EVALUATED {
                evaluations.pop_front();
            }
            evaluations.push_back((query.clone(), new.clone()));
        }
        new
    }

    /// The decision to leave a region as it stands, if an earlier pass left it so.
    pub(super) fn settled(&self, query: &QueryId, region: &RegionText) -> Option<Trace> {
        let queries = self.lock();
        let known = queries.iter().find(|known| known.0 == *query)?;
        known.1.get(region).cloned()
    }

    /// Remembers a region as a pass leaves it.
    pub(super) fn settle(&self, query: &QueryId, region: RegionText, trace: Trace) {
        let mut queries = self.lock();
        if let Some(known) = queries.iter_mut().find(|known| known.0 == *query) {
            if known.1.len() == REGIONS {
                known.1.clear();
            }
            known.1.insert(region, trace);
            return;
        }
        if queries.len() == QUERIES {
            queries.pop_front();
        }
        queries.push_back((query.clone(), HashMap::from_iter([(region, trace)])));
    }
}
