//! Markov chaining: what smaller sets of relations say of a larger one.
//!
//! Two relations a and b that are not joined with each other restrict the rest of a set S independently of each other, given the rest:
//! |S| = |S − a| · |S − b| / |S − a − b|. The estimate is the geometric mean over all such pairs.

use super::leaf::Leaf;
use crate::join_graph::JoinGraph;
use crate::relset::RelSet;

/// Relations of a query up to which all pairs of a set are looked at. All pairs of a larger one would be all of its subsets:
/// there one pair has to do.
const ALL_PAIRS: usize = 13;

/// What connects the relations of a query.
#[derive(Debug)]
pub(super) struct Chaining {
    /// By relation those that anything connects it with.
    neighbors: Vec<RelSet>,
    /// By equality class its relations.
    classes: Vec<RelSet>,
    /// By predicate over several relations these.
    thetas: Vec<RelSet>,
}

impl Chaining {
    pub(super) fn new(joins: &JoinGraph, leaves: &[Leaf], thetas: Vec<RelSet>) -> Self {
        let classes = leaves.first().map_or(0, |leaf| leaf.member.len());
        let members = |class: usize| (0..leaves.len()).filter(move |r| leaves[*r].member[class]);
        Self {
            neighbors: (0..joins.len()).map(|r| joins.neighbors(r)).collect(),
            classes: (0..classes).map(|class| members(class).collect()).collect(),
            thetas,
        }
    }

    /// Whether the relations of a set are connected with each other. The empty set is not.
    pub(super) fn is_connected(&self, set: RelSet) -> bool {
        !set.is_empty() && self.component(set) == set
    }

    /// The relations that the first one of a set is connected with inside the set.
    pub(super) fn component(&self, set: RelSet) -> RelSet {
        let mut reached = set.first().map_or(RelSet::EMPTY, RelSet::single);
        let mut last = reached;
        while !last.is_empty() && reached != set {
            let next = last.iter().map(|r| self.neighbors[r]);
            last = next
                .fold(RelSet::EMPTY, RelSet::union)
                .intersect(set)
                .minus(reached);
            reached = reached.union(last);
        }
        reached
    }

    /// Whether two relations of a set are joined by something that the rest of the set does not say as well.
    fn depend(&self, a: usize, b: usize, set: RelSet) -> bool {
        if !self.neighbors[a].contains(b) {
            return false;
        }
        let pair = RelSet::single(a).union(RelSet::single(b));
        let rest = set.minus(pair);
        let mut classes = self.classes.iter();
        let mut thetas = self.thetas.iter();
        classes.any(|class| pair.is_subset(*class) && !class.intersects(rest))
            || thetas.any(|theta| theta.is_subset(set) && pair.is_subset(*theta))
    }

    /// The logarithm of the rows of a set, of which `log` knows the subsets. `None` if no pair of relations is independent.
    pub(super) fn log_rows(&self, set: RelSet, mut log: impl FnMut(RelSet) -> f64) -> Option<f64> {
        let without = |r: usize| set.minus(RelSet::single(r));
        let removable: RelSet = set
            .iter()
            .filter(|r| self.is_connected(without(*r)))
            .collect();
        let most = match self.neighbors.len() <= ALL_PAIRS {
            true => u32::MAX,
            false => 1,
        };
        let (mut sum, mut pairs) = (0.0, 0);
        for a in removable.iter() {
            for b in removable.iter().filter(|b| *b > a) {
                let without_both = without(a).intersect(without(b));
                if self.depend(a, b, set) || !self.is_connected(without_both) {
                    continue;
                }
                sum += log(without(a)) + log(without(b)) - log(without_both);
                pairs += 1;
                if pairs >= most {
                    return Some(sum / f64::from(pairs));
                }
            }
        }
        (pairs > 0).then(|| sum / f64::from(pairs))
    }
}
