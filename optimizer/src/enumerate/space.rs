//! The plan space: how many join trees a graph has, and any of them by its number.
//!
//! Counting and unranking after Waas & Galindo-Legaria, SIGMOD 2000. Each set of relations knows of which pairs it can
//! be joined and how many trees each pair stands for: the product of those of its sides. A number then leads from the
//! whole graph down to one tree, and a random number to a random tree, all equally likely.
//!
//! The chain 0–1–2 has 2 trees: number 0 and 1 of the pairs ({0,1},{2}) and ({0},{1,2}), in the order of the search.
//!
//! | here | in the paper |
//! |---|---|
//! | [`PlanSpace::new`] | counting, on the search's own table instead of a memo of operators |
//! | [`PlanSpace::tree`] | Unrank |
//! | [`PlanSpace::sample`] | uniform sampling |

use super::dphyp::{LinkedPairs, for_each_linked_pair};
use super::for_each_csg_cmp_pair;
use crate::join_graph::{JoinGraph, Link};
use crate::join_tree::JoinTree;
use crate::random::SplitMix;
use crate::relset::{MAX_RELATIONS, RelSet};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// All join trees of a graph without cross products, which operators allow. Trees that differ in the order of inputs
/// alone are one.
#[derive(Debug)]
pub struct PlanSpace {
    all: RelSet,
    most_sets: usize,
    sets: HashMap<RelSet, Trees, FixedState>,
}

/// The trees of a set.
#[derive(Debug, Default)]
struct Trees {
    /// How many, as far as a float tells.
    about: f64,
    /// How many; `None` if more than the type holds.
    count: Option<u128>,
    /// The pairs that the set can be joined of, by one side.
    sides: Vec<RelSet>,
}

impl PlanSpace {
    /// The space of a graph; `None` if it has more than `most_sets` sets that can be joined, or if the whole of it
    /// cannot be: it is not connected, or has more than [`MAX_RELATIONS`] relations.
    pub fn new(graph: &JoinGraph, most_sets: usize) -> Option<Self> {
        if graph.len() > MAX_RELATIONS {
            return None;
        }
        let single = |relation| {
            let one = Trees {
                about: 1.0,
                count: Some(1),
                sides: vec![],
            };
            (RelSet::single(relation), one)
        };
        let mut space = Self {
            all: graph.all(),
            most_sets,
            sets: (0..graph.len()).map(single).collect(),
        };
        let counted = match graph.is_plain() {
            true => for_each_csg_cmp_pair(graph, |a, b| space.add(a, b)),
            false => for_each_linked_pair(graph, &mut space),
        };
        (counted.is_continue() && space.has(space.all)).then_some(space)
    }

