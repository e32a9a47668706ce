//! The decision of one region: estimates, search, the guard, and the plan that comes of it.

use super::memory::Shape;
use super::pass::{Pass, hint_error};
use crate::cost::value_width;
use crate::emit::{class_equality, emit};
use crate::enumerate::{Problem, Solution, constrain, with_products};
use crate::estimate::{Bound, Cardinalities, CardinalityEstimator, OperatorRows, WithOperators};
use crate::extract::{self, Kinds, Region, RegionText, readable};
use crate::guard::{is_reckless, share_won};
use crate::join_graph::{EdgeKind, JoinKind};
use crate::join_tree::JoinTree;
use crate::query_graph::QueryGraph;
use crate::relset::RelSet;
use crate::trace::{Phase, Trace, TraceEdge, TraceRelation, TraceTree};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::utils::split_conjunction;
use std::collections::HashSet;

impl Pass<'_> {
    /// The trace of the region whose topmost join is `plan`, and its better order if there is one. An error only for
    /// a hint that cannot be obeyed.
    pub(super) fn region(
        &mut self,
        plan: &LogicalPlan,
    ) -> Result<Option<(Trace, Option<LogicalPlan>)>> {
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
        if let Some(used) = self.width_columns() {
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
                None => self
                    .ordering
                    .timed(Phase::Search, || self.parts.enumerator.search(&problem)),
            };
            trace.pairs = solution.pairs;
            trace.stop = solution.stop.to_string();
            let enough = written_cost * (1.0 - self.options.min_gain);
            let gain = forced.is_some() || solution.cost < enough;
            let common = match forced {
                Some(_) => None,
                None => self.with_common(&region, &problem, &solution),
            };
            let is_common = common.is_some();
            let solution = common.unwrap_or(solution);
            let better_found = (gain || is_common) && solution.tree != region.written;
            if is_common {
                trace.stop = "shared".to_string();
            }
            if better_found
                && forced.is_none()
                && !is_common
                && !self.dares(&region, &problem, &solution, &mut trace)
            {
                trace.stop = "guarded".to_string();
            } else if better_found {
                let emit = || self.emitted(&region, &solution.tree, plan);
                match self.ordering.timed(Phase::Emit, emit) {
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
                self.deriver.remember(&region, cardinalities.as_ref());
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
    pub(super) fn settled(&self, region: &Region) -> Option<Trace> {
        let (memory, query) = self.memory.as_ref()?;
        memory.settled(query, &RegionText::new(region, &region.written))
    }

    /// The estimates of all sets of a region's relations, from those that know its inner joins.
    pub(super) fn with_operators(
        &self,
        inner: Box<dyn Cardinalities>,
        region: &Region,
    ) -> Box<dyn Cardinalities> {
        // A single join has nothing to be ordered with: what it keeps decides nothing.
        let decides = region.leaves.len() > 2;
        let mut restricted: Option<QueryGraph> = None;
        let operators = region.operators.iter().map(|operator| {
            let mut rows = OperatorRows {
                operator: operator.place.clone(),
                right: operator.join.sides.1,
                share: 1.0,
                known: false,
            };
            if !decides {
                return rows;
            }
            match self.deriver.known_membership(region, &operator.join) {
                Some((relation, membership)) => {
                    rows.share = membership.share;
                    rows.known = true;
                    let graph = restricted.get_or_insert_with(|| region.graph.clone());
                    graph.relations[relation].memberships.push(membership);
                }
                None => rows.share = self.deriver.kept_share(region, &operator.join),
            }
            rows
        });
        let mut operators: Vec<OperatorRows> = operators.collect();
        if operators.iter().filter(|rows| rows.known).count() > 1 {
            // Sets that lack some of them go by shares.
            let known = operators.iter_mut().zip(&region.operators);
            for (rows, operator) in known.filter(|(rows, _)| rows.known) {
                rows.share = self.deriver.kept_share(region, &operator.join);
            }
        }
        if operators.is_empty() {
            return inner;
        }
        let rows = WithOperators::new(inner, operators);
        Box::new(match restricted {
            Some(graph) => rows.restricted_by(self.parts.estimator.prepare(&graph)),
            None => rows,
        })
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

/// Bytes of a row of a leaf, of its used columns.
fn used_width(leaf: &LogicalPlan, used: &HashSet<String>) -> u32 {
    let fields = leaf.schema().fields().iter();
    let fields = fields.filter(|field| used.contains(field.name()));
    // Of some types a value has no fixed width, but none is wider than an integer counts.
    fields.map(|f| value_width(f.data_type()) as u32).sum()
}

pub(super) fn aliases(region: &Region) -> Vec<String> {
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
