//! Statistics of a table, merged from those of its files.

use std::collections::HashMap;

use crate::bounds::{BoundFold, End};
use crate::file_stats::{FileColumn, FileStats};
use crate::ndv::DistinctUnion;
use crate::value::{Family, Value};

/// What is known of a table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TableStats {
    /// Number of rows; exact for the files covered.
    pub rows: u64,
    /// Size of the files in bytes, as stored.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// Every file had its scan pass. Without one, `ndv` is missing.
    pub analyzed: bool,
    /// Top-level columns, in the order of the first file by key that has each.
    pub columns: Vec<ColumnStats>,
}

impl TableStats {
    /// The column of that name, matched exactly.
    pub fn column(&self, name: &str) -> Option<&ColumnStats> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// What is known of a top-level column. `None` means unknown throughout.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ColumnStats {
    /// The name in the Parquet schema.
    pub name: String,
    /// Number of nulls, rows of files that lack the column included. Exact.
    pub null_count: Option<u64>,
    /// A lower bound of all values, NaN apart. `None` also where there are no values, and for nested columns.
    pub min: Option<Value>,
    /// An upper bound of all values, NaN apart. `None` also where there are no values, and for nested columns.
    pub max: Option<Value>,
    /// `min` is a value of the column, not a truncated bound. False where `min` is unknown.
    pub min_exact: bool,
    /// `max` is a value of the column, not a truncated bound. False where `max` is unknown.
    pub max_exact: bool,
    /// Mean bytes of a value that is not null, uncompressed and without encoding.
    pub byte_width: Option<f64>,
    /// Estimated number of distinct values, a whole number, nulls not counted, from the scan pass. Never above the number of values
    /// that are not null, nor above the number of integers between `min` and `max`. Standard error about 1.2 %.
    pub ndv: Option<f64>,
}

/// Merges the statistics of files into those of their table.
///
/// The order of the files does not matter. Columns are matched by name. A column that a file lacks is null in all of its
/// rows, as DataFusion reads it. Where two files disagree on what the values are ([`Family`]), min, max and NDV are unknown.
pub fn merge<'a>(files: impl Iterator<Item = &'a FileStats>) -> TableStats {
    let mut files: Vec<_> = files.collect();
    files.sort_by(|a, b| a.version.key.cmp(&b.version.key));
    let mut names = Vec::new();
    let mut columns: HashMap<&str, Vec<Option<&FileColumn>>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        for column in &file.columns {
            let parts = columns.entry(&column.name).or_insert_with(|| {
                names.push(column.name.as_str());
                vec![None; files.len()]
            });
            // Of two columns of one name the first counts: a query cannot name the other.
            parts[index].get_or_insert(column);
        }
    }
    TableStats {
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.version.size).sum(),
        files: files.len(),
        analyzed: files.iter().all(|file| file.is_scanned()),
        columns: names
            .into_iter()
            .map(|name| merge_column(name, &files, &columns[name]))
            .collect(),
    }
}

fn merge_column(name: &str, files: &[&FileStats], parts: &[Option<&FileColumn>]) -> ColumnStats {
    let mut rows = 0;
    let mut nulls = Some(0);
    let mut min = BoundFold::new(End::Min);
    let mut max = BoundFold::new(End::Max);
    let mut family = None;
    let mut one_family = true;
    let (mut width_bytes, mut width_values) = (0u128, 0u128);
    let mut distinct = Some(DistinctUnion::default());
    for (file, part) in files.iter().zip(parts) {
        rows += file.rows;
        let Some(column) = part else {
            nulls = nulls.map(|nulls| nulls + file.rows);
            continue;
        };
        nulls = nulls.zip(column.null_count).map(|(a, b)| a + b);
        if column.null_count == Some(file.rows) {
            continue;
        }
        one_family &= *family.get_or_insert(column.family) == column.family;
        min.add(&column.min);
        max.add(&column.max);
        if let Some(bytes) = column.value_bytes {
            width_bytes += u128::from(bytes);
            width_values += u128::from(file.rows - column.null_count.unwrap_or(0).min(file.rows));
        }
        distinct = distinct
            .zip(column.distinct.as_ref())
            .and_then(|(union, sketch)| union.add(sketch));
    }
    let (mut min, mut max) = (min.finish(), max.finish());
    if !one_family {
        (min, max, distinct) = Default::default();
    }
    // Files without rows leave their family unset, and a table of nulls alone has no distinct value, analyzed or not.
    let nested = parts
        .iter()
        .flatten()
        .any(|column| column.family == Family::Nested);
    let values = rows - nulls.unwrap_or(0).min(rows);
    let ndv = distinct.filter(|_| !nested).map(|union| {
        let range = integers_between(min.value.as_ref(), max.value.as_ref());
        let most = range.unwrap_or(f64::INFINITY).min(values as f64);
        union
            .estimate()
            .round()
            .min(most)
            .max(f64::from(u8::from(values > 0)))
    });
    ColumnStats {
        name: name.to_owned(),
        null_count: nulls,
        min_exact: min.exact,
        max_exact: max.exact,
        min: min.value,
        max: max.value,
        byte_width: (width_values > 0).then(|| width_bytes as f64 / width_values as f64),
        ndv,
    }
}

