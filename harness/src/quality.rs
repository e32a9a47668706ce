//! How far estimates are from the truth, and what that costs.
//!
//! The q-error (Moerkotte, Neumann, Steidl, VLDB 2009) is the factor between the two, whichever is larger; fewer rows than one
//! count as one. The P-error (Han et al., VLDB 2021) is the factor between the true costs of two plans: the best one by the
//! estimates, or the one that a system chooses by its own costs, and the best one there is.

use std::collections::{BTreeMap, BTreeSet};

use joinwright_optimizer::cost::{CostModel, Cout};
use joinwright_optimizer::enumerate::{DpCcp, Enumerator, Problem};
use joinwright_optimizer::estimate::{Cardinalities, Estimate, EstimateSource};
use joinwright_optimizer::join_graph::JoinGraph;
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;

/// The factor between an estimate and the truth, at least one.
pub(crate) fn q_error(estimate: f64, truth: f64) -> f64 {
    let (estimate, truth) = (estimate.max(1.0), truth.max(1.0));
    (estimate / truth).max(truth / estimate)
}

/// The value that a share of the values does not exceed: of the sorted values the one at that place, rounded up.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = (share * sorted.len() as f64).ceil() as usize;
    match sorted {
        [] => f64::NAN,
        sorted => sorted[place.clamp(1, sorted.len()) - 1],
    }
}

/// Percentiles of q-errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quality {
    pub(crate) sub_plans: usize,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Share of estimates below the truth, both at least one.
    pub(crate) under: f64,
}

impl Quality {
    /// Of pairs of estimate and truth.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut errors = vec![];
        let mut under = 0;
        for (estimate, truth) in pairs {
            errors.push(q_error(estimate, truth));
            under += usize::from(estimate.max(1.0) < truth.max(1.0));
        }
        errors.sort_by(f64::total_cmp);
        Self {
            sub_plans: errors.len(),
            p50: percentile(&errors, 0.5),
            p90: percentile(&errors, 0.9),
            p95: percentile(&errors, 0.95),
            p99: percentile(&errors, 0.99),
            max: errors.last().copied().unwrap_or(f64::NAN),
            under: under as f64 / errors.len().max(1) as f64,
        }
    }
}

/// True rows of all sets of relations that a search asks for.
#[derive(Debug)]
pub(crate) struct TrueRows(pub(crate) BTreeMap<RelSet, f64>);

impl Cardinalities for TrueRows {
    fn estimate(&self, relations: RelSet) -> Estimate {
        Estimate {
            rows: self.0.get(&relations).copied().unwrap_or(f64::INFINITY),
            source: EstimateSource::Exact,
            upper_bound: None,
        }
    }
}

/// The P-error under C_out of the best plan by `cardinalities`; `None` if the truth lacks some connected set of the region.
pub(crate) fn p_error(
    graph: &QueryGraph,
    written: &JoinTree,
    cardinalities: &dyn Cardinalities,
    truth: &TrueRows,
) -> Option<f64> {
    let joins = graph.join_graph();
    let problem = |cardinalities| Problem {
        graph: &joins,
        cardinalities,
        cost: &Cout,
        written,
        budget: u64::MAX,
    };
    let by_truth = problem(truth);
    let best = DpCcp.search(&by_truth).cost;
    let chosen = by_truth.tree_cost(&DpCcp.search(&problem(cardinalities)).tree);
    factor(chosen, best)
}

/// The P-error under C_out of a plan that somebody chose, by the sets of relations that it joins. Products of unconnected relations are
/// allowed, and as large as they are.
pub(crate) fn p_error_of_joins(
    graph: &JoinGraph,
    written: &JoinTree,
    joins: &BTreeSet<RelSet>,
    truth: &TrueRows,
) -> Option<f64> {
    let problem = Problem {
        graph,
        cardinalities: truth,
        cost: &Cout,
        written,
        budget: u64::MAX,
    };
    let rows = |set: &RelSet| -> f64 {
        let parts = connected_parts(graph, *set);
        parts
            .into_iter()
            .map(|part| truth.estimate(part).rows)
            .product()
    };
    factor(joins.iter().map(rows).sum(), DpCcp.search(&problem).cost)
}

