//! Installation into a DataFusion session.

use super::{InjectStatistics, ReorderJoins};
use crate::options::JoinwrightOptions;
use crate::registry::Registry;
use crate::trace::TraceLog;
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use joinwright_stats::Catalog;
use std::sync::Arc;
use std::time::Duration;

/// What a session's join ordering is made of.
#[derive(Debug, Clone, Default)]
pub struct JoinOrdering {
    /// The parts that [`JoinwrightOptions`] choose from.
    pub registry: Registry,
    /// Where traces of optimized regions go, if anywhere.
    pub trace: Option<TraceLog>,
    /// A monotonic clock for the planning times in traces. No decision depends on it.
    pub clock: Option<fn() -> Duration>,
}

/// Adds join ordering to the builder of a session.
pub trait SessionStateBuilderExt {
    /// Installs the rule [`ReorderJoins`] right after DataFusion's `push_down_filter` (at the end if
    /// there is none) and the rule [`InjectStatistics`] right before its `join_selection` (first if
    /// there is none), and registers the options `joinwright.*`, unless the configuration has them
    /// already.
    ///
    /// Call it after the builder's own rules and configuration are set.
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
        let optimizer = self.optimizer().get_or_insert_with(Optimizer::new);
        let rule = ReorderJoins::new(Arc::clone(&catalog), ordering);
        let place = optimizer
            .rules
            .iter()
            .rposition(|r| r.name() == "push_down_filter")
            .map_or(optimizer.rules.len(), |p| p + 1);
        optimizer.rules.insert(place, Arc::new(rule));
        let physical = self
            .physical_optimizers()
            .get_or_insert_with(PhysicalOptimizer::new);
        let place = physical
            .rules
            .iter()
            .position(|r| r.name() == "join_selection")
            .unwrap_or(0);
        let rule = InjectStatistics::new(catalog);
        physical.rules.insert(place, Arc::new(rule));
        self
    }
}
