//! Selectivity of predicates from NDV, min/max and null fractions, each conjunct by itself.
//!
//! Conjuncts on one column are not independent: `x >= 5 AND x < 10` is one range. So [`restrict`]
//! applies them one after the other, and each sees the column as the ones before left it.

use super::EstimateSource;
use super::literal::{is_outside, share_below, value_of};
use super::profile::{ColumnProfile, MIN_ROWS, Profile};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use joinwright_stats::{CommonValue, Distribution, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// An inequality with an unknown bound, or between two columns: System R's third.
const GUESS_INEQUALITY: f64 = 1.0 / 3.0;
/// A pattern with a fixed prefix.
const GUESS_LIKE_PREFIX: f64 = 0.05;
/// A pattern that looks for one fixed piece anywhere in the value; each further piece multiplies.
const GUESS_LIKE_PIECE: f64 = 0.1;
/// Distinct results of a computed value.
const GUESS_EXPRESSION_NDV: f64 = 200.0;
/// Anything else.
const GUESS_PREDICATE: f64 = 0.25;

/// The columns that a predicate may use.
pub trait Columns {
    /// What is known about a column; `None` if it is not one of ours.
    fn column(&self, column: &Column) -> Option<&ColumnProfile>;
    /// Rows of the relation that has the column.
    fn rows(&self, column: &Column) -> f64;
    /// How the column's values are distributed, if that is known of the rows that are left.
    fn spread(&self, _column: &Column) -> Option<Spread> {
        None
    }
}

/// Common values and histogram of a table's column, and the part of it that range predicates left.
#[derive(Debug, Clone)]
pub struct Spread {
    distribution: Arc<Distribution>,
    /// Shares of the table's values, NULL not counted, below the rows that are left, and below or among them.
    left: (f64, f64),
}

impl Spread {
    fn new(distribution: Arc<Distribution>) -> Option<Self> {
        (distribution.histogram.rows() > 0.0).then_some(Self {
            distribution,
            left: (0.0, 1.0),
        })
    }

    /// The share of all of the table's values, NULL not counted, below a bound, and at it if `inclusive`.
    fn rank(&self, bound: &Value, inclusive: bool) -> Option<f64> {
        let rank = self.distribution.histogram.rank(bound)?;
        let equal = if inclusive { rank.equal } else { 0.0 };
        Some((rank.below + equal).clamp(0.0, 1.0))
    }

    /// The share of the values left that lie below a rank.
    fn share_below(&self, rank: f64) -> f64 {
        let (low, high) = self.left;
        match high > low {
            true => ((rank - low) / (high - low)).clamp(0.0, 1.0),
            false => 1.0,
        }
    }

    /// The share of the values left that equal `value`, of `ndv` distinct ones.
    fn share_of(&self, value: &Value, ndv: f64) -> Option<f64> {
        let common = &self.distribution.common;
        if common.entries.is_empty() || !matches!(value, Value::Int(_) | Value::Bytes(_)) {
            return None;
        }
        let rows = self.distribution.histogram.rows();
        let (low, high) = self.left;
        let count = |entry: &CommonValue| entry.count as f64 + entry.error as f64 / 2.0;
        if let Some(entry) = common.find(value) {
            return Some((count(entry) / rows / (high - low)).min(1.0));
        }
        // What the common values leave is shared by the others. Which of these are in a range is not known.
        let all: f64 = common.entries.iter().map(count).sum();
        let others = (ndv - common.entries.len() as f64).max(1.0);
        let share = ((1.0 - all / rows).max(0.0) / others).min(common.missing as f64 / rows);
        (self.left == (0.0, 1.0)).then(|| share.max(0.5 / rows))
    }
}

/// The share of rows that satisfy a predicate, within (0, 1], and where that came from.
pub fn selectivity(predicate: &Expr, columns: &dyn Columns) -> (f64, EstimateSource) {
    let selected = Estimator { columns }.predicate(predicate);
    (
        selected.share.clamp(f64::MIN_POSITIVE, 1.0),
        selected.source,
    )
}

/// Applies conjuncts to a relation: its rows, and what is left of its columns. `position` finds a
/// column's position in `profile.columns`.
pub fn restrict(
    profile: &mut Profile,
    predicates: &[Expr],
    position: &dyn Fn(&Column) -> Option<usize>,
) {
    restrict_spread(profile, predicates, position, &|_| None);
}

/// The same, with what `distribution` knows of the columns before any predicate.
pub(crate) fn restrict_spread(
    profile: &mut Profile,
    predicates: &[Expr],
    position: &dyn Fn(&Column) -> Option<usize>,
    distribution: &dyn Fn(&Column) -> Option<Arc<Distribution>>,
) {
    let mut spreads: HashMap<Column, Option<Spread>> = HashMap::new();
    let mut conjuncts: Vec<&Expr> = vec![];
    for conjunct in predicates.iter().flat_map(split_conjunction) {
        // A predicate that stands both in a scan and above it counts once.
        if !conjuncts.contains(&conjunct) {
            conjuncts.push(conjunct);
        }
    }
    let before = profile.rows;
    // By column, the share that its own predicates keep.
    let mut own = vec![1.0; profile.columns.len()];
    for conjunct in conjuncts {
        for column in conjunct.column_refs() {
            let of_column = || Spread::new(distribution(column)?);
            spreads.entry(column.clone()).or_insert_with(of_column);
        }
        let selected = Estimator {
            columns: &Positioned {
                profile,
                position,
                spreads: &spreads,
            },
        }
        .predicate(conjunct);
        let share = selected
            .share
            .clamp((MIN_ROWS / profile.rows).min(1.0), 1.0);
        profile.rows = (profile.rows * share).max(MIN_ROWS);
        profile.source = profile.source.max(selected.source);
        let Some((column, effect)) = selected.effect else {
            continue;
        };
        if let Some(spread) = spreads.get_mut(&column) {
            effect.narrow(spread);
        }
        if let Some(i) = position(&column) {
            own[i] *= share;
            effect.apply(&mut profile.columns[i]);
        }
    }
    let after = profile.rows;
    for (column, own) in profile.columns.iter_mut().zip(own) {
        column.shrink(before * own, after);
    }
}

struct Positioned<'a> {
    profile: &'a Profile,
    position: &'a dyn Fn(&Column) -> Option<usize>,
    spreads: &'a HashMap<Column, Option<Spread>>,
}

