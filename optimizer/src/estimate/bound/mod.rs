//! A guaranteed upper bound: never below the true rows of a join.
//!
//! The equalities of a set of relations are thinned to a tree (dropping one can only enlarge the result, as does dropping other
//! predicates across relations), and the tree is folded from its leaves to a root. What a subtree sends to an equality class is, for
//! each key k, the most rows that the join of its relations can have with k:
//!
//! - Of a relation whose rows are all known, M(k) = Σ over its passing rows with key k of Π of what its other classes send at that
//!   row's keys. That is Yannakakis' counting: no bound but the truth, if what it is sent is true.
//! - Of any other relation its degrees are known. k has at most d = deg(k) rows, and d rows have at most what the d largest products
//!   have, where each class's values are sorted by themselves (rearrangement inequality): M(k) = Σ over i ≤ d of Π of the i-th largest values.
//!   A value v at a key k' of the class counts deg(k') times. This is SafeBound (Deeds et al., SIGMOD 2023), with keys that still have their
//!   names instead of compressed degree sequences. Degrees before predicates bound those after, and so does the number of
//!   rows that pass.
//!
//! The root sums over all rows in the same ways. Every root and every tree gives a bound; roots are tried where they differ.
//! Relations without any bound (sub-plans, tables of unknown size) make the bound of their sets infinite.
//!
//! Example: 3 dependencies with names (a, a, b), 4 packages with names (a, b, b, c): names alone give 2·1 + 1·2 = 4 rows. If only the
//! degrees (2, 1) are known, and not whose they are, the packages have at most 2·2 + 1·1 = 5.

mod leaf;
mod message;

pub(crate) use leaf::Leaf;

use self::message::{Factor, Message, Steps, Sums, Weights, product};
use super::textbook::Textbook;
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::query_graph::QueryGraph;
use crate::relset::RelSet;
use foldhash::HashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// How much is looked at for one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Rows of one relation; beyond, its degrees must do.
    pub(crate) rows: usize,
    /// Keys that degrees are joined with one by one; beyond, hashed bins must do.
    pub(crate) keys: usize,
}

/// On the Debian suite 20,000 rows and 4,000 keys tighten the median bound from 20 to 8 times the truth, for eleven times the work of all
/// estimates together.
const LIMITS: Limits = Limits {
    rows: 2_000,
    keys: 2_000,
};

/// Sums of more rows than this are rounded, and so are bounds: upwards.
const EXACT_ROWS: f64 = (1u64 << 50) as f64;

/// The bound as an estimator: the most pessimistic that is still right.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bound;

impl CardinalityEstimator for Bound {
    fn name(&self) -> &str {
        "bound"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Prepared {
            bounds: Bounds::new(graph),
            textbook: Textbook.prepare(graph),
        })
    }
}

#[derive(Debug)]
struct Prepared {
    bounds: Bounds,
    /// For sets without a bound.
    textbook: Box<dyn Cardinalities>,
}

impl Cardinalities for Prepared {
    fn estimate(&self, set: RelSet) -> Estimate {
        let bound = self.bounds.upper_bound(set);
        match bound.is_finite() {
            true => Estimate {
                rows: bound.max(super::profile::MIN_ROWS),
                source: EstimateSource::Bound,
                upper_bound: Some(bound),
            },
            false => self.textbook.estimate(set),
        }
    }
}

/// Upper bounds of the sets of relations of one region.
#[derive(Debug)]
pub(crate) struct Bounds {
    leaves: Vec<Leaf>,
    limits: Limits,
    /// Which relation has a key in which class, in the order in which they are taken into a tree.
    incidences: Vec<Incidence>,
    /// By relation at the top, class above it, and relations.
    messages: RefCell<HashMap<(usize, usize, RelSet), Rc<Message>>>,
    /// By relation, class below it, and relations behind.
    steps: RefCell<HashMap<(usize, usize, RelSet), Rc<Steps>>>,
    bounds: RefCell<HashMap<RelSet, f64>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Incidence {
    relation: usize,
    class: usize,
}

impl Bounds {
    /// Looks at the relations of a graph, and evaluates their predicates.
    pub(crate) fn new(graph: &QueryGraph) -> Self {
        let leaves = (0..graph.relations.len()).map(|at| Leaf::new(graph, at));
        Self::of_leaves(leaves.collect(), LIMITS)
    }

