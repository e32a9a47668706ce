//! GOO, greedy operator ordering: Fegaras 1998.
//!
//! Start with one tree a relation and join, again and again, the two trees whose join is cheapest.
//! Trees that no predicate connects are joined only when nothing else is left.

use super::parts::Parts;
use super::{Enumerator, Input, Problem, Solution, StopReason, best_orientation, goo_heap};
use crate::join_tree::{JoinTree, Step};
use crate::relset::MAX_RELATIONS;

/// The greedy search: at most n² candidate joins for n relations, no guarantee.
#[derive(Debug, Clone, Copy, Default)]
pub struct Goo;

impl Enumerator for Goo {
    fn name(&self) -> &str {
        "goo"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        greedy(problem)
    }
}

/// GOO from single relations.
pub(super) fn greedy(problem: &Problem<'_>) -> Solution {
    let (tree, pairs) = match problem.graph.len() <= MAX_RELATIONS {
        true => {
            let forest = (0..problem.graph.len()).map(JoinTree::Leaf).collect();
            join_forest(problem, forest)
        }
        false => goo_heap::greedy(&Parts::of(problem), problem.cost),
    };
    let Some(tree) = tree else {
        return problem.no_other(pairs);
    };
    Solution {
        cost: problem.tree_cost(&tree),
        tree,
        pairs,
        stop: StopReason::Greedy { after: 0 },
    }
}

/// Joins the trees of the components of a graph into one, the smallest first, and returns how many candidates it looked
/// at.
pub(super) fn join_components(
    problem: &Problem<'_>,
    mut forest: Vec<JoinTree>,
) -> (Option<JoinTree>, u64) {
    if forest.len() <= 1 {
        return (forest.pop(), 0);
    }
    if problem.graph.len() <= MAX_RELATIONS {
        return join_forest(problem, forest);
    }
    let compounds = Parts::of(problem).compounds(&forest);
    let (tree, pairs) = goo_heap::greedy(&compounds, problem.cost);
    let mut forest: Vec<Option<JoinTree>> = forest.into_iter().map(Some).collect();
    let tree = tree.and_then(|tree| {
        tree.fold(&mut |step| match step {
            Step::Leaf(compound) => forest.get_mut(compound)?.take(),
            Step::Join(left, right) => Some(JoinTree::join(left?, right?)),
        })
    });
    (tree, pairs)
}

/// A tree of the forest.
struct Root {
    tree: JoinTree,
    input: Input,
}

/// A candidate join of two roots, by their positions, the lower first.
#[derive(Clone, Copy)]
struct Candidate {
    a: usize,
    b: usize,
    connected: bool,
    cost: f64,
}

/// Joins a forest of at least one tree into one tree, and returns how many candidates it looked at. There is no tree
/// if the conflicts of joins leave none to what was joined first.
pub(super) fn join_forest(problem: &Problem<'_>, forest: Vec<JoinTree>) -> (Option<JoinTree>, u64) {
    let mut roots: Vec<Option<Root>> = forest
        .into_iter()
        .map(|tree| {
            let set = tree.relations();
            let rows = problem.cardinalities.rows(set);
            Some(Root {
                tree,
                input: Input { set, rows },
            })
        })
        .collect();
    let mut left = roots.len();
    let mut pairs = 0;
    let mut candidates = vec![];
    for b in 1..roots.len() {
        add_candidates(problem, &roots, b, &mut candidates, &mut pairs);
    }
    // Positions break ties, so that equal costs cannot depend on the order of the list.
    while let Some(next) = candidates.iter().copied().min_by(|x: &Candidate, y| {
        y.connected
            .cmp(&x.connected)
            .then(x.cost.total_cmp(&y.cost))
            .then((x.a, x.b).cmp(&(y.a, y.b)))
    }) {
        let (Some(a), Some(b)) = (roots[next.a].take(), roots[next.b].take()) else {
            break;
        };
        let set = a.input.set.union(b.input.set);
        let rows = problem.cardinalities.rows(set);
        let (_, left_set, _) = best_orientation(problem, &a.input, &b.input, rows);
        let tree = if left_set == a.input.set {
            JoinTree::join(a.tree, b.tree)
        } else {
            JoinTree::join(b.tree, a.tree)
        };
        roots.push(Some(Root {
            tree,
            input: Input { set, rows },
        }));
        left -= 1;
        candidates.retain(|c| ![next.a, next.b].contains(&c.a) && ![next.a, next.b].contains(&c.b));
        let last = roots.len() - 1;
        add_candidates(problem, &roots, last, &mut candidates, &mut pairs);
    }
    let tree = roots.into_iter().flatten().next_back().map(|r| r.tree);
    (tree.filter(|_| left == 1), pairs)
}

/// Adds the joins of root `b` with all roots before it.
fn add_candidates(
    problem: &Problem<'_>,
    roots: &[Option<Root>],
    b: usize,
    candidates: &mut Vec<Candidate>,
    pairs: &mut u64,
) {
    let Some(right) = &roots[b] else { return };
    // Nothing tells a product from one that takes a relation to the wrong side of an outer join.
    let products = problem.graph.operators().is_empty();
    for (a, left) in roots[..b].iter().enumerate() {
        let Some(left) = left else { continue };
        let connected = problem
            .graph
            .link(left.input.set, right.input.set)
            .is_some();
        if !connected && !products {
            continue;
        }
        let rows = problem
            .cardinalities
            .rows(left.input.set.union(right.input.set));
        let (cost, _, _) = best_orientation(problem, &left.input, &right.input, rows);
        *pairs += 1;
        candidates.push(Candidate {
            a,
            b,
            connected,
            cost,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_cross_product_in_a_connected_graph(graph in connected_graph(20), seed: u64) {
            let rows = HashedRows(seed);
            let written = in_order(graph.len());
            let problem = problem(&graph, &rows, &written, 0);
            let solution = Goo.search(&problem);
            prop_assert_eq!(solution.tree.relations(), graph.all());
            let mut ok = true;
            solution.tree.for_each_join(&mut |l, r| ok &= graph.connects(l, r));
            prop_assert!(ok, "{:?}", solution.tree);
            let n = graph.len() as u64;
            prop_assert!(solution.pairs <= n * n);
        }
    }

    #[test]
    fn the_cheapest_join_comes_first() {
        // 0–1–2 with rows by set: {1,2} is smaller than {0,1}.
        #[derive(Debug)]
        struct Rows;
        impl crate::estimate::Cardinalities for Rows {
            fn estimate(&self, set: crate::relset::RelSet) -> crate::estimate::Estimate {
                crate::estimate::Estimate::guess(match set.bits() {
                    0b011 => 50.0,
                    0b110 => 5.0,
                    _ => 10.0,
                })
            }
        }
        let graph = chain(3);
        let written = in_order(3);
        let solution = Goo.search(&problem(&graph, &Rows, &written, 0));
        // The result of 1⋈2 has fewer rows than relation 0, so it is the build side.
        assert_eq!(
            solution.tree,
            JoinTree::join(
                JoinTree::join(JoinTree::Leaf(1), JoinTree::Leaf(2)),
                JoinTree::Leaf(0)
            )
        );
        assert_eq!(solution.cost, 15.0);
    }
}