impl Columns for Positioned<'_> {
    fn column(&self, column: &Column) -> Option<&ColumnProfile> {
        self.profile.columns.get((self.position)(column)?)
    }

    fn rows(&self, _column: &Column) -> f64 {
        self.profile.rows
    }

    fn spread(&self, column: &Column) -> Option<Spread> {
        self.spreads.get(column)?.clone()
    }
}

/// The outcome of one predicate.
struct Selected {
    share: f64,
    source: EstimateSource,
    /// What the predicate says about the values of one column.
    effect: Option<(Column, Effect)>,
}

impl Selected {
    fn new(share: f64, source: EstimateSource) -> Self {
        Self {
            share,
            source,
            effect: None,
        }
    }

    fn guess(share: f64) -> Self {
        Self::new(share, EstimateSource::Guess)
    }
}

/// What is left of a column.
#[derive(Debug, Clone)]
enum Effect {
    /// So many values.
    Points(f64, Option<Value>),
    /// The values within bounds; `None` keeps the bound there was. The share of the values, and the ranks of the bounds where a
    /// histogram tells them.
    Range(Option<Value>, Option<Value>, f64, Ranks),
    /// No NULL.
    NotNull,
}

/// The ranks that a range ends at, `None` where they stay.
type Ranks = (Option<f64>, Option<f64>);

impl Effect {
    /// What is left of a distribution: of values that were picked out one by one nothing.
    fn narrow(&self, spread: &mut Option<Spread>) {
        match (self, spread.as_mut()) {
            (Self::Range(_, _, _, (low, high)), Some(known)) if low.is_some() || high.is_some() => {
                let (before, after) = known.left;
                known.left = (low.unwrap_or(before), high.unwrap_or(after));
            }
            (Self::NotNull, _) => {}
            _ => *spread = None,
        }
    }

