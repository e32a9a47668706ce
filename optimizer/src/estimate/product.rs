//! Rows as a product: those of the relations and a selectivity for each edge between them.
//!
//! The independence assumption in its plainest form. It is all that search can afford for regions of more relations
//! than a [`RelSet`] holds, and what made-up graphs are made of.

use super::profile::MIN_ROWS;
use super::{Cardinalities, Estimate, EstimateSource};
use crate::relset::RelSet;

/// Rows of relations and selectivities of edges.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductRows {
    rows: Vec<f64>,
    edges: Vec<(usize, usize, f64)>,
}

/// The most rows an estimate says; products of many relations would be infinite.
const MOST_ROWS: f64 = 1e300;

impl ProductRows {
    /// Rows by relation, and by edge its two relations and its selectivity.
    ///
    /// Rows below a millionth and selectivities outside (0, 1] are brought to the nearest that makes sense; edges of
    /// relations that are not there are dropped.
    pub fn new(rows: Vec<f64>, edges: impl IntoIterator<Item = (usize, usize, f64)>) -> Self {
        let sound = |rows: f64| match rows.is_nan() {
            true => 1.0,
            false => rows.clamp(MIN_ROWS, MOST_ROWS),
        };
        let edges = edges
            .into_iter()
            .filter(|(a, b, _)| a != b && *a < rows.len() && *b < rows.len())
            .map(|(a, b, selectivity)| match selectivity.is_nan() {
                true => (a, b, 1.0),
                false => (a, b, selectivity.clamp(f64::MIN_POSITIVE, 1.0)),
            })
            .collect();
        Self {
            rows: rows.into_iter().map(sound).collect(),
            edges,
        }
    }

    /// Rows by relation.
    pub fn relations(&self) -> &[f64] {
        &self.rows
    }

    /// The edges, each with its selectivity within (0, 1].
    pub fn edges(&self) -> &[(usize, usize, f64)] {
        &self.edges
    }

    /// What a product says as an estimate: within what is finite and above zero.
    pub fn clamp(rows: f64) -> f64 {
        rows.clamp(MIN_ROWS, MOST_ROWS)
    }
}

impl Cardinalities for ProductRows {
    fn estimate(&self, relations: RelSet) -> Estimate {
        Estimate {
            rows: self.rows(relations),
            source: EstimateSource::Guess,
            upper_bound: None,
        }
    }

    fn rows(&self, relations: RelSet) -> f64 {
        let inside = |relation: usize| relation < 64 && relations.contains(relation);
        let of_relations: f64 = relations
            .iter()
            .filter_map(|relation| self.rows.get(relation))
            .product();
        let of_edges: f64 = self
            .edges
            .iter()
            .filter(|(a, b, _)| inside(*a) && inside(*b))
            .map(|(_, _, selectivity)| selectivity)
            .product();
        Self::clamp(of_relations * of_edges)
    }

    fn product(&self) -> Option<&ProductRows> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_selectivities_of_the_edges_inside_it() {
        let rows = ProductRows::new(
            vec![10.0, 20.0, 30.0, f64::NAN],
            [(0, 1, 0.1), (1, 2, 0.5), (2, 3, 7.0), (3, 9, 0.5)],
        );
        let of = |relations: &[usize]| rows.rows(relations.iter().copied().collect());
        assert_eq!(of(&[0]), 10.0);
        assert_eq!(of(&[0, 1]), 20.0);
        assert_eq!(of(&[0, 2]), 300.0);
        assert_eq!(of(&[0, 1, 2]), 300.0);
        assert_eq!(of(&[2, 3]), 30.0);
        assert_eq!(rows.edges().len(), 3);
    }
}
