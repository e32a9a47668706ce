//! Intervals of a linear order of parts, for [`LinDp`](super::LinDp): as sets of relations, or as sums of logarithms where rows
//! are a product.

use super::Problem;
use super::parts::{Parts, rows_of};
use crate::join_graph::EdgeKind;
use crate::relset::RelSet;

/// The intervals of a linear order, those from one position at a time.
pub(super) trait Intervals {
    /// What is known of an interval.
    type Interval: Copy;

    /// How many positions the order has.
    fn len(&self) -> usize;

    /// The part at a position.
    fn part(&self, position: usize) -> usize;

    /// Turns to the intervals that start at `from`, which is one below the last one.
    fn start(&mut self, from: usize);

    /// The interval from the current start to `to`.
    fn interval(&self, to: usize) -> Self::Interval;

    /// Its rows.
    fn rows(&self, interval: Self::Interval) -> f64;

    /// Whether two neighbouring intervals can be joined to a third, and then whether by a key.
    fn link(
        &self,
        left: Self::Interval,
        right: Self::Interval,
        both: Self::Interval,
    ) -> Option<bool>;
}

/// Intervals as sets of relations: all that graphs and cardinalities know is obeyed.
pub(super) struct Sets<'a> {
    problem: &'a Problem<'a>,
    sets: &'a [RelSet],
    order: &'a [usize],
    /// By last position the interval from the current start.
    current: Vec<RelSet>,
}

impl<'a> Sets<'a> {
    /// An order of disjoint sets, by their positions in the list.
    pub(super) fn new(problem: &'a Problem<'a>, sets: &'a [RelSet], order: &'a [usize]) -> Self {
        Self {
            problem,
            sets,
            order,
            current: vec![RelSet::EMPTY; order.len()],
        }
    }
}

impl Intervals for Sets<'_> {
    type Interval = RelSet;

    fn len(&self) -> usize {
        self.order.len()
    }

    fn part(&self, position: usize) -> usize {
        self.order[position]
    }

    fn start(&mut self, from: usize) {
        let first = self.sets[self.order[from]];
        for set in &mut self.current[from..] {
            *set = set.union(first);
        }
    }

    fn interval(&self, to: usize) -> RelSet {
        self.current[to]
    }

    fn rows(&self, set: RelSet) -> f64 {
        self.problem.cardinalities.rows(set)
    }

    fn link(&self, left: RelSet, right: RelSet, _: RelSet) -> Option<bool> {
        Some(self.problem.graph.link(left, right)?.keyed)
    }
}

/// What is inside an interval: sums by which two intervals and the one they become tell what is between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inside {
    /// The logarithm of the rows.
    rows: f64,
    /// Pairs of parts that a predicate connects.
    joins: u32,
    /// Those that an equality connects.
    keys: u32,
}

/// Intervals of parts with rows as a product.
pub(super) struct Products<'a> {
    parts: &'a Parts,
    order: &'a [usize],
    /// By part its position; the greatest number for a part that is not in the order.
    positions: Vec<usize>,
    /// By last position the interval from the current start.
    current: Vec<Inside>,
}

impl<'a> Products<'a> {
    /// An order of parts.
    pub(super) fn new(parts: &'a Parts, order: &'a [usize]) -> Self {
        let mut positions = vec![usize::MAX; parts.len()];
        for (position, part) in order.iter().enumerate() {
            positions[*part] = position;
        }
        Self {
            parts,
            order,
            positions,
            current: vec![Inside::default(); order.len()],
        }
    }
}

impl Intervals for Products<'_> {
    type Interval = Inside;

    fn len(&self) -> usize {
        self.order.len()
    }

    fn part(&self, position: usize) -> usize {
        self.order[position]
    }

    fn start(&mut self, from: usize) {
        let part = self.order[from];
        let rows = self.parts.rows[part];
        for inside in &mut self.current[from..] {
            inside.rows += rows;
        }
        for edge in self.parts.edges(part) {
            let to = self.positions[edge.to as usize];
            if to <= from || to >= self.current.len() {
                continue;
            }
            let (joins, keys) = match edge.kind {
                Some(EdgeKind::Equality) => (1, 1),
                Some(EdgeKind::Theta | EdgeKind::Product) => (1, 0),
                None => (0, 0),
            };
            for inside in &mut self.current[to..] {
                inside.rows += edge.selectivity;
                inside.joins += joins;
                inside.keys += keys;
            }
        }
    }

    fn interval(&self, to: usize) -> Inside {
        self.current[to]
    }

    fn rows(&self, inside: Inside) -> f64 {
        rows_of(inside.rows)
    }

    fn link(&self, left: Inside, right: Inside, both: Inside) -> Option<bool> {
        let joined = both.joins > left.joins + right.joins;
        joined.then_some(both.keys > left.keys + right.keys)
    }
}
