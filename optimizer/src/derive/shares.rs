//! Shares of rows that the joins of a region keep, where they are not inner joins.

use super::Deriver;
use crate::estimate::MIN_ROWS;
use crate::extract::{self, FlatOperator, Region};
use crate::join_graph::JoinKind;
use crate::query_graph::{Membership, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::{Column, JoinConstraint, JoinType, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan};
use std::sync::Arc;

/// The share of rows that have a partner where nothing can be derived.
const GUESS_SHARE: f64 = 0.25;
/// No semi join is taken to keep less.
const LEAST_SHARE: f64 = 1e-9;

impl Deriver<'_> {
    /// The share of rows of its left input that a semi or anti join of a region keeps; 1 for others.
    pub(crate) fn kept_share(&self, region: &Region, operator: &FlatOperator) -> f64 {
        match operator.kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Full | JoinKind::Mark => 1.0,
            JoinKind::Semi | JoinKind::Anti => self.partner_share(region, operator),
        }
    }

    fn partner_share(&self, region: &Region, operator: &FlatOperator) -> f64 {
        // The relation that the keys belong to says more than all that it is joined with, and is known at once.
        let semi = match key_leaf(region, operator) {
            Some((_, leaf, keys)) => semi_join(operator, Some((leaf, keys))),
            None => semi_join(operator, None),
        };
        match semi {
            Ok(semi) => {
                let before = self.profile(&semi.left).rows;
                let after = self.profile(&LogicalPlan::Join(semi)).rows;
                (after / before.max(MIN_ROWS)).clamp(LEAST_SHARE, 1.0)
            }
            Err(error) => {
                tracing::debug!(%error, "the share of a semi join is guessed");
                GUESS_SHARE
            }
        }
    }

    /// What a semi or anti join of a region means for the relation that has its keys, where rows of the other one are known.
    pub(crate) fn known_membership(
        &self,
        region: &Region,
        operator: &FlatOperator,
    ) -> Option<(usize, Membership)> {
        if !matches!(operator.kind, JoinKind::Semi | JoinKind::Anti) {
            return None;
        }
        let (index, leaf, keys) = key_leaf(region, operator)?;
        let semi = semi_join(operator, Some((leaf, keys))).ok()?;
        let membership = self.membership_of(&semi, region.graph.relations.get(index)?)?;
        let known = !membership.keys.is_empty() && membership.other.details.is_some();
        known.then_some((index, membership))
    }
}

/// An operator as a semi or anti join of its left input, or of one leaf of that with the keys in its terms.
fn semi_join(operator: &FlatOperator, leaf: Option<(LogicalPlan, Vec<Expr>)>) -> Result<Join> {
    let join = &operator.join;
    let (left, right) = match operator.turned {
        true => (&join.right, &join.left),
        false => (&join.left, &join.right),
    };
    let join_type = match operator.kind {
        JoinKind::Anti => JoinType::LeftAnti,
        _ => JoinType::LeftSemi,
    };
    let on = join.on.iter().cloned().map(|(l, r)| match operator.turned {
        true => (r, l),
        false => (l, r),
    });
    let mut on: Vec<(Expr, Expr)> = on.collect();
    let mut outer = Arc::clone(left);
    if let Some((leaf, keys)) = leaf {
        outer = Arc::new(leaf);
        on = keys.into_iter().zip(on).map(|(l, (_, r))| (l, r)).collect();
    }
    Join::try_new(
        outer,
        Arc::clone(right),
        on,
        join.filter.clone(),
        join_type,
        JoinConstraint::On,
        join.null_equality,
        false,
    )
}

/// The one relation that all left keys of an operator without other conditions belong to, with its own predicates, and
/// the keys in its terms.
fn key_leaf(region: &Region, operator: &FlatOperator) -> Option<(usize, LogicalPlan, Vec<Expr>)> {
    if !operator.filters.is_empty() {
        return None;
    }
    let keys = operator.on.iter().map(|equality| &equality.left);
    let used = keys.clone().fold(RelSet::EMPTY, |all, key| {
        all.union(extract::uses(key).relations)
    });
    let index = used.first().filter(|_| used.len() == 1)?;
    let leaf = region.leaves.get(index)?;
    let own = |column: &Column| {
        let (_, field) = resolve_region_column(column)?;
        let schema = leaf.schema();
        (field < schema.fields().len()).then(|| Column::from(schema.qualified_field(field)))
    };
    let named = |e: &Expr| extract::rename_columns(e, own).ok();
    let keys = keys.map(named).collect::<Option<Vec<_>>>()?;
    let predicates = region.leaf_predicates.get(index)?.iter().map(named);
    let plan = match conjunction(predicates.collect::<Option<Vec<_>>>()?) {
        Some(predicate) => {
            LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(leaf.clone())).ok()?)
        }
        None => leaf.clone(),
    };
    Some((index, plan, keys))
}