    fn add(&mut self, a: RelSet, b: RelSet) -> ControlFlow<()> {
        let product = {
            let (a, b) = (self.trees(a), self.trees(b));
            let count = a.count.zip(b.count).and_then(|(a, b)| a.checked_mul(b));
            (a.about * b.about, count)
        };
        let trees = self.sets.entry(a.union(b)).or_insert_with(|| Trees {
            count: Some(0),
            ..Trees::default()
        });
        trees.about += product.0;
        trees.count = trees
            .count
            .zip(product.1)
            .and_then(|(so_far, more)| so_far.checked_add(more));
        trees.sides.push(a);
        match self.sets.len() > self.most_sets {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// The trees of a set that can be joined, as all sets are that pairs are made of.
    fn trees(&self, set: RelSet) -> &Trees {
        const NONE: &Trees = &Trees {
            about: 0.0,
            count: Some(0),
            sides: vec![],
        };
        self.sets.get(&set).unwrap_or(NONE)
    }

    /// How many trees there are; `None` if more than `u128::MAX`.
    pub fn count(&self) -> Option<u128> {
        self.trees(self.all).count
    }

    /// How many trees there are, as far as a float tells; infinite if it does not.
    pub fn about(&self) -> f64 {
        self.trees(self.all).about
    }

    /// The tree of a number from 0 up to the count; `None` if it is not below, or if the count is not known.
    pub fn tree(&self, rank: u128) -> Option<JoinTree> {
        (rank < self.count()?).then(|| self.unrank(self.all, rank))?
    }

    fn unrank(&self, set: RelSet, mut rank: u128) -> Option<JoinTree> {
        if set.len() == 1 {
            return set.first().map(JoinTree::Leaf);
        }
        for side in &self.trees(set).sides {
            let other = set.minus(*side);
            let others = self.trees(other).count?;
            let here = self.trees(*side).count?.checked_mul(others)?;
            if rank < here {
                let left = self.unrank(*side, rank / others)?;
                return Some(JoinTree::join(left, self.unrank(other, rank % others)?));
            }
            rank -= here;
        }
        None
    }

    /// `count` trees, each chosen uniformly from all, with repetition. A seed decides which.
    pub fn sample(&self, seed: u64, count: usize) -> Vec<JoinTree> {
        let mut random = SplitMix::new(seed);
        (0..count)
            .map(|_| self.draw(self.all, &mut random))
            .collect()
    }

    /// Both sides of a pair are drawn on their own, so pairs have to be in proportion to their trees.
    fn draw(&self, set: RelSet, random: &mut SplitMix) -> JoinTree {
        let trees = self.trees(set);
        let Some(last) = trees.sides.last() else {
            return JoinTree::Leaf(set.first().unwrap_or(0));
        };
        let mut rest = random.unit() * trees.about;
        let chosen = trees.sides.iter().find(|side| {
            rest -= self.trees(**side).about * self.trees(set.minus(**side)).about;
            rest < 0.0
        });
        let side = *chosen.unwrap_or(last);
        let left = self.draw(side, random);
        JoinTree::join(left, self.draw(set.minus(side), random))
    }
}

impl LinkedPairs for PlanSpace {
    fn has(&self, set: RelSet) -> bool {
        self.sets.contains_key(&set)
    }

    fn pair(&mut self, a: RelSet, b: RelSet, _: Link) -> ControlFlow<()> {
        self.add(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::join_graph::{ConflictRule, JoinKind, Operator};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const MOST_SETS: usize = 1 << 20;

    #[track_caller]
    fn check(graph: &JoinGraph, count: u128) {
        let space = PlanSpace::new(graph, MOST_SETS).unwrap();
        assert_eq!(space.count(), Some(count), "{} relations", graph.len());
        assert!((space.about() / count as f64 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn counts_are_the_closed_forms() {
        let factorial = |n: u128| (1..=n).product::<u128>();
        for n in 2..=12_u128 {
            let catalan = factorial(2 * (n - 1)) / factorial(n - 1) / factorial(n);
            check(&chain(n as usize), catalan);
            check(&star(n as usize), factorial(n - 1));
            let odd = (1..=2 * n - 3).step_by(2).product();
            check(&clique(n as usize), odd);
        }
        // A cycle of n is cut in two chains at two of its edges.
        check(&cycle(4), 4 * 2 + 2);
        check(&chain(1), 1);
    }

    #[test]
    fn large_spaces() {
        // Catalan(63) is just within 128 bits.
        let chains = PlanSpace::new(&chain(64), MOST_SETS).unwrap();
        assert_eq!(
            chains.count(),
            Some(94_295_850_558_771_979_787_935_384_946_380_125)
        );
        let last = chains.count().and_then(|count| chains.tree(count - 1));
        assert_eq!(last.map(|tree| tree.relations()), Some(RelSet::first_n(64)));
        // A chain of 10 has a set for each of 55 parts of it.
        assert!(PlanSpace::new(&chain(10), 54).is_none());
        assert!(PlanSpace::new(&chain(10), 55).is_some());
    }

    #[test]
    fn no_space() {
        assert!(PlanSpace::new(&JoinGraph::new(2, []), MOST_SETS).is_none());
        assert!(PlanSpace::new(&chain(65), MOST_SETS).is_none());
        assert!(PlanSpace::new(&JoinGraph::new(0, []), MOST_SETS).is_none());
        let space = PlanSpace::new(&chain(3), MOST_SETS).unwrap();
        assert_eq!(space.tree(2), None);
    }

    /// Every tree whatever the order of inputs, by recursion alone.
    fn every_tree(graph: &JoinGraph, set: RelSet) -> Vec<JoinTree> {
        if set.len() == 1 {
            return set.iter().map(JoinTree::Leaf).collect();
        }
        let lowest = set.first().unwrap();
        let halves = set.subsets().filter(|a| a.contains(lowest) && *a != set);
        halves
            .filter(|a| graph.link(*a, set.minus(*a)).is_some())
            .flat_map(|a| {
                let right = every_tree(graph, set.minus(a));
                let left = every_tree(graph, a).into_iter();
                left.flat_map(move |l| {
                    right
                        .clone()
                        .into_iter()
                        .map(move |r| JoinTree::join(l.clone(), r))
                })
            })
            .collect()
    }

    /// The tree with the lower relation to the left.
    fn ordered(tree: &JoinTree) -> JoinTree {
        match tree {
            JoinTree::Leaf(relation) => JoinTree::Leaf(*relation),
            JoinTree::Join(left, right) => {
                let swap = left.relations().first() > right.relations().first();
                let (left, right) = if swap { (right, left) } else { (left, right) };
                JoinTree::join(ordered(left), ordered(right))
            }
        }
    }

    fn check_ranks(graph: &JoinGraph) -> Result<(), TestCaseError> {
        let mut expected: Vec<String> = every_tree(graph, graph.all())
            .iter()
            .map(|tree| format!("{tree:?}"))
            .collect();
        expected.sort();
        let Some(space) = PlanSpace::new(graph, MOST_SETS) else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        let count = space.count().unwrap_or(0);
        let mut found: Vec<String> = (0..count)
            .filter_map(|rank| space.tree(rank))
            .map(|tree| format!("{:?}", ordered(&tree)))
            .collect();
        found.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(space.tree(count), None);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn each_tree_has_one_number(
            graph in connected_graph(6),
            predicates in prop::collection::vec(prop::bits::u64::masked(0x3f), 0..2),
            operators in prop::collection::vec((any::<[u8; 6]>(), prop::bits::u64::masked(0x3f)), 0..3),
        ) {
            let all = graph.all();
            let within = |bits: u64| RelSet::from_bits(bits).intersect(all);
            let operators: Vec<Operator> = operators
                .into_iter()
                .filter(|_| all.len() > 2)
                .map(|([a, b, c, d, kind, _], more)| {
                    let n = all.len();
                    let left = RelSet::single(a as usize % n);
                    let right = RelSet::single((a as usize + 1 + b as usize % (n - 1)) % n);
                    let rule = ConflictRule {
                        if_any: RelSet::single(c as usize % n),
                        then_all: RelSet::single(d as usize % n),
                    };
                    Operator {
                        kind: [JoinKind::Inner, JoinKind::Left, JoinKind::Anti][kind as usize % 3],
                        relations: left.union(right),
                        left: left.union(within(more)).minus(right),
                        right,
                        keyed: true,
                        rules: vec![rule],
                    }
                })
                .collect();
            check_ranks(&graph)?;
            let graph = graph.with_predicates(predicates.into_iter().map(within));
            check_ranks(&graph)?;
            // Fewer edges, so that operators have something to connect.
            let edges = graph.edges().iter().copied().skip(operators.len());
            let graph = JoinGraph::new(graph.len(), edges).with_operators(operators);
            check_ranks(&graph)?;
        }
    }

    /// Chi-square of 15 trees, drawn 15,000 times: 14 degrees of freedom stay below 40 but for once in 4,000 seeds.
    #[test]
    fn samples_are_uniform() {
        let space = PlanSpace::new(&clique(4), MOST_SETS).unwrap();
        assert_eq!(space.count(), Some(15));
        for seed in 0..5 {
            let mut seen: HashMap<String, f64> = HashMap::new();
            for tree in space.sample(seed, 15_000) {
                *seen.entry(format!("{:?}", ordered(&tree))).or_default() += 1.0;
            }
            assert_eq!(seen.len(), 15);
            let chi_square: f64 = seen.values().map(|n| (n - 1000.0).powi(2) / 1000.0).sum();
            assert!(chi_square < 40.0, "{chi_square}: {seen:?}");
        }
        assert_eq!(space.sample(7, 20), space.sample(7, 20));
        assert_ne!(space.sample(7, 20), space.sample(8, 20));
    }
}
