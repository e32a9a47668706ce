//! Ways to look up the rows of all relations of a query that fit each other.

use super::leaf::{Leaf, View};
use crate::relset::RelSet;
use std::sync::Arc;

/// How the rows of each relation are looked up.
#[derive(Debug)]
pub(super) struct Lineage {
    /// By relation the rows to choose from; `None` for one without rows that are known.
    pub(super) views: Vec<Option<Arc<View>>>,
    /// The class by whose keys samples are coordinated.
    pub(super) class: Option<usize>,
    /// By relation the share of the keys of that class that its rows have; 1 for all other relations.
    share: Vec<f64>,
    /// Relations whose rows are those of certain keys of the class, all of them.
    coordinated: RelSet,
    /// Relations that are large and not coordinated with the others, so that only the degrees of their keys are known.
    pub(super) by_degree: RelSet,
    /// Relations whose rows pass some predicate independently of their keys, as far as this lineage knows.
    pub(super) assumed: RelSet,
    /// Relations whose rows are only some of those there are.
    pub(super) sampled: RelSet,
    /// By relation, rows that a row of its view stands for, beside the coordination.
    scale: Vec<f64>,
}

impl Lineage {
    /// All of them: without a class, by each class that a sample is coordinated by, and from each uniform sample.
    pub(super) fn all(leaves: &[Leaf]) -> Vec<Self> {
        let classes = leaves.first().map_or(0, |leaf| leaf.member.len());
        let by_class =
            |leaf: &Leaf, class: usize| leaf.by_key[class].is_some() || leaf.uniform_by_key[class];
        let coordinated = (0..classes).filter(|c| leaves.iter().any(|leaf| by_class(leaf, *c)));
        let classes: Vec<_> = [None].into_iter().chain(coordinated.map(Some)).collect();
        let rated = leaves
            .iter()
            .any(|leaf| leaf.rated && leaf.uniform.is_some());
        let both = match rated {
            true => &[false, true][..],
            false => &[false],
        };
        let by_keys = both
            .iter()
            .flat_map(|exact| classes.iter().map(move |class| (*class, *exact)))
            .map(|(class, exact)| Self::new(leaves, class, exact, None));
        let large = |leaf: &Leaf| leaf.all.is_none() && leaf.uniform.is_some();
        let large = (0..leaves.len()).filter(|relation| large(&leaves[*relation]));
        let from_rows = large.map(|relation| Self::new(leaves, None, rated, Some(relation)));
        by_keys.chain(from_rows).collect()
    }

    /// Of all `leaves`; coordinated by a class, if one is given. Relations some of whose predicates can be evaluated only on
    /// a uniform sample have that sample's rows if `exact`, and so does `sampled`.
    fn new(leaves: &[Leaf], class: Option<usize>, exact: bool, sampled: Option<usize>) -> Self {
        let mut this = Self {
            views: vec![],
            class,
            share: vec![],
            coordinated: RelSet::EMPTY,
            by_degree: RelSet::EMPTY,
            assumed: RelSet::EMPTY,
            sampled: RelSet::EMPTY,
            scale: vec![],
        };
        for (relation, leaf) in leaves.iter().enumerate() {
            let rated = leaf.rated && exact;
            let coordinated = class.and_then(|class| match rated && leaf.uniform_by_key[class] {
                true => leaf.uniform.as_ref(),
                false => leaf.by_key[class].as_ref().filter(|_| leaf.all.is_none()),
            });
            let uniform = leaf.uniform.as_ref();
            let is_sampled = rated || sampled == Some(relation);
            let uniform = uniform.filter(|_| is_sampled && coordinated.is_none());
            let by_degree = leaf.all.is_none() && coordinated.is_none() && uniform.is_none();
            let assumed = match leaf.rated {
                true => uniform.is_none() && coordinated.is_none(),
                false => by_degree && !leaf.unfiltered,
            };
            let marked = [
                (&mut this.coordinated, coordinated.is_some()),
                (&mut this.by_degree, by_degree),
                (&mut this.assumed, assumed),
                (
                    &mut this.sampled,
                    coordinated.is_some() || uniform.is_some(),
                ),
            ];
            for (set, _) in marked.into_iter().filter(|(_, is)| *is) {
                *set = set.union(RelSet::single(relation));
            }
            let view = coordinated.or(uniform).or(leaf.view());
            this.views.push(view.cloned());
            this.share
                .push(coordinated.map_or(1.0, |view| 1.0 / view.scale));
            this.scale.push(uniform.map_or(1.0, |view| view.scale));
        }
        this
    }

    /// Leaves out relations whose rows are neither known nor in a sample of keys.
    pub(super) fn forget_degrees(&mut self) {
        for relation in self.by_degree.iter() {
            self.views[relation] = None;
        }
    }

    /// The relations that are looked up as another lineage does.
    pub(super) fn same(&self, other: &Self) -> RelSet {
        let alike = |r: &usize| {
            let (view, its) = (&self.views[*r], &other.views[*r]);
            let same_view = match (view, its) {
                (Some(view), Some(its)) => Arc::ptr_eq(view, its),
                (None, None) => true,
                _ => false,
            };
            same_view && self.share[*r] == other.share[*r] && self.scale[*r] == other.scale[*r]
        };
        (0..self.views.len()).filter(alike).collect()
    }

    /// Of the keys of the class, the share that samples of a set of relations have.
    pub(super) fn share_of(&self, set: RelSet) -> f64 {
        let coordinated = set.intersect(self.coordinated);
        coordinated
            .iter()
            .fold(1.0, |share, r| share.min(self.share[r]))
    }

    /// Rows that a row of a relation stands for beside joined rows of a set that may be coordinated with it already.
    pub(super) fn coordination(&self, set: RelSet, relation: usize) -> f64 {
        let before = self.share_of(set);
        before / before.min(self.share[relation]) * self.scale[relation]
    }

    /// The number of keys whose rows are known, if a set has relations of which all rows of some keys are known: rows of keys with many
    /// count for more, so that it is fewer where rows are spread unevenly. No estimate has more independent hits.
    pub(super) fn keys(&self, leaves: &[Leaf], set: RelSet) -> f64 {
        let Some(class) = self.class else {
            return f64::INFINITY;
        };
        let keys = set.intersect(self.coordinated).iter().filter_map(|r| {
            let degrees = leaves[r].degrees[class].as_ref()?;
            let each = degrees.norms[1].powi(2) / degrees.norms[0];
            (degrees.rows > 0).then(|| degrees.norms[0] * self.share[r] / each.max(1.0))
        });
        keys.fold(f64::INFINITY, f64::min)
    }

    /// How many passing rows there are of a row's key. A sample of keys has all rows of some keys, so that nothing seen there
    /// says little of keys with many rows.
    pub(super) fn cluster(&self, leaf: &Leaf, relation: usize) -> f64 {
        let class = self.class.filter(|_| self.share[relation] < 1.0);
        let degrees = class.and_then(|class| leaf.degrees[class].as_ref());
        let Some(degrees) = degrees.filter(|degrees| degrees.rows > 0) else {
            return 1.0;
        };
        let passing = leaf.rows / leaf.base_rows;
        (degrees.norms[1].powi(2) / degrees.norms[0] * passing).max(1.0)
    }
}
