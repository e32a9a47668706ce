//! One walk over a plan: every region of joins, the inner ones first.

use super::JoinOrdering;
use super::common::CommonJoins;
use super::memory::{Memory, QueryId, Shape};
use super::region::aliases;
use crate::cost::CostModel;
use crate::derive::Deriver;
use crate::enumerate::{Enumerator, ForcedTree, HintError, JoinHint};
use crate::estimate::CardinalityEstimator;
use crate::extract::{self, Expansion, Kinds, Region};
use crate::options::JoinwrightOptions;
use crate::trace::{Trace, TraceTree};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result, plan_err};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use joinwright_stats::Snapshot;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// The parts that the options name.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    pub(super) estimator: &'a dyn CardinalityEstimator,
    pub(super) enumerator: Arc<dyn Enumerator>,
    pub(super) cost: Arc<dyn CostModel>,
}

impl<'a> Parts<'a> {
    /// Of a query in so many partitions, where it is known in how many.
    pub(super) fn choose(
        ordering: &'a JoinOrdering,
        options: &JoinwrightOptions,
        partitions: Option<usize>,
    ) -> Option<Self> {
        let registry = &ordering.registry;
        let parts = (|| {
            let cost = registry.cost_model(&options.cost)?;
            let fitting = partitions.and_then(|partitions| cost.for_partitions(partitions));
            Some(Self {
                estimator: registry.estimator(&options.estimator)?.as_ref(),
                enumerator: registry.enumerator(&options.enumerator)?,
                cost: fitting.unwrap_or_else(|| Arc::clone(cost)),
            })
        })();
        if parts.is_none() {
            tracing::warn!(?options, "an unknown part is named: joins stay as written");
        }
        parts
    }
}

