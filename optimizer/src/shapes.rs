//! Made join graphs of the shapes of the literature, with random rows: food for the study of enumerators.
//!
//! Relations have 10 to 10,000,000 rows, uniform in the logarithm. Each relation but the first joins an earlier one as
//! the referenced side of a foreign key, so that a join keeps the rows of the referencing side, give or take a factor
//! of three for filters and for keys that repeat. Edges beyond these, which close cycles, keep a random part of the
//! rows. A seed decides all: the same shape, size and seed make the same graph on every machine.

use crate::estimate::ProductRows;
use crate::join_graph::{EdgeKind, JoinGraph};
use crate::random::SplitMix;
use std::fmt;

/// The shape of a join graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each relation joins the next.
    Chain,
    /// A chain whose ends join.
    Cycle,
    /// All join the first.
    Star,
    /// All join all.
    Clique,
    /// Neighbours in a square join; the last row may be short.
    Grid,
    /// Each joins a random earlier one.
    Tree,
    /// A star whose rays branch: each of the dimensions around the first relation has dimensions of its own.
    Snowflake,
}

/// The exponents of ten between which base rows lie.
const ROWS: (f64, f64) = (1.0, 7.0);

/// The exponent of ten by which a join may keep more or fewer rows than its foreign key says.
const SPREAD: f64 = 0.5;

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 7] = [
        Self::Chain,
        Self::Cycle,
        Self::Star,
        Self::Clique,
        Self::Grid,
        Self::Tree,
        Self::Snowflake,
    ];

    /// The shape as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Cycle => "cycle",
            Self::Star => "star",
            Self::Clique => "clique",
            Self::Grid => "grid",
            Self::Tree => "tree",
            Self::Snowflake => "snowflake",
        }
    }

    /// The shape of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == name)
    }

    /// A graph of the shape over that many relations, and its rows.
    pub fn make(self, relations: usize, seed: u64) -> (JoinGraph, ProductRows) {
        let mut random = SplitMix::new(seed);
        let mut rows: Vec<f64> = (0..relations)
            .map(|_| {
                let exponent = ROWS.0 + random.unit() * (ROWS.1 - ROWS.0);
                10_f64.powf(exponent).round()
            })
            .collect();
        if matches!(self, Self::Star | Self::Snowflake) {
            // What others are dimensions of is the largest.
            let largest = (0..relations).max_by(|a, b| rows[*a].total_cmp(&rows[*b]));
            if let Some(largest) = largest {
                rows.swap(0, largest);
            }
        }
        let edges = self.edges(relations, &mut random);
        let closing = edges.len() - relations.saturating_sub(1);
        // Many edges that close cycles keep more rows each, or else nothing would be left of a clique.
        let closing_exponent = (relations as f64 / closing.max(1) as f64).min(1.0);
        let mut joined = vec![false; relations];
        let selectivities: Vec<(usize, usize, f64)> = edges
            .iter()
            .map(|(from, to)| {
                let first = !std::mem::replace(&mut joined[*to], true);
                let selectivity = match first {
                    true => 10_f64.powf((2.0 * random.unit() - 1.0) * SPREAD) / rows[*to],
                    false => 10_f64.powf(-random.unit() * closing_exponent),
                };
                (*from, *to, selectivity)
            })
            .collect();
        let keyed = edges.iter().map(|(a, b)| (*a, *b, EdgeKind::Equality));
        (
            JoinGraph::new(relations, keyed),
            ProductRows::new(rows, selectivities),
        )
    }

    /// The edges, each from a lower to a higher relation; every relation but the first is the higher one of some.
    fn edges(self, n: usize, random: &mut SplitMix) -> Vec<(usize, usize)> {
        let upper = 1..n;
        match self {
            Self::Chain => upper.map(|i| (i - 1, i)).collect(),
            Self::Cycle => {
                let mut edges: Vec<_> = upper.map(|i| (i - 1, i)).collect();
                if n > 2 {
                    edges.push((0, n - 1));
                }
                edges
            }
            Self::Star => upper.map(|i| (0, i)).collect(),
            Self::Clique => upper.flat_map(|i| (0..i).map(move |j| (j, i))).collect(),
            Self::Grid => {
                let width = (1..=n).find(|width| width * width >= n).unwrap_or(1);
                let left = |i: usize| (!i.is_multiple_of(width)).then(|| (i - 1, i));
                let above = |i: usize| (i >= width).then(|| (i - width, i));
                upper
                    .flat_map(|i| left(i).into_iter().chain(above(i)))
                    .collect()
            }
            Self::Tree => upper.map(|i| (random.below(i), i)).collect(),
            Self::Snowflake => {
                let dimensions = (1..=n).find(|d| d * d >= n).unwrap_or(1);
                upper
                    .map(|i| match i <= dimensions {
                        true => (0, i),
                        false => (1 + random.below(i - 1), i),
                    })
                    .collect()
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Cardinalities;
    use crate::relset::RelSet;

    #[track_caller]
    fn check(shape: Shape, relations: usize, edges: usize) {
        let (graph, rows) = shape.make(relations, 7);
        assert_eq!(
            (graph.len(), rows.relations().len()),
            (relations, relations)
        );
        assert_eq!(graph.edges().len(), edges, "{shape} of {relations}");
        if (1..=64).contains(&relations) {
            assert!(graph.is_connected(graph.all()), "{shape} of {relations}");
            let all = rows.rows(graph.all());
            assert!(all.is_finite() && all > 0.0);
        }
    }

    #[test]
    fn edges_of_shapes() {
        for shape in Shape::ALL {
            check(shape, 0, 0);
            check(shape, 1, 0);
            check(shape, 2, 1);
            assert_eq!(Shape::parse(shape.as_str()), Some(shape));
        }
        assert_eq!(Shape::parse("blob"), None);
        for shape in [Shape::Chain, Shape::Star, Shape::Tree, Shape::Snowflake] {
            check(shape, 30, 29);
        }
        check(Shape::Cycle, 30, 30);
        check(Shape::Clique, 30, 435);
        check(Shape::Grid, 9, 12);
        // Three rows of three, and one more.
        check(Shape::Grid, 10, 13);
        check(Shape::Grid, 7, 8);
        check(Shape::Tree, 5_000, 4_999);
    }

    #[test]
    fn a_seed_decides_all() {
        for shape in Shape::ALL {
            assert_eq!(shape.make(20, 3), shape.make(20, 3));
            assert_ne!(shape.make(20, 3).1, shape.make(20, 4).1);
        }
    }

    #[test]
    fn rows_are_spread_and_foreign_keys_keep_them() {
        let (_, rows) = Shape::Chain.make(1_000, 1);
        let few = rows.relations().iter().filter(|r| **r < 1e3).count();
        assert!((250..420).contains(&few), "{few} of 1000 below 1,000");
        assert!(rows.relations().iter().all(|r| (10.0..=1e7).contains(r)));
        for (from, to, selectivity) in rows.edges() {
            let kept = rows.relations()[*to] * selectivity;
            assert!((0.3..3.2).contains(&kept), "{from}-{to} keeps {kept}");
        }
        let (_, star) = Shape::Star.make(10, 1);
        let largest = star.relations().iter().copied().fold(0.0, f64::max);
        assert_eq!(star.relations()[0], largest);
        assert!(star.rows(RelSet::first_n(2)) > 0.3 * largest);
    }
}
