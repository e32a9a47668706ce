//! How much of the data its statistics may take, and what gives way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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

/// What gives way first has the lowest rank; `None` stays whatever happens.
fn rank(entry: &FileEntry, part: &PartInfo) -> Option<u8> {
    // Vectors of very many keys help little more than their bins do.
    const MANY_KEYS: u64 = 262_144;
    let complete = part.below == u64::MAX;
    match part.kind {
        PartKind::Fingerprints => Some(0),
        PartKind::KeySample if part.tier > 0 => Some(1),
        PartKind::DegreeVector if part.rows > MANY_KEYS => Some(2),
        PartKind::Sample if part.tier > 0 => Some(3),
        PartKind::Codes => Some(4),
        PartKind::KeySample => Some(5),
        PartKind::Keys => Some(6),
        PartKind::DegreeVector => Some(7),
        PartKind::Sample if !complete => Some(8),
        PartKind::Sample => Some(9),
        PartKind::Degrees => Some(10),
        PartKind::Column if entry.stats.columns.len() > 1 => Some(11),
        PartKind::Column => None,
    }
}

/// The parts by which entries exceed a limit: by file key, their places. Of parts of one rank the largest go first.
pub(crate) fn excess(entries: &[Arc<FileEntry>], limit: u64) -> BTreeMap<String, BTreeSet<usize>> {
    let mut size: u64 = entries.iter().map(|entry| entry.size()).sum();
    let mut drops: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    if size <= limit {
        return drops;
    }
    let mut parts: Vec<_> = entries
        .iter()
        .flat_map(|entry| {
            let parts = entry.stats.parts.iter().enumerate();
            parts.filter_map(|(place, part)| {
                Some((
                    rank(entry, part)?,
                    Reverse(part.length),
                    &entry.stats.version.key,
                    place,
                ))
            })
        })
        .collect();
    parts.sort_unstable();
    for (_, Reverse(length), key, place) in parts {
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
