//! Statistics of a table, merged from those of its files.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use crate::bounds::{BoundFold, End};
use crate::cache::FileEntry;
use crate::file_stats::{FileColumn, Order, Pass};
use crate::ndv::HyperLogLog;
use crate::parts::{ColumnPart, PartKind, unpack};
use crate::value::{Family, Value};

/// What is known of a table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TableStats {
    /// Number of rows; exact for the files covered, unless [`stale`](Self::stale).
    pub rows: u64,
    /// Size of the files in bytes, as stored.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// Every file had its scan pass. If none had, `ndv` is missing.
    pub analyzed: bool,
    /// Some files are newer than the rest of what is known: what was found in the others is scaled by row counts, and the rows
    /// of files that were only seen in a listing are guessed from their size.
    pub stale: bool,
    /// Rows of the files that had their scan pass.
    pub scanned_rows: u64,
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
    /// `ndv` was counted, not estimated.
    pub ndv_exact: bool,
    /// The column is a key of joins, and its degrees were counted.
    pub is_key: bool,
    /// How the values run through the table; `None` where footers do not tell, or a file or two of one row group each is all there is.
    pub order: Option<Order>,
}

/// Merges the statistics of files into those of their table; `None` if nothing tells how many rows there are.
///
/// The order of the files does not matter. Columns are matched by name. A column that a file lacks is null in all of its
/// rows, as DataFusion reads it. Where two files disagree on what the values are ([`Family`]), min, max and NDV are unknown.
pub(crate) fn merge(entries: &[Arc<FileEntry>]) -> Option<TableStats> {
    merge_with(entries, union)
}

/// What footers alone would tell, whatever was scanned: the same before an analysis, in its midst, and after.
pub(crate) fn outline(entries: &[Arc<FileEntry>]) -> Option<TableStats> {
    merge_with(entries, |_| None)
}

/// Distinct values of a column over several files, and whether they were counted.
type Distinct = fn(&[(&FileEntry, usize)]) -> Option<(f64, bool)>;

fn merge_with(entries: &[Arc<FileEntry>], distinct: Distinct) -> Option<TableStats> {
    let mut entries: Vec<&FileEntry> = entries.iter().map(AsRef::as_ref).collect();
    entries.sort_by(|a, b| a.stats.version.key.cmp(&b.stats.version.key));
    let (listed, known): (Vec<_>, Vec<_>) = entries
        .iter()
        .copied()
        .partition(|entry| entry.stats.pass == Pass::Listing);
    let bytes = |entries: &[&FileEntry]| {
        entries
            .iter()
            .map(|entry| entry.stats.version.size)
            .sum::<u64>()
    };
    let known_rows: u64 = known.iter().map(|entry| entry.stats.rows).sum();
    let mut rows = known_rows;
    if !listed.is_empty() {
        if known.is_empty() {
            return None;
        }
        let density = known_rows as f64 / bytes(&known).max(1) as f64;
        rows += (bytes(&listed) as f64 * density).round() as u64;
    }
    let scanned: Vec<_> = known
        .iter()
        .filter(|entry| entry.stats.is_scanned())
        .collect();
    let analyzed = scanned.len() == entries.len();
    let mut names = Vec::new();
    let mut columns: HashMap<&str, Vec<Option<usize>>> = HashMap::new();
    for (file, entry) in known.iter().enumerate() {
        for (place, column) in entry.stats.columns.iter().enumerate() {
            let places = columns.entry(&column.name).or_insert_with(|| {
                names.push(column.name.as_str());
                vec![None; known.len()]
            });
            // Of two columns of one name the first counts: a query cannot name the other.
            places[file].get_or_insert(place);
        }
    }
    let stale = !listed.is_empty() || !(analyzed || scanned.is_empty());
    let merging = Merging {
        files: &known,
        rows,
        stale,
        distinct,
    };
    Some(TableStats {
        rows,
        bytes: bytes(&entries),
        files: entries.len(),
        analyzed,
        stale,
        scanned_rows: scanned.iter().map(|entry| entry.stats.rows).sum(),
        columns: names
            .into_iter()
            .map(|name| merging.column(name, &columns[name]))
            .collect(),
    })
}

/// Files of a table that are more than listed.
struct Merging<'a> {
    files: &'a [&'a FileEntry],
    rows: u64,
    stale: bool,
    distinct: Distinct,
}

