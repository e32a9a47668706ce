//! Search with a forced tree: the whole plan, or a part of it that stays together.
//!
//! A part is contracted to one relation (`contraction.rs`), so that no enumerator can take it apart.

use super::contraction::{ContractedRows, Contraction};
use super::hint::{Forbidden, ForcedTree, HintError};
use super::{Enumerator, Problem, Solution, StopReason};
use crate::join_graph::{JoinGraph, Operator};
use crate::relset::RelSet;

/// The cheapest tree that an enumerator finds among those that have the forced one in them. Inputs of forced joins keep
/// their sides.
pub fn constrain(
    problem: &Problem<'_>,
    forced: &ForcedTree,
    enumerator: &dyn Enumerator,
) -> Result<Solution, HintError> {
    forced.check(problem.graph)?;
    if forced.is_whole() {
        return Ok(Solution {
            tree: forced.tree.clone(),
            cost: problem.tree_cost(&forced.tree),
            pairs: 0,
            stop: StopReason::Forced,
        });
    }
    let contraction = Contraction::new(problem.graph.len(), forced);
    let graph = contraction.graph(problem.graph);
    let cardinalities = ContractedRows::new(&contraction, problem.cardinalities);
    let written = contraction.written(problem.written);
    let found = enumerator.search(&Problem {
        graph: &graph,
        cardinalities: &cardinalities,
        cost: problem.cost,
        written: &written,
        budget: problem.budget,
    });
    let tree = contraction.expanded(&found.tree);
    // A search that finds nothing answers with the written tree, which need not be allowed when a part of it is moved.
    let answer = ForcedTree {
        tree,
        ..forced.clone()
    };
    answer.check(problem.graph).map_err(|_| HintError::NoTree)?;
    Ok(Solution {
        cost: problem.tree_cost(&answer.tree),
        tree: answer.tree,
        ..found
    })
}

impl ForcedTree {
    /// Whether a graph allows every join of the tree. A cross product is allowed where nothing but plain edges is near.
    pub fn check(&self, graph: &JoinGraph) -> Result<(), HintError> {
        // Plain edges allow all joins, and all products.
        if graph.is_plain() {
            return Ok(());
        }
        let mut allowed = Ok(());
        self.tree.for_each_join(&mut |a, b| {
            if allowed.is_ok() && graph.link(a, b).is_none() {
                allowed = match self.forbidden(graph, a, b) {
                    None => Ok(()),
                    Some(why) => Err(HintError::NotAllowed {
                        left: self.names(a),
                        right: self.names(b),
                        why,
                    }),
                };
            }
        });
        allowed
    }

    /// What forbids two sets that have no link; nothing if it can be a cross product.
    fn forbidden(&self, graph: &JoinGraph, a: RelSet, b: RelSet) -> Option<Forbidden> {
        let both = a.union(b);
        let completed: Vec<&Operator> = graph
            .operators()
            .iter()
            .filter(|o| o.relations.is_subset(both))
            .filter(|o| !o.relations.is_subset(a) && !o.relations.is_subset(b))
            .collect();
        if let Some(operator) = completed.iter().find(|o| o.applicable(a, b).is_none()) {
            return Some(Forbidden::Operator {
                kind: operator.kind,
                left: self.names(operator.left),
                right: self.names(operator.right),
            });
        }
        if let Some(operator) = completed.first() {
            return Some(Forbidden::NotAlone {
                kind: operator.kind,
            });
        }
        // A product may take a relation to the wrong side of an operator, and only what no operator speaks of is
        // certain to be on no side.
        let mut operators = graph.operators().iter();
        let near = operators.find(|o| o.mentioned().intersects(both));
        near.map(|operator| Forbidden::Product {
            kind: operator.kind,
        })
    }

