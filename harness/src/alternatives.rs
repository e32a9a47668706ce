//! Which other join trees a search could have taken, what they would cost, and why they lost.
//!
//! A [`Witness`] stands in the place of an arm's search. It hands each problem on, keeps the answer as it is, and looks at other
//! trees under the same estimates and costs: those of other searches, those one exchange of joins away, and random ones. What it saw
//! belongs to the region whose written tree has the same shape and rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use joinwright_optimizer::enumerate::{Enumerator, PlanSpace, Problem, Solution};
use joinwright_optimizer::join_tree::{JoinTree, Step};
use joinwright_optimizer::relset::MAX_RELATIONS;
use joinwright_optimizer::trace::TraceTree;
use joinwright_optimizer::{Registry, Trace};
use serde::Serialize;

/// Searches whose trees are looked at, where the registry has them.
const SEARCHES: [&str; 6] = ["goo", "ikkbz", "lindp", "goo-dp", "quickpick", "simpli"];

/// How the trees of neither a search nor the query are called.
const EXCHANGE: &str = "one exchange";
const RANDOM: &str = "random";

/// How many of the trees that are one exchange away are kept.
const MOST_EXCHANGES: usize = 3;
/// How many alternatives of a region are kept.
const MOST_ALTERNATIVES: usize = 6;
/// Random trees that are drawn of each plan space, with this seed.
const RANDOM_TREES: usize = 200;
const SEED: u64 = 1;
/// Plan spaces of more sets of relations take too long to count.
const MOST_SETS: usize = 1 << 12;
/// Steps between the quantiles of random trees.
const QUANTILES: usize = 20;

/// A join tree that was not taken.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Alternative {
    /// The search that finds it, `one exchange`, or `random`.
    pub(crate) by: String,
    pub(crate) tree: TraceTree,
    pub(crate) cost: f64,
    /// Its cost over that of the tree taken; absent where that is free.
    pub(crate) ratio: Option<f64>,
    /// Its largest join that the tree taken does not have.
    pub(crate) larger: Option<Intermediate>,
    /// The largest join of the tree taken that it does not have.
    pub(crate) instead_of: Option<Intermediate>,
}

/// The result of a join within a tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Intermediate {
    /// Aliases, sorted.
    pub(crate) relations: Vec<String>,
    pub(crate) est_rows: f64,
}

/// All join trees of a region without cross products.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Space {
    /// How many, not counting the order of inputs, as far as a float tells.
    pub(crate) trees: f64,
    /// How many were drawn, all equally likely, with repetition.
    pub(crate) sampled: usize,
    /// How many of those cost less than the tree taken.
    pub(crate) cheaper: usize,
    /// Their costs over that of the tree taken: the least, then in steps of 5 %, the largest last. Empty where that is free.
    pub(crate) ratios: Vec<f64>,
}

/// What is known of the trees that a region does not have.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Alternatives {
    /// The cheapest first.
    pub(crate) alternatives: Vec<Alternative>,
    pub(crate) space: Option<Space>,
}

/// One problem that was searched. Relations are called by their index.
#[derive(Debug)]
struct Recording {
    written: TraceTree,
    candidates: Vec<Candidate>,
    /// How many trees there are, and the costs of random ones.
    space: Option<(f64, Vec<f64>)>,
    /// The time that all this took.
    spent: Duration,
}

#[derive(Debug)]
struct Candidate {
    by: String,
    tree: TraceTree,
    cost: f64,
}

/// What the searches of a session were asked, to be taken after each query. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recordings(Arc<Mutex<Vec<Recording>>>);

impl Recordings {
    /// Puts a witness in the place of an arm's enumerator; the result is the name by which a session finds it.
    pub(crate) fn watch(&self, registry: &mut Registry, enumerator: &str) -> Option<String> {
        let inner = registry.enumerator(enumerator)?;
        let name = inner.name().to_owned();
        let others = SEARCHES.iter().filter(|other| **other != name);
        registry.add_enumerator(Arc::new(Witness {
            others: others.filter_map(|o| registry.enumerator(o)).collect(),
            inner,
            recordings: self.clone(),
        }));
        Some(name)
    }