    fn apply(self, column: &mut ColumnProfile) {
        column.null_fraction = 0.0;
        match self {
            Self::Points(count, value) => {
                column.ndv = column.ndv.min(count).max(1.0);
                if value.is_some() {
                    column.min.clone_from(&value);
                    column.max = value;
                }
            }
            Self::Range(min, max, share, _) => {
                column.ndv = (column.ndv * share).max(1.0);
                if min.is_some() {
                    column.min = min;
                }
                if max.is_some() {
                    column.max = max;
                }
            }
            Self::NotNull => {}
        }
    }
}

struct Estimator<'a> {
    columns: &'a dyn Columns,
}

impl Estimator<'_> {
    #[recursive::recursive]
    fn predicate(&self, predicate: &Expr) -> Selected {
        match predicate {
            Expr::Alias(alias) => self.predicate(&alias.expr),
            Expr::Literal(ScalarValue::Boolean(value), _) => {
                let share = if *value == Some(true) { 1.0 } else { 0.0 };
                Selected::new(share, EstimateSource::Exact)
            }
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Not(inner) => self.complement(inner),
            Expr::IsNull(inner) => self.is_null(inner),
            Expr::IsNotNull(inner) => {
                let null = self.is_null(inner);
                let effect = as_column(inner).map(|c| (c.clone(), Effect::NotNull));
                Selected {
                    share: 1.0 - null.share,
                    source: null.source,
                    effect,
                }
            }
            Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => self.predicate(inner),
            Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => self.complement(inner),
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => self.like(like),
            Expr::Column(column) => match self.columns.column(column) {
                Some(profile) => {
                    Selected::new((1.0 - profile.null_fraction) / profile.ndv, profile.source)
                }
                None => Selected::guess(GUESS_PREDICATE),
            },
            _ => Selected::guess(GUESS_PREDICATE),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Selected {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And => {
                let (left, right) = (self.predicate(left), self.predicate(right));
                Selected::new(left.share * right.share, left.source.max(right.source))
            }
            Operator::Or => self.or(binary),
            Operator::Eq | Operator::IsNotDistinctFrom => self.equal(left, right),
            Operator::NotEq | Operator::IsDistinctFrom => {
                let equal = self.equal(left, right);
                let null = self.null_fraction(left).max(self.null_fraction(right));
                Selected::new(1.0 - null - equal.share, equal.source)
            }
            Operator::Lt | Operator::LtEq => self.less(left, right, *op == Operator::LtEq),
            Operator::Gt | Operator::GtEq => self.less(right, left, *op == Operator::GtEq),
            Operator::LikeMatch | Operator::ILikeMatch | Operator::RegexMatch => {
                Selected::guess(GUESS_LIKE_PIECE)
            }
            _ => Selected::guess(GUESS_PREDICATE),
        }
    }

    /// NOT of a predicate: what it leaves, less the rows where it is NULL.
    fn complement(&self, inner: &Expr) -> Selected {
        let selected = self.predicate(inner);
        let null = inner
            .column_refs()
            .into_iter()
            .filter_map(|c| self.columns.column(c))
            .map(|c| c.null_fraction)
            .fold(0.0, f64::max);
        Selected::new((1.0 - null - selected.share).max(0.0), selected.source)
    }

    fn is_null(&self, inner: &Expr) -> Selected {
        match as_column(inner).and_then(|c| self.columns.column(c)) {
            Some(profile) => Selected::new(profile.null_fraction, EstimateSource::Exact),
            None => Selected::guess(self.null_fraction(inner)),
        }
    }

    /// Disjuncts on one column are disjoint more often than not, so they add; others are
    /// independent.
    fn or(&self, binary: &BinaryExpr) -> Selected {
        let mut disjuncts = vec![];
        collect_disjuncts(&binary.left, &mut disjuncts);
        collect_disjuncts(&binary.right, &mut disjuncts);
        let selected: Vec<Selected> = disjuncts.iter().map(|d| self.predicate(d)).collect();
        let source = selected
            .iter()
            .map(|s| s.source)
            .max()
            .unwrap_or(EstimateSource::Guess);
        let mut columns = disjuncts.iter().map(|d| d.column_refs());
        let first = columns.next().unwrap_or_default();
        if first.len() == 1 && columns.all(|c| c == first) {
            let share = selected.iter().map(|s| s.share).sum::<f64>().min(1.0);
            // Points stay points: `x = 1 OR x = 2` leaves two values.
            let points: Option<f64> = selected
                .iter()
                .map(|s| match &s.effect {
                    Some((_, Effect::Points(count, _))) => Some(*count),
                    _ => None,
                })
                .sum();
            let column = first.into_iter().next().cloned();
            return Selected {
                share,
                source,
                effect: column.zip(points.map(|count| Effect::Points(count, None))),
            };
        }
        let none = selected.iter().map(|s| 1.0 - s.share).product::<f64>();
        Selected::new(1.0 - none, source)
    }

    fn equal(&self, left: &Expr, right: &Expr) -> Selected {
        let (key, other) = if literal(left).is_some() {
            (right, left)
        } else {
            (left, right)
        };
        let Some(value) = literal(other) else {
            return self.equal_expressions(key, other);
        };
        if value.is_null() {
            return Selected::new(0.0, EstimateSource::Exact);
        }
        let column = as_column(key);
        let Some((column, profile)) = column.and_then(|c| Some((c, self.columns.column(c)?)))
        else {
            let ndv = self.expression_ndv(key);
            return Selected::guess((1.0 - self.null_fraction(key)) / ndv);
        };
        let point = value_of(value, &profile.data_type);
        let outside = point.as_ref().is_some_and(|v| is_outside(v, profile));
        let share = if outside {
            // The table may have grown since, so not zero: one row.
            1.0 / self.columns.rows(column).max(1.0)
        } else {
            let known = || {
                let spread = self.columns.spread(column)?;
                spread.share_of(point.as_ref()?, profile.ndv)
            };
            (1.0 - profile.null_fraction) * known().unwrap_or(1.0 / profile.ndv)
        };
        Selected {
            share,
            source: profile.source,
            effect: Some((column.clone(), Effect::Points(1.0, point))),
        }
    }

    fn equal_expressions(&self, left: &Expr, right: &Expr) -> Selected {
        let ndv = self.expression_ndv(left).max(self.expression_ndv(right));
        let not_null = (1.0 - self.null_fraction(left)) * (1.0 - self.null_fraction(right));
        let both_columns = as_column(left).is_some() && as_column(right).is_some();
        let source = if both_columns {
            EstimateSource::Ndv
        } else {
            EstimateSource::Guess
        };
        Selected::new(not_null / ndv, source)
    }

    /// `left < right`, or `<=` if `or_equal`.
    fn less(&self, left: &Expr, right: &Expr, or_equal: bool) -> Selected {
        let (key, value, below) = match (literal(left), literal(right)) {
            (None, Some(value)) => (left, value, true),
            (Some(value), None) => (right, value, false),
            _ => return Selected::guess(GUESS_INEQUALITY),
        };
        if value.is_null() {
            return Selected::new(0.0, EstimateSource::Exact);
        }
        let Some((column, profile)) =
            as_column(key).and_then(|c| Some((c, self.columns.column(c)?)))
        else {
            return Selected::guess(GUESS_INEQUALITY);
        };
        let Some(bound) = value_of(value, &profile.data_type) else {
            return Selected::guess(GUESS_INEQUALITY);
        };
        let not_null = 1.0 - profile.null_fraction;
        let floor = 1.0 / self.columns.rows(column).max(1.0);
        let inclusive = or_equal == below;
        let of_histogram = || {
            let spread = self.columns.spread(column)?;
            let rank = spread.rank(&bound, inclusive)?;
            Some((rank, spread.share_below(rank)))
        };
        let of_histogram = of_histogram();
        let known = match of_histogram {
            Some((_, share)) => Some((share, EstimateSource::Histogram)),
            None => {
                share_below(&bound, profile, inclusive).map(|share| (share, EstimateSource::MinMax))
            }
        };
        let (share, source) = match known {
            Some((share_below, source)) => {
                let share = if below {
                    share_below
                } else {
                    1.0 - share_below
                };
                (share.clamp(floor.min(1.0), 1.0), source)
            }
            None => (GUESS_INEQUALITY, EstimateSource::Guess),
        };
        let rank = of_histogram.map(|(rank, _)| rank);
        // A bound outside the known range does not widen it.
        let bound = (!is_outside(&bound, profile)).then_some(bound);
        let effect = if below {
            Effect::Range(None, bound, share, (None, rank))
        } else {
            Effect::Range(bound, None, share, (rank, None))
        };
        Selected {
            share: share * not_null,
            source,
            effect: Some((column.clone(), effect)),
        }
    }

    fn between(&self, between: &Between) -> Selected {
        let above = self.less(&between.low, &between.expr, true);
        let below = self.less(&between.expr, &between.high, true);
        let source = above.source.max(below.source);
        // Both shares are of the same range: what one cuts off, the other does not.
        let share = if source == EstimateSource::Guess {
            above.share * below.share
        } else {
            let not_null = 1.0 - self.null_fraction(&between.expr);
            (above.share + below.share - not_null).max(0.0)
        };
        if between.negated {
            let not_null = 1.0 - self.null_fraction(&between.expr);
            return Selected::new((not_null - share).max(0.0), source);
        }
        let effect = match (above.effect, below.effect) {
            (
                Some((column, Effect::Range(min, _, _, (low, _)))),
                Some((_, Effect::Range(_, max, _, (_, high)))),
            ) => Some((column, Effect::Range(min, max, share, (low, high)))),
            _ => None,
        };
        Selected {
            share,
            source,
            effect,
        }
    }

    fn in_list(&self, list: &InList) -> Selected {
        let values: Vec<Selected> = list
            .list
            .iter()
            .map(|value| self.equal(&list.expr, value))
            .collect();
        let source = values
            .iter()
            .map(|s| s.source)
            .max()
            .unwrap_or(EstimateSource::Guess);
        let not_null = 1.0 - self.null_fraction(&list.expr);
        let share = values.iter().map(|s| s.share).sum::<f64>().min(not_null);
        if list.negated {
            return Selected::new((not_null - share).max(0.0), source);
        }
        Selected {
            share,
            source,
            effect: as_column(&list.expr)
                .map(|c| (c.clone(), Effect::Points(list.list.len() as f64, None))),
        }
    }

    fn like(&self, like: &Like) -> Selected {
        let not_null = 1.0 - self.null_fraction(&like.expr);
        let share = match literal(&like.pattern) {
            Some(pattern) => match pattern.try_as_str().flatten() {
                Some(pattern) if !pattern.contains(['%', '_']) => {
                    let equal = self.equal(&like.expr, &like.pattern);
                    if !like.negated {
                        return equal;
                    }
                    equal.share
                }
                Some(pattern) => like_share(pattern) * not_null,
                None => GUESS_LIKE_PIECE * not_null,
            },
            None => GUESS_LIKE_PIECE * not_null,
        };
        let share = if like.negated {
            (not_null - share).max(0.0)
        } else {
            share
        };
        Selected::guess(share)
    }

    fn null_fraction(&self, expr: &Expr) -> f64 {
        as_column(expr)
            .and_then(|c| self.columns.column(c))
            .map_or(0.0, |profile| profile.null_fraction)
    }

    /// Distinct values of an expression: a column's own, a computed value's no more than its columns
    /// allow.
    fn expression_ndv(&self, expr: &Expr) -> f64 {
        if let Some(profile) = as_column(expr).and_then(|c| self.columns.column(c)) {
            return profile.ndv;
        }
        let columns: f64 = expr
            .column_refs()
            .into_iter()
            .filter_map(|c| self.columns.column(c))
            .map(|c| c.ndv)
            .product();
        columns.clamp(1.0, GUESS_EXPRESSION_NDV)
    }
}