    fn names(&self, set: RelSet) -> Vec<String> {
        let name = |relation: usize| self.aliases.get(relation).cloned();
        set.iter().filter_map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{DpHyp, Exhaustive, Goo, JoinHint, PlanSpace, Written};
    use super::*;
    use crate::cost::Cout;
    use crate::estimate::ProductRows;
    use crate::join_graph::{ConflictRule, EdgeKind, JoinKind};
    use crate::join_tree::JoinTree;
    use proptest::prelude::*;

    const ALIASES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    fn forced(graph: &JoinGraph, hint: &str) -> Result<ForcedTree, HintError> {
        JoinHint::parse(hint)?.resolve(&ALIASES[..graph.len()])
    }

    #[track_caller]
    fn search(graph: &JoinGraph, hint: &str, by: &dyn Enumerator) -> Result<Solution, HintError> {
        let written = in_order(graph.len());
        let problem = problem(graph, &HashedRows(1), &written, u64::MAX);
        constrain(&problem, &forced(graph, hint)?, by)
    }

    #[track_caller]
    fn check_error(graph: &JoinGraph, hint: &str, message: &str) {
        let error = search(graph, hint, &DpHyp).unwrap_err().to_string();
        assert!(error.contains(message), "{hint}: {error}");
    }

    fn operator(kind: JoinKind, left: &[usize], right: &[usize]) -> Operator {
        let (left, right): (RelSet, RelSet) = (
            left.iter().copied().collect(),
            right.iter().copied().collect(),
        );
        Operator {
            kind,
            relations: left.union(right),
            left,
            right,
            keyed: true,
            rules: vec![],
        }
    }

    /// a–b–c, and c left join (d–e), and a semi join f.
    fn mixed() -> JoinGraph {
        let edge = |a, b| (a, b, EdgeKind::Equality);
        JoinGraph::new(6, [edge(0, 1), edge(1, 2), edge(3, 4)]).with_operators(vec![
            operator(JoinKind::Left, &[2], &[3, 4]),
            operator(JoinKind::Semi, &[0], &[5]),
        ])
    }

    #[test]
    fn a_whole_tree_is_the_plan() {
        let solution = search(&chain(4), "((d c) (b a))", &DpHyp).unwrap();
        assert_eq!((solution.stop, solution.pairs), (StopReason::Forced, 0));
        let leaf = JoinTree::Leaf;
        let expected = JoinTree::join(
            JoinTree::join(leaf(3), leaf(2)),
            JoinTree::join(leaf(1), leaf(0)),
        );
        assert_eq!(solution.tree, expected);
        // A product where the hint asks for one.
        assert!(search(&chain(4), "((a c) (b d))", &DpHyp).is_ok());
        assert!(search(&mixed(), "(((d e) c) ((f a) b))", &DpHyp).is_ok());
    }

    #[test]
    fn errors_say_why() {
        let graph = mixed();
        check_error(
            &graph,
            "(a x)",
            "unknown alias `x` in the join hint: there is a, b, c, d, e, f",
        );
        check_error(
            &graph,
            "(c d)",
            "(c) with (d): no predicate relates them, and a left join",
        );
        check_error(
            &graph,
            "(b f)",
            "(b) with (f): no predicate relates them, and a semi join",
        );
        let needs_both =
            JoinGraph::new(3, [(1, 2, EdgeKind::Equality)]).with_operators(vec![Operator {
                relations: RelSet::first_n(2),
                ..operator(JoinKind::Anti, &[0], &[1, 2])
            }]);
        check_error(
            &needs_both,
            "(a b)",
            "(a) with (b): the anti join of (a) with (b, c) forbids it",
        );
        let at_once = JoinGraph::new(3, [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)])
            .with_operators(vec![operator(JoinKind::Full, &[0], &[2])]);
        check_error(
            &at_once,
            "((a b) c)",
            "(a, b) with (c): the full join cannot be made at the same time",
        );
    }

    #[test]
    fn parts_that_no_tree_has() {
        // Once d is with e by their edge, the left join of c with d cannot have e later.
        let edge = |a, b| (a, b, EdgeKind::Equality);
        let mut left_join = operator(JoinKind::Left, &[0], &[1]);
        left_join.left = [0, 2].into_iter().collect();
        let graph = JoinGraph::new(3, [edge(1, 2)]).with_operators(vec![left_join]);
        check_error(&graph, "(b c)", "no allowed join tree");
        for by in [&Written as &dyn Enumerator, &Goo, &Exhaustive] {
            assert_eq!(search(&graph, "(b c)", by), Err(HintError::NoTree));
        }
    }

    #[test]
    fn products_among_plain_relations_only() {
        // f and e take part in nothing but edges; a and b in a left join.
        let edge = |a, b| (a, b, EdgeKind::Equality);
        let graph = JoinGraph::new(6, [edge(1, 2), edge(2, 3), edge(3, 4), edge(3, 5)])
            .with_operators(vec![operator(JoinKind::Left, &[1], &[0])]);
        let solution = search(&graph, "(e f)", &DpHyp).unwrap();
        let mut product = false;
        solution
            .tree
            .for_each_join(&mut |l, r| product |= l.union(r).bits() == 0b110000);
        assert!(product, "{:?}", solution.tree);
        check_error(&graph, "(a f)", "left join forbids a cross product");
    }