/// How many values lie between two bounds of a discrete type.
fn integers_between(min: Option<&Value>, max: Option<&Value>) -> Option<f64> {
    match (min?, max?) {
        (Value::Int(min), Value::Int(max)) => max.checked_sub(*min).map(|range| range as f64 + 1.0),
        (
            Value::Decimal {
                unscaled: min,
                scale: a,
            },
            Value::Decimal {
                unscaled: max,
                scale: b,
            },
        ) if a == b => max.checked_sub(*min).map(|range| range as f64 + 1.0),
        (Value::Bool(min), Value::Bool(max)) => Some(if min == max { 1.0 } else { 2.0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bounds::Bound;
    use crate::file_stats::{FileVersion, Pass};
    use crate::hash::mix;
    use crate::ndv::DistinctBuilder;

    /// A column as a file of these values would have it.
    fn column(name: &str, family: Family, values: &[Option<i64>]) -> FileColumn {
        let known: Vec<_> = values.iter().flatten().copied().collect();
        let bound = |value: Option<&i64>| Bound {
            exact: value.is_some(),
            value: value.map(|&value| match family {
                Family::Int => Value::Int(value.into()),
                _ => Value::Bytes(value.to_be_bytes().to_vec()),
            }),
        };
        let mut builder = DistinctBuilder::new();
        let hashes: Vec<_> = known.iter().map(|&value| mix(value as u64)).collect();
        builder.add(&hashes);
        let mut union = DistinctUnion::default();
        union.add_builder(&builder);
        FileColumn {
            name: name.to_owned(),
            family,
            null_count: Some((values.len() - known.len()) as u64),
            min: bound(known.iter().min()),
            max: bound(known.iter().max()),
            value_bytes: Some(8 * known.len() as u64),
            distinct: Some(union.to_stored()),
        }
    }

    fn file(key: usize, rows: usize, columns: Vec<FileColumn>) -> FileStats {
        FileStats {
            version: FileVersion {
                key: format!("memory://{key}"),
                size: 10,
                modified: (0, 0),
                e_tag: None,
            },
            pass: Pass::Scan,
            analyzed_at: 0,
            rows: rows as u64,
            row_groups: 1,
            schema_fingerprint: 0,
            columns,
        }
    }

    fn files() -> impl Strategy<Value = Vec<FileStats>> {
        let values = prop::collection::vec(prop::option::weighted(0.8, -50i64..2000), 0..1500);
        let family =
            prop::bool::weighted(0.9).prop_map(|int| if int { Family::Int } else { Family::Bytes });
        let one = (values, family, prop::bits::u8::masked(7));
        prop::collection::vec(one, 1..6).prop_map(|parts| {
            let one = |(key, (values, family, missing)): (usize, (Vec<_>, Family, u8))| {
                let mut a = column("a", family, &values);
                if missing & 1 != 0 {
                    a.null_count = None;
                }
                if missing & 2 != 0 {
                    (a.min, a.max) = Default::default();
                }
                let mut columns = vec![a, column("b", Family::Int, &values)];
                if missing & 4 != 0 {
                    columns.pop();
                }
                file(key, values.len(), columns)
            };
            parts.into_iter().enumerate().map(one).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn order_does_not_matter((files, shuffled) in files().prop_flat_map(|files| {
            (Just(files.clone()), Just(files).prop_shuffle())
        })) {
            prop_assert_eq!(merge(files.iter()), merge(shuffled.iter()));
        }

        /// Cut anywhere into files, a table keeps its statistics.
        #[test]
        fn grouping_does_not_matter(
            values in prop::collection::vec(prop::option::weighted(0.9, -50i64..3000), 1..4000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let whole = [file(0, values.len(), vec![column("a", Family::Int, &values)])];
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(values.len())).collect();
            cuts.extend([0, values.len()]);
            cuts.sort();
            let parts: Vec<_> = cuts.windows(2).enumerate().map(|(key, cut)| {
                let part = &values[cut[0]..cut[1]];
                file(key, part.len(), vec![column("a", Family::Int, part)])
            }).collect();
            let (whole, parts) = (merge(whole.iter()), merge(parts.iter()));
            prop_assert_eq!(&whole.columns, &parts.columns);
            prop_assert_eq!(whole.rows, parts.rows);
            let truth = values.iter().flatten().collect::<std::collections::HashSet<_>>().len();
            let ndv = whole.columns[0].ndv.unwrap();
            prop_assert!((ndv - truth as f64).abs() <= 0.04 * truth as f64 + 0.01, "{} for {}", ndv, truth);
        }
    }

    #[test]
    fn ndv_keeps_below_what_is_possible() {
        let values: Vec<_> = (0..3000).map(Some).collect();
        let stats = merge([file(0, 3000, vec![column("a", Family::Int, &values)])].iter());
        // Dense integers: the sketch may say more, the range does not.
        assert!(stats.columns[0].ndv.unwrap() <= 3000.0);
        let mut unknown = column("a", Family::Int, &values);
        unknown.distinct = None;
        let known = column("a", Family::Int, &values);
        let mixed = [file(0, 3000, vec![known]), file(1, 3000, vec![unknown])];
        assert_eq!(merge(mixed.iter()).columns[0].ndv, None);
    }

    #[test]
    fn no_files_have_no_rows() {
        let none = merge(std::iter::empty());
        assert_eq!((none.rows, none.files, none.columns.len()), (0, 0, 0));
    }
}
