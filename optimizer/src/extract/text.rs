//! Regions as text, by which they are recognized when they come again.

use super::{MARKS, Region, rename_columns};
use crate::join_tree::JoinTree;
use crate::query_graph::{Relation, resolve_region_column};
use crate::relset::RelSet;
use datafusion::common::Column;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::fmt::Write;

/// A region as it stands in a plan: its tree, with relations and predicates in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RegionText(String);

impl RegionText {
    /// The text of a region whose relations are joined as `tree` says.
    pub(crate) fn new(region: &Region, tree: &JoinTree) -> Self {
        let mut text = String::new();
        write_tree(tree, region, true, &mut text);
        Self::joined(text, region)
    }

    /// The text of a region in whatever order its relations are joined.
    pub(crate) fn of_set(region: &Region) -> Self {
        let relations = 0..region.graph.relations.len();
        let mut leaves: Vec<String> = relations.map(|index| leaf_text(region, index)).collect();
        leaves.sort_unstable();
        Self::joined(leaves.join(" "), region)
    }

    /// The text of a region's tree and joins without what restricts its relations, and without how filters are written.
    pub(crate) fn of_shape(region: &Region, tree: &JoinTree) -> Self {
        let mut text = String::new();
        write_tree(tree, region, false, &mut text);
        let filters = region.filters.iter();
        let mut filters: Vec<Vec<&str>> = filters.map(|f| names(region, f.relations)).collect();
        filters.sort_unstable();
        // Writing to a string does not fail.
        let _ = write!(text, "\n{filters:?}");
        Self::with_joins(text, region, vec![])
    }

    fn joined(text: String, region: &Region) -> Self {
        let filters = region.filters.iter();
        let filters = filters.map(|filter| readable(&filter.predicate, region));
        Self::with_joins(text, region, filters.collect())
    }

    fn with_joins(mut text: String, region: &Region, mut predicates: Vec<String>) -> Self {
        for class in &region.classes {
            let mut members: Vec<String> = class
                .members
                .iter()
                .map(|member| readable(&member.key, region))
                .collect();
            members.sort_unstable();
            predicates.push(members.join(" = "));
        }
        let operators = region.operators.iter().map(|operator| {
            let condition = operator.join.condition();
            let condition = condition.map_or_else(String::new, |e| readable(&e, region));
            format!(
                "{} {:?} {:?} {condition}",
                operator.place.kind.as_str(),
                names(region, operator.place.left),
                names(region, operator.place.right)
            )
        });
        predicates.extend(operators);
        predicates.sort_unstable();
        for predicate in predicates {
            text.push('\n');
            text.push_str(&predicate);
        }
        Self(text)
    }
}

/// The names of relations, in the order of the alphabet.
fn names(region: &Region, set: RelSet) -> Vec<&str> {
    let relations = &region.graph.relations;
    let aliases = set
        .iter()
        .filter_map(|r| Some(relations.get(r)?.alias.as_str()));
    let mut names: Vec<&str> = aliases.collect();
    names.sort_unstable();
    names
}

/// `whole`: with rows and predicates.
fn write_tree(tree: &JoinTree, region: &Region, whole: bool, text: &mut String) {
    match tree {
        JoinTree::Join(left, right) => {
            text.push('(');
            write_tree(left, region, whole, text);
            text.push(' ');
            write_tree(right, region, whole, text);
            text.push(')');
        }
        JoinTree::Leaf(index) => {
            let Some(relation) = region.graph.relations.get(*index) else {
                return;
            };
            // Writing to a string does not fail.
            let _ = write!(text, "{} {:?}", relation.alias, relation.table);
            if !whole {
                return;
            }
            let split = relation.predicates.iter().flat_map(split_conjunction);
            let mut predicates: Vec<String> = split.map(ToString::to_string).collect();
            predicates.sort_unstable();
            predicates.dedup();
            let _ = write!(text, " {} {predicates:?}", relation.base.rows);
            for membership in &relation.memberships {
                let (keys, other) = (&membership.keys, &membership.other);
                let _ = write!(text, " {} {keys:?} {:?}", membership.anti, other.table);
                let _ = write!(text, " {:?} {}", other.predicates, membership.share);
            }
        }
    }
}

/// A relation of a region with its name, predicates and rows.
pub(crate) fn leaf_text(region: &Region, relation: usize) -> String {
    let mut text = String::new();
    write_tree(&JoinTree::Leaf(relation), region, true, &mut text);
    text
}

/// A region's predicate with columns as a reader knows them.
pub(crate) fn readable(expr: &Expr, region: &Region) -> String {
    named(expr, &region.graph.relations, &region.leaves)
}

/// A predicate in terms of relations with columns as a reader knows them.
pub(crate) fn named(expr: &Expr, relations: &[Relation], leaves: &[LogicalPlan]) -> String {
    let named = rename_columns(expr, |c| {
        let (relation, field) = resolve_region_column(c)?;
        if relation >= MARKS {
            return Some(Column::from_name(format!("mark#{}", relation - MARKS + 1)));
        }
        let alias = &relations.get(relation)?.alias;
        let name = leaves.get(relation)?.schema().fields().get(field)?.name();
        Some(Column::new(Some(alias.as_str()), name))
    });
    named.map_or_else(|_| expr.to_string(), |e| e.to_string())
}
