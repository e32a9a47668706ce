//! Whether two results hold the same rows: exact by value, floats within a relative tolerance, as multisets.
//!
//! Rows are grouped by their exact part: every column that is no float, and for floats whether the value is NULL,
//! NaN, an infinity or finite. Within a group the finite floats are split into clusters, column by column, wherever
//! two neighbours in sorted order are farther apart than the tolerance; the results agree if each cluster has
//! as many rows of one as of the other. Sorting whole rows and comparing pairs would not do: two values that differ
//! in the last bit swap places, and rows that belong together are no longer opposite each other.

use std::cmp::Ordering;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};

use crate::rows::{Table, exact_columns, plain_type, sort_fields};

/// Floats within this factor of each other are the same: sums depend on the order of their terms.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// Single precision cannot tell values apart that are closer than about two units in the last place.
const RELATIVE_TOLERANCE_F32: f64 = 2.0 * f32::EPSILON as f64;

/// How a query orders its result, as far as the sort keys are among its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    /// Position among the columns of the result.
    pub(crate) column: usize,
    pub(crate) options: SortOptions,
}

/// How rows of one result must stand in the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    /// Each row of the left one is in the right one, at least as often.
    Contained,
}

/// Why two results differ, in a line; `None` where they hold the same rows.
pub(crate) fn difference(left: &Table, right: &Table) -> Result<Option<String>> {
    relate(left, right, Relation::Equal)
}

/// Why `part` is not contained in `whole` as a multiset; `None` where it is.
pub(crate) fn not_contained(part: &Table, whole: &Table) -> Result<Option<String>> {
    relate(part, whole, Relation::Contained)
}

/// The columns of the sort keys alone.
pub(crate) fn key_columns(table: &Table, keys: &[SortKey]) -> Result<Table> {
    let columns: Vec<usize> = keys.iter().map(|key| key.column).collect();
    Ok(Table {
        schema: Arc::new(table.schema.project(&columns)?),
        batches: (table.batches.iter())
            .map(|batch| batch.project(&columns))
            .collect::<Result<_, _>>()?,
    })
}

/// The first row, counted from 0, that stands before its predecessor in the order of `keys`; `None` where the
/// result is in order. A result is held to its own values, so rounding in a key cannot make a false alarm.
pub(crate) fn first_out_of_order(table: &Table, keys: &[SortKey]) -> Result<Option<u64>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let fields: Vec<SortField> = keys
        .iter()
        .map(|key| {
            let data_type = table.schema.field(key.column).data_type().clone();
            SortField::new_with_options(data_type, key.options)
        })
        .collect();
    let converter =
        RowConverter::new(fields).context("cannot order the result by its sort keys")?;
    let mut rows = converter.empty_rows(table.rows(), 0);
    for batch in &table.batches {
        let columns: Vec<ArrayRef> = keys
            .iter()
            .map(|key| Arc::clone(batch.column(key.column)))
            .collect();
        converter.append(&mut rows, &columns)?;
    }
    Ok((1..rows.num_rows())
        .find(|&at| rows.row(at) < rows.row(at - 1))
        .map(|at| at as u64))
}

fn relate(left: &Table, right: &Table, relation: Relation) -> Result<Option<String>> {
    if let Some(message) = different_types(left, right) {
        return Ok(Some(message));
    }
    if relation == Relation::Equal && left.rows() != right.rows() {
        return Ok(Some(format!(
            "{} rows against {}",
            left.rows(),
            right.rows()
        )));
    }
    if left.schema.fields().is_empty() {
        return Ok((left.rows() > right.rows()).then(|| "too many rows".to_owned()));
    }
    let probe = RecordBatch::new_empty(Arc::clone(&left.schema));
    let converter = RowConverter::new(sort_fields(&exact_columns(&probe)?))?;
    let sides = [Side::new(left, &converter)?, Side::new(right, &converter)?];
    let tolerances: Vec<f64> = left
        .schema
        .fields()
        .iter()
        .filter(|field| field.data_type().is_floating())
        .map(|field| match field.data_type() {
            DataType::Float64 => RELATIVE_TOLERANCE,
            _ => RELATIVE_TOLERANCE_F32,
        })
        .collect();
    let matcher = Matcher {
        sides: &sides,
        tolerances: &tolerances,
        relation,
    };
    Ok(matcher.first_lonely_row().map(|(side, row)| {
        // In the words of the left one, which is held to the right one.
        let (table, what) = [(left, "extra"), (right, "missing")][side];
        format!("{what} row: {}", table.describe(row))
    }))
}

