//! Regions of more relations than a [`RelSet`](crate::relset::RelSet) holds.
//!
//! Estimators are asked for the relations and for pairs that predicates connect, and search takes the product of what
//! they say.

use super::pass::{Pass, hint_error};
use crate::emit::emit_large;
use crate::enumerate::{ForcedTree, Problem, constrain};
use crate::estimate::{Estimate, ProductRows};
use crate::extract::{self, Condition, LargePredicate, LargeRegion, rename_columns};
use crate::join_graph::{EdgeKind, JoinGraph, JoinKind};
use crate::join_tree::{JoinTree, Step};
use crate::query_graph::{
    EqualityClass, JoinFilter, Member, QueryGraph, Relation, region_column, resolve_region_column,
};
use crate::relset::RelSet;
use crate::trace::{Phase, Trace, TraceEdge, TraceRelation, TraceTree};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::collections::BTreeMap;

impl Pass<'_> {
    /// The trace of a large region, and its better order if there is one.
    pub(super) fn large_region(
        &self,
        region: &LargeRegion,
        plan: &LogicalPlan,
        forced: Option<&ForcedTree>,
    ) -> Result<(Trace, Option<LogicalPlan>)> {
        let start = self.ordering.clock.map(|clock| clock());
        let prepared = |relations: Vec<Relation>, predicates: &[&LargePredicate]| {
            self.parts.estimator.prepare(&QueryGraph {
                relations,
                ..pair_graph(predicates)
            })
        };
        let estimates: Vec<Estimate> = region
            .relations
            .iter()
            .map(|r| prepared(vec![r.clone()], &[]).estimate(RelSet::single(0)))
            .collect();
        let mut pairs: BTreeMap<(usize, usize), Vec<&LargePredicate>> = BTreeMap::new();
        for predicate in &region.predicates {
            if let [a, b] = predicate.relations[..] {
                pairs.entry((a, b)).or_default().push(predicate);
            }
        }
        let mut edges = vec![];
        let mut selectivities = vec![];
        for ((a, b), predicates) in &pairs {
            let relations = vec![region.relations[*a].clone(), region.relations[*b].clone()];
            let joined = prepared(relations, predicates).rows(RelSet::first_n(2));
            let product = estimates[*a].rows * estimates[*b].rows;
            selectivities.push((*a, *b, joined / product.max(f64::MIN_POSITIVE)));
            edges.push((*a, *b, kind_of(predicates)));
        }
        let graph = JoinGraph::new(region.leaves.len(), edges);
        let rows = ProductRows::new(estimates.iter().map(|e| e.rows).collect(), selectivities);
        let problem = Problem {
            graph: &graph,
            cardinalities: &rows,
            cost: self.parts.cost.as_ref(),
            written: &region.written,
            budget: self.options.budget,
        };
        let written_cost = problem.tree_cost(&region.written);
        let known = region.relations.iter().all(|r| r.base.known);
        let mut trace = self.large_trace(region, &estimates, &problem);
        trace.cost = written_cost;
        trace.written_cost = written_cost;
        let mut better = None;
        if !known && self.options.require_statistics && forced.is_none() {
            trace.stop = "no_statistics".to_string();
        } else {
            let enumerator = self.parts.enumerator.as_ref();
            let solution = match forced {
                Some(forced) => constrain(&problem, forced, enumerator).map_err(hint_error)?,
                None => self
                    .ordering
                    .timed(Phase::Search, || enumerator.search(&problem)),
            };
            trace.pairs = solution.pairs;
            trace.stop = solution.stop.to_string();
            let enough = written_cost * (1.0 - self.options.min_gain);
            let gain = forced.is_some() || solution.cost < enough;
            if gain && solution.tree != region.written {
                let emit = || emit_large(region, &solution.tree, plan);
                let emitted = self.ordering.timed(Phase::Emit, emit)?;
                if !emitted
                    .schema()
                    .logically_equivalent_names_and_types(plan.schema())
                {
                    return plan_err!("the emitted plan has another schema");
                }
                trace.tree = tree_with_rows(&solution.tree, region, &estimates, &problem);
                trace.cost = solution.cost;
                trace.reordered = true;
                better = Some(emitted);
            }
        }
        let end = start.zip(self.ordering.clock);
        trace.planning_us =
            end.map(|(start, clock)| clock().saturating_sub(start).as_micros() as u64);
        Ok((trace, better))
    }

    fn large_trace(
        &self,
        region: &LargeRegion,
        estimates: &[Estimate],
        problem: &Problem<'_>,
    ) -> Trace {
        let relations = region.relations.iter().zip(estimates);
        let relations = relations.map(|(relation, estimate)| TraceRelation {
            alias: relation.alias.clone(),
            table: relation.table.clone(),
            predicates: relation.predicates.iter().map(Expr::to_string).collect(),
            base_rows: relation.base.rows,
            est_rows: estimate.rows,
            source: estimate.source,
            stale: relation.base.stale,
        });
        let edges = region.predicates.iter().map(|predicate| TraceEdge {
            relations: predicate
                .relations
                .iter()
                .map(|r| region.relations[*r].alias.clone())
                .collect(),
            kind: kind_of(&[predicate]),
            join: JoinKind::Inner,
            predicate: match &predicate.condition {
                Condition::Equal([(a, _), (b, _)]) => {
                    format!("{} = {}", readable(a, region), readable(b, region))
                }
                Condition::Other(expr) => readable(expr, region),
            },
        });
        let written = tree_with_rows(&region.written, region, estimates, problem);
        Trace {
            relations: relations.collect(),
            edges: edges.collect(),
            ..self.empty_trace(written)
        }
    }
}