    /// The alternatives of each region, by what was searched since the last call. Takes the time that was spent here from the time
    /// of planning.
    pub(crate) fn take(&self, regions: &mut [Trace]) -> Vec<Option<Alternatives>> {
        let recordings = std::mem::take(&mut *self.lock());
        let of_region = |region: &mut Trace| {
            // The first pass sees the order of the query; later ones know their regions.
            let (recording, names) = recordings.iter().find_map(|recording| {
                let mut names = BTreeMap::new();
                let same = same_tree(&recording.written, &region.written, &mut names);
                same.then_some((recording, names))
            })?;
            let spent = recording.spent.as_micros() as u64;
            region.planning_us = region.planning_us.map(|us| us.saturating_sub(spent));
            Some(alternatives(recording, &names, region))
        };
        regions.iter_mut().map(of_region).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Recording>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A search that is watched.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn Enumerator>,
    others: Vec<Arc<dyn Enumerator>>,
    recordings: Recordings,
}

impl Enumerator for Witness {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let solution = self.inner.search(problem);
        if (3..=MAX_RELATIONS).contains(&problem.graph.len()) {
            let recording = self.record(problem, &solution);
            self.recordings.lock().push(recording);
        }
        solution
    }
}

impl Witness {
    fn record(&self, problem: &Problem<'_>, solution: &Solution) -> Recording {
        let started = Instant::now();
        let mut trees = vec![(self.inner.name().to_owned(), solution.tree.clone())];
        for other in &self.others {
            trees.push((other.name().to_owned(), other.search(problem).tree));
        }
        let mut exchanged: Vec<(f64, JoinTree)> = exchanges(&solution.tree)
            .into_iter()
            .filter(|tree| is_connected(tree, problem))
            .map(|tree| oriented(&tree, problem))
            .collect();
        exchanged.sort_by(|a, b| a.0.total_cmp(&b.0));
        let exchanged = exchanged.into_iter().take(MOST_EXCHANGES);
        trees.extend(exchanged.map(|(_, tree)| (EXCHANGE.to_owned(), tree)));
        let space = PlanSpace::new(problem.graph, MOST_SETS).map(|space| {
            let drawn = space.sample(SEED, RANDOM_TREES);
            let mut drawn: Vec<(f64, JoinTree)> =
                drawn.iter().map(|tree| oriented(tree, problem)).collect();
            drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
            let best = drawn.first().map(|(_, tree)| tree.clone());
            trees.extend(best.map(|tree| (RANDOM.to_owned(), tree)));
            let costs = drawn.into_iter().map(|(cost, _)| cost).collect();
            (space.about(), costs)
        });
        let names: Vec<String> = (0..problem.graph.len()).map(|at| at.to_string()).collect();
        let traced = |tree: &JoinTree| TraceTree::new(tree, &names, problem.cardinalities);
        let mut seen = BTreeSet::new();
        let mut candidates = vec![];
        for (by, tree) in trees {
            if seen.insert(shape(&tree)) {
                candidates.push(Candidate {
                    by,
                    cost: problem.tree_cost(&tree),
                    tree: traced(&tree),
                });
            }
        }
        Recording {
            written: traced(problem.written),
            candidates,
            space,
            spent: started.elapsed(),
        }
    }
}

/// All trees that differ in the order of two adjacent joins.
fn exchanges(tree: &JoinTree) -> Vec<JoinTree> {
    let JoinTree::Join(left, right) = tree else {
        return vec![];
    };
    let mut found = vec![];
    for (upper, other) in [(left, right), (right, left)] {
        if let JoinTree::Join(a, b) = upper.as_ref() {
            for (stays, moves) in [(a, b), (b, a)] {
                let lower = JoinTree::join(JoinTree::clone(stays), JoinTree::clone(other));
                found.push(JoinTree::join(lower, JoinTree::clone(moves)));
            }
        }
        found.extend(
            exchanges(upper)
                .into_iter()
                .map(|upper| JoinTree::join(upper, JoinTree::clone(other))),
        );
    }
    found
}

/// Whether no join of a tree is a cross product, or against the conflicts of operators.
fn is_connected(tree: &JoinTree, problem: &Problem<'_>) -> bool {
    let mut connected = true;
    tree.for_each_join(&mut |left, right| {
        connected &= problem.graph.link(left, right).is_some();
    });
    connected
}

/// A tree with its cost, each join with the cheaper of its inputs on the left.
fn oriented(tree: &JoinTree, problem: &Problem<'_>) -> (f64, JoinTree) {
    let tree = tree.fold(&mut |step: Step<JoinTree>| match step {
        Step::Leaf(index) => JoinTree::Leaf(index),
        Step::Join(left, right) => {
            let straight = JoinTree::join(left.clone(), right.clone());
            let swapped = JoinTree::join(right, left);
            match problem.tree_cost(&swapped) < problem.tree_cost(&straight) {
                true => swapped,
                false => straight,
            }
        }
    });
    (problem.tree_cost(&tree), tree)
}