fn different_types(left: &Table, right: &Table) -> Option<String> {
    let (a, b) = (left.schema.fields(), right.schema.fields());
    if a.len() != b.len() {
        return Some(format!("{} columns against {}", a.len(), b.len()));
    }
    a.iter().zip(b).find_map(|(a, b)| {
        let (x, y) = (plain_type(a.data_type()), plain_type(b.data_type()));
        (x != y).then(|| format!("column {} is {x} against {y}", a.name()))
    })
}

/// One result, ready to be matched.
struct Side {
    exact: Rows,
    /// The float columns; 0 where the value is not finite, which `exact` tells.
    floats: Vec<Vec<f64>>,
    /// Row numbers in the order of `exact`.
    order: Vec<usize>,
}

impl Side {
    fn new(table: &Table, converter: &RowConverter) -> Result<Self> {
        let mut exact = converter.empty_rows(table.rows(), 0);
        let float_columns: Vec<usize> = (0..table.schema.fields().len())
            .filter(|&at| table.schema.field(at).data_type().is_floating())
            .collect();
        let mut floats = vec![Vec::with_capacity(table.rows()); float_columns.len()];
        for batch in &table.batches {
            converter.append(&mut exact, &exact_columns(batch)?)?;
            for (values, &column) in floats.iter_mut().zip(&float_columns) {
                let column = cast(batch.column(column), &DataType::Float64)?;
                values.extend(
                    column
                        .as_primitive::<Float64Type>()
                        .iter()
                        .map(|value| value.filter(|value| value.is_finite()).unwrap_or(0.0)),
                );
            }
        }
        let mut order: Vec<usize> = (0..exact.num_rows()).collect();
        order.sort_unstable_by(|&a, &b| exact.row(a).cmp(&exact.row(b)));
        Ok(Self {
            exact,
            floats,
            order,
        })
    }

    /// The end of the run of rows with the same exact part that starts at `start` of `order`.
    fn run_end(&self, start: usize) -> usize {
        let first = self.exact.row(self.order[start]);
        let same = |&&at: &&usize| self.exact.row(at) == first;
        start + self.order[start..].iter().take_while(same).count()
    }
}

/// A row of one of the two sides.
type Member = (usize, usize);

struct Matcher<'a> {
    sides: &'a [Side; 2],
    tolerances: &'a [f64],
    relation: Relation,
}