    /// From what is known of each relation.
    pub(crate) fn of_leaves(leaves: Vec<Leaf>, limits: Limits) -> Self {
        let mut incidences = vec![];
        for (relation, leaf) in leaves.iter().enumerate() {
            for (class, key) in leaf.keys.iter().enumerate() {
                if let Some(key) = key {
                    incidences.push((key.weight(), Incidence { relation, class }));
                }
            }
        }
        // Classes of many keys join fewest rows: they are the last to be dropped.
        let most = |class| {
            let of_class = incidences.iter().filter(|i| i.1.class == class);
            of_class.map(|i| i.0).max()
        };
        let mut sorted = incidences.clone();
        sorted.sort_by_key(|(keys, i)| {
            let keys = std::cmp::Reverse((most(i.class), *keys));
            (keys, i.class, i.relation)
        });
        Self {
            incidences: sorted.into_iter().map(|i| i.1).collect(),
            leaves,
            limits,
            messages: RefCell::default(),
            steps: RefCell::default(),
            bounds: RefCell::default(),
        }
    }

    /// Rows that the join of a set of relations does not exceed, infinite if there is no such bound.
    pub(crate) fn upper_bound(&self, set: RelSet) -> f64 {
        if let Some(bound) = self.bounds.borrow().get(&set) {
            return *bound;
        }
        let tree = self.tree(set);
        let mut left = set;
        let mut factors = vec![];
        while let Some(first) = left.iter().next() {
            let component = reach(&tree, first, None);
            factors.push(self.component(&tree, component));
            left = left.minus(component);
        }
        let mut bound = product(factors.into_iter());
        if bound > EXACT_ROWS {
            bound *= 1.0 + 1e-9;
        }
        let bound = if bound.is_nan() { f64::INFINITY } else { bound };
        self.bounds.borrow_mut().insert(set, bound);
        bound
    }

    /// The relations of one tree.
    fn component(&self, tree: &[Incidence], set: RelSet) -> f64 {
        let rows = product(set.iter().map(|r| self.leaves[r].rows));
        if set.len() == 1 || rows == 0.0 {
            return rows;
        }
        let mut bound = rows;
        let mut try_root = |relation: usize| {
            let factors = self.factors(tree, relation, None);
            let (sum, exact) = self.root(relation, &factors);
            bound = bound.min(sum);
            exact
        };
        let part = |whole| set.iter().filter(move |r| self.leaves[*r].whole == whole);
        // With all rows known every root tells the truth about its tree: the smallest does it fastest.
        let exact = match part(false).next() {
            Some(_) => false,
            None => part(true)
                .min_by(|a, b| self.leaves[*a].rows.total_cmp(&self.leaves[*b].rows))
                .is_some_and(&mut try_root),
        };
        if !exact {
            // What is known least is used once only where it is at the root.
            let known_least = part(false).next().is_none();
            for relation in part(known_least) {
                try_root(relation);
            }
        }
        bound
    }

    /// Incidences of the relations of a set that make trees of them.
    fn tree(&self, set: RelSet) -> Vec<Incidence> {
        let n = self.leaves.len();
        let mut parent: Vec<usize> = vec![];
        let mut kept = vec![];
        for incidence in &self.incidences {
            if !set.contains(incidence.relation) {
                continue;
            }
            let (a, b) = (incidence.relation, n + incidence.class);
            if parent.len() <= a.max(b) {
                parent.extend(parent.len()..=a.max(b));
            }
            let (a, b) = (find(&mut parent, a), find(&mut parent, b));
            if a != b {
                parent[a] = b;
                kept.push(*incidence);
            }
        }
        kept
    }

    /// What is sent to a relation by its classes except `above`.
    fn factors(&self, tree: &[Incidence], relation: usize, above: Option<usize>) -> Vec<Factor> {
        let mut factors = vec![];
        let classes = tree.iter().filter(|i| i.relation == relation);
        for class in classes.map(|i| i.class).filter(|c| Some(*c) != above) {
            let mut behind = RelSet::EMPTY;
            let mut messages = vec![];
            let others = tree.iter().filter(|i| i.class == class);
            for other in others.map(|i| i.relation).filter(|r| *r != relation) {
                let subtree = reach(tree, other, Some(class));
                behind = behind.union(subtree);
                messages.push(self.message(tree, other, class, subtree));
            }
            if !messages.is_empty() {
                factors.push(Factor {
                    class,
                    behind,
                    messages,
                });
            }
        }
        factors
    }

    /// What relation `top` sends to class `above` for the relations `set` of its subtree. These are joined alike in the trees of all
    /// sets, since all take incidences in the same order.
    fn message(&self, tree: &[Incidence], top: usize, above: usize, set: RelSet) -> Rc<Message> {
        let place = (top, above, set);
        if let Some(message) = self.messages.borrow().get(&place) {
            return Rc::clone(message);
        }
        let factors = self.factors(tree, top, Some(above));
        let message = Rc::new(self.make_message(top, above, &factors));
        let mut messages = self.messages.borrow_mut();
        messages.insert(place, Rc::clone(&message));
        message
    }

