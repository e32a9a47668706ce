//! Random joins of small tables: no bound is below the truth, whatever is known of the tables.

use super::leaf::Leaf;
use super::message::Key;
use super::{Bounds, Limits};
use crate::relset::RelSet;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;
use joinwright_stats::{DegreeBin, DegreeVector, Degrees, RowSet, Selection, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const COLUMNS: usize = 3;

type Row = [Option<i64>; COLUMNS];

/// What is known of a relation.
#[derive(Debug, Clone, Copy)]
enum Known {
    Rows,
    Vectors,
    Bins,
}

#[derive(Debug, Clone)]
struct Table {
    rows: Vec<Row>,
    /// By row, whether it passes the predicates.
    pass: Vec<bool>,
    /// How many pass is known, but not which.
    unseen: bool,
    known: Known,
}

fn column(table: &Table, at: usize) -> impl Iterator<Item = Option<i64>> {
    table.rows.iter().map(move |row| row[at])
}

fn degrees(table: &Table, at: usize, bins_only: bool) -> Degrees {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for key in column(table, at).flatten() {
        *counts.entry(Value::Int(key.into()).hash()).or_default() += 1;
    }
    let mut bins = vec![DegreeBin::default(); 1024];
    for (hash, count) in &counts {
        let bin = &mut bins[(hash >> 54) as usize];
        bin.rows += u64::from(*count);
        bin.max = bin.max.max((*count).into());
    }
    Degrees {
        rows: counts.values().map(|c| u64::from(*c)).sum(),
        max: counts.values().copied().max().unwrap_or(0).into(),
        norms: [f64::INFINITY; 8],
        exact: !bins_only,
        bins,
        vector: match bins_only {
            true => None,
            false => DegreeVector::new(counts.iter().map(|(h, c)| (*h, (*c).into())).collect()),
        },
    }
}

/// `columns` is the relation's column in each class.
fn leaf(table: &Table, columns: &[Option<usize>]) -> Leaf {
    let whole = matches!(table.known, Known::Rows);
    let arrays = (0..COLUMNS).map(|at| {
        let array: ArrayRef = Arc::new(column(table, at).collect::<Int64Array>());
        (format!("c{at}"), array)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(arrays.map(|(n, a)| (n, a, true)))
        .expect("columns of one length");
    let set = RowSet::new(batch, Selection::All);
    let key = |at: &Option<usize>| {
        let at = (*at)?;
        Some(Key {
            index: whole.then(|| set.index(&format!("c{at}"))).flatten(),
            degrees: Some(Arc::new(degrees(
                table,
                at,
                matches!(table.known, Known::Bins),
            ))),
        })
    };
    let rows = table.pass.iter().filter(|pass| **pass).count() as f64;
    let seen = whole && !table.unseen;
    Leaf {
        rows,
        whole,
        candidates: match seen {
            true => rows,
            false => table.rows.len() as f64,
        },
        pass: seen.then(|| BooleanBuffer::from(table.pass.clone())),
        keys: columns.iter().map(key).collect(),
    }
}

/// Rows of the join of the relations `set`, by trying all combinations.
fn truth(tables: &[Table], classes: &[Vec<Option<usize>>], set: RelSet) -> u64 {
    fn extend(
        tables: &[Table],
        classes: &[Vec<Option<usize>>],
        rest: &[usize],
        keys: &[Option<i64>],
    ) -> u64 {
        let Some((first, rest)) = rest.split_first() else {
            return 1;
        };
        let mut sum = 0;
        let rows = tables[*first].rows.iter().zip(&tables[*first].pass);
        for (row, _) in rows.filter(|(_, pass)| **pass) {
            let mut keys = keys.to_vec();
            let joins = classes.iter().zip(&mut keys).all(|(class, key)| {
                let Some(column) = class[*first] else {
                    return true;
                };
                match (row[column], &key) {
                    (Some(value), Some(other)) => value == *other,
                    (Some(value), None) => {
                        *key = Some(value);
                        true
                    }
                    (None, _) => false,
                }
            });
            if joins {
                sum += extend(tables, classes, rest, &keys);
            }
        }
        sum
    }
    // NULL does not join, but a relation alone keeps it.
    let inside: Vec<Vec<Option<usize>>> = classes
        .iter()
        .map(|class| {
            let members = set.iter().filter(|r| class[*r].is_some()).count();
            match members {
                0 | 1 => vec![None; class.len()],
                _ => class.clone(),
            }
        })
        .collect();
    let relations: Vec<usize> = set.iter().collect();
    extend(tables, &inside, &relations, &vec![None; classes.len()])
}

fn check(tables: &[Table], classes: &[Vec<Option<usize>>], limits: Limits) {
    let leaves = tables.iter().enumerate().map(|(at, table)| {
        let columns: Vec<_> = classes.iter().map(|class| class[at]).collect();
        leaf(table, &columns)
    });
    let bounds = Bounds::of_leaves(leaves.collect(), limits);
    for set in RelSet::first_n(tables.len()).subsets() {
        let (bound, truth) = (bounds.upper_bound(set), truth(tables, classes, set) as f64);
        assert!(bound >= truth, "{set:?}: {bound} below {truth}");
    }
}

fn table() -> impl Strategy<Value = Table> {
    // Skewed: half of the keys are one.
    let key = prop_oneof![
        1 => Just(None),
        4 => Just(Some(0i64)),
        5 => (0..5i64).prop_map(Some),
    ];
    let rows = prop::collection::vec([key.clone(), key.clone(), key], 0..9);
    let known = prop_oneof![Just(Known::Rows), Just(Known::Vectors), Just(Known::Bins)];
    (rows, any::<u16>(), known, any::<bool>()).prop_map(|(rows, mask, known, unseen)| Table {
        unseen,
        pass: (0..rows.len())
            .map(|row| mask >> row & 1 == 1 || mask > 40_000)
            .collect(),
        rows,
        known,
    })
}

fn all_limits() -> impl Strategy<Value = Limits> {
    let limit = || prop_oneof![Just(0usize), Just(2), Just(1000)];
    (limit(), limit()).prop_map(|(rows, keys)| Limits { rows, keys })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_joins(
        tables in prop::collection::vec(table(), 2..5),
        // Any relation may or may not be a member of any of four classes: composite keys and cycles among them.
        members in prop::collection::vec(prop::collection::vec(prop::option::of(0..COLUMNS), 5), 1..5),
        limits in all_limits(),
    ) {
        check(&tables, &members, limits);
    }

    #[test]
    fn chains_and_stars_of_one_table(table in table(), n in 2usize..5, star: bool, limits in all_limits()) {
        let classes: Vec<Vec<Option<usize>>> = (1..n)
            .map(|at| {
                let ends = if star { [0, at] } else { [at - 1, at] };
                (0..n)
                    .map(|r| match r {
                        _ if r == ends[0] => Some(at % COLUMNS),
                        _ if r == ends[1] => Some(0),
                        _ => None,
                    })
                    .collect()
            })
            .collect();
        check(&vec![table; n], &classes, limits);
    }

    #[test]
    fn trees_of_known_rows_are_counted(
        mut tables in prop::collection::vec(table(), 2..5),
        columns in prop::collection::vec((0..COLUMNS, 0..COLUMNS), 4),
    ) {
        for table in &mut tables {
            table.known = Known::Rows;
            table.unseen = false;
        }
        let n = tables.len();
        let classes: Vec<Vec<Option<usize>>> = (1..n)
            .map(|at| {
                let end = |r| match r {
                    _ if r == at - 1 => Some(columns[at - 1].0),
                    _ if r == at => Some(columns[at - 1].1),
                    _ => None,
                };
                (0..n).map(end).collect()
            })
            .collect();
        let leaves = tables.iter().enumerate().map(|(at, table)| {
            leaf(table, &classes.iter().map(|class| class[at]).collect::<Vec<_>>())
        });
        let limits = Limits { rows: 1000, keys: 1000 };
        let bounds = Bounds::of_leaves(leaves.collect(), limits);
        let all = RelSet::first_n(n);
        prop_assert_eq!(bounds.upper_bound(all), truth(&tables, &classes, all) as f64);
    }
}

#[test]
fn the_example_of_the_module() {
    let of = |keys: &[i64], known| Table {
        rows: keys.iter().map(|key| [Some(*key), None, None]).collect(),
        pass: vec![true; keys.len()],
        unseen: false,
        known,
    };
    let classes = [vec![Some(0), Some(0)]];
    let bound = |known| {
        let tables = [of(&[1, 1, 2], known), of(&[1, 2, 2, 3], known)];
        let leaves = tables.iter().map(|t| leaf(t, &[Some(0)])).collect();
        let limits = Limits { rows: 10, keys: 10 };
        Bounds::of_leaves(leaves, limits).upper_bound(RelSet::first_n(2))
    };
    assert_eq!(bound(Known::Rows), 4.0);
    assert_eq!(bound(Known::Vectors), 4.0);
    assert_eq!(
        truth(
            &[of(&[1, 1, 2], Known::Rows), of(&[1, 2, 2, 3], Known::Rows)],
            &classes,
            RelSet::first_n(2)
        ),
        4
    );
}
