//! Rows of regions with outer, semi, anti and mark joins.
//!
//! An estimator knows inner joins. What a set of relations has with other joins in it follows from the inner joins of
//! the same relations: a semi join keeps a share of the rows, an outer join loses none. Like all estimates it belongs
//! to the set, not to the order of its joins.

use super::{Cardinalities, Estimate, EstimateSource, MIN_ROWS};
use crate::join_graph::{JoinKind, Operator};
use crate::relset::RelSet;

/// What a join that is not inner does to the number of rows.
#[derive(Debug, Clone)]
pub struct OperatorRows {
    /// The join; it is done in every set that has what its sides need.
    pub operator: Operator,
    /// All relations of its right input in the query.
    pub right: RelSet,
    /// The share of rows that it keeps: of the left input for semi and anti joins, of the result for others.
    pub share: f64,
    /// The estimator knows the rows without a partner one by one, see [`WithOperators::restricted_by`].
    pub known: bool,
}

/// The estimates of an estimator for inner joins, with other joins on top of them.
#[derive(Debug)]
pub struct WithOperators {
    inner: Box<dyn Cardinalities>,
    /// The same after all semi and anti joins that are known.
    restricted: Option<Box<dyn Cardinalities>>,
    /// Outputs before inputs.
    operators: Vec<OperatorRows>,
}

impl WithOperators {
    /// `inner` estimates sets as if outer joins were inner joins; `operators` come inputs before outputs.
    pub fn new(inner: Box<dyn Cardinalities>, mut operators: Vec<OperatorRows>) -> Self {
        operators.retain(|o| o.operator.kind != JoinKind::Inner);
        operators.reverse();
        Self {
            inner,
            restricted: None,
            operators,
        }
    }

    /// `restricted` estimates what `inner` does, without the rows that all `known` operators drop: where all of these are done it takes
    /// the place of their shares.
    pub fn restricted_by(mut self, restricted: Box<dyn Cardinalities>) -> Self {
        self.restricted = Some(restricted);
        self
    }

    /// Of the operators from `from` on those that are done in `set`.
    fn done(&self, set: RelSet, from: usize) -> impl Iterator<Item = (usize, &OperatorRows)> {
        let done = move |operator: &Operator| {
            operator.left.is_subset(set) && operator.right.is_subset(set)
        };
        let operators = self.operators.iter().enumerate().skip(from);
        operators.filter(move |(_, o)| done(&o.operator))
    }

    /// Rows of a set without relations that only decide about others, by operators from `from` on.
    fn preserved(&self, cardinalities: &dyn Cardinalities, set: RelSet, from: usize) -> f64 {
        let inner = cardinalities.rows(set);
        let Some((at, outer)) = self
            .done(set, from)
            .find(|(_, o)| matches!(o.operator.kind, JoinKind::Left | JoinKind::Full))
        else {
            return inner;
        };
        let right = outer.right.intersect(set);
        let left = set.minus(right);
        if left.is_empty() || right.is_empty() {
            return inner;
        }
        let mut rows = inner.max(self.preserved(cardinalities, left, at + 1));
        if outer.operator.kind == JoinKind::Full {
            rows = rows.max(self.preserved(cardinalities, right, at + 1));
        }
        rows * outer.share
    }
}

impl Cardinalities for WithOperators {
    fn estimate(&self, relations: RelSet) -> Estimate {
        if self.done(relations, 0).next().is_none() {
            return self.inner.estimate(relations);
        }
        let mut kept = relations;
        let mut share = 1.0;
        let known = |o: &&OperatorRows| o.known;
        let left = self.operators.iter().filter(known).count();
        let done = self.done(relations, 0).map(|done| done.1).filter(known);
        let restricted = self.restricted.as_deref().filter(|_| done.count() == left);
        for (_, o) in self.done(relations, 0) {
            match o.operator.kind {
                JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
                    kept = kept.minus(o.right);
                    if !o.known || restricted.is_none() {
                        share *= o.share;
                    }
                }
                JoinKind::Inner | JoinKind::Left | JoinKind::Full => {}
            }
        }
        if kept.is_empty() {
            return self.inner.estimate(relations);
        }
        let cardinalities = restricted.unwrap_or(self.inner.as_ref());
        let inner = cardinalities.estimate(kept);
        Estimate {
            rows: (self.preserved(cardinalities, kept, 0) * share).max(MIN_ROWS),
            source: inner.source.max(EstimateSource::Ndv),
            upper_bound: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ProductRows;
    use super::*;

    fn operator(kind: JoinKind, left: usize, right: usize, share: f64) -> OperatorRows {
        let (left, right) = (RelSet::single(left), RelSet::single(right));
        OperatorRows {
            operator: Operator {
                kind,
                relations: left.union(right),
                left,
                right,
                keyed: true,
                rules: vec![],
            },
            right,
            share,
            known: false,
        }
    }

    #[test]
    fn outer_joins_lose_no_rows_and_semi_joins_add_none() {
        let inner = ProductRows::new(
            vec![100.0, 10.0, 1_000.0, 50.0],
            [(0, 1, 0.01), (0, 2, 0.01)],
        );
        let rows = WithOperators::new(
            Box::new(inner),
            vec![
                operator(JoinKind::Left, 0, 1, 1.0),
                operator(JoinKind::Full, 0, 2, 1.0),
                operator(JoinKind::Semi, 0, 3, 0.25),
            ],
        );
        let of = |relations: &[usize]| rows.rows(relations.iter().copied().collect());
        assert_eq!(of(&[0]), 100.0);
        assert_eq!(of(&[0, 1]), 100.0);
        assert_eq!(of(&[0, 2]), 1_000.0);
        assert_eq!(of(&[0, 3]), 25.0);
        assert_eq!(of(&[0, 1, 2, 3]), 250.0);
        // Not done without its left side.
        assert_eq!(of(&[3]), 50.0);
    }
}