    fn make_message(&self, top: usize, above: usize, factors: &[Factor]) -> Message {
        let leaf = &self.leaves[top];
        let all = factors.is_empty() && leaf.pass.is_none();
        let key = leaf.keys[above].clone().unwrap_or_default();
        if !all && let Some(index) = &key.index {
            let mut weights = Weights::default();
            let done = self.for_each_row(top, factors, &mut |row, weight| {
                if let Some(hash) = index.hash(row) {
                    *weights.entry(hash).or_default() += weight;
                }
            });
            if let Some(exact) = done {
                return Message::counted(weights, exact);
            }
        }
        Message::Degrees {
            key,
            sums: self.sums(top, factors),
            exact: all && leaf.whole && leaf.rows == leaf.candidates,
        }
    }

    /// The sum over all rows of a relation, and whether it was counted.
    fn root(&self, relation: usize, factors: &[Factor]) -> (f64, bool) {
        let (mut sum, mut max) = (0.0, 0.0_f64);
        let done = self.for_each_row(relation, factors, &mut |_, weight| {
            sum += weight;
            max = max.max(weight);
        });
        match done {
            // Not all of the rows that were looked at may pass.
            Some(exact) => (sum.min(max * self.leaves[relation].rows), exact),
            None => (self.sums(relation, factors).total(), false),
        }
    }

    /// What the rows of a relation have at most, as far as its degrees tell.
    fn sums(&self, relation: usize, factors: &[Factor]) -> Sums {
        let leaf = &self.leaves[relation];
        let steps: Vec<Rc<Steps>> = factors
            .iter()
            .map(|factor| {
                let place = (relation, factor.class, factor.behind);
                if let Some(steps) = self.steps.borrow().get(&place) {
                    return Rc::clone(steps);
                }
                let key = leaf.keys[factor.class].clone().unwrap_or_default();
                let steps = Rc::new(Steps::new(&key, leaf.rows, factor, self.limits.keys));
                let mut known = self.steps.borrow_mut();
                known.insert(place, Rc::clone(&steps));
                steps
            })
            .collect();
        Sums::new(&steps, leaf.rows)
    }

    /// Calls `visit` with the rows of a relation that pass and join, and the product of what they are sent. Returns whether that is counted
    /// and not bounded, or `None` where the rows are not known, or are too many.
    fn for_each_row(
        &self,
        relation: usize,
        factors: &[Factor],
        visit: &mut dyn FnMut(u32, f64),
    ) -> Option<bool> {
        let leaf = &self.leaves[relation];
        if !leaf.whole {
            return None;
        }
        let mut indexes = vec![];
        for factor in factors {
            indexes.push(leaf.keys[factor.class].as_ref()?.index.as_ref()?);
        }
        let both: Vec<_> = factors.iter().zip(indexes).collect();
        let mut one = |row: u32| {
            let mut weight = 1.0;
            for (factor, index) in &both {
                weight *= index.hash(row).map_or(0.0, |hash| factor.at(hash));
                if weight == 0.0 {
                    return;
                }
            }
            visit(row, weight);
        };
        // The rows of the keys of the factor that has fewest, or those that pass.
        let most = self.limits.rows as f64;
        let mut work = leaf.candidates;
        let mut driver = None;
        for (at, (factor, index)) in both.iter().enumerate() {
            let enough = work.min(most);
            let Some(keys) = factor.keys().filter(|keys| (*keys as f64) < enough) else {
                continue;
            };
            let mut rows = keys as f64;
            factor.for_each_key(&mut |hash| {
                if rows < work {
                    rows += index.rows(hash).len() as f64;
                }
            });
            if rows < work {
                work = rows;
                driver = Some(at);
            }
        }
        if work > most {
            return None;
        }
        match (driver, &leaf.pass) {
            (Some(at), _) => {
                let (factor, index) = both[at];
                factor.for_each_key(&mut |hash| {
                    for row in index.rows(hash) {
                        if leaf.passes(*row) {
                            one(*row);
                        }
                    }
                });
            }
            (None, Some(pass)) => pass.set_indices().for_each(|row| one(row as u32)),
            (None, None) => (0..leaf.candidates as u32).for_each(one),
        }
        Some(leaf.rows == leaf.candidates && factors.iter().all(Factor::is_exact))
    }
}

/// The relations of a tree that can be reached from one of them without passing a class.
fn reach(tree: &[Incidence], from: usize, without: Option<usize>) -> RelSet {
    let mut reached: RelSet = [from].into_iter().collect();
    loop {
        let before = reached;
        for a in tree.iter().filter(|i| Some(i.class) != without) {
            if reached.contains(a.relation) {
                let members = tree.iter().filter(|b| b.class == a.class);
                reached = members.fold(reached, |set, b| set.union(RelSet::single(b.relation)));
            }
        }
        if reached == before {
            return reached;
        }
    }
}

/// The representative of a node (union-find with path halving).
fn find(parent: &mut [usize], mut node: usize) -> usize {
    while parent[node] != node {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    node
}

#[cfg(test)]
mod tests;