/// The share of values that a LIKE pattern with a wildcard finds.
fn like_share(pattern: &str) -> f64 {
    let pieces = pattern.split('%').filter(|p| !p.is_empty()).count();
    if pieces == 0 {
        return 1.0;
    }
    let first = if pattern.starts_with(['%', '_']) {
        GUESS_LIKE_PIECE
    } else {
        GUESS_LIKE_PREFIX
    };
    first * GUESS_LIKE_PIECE.powi(pieces as i32 - 1)
}

fn collect_disjuncts<'a>(expr: &'a Expr, disjuncts: &mut Vec<&'a Expr>) {
    // A loop down the left spine: long OR chains lean to the left.
    let mut rest = expr;
    while let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Or,
        right,
    }) = rest
    {
        disjuncts.push(right);
        rest = left;
    }
    disjuncts.push(rest);
}

/// The column that an expression is, seen through casts.
fn as_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => as_column(&alias.expr),
        Expr::Cast(cast) => as_column(&cast.expr),
        Expr::TryCast(cast) => as_column(&cast.expr),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        Expr::Cast(cast) => literal(&cast.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};

    fn profile() -> Profile {
        let column = |data_type, ndv, min, max, null_fraction| ColumnProfile {
            data_type,
            ndv,
            null_fraction,
            min,
            max,
            source: EstimateSource::Ndv,
        };
        Profile {
            rows: 1000.0,
            source: EstimateSource::Exact,
            known: true,
            stale: false,
            columns: vec![
                column(
                    DataType::Int64,
                    100.0,
                    Some(Value::Int(1)),
                    Some(Value::Int(100)),
                    0.0,
                ),
                column(
                    DataType::Utf8,
                    20.0,
                    Some(Value::Bytes(b"item-a".to_vec())),
                    Some(Value::Bytes(b"item-z".to_vec())),
                    0.5,
                ),
                column(DataType::Float64, 1000.0, None, None, 0.0),
            ],
        }
    }

    /// Rows and NDV of `x` after a predicate over `x` (1..100), `s` (strings, half NULL), `f`.
    fn check(predicate: Expr, rows: f64, ndv_x: f64) {
        let mut profile = profile();
        let names = ["x", "s", "f"];
        let position = |c: &Column| names.iter().position(|n| *n == c.name);
        restrict(&mut profile, std::slice::from_ref(&predicate), &position);
        assert!(
            (profile.rows - rows).abs() < 0.01 * rows.max(0.1),
            "{predicate}: {} rows",
            profile.rows
        );
        let ndv = profile.columns[0].ndv;
        assert!((ndv - ndv_x).abs() < 0.02 * ndv_x, "{predicate}: ndv {ndv}");
    }

    #[test]
    fn conjuncts() {
        let (x, s, f) = (col("x"), col("s"), col("f"));
        check(x.clone().eq(lit(5_i64)), 10.0, 1.0);
        check(lit(5_i64).eq(x.clone()), 10.0, 1.0);
        check(x.clone().eq(lit(500_i64)), 1.0, 1.0);
        check(x.clone().not_eq(lit(5_i64)), 990.0, 100.0);
        check(x.clone().lt(lit(26_i64)), 250.0, 25.0);
        check(x.clone().lt_eq(lit(25_i64)), 250.0, 25.0);
        check(x.clone().gt_eq(lit(26_i64)), 750.0, 75.0);
        check(lit(25_i64).lt(x.clone()), 750.0, 75.0);
        check(x.clone().gt(lit(1000_i64)), 1.0, 1.0);
        check(x.clone().between(lit(11_i64), lit(20_i64)), 100.0, 10.0);
        check(
            x.clone().not_between(lit(11_i64), lit(20_i64)),
            900.0,
            100.0,
        );
        check(
            x.clone().in_list(vec![lit(1_i64), lit(2_i64)], false),
            20.0,
            2.0,
        );
        check(
            x.clone().in_list(vec![lit(1_i64), lit(2_i64)], true),
            980.0,
            100.0,
        );
        check(
            x.clone().eq(lit(1_i64)).or(x.clone().eq(lit(2_i64))),
            20.0,
            2.0,
        );
        // Two conjuncts on one column are one range, not two independent halves.
        check(
            x.clone()
                .gt_eq(lit(11_i64))
                .and(x.clone().lt_eq(lit(20_i64))),
            100.0,
            10.0,
        );
        check(s.clone().is_null(), 500.0, 99.9);
        check(s.clone().is_not_null(), 500.0, 99.9);
        check(s.clone().eq(lit("item-q")), 25.0, 22.5);
        check(s.clone().like(lit("%x%")), 50.0, 40.0);
        check(f.clone().lt(lit(1.0)), 333.3, 98.0);
        check(f.lt(x.clone()), 333.3, 98.0);
        check(x.clone().eq(x.clone()), 10.0, 9.6);
        check(x.clone().eq(lit(ScalarValue::Int64(None))), MIN_ROWS, 1.0);
        check(x.clone().eq(lit(5_i64)).or(s.is_null()), 505.0, 99.9);
        check((x.clone().eq(lit(5_i64))).and(x.eq(lit(5_i64))), 10.0, 1.0);
    }
}