/// The P-error under C_out of the tree that a region has.
pub(crate) fn p_error_of_tree(graph: &JoinGraph, tree: &JoinTree, truth: &TrueRows) -> Option<f64> {
    let mut joins = BTreeSet::new();
    tree.for_each_join(&mut |left, right| {
        joins.insert(left.union(right));
    });
    p_error_of_joins(graph, tree, &joins, truth)
}

/// The true cost of a plan, and that of the best one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TrueCost {
    pub(crate) chosen: f64,
    pub(crate) best: f64,
}

impl TrueCost {
    /// Adds what another part of the same query costs.
    pub(crate) fn add(&mut self, other: Self) {
        self.chosen += other.chosen;
        self.best += other.best;
    }

    /// The P-error; at least one, whatever is rounded.
    pub(crate) fn error(self) -> f64 {
        (self.chosen.max(1.0) / self.best.max(1.0)).max(1.0)
    }
}

/// What a plan that joins these sets of relations costs under a model, where each join builds from its cheaper input, beside the best
/// plan without products; `None` if the truth lacks some connected set, or the sets are not those of a tree.
pub(crate) fn true_cost(
    graph: &JoinGraph,
    written: &JoinTree,
    joins: &BTreeSet<RelSet>,
    truth: &TrueRows,
    cost: &dyn CostModel,
) -> Option<TrueCost> {
    let rows = WithProducts { truth, graph };
    let problem = Problem {
        graph,
        cardinalities: &rows,
        cost,
        written,
        budget: u64::MAX,
    };
    let chosen = tree_of(graph.all(), joins, &problem)?;
    let costs = TrueCost {
        chosen: problem.tree_cost(&chosen),
        best: DpCcp.search(&problem).cost,
    };
    (costs.chosen.is_finite() && costs.best.is_finite()).then_some(costs)
}

/// The tree over a set of relations that joins no other sets than these, each join with its cheaper input to the left.
fn tree_of(set: RelSet, joins: &BTreeSet<RelSet>, problem: &Problem<'_>) -> Option<JoinTree> {
    if set.len() == 1 {
        return set.first().map(JoinTree::Leaf);
    }
    if !joins.contains(&set) {
        return None;
    }
    let below = joins.iter().filter(|j| **j != set && j.is_subset(set));
    let largest = below.max_by_key(|join| join.len()).copied();
    let left = largest.or_else(|| set.first().map(RelSet::single))?;
    let left = tree_of(left, joins, problem)?;
    let right = tree_of(set.minus(left.relations()), joins, problem)?;
    let swapped = JoinTree::join(right.clone(), left.clone());
    let tree = JoinTree::join(left, right);
    match problem.tree_cost(&swapped) < problem.tree_cost(&tree) {
        true => Some(swapped),
        false => Some(tree),
    }
}

/// True rows also of relations that nothing connects.
#[derive(Debug)]
struct WithProducts<'a> {
    truth: &'a TrueRows,
    graph: &'a JoinGraph,
}

impl Cardinalities for WithProducts<'_> {
    fn estimate(&self, relations: RelSet) -> Estimate {
        if self.truth.0.contains_key(&relations) {
            return self.truth.estimate(relations);
        }
        let parts = connected_parts(self.graph, relations);
        let rows = parts.into_iter().map(|part| self.truth.estimate(part).rows);
        Estimate {
            rows: rows.product(),
            source: EstimateSource::Exact,
            upper_bound: None,
        }
    }
}

/// Without any row in the true intermediate results all plans are as good.
fn factor(chosen: f64, best: f64) -> Option<f64> {
    (chosen.is_finite() && best.is_finite()).then(|| chosen.max(1.0) / best.max(1.0))
}

