//! The query graph of one region: relations, equality classes, and all other predicates.
//!
//! Plain data between `extract` and `emit`. Predicates stay DataFusion expressions, with columns
//! named by relation and position, so that the same table may appear any number of times.

use crate::estimate::{ColumnProfile, Evaluations, Profile};
use crate::join_graph::{EdgeKind, JoinGraph};
use crate::relset::RelSet;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::Expr;
use joinwright_stats::TableDetails;
use std::sync::Arc;

/// One reorderable region of a query.
#[derive(Debug, Clone)]
pub struct QueryGraph {
    /// The leaves: tables with their predicates, or whole sub-plans.
    pub relations: Vec<Relation>,
    /// Sets of expressions that are equal in every row of the result.
    pub classes: Vec<EqualityClass>,
    /// All other predicates that concern two or more relations.
    pub filters: Vec<JoinFilter>,
    /// What is known of the composite keys of relations that are no tables.
    pub composites: Vec<Composite>,
}

/// The composite key by which two relations are joined: the one that all classes make that both are members of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Composite {
    /// The two relations.
    pub pair: RelSet,
    /// Combinations of values that it has room for, before predicates; at least one.
    pub combinations: f64,
}

/// A leaf of a region.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Unique within the region.
    pub alias: String,
    /// The table's name, if the leaf is a table.
    pub table: Option<String>,
    /// The relation before its predicates.
    pub base: Profile,
    /// Names of the columns of `base`; the predicates use them.
    pub base_columns: Vec<String>,
    /// Conjuncts on the relation alone, in terms of `base_columns`.
    pub predicates: Vec<Expr>,
    /// For each field of the leaf's schema its column in `base`.
    pub output: Vec<usize>,
    /// Samples, histograms and degrees of the table, where it has been analyzed.
    pub details: Option<Arc<TableDetails>>,
    /// Semi and anti joins that restrict the relation, beside its predicates.
    pub memberships: Vec<Membership>,
    /// What the predicates say of rows of `details`, kept for other regions of the query.
    pub evaluations: Evaluations,
}

impl Relation {
    /// What is known of a column of `base`, by its name.
    pub fn base_column(&self, name: &str) -> Option<&ColumnProfile> {
        let place = self.base_columns.iter().position(|c| c == name)?;
        self.base.columns.get(place)
    }

    /// The type of a column of `base`, by its name.
    pub fn base_type(&self, name: &str) -> Option<DataType> {
        Some(self.base_column(name)?.data_type.clone())
    }
}

/// A semi or anti join of a relation.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Columns that have to be equal: of the relation, and of the other one, by their names in `base_columns`. Empty where the
    /// join has other conditions, too, so that only `share` is known.
    pub keys: Vec<(String, String)>,
    /// The relation with the partners.
    pub other: Arc<Relation>,
    /// Rows without a partner are kept, not those with one.
    pub anti: bool,
    /// The share of rows that is kept as far as statistics of columns tell, within [0, 1].
    pub share: f64,
}

/// Key expressions that are equal to each other, by written predicates or by transitivity.
///
/// All members have the same type: equality across a cast is not transitive.
#[derive(Debug, Clone)]
pub struct EqualityClass {
    /// The expressions, in the order in which the query names them, from two relations at least.
    pub members: Vec<Member>,
}

/// A member of an equality class.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The one relation whose columns `key` uses.
    pub relation: usize,
    /// The key, mostly a column, with columns as [`region_column`] makes them.
    pub key: Expr,
    /// Its type.
    pub data_type: DataType,
}

/// A predicate on two or more relations that no equality class expresses.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinFilter {
    /// The relations whose columns it uses.
    pub relations: RelSet,
    /// The predicate, with columns as [`region_column`] makes them.
    pub predicate: Expr,
}

impl EqualityClass {
    /// The relations that have a member.
    pub fn relations(&self) -> RelSet {
        self.members.iter().map(|m| m.relation).collect()
    }
}

impl QueryGraph {
    /// The neighbour table for search: an edge between all relations of a class, since equality is
    /// transitive, and between the two of a predicate on two.
    pub fn join_graph(&self) -> JoinGraph {
        let mut edges = vec![];
        for class in &self.classes {
            let relations = class.relations();
            for a in relations.iter() {
                edges.extend(
                    relations
                        .iter()
                        .filter(|b| *b > a)
                        .map(|b| (a, b, EdgeKind::Equality)),
                );
            }
        }
        for filter in &self.filters {
            if filter.relations.len() == 2 {
                let mut ends = filter.relations.iter();
                if let (Some(a), Some(b)) = (ends.next(), ends.next()) {
                    edges.push((a, b, EdgeKind::Theta));
                }
            }
        }
        JoinGraph::new(self.relations.len(), edges)
    }
}

/// The column that stands for field `field` of relation `relation` in the predicates of a region.
pub fn region_column(relation: usize, field: usize) -> Column {
    Column::new(
        Some(TableReference::bare(format!("#{relation}"))),
        field.to_string(),
    )
}

/// The relation and field that a column made by [`region_column`] stands for.
pub fn resolve_region_column(column: &Column) -> Option<(usize, usize)> {
    let relation = column.relation.as_ref()?.table().strip_prefix('#')?;
    Some((relation.parse().ok()?, column.name.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_columns_round_trip() {
        assert_eq!(resolve_region_column(&region_column(7, 12)), Some((7, 12)));
        assert_eq!(resolve_region_column(&Column::new(Some("t"), "12")), None);
        assert_eq!(resolve_region_column(&Column::from_name("12")), None);
    }
}
