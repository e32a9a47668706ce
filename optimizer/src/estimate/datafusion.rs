//! What DataFusion's own formulas say (55.2, `FilterExec` and `joins::utils` of datafusion-physical-plan), with what it reads from
//! Parquet footers: rows, nulls, smallest and largest values.
//!
//! A conjunction of comparisons between numeric columns and constants keeps of each column the share of its range that is left, one
//! column independent of another. Any other conjunct anywhere in it makes that 20 % for the whole. An inner join has
//! |L|·|R| / max(NDV) rows, where a column has no more distinct values than rows that are not NULL, or integers in its range.
//!
//! Where this deviates: DataFusion takes the largest NDV of all keys of a join, and for the rows of a side those of the joined
//! inputs, which depends on the order; here each relation brings its own, and equalities are thinned to a spanning tree of the largest
//! NDVs. Joins without an equality have unknown rows in DataFusion, here the product. Sums and rounding to whole rows are left out.

use super::literal::{compare, share_below, value_of};
use super::profile::{ColumnProfile, MIN_ROWS};
use super::spanning::{Spanning, SpanningKey};
use super::textbook::key_profile;
use super::{Cardinalities, CardinalityEstimator, EstimateSource};
use crate::query_graph::{QueryGraph, Relation, resolve_region_column};
use datafusion::common::Column;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use joinwright_stats::Value;

/// `default_filter_selectivity`: the share that a filter keeps which intervals cannot tell.
const DEFAULT_SELECTIVITY: f64 = 0.2;

/// DataFusion's estimates, without joinwright's statistics.
#[derive(Debug, Clone, Copy, Default)]
pub struct DataFusion;

impl CardinalityEstimator for DataFusion {
    fn name(&self) -> &str {
        "datafusion"
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let (mut rows, mut sources) = (vec![], vec![]);
        for relation in &graph.relations {
            let (share, source) = selectivity(relation);
            rows.push((relation.base.rows * share).max(MIN_ROWS));
            sources.push(source.max(relation.base.source));
        }
        let resolve = |c: &Column| {
            let (relation, field) = resolve_region_column(c)?;
            let relation = graph.relations.get(relation)?;
            relation.base.columns.get(*relation.output.get(field)?)
        };
        let classes = graph.classes.iter().map(|class| {
            let key = |member: &crate::query_graph::Member| {
                let rows = rows[member.relation];
                let key = key_profile(&member.key, &resolve, rows);
                SpanningKey {
                    relation: member.relation,
                    distinct: distinct(&key, rows),
                }
            };
            class.members.iter().map(key).collect()
        });
        Box::new(Spanning {
            classes: classes.collect(),
            rows,
            sources,
            source: EstimateSource::MinMax,
        })
    }
}

/// The most distinct values that a column can have, as far as DataFusion knows.
fn distinct(column: &ColumnProfile, rows: f64) -> f64 {
    let not_null = rows * (1.0 - column.null_fraction);
    match (&column.min, &column.max) {
        (Some(Value::Int(min)), Some(Value::Int(max))) => {
            not_null.min(max.saturating_sub(*min) as f64 + 1.0).max(1.0)
        }
        _ => not_null.max(1.0),
    }
}

/// The share of a relation's rows that passes its predicates.
fn selectivity(relation: &Relation) -> (f64, EstimateSource) {
    // By column, the range that is left.
    let mut ranges: Vec<(usize, f64, f64)> = vec![];
    let mut conjuncts: Vec<&Expr> = vec![];
    for conjunct in relation.predicates.iter().flat_map(split_conjunction) {
        if !conjuncts.contains(&conjunct) {
            conjuncts.push(conjunct);
        }
    }
    if conjuncts.is_empty() {
        return (1.0, EstimateSource::Exact);
    }
    for conjunct in conjuncts {
        let Some((column, low, high)) = range(conjunct, relation) else {
            return (DEFAULT_SELECTIVITY, EstimateSource::Guess);
        };
        match ranges.iter_mut().find(|r| r.0 == column) {
            Some(r) => (r.1, r.2) = (r.1.max(low), r.2.min(high)),
            None => ranges.push((column, low, high)),
        }
    }
    let shares = ranges.iter().map(|(_, low, high)| (high - low).max(0.0));
    (shares.product(), EstimateSource::MinMax)
}

/// The column that a comparison with a constant is about, and where in its range the values that pass begin and end, from 0 to 1.
fn range(conjunct: &Expr, relation: &Relation) -> Option<(usize, f64, f64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else {
        return None;
    };
    let (name, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (&column.name, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (&column.name, op.swap()?, value),
        _ => return None,
    };
    let place = relation.base_columns.iter().position(|c| c == name)?;
    let column = relation.base.columns.get(place)?;
    let numeric = column.data_type.is_integer() || column.data_type.is_floating();
    if !numeric && !column.data_type.is_temporal() {
        return None;
    }
    let value = value_of(value, &column.data_type)?;
    let below = share_below(&value, column, false)?;
    let through = share_below(&value, column, true)?;
    let (low, high) = match op {
        Operator::Lt => (0.0, below),
        Operator::LtEq => (0.0, through),
        Operator::Gt => (through, 1.0),
        Operator::GtEq => (below, 1.0),
        // One value of a range of reals has no width.
        Operator::Eq if compare(&value, column.min.as_ref()?)?.is_lt() => (0.0, 0.0),
        Operator::Eq => (below, through),
        _ => return None,
    };
    Some((place, low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Profile;
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};

    fn check(predicates: Vec<Expr>, share: f64) {
        let column = ColumnProfile {
            min: Some(Value::Int(1)),
            max: Some(Value::Int(100)),
            ..ColumnProfile::unknown(DataType::Int64, 1000.0)
        };
        let mut base = Profile::counted(1000.0, [DataType::Int64, DataType::Utf8]);
        base.columns[0] = column;
        let relation = Relation {
            alias: String::new(),
            table: None,
            base,
            base_columns: vec!["n".to_string(), "s".to_string()],
            predicates,
            output: vec![0, 1],
            details: None,
            memberships: vec![],
            evaluations: Default::default(),
        };
        let found = selectivity(&relation).0;
        assert!((found - share).abs() < 1e-9, "{found}, not {share}");
    }

    #[test]
    fn intervals_or_a_fifth() {
        check(vec![], 1.0);
        check(vec![col("n").eq(lit(7_i64))], 0.01);
        check(
            vec![col("n").gt(lit(10_i64)), lit(20_i64).gt_eq(col("n"))],
            0.1,
        );
        check(vec![col("s").eq(lit("x"))], 0.2);
        check(vec![col("n").eq(lit(7_i64)), col("s").eq(lit("x"))], 0.2);
        check(vec![col("n").not_eq(lit(7_i64))], 0.2);
    }
}