/// What trees have in common that differ in the order of inputs alone.
fn shape(tree: &JoinTree) -> String {
    tree.fold(&mut |step: Step<String>| match step {
        Step::Leaf(index) => index.to_string(),
        Step::Join(left, right) => match left <= right {
            true => format!("({left} {right})"),
            false => format!("({right} {left})"),
        },
    })
}

/// Whether two trees have the same shape and rows; `names` gets the names in the second one of the leaves of the first.
fn same_tree(one: &TraceTree, other: &TraceTree, names: &mut BTreeMap<String, String>) -> bool {
    if one.est_rows() != other.est_rows() {
        return false;
    }
    match (one, other) {
        (TraceTree::Leaf { alias, .. }, TraceTree::Leaf { alias: name, .. }) => {
            names.insert(alias.clone(), name.clone());
            true
        }
        (
            TraceTree::Join { left, right, .. },
            TraceTree::Join {
                left: first,
                right: second,
                ..
            },
        ) => same_tree(left, first, names) && same_tree(right, second, names),
        _ => false,
    }
}

/// A tree with other names for its leaves.
fn renamed(tree: &TraceTree, names: &BTreeMap<String, String>) -> TraceTree {
    let mut tree = tree.clone();
    rename(&mut tree, names);
    tree
}

fn rename(tree: &mut TraceTree, names: &BTreeMap<String, String>) {
    match tree {
        TraceTree::Leaf { alias, .. } => {
            if let Some(name) = names.get(alias) {
                alias.clone_from(name);
            }
        }
        TraceTree::Join { left, right, .. } => {
            rename(left, names);
            rename(right, names);
        }
    }
}

/// The joins of a tree but for the topmost, which all trees have.
fn intermediates(tree: &TraceTree) -> Vec<Intermediate> {
    fn visit(tree: &TraceTree, found: &mut Vec<Intermediate>) -> Vec<String> {
        match tree {
            TraceTree::Leaf { alias, .. } => vec![alias.clone()],
            TraceTree::Join {
                left,
                right,
                est_rows,
                ..
            } => {
                let mut relations = visit(left, found);
                relations.extend(visit(right, found));
                relations.sort_unstable();
                found.push(Intermediate {
                    relations: relations.clone(),
                    est_rows: *est_rows,
                });
                relations
            }
        }
    }
    let mut found = vec![];
    visit(tree, &mut found);
    found.pop();
    found
}

/// The largest join of one tree that the other does not have.
fn largest_without(tree: &[Intermediate], other: &[Intermediate]) -> Option<Intermediate> {
    let missing = tree.iter().filter(|own| {
        let same = |join: &Intermediate| join.relations == own.relations;
        !other.iter().any(same)
    });
    let largest = missing.max_by(|a, b| a.est_rows.total_cmp(&b.est_rows));
    largest.cloned()
}

fn alternatives(
    recording: &Recording,
    names: &BTreeMap<String, String>,
    region: &Trace,
) -> Alternatives {
    let ratio = |cost: f64| Some(cost / region.cost).filter(|ratio| ratio.is_finite());
    let taken = intermediates(&region.tree);
    let joins_of = |joins: &[Intermediate]| -> BTreeSet<Vec<String>> {
        joins.iter().map(|join| join.relations.clone()).collect()
    };
    let mut known = BTreeSet::from([joins_of(&taken)]);
    if region.reordered {
        known.insert(joins_of(&intermediates(&region.written)));
    }
    let mut alternatives: Vec<Alternative> = vec![];
    for candidate in &recording.candidates {
        let tree = renamed(&candidate.tree, names);
        let own = intermediates(&tree);
        if known.insert(joins_of(&own)) {
            alternatives.push(Alternative {
                by: candidate.by.clone(),
                ratio: ratio(candidate.cost),
                cost: candidate.cost,
                larger: largest_without(&own, &taken),
                instead_of: largest_without(&taken, &own),
                tree,
            });
        }
    }
    alternatives.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    alternatives.truncate(MOST_ALTERNATIVES);
    let space = recording.space.as_ref().map(|(trees, costs)| Space {
        trees: *trees,
        sampled: costs.len(),
        cheaper: costs.iter().filter(|cost| **cost < region.cost).count(),
        ratios: quantiles(costs).into_iter().filter_map(ratio).collect(),
    });
    Alternatives {
        alternatives,
        space,
    }
}

