//! Which rows of a file are looked at beyond counting.
//!
//! Each row has a pseudo-random priority that follows from the file and the row's number. The rows of least priority are a
//! uniform sample (bottom-k), they are known before anything is read, and samples of several files merge by keeping the least
//! of all.

use twox_hash::XxHash64;

use crate::hash::mix;

/// Priorities of the rows of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priorities {
    seed: u64,
}

impl Priorities {
    /// The priorities of a file: the same wherever it lies, as the seed is made of its name and shape alone.
    pub(crate) fn of_file(name: &str, rows: u64, schema_fingerprint: u64) -> Self {
        let name = XxHash64::oneshot(0, name.as_bytes());
        Self {
            seed: mix(name ^ mix(rows) ^ schema_fingerprint),
        }
    }

    pub(crate) fn of(self, row: u64) -> u64 {
        mix(self.seed ^ row)
    }

    /// The bound below which the priorities of at most `count` of `rows` rows lie, and of exactly as many if rows are enough.
    pub(crate) fn threshold(self, rows: u64, count: u64) -> u64 {
        if rows <= count {
            return u64::MAX;
        }
        // A fifth more than needed, and a few for small counts, so that one try is nearly always enough.
        let mut share = (count as f64 * 1.2 + 50.0) / rows as f64;
        loop {
            let bound = share_to_bound(share);
            let all = (0..rows).map(|row| self.of(row));
            let mut low: Vec<_> = all.filter(|priority| *priority < bound).collect();
            if low.len() as u64 > count || bound == u64::MAX {
                let at = low.len().saturating_sub(1).min(count as usize);
                return *low.select_nth_unstable(at).1;
            }
            share *= 2.0;
        }
    }
}

/// The bound below which a share of all 64-bit hashes lies.
pub(crate) fn share_to_bound(share: f64) -> u64 {
    // Casts saturate.
    (share.max(0.0) * 2f64.powi(64)) as u64
}

/// The share of all 64-bit hashes that lies below a bound.
pub(crate) fn bound_to_share(bound: u64) -> f64 {
    match bound {
        u64::MAX => 1.0,
        bound => bound as f64 / 2f64.powi(64),
    }
}

/// The bound below which the keys of at most `most` rows lie, given the hashes of a key column's rows below some bound, in any order.
///
/// Rows of one key stay together. A key with very many rows may lie just above the bound; if too few rows lie below it,
/// it is let in, as long as the total keeps below four times `most`.
pub(crate) fn key_threshold(hashes: &mut [u64], below: u64, most: usize) -> u64 {
    if hashes.len() <= most {
        return below;
    }
    hashes.sort_unstable();
    let starts_at = |at: usize| hashes.partition_point(|hash| *hash < hashes[at]);
    let cut = starts_at(most);
    if cut * 4 >= most {
        return hashes[cut];
    }
    let after = hashes.partition_point(|hash| *hash <= hashes[cut]);
    match hashes.get(after) {
        Some(next) if after <= 4 * most => *next,
        None if after <= 4 * most => below,
        _ => hashes[cut],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_keep_as_many_rows_as_asked() {
        for (rows, count) in [
            (10, 3),
            (10, 10),
            (10, 20),
            (100_000, 1),
            (100_000, 5_000),
            (7, 0),
        ] {
            let priorities = Priorities::of_file("t.parquet", rows, 1);
            let threshold = priorities.threshold(rows, count);
            let kept = (0..rows)
                .filter(|row| priorities.of(*row) < threshold)
                .count() as u64;
            assert_eq!(kept, count.min(rows), "{count} of {rows}");
        }
    }

    #[test]
    fn keys_stay_together() {
        let check = |hashes: &[u64], most, expected| {
            let mut hashes = hashes.to_vec();
            assert_eq!(key_threshold(&mut hashes, 100, most), expected);
        };
        check(&[5, 3, 9], 3, 100);
        check(&[5, 3, 9, 7], 3, 9);
        check(&[1, 2, 3, 3, 3, 3, 9], 3, 3);
        // The first key has too many rows to be left out, or far too many to be let in.
        check(&[3; 12], 10, 100);
        check(&[[3; 12].as_slice(), &[8]].concat(), 10, 8);
        check(&[3; 100], 10, 3);
        check(&[], 10, 100);
    }
}