fn connected_parts(graph: &JoinGraph, mut rest: RelSet) -> Vec<RelSet> {
    let mut parts = vec![];
    while let Some(first) = rest.first() {
        let (mut part, mut around) = (RelSet::EMPTY, RelSet::single(first));
        while !around.is_empty() {
            part = part.union(around);
            around = graph.neighborhood(part).intersect(rest);
        }
        rest = rest.minus(part);
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use joinwright_optimizer::cost::HashJoin;
    use joinwright_optimizer::join_graph::EdgeKind;

    #[test]
    fn errors_of_small_numbers() {
        assert_eq!(q_error(10.0, 20.0), 2.0);
        assert_eq!(q_error(20.0, 10.0), 2.0);
        assert_eq!(q_error(0.001, 0.0), 1.0);
        assert_eq!(q_error(0.5, 4.0), 4.0);
    }

    fn set(relations: &[usize]) -> RelSet {
        relations.iter().copied().collect()
    }

    /// The chain 0 – 1 – 2, of 10 rows each: 0 with 1 has 100 rows, 1 with 2 has 5, all have 50.
    fn chain() -> (JoinGraph, JoinTree, BTreeMap<RelSet, f64>) {
        let edges = [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)];
        let rows = [
            (set(&[0, 1]), 100.0),
            (set(&[1, 2]), 5.0),
            (set(&[0, 1, 2]), 50.0),
        ];
        let mut truth = BTreeMap::from(rows);
        truth.extend((0..3).map(|relation| (RelSet::single(relation), 10.0)));
        let leaf = JoinTree::Leaf;
        let written = JoinTree::join(JoinTree::join(leaf(0), leaf(1)), leaf(2));
        (JoinGraph::new(3, edges), written, truth)
    }

    #[test]
    fn plans_are_judged_by_what_they_join() {
        let (graph, written, truth) = chain();
        let error = |joins: &[&[usize]]| {
            let joins = joins.iter().map(|join| set(join)).collect();
            p_error_of_joins(&graph, &written, &joins, &TrueRows(truth.clone()))
        };
        assert_eq!(error(&[&[1, 2], &[0, 1, 2]]), Some(1.0));
        assert_eq!(error(&[&[0, 1], &[0, 1, 2]]), Some(150.0 / 55.0));
        let tree = |joins: [usize; 3]| {
            let [a, b, c] = joins.map(JoinTree::Leaf);
            let tree = JoinTree::join(JoinTree::join(a, b), c);
            p_error_of_tree(&graph, &tree, &TrueRows(truth.clone()))
        };
        assert_eq!(tree([1, 2, 0]), Some(1.0));
        assert_eq!(tree([0, 1, 2]), Some(150.0 / 55.0));
        // A product.
        assert_eq!(error(&[&[0, 2], &[0, 1, 2]]), Some(150.0 / 55.0));
    }

    /// The same chain: a plan by C_out, and by a model in which the side that builds makes a difference.
    #[test]
    fn plans_cost_what_they_join() {
        let (graph, written, truth) = chain();
        let truth = TrueRows(truth);
        let hash_join = HashJoin::default();
        let cost = |joins: &[&[usize]], model: &dyn CostModel| {
            let joins = joins.iter().map(|join| set(join)).collect();
            true_cost(&graph, &written, &joins, &truth, model)
        };
        let costs = cost(&[&[0, 1], &[0, 1, 2]], &Cout).unwrap();
        assert_eq!(
            (costs.chosen, costs.best, costs.error()),
            (150.0, 55.0, 150.0 / 55.0)
        );
        // A product of 0 and 2.
        assert_eq!(cost(&[&[0, 2], &[0, 1, 2]], &Cout).unwrap().chosen, 150.0);
        let best = cost(&[&[1, 2], &[0, 1, 2]], &hash_join).unwrap();
        assert_eq!(best.error(), 1.0);
        assert!(cost(&[&[0, 1], &[0, 1, 2]], &hash_join).unwrap().error() > 1.0);
        // Something is missing.
        assert_eq!(cost(&[&[0, 1]], &Cout), None);
    }

    #[test]
    fn percentiles_are_values() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&sorted, 0.5), 2.0);
        assert_eq!(percentile(&sorted, 0.51), 3.0);
        assert_eq!(percentile(&sorted, 1.0), 4.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn quality_counts_what_is_below() {
        let quality = Quality::of([(1.0, 2.0), (2.0, 1.0), (0.2, 0.0), (5.0, 5.0)]);
        assert_eq!((quality.sub_plans, quality.under), (4, 0.25));
        assert_eq!((quality.p50, quality.max), (1.0, 2.0));
    }
}
