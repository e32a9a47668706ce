//! Joined rows of sets of relations, each set from a smaller one.

use super::chaining::Chaining;
use super::effort::Effort;
use super::expansion::{Extent, Scratch, join};
use super::leaf::Leaf;
use super::lineage::Lineage;
use super::particles::{Particles, start};
use super::theta::Theta;
use crate::relset::RelSet;
use foldhash::HashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// What it adds to the relative variance of an estimate to take a relation's predicates for independent of the rest.
const INDEPENDENCE: f64 = 1.0;

/// What is known of a set of relations in one lineage.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) rows: f64,
    /// Rows that one hit stands for.
    pub(super) unit: f64,
    /// One over the number of independent hits; zero if every row was counted.
    error: f64,
    /// Relations whose predicates were taken for independent of their keys.
    pub(super) assumed: usize,
    particles: Option<Particles>,
    /// All joined rows are among the particles.
    complete: bool,
}

impl Node {
    /// The relative variance of its rows.
    pub(super) fn variance(&self) -> f64 {
        self.error + INDEPENDENCE * self.assumed as f64
    }
}

/// The nodes of a query, made when they are asked for.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) leaves: Vec<Leaf>,
    lineages: Vec<Lineage>,
    pub(super) effort: Effort,
    thetas: Vec<Theta>,
    /// By equality class its relations.
    classes: Vec<RelSet>,
    /// By lineage and an earlier one the relations that both look up in the same way.
    same: Vec<Vec<RelSet>>,
    known: RefCell<HashMap<(RelSet, usize), Rc<Node>>>,
    scratch: RefCell<Scratch>,
}

impl Nodes {
    pub(super) fn new(leaves: Vec<Leaf>, thetas: Vec<Theta>, effort: Effort) -> Self {
        let lineages = Lineage::all(&leaves);
        let classes = leaves.first().map_or(0, |leaf| leaf.member.len());
        let members = |class: usize| {
            let members = (0..leaves.len()).filter(|r| leaves[*r].member[class]);
            members.collect()
        };
        let same = lineages.iter().enumerate().map(|(at, lineage)| {
            let before = lineages[..at].iter();
            before.map(|other| lineage.same(other)).collect()
        });
        Self {
            classes: (0..classes).map(members).collect(),
            same: same.collect(),
            leaves,
            lineages,
            effort,
            thetas,
            known: RefCell::default(),
            scratch: RefCell::default(),
        }
    }

    /// Leaves out relations whose rows are neither known nor in a sample of keys.
    pub(super) fn forget_degrees(&mut self) {
        self.lineages.iter_mut().for_each(Lineage::forget_degrees);
    }

    /// The lineages that look up the relations of a set in different ways, each with the number of its assumptions: those that
    /// assume least come first, and of these the ones with the largest samples.
    pub(super) fn lineages_of(&self, set: RelSet) -> Vec<(usize, usize)> {
        let all = 0..self.lineages.len();
        let distinct = all.filter(|at| self.effective(set, *at) == *at);
        let mut lineages: Vec<(usize, usize)> =
            distinct.map(|at| (self.assumptions(set, at), at)).collect();
        let share = |at: usize| self.lineages[at].share_of(set);
        lineages.sort_by(|a, b| (a.0.cmp(&b.0)).then(share(b.1).total_cmp(&share(a.1))));
        lineages
    }

    /// Whether a lineage knows no passing row of some relation of a set. That no joined row is seen then says nothing that the estimate
    /// of that relation does not say.
    pub(super) fn lacks_rows(&self, set: RelSet, lineage: usize) -> bool {
        let views = &self.lineages[lineage].views;
        let is_empty = |r: usize| views[r].as_ref().is_some_and(|view| view.passing == 0);
        set.iter().any(is_empty)
    }

    /// See [`Lineage::keys`].
    pub(super) fn keys(&self, set: RelSet, lineage: usize) -> f64 {
        self.lineages[lineage].keys(&self.leaves, set)
    }

    /// The first lineage that looks up the relations of a set as `lineage` does.
    fn effective(&self, set: RelSet, lineage: usize) -> usize {
        let mut before = self.same[lineage].iter();
        before
            .position(|same| set.is_subset(*same))
            .unwrap_or(lineage)
    }

    /// Relations of a set whose predicates, or whose keys, a lineage takes for independent of the rest.
    fn assumptions(&self, set: RelSet, lineage: usize) -> usize {
        let lineage = &self.lineages[lineage];
        let by_degree = set.intersect(lineage.by_degree.minus(lineage.assumed));
        let joined_twice = |r: &usize| {
            let others = set.minus(RelSet::single(*r));
            let mut joined = self.classes.iter();
            let mut is_joined =
                || joined.any(|class| class.contains(*r) && class.intersects(others));
            is_joined() && is_joined()
        };
        set.intersect(lineage.assumed).len() + by_degree.iter().filter(joined_twice).count()
    }

    /// What a lineage knows of a set that is connected.
    pub(super) fn get(&self, set: RelSet, lineage: usize, joins: &Chaining) -> Rc<Node> {
        let lineage = self.effective(set, lineage);
        if let Some(node) = self.known.borrow().get(&(set, lineage)) {
            return Rc::clone(node);
        }
        let node = match (set.first(), set.len()) {
            (Some(relation), 1) => self.single(relation, lineage),
            _ => self.joined(set, lineage, joins).unwrap_or_else(|| Node {
                rows: f64::NAN,
                unit: f64::INFINITY,
                error: f64::INFINITY,
                assumed: set.len(),
                particles: None,
                complete: false,
            }),
        };
        let node = Rc::new(node);
        let mut known = self.known.borrow_mut();
        known.insert((set, lineage), Rc::clone(&node));
        node
    }