    #[test]
    fn parts_of_large_graphs() {
        let n = 70;
        let graph = JoinGraph::new(n, (1..n).map(|i| (i - 1, i, EdgeKind::Equality)));
        let rows = ProductRows::new(vec![10.0; n], (1..n).map(|i| (i - 1, i, 0.1)));
        let aliases: Vec<String> = (0..n).map(|i| format!("t{i}")).collect();
        let text: String = aliases[..20].join(" ");
        let forced = JoinHint::parse(&text).unwrap().resolve(&aliases).unwrap();
        let contraction = Contraction::new(n, &forced);
        let small = contraction.graph(&graph);
        assert_eq!((small.len(), small.edges().len()), (51, 50));
        let product = contraction.product(&rows);
        assert!((product.relations()[0] / 10.0 - 1.0).abs() < 1e-9);
        assert_eq!(product.edges().len(), 50);
        let written = contraction.expanded(&contraction.written(&in_order(n)));
        assert_eq!(written, in_order(n));
    }

    /// The relations of all joins of a tree, sorted.
    fn joins(tree: &JoinTree) -> Vec<(RelSet, RelSet)> {
        let mut joins = vec![];
        tree.for_each_join(&mut |a, b| joins.push((a.min(b), a.max(b))));
        joins.sort();
        joins
    }

    fn subtrees(tree: &JoinTree) -> Vec<JoinTree> {
        match tree {
            JoinTree::Leaf(_) => vec![],
            JoinTree::Join(l, r) => {
                let below = [subtrees(l), subtrees(r)].concat();
                [below, vec![tree.clone()]].concat()
            }
        }
    }

    fn text(tree: &JoinTree) -> String {
        match tree {
            JoinTree::Leaf(relation) => ALIASES[*relation].to_string(),
            JoinTree::Join(l, r) => format!("({} {})", text(l), text(r)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// The best tree with a part is the best of all trees of the space that have the part.
        #[test]
        fn the_best_of_those_with_the_part(
            graph in connected_graph(6),
            more in prop::collection::vec(prop::bits::u64::masked(0x3f), 0..2),
            operators in prop::collection::vec((0..6_usize, 0..6_usize, 0..6_usize, 0..4_usize), 0..2),
            pick: prop::sample::Index,
            seed: u64,
        ) {
            let n = graph.len();
            let predicates = more.iter().map(|bits| RelSet::from_bits(*bits).intersect(graph.all()));
            // Operators take the place of an edge each.
            let edges = graph.edges().iter().copied().skip(operators.len());
            let operators = graph.edges().iter().zip(&operators).map(|((a, b, _), (x, y, z, kind))| Operator {
                rules: vec![ConflictRule {
                    if_any: RelSet::single(x % n),
                    then_all: RelSet::single(y % n).union(RelSet::single(z % n)),
                }],
                ..operator([JoinKind::Left, JoinKind::Semi, JoinKind::Inner, JoinKind::Full][*kind], &[*a], &[*b])
            });
            let graph = JoinGraph::new(n, edges).with_predicates(predicates).with_operators(operators.collect());
            let Some(space) = PlanSpace::new(&graph, 1000) else {
                return Ok(());
            };
            let trees: Vec<JoinTree> = (0..space.count().unwrap_or(0)).filter_map(|i| space.tree(i)).collect();
            let parts = subtrees(pick.get(&trees));
            let Some(part) = parts.get(seed as usize % parts.len().max(1)) else {
                return Ok(());
            };
            let rows = HashedRows(seed);
            let written = in_order(n);
            let problem = Problem { graph: &graph, cardinalities: &rows, cost: &Cout, written: &written, budget: u64::MAX };
            let forced = forced(&graph, &text(part)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let has_part = |tree: &JoinTree| {
                let all = joins(tree);
                joins(part).iter().all(|join| all.contains(join))
            };
            let best = trees.iter().filter(|tree| has_part(tree)).map(|tree| problem.tree_cost(tree)).fold(f64::INFINITY, f64::min);
            for by in [&DpHyp as &dyn Enumerator, &Exhaustive] {
                let found = constrain(&problem, &forced, by).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert!(has_part(&found.tree));
                prop_assert!((found.cost - best).abs() <= 1e-9 * best, "{} {best}", found.cost);
            }
            match constrain(&problem, &forced, &Goo) {
                Ok(greedy) => prop_assert!(has_part(&greedy.tree) && greedy.cost >= best * (1.0 - 1e-9)),
                Err(error) => prop_assert_eq!(error, HintError::NoTree),
            }
        }
    }
}