impl Matcher<'_> {
    /// Merges the two sides group by group; the first row without its counterpart.
    fn first_lonely_row(&self) -> Option<Member> {
        let [left, right] = self.sides;
        let (mut at, mut to) = (0, 0);
        while at < left.order.len() || to < right.order.len() {
            let order = match (left.order.get(at), right.order.get(to)) {
                (Some(&a), Some(&b)) => left.exact.row(a).cmp(&right.exact.row(b)),
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            match order {
                Ordering::Less => return Some((0, left.order[at])),
                Ordering::Greater if self.relation == Relation::Contained => {
                    to = right.run_end(to);
                }
                Ordering::Greater => return Some((1, right.order[to])),
                Ordering::Equal => {
                    let (left_end, right_end) = (left.run_end(at), right.run_end(to));
                    let mut group: Vec<Member> = left.order[at..left_end]
                        .iter()
                        .map(|&row| (0, row))
                        .chain(right.order[to..right_end].iter().map(|&row| (1, row)))
                        .collect();
                    if let Some(row) = self.lonely_in_cluster(&mut group, 0) {
                        return Some(row);
                    }
                    (at, to) = (left_end, right_end);
                }
            }
        }
        None
    }

    fn value(&self, column: usize, (side, row): Member) -> f64 {
        self.sides[side].floats[column][row]
    }

    fn close(&self, column: usize, a: f64, b: f64) -> bool {
        a == b || (a - b).abs() <= self.tolerances[column] * a.abs().max(b.abs())
    }

    /// Splits `members` by the float columns from `column` on, and counts at the end.
    fn lonely_in_cluster(&self, members: &mut [Member], column: usize) -> Option<Member> {
        if column == self.tolerances.len() {
            return self.lonely_by_count(members);
        }
        members.sort_unstable_by(|&a, &b| self.value(column, a).total_cmp(&self.value(column, b)));
        let mut rest = members;
        while !rest.is_empty() {
            let end = (1..rest.len())
                .find(|&at| {
                    let (a, b) = (
                        self.value(column, rest[at - 1]),
                        self.value(column, rest[at]),
                    );
                    !self.close(column, a, b)
                })
                .unwrap_or(rest.len());
            let (cluster, later) = rest.split_at_mut(end);
            if let Some(row) = self.lonely_in_cluster(cluster, column + 1) {
                return Some(row);
            }
            rest = later;
        }
        None
    }

    fn lonely_by_count(&self, members: &[Member]) -> Option<Member> {
        let of = |side| {
            members
                .iter()
                .copied()
                .filter(move |member| member.0 == side)
        };
        let (left, right) = (of(0).count(), of(1).count());
        if left > right {
            return of(0).next();
        }
        if self.relation == Relation::Contained {
            return None;
        }
        if right > left {
            return of(1).next();
        }
        // A cluster is a chain of near neighbours, and a long chain may span more than the tolerance: in each
        // column the values of both sides, sorted, must still agree one by one.
        (0..self.tolerances.len()).find_map(|column| {
            let sorted = |side| {
                let mut rows: Vec<Member> = of(side).collect();
                rows.sort_unstable_by(|&a, &b| {
                    self.value(column, a).total_cmp(&self.value(column, b))
                });
                rows
            };
            sorted(0).into_iter().zip(sorted(1)).find_map(|(a, b)| {
                let (x, y) = (self.value(column, a), self.value(column, b));
                (!self.close(column, x, y)).then_some(a)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Digest;
    use arrow::array::{Float32Array, Float64Array, Int64Array, StringArray, StringViewArray};

    fn table(columns: Vec<(&str, ArrayRef)>) -> Table {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        Table {
            schema: batch.schema(),
            batches: vec![batch],
        }
    }

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn floats(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn pairs(values: &[(i64, f64)]) -> Table {
        let keys: Vec<_> = values.iter().map(|pair| Some(pair.0)).collect();
        let numbers: Vec<_> = values.iter().map(|pair| pair.1).collect();
        table(vec![("k", ints(&keys)), ("x", floats(&numbers))])
    }

    #[track_caller]
    fn check(left: &Table, right: &Table, same: bool) {
        for (a, b) in [(left, right), (right, left)] {
            let found = difference(a, b).unwrap();
            assert_eq!(found.is_none(), same, "{found:?}");
        }
    }

    #[test]
    fn order_and_batches_do_not_matter() {
        let whole = pairs(&[(1, 0.5), (2, 1.5), (2, 2.5), (3, 1.0)]);
        let mut parts = pairs(&[(3, 1.0), (2, 2.5)]);
        parts.batches.extend(pairs(&[(2, 1.5), (1, 0.5)]).batches);
        check(&whole, &parts, true);
        assert_eq!(Digest::of(&whole).unwrap(), Digest::of(&parts).unwrap());
    }

    #[test]
    fn one_wrong_value_is_found() {
        let rows: Vec<(i64, f64)> = (0..500).map(|i| (i % 7, i as f64 * 1.25)).collect();
        let (key, value) = rows[11];
        for wrong in [(key + 1, value), (key, value * (1.0 + 3e-9))] {
            let mut changed = rows.clone();
            changed[11] = wrong;
            check(&pairs(&rows), &pairs(&changed), false);
        }
    }

    #[test]
    fn counts_of_duplicates_matter() {
        let left = pairs(&[(1, 1.0), (1, 1.0), (2, 1.0)]);
        check(&left, &pairs(&[(1, 1.0), (2, 1.0), (2, 1.0)]), false);
        check(&left, &pairs(&[(1, 1.0), (2, 1.0)]), false);
        check(&left, &pairs(&[(2, 1.0), (1, 1.0), (1, 1.0)]), true);
    }

    #[test]
    fn values_are_not_exchanged_between_rows() {
        let left = pairs(&[(1, 10.0), (2, 20.0)]);
        check(&left, &pairs(&[(1, 20.0), (2, 10.0)]), false);
        // Neither between the float columns of one group.
        let two = |x: &[f64], y: &[f64]| table(vec![("x", floats(x)), ("y", floats(y))]);
        check(
            &two(&[1.0, 2.0], &[3.0, 4.0]),
            &two(&[1.0, 2.0], &[4.0, 3.0]),
            false,
        );
    }

    #[test]
    fn rounding_does_not_tear_pairs_apart() {
        // Sorted as rows, the last bit of x puts the second rows of both opposite the wrong one.
        let up = 1.0 + 2.0 * f64::EPSILON;
        let two = |x: &[f64], y: &[f64]| table(vec![("x", floats(x)), ("y", floats(y))]);
        check(
            &two(&[1.0, up], &[5.0, 9.0]),
            &two(&[up, 1.0], &[5.0, 9.0]),
            true,
        );
    }

    #[test]
    fn a_long_chain_is_not_one_value() {
        let step = 0.9e-9;
        let at = |k: f64| 1.0 + k * step;
        check(
            &table(vec![("x", floats(&[at(0.0), at(1.0), at(2.0), at(3.0)]))]),
            &table(vec![("x", floats(&[at(0.0), at(0.0), at(0.0), at(3.0)]))]),
            false,
        );
    }

    #[test]
    fn kinds_of_floats() {
        let one = |value: Option<f64>| {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            table(vec![("x", column)])
        };
        check(&one(Some(f64::NAN)), &one(Some(-f64::NAN)), true);
        check(&one(Some(-0.0)), &one(Some(0.0)), true);
        check(&one(Some(f64::NAN)), &one(None), false);
        check(&one(Some(0.0)), &one(None), false);
        check(
            &one(Some(f64::INFINITY)),
            &one(Some(f64::NEG_INFINITY)),
            false,
        );
        check(&one(Some(f64::INFINITY)), &one(Some(f64::MAX)), false);
        check(&one(Some(1.0)), &one(Some(1.0 + 0.9e-9)), true);
        check(&one(Some(1.0)), &one(Some(1.0 + 1.1e-9)), false);
        let single = |value: f32| {
            let column: ArrayRef = Arc::new(Float32Array::from(vec![value]));
            table(vec![("x", column)])
        };
        check(&single(1.0), &single(1.0 + f32::EPSILON), true);
        check(&single(1.0), &single(1.0 + 4.0 * f32::EPSILON), false);
    }

    #[test]
    fn strings_compare_by_value_and_types_must_agree() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![None, Some("a")]));
        check(&table(vec![("s", texts)]), &table(vec![("s", views)]), true);
        check(
            &table(vec![("s", ints(&[Some(1)]))]),
            &table(vec![("s", floats(&[1.0]))]),
            false,
        );
        check(
            &table(vec![("s", ints(&[Some(1), None]))]),
            &table(vec![("s", ints(&[Some(1), Some(0)]))]),
            false,
        );
    }

    #[test]
    fn containment_counts() {
        let whole = pairs(&[(1, 1.0), (1, 1.0), (2, 5.0), (3, 7.0)]);
        let contained =
            |part: &[(i64, f64)]| not_contained(&pairs(part), &whole).unwrap().is_none();
        assert!(contained(&[(1, 1.0), (3, 7.0)]));
        assert!(contained(&[(1, 1.0), (1, 1.0 + 1e-12)]));
        assert!(!contained(&[(1, 1.0), (1, 1.0), (1, 1.0)]));
        assert!(!contained(&[(2, 5.1)]));
        assert!(!contained(&[(4, 1.0)]));
    }

    #[test]
    fn order_is_checked_by_the_keys() {
        let rows = pairs(&[(3, 1.0), (2, 9.0), (2, 4.0), (1, 8.0)]);
        let key = |column, descending| SortKey {
            column,
            options: SortOptions {
                descending,
                nulls_first: true,
            },
        };
        let at = |keys: &[SortKey]| first_out_of_order(&rows, keys).unwrap();
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[key(0, true)]), None);
        assert_eq!(at(&[key(0, true), key(1, true)]), None);
        assert_eq!(at(&[key(0, true), key(1, false)]), Some(2));
        assert_eq!(at(&[key(0, false)]), Some(1));
    }
}