    fn single(&self, relation: usize, at: usize) -> Node {
        let lineage = &self.lineages[at];
        let leaf = &self.leaves[relation];
        let Some(view) = &lineage.views[relation] else {
            return Node {
                rows: leaf.rows,
                unit: leaf.rows,
                error: 1.0,
                assumed: 1,
                particles: None,
                complete: false,
            };
        };
        let (particles, complete) = start(relation, view, self.effort.particles);
        let all = view.is_all();
        Node {
            rows: leaf.rows,
            unit: view.scale * lineage.cluster(leaf, relation),
            error: match all {
                true => 0.0,
                false => 1.0 / view.passing.max(1) as f64,
            },
            assumed: self.assumptions(RelSet::single(relation), at),
            particles: Some(particles),
            complete: complete && all,
        }
    }

    /// The relative second moment of the degrees that joined rows of a set find in a relation: so many times more of them have to
    /// be drawn than if every key had as many rows. 1 where the degrees are not known.
    fn skew(&self, set: RelSet, relation: usize) -> f64 {
        let leaf = &self.leaves[relation];
        let joined = |class: &usize| leaf.member[*class] && self.classes[*class].intersects(set);
        let classes = (0..self.classes.len()).filter(joined);
        let first = classes.max_by(|a, b| leaf.distinct[*a].total_cmp(&leaf.distinct[*b]));
        let Some((class, degrees)) = first.and_then(|c| Some((c, leaf.degrees[c].as_ref()?)))
        else {
            return 1.0;
        };
        let moment = leaf.distinct[class] * (degrees.norms[1] / degrees.norms[0]).powi(2);
        match moment.is_finite() {
            true => moment.max(1.0),
            false => 1.0,
        }
    }

    /// The set that loses the fewest hits, and has the fewest rows, of those that one relation is missing from; and that relation.
    fn best_rest(&self, set: RelSet, at: usize, joins: &Chaining) -> Option<(Rc<Node>, usize)> {
        let lineage = &self.lineages[at];
        let mut best: Option<((f64, f64), Rc<Node>, usize)> = None;
        for relation in set.iter() {
            let rest = set.minus(RelSet::single(relation));
            if lineage.views[relation].is_none() || !joins.is_connected(rest) {
                continue;
            }
            let node = self.get(rest, at, joins);
            let Some(particles) = &node.particles else {
                continue;
            };
            // Of the hits there are, a join with a sample keeps some.
            let drawn = match node.complete {
                true => 0.0,
                false => self.skew(rest, relation) / particles.len().max(1) as f64,
            };
            let factor = lineage.coordination(rest, relation);
            let assumed = self.assumptions(rest, at);
            let variance = (node.error + drawn) * factor + INDEPENDENCE * assumed as f64;
            let key = (variance, node.rows);
            if best.as_ref().is_none_or(|best| key < best.0) {
                best = Some((key, node, relation));
            }
        }
        best.map(|(_, node, relation)| (node, relation))
    }

    /// `None` if no key relates the relations that can be looked up.
    fn joined(&self, set: RelSet, at: usize, joins: &Chaining) -> Option<Node> {
        let lineage = &self.lineages[at];
        let (from, relation) = self.best_rest(set, at, joins)?;
        let mut joined = join(
            from.particles.as_ref()?,
            &self.leaves,
            lineage,
            relation,
            !from.complete,
            Extent {
                most: self.effort.particles,
                looks: self.effort.looks,
            },
            &mut self.scratch.borrow_mut(),
        )?;
        let sampled = lineage.sampled.contains(relation);
        let mut exact = from.complete && !sampled && joined.exact;
        let rest = set.minus(RelSet::single(relation));
        for theta in &self.thetas {
            if !theta.relations.is_subset(set) || theta.relations.is_subset(rest) {
                continue;
            }
            let seen = joined.particles.len() as f64;
            if seen == 0.0 {
                // Nothing is left that it could drop; of what was not seen it leaves its share.
                if !joined.complete {
                    joined.rows *= theta.selectivity;
                }
                continue;
            }
            match theta.restrict(&mut joined.particles, lineage) {
                // None of the rows that were looked at passes: half a row would.
                Some(0.0) if !joined.complete => joined.rows *= 0.5 / seen,
                Some(share) => joined.rows *= share,
                None => {
                    joined.rows *= theta.selectivity;
                    let weights = joined.particles.weights.iter_mut();
                    weights.for_each(|w| *w *= theta.selectivity);
                    joined.complete = false;
                }
            }
            let left = joined.particles.len().max(1) as f64;
            joined.concentration = joined.concentration.max(1.0 / left);
            exact &= joined.complete;
        }
        // Rows that were drawn from few hits are no more than these.
        let error = joined.concentration.max(from.error);
        let unit = match joined.rows > 0.0 {
            true => joined.rows * error,
            false => {
                let cluster = lineage.cluster(&self.leaves[relation], relation);
                from.unit.max(joined.unit * cluster)
            }
        };
        let by_degree = lineage.by_degree.contains(relation);
        Some(Node {
            rows: joined.rows,
            unit,
            error: if exact { 0.0 } else { error },
            assumed: self.assumptions(set, at),
            complete: from.complete && joined.complete && !sampled && !by_degree,
            particles: Some(joined.particles),
        })
    }
}
