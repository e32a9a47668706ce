//! Installation into a DataFusion session.

use super::null_equality::KeepNullEquality;
use super::planner::EstimatingPlanner;
use super::{InjectStatistics, KeepStrayFilters, ReorderJoins, SelectJoins, ShareSpools};
use crate::cost::CostConstants;
use crate::options::JoinwrightOptions;
use crate::registry::Registry;
use crate::trace::{Phase, TraceLog};
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use joinwright_stats::Catalog;
use std::sync::Arc;
use std::time::Duration;

/// The name of DataFusion's physical rule that picks build sides.
const JOIN_SELECTION: &str = "join_selection";
/// The name of its rule that takes adjacent inner joins apart.
const ELIMINATE_CROSS_JOIN: &str = "eliminate_cross_join";
/// How the names of those begin that hand filters down; the last one hands down those of joins.
const FILTER_PUSHDOWN: &str = "FilterPushdown";

/// What a session's join ordering is made of.
#[derive(Debug, Clone, Default)]
pub struct JoinOrdering {
    /// The parts that [`JoinwrightOptions`] choose from.
    pub registry: Registry,
    /// What the steps of joins and scans cost, by which [`SelectJoins`] decides. Those of the cost model `hashjoin` are the
    /// registry's.
    pub constants: CostConstants,
    /// Where traces of optimized regions go, if anywhere.
    pub trace: Option<TraceLog>,
    /// A monotonic clock for the planning times in traces. No decision depends on it.
    pub clock: Option<fn() -> Duration>,
}

impl JoinOrdering {
    /// Does a part of the work, and adds its time to the trace, where there are a clock and a trace.
    pub(super) fn timed<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let (Some(clock), Some(trace)) = (self.clock, &self.trace) else {
            return work();
        };
        let start = clock();
        let done = work();
        trace.spend(phase, clock().saturating_sub(start));
        done
    }
}

/// Adds join ordering to the builder of a session.
pub trait SessionStateBuilderExt {
    /// Installs the rule [`ReorderJoins`] right after DataFusion's `push_down_filter` (at the end if
    /// there is none), one that keeps its `eliminate_cross_join` from mixing joins up, the rule [`SelectJoins`] in the place of its `join_selection` (first if there is none) and
    /// the rule [`InjectStatistics`] right before it, [`KeepStrayFilters`] before the last `FilterPushdown`,
    /// [`ShareSpools`] last, and a query planner around the one that the builder has, which hands our estimates to
    /// `SelectJoins`; and registers the options `joinwright.*`, unless the configuration has them already. Equal
    /// sub-plans are shared where the builder has no query planner of its own.
    ///
    /// Call it after the builder's own rules, query planner and configuration are set.
    #[must_use]
    fn with_join_ordering(self, catalog: Arc<Catalog>, ordering: JoinOrdering) -> Self;
}

impl SessionStateBuilderExt for SessionStateBuilder {
    fn with_join_ordering(mut self, catalog: Arc<Catalog>, ordering: JoinOrdering) -> Self {
        let extensions = &mut self
            .config()
            .get_or_insert_default()
            .options_mut()
            .extensions;
        if extensions.get::<JoinwrightOptions>().is_none() {
            extensions.insert(JoinwrightOptions::default());
        }
        let planner = self.query_planner().take();
        let optimizer = self.optimizer().get_or_insert_with(Optimizer::new);
        let constants = ordering.constants;
        let rule = ReorderJoins::new(Arc::clone(&catalog), ordering).with_spools(planner.is_none());
        let rule = Arc::new(rule);
        let place = optimizer
            .rules
            .iter()
            .rposition(|r| r.name() == "push_down_filter")
            .map_or(optimizer.rules.len(), |p| p + 1);
        optimizer.rules.insert(place, Arc::clone(&rule) as _);
        let mut rules = optimizer.rules.iter();
        if let Some(place) = rules.position(|r| r.name() == ELIMINATE_CROSS_JOIN) {
            let keep = Arc::new(KeepNullEquality::default());
            optimizer.rules.insert(place, keep);
        }
        let physical = self
            .physical_optimizers()
            .get_or_insert_with(PhysicalOptimizer::new);
        let place = physical
            .rules
            .iter()
            .position(|r| r.name() == JOIN_SELECTION)
            .unwrap_or(0);
        let selection: Arc<dyn PhysicalOptimizerRule + Send + Sync> =
            Arc::new(SelectJoins::new(constants));
        match physical.rules.get_mut(place) {
            Some(place) if place.name() == JOIN_SELECTION => *place = selection,
            _ => physical.rules.insert(place, selection),
        }
        let injection = InjectStatistics::new(catalog);
        physical.rules.insert(place, Arc::new(injection));
        let hands_down = |rule: &Arc<dyn PhysicalOptimizerRule + Send + Sync>| {
            rule.name().starts_with(FILTER_PUSHDOWN)
        };
        if let Some(place) = physical.rules.iter().rposition(hands_down) {
            let keep = Arc::new(KeepStrayFilters::default());
            physical.rules.insert(place, keep);
        }
        physical.rules.push(Arc::new(ShareSpools::default()));
        *self.query_planner() = Some(Arc::new(EstimatingPlanner::new(rule, planner)));
        self
    }
}