/// The least of sorted values, then those in equal steps, the largest last.
fn quantiles(sorted: &[f64]) -> Vec<f64> {
    let Some(last) = sorted.len().checked_sub(1) else {
        return vec![];
    };
    (0..=QUANTILES)
        .map(|step| sorted[last * step / QUANTILES])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use joinwright_optimizer::cost::Cout;
    use joinwright_optimizer::estimate::ProductRows;
    use joinwright_optimizer::join_graph::{EdgeKind, JoinGraph};

    /// The chain a – b – c – d of these rows, whose joins keep a hundredth of all pairs.
    fn with_chain<T>(rows: &[f64], look: impl FnOnce(&Problem<'_>) -> T) -> T {
        let edges: Vec<(usize, usize)> = (1..rows.len()).map(|at| (at - 1, at)).collect();
        let keyed = edges.iter().map(|(a, b)| (*a, *b, EdgeKind::Equality));
        let graph = JoinGraph::new(rows.len(), keyed);
        let selective = edges.iter().map(|(a, b)| (*a, *b, 0.01));
        let cardinalities = ProductRows::new(rows.to_vec(), selective);
        let written = (1..rows.len()).fold(JoinTree::Leaf(0), |left, at| {
            JoinTree::join(left, JoinTree::Leaf(at))
        });
        look(&Problem {
            graph: &graph,
            cardinalities: &cardinalities,
            cost: &Cout,
            written: &written,
            budget: 1_000,
        })
    }

    fn traced(tree: &JoinTree, problem: &Problem<'_>) -> TraceTree {
        let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        TraceTree::new(tree, &names, problem.cardinalities)
    }

    #[test]
    fn exchanges_keep_to_the_graph() {
        with_chain(&[10.0, 10.0, 10.0], |problem| {
            let all = exchanges(problem.written);
            assert_eq!(all.len(), 2);
            let connected: Vec<String> = all
                .iter()
                .filter(|tree| is_connected(tree, problem))
                .map(shape)
                .collect();
            assert_eq!(connected, ["((1 2) 0)"]);
        });
    }

    #[test]
    fn the_alternatives_of_a_chain() {
        with_chain(&[1_000.0, 100.0, 10.0, 500.0], |problem| {
            let recordings = Recordings::default();
            let mut registry = Registry::default();
            let name = recordings.watch(&mut registry, "dpccp");
            assert_eq!(name.as_deref(), Some("dpccp"));
            assert_eq!(recordings.watch(&mut registry, "nothing"), None);
            let search = registry.enumerator("dpccp").unwrap();
            let solution = search.search(problem);
            let plain = Registry::default().enumerator("dpccp").unwrap();
            assert_eq!(solution, plain.search(problem), "what is watched changed");

            let region = Trace {
                region: 0,
                relations: vec![],
                edges: vec![],
                tree: traced(&solution.tree, problem),
                cost: solution.cost,
                written: traced(problem.written, problem),
                written_cost: problem.tree_cost(problem.written),
                reordered: true,
                won: None,
                pairs: 0,
                stop: String::new(),
                planning_us: Some(u64::MAX),
                estimator: String::new(),
                enumerator: String::new(),
                cost_model: String::new(),
            };
            let mut regions = [region];
            let found = recordings.take(&mut regions);
            let Alternatives {
                alternatives,
                space,
            } = found.into_iter().next().flatten().unwrap();
            // A chain of four has five trees: one was taken, one is that of the query.
            assert_eq!(space.as_ref().map(|space| space.trees), Some(5.0));
            let space = space.unwrap();
            assert_eq!((space.cheaper, space.ratios.len()), (0, QUANTILES + 1));
            assert_eq!(space.ratios.first(), Some(&1.0));
            assert!((1..=3).contains(&alternatives.len()), "{alternatives:?}");
            for pair in alternatives.windows(2) {
                assert!(pair[0].cost <= pair[1].cost);
            }
            for alternative in &alternatives {
                assert!(alternative.ratio.unwrap() > 1.0);
                let (larger, instead) = (&alternative.larger, &alternative.instead_of);
                assert_ne!(larger.as_ref().unwrap(), instead.as_ref().unwrap());
            }
            assert!(recordings.take(&mut regions)[0].is_none(), "taken already");
        });
    }
}
