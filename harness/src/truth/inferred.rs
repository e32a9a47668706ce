//! Predicates that DataFusion infers: from `a.x < b.y AND b.y = c.z` also `a.x < c.z`.
//!
//! They change no result of the query, but would change what its sub-plans are. Of equalities, all that is implied counts; of other
//! predicates between relations only what is written.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{BinaryExpr, Expr};
use joinwright_optimizer::EstimatedRegion;
use joinwright_optimizer::query_graph::resolve_region_column;

/// Drops the filters that are not `written`, where a written one says the same by the equality classes.
pub(crate) fn drop_inferred(region: &mut EstimatedRegion, written: &BTreeSet<String>) {
    let is_written: Vec<bool> = region
        .graph
        .filters
        .iter()
        .map(|filter| {
            let named = as_written(&filter.predicate, region);
            written.contains(&in_one_direction(&named).to_string())
        })
        .collect();
    let by_class: Vec<Expr> = region
        .graph
        .filters
        .iter()
        .map(|filter| in_one_direction(&by_class(&filter.predicate, region)))
        .collect();
    let mut place = 0..by_class.len();
    region.graph.filters.retain(|_| {
        let Some(i) = place.next() else {
            return true;
        };
        let says_the_same = |j: usize| is_written[j] && by_class[j] == by_class[i];
        is_written[i] || !(0..by_class.len()).any(says_the_same)
    });
}

/// A comparison with its sides in the order of their names: `b > a` is `a < b`.
pub(crate) fn in_one_direction(predicate: &Expr) -> Expr {
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate
        && let Some(op) = op.swap()
        && left.to_string() > right.to_string()
    {
        return Expr::BinaryExpr(BinaryExpr::new(right.clone(), op, left.clone()));
    }
    predicate.clone()
}

/// With columns named as the query names them.
fn as_written(predicate: &Expr, region: &EstimatedRegion) -> Expr {
    replaced(predicate, |column| {
        let (relation, field) = resolve_region_column(column)?;
        let schema = region.leaves.get(relation)?.schema();
        let named = (field < schema.fields().len()).then(|| schema.qualified_field(field))?;
        Some(Expr::Column(Column::from(named)))
    })
}

/// With each column replaced by the first member of its equality class.
fn by_class(predicate: &Expr, region: &EstimatedRegion) -> Expr {
    replaced(predicate, |column| {
        let key = Expr::Column(column.clone());
        let classes = region.graph.classes.iter();
        let mut own = classes.filter(|class| class.members.iter().any(|m| m.key == key));
        Some(own.next()?.members.first()?.key.clone())
    })
}

fn replaced(predicate: &Expr, replacement: impl Fn(&Column) -> Option<Expr>) -> Expr {
    let replaced = predicate.clone().transform(|expr| {
        let new = match &expr {
            Expr::Column(column) => replacement(column),
            _ => None,
        };
        Ok(match new {
            Some(new) => Transformed::yes(new),
            None => Transformed::no(expr),
        })
    });
    replaced.map_or_else(|_| predicate.clone(), |new| new.data)
}