impl Merging<'_> {
    /// Merges a column from its places in the files.
    fn column(&self, name: &str, places: &[Option<usize>]) -> ColumnStats {
        let mut rows = 0;
        let mut nulls = Some(0);
        let mut min = BoundFold::new(End::Min);
        let mut max = BoundFold::new(End::Max);
        let mut family = None;
        let (mut one_family, mut nested) = (true, false);
        let (mut width_bytes, mut width_values) = (0u128, 0u128);
        let mut scanned = Vec::new();
        let mut orders = Vec::new();
        let mut is_key = false;
        for (entry, place) in self.files.iter().zip(places) {
            rows += entry.stats.rows;
            let Some(place) = *place else {
                nulls = nulls.map(|nulls| nulls + entry.stats.rows);
                continue;
            };
            let column = &entry.stats.columns[place];
            nulls = nulls.zip(column.null_count).map(|(a, b)| a + b);
            nested |= column.family == Family::Nested;
            is_key |= column.is_key;
            if entry.stats.is_scanned() {
                scanned.push((*entry, place));
            }
            if column.null_count == Some(entry.stats.rows) {
                continue;
            }
            one_family &= *family.get_or_insert(column.family) == column.family;
            min.add(&column.min);
            max.add(&column.max);
            orders.push(column);
            if let Some(bytes) = column.value_bytes {
                width_bytes += u128::from(bytes);
                width_values += u128::from(
                    entry.stats.rows - column.null_count.unwrap_or(0).min(entry.stats.rows),
                );
            }
        }
        let (mut min, mut max) = (min.finish(), max.finish());
        let mut ndv = if nested {
            None
        } else {
            (self.distinct)(&scanned)
        };
        if !one_family {
            (min, max, ndv) = Default::default();
        }
        // What is scaled is no longer exact.
        let nulls = nulls.map(|nulls| match self.stale && rows > 0 {
            true => (nulls as f64 * self.rows as f64 / rows as f64).round() as u64,
            false => nulls,
        });
        let values = self.rows - nulls.unwrap_or(0).min(self.rows);
        let scanned_rows = scanned
            .iter()
            .map(|(entry, _)| entry.stats.rows)
            .sum::<u64>();
        // Files that were only listed may go beyond the range of the others.
        let covered = self.rows == rows;
        let range = integers_between(min.value.as_ref(), max.value.as_ref()).filter(|_| covered);
        let most = range.unwrap_or(f64::INFINITY).min(values as f64);
        let ndv = ndv.map(|(ndv, exact)| {
            let grown = if self.stale {
                grown(ndv, scanned_rows as f64, self.rows as f64)
            } else {
                ndv
            };
            let least = f64::from(u8::from(values > 0));
            (grown.round().min(most).max(least), exact && !self.stale)
        });
        ColumnStats {
            name: name.to_owned(),
            null_count: nulls,
            min_exact: min.exact && !self.stale,
            max_exact: max.exact && !self.stale,
            order: if one_family {
                order_of(&orders, min.value.is_some() && max.value.is_some())
            } else {
                None
            },
            min: min.value,
            max: max.value,
            byte_width: (width_values > 0).then(|| width_bytes as f64 / width_values as f64),
            ndv: ndv.map(|ndv| ndv.0),
            ndv_exact: ndv.is_some_and(|ndv| ndv.1),
            is_key,
        }
    }
}

/// By the union of their sketches, which are read for it.
fn union(scanned: &[(&FileEntry, usize)]) -> Option<(f64, bool)> {
    if let [(entry, place)] = scanned {
        let column = &entry.stats.columns[*place];
        return column.ndv.map(|ndv| (ndv, column.ndv_exact));
    }
    let mut union = HyperLogLog::default();
    let mut any = false;
    for (entry, place) in scanned {
        let info = entry.parts_of(PartKind::Column, *place).next()?;
        let part: ColumnPart = unpack(&entry.read(info)?)?;
        union.merge(&part.distinct.to_sketch()?);
        any = true;
    }
    any.then(|| (union.estimate(), false))
}

/// Distinct values of `rows` rows, when some of them, `seen`, have `ndv`: a key grows with the rows, a code does not.
fn grown(ndv: f64, seen: f64, rows: f64) -> f64 {
    if seen <= 0.0 || rows <= seen {
        return ndv;
    }
    ndv * (rows / seen).powf((ndv / seen).clamp(0.0, 1.0))
}

