//! `ReorderJoins`: a cheaper order for every region of joins.
//!
//! The rule runs right after `push_down_filter`: later than `eliminate_cross_join`, which flattens
//! whatever order there was, and before projections are pruned. It is idempotent: the optimizer runs
//! its rules up to three times, and the last word must be the same as the first.

use super::JoinOrdering;
use super::join_estimates::JoinEstimate;
use super::memory::{Memory, QueryId, Shape};
use crate::cost::CostModel;
use crate::cost::value_width;
use crate::derive::Deriver;
use crate::emit::{class_equality, emit};
use crate::enumerate::{
    Enumerator, ForcedTree, HintError, JoinHint, Problem, Solution, Written, constrain,
    with_products,
};
use crate::estimate::{Bound, Cardinalities, CardinalityEstimator, OperatorRows, WithOperators};
use crate::extract::{self, Expansion, Kinds, Region, RegionText, readable};
use crate::guard::{is_reckless, share_won};
use crate::join_graph::{EdgeKind, JoinKind};
use crate::join_tree::JoinTree;
use crate::options::JoinwrightOptions;
use crate::relset::RelSet;
use crate::trace::{Trace, TraceEdge, TraceRelation, TraceTree};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result, plan_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use joinwright_stats::{Catalog, Snapshot};
use std::collections::HashSet;
use std::sync::Arc;

/// The optimizer rule. A plan that it has nothing to offer for, or does not understand, it returns
/// as it was.
#[derive(Debug)]
pub struct ReorderJoins {
    catalog: Arc<Catalog>,
    ordering: JoinOrdering,
    memory: Memory,
}

impl ReorderJoins {
    /// A rule with the statistics of `catalog`.
    pub fn new(catalog: Arc<Catalog>, ordering: JoinOrdering) -> Self {
        Self {
            catalog,
            ordering,
            memory: Memory::default(),
        }
    }
}

impl ReorderJoins {
    /// The estimates of the joins of a plan that this rule has optimized, for [`SelectJoins`](super::SelectJoins).
    pub(super) fn join_estimates(
        &self,
        plan: &LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Option<Vec<JoinEstimate>> {
        let config_options = config.options();
        let options = config_options.extensions.get::<JoinwrightOptions>()?;
        if !options.select_joins {
            return None;
        }
        let partitions = config_options.execution.target_partitions;
        let parts = Parts::choose(&self.ordering, options, Some(partitions))?;
        let snapshot = self.catalog.snapshot();
        let mut pass = Pass::new(&snapshot, &self.ordering, options, parts);
        let query = QueryId::new(config, &snapshot, options);
        pass.remember(query.map(|query| (&self.memory, query)), true);
        pass.estimate_joins(plan)
    }
}

impl OptimizerRule for ReorderJoins {
    fn name(&self) -> &str {
        "reorder_joins"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let config_options = config.options();
        let Some(options) = config_options.extensions.get::<JoinwrightOptions>() else {
            return Ok(Transformed::no(plan));
        };
        if !options.enabled {
            return Ok(Transformed::no(plan));
        }
        let partitions = config_options.execution.target_partitions;
        let Some(parts) = Parts::choose(&self.ordering, options, Some(partitions)) else {
            return Ok(Transformed::no(plan));
        };
        let snapshot = self.catalog.snapshot();
        let mut pass = Pass::new(&snapshot, &self.ordering, options, parts);
        pass.hint = hint(options)?;
        let query = QueryId::new(config, &snapshot, options);
        pass.remember(query.map(|query| (&self.memory, query)), false);
        if pass.parts.cost.uses_widths() {
            pass.used_columns = Some(used_columns(&plan)?);
        }
        let plan = pass.rewrite(plan)?;
        pass.check_hint()?;
        if let Some((memory, query)) = &pass.memory {
            memory.settle_shapes(query, std::mem::take(&mut pass.shapes));
        }
        if let Some(log) = &self.ordering.trace {
            log.pass(pass.into_traces());
        }
        Ok(plan)
    }
}

/// The regions of an already optimized plan as they stand there, with our estimates. Changes
/// nothing; for comparing the orders that others chose.
pub fn observe(
    plan: &LogicalPlan,
    snapshot: &Snapshot,
    ordering: &JoinOrdering,
    options: &JoinwrightOptions,
) -> Vec<Trace> {
    let Some(parts) = Parts::choose(ordering, options, None) else {
        return vec![];
    };
    let parts = Parts {
        enumerator: Arc::new(Written),
        ..parts
    };
    let mut pass = Pass::new(snapshot, ordering, options, parts);
    match pass.rewrite(plan.clone()) {
        Ok(_) => pass.into_traces(),
        Err(error) => {
            tracing::warn!(%error, "a plan could not be observed");
            vec![]
        }
    }
}

/// The parts that the options name.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    pub(super) estimator: &'a dyn CardinalityEstimator,
    pub(super) enumerator: Arc<dyn Enumerator>,
    pub(super) cost: Arc<dyn CostModel>,
}

