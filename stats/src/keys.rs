//! Which columns are keys of joins.
//!
//! Degrees and key samples are made for key columns alone, so these have to be known before a scan. A column is a key if
//!
//! 1. the caller says so ([`AnalyzeOptions::keys`](crate::AnalyzeOptions::keys)): declared in a suite, or seen in the join predicates of
//!    queries, or
//! 2. it is an integer column, its name ends like that of a key (`id`, `key`, `sk`, `no`, `nr`, `num`, or `code`, set apart by `_` or a
//!    change of case, or standing for the whole name), and it has more than one value, or
//! 3. it is an integer column whose range lies within that of a unique column of another table, and covers half of it or bears its
//!    name (`l_orderkey` and `o_orderkey`; `binary_id` and the `id` of any table). Then both are keys. Unique is what has no nulls and
//!    a range that is at least as wide as the table has rows, and at most eight times as wide.
//!
//! All of that follows from footers and names, so it does not depend on what was scanned before. A wrong guess costs space and time, never a wrong estimate.

use std::collections::BTreeSet;

use crate::table_stats::{ColumnStats, TableStats};
use crate::value::Value;

/// Endings of the names of keys.
const ENDINGS: [&str; 8] = ["id", "key", "sk", "no", "nr", "num", "code", "fk"];

/// A table and one of its columns.
pub(crate) type Key = (String, String);

/// A column with what decides whether it is a key.
struct Candidate<'a> {
    table: &'a str,
    name: &'a str,
    min: i128,
    max: i128,
    unique: bool,
}

impl Candidate<'_> {
    fn span(&self) -> f64 {
        self.max.saturating_sub(self.min) as f64 + 1.0
    }

    fn key(&self) -> Key {
        (self.table.to_owned(), self.name.to_owned())
    }
}

/// The key columns of tables, as far as their statistics and names tell.
pub(crate) fn infer(tables: &[(&str, &TableStats)]) -> BTreeSet<Key> {
    let candidates: Vec<_> = tables
        .iter()
        .flat_map(|(table, stats)| {
            stats
                .columns
                .iter()
                .filter_map(|column| candidate(table, stats, column))
        })
        .collect();
    let mut keys: BTreeSet<Key> = candidates
        .iter()
        .filter(|candidate| candidate.max > candidate.min && is_named_like_a_key(candidate.name))
        .map(Candidate::key)
        .collect();
    for unique in candidates
        .iter()
        .filter(|candidate| candidate.unique && candidate.max > candidate.min)
    {
        for other in candidates
            .iter()
            .filter(|other| other.table != unique.table)
        {
            let within =
                other.min >= unique.min && other.max <= unique.max && other.max > other.min;
            let covers = other.span() * 2.0 >= unique.span();
            if within && (covers || is_named_after(other.name, unique.name)) {
                keys.extend([unique.key(), other.key()]);
            }
        }
    }
    keys
}

fn candidate<'a>(
    table: &'a str,
    stats: &TableStats,
    column: &'a ColumnStats,
) -> Option<Candidate<'a>> {
    let (Some(Value::Int(min)), Some(Value::Int(max))) = (&column.min, &column.max) else {
        return None;
    };
    let rows = stats.rows as f64;
    let span = max.saturating_sub(*min) as f64 + 1.0;
    let distinct = span >= rows && span <= 8.0 * rows;
    Some(Candidate {
        table,
        name: &column.name,
        min: *min,
        max: *max,
        unique: stats.rows > 1 && column.null_count.unwrap_or(0) == 0 && distinct,
    })
}

/// The words of a name: parted by `_`, other signs, and changes of case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = None;
    for sign in name.chars() {
        let parted =
            before.is_some_and(|before: char| before.is_lowercase() && sign.is_uppercase());
        if parted || !sign.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (sign.is_alphanumeric(), words.last_mut()) {
            word.extend(sign.to_lowercase());
        }
        before = Some(sign);
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_named_like_a_key(name: &str) -> bool {
    let last = words(name).pop().unwrap_or_default();
    // `orderkey` is written as one word in TPC-H.
    ENDINGS.contains(&last.as_str()) || last.ends_with("key")
}

/// The last words of both names are the same, up to a prefix of one word that stands for the table.
fn is_named_after(name: &str, unique: &str) -> bool {
    let (name, unique) = (words(name), words(unique));
    let own = match &unique[..] {
        [] => return false,
        [word] => std::slice::from_ref(word),
        [_, rest @ ..] => rest,
    };
    name.ends_with(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: u64, columns: &[(&str, i128, i128)]) -> TableStats {
        let column = |(name, min, max): &(&str, i128, i128)| ColumnStats {
            name: (*name).to_owned(),
            null_count: Some(0),
            min: Some(Value::Int(*min)),
            max: Some(Value::Int(*max)),
            ..ColumnStats::default()
        };
        TableStats {
            rows,
            columns: columns.iter().map(column).collect(),
            ..TableStats::default()
        }
    }

    fn check(tables: &[(&str, TableStats)], expected: &[&str]) {
        let tables: Vec<_> = tables.iter().map(|(name, stats)| (*name, stats)).collect();
        let found = infer(&tables);
        let found: Vec<_> = found
            .iter()
            .map(|(table, column)| format!("{table}.{column}"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_are_found_by_name_and_by_range() {
        let date = table(
            70_000,
            &[("d_date_sk", 2_400_000, 2_470_000), ("d_year", 1900, 2100)],
        );
        let sales = table(
            1_000_000,
            &[
                ("sold", 2_450_000, 2_452_000),
                ("s_sold_date_sk", 2_450_000, 2_452_000),
                ("quantity", 1, 100),
            ],
        );
        check(
            &[("date", date), ("sales", sales)],
            &["date.d_date_sk", "sales.s_sold_date_sk"],
        );
        let part = table(1000, &[("nr", 1, 1000), ("size", 1, 50)]);
        let usage = table(50_000, &[("part", 1, 999), ("amount", 1, 60)]);
        check(
            &[("part", part), ("usage", usage)],
            &["part.nr", "usage.part"],
        );
        let alone = table(
            10,
            &[
                ("orderId", 5, 90),
                ("kid", 1, 3),
                ("L_ORDERKEY", 1, 9),
                ("constant_id", 4, 4),
            ],
        );
        check(&[("t", alone)], &["t.L_ORDERKEY", "t.orderId"]);
        check(&[], &[]);
    }
}
