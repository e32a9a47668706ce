//! Joins by one number a key: every join divides the product of the rows by the distinct values of one equality.
//!
//! The equalities of a set are thinned to a spanning tree, those of most values first, so that relations which share several equalities are
//! divided once. So an estimate belongs to the set, although the formula is one for two inputs.

use super::profile::MIN_ROWS;
use super::{Cardinalities, Estimate, EstimateSource};
use crate::relset::RelSet;

/// A relation's key in an equality class.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanningKey {
    pub(super) relation: usize,
    /// Distinct values, at least one.
    pub(super) distinct: f64,
}

/// Rows and keys of the relations of one region.
#[derive(Debug)]
pub(super) struct Spanning {
    /// By relation its rows after predicates.
    pub(super) rows: Vec<f64>,
    /// By relation where these are from.
    pub(super) sources: Vec<EstimateSource>,
    /// By equality class.
    pub(super) classes: Vec<Vec<SpanningKey>>,
    /// What joins rest on.
    pub(super) source: EstimateSource,
}

impl Cardinalities for Spanning {
    fn estimate(&self, set: RelSet) -> Estimate {
        let mut rows = 1.0;
        let mut source = EstimateSource::Exact;
        for relation in set.iter() {
            rows *= self.rows[relation];
            source = source.max(self.sources[relation]);
        }
        let mut edges = vec![];
        for class in &self.classes {
            let inside = class.iter().filter(|k| set.contains(k.relation));
            let least = inside
                .clone()
                .min_by(|a, b| a.distinct.total_cmp(&b.distinct));
            let Some(least) = least else { continue };
            let others = inside.filter(|k| k.relation != least.relation);
            edges.extend(others.map(|k| (k.distinct, least.relation, k.relation)));
        }
        edges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut trees: Vec<RelSet> = set.iter().map(RelSet::single).collect();
        for (distinct, a, b) in edges {
            let of = |r| trees.iter().position(|t: &RelSet| t.contains(r));
            let (Some(a), Some(b)) = (of(a), of(b)) else {
                continue;
            };
            if a != b {
                trees[a] = trees[a].union(trees[b]);
                trees.swap_remove(b);
                rows /= distinct.max(1.0);
                source = source.max(self.source);
            }
        }
        Estimate {
            rows: rows.clamp(MIN_ROWS, f64::MAX),
            source,
            upper_bound: None,
        }
    }
}