fn kind_of(predicates: &[&LargePredicate]) -> EdgeKind {
    let keyed = |p: &&LargePredicate| matches!(p.condition, Condition::Equal(_));
    match predicates.iter().any(keyed) {
        true => EdgeKind::Equality,
        false => EdgeKind::Theta,
    }
}

/// The predicates of two relations, the lower one as relation 0 and the other as relation 1.
fn pair_graph(predicates: &[&LargePredicate]) -> QueryGraph {
    let mut graph = QueryGraph {
        relations: vec![],
        classes: vec![],
        filters: vec![],
        composites: vec![],
    };
    for predicate in predicates {
        let [low, high] = predicate.relations[..] else {
            continue;
        };
        let renumbered = |expr: &Expr| {
            rename_columns(expr, |column| {
                let (relation, field) = resolve_region_column(column)?;
                let position = [low, high].iter().position(|r| *r == relation)?;
                Some(region_column(position, field))
            })
        };
        match &predicate.condition {
            Condition::Equal(keys) => {
                let member = |(relation, (key, data_type)): (usize, &(Expr, _))| {
                    Some(Member {
                        relation,
                        key: renumbered(key).ok()?,
                        data_type: Clone::clone(data_type),
                    })
                };
                let members = keys.iter().enumerate().map(member).collect::<Option<_>>();
                graph
                    .classes
                    .extend(members.map(|members| EqualityClass { members }));
            }
            Condition::Other(expr) => {
                graph
                    .filters
                    .extend(renumbered(expr).ok().map(|predicate| JoinFilter {
                        relations: RelSet::first_n(2),
                        predicate,
                    }));
            }
        }
    }
    graph
}

/// A tree with its estimates.
fn tree_with_rows(
    tree: &JoinTree,
    region: &LargeRegion,
    estimates: &[Estimate],
    problem: &Problem<'_>,
) -> TraceTree {
    let mut rows = problem.rows_of_joins(tree).into_iter();
    tree.fold(&mut |step: Step<TraceTree>| match step {
        Step::Leaf(index) => {
            let estimate = estimates.get(index).copied();
            let estimate = estimate.unwrap_or_else(|| Estimate::guess(1.0));
            let relation = region.relations.get(index);
            TraceTree::Leaf {
                alias: relation.map_or_else(String::new, |r| r.alias.clone()),
                est_rows: estimate.rows,
                source: estimate.source,
            }
        }
        Step::Join(left, right) => {
            let source = left.source().max(right.source());
            TraceTree::Join {
                left: Box::new(left),
                right: Box::new(right),
                est_rows: rows.next().unwrap_or(f64::NAN),
                source,
            }
        }
    })
}

/// A predicate with columns as a reader knows them.
fn readable(expr: &Expr, region: &LargeRegion) -> String {
    extract::named(expr, &region.relations, &region.leaves)
}