impl<'a> Parts<'a> {
    /// Of a query in so many partitions, where it is known in how many.
    fn choose(
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
    deriver: Deriver<'a>,
    traces: Vec<Trace>,
    memory: Option<(&'a Memory, QueryId)>,
    /// What later passes are to know of this one's regions.
    shapes: Vec<Shape>,
    hint: Option<JoinHint>,
    /// Names of the columns that any node of the plan uses, if the cost model asks for the widths of rows. In the first pass of
    /// the optimizer all columns of all tables are still there.
    used_columns: Option<HashSet<String>>,
    /// Whether a region had the relations of the hint.
    hint_obeyed: bool,
}

impl<'a> Pass<'a> {
    fn new(
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
            used_columns: None,
            hint_obeyed: false,
        }
    }

    /// Goes on from what earlier passes did, if the query is known. The last pass leaves behind only what was decided.
    fn remember(&mut self, memory: Option<(&'a Memory, QueryId)>, last: bool) {
        if let Some((memory, query)) = &memory {
            self.deriver.set_known(memory.known(query, last));
        }
        self.memory = memory;
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
    fn check_hint(&self) -> Result<()> {
        match &self.hint {
            Some(hint) if !self.hint_obeyed && !self.traces.is_empty() => plan_err!(
                "no join region has the relations of the join hint: {}",
                hint.aliases().join(", ")
            ),
            _ => Ok(()),
        }
    }

    /// The traces, numbered.
    fn into_traces(mut self) -> Vec<Trace> {
        for (region, trace) in self.traces.iter_mut().enumerate() {
            trace.region = region;
        }
        self.traces
    }

    /// Reorders every region at or below a node, the inner ones first.
    #[recursive::recursive]
    fn rewrite(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
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
    fn forced(&mut self, known: &[String]) -> Result<Option<ForcedTree>> {
        let Some(hint) = &self.hint else {
            return Ok(None);
        };
        if !hint.aliases().iter().any(|alias| known.contains(alias)) {
            return Ok(None);
        }
        self.hint_obeyed = true;
        hint.resolve(known).map(Some).map_err(hint_error)
    }

    /// The trace of the region whose topmost join is `plan`, and its better order if there is one. An error only for
    /// a hint that cannot be obeyed.
    fn region(&mut self, plan: &LogicalPlan) -> Result<Option<(Trace, Option<LogicalPlan>)>> {
        let start = self.ordering.clock.map(|clock| clock());
        let Some(region) = extract::region(plan, Kinds::All, &self.deriver) else {
            return Ok(None);
        };
        let forced = self.forced(&aliases(&region))?;
        let planning_us = || {
            let end = start.zip(self.ordering.clock);
            end.map(|(start, clock)| clock().saturating_sub(start).as_micros() as u64)
        };
        if let Some(mut trace) = self.settled(&region) {
            trace.planning_us = planning_us();
            return Ok(Some((trace, None)));
        }
        let inner = self.parts.estimator.prepare(&region.graph);
        let singles = 0..region.leaves.len();
        let rows: Vec<f64> = singles.map(|r| inner.rows(RelSet::single(r))).collect();
        let rows_of = |tree: &JoinTree| -> Vec<f64> {
            let leaves = tree.leaves().into_iter();
            leaves.filter_map(|leaf| rows.get(leaf).copied()).collect()
        };
        if let Some((memory, query)) = &self.memory {
            let shape = RegionText::of_shape(&region, &region.written);
            let rows = rows_of(&region.written);
            if let Some(mut trace) = memory.settled_alike(query, &shape, &rows) {
                let text = RegionText::new(&region, &region.written);
                memory.settle(query, text, trace.clone());
                trace.planning_us = planning_us();
                return Ok(Some((trace, None)));
            }
            tracing::trace!(?shape, "a region is estimated and searched");
        }
        let cardinalities = self.with_operators(inner, &region);
        let mut graph = region.join_graph();
        if self.options.cross_products {
            graph = with_products(graph, cardinalities.as_ref(), self.options.budget);
        }
        if let Some(used) = &self.used_columns {
            let widths = region.leaves.iter().map(|leaf| used_width(leaf, used));
            graph = graph.with_widths(widths.collect());
        }
        let problem = Problem {
            graph: &graph,
            cardinalities: cardinalities.as_ref(),
            cost: self.parts.cost.as_ref(),
            written: &region.written,
            budget: self.options.budget,
        };
        let written_cost = problem.tree_cost(&region.written);
        let known = region.graph.relations.iter().all(|r| r.base.known);
        let mut trace = self.trace(&region, cardinalities.as_ref());
        trace.cost = written_cost;
        trace.written_cost = written_cost;
        let mut better = None;
        if !known && self.options.require_statistics && forced.is_none() {
            trace.stop = "no_statistics".to_string();
        } else {
            let solution = match &forced {
                Some(forced) => constrain(&problem, forced, self.parts.enumerator.as_ref())
                    .map_err(hint_error)?,
                None => self.parts.enumerator.search(&problem),
            };
            trace.pairs = solution.pairs;
            trace.stop = solution.stop.to_string();
            let enough = written_cost * (1.0 - self.options.min_gain);
            let gain = forced.is_some() || solution.cost < enough;
            let better_found = gain && solution.tree != region.written;
            if better_found
                && forced.is_none()
                && !self.dares(&region, &problem, &solution, &mut trace)
            {
                trace.stop = "guarded".to_string();
            } else if better_found {
                match self.emitted(&region, &solution.tree, plan) {
                    Ok(plan) => {
                        trace.tree = TraceTree::new(
                            &solution.tree,
                            &aliases(&region),
                            problem.cardinalities,
                        );
                        trace.cost = solution.cost;
                        trace.reordered = true;
                        better = Some((plan, solution.tree));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a join order could not be emitted");
                        trace.stop = "not_emitted".to_string();
                    }
                }
            }
        }
        if let Some((memory, query)) = &self.memory {
            let tree = better.as_ref().map_or(&region.written, |better| &better.1);
            memory.settle(query, RegionText::new(&region, tree), trace.clone());
            self.shapes.push(Shape {
                text: RegionText::of_shape(&region, tree),
                rows: rows_of(tree),
                trace: trace.clone(),
            });
            if region.operators.is_empty() {
                let all = cardinalities.estimate(region.graph.join_graph().all());
                self.deriver.remember(&region, all);
            }
        }
        trace.planning_us = planning_us();
        Ok(Some((trace, better.map(|better| better.0))))
    }

    /// Whether the guard lets an order pass that is cheaper by estimates.
    fn dares(
        &self,
        region: &Region,
        problem: &Problem<'_>,
        solution: &Solution,
        trace: &mut Trace,
    ) -> bool {
        let boldness = self.options.boldness.clamp(0.0, 1.0);
        if boldness >= 1.0 {
            return true;
        }
        let won = share_won(problem, &solution.tree);
        trace.won = Some(won);
        if won < 1.0 - boldness {
            return false;
        }
        // What bounds say of outer, semi and anti joins is not worked out.
        let bounded = region.operators.is_empty();
        !bounded || !is_reckless(problem, &solution.tree, || Bound.prepare(&region.graph))
    }

    /// The decision of an earlier pass to leave a region as it stands.
    fn settled(&self, region: &Region) -> Option<Trace> {
        let (memory, query) = self.memory.as_ref()?;
        memory.settled(query, &RegionText::new(region, &region.written))
    }

    /// The estimates of all sets of a region's relations, from those that know its inner joins.
    fn with_operators(
        &self,
        inner: Box<dyn Cardinalities>,
        region: &Region,
    ) -> Box<dyn Cardinalities> {
        if region.operators.is_empty() {
            return inner;
        }
        let operators = region.operators.iter().map(|operator| OperatorRows {
            operator: operator.place.clone(),
            right: operator.join.sides.1,
            // A single join has nothing to be ordered with: what it keeps decides nothing.
            share: match region.leaves.len() {
                0..=2 => 1.0,
                _ => self.deriver.kept_share(region, &operator.join),
            },
        });
        Box::new(WithOperators::new(inner, operators.collect()))
    }

    /// The plan of a tree, checked: an enumerator may be anybody's.
    fn emitted(&self, region: &Region, tree: &JoinTree, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let mut joined = RelSet::EMPTY;
        let mut leaves = 0;
        collect_leaves(tree, &mut |i| {
            leaves += 1;
            if i < region.leaves.len() {
                joined = joined.union(RelSet::single(i));
            }
        });
        if leaves != region.leaves.len() || joined.len() != leaves {
            return plan_err!("the join tree has not every relation once");
        }
        let emitted = emit(region, tree, plan)?;
        if !emitted
            .schema()
            .logically_equivalent_names_and_types(plan.schema())
        {
            return plan_err!("the emitted plan has another schema");
        }
        Ok(emitted)
    }

    /// The trace of a region that stays as it is.
    fn trace(&self, region: &Region, cardinalities: &dyn Cardinalities) -> Trace {
        let graph = &region.graph;
        let relations = graph
            .relations
            .iter()
            .enumerate()
            .map(|(i, relation)| {
                let estimate = cardinalities.estimate(RelSet::single(i));
                let mut predicates: Vec<String> = vec![];
                for predicate in relation.predicates.iter().flat_map(split_conjunction) {
                    let predicate = predicate.to_string();
                    if !predicates.contains(&predicate) {
                        predicates.push(predicate);
                    }
                }
                TraceRelation {
                    alias: relation.alias.clone(),
                    table: relation.table.clone(),
                    predicates,
                    base_rows: relation.base.rows,
                    est_rows: estimate.rows,
                    source: estimate.source,
                    stale: relation.base.stale,
                }
            })
            .collect();
        let names = |set: RelSet| set.iter().map(|i| graph.relations[i].alias.clone());
        let of_classes = region.classes.iter().map(|class| TraceEdge {
            relations: names(class.relations()).collect(),
            kind: EdgeKind::Equality,
            join: JoinKind::Inner,
            predicate: class_equality(class).map_or_else(String::new, |e| readable(&e, region)),
        });
        let of_filters = region.filters.iter().map(|filter| TraceEdge {
            relations: names(filter.relations).collect(),
            kind: EdgeKind::Theta,
            join: JoinKind::Inner,
            predicate: readable(&filter.predicate, region),
        });
        let of_operators = region.operators.iter().map(|operator| TraceEdge {
            relations: names(operator.place.relations).collect(),
            kind: match operator.place.keyed {
                true => EdgeKind::Equality,
                false => EdgeKind::Theta,
            },
            join: operator.place.kind,
            predicate: operator
                .join
                .condition()
                .map_or_else(String::new, |e| readable(&e, region)),
        });
        let written = TraceTree::new(&region.written, &aliases(region), cardinalities);
        Trace {
            relations,
            edges: of_classes.chain(of_filters).chain(of_operators).collect(),
            ..self.empty_trace(written)
        }
    }

    /// A trace of nothing but the tree that the query came with.
    pub(super) fn empty_trace(&self, written: TraceTree) -> Trace {
        Trace {
            // Numbered when the walk is over.
            region: 0,
            relations: vec![],
            edges: vec![],
            tree: written.clone(),
            cost: 0.0,
            written,
            written_cost: 0.0,
            reordered: false,
            won: None,
            pairs: 0,
            stop: String::new(),
            planning_us: None,
            estimator: self.parts.estimator.name().to_string(),
            enumerator: self.parts.enumerator.name().to_string(),
            cost_model: self.parts.cost.name().to_string(),
        }
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

/// Names of the columns in the expressions of a plan.
fn used_columns(plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut used = HashSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            used.extend(expr.column_refs().into_iter().map(|c| c.name.clone()));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(used)
}

/// Bytes of a row of a leaf, of its used columns.
fn used_width(leaf: &LogicalPlan, used: &HashSet<String>) -> u32 {
    let fields = leaf.schema().fields().iter();
    let fields = fields.filter(|field| used.contains(field.name()));
    // Of some types a value has no fixed width, but none is wider than an integer counts.
    fields.map(|f| value_width(f.data_type()) as u32).sum()
}

/// The join hint of a session, if it has one.
fn hint(options: &JoinwrightOptions) -> Result<Option<JoinHint>> {
    if options.join_hint.trim().is_empty() {
        return Ok(None);
    }
    JoinHint::parse(&options.join_hint)
        .map(Some)
        .map_err(hint_error)
}

pub(super) fn hint_error(error: HintError) -> DataFusionError {
    DataFusionError::Plan(error.to_string())
}

fn aliases(region: &Region) -> Vec<String> {
    let relations = region.graph.relations.iter();
    relations.map(|r| r.alias.clone()).collect()
}

fn collect_leaves(tree: &JoinTree, visit: &mut impl FnMut(usize)) {
    match tree {
        JoinTree::Leaf(index) => visit(*index),
        JoinTree::Join(left, right) => {
            collect_leaves(left, visit);
            collect_leaves(right, visit);
        }
    }
}
