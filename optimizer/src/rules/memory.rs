//! What earlier passes of the optimizer decided about the query it is planning.
//!
//! The optimizer runs its rules up to three times. A region that comes again as an earlier pass left it would be estimated and
//! searched again, with the same result.

use crate::derive::Known;
use crate::extract::RegionText;
use crate::options::JoinwrightOptions;
use crate::trace::Trace;
use datafusion::common::HashMap;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerConfig;
use joinwright_stats::Snapshot;
use std::collections::VecDeque;
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

/// Queries of which more is remembered than what was decided.
const FOUND: usize = 4;

/// The relative difference between rows that are taken for the same.
const SAME_ROWS: f64 = 0.01;

/// A region as a pass leaves it, by its shape.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) text: RegionText,
    /// Of its relations, in the order of its tree.
    pub(super) rows: Vec<f64>,
    pub(super) trace: Trace,
}

/// The decisions about one query.
#[derive(Debug, Default)]
struct Decisions {
    /// Regions as a pass left them.
    settled: HashMap<RegionText, Trace>,
    /// The same by their shapes, with the rows of their relations.
    shapes: HashMap<RegionText, (Vec<f64>, Trace)>,
}

/// What was found out about a query while it is planned.
#[derive(Debug, Clone, Default)]
struct Found {
    known: Known,
    /// The plan that the last pass made, with its traces.
    left: Option<(LogicalPlan, Vec<Trace>)>,
}

/// What was decided, by query and region.
#[derive(Debug, Default)]
pub(super) struct Memory {
    queries: Mutex<VecDeque<(QueryId, Decisions)>>,
    found: Mutex<VecDeque<(QueryId, Found)>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(QueryId, Decisions)>> {
        // Nothing is left half done where it is held.
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What earlier passes found out; the last pass takes it.
    pub(super) fn known(&self, query: &QueryId, last: bool) -> Known {
        if !last {
            return self.with_found(query, |found| found.known.clone());
        }
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|found| found.0 == *query);
        let found = place.and_then(|place| all.remove(place));
        found.map_or_else(Known::default, |found| found.1.known)
    }

    /// The traces of the last pass, if this is the plan that it made.
    pub(super) fn as_left(&self, query: &QueryId, plan: &LogicalPlan) -> Option<Vec<Trace>> {
        self.with_found(query, |found| {
            let left = found.left.as_ref().filter(|left| left.0 == *plan);
            left.map(|left| left.1.clone())
        })
    }

    /// Remembers the plan that a pass made.
    pub(super) fn leave(&self, query: &QueryId, plan: LogicalPlan, traces: Vec<Trace>) {
        self.with_found(query, |found| found.left = Some((plan, traces)));
    }

    fn with_found<T>(&self, query: &QueryId, read: impl FnOnce(&mut Found) -> T) -> T {
        // Nothing is left half done where it is held.
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|found| found.0 == *query);
        let mut found = match place.and_then(|place| all.remove(place)) {
            Some(found) => found.1,
            None => Found::default(),
        };
        let result = read(&mut found);
        if all.len() >= FOUND {
            all.pop_front();
        }
        all.push_back((query.clone(), found));
        result
    }

    /// The decision to leave a region as it stands, if an earlier pass left it so.
    pub(super) fn settled(&self, query: &QueryId, region: &RegionText) -> Option<Trace> {
        let queries = self.lock();
        let decisions = queries.iter().find(|known| known.0 == *query)?;
        decisions.1.settled.get(region).cloned()
    }

    /// The decision to leave a region as it stands, if an earlier pass left one of its shape whose relations had as many rows. Rules
    /// between the passes write predicates in other words, and add some that follow from others.
    pub(super) fn settled_alike(
        &self,
        query: &QueryId,
        shape: &RegionText,
        rows: &[f64],
    ) -> Option<Trace> {
        let queries = self.lock();
        let decisions = queries.iter().find(|known| known.0 == *query)?;
        let (before, trace) = decisions.1.shapes.get(shape)?;
        let alike = |(a, b): (&f64, &f64)| (a - b).abs() <= SAME_ROWS * a.max(*b);
        let same = before.len() == rows.len() && before.iter().zip(rows).all(alike);
        same.then(|| trace.clone())
    }

    /// Remembers a region as a pass leaves it.
    pub(super) fn settle(&self, query: &QueryId, region: RegionText, trace: Trace) {
        self.with_decisions(query, |decisions| {
            if decisions.settled.len() == REGIONS {
                decisions.settled.clear();
            }
            decisions.settled.insert(region, trace);
        });
    }

    /// Remembers the regions of a whole pass by their shapes. Not before its end: two regions of a query may have the same shape and
    /// as many rows, and yet other predicates.
    pub(super) fn settle_shapes(&self, query: &QueryId, shapes: Vec<Shape>) {
        if shapes.is_empty() {
            return;
        }
        self.with_decisions(query, |decisions| {
            if decisions.shapes.len() >= REGIONS {
                decisions.shapes.clear();
            }
            let shapes = shapes.into_iter();
            decisions
                .shapes
                .extend(shapes.map(|shape| (shape.text, (shape.rows, shape.trace))));
        });
    }

    fn with_decisions(&self, query: &QueryId, change: impl FnOnce(&mut Decisions)) {
        let mut queries = self.lock();
        if !queries.iter().any(|known| known.0 == *query) {
            if queries.len() == QUERIES {
                queries.pop_front();
            }
            queries.push_back((query.clone(), Decisions::default()));
        }
        if let Some((_, decisions)) = queries.iter_mut().find(|known| known.0 == *query) {
            change(decisions);
        }
    }
}
