//! How much of the data its statistics may take, and what gives way.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::cache::FileEntry;
use crate::parts::{PartInfo, PartKind};

/// The size that statistics may have on disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of the data, up to a gigabyte of data. Beyond, the budget grows with the square root.
    pub share: f64,
    /// Statistics never have to be smaller than this, in bytes: of little data, all may be worth keeping.
    pub least: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            share: 0.12,
            least: 2 << 20,
        }
    }
}

impl Budget {
    /// No limit.
    pub fn unlimited() -> Self {
        Self {
            share: f64::INFINITY,
            least: u64::MAX,
        }
    }

    /// Bytes that the statistics of `data` bytes may take.
    pub fn limit(&self, data: u64) -> u64 {
        let gigabytes = data as f64 / 1e9;
        // Casts saturate.
        let share = self.share * 1e9 * gigabytes.min(gigabytes.sqrt());
        (share as u64).max(self.least)
    }
}

/// Part of the limit that keys of texts may take beside it.
const TEXTS: u64 = 4;

/// What gives way first has the lowest rank; `None` stays whatever happens. Of parts of one rank, those of less value for a byte
/// go first.
///
/// `is_text`: the column is a key of texts, which is known of all rows.
fn rank(entry: &FileEntry, part: &PartInfo, is_text: bool) -> Option<(u8, f64)> {
    // Vectors of very many keys help little more than their bins do.
    const MANY_KEYS: u64 = 262_144;
    let complete = part.below == u64::MAX;
    let all_keys = entry.parts_of(PartKind::Keys, 0).next().is_some();
    let by_size = 1.0 / part.length.max(1) as f64;
    Some(match part.kind {
        // Their rows tell the same.
        PartKind::DegreeVector if all_keys || is_text => (0, by_size),
        PartKind::Fingerprints if is_text => (0, by_size),
        // Most predicates are evaluated on the coded rows.
        PartKind::Sample if part.tier > 0 && all_keys => (1, by_size),
        PartKind::DegreeVector if part.rows > MANY_KEYS => (2, by_size),
        PartKind::Sample if part.tier > 0 => (3, by_size),
        PartKind::KeySample if part.tier > 0 => (4, by_size),
        PartKind::Fingerprints => (5, lookup_value(entry, part) * by_size),
        PartKind::Codes => (6, by_size),
        PartKind::KeySample => (7, by_size),
        PartKind::Keys => (8, by_size),
        PartKind::DegreeVector => (9, by_size),
        PartKind::Sample if !complete => (10, by_size),
        PartKind::Sample => (11, by_size),
        PartKind::Degrees => (12, by_size),
        PartKind::Column if entry.stats.columns.len() > 1 => (13, by_size),
        PartKind::Column | PartKind::TextKeys => return None,
    })
}

/// How likely it is that a query looks a row up by its value in a column, and that nothing else tells what it finds. The fewer columns
/// that are no keys a table has, the likelier a predicate is on this one; the more values, the fewer of them are in samples.
fn lookup_value(entry: &FileEntry, part: &PartInfo) -> f64 {
    let columns = &entry.stats.columns;
    let others = columns.iter().filter(|column| !column.is_key).count();
    let distinct = columns.get(part.column as usize).and_then(|c| c.ndv);
    distinct.unwrap_or(0.0) / part.rows.max(1) as f64 / others.max(1) as f64
}

/// The parts by which entries exceed a limit: by file key, their places. Of parts of one rank those of least value for a byte go first.
///
/// Keys of texts take space of their own beside the limit, a fourth of it at most, so that a join by texts takes none from all others.
pub(crate) fn excess(entries: &[Arc<FileEntry>], limit: u64) -> BTreeMap<String, BTreeSet<usize>> {
    let mut size: u64 = entries.iter().map(|entry| entry.size()).sum();
    let mut drops: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    if size <= limit {
        return drops;
    }
    let mut texts: Vec<_> = entries
        .iter()
        .flat_map(|entry| {
            let parts = entry.stats.parts.iter().enumerate();
            let texts = parts.filter(|(_, part)| part.kind == PartKind::TextKeys);
            texts.map(|(place, part)| (part.length, &entry.stats.version.key, place, part.column))
        })
        .collect();
    texts.sort_unstable();
    let mut of_texts = 0;
    texts.retain(|(length, key, place, _)| {
        let fits = of_texts + length <= limit / TEXTS;
        if fits {
            of_texts += length;
        } else {
            size -= length;
            drops.entry((*key).clone()).or_default().insert(*place);
        }
        fits
    });
    let texts: HashSet<(&String, u32)> = texts.iter().map(|text| (text.1, text.3)).collect();
    let limit = limit + of_texts;
    let mut parts: Vec<_> = entries
        .iter()
        .flat_map(|entry| {
            let parts = entry.stats.parts.iter().enumerate();
            parts.filter_map(|(place, part)| {
                let key = &entry.stats.version.key;
                let is_text = texts.contains(&(key, part.column));
                Some((rank(entry, part, is_text)?, part.length, key, place))
            })
        })
        .collect();
    parts.sort_by(|a, b| {
        let ((rank_a, value_a), (rank_b, value_b)) = (a.0, b.0);
        let by_rank = rank_a.cmp(&rank_b).then(value_a.total_cmp(&value_b));
        by_rank.then_with(|| (a.2, a.3).cmp(&(b.2, b.3)))
    });
    for (_, length, key, place) in parts {
        if size <= limit {
            break;
        }
        size -= length;
        drops.entry(key.clone()).or_default().insert(place);
    }
    drops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_root_beyond_a_gigabyte() {
        let budget = Budget::default();
        let check = |data, expected| assert_eq!(budget.limit(data), expected);
        check(0, 2 << 20);
        check(100_000_000, 12_000_000);
        check(1_000_000_000, 120_000_000);
        check(100_000_000_000, 1_200_000_000);
        assert_eq!(Budget::unlimited().limit(5), u64::MAX);
    }
}
