//! Which joins of a plan make a region.

use super::flatten::flatten;
use crate::relset::MAX_RELATIONS;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, ExpressionPlacement, Filter, Join, LogicalPlan};
use std::collections::{HashSet, VecDeque};

/// What may belong to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Inner joins: any sub-plan is the join of some of its relations.
    Inner,
    /// Outer, semi, anti and mark joins, too.
    All,
}

/// The joins of one region, chosen before anything is extracted.
///
/// A region has at most [`MAX_RELATIONS`] leaves: joins are taken from the top down, level by level,
/// and what does not fit becomes a leaf, a region of its own.
#[derive(Debug)]
pub(crate) struct Expansion {
    kinds: Kinds,
    joins: HashSet<*const Join>,
    /// Filters that hold for the result of what is below them, and for nothing else.
    barriers: HashSet<*const Filter>,
}

impl Expansion {
    /// The region that has `plan` as its topmost join; `None` if `plan` is no such join.
    pub(crate) fn of(plan: &LogicalPlan, kinds: Kinds) -> Option<Self> {
        let mut expansion = Self {
            kinds,
            joins: HashSet::new(),
            barriers: HashSet::new(),
        };
        loop {
            expansion.expand(plan)?;
            // Only above joins that are not inner can a filter stand that has to stay there.
            if kinds == Kinds::Inner {
                return Some(expansion);
            }
            let barrier = flatten(plan, &expansion).err().and_then(|e| e.barrier());
            match barrier {
                Some(filter) if expansion.barriers.insert(filter) => {}
                _ => return Some(expansion),
            }
        }
    }

    fn expand(&mut self, plan: &LogicalPlan) -> Option<()> {
        let LogicalPlan::Join(root) = plan else {
            return None;
        };
        if !is_reorderable(root, self.kinds) {
            return None;
        }
        self.joins.clear();
        let mut leaves = 1;
        let mut queue = VecDeque::from([root]);
        while let Some(join) = queue.pop_front() {
            if leaves == MAX_RELATIONS {
                break;
            }
            leaves += 1;
            self.joins.insert(std::ptr::from_ref(join));
            for input in [&join.left, &join.right] {
                queue.extend(self.join_below(input));
            }
        }
        Some(())
    }

    /// Whether the region goes on at or below `plan`. If not, `plan` is one of its leaves.
    pub(crate) fn continues_in(&self, plan: &LogicalPlan) -> bool {
        self.join_below(plan)
            .is_some_and(|join| self.joins.contains(&std::ptr::from_ref(join)))
    }

    /// The reorderable join at `plan` or under nodes that a region sees through.
    #[recursive::recursive]
    fn join_below<'p>(&self, plan: &'p LogicalPlan) -> Option<&'p Join> {
        match plan {
            LogicalPlan::Join(join) if is_reorderable(join, self.kinds) => Some(join),
            LogicalPlan::Projection(p) if p.expr.iter().all(|e| plain_column(e).is_some()) => {
                self.join_below(&p.input)
            }
            LogicalPlan::SubqueryAlias(alias) => self.join_below(&alias.input),
            LogicalPlan::Filter(filter) => {
                let passes = is_movable(&filter.predicate)
                    && !self.barriers.contains(&std::ptr::from_ref(filter));
                passes.then(|| self.join_below(&filter.input)).flatten()
            }
            _ => None,
        }
    }
}

/// Whether a join may take part in a region.
pub(super) fn is_reorderable(join: &Join, kinds: Kinds) -> bool {
    let kind = match kinds {
        // An equality class cannot mix both kinds of equality.
        Kinds::Inner => {
            join.join_type == JoinType::Inner
                && (join.null_equality == NullEquality::NullEqualsNothing || join.on.is_empty())
        }
        // NOT IN has an answer of its own where NULLs are, which depends on all rows of its inputs.
        Kinds::All => {
            !join.null_aware && (join.join_type == JoinType::Inner || !has_field_access(join))
        }
    };
    kind && join.filter.as_ref().is_none_or(is_movable)
        && join.on.iter().all(|(l, r)| is_movable(l) && is_movable(r))
}

/// Whether a join asks for fields of structs, or other expressions that the engine takes out of predicates and evaluates
/// where the table is read. It names them so that joins of all kinds in another order have a name twice, and fails.
fn has_field_access(join: &Join) -> bool {
    let to_leaves = |expr: &Expr| {
        let extracted = |e: &Expr| match e {
            Expr::Column(column) => column.name.starts_with("__datafusion_extracted"),
            other => other.placement() == ExpressionPlacement::MoveTowardsLeafNodes,
        };
        expr.exists(|e| Ok(extracted(e))).unwrap_or(true)
    };
    join.filter.as_ref().is_some_and(to_leaves)
        || join.on.iter().any(|(l, r)| to_leaves(l) || to_leaves(r))
}

/// Whether a predicate means the same wherever in the region it is evaluated.
pub(crate) fn is_movable(expr: &Expr) -> bool {
    let fixed = expr.exists(|e| {
        Ok(e.is_volatile_node()
            || matches!(
                e,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::Unnest(_)
            ))
    });
    matches!(fixed, Ok(false))
}

/// The column that a projection passes on, whatever it names it.
pub(crate) fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}
