//! Shares of rows that the joins of a region keep, where they are not inner joins.

use super::Deriver;
use crate::estimate::MIN_ROWS;
use crate::extract::{self, FlatOperator, Region};
use crate::join_graph::JoinKind;
use crate::query_graph::resolve_region_column;
use crate::relset::RelSet;
use datafusion::common::{Column, JoinConstraint, JoinType};
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
        let mut outer = Arc::clone(left);
        let mut on: Vec<(Expr, Expr)> = on.collect();
        // The relation that the keys belong to says more than all that it is joined with, and is known at once.
        if let Some((leaf, keys)) = key_leaf(region, operator) {
            outer = Arc::new(leaf);
            on = keys.into_iter().zip(on).map(|(l, (_, r))| (l, r)).collect();
        }
        let before = self.profile(&outer).rows;
        let semi = Join::try_new(
            outer,
            Arc::clone(right),
            on,
            join.filter.clone(),
            join_type,
            JoinConstraint::On,
            join.null_equality,
            false,
        );
        match semi {
            Ok(semi) => {
                let after = self.profile(&LogicalPlan::Join(semi)).rows;
                (after / before.max(MIN_ROWS)).clamp(LEAST_SHARE, 1.0)
            }
            Err(error) => {
                tracing::debug!(%error, "the share of a semi join is guessed");
                GUESS_SHARE
            }
        }
    }
}

/// The one relation that all left keys of an operator without other conditions belong to, with its own predicates, and
/// the keys in its terms.
fn key_leaf(region: &Region, operator: &FlatOperator) -> Option<(LogicalPlan, Vec<Expr>)> {
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
    Some((plan, keys))
}