/// One walk over a plan.
pub(super) struct Pass<'a> {
    pub(super) ordering: &'a JoinOrdering,
    pub(super) options: &'a JoinwrightOptions,
    pub(super) parts: Parts<'a>,
    pub(super) deriver: Deriver<'a>,
    traces: Vec<Trace>,
    pub(super) memory: Option<(&'a Memory, QueryId)>,
    /// What later passes are to know of this one's regions.
    pub(super) shapes: Vec<Shape>,
    pub(super) hint: Option<JoinHint>,
    /// What the regions of the plan have in common, if spools can share it.
    pub(super) common: RefCell<Vec<CommonJoins>>,
    /// Names of the columns that any node of the plan uses, if they are known. In the first pass of the optimizer all columns of all
    /// tables are still there.
    used_columns: Option<Arc<HashSet<String>>>,
    /// Whether a region had the relations of the hint.
    hint_obeyed: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        ordering: &'a JoinOrdering,
        options: &'a JoinwrightOptions,
        parts: Parts<'a>,
    ) -> Self {
        Self {
            ordering,
            options,
            deriver: Deriver::new(snapshot, parts.estimator, false),
            parts,
            traces: vec![],
            memory: None,
            shapes: vec![],
            hint: None,
            common: RefCell::default(),
            used_columns: None,
            hint_obeyed: false,
        }
    }

    /// Goes on from what earlier passes did, if the query is known. The last pass leaves behind only what was decided.
    pub(super) fn remember(&mut self, memory: Option<(&'a Memory, QueryId)>, last: bool) {
        if let Some((memory, query)) = &memory {
            self.deriver.set_known(memory.known(query, last));
        }
        self.memory = memory;
    }

    /// Tells the names of the columns that any node of the plan uses.
    pub(super) fn use_columns(&mut self, used: Arc<HashSet<String>>) {
        self.deriver.set_used(Some(Arc::clone(&used)));
        self.used_columns = Some(used);
    }

    /// The same, if they matter to the cost model.
    pub(super) fn width_columns(&self) -> Option<&HashSet<String>> {
        let used = self.used_columns.as_deref();
        used.filter(|_| self.parts.cost.uses_widths())
    }

    pub(super) fn deriver(&self) -> &Deriver<'a> {
        &self.deriver
    }

    /// The tree of a region as it stands, with its rows.
    pub(super) fn written_rows(&self, region: &Region) -> TraceTree {
        if let Some(trace) = self.settled(region) {
            return trace.tree;
        }
        let inner = self.parts.estimator.prepare(&region.graph);
        TraceTree::new(
            &region.written,
            &aliases(region),
            self.with_operators(inner, region).as_ref(),
        )
    }

    /// An error if the hint concerns none of the regions. Queries without a join are left in peace.
    pub(super) fn check_hint(&self) -> Result<()> {
        match &self.hint {
            Some(hint) if !self.hint_obeyed && !self.traces.is_empty() => plan_err!(
                "no join region has the relations of the join hint: {}",
                hint.aliases().join(", ")
            ),
            _ => Ok(()),
        }
    }

    /// The traces, numbered.
    pub(super) fn into_traces(mut self) -> Vec<Trace> {
        for (region, trace) in self.traces.iter_mut().enumerate() {
            trace.region = region;
        }
        self.traces
    }

    /// Reorders every region at or below a node, the inner ones first.
    #[recursive::recursive]
    pub(super) fn rewrite(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if extract::is_large(&plan) {
            return self.rewrite_large(plan);
        }
        let Some(expansion) = Expansion::of(&plan, Kinds::All) else {
            return self.rewrite_children(plan);
        };
        // The trace of an outer region comes before those of the regions in its leaves.
        let place = self.traces.len();
        let plan = self.rewrite_leaves(&plan, &expansion)?;
        Ok(match self.region(&plan.data)? {
            Some((trace, better)) => {
                self.traces.insert(place, trace);
                match better {
                    Some(better) => Transformed::yes(better),
                    None => plan,
                }
            }
            None => plan,
        })
    }

    /// Reorders a region of many relations, and all regions in its leaves.
    fn rewrite_large(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let place = self.traces.len();
        let plan = extract::map_leaves(plan, true, &mut |leaf| Ok(self.rewrite(leaf)?.data))?;
        let region = match extract::large_region(&plan, &self.deriver) {
            Ok(region) => region,
            Err(error) => {
                tracing::warn!(%error, "a large join region is left as it is");
                return Ok(Transformed::yes(plan));
            }
        };
        let names: Vec<String> = region.relations.iter().map(|r| r.alias.clone()).collect();
        let forced = self.forced(&names)?;
        Ok(Transformed::yes(
            match self.large_region(&region, &plan, forced.as_ref()) {
                Ok((trace, better)) => {
                    self.traces.insert(place, trace);
                    better.unwrap_or(plan)
                }
                Err(error) if forced.is_some() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a large join region is left as it is");
                    plan
                }
            },
        ))
    }

    fn rewrite_children(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        plan.map_uncorrelated_subqueries(|p| self.rewrite(p))?
            .transform_sibling(|plan| plan.map_children(|p| self.rewrite(p)))?
            .transform_data(exact_columns)
    }

    /// The region's plan with its leaves rewritten, its joins as they are.
    #[recursive::recursive]
    fn rewrite_leaves(
        &mut self,
        plan: &LogicalPlan,
        expansion: &Expansion,
    ) -> Result<Transformed<LogicalPlan>> {
        if !expansion.continues_in(plan) {
            return self.rewrite(plan.clone());
        }
        let mut changed = false;
        let mut inputs = vec![];
        for input in plan.inputs() {
            let input = self.rewrite_leaves(input, expansion)?;
            changed |= input.transformed;
            inputs.push(input.data);
        }
        if !changed {
            return Ok(Transformed::no(plan.clone()));
        }
        // The inputs have the schemas they had, so the nodes above keep theirs.
        let mut inputs = inputs.into_iter();
        let plan = plan.clone().map_children(|old| {
            let new = inputs.next().unwrap_or(old);
            Ok(Transformed::yes(new))
        })?;
        Ok(Transformed::yes(plan.data))
    }

    /// What the hint asks of a region with relations of these names, if it concerns it.
    pub(super) fn forced(&mut self, known: &[String]) -> Result<Option<ForcedTree>> {
        let Some(hint) = &self.hint else {
            return Ok(None);
        };
        if !hint.aliases().iter().any(|alias| known.contains(alias)) {
            return Ok(None);
        }
        self.hint_obeyed = true;
        hint.resolve(known).map(Some).map_err(hint_error)
    }
}

/// A filter with its columns qualified as its input has them.
///
/// `eliminate_join` can give the mark of a mark join a qualifier that it had not, when filters above already use it without. That
/// resolves, until a projection comes between, as a new order brings: `push_down_filter` looks there for exact names, and leaves
/// a column that it does not find pointing nowhere.
fn exact_columns(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let schema = filter.input.schema();
    let predicate = filter.predicate.clone().transform(|expr| {
        let exact = match &expr {
            Expr::Column(column) if column.relation.is_none() => {
                schema.qualified_fields_with_unqualified_name(&column.name)
            }
            _ => return Ok(Transformed::no(expr)),
        };
        Ok(match exact[..] {
            [(Some(qualifier), field)] => {
                let column = Column::new(Some(qualifier.clone()), field.name());
                Transformed::yes(Expr::Column(column))
            }
            _ => Transformed::no(expr),
        })
    })?;
    if !predicate.transformed {
        return Ok(Transformed::no(plan));
    }
    let filter = Filter::try_new(predicate.data, Arc::clone(&filter.input))?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

pub(super) fn hint_error(error: HintError) -> DataFusionError {
    DataFusionError::Plan(error.to_string())
}