/// How a column runs through files: as it runs through each, if their ranges do not overlap.
fn order_of(columns: &[&FileColumn], bounded: bool) -> Option<Order> {
    if columns
        .iter()
        .any(|column| column.order == Some(Order::Mixed))
    {
        return Some(Order::Mixed);
    }
    let told: Vec<_> = columns.iter().filter_map(|column| column.order).collect();
    if columns.len() == 1 || !bounded {
        return told.first().copied().filter(|_| columns.len() == 1);
    }
    let order = told.first().copied().unwrap_or(Order::Ascending);
    let mut ranges: Vec<_> = columns
        .iter()
        .filter_map(|column| column.min.value.as_ref().zip(column.max.value.as_ref()))
        .collect();
    ranges.sort_by(|a, b| a.0.compare(b.0).unwrap_or(Ordering::Equal));
    let apart = ranges
        .windows(2)
        .all(|pair| pair[0].1.compare(pair[1].0) != Some(Ordering::Greater));
    let one_order = told.iter().all(|other| *other == order);
    match columns.len() {
        0 => None,
        _ if apart && one_order => Some(order),
        _ => Some(Order::Mixed),
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
    use crate::file_stats::{FileStats, FileVersion};
    use crate::hash::mix;
    use crate::histogram::Histogram;
    use crate::mcv::Mcv;
    use crate::parts::{Part, StoredHistogram, pack};

    /// A column as a file of these values would have it.
    fn column(name: &str, family: Family, values: &[Option<i64>]) -> (FileColumn, ColumnPart) {
        let known: Vec<_> = values.iter().flatten().copied().collect();
        let bound = |value: Option<&i64>| Bound {
            exact: value.is_some(),
            value: value.map(|&value| match family {
                Family::Int => Value::Int(value.into()),
                _ => Value::Bytes(value.to_be_bytes().to_vec()),
            }),
        };
        let mut distinct = HyperLogLog::default();
        known
            .iter()
            .for_each(|&value| distinct.add(mix(value as u64)));
        let column = FileColumn {
            name: name.to_owned(),
            family,
            null_count: Some((values.len() - known.len()) as u64),
            min: bound(known.iter().min()),
            max: bound(known.iter().max()),
            value_bytes: Some(8 * known.len() as u64),
            ndv: Some(distinct.estimate()),
            ndv_exact: false,
            is_key: false,
            order: None,
            ranges: Vec::new(),
        };
        let part = ColumnPart {
            distinct: distinct.to_stored(),
            mcv: Mcv::default().to_stored(),
            histogram: StoredHistogram::new(&Histogram::default()),
        };
        (column, part)
    }

    fn file(key: usize, rows: usize, columns: Vec<(FileColumn, ColumnPart)>) -> Arc<FileEntry> {
        let (columns, parts): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let stats = FileStats {
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
            page_index: false,
            columns,
            parts: Vec::new(),
            dropped: Vec::new(),
        };
        let part = |(column, part): (usize, &ColumnPart)| Part {
            kind: PartKind::Column,
            column: column as u32,
            tier: 0,
            below: 0,
            rows: 0,
            bytes: pack(part).unwrap(),
        };
        let parts = parts.iter().enumerate().map(part).collect();
        Arc::new(FileEntry::new(stats, parts))
    }

    fn with_pass(entry: &FileEntry, pass: Pass) -> Arc<FileEntry> {
        let stats = FileStats {
            pass,
            ..entry.stats.clone()
        };
        Arc::new(FileEntry::new(stats, Vec::new()))
    }

    fn files() -> impl Strategy<Value = Vec<Arc<FileEntry>>> {
        let values = prop::collection::vec(prop::option::weighted(0.8, -50i64..2000), 0..1500);
        let family =
            prop::bool::weighted(0.9).prop_map(|int| if int { Family::Int } else { Family::Bytes });
        let one = (values, family, prop::bits::u8::masked(7));
        prop::collection::vec(one, 1..6).prop_map(|parts| {
            let one = |(key, (values, family, missing)): (usize, (Vec<_>, Family, u8))| {
                let mut a = column("a", family, &values);
                if missing & 1 != 0 {
                    a.0.null_count = None;
                }
                if missing & 2 != 0 {
                    (a.0.min, a.0.max) = Default::default();
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
            prop_assert_eq!(merge(&files), merge(&shuffled));
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
            let (whole, parts) = (merge(&whole).unwrap(), merge(&parts).unwrap());
            let strip = |stats: &TableStats| stats.columns.iter().map(|column| ColumnStats { order: None, ..column.clone() }).collect::<Vec<_>>();
            prop_assert_eq!(strip(&whole), strip(&parts));
            prop_assert_eq!(whole.rows, parts.rows);
            let truth = values.iter().flatten().collect::<std::collections::HashSet<_>>().len();
            let ndv = whole.columns[0].ndv.unwrap();
            prop_assert!((ndv - truth as f64).abs() <= 0.04 * truth as f64 + 0.01, "{} for {}", ndv, truth);
        }
    }

    #[test]
    fn ndv_keeps_below_what_is_possible() {
        let values: Vec<_> = (0..3000).map(Some).collect();
        let stats = merge(&[file(0, 3000, vec![column("a", Family::Int, &values)])]).unwrap();
        // Dense integers: the sketch may say more, the range does not.
        assert!(stats.columns[0].ndv.unwrap() <= 3000.0);
    }

    #[test]
    fn what_is_known_is_scaled_to_new_files() {
        let keys: Vec<_> = (0..3000).map(Some).collect();
        let codes: Vec<_> = (0..3000).map(|i| Some(i % 10)).collect();
        let columns = || {
            vec![
                column("key", Family::Bytes, &keys),
                column("code", Family::Bytes, &codes),
            ]
        };
        let known = file(0, 3000, columns());
        let footer = with_pass(&file(1, 3000, columns()), Pass::Footer);
        let listed = with_pass(&file(2, 0, columns()), Pass::Listing);
        for newer in [footer, listed.clone()] {
            let stats = merge(&[known.clone(), newer]).unwrap();
            assert_eq!((stats.rows, stats.scanned_rows), (6000, 3000));
            assert!(stats.stale && !stats.analyzed);
            assert!((stats.columns[0].ndv.unwrap() - 6000.0).abs() < 200.0);
            assert_eq!(stats.columns[1].ndv, Some(10.0));
        }
        assert_eq!(merge(&[listed]), None);
    }

    #[test]
    fn no_files_have_no_rows() {
        let none = merge(&[]).unwrap();
        assert_eq!((none.rows, none.files, none.columns.len()), (0, 0, 0));
    }
}
