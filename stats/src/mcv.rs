//! Most common values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::frequent::Frequent;
use crate::value::Value;

/// Entries kept a file. A value of more than 0.1 % of the rows is always among them: it is counted to at least 0.078 %
/// (see [`Frequent`]) less what counters lose, and the more they lose, the fewer values have so many rows: fewer than 1,280.
const MOST: usize = 1280;

/// Values of a smaller share of the rows are not kept. Files that lack a value may then hide this share of their rows of it.
const LEAST_SHARE: f64 = 0.0004;

/// The most common values of a column.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Mcv {
    /// Most frequent first, ties in a fixed order.
    pub entries: Vec<CommonValue>,
    /// No value outside the list has more rows than this.
    pub missing: u64,
}

/// A value of an [`Mcv`] list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommonValue {
    /// The value; `None` where only its hash is known, as for strings of more than a kilobyte.
    pub value: Option<Value>,
    /// Its hash, see [`Value::hash`].
    pub hash: u64,
    /// Rows with the value, at least.
    pub count: u64,
    /// Rows with the value beyond `count`, at most. Zero for an exact count.
    pub error: u64,
}

impl Mcv {
    /// The entry of a value. For decimals, a literal must have the column's scale.
    pub fn find(&self, value: &Value) -> Option<&CommonValue> {
        let hash = value.hash();
        self.entries.iter().find(|entry| entry.hash == hash)
    }

    /// The list of a file. `value_of` knows values by their hash.
    pub(crate) fn of_file(
        frequent: Frequent,
        rows: u64,
        value_of: impl Fn(u64) -> Option<Value>,
    ) -> Self {
        let error = frequent.error();
        let least = (rows as f64 * LEAST_SHARE).ceil() as u64;
        let mut counters = frequent.into_sorted();
        let kept = counters
            .partition_point(|counter| counter.1 >= least)
            .min(MOST);
        // What is cut off is the most that a value without entry can have.
        let missing = counters.get(kept).map_or(0, |counter| counter.1) + error;
        counters.truncate(kept);
        let entry = |(hash, count): (u64, u64)| CommonValue {
            value: value_of(hash),
            hash,
            count,
            error,
        };
        Self {
            entries: counters.into_iter().map(entry).collect(),
            missing,
        }
    }

    /// The list of a table, the same in any order of its files.
    pub(crate) fn merge<'a>(files: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut missing = 0;
        let mut entries: BTreeMap<u64, (CommonValue, u64)> = BTreeMap::new();
        for file in files {
            missing += file.missing;
            for entry in &file.entries {
                let (sum, accounted) = entries.entry(entry.hash).or_insert_with(|| {
                    let nothing = CommonValue {
                        count: 0,
                        error: 0,
                        ..entry.clone()
                    };
                    (nothing, 0)
                });
                sum.count += entry.count;
                sum.error += entry.error;
                sum.value = sum.value.take().or_else(|| entry.value.clone());
                *accounted += file.missing;
            }
        }
        let total = |(mut entry, accounted): (CommonValue, u64)| {
            entry.error += missing - accounted;
            entry
        };
        let mut entries: Vec<_> = entries.into_values().map(total).collect();
        entries.sort_by_key(|entry| (std::cmp::Reverse(entry.count), entry.hash));
        let dropped = entries
            .iter()
            .skip(MOST)
            .map(|entry| entry.count + entry.error);
        let missing = dropped.max().unwrap_or(0).max(missing);
        entries.truncate(MOST);
        Self { entries, missing }
    }

    pub(crate) fn to_stored(&self) -> StoredMcv {
        let common_error = self.entries.first().map_or(0, |entry| entry.error);
        let stored = |entry: &CommonValue| match &entry.value {
            Some(value) => (Key::Value(value.clone()), entry.count),
            None => (Key::Hash(entry.hash), entry.count),
        };
        StoredMcv {
            entries: self.entries.iter().map(stored).collect(),
            error: common_error,
            missing: self.missing,
        }
    }
}

/// The list of a file at rest: a hash is kept only where there is no value to make it from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredMcv {
    entries: Vec<(Key, u64)>,
    error: u64,
    missing: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Key {
    Value(Value),
    Hash(u64),
}

impl StoredMcv {
    pub(crate) fn into_mcv(self) -> Mcv {
        let error = self.error;
        let entry = |(key, count): (Key, u64)| {
            let (value, hash) = match key {
                Key::Value(value) => {
                    let hash = value.hash();
                    (Some(value), hash)
                }
                Key::Hash(hash) => (None, hash),
            };
            CommonValue {
                value,
                hash,
                count,
                error,
            }
        };
        Mcv {
            entries: self.entries.into_iter().map(entry).collect(),
            missing: self.missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn file(values: &[i64]) -> Mcv {
        let mut frequent = Frequent::default();
        let value = |v: &i64| Value::Int(i128::from(*v));
        values.iter().for_each(|v| frequent.add(value(v).hash(), 1));
        let known: HashMap<_, _> = values.iter().map(|v| (value(v).hash(), value(v))).collect();
        Mcv::of_file(frequent, values.len() as u64, |hash| {
            known.get(&hash).cloned()
        })
    }

    /// Every count is within its bound, and every frequent value is there.
    fn check(mcv: &Mcv, values: &[i64]) {
        let mut truth: HashMap<i64, u64> = HashMap::new();
        values
            .iter()
            .for_each(|v| *truth.entry(*v).or_default() += 1);
        for (value, count) in truth {
            match mcv.find(&Value::Int(i128::from(value))) {
                Some(entry) => {
                    assert!(entry.count <= count && count <= entry.count + entry.error);
                }
                None => {
                    assert!(count <= mcv.missing);
                    assert!(
                        count as f64 <= 0.001 * values.len() as f64,
                        "{value} has {count}"
                    );
                }
            }
        }
    }

    #[test]
    fn frequent_values_are_held() {
        let mix = |i: u64| crate::hash::mix(i);
        let skewed: Vec<i64> = (0..300_000)
            .map(|i| (mix(mix(i)) % (1 << (mix(i) % 20))) as i64)
            .collect();
        check(&file(&skewed), &skewed);
        let unique: Vec<i64> = (0..1000).collect();
        check(&file(&unique), &unique);
        let even: Vec<i64> = (0..900_000).map(|i| i % 999).collect();
        check(&file(&even), &even);
        let parts: Vec<_> = skewed.chunks(9_000).map(file).collect();
        check(&Mcv::merge(&parts), &skewed);
        check(&Mcv::merge(&[]), &[]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn order_does_not_matter(
            (parts, shuffled) in prop::collection::vec(prop::collection::vec(0i64..60, 0..200), 1..6)
                .prop_flat_map(|parts| (Just(parts.clone()), Just(parts).prop_shuffle()))
        ) {
            let merge = |parts: &[Vec<i64>]| Mcv::merge(&parts.iter().map(|p| file(p)).collect::<Vec<_>>());
            let merged = merge(&parts);
            check(&merged, &parts.concat());
            prop_assert_eq!(&merged, &merge(&shuffled));
        }

        #[test]
        fn lists_survive_storing(values in prop::collection::vec(0i64..60, 0..200)) {
            let mcv = file(&values);
            prop_assert_eq!(mcv.to_stored().into_mcv(), mcv);
        }
    }
}
