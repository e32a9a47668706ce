//! Degrees of a key column: how many rows have each key.
//!
//! Joins multiply degrees, so their norms bound the sizes of joins (LpBound, Zhang et al., SIGMOD 2025; SafeBound, Deeds et
//! al., SIGMOD 2023). All that is kept here is exact or an upper bound, never below the truth.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::frequent::Frequent;
use crate::hash::{mix, unmix};
use crate::rows::Directory;

/// Distinct keys of a column that are counted one by one while a file is scanned: 34 to 68 MiB. Beyond, bins remain.
pub(crate) const MOST_KEYS: usize = 1 << 21;

/// log2 of the number of hashed bins.
const LG_BINS: u32 = 10;

/// Norms kept: ℓ1 to ℓ8, and ℓ∞ as the maximum degree.
const NORMS: usize = 8;

/// Degrees of the keys of a column, nulls left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Degrees {
    /// Rows whose key is not null.
    pub rows: u64,
    /// The largest degree, or a bound of it.
    pub max: u64,
    /// ℓp norms of the degree vector, (Σ degreeᵖ)^(1/p), from ℓ1 (the rows) to ℓ8, or bounds of them from above.
    pub norms: [f64; NORMS],
    /// `max` and `norms` are exact.
    pub exact: bool,
    /// Keys grouped by the highest bits of their hash, so that bins of different columns hold the same keys.
    pub bins: Vec<DegreeBin>,
    /// Every key with its degree, where there were few enough to count and the budget left room.
    pub vector: Option<DegreeVector>,
}

/// Keys of one hash range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DegreeBin {
    /// Rows with one of these keys.
    pub rows: u64,
    /// Distinct keys; 0 where they were too many to count.
    pub keys: u64,
    /// The largest degree of these keys, or a bound of it.
    pub max: u64,
}

/// Exact degrees by the hash of the key.
#[derive(Clone, Debug, Default)]
pub struct DegreeVector {
    /// Hashes of the keys, see [`Value::hash`](crate::Value::hash), in ascending order.
    pub hashes: Vec<u64>,
    /// Rows of each.
    pub counts: Vec<u32>,
    /// Made when a degree is looked up for the first time.
    directory: OnceLock<Option<Directory>>,
}

impl PartialEq for DegreeVector {
    fn eq(&self, other: &Self) -> bool {
        self.hashes == other.hashes && self.counts == other.counts
    }
}

impl DegreeVector {
    /// Rows with the key of this hash.
    pub fn degree(&self, hash: u64) -> u32 {
        let directory = self.directory.get_or_init(|| Directory::new(&self.hashes));
        let range = directory
            .as_ref()
            .map_or(0..self.hashes.len(), |d| d.range(hash));
        // A range holds one or two hashes.
        let found = self.hashes[range.clone()].binary_search(&hash);
        found.map_or(0, |at| self.counts[range.start + at])
    }

    /// Of keys with their rows, in any order; `None` where one has more than 2³² rows.
    pub fn new(mut pairs: Vec<(u64, u64)>) -> Option<Self> {
        pairs.sort_unstable();
        pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        let counts: Result<_, _> = pairs.iter().map(|pair| u32::try_from(pair.1)).collect();
        Some(Self {
            hashes: pairs.iter().map(|pair| pair.0).collect(),
            counts: counts.ok()?,
            directory: OnceLock::new(),
        })
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + Clone {
        let counts = self.counts.iter().map(|&count| u64::from(count));
        self.hashes.iter().copied().zip(counts)
    }

    /// Packs the vector. Hashes of `integers` are turned back into the integers, which lie closer together.
    pub(crate) fn encode(&self, integers: bool) -> Vec<u8> {
        let mut pairs: Vec<_> = self.pairs().collect();
        if integers {
            pairs
                .iter_mut()
                .for_each(|pair| pair.0 = unmix(pair.0) ^ (1 << 63));
            pairs.sort_unstable();
        }
        // Keys apart from counts: each compresses better among its own.
        let mut bytes = Vec::with_capacity(pairs.len() * 2);
        let mut last = 0;
        for (key, _) in &pairs {
            write_varint(&mut bytes, key.wrapping_sub(last));
            last = *key;
        }
        for (_, count) in &pairs {
            write_varint(&mut bytes, *count);
        }
        bytes
    }

    /// Unpacks a vector of `keys` keys; `None` if these are not the bytes of one.
    pub(crate) fn decode(mut bytes: &[u8], keys: usize, integers: bool) -> Option<Self> {
        // Each key takes a byte at least, and each count another one.
        if keys > bytes.len() {
            return None;
        }
        let mut pairs = Vec::with_capacity(keys);
        let mut last = 0u64;
        for _ in 0..keys {
            last = last.wrapping_add(read_varint(&mut bytes)?);
            let hash = if integers {
                mix(last ^ (1 << 63))
            } else {
                last
            };
            pairs.push((hash, 0));
        }
        for pair in &mut pairs {
            pair.1 = read_varint(&mut bytes)?;
        }
        bytes.is_empty().then(|| Self::new(pairs))?
    }
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A summary of the degrees of one file at rest; the vector is kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredDegrees {
    rows: u64,
    max: u64,
    norms: [f64; NORMS],
    exact: bool,
    bins: Vec<DegreeBin>,
}

impl Degrees {
    fn of_vector(vector: DegreeVector) -> Self {
        let mut sums = [0.0; NORMS];
        let mut bins = vec![DegreeBin::default(); 1 << LG_BINS];
        let (mut rows, mut max) = (0, 0);
        for (hash, degree) in vector.pairs() {
            let mut power = 1.0;
            for sum in &mut sums {
                power *= degree as f64;
                *sum += power;
            }
            let bin = &mut bins[bin_of(hash)];
            bin.rows += degree;
            bin.keys += 1;
            bin.max = bin.max.max(degree);
            rows += degree;
            max = max.max(degree);
        }
        let mut norms = [0.0; NORMS];
        for (index, norm) in norms.iter_mut().enumerate() {
            // Rounding must not take a bound below the truth.
            let root = sums[index].powf(1.0 / (index + 1) as f64);
            *norm = if index == 0 {
                root
            } else {
                root * (1.0 + 1e-12)
            };
        }
        Self {
            rows,
            max,
            norms,
            exact: true,
            bins,
            vector: Some(vector),
        }
    }

    /// Degrees of keys whose vector is not known, bounded by their bins and by `most`, which no degree exceeds.
    fn of_bins(mut bins: Vec<DegreeBin>, most: u64) -> Self {
        bins.iter_mut()
            .for_each(|bin| bin.max = bin.max.min(bin.rows).min(most));
        let max = bins.iter().map(|bin| bin.max).max().unwrap_or(0);
        let mut degrees = Self {
            rows: bins.iter().map(|bin| bin.rows).sum(),
            max,
            norms: [f64::INFINITY; NORMS],
            exact: false,
            bins,
            vector: None,
        };
        degrees.tighten();
        degrees
    }

    /// Lowers norms to what the bins allow: Σ dᵖ ≤ Σ over bins of rows · maxᵖ⁻¹.
    fn tighten(&mut self) {
        for (index, norm) in self.norms.iter_mut().enumerate() {
            let power = |bin: &DegreeBin| bin.rows as f64 * (bin.max as f64).powi(index as i32);
            let sum: f64 = self.bins.iter().map(power).sum();
            let bound = sum.powf(1.0 / (index + 1) as f64);
            *norm = norm.min(if index == 0 {
                bound
            } else {
                bound * (1.0 + 1e-12)
            });
        }
    }

    /// The degrees of a table. Vectors add up; without them maxima and norms add (Minkowski), which bounds from above.
    pub(crate) fn merge(mut files: Vec<Self>) -> Option<Self> {
        if files.len() <= 1 {
            return files.pop();
        }
        if files.iter().all(|file| file.vector.is_some()) {
            let vectors = files.iter().filter_map(|file| file.vector.as_ref());
            if let Some(vector) = DegreeVector::new(vectors.flat_map(DegreeVector::pairs).collect())
            {
                return Some(Self::of_vector(vector));
            }
        }
        let mut bins = vec![DegreeBin::default(); 1 << LG_BINS];
        let mut most = 0;
        let mut norms = [0.0; NORMS];
        for file in &files {
            most += file.max;
            for (sum, norm) in norms.iter_mut().zip(&file.norms) {
                *sum += norm;
            }
            for (sum, bin) in bins.iter_mut().zip(&file.bins) {
                sum.rows += bin.rows;
                sum.max += bin.max;
                // Keys of several files may be the same: their number is not known.
            }
        }
        let mut merged = Self::of_bins(bins, most);
        for (norm, sum) in merged.norms.iter_mut().zip(norms) {
            *norm = norm.min(sum * (1.0 + 1e-12));
        }
        Some(merged)
    }

    pub(crate) fn to_stored(&self) -> StoredDegrees {
        StoredDegrees {
            rows: self.rows,
            max: self.max,
            norms: self.norms,
            exact: self.exact,
            bins: self.bins.clone(),
        }
    }

    /// From its parts at rest; `None` if they are not those of one column.
    pub(crate) fn from_stored(stored: StoredDegrees, vector: Option<DegreeVector>) -> Option<Self> {
        let rows = stored.bins.iter().map(|bin| bin.rows).sum::<u64>();
        if stored.bins.len() != 1 << LG_BINS || rows != stored.rows {
            return None;
        }
        Some(Self {
            rows,
            max: stored.max,
            norms: stored.norms,
            exact: stored.exact,
            bins: stored.bins,
            vector,
        })
    }
}

fn bin_of(hash: u64) -> usize {
    (hash >> (u64::BITS - LG_BINS)) as usize
}

/// A hasher for keys that are hashes.
#[derive(Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        // The high bits choose shards and rows of samples, so that all keys of a map may agree in them. A map needs its
        // lowest and its highest bits to differ.
        self.0.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A map whose keys are hashes.
pub(crate) type HashedMap<T> = HashMap<u64, T, BuildHasherDefault<Identity>>;

/// Counts keys while a file is scanned, by several threads and in any order of its parts.
pub(crate) struct DegreeCounter {
    /// By the highest bits of the hash: threads seldom wait for each other, and what a run of keys needs stays in the caches.
    shards: Vec<Mutex<Shard>>,
    keys: AtomicUsize,
    /// There were too many keys, or too many rows of one: only bins are counted.
    overflowed: AtomicBool,
}

#[derive(Default)]
struct Shard {
    counts: HashedMap<u64>,
    bin_rows: [u64; 1 << (LG_BINS - LG_SHARDS)],
}

/// log2 of the number of shards; each holds some bins.
const LG_SHARDS: u32 = 6;

impl Default for DegreeCounter {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default)
                .take(1 << LG_SHARDS)
                .collect(),
            keys: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
        }
    }
}

/// The shard that counts a key.
fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - LG_SHARDS)) as usize
}

/// Runs of keys on their way to a counter that all threads share, 4 MiB of them: what a shard needs comes into the caches once
/// for many.
pub(crate) struct KeyRuns<'a> {
    counter: &'a DegreeCounter,
    /// `(hash, rows)` by shard.
    runs: Vec<Vec<(u64, u64)>>,
}

/// Runs of a shard that are counted together.
const RUNS_AT_ONCE: usize = 1 << 12;

impl<'a> KeyRuns<'a> {
    pub(crate) fn new(counter: &'a DegreeCounter) -> Self {
        Self {
            counter,
            runs: vec![Vec::new(); 1 << LG_SHARDS],
        }
    }

    /// Counts runs of keys, some of them only with [`KeyRuns::flush`].
    pub(crate) fn add(&mut self, runs: &[(u64, u64)]) {
        for &run in runs {
            let shard = shard_of(run.0);
            let waiting = &mut self.runs[shard];
            waiting.push(run);
            if waiting.len() == RUNS_AT_ONCE {
                self.counter.add_to(shard, waiting);
                waiting.clear();
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        for (shard, waiting) in self.runs.iter_mut().enumerate() {
            self.counter.add_to(shard, waiting);
            waiting.clear();
        }
    }
}

impl DegreeCounter {
    /// Counts runs of keys.
    pub(crate) fn add(&self, runs: &[(u64, u64)]) {
        let mut keys = KeyRuns::new(self);
        keys.add(runs);
        keys.flush();
    }

    /// Counts runs of keys of one shard.
    fn add_to(&self, shard: usize, runs: &[(u64, u64)]) {
        let shard = &mut *lock(&self.shards[shard]);
        for &(hash, rows) in runs {
            shard.bin_rows[bin_of(hash) % shard.bin_rows.len()] += rows;
        }
        if self.overflowed() {
            shard.counts = HashedMap::default();
            return;
        }
        let mut most = 0;
        let before = shard.counts.len();
        for &(hash, rows) in runs {
            let count = shard.counts.entry(hash).or_default();
            *count += rows;
            most = most.max(*count);
        }
        let new = shard.counts.len() - before;
        let keys = self.keys.fetch_add(new, Ordering::Relaxed) + new;
        if keys > MOST_KEYS || most > u64::from(u32::MAX) {
            self.overflowed.store(true, Ordering::Relaxed);
        }
    }

    /// There was more than is counted one by one.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// The degrees of the file, of which nothing is left here; `frequent` bounds them where the keys were too many.
    pub(crate) fn finish(&self, frequent: &Frequent, threads: usize) -> Degrees {
        let mut shards: Vec<Shard> = self
            .shards
            .iter()
            .map(|s| std::mem::take(&mut *lock(s)))
            .collect();
        let bin_rows: Vec<u64> = shards.iter().flat_map(|shard| shard.bin_rows).collect();
        if !self.overflowed()
            && let Some(vector) = vector_of(&mut shards, threads)
        {
            return Degrees::of_vector(vector);
        }
        let most = frequent
            .clone()
            .into_sorted()
            .first()
            .map_or(0, |top| top.1)
            + frequent.error();
        let bin = |rows| DegreeBin {
            rows,
            keys: 0,
            max: rows,
        };
        Degrees::of_bins(bin_rows.into_iter().map(bin).collect(), most)
    }
}

/// The counts of all shards, sorted on some threads; `None` where a key has more than 2³² rows.
fn vector_of(shards: &mut [Shard], threads: usize) -> Option<DegreeVector> {
    let sort = |shards: &mut [Shard]| {
        let mut sorted = DegreeVector::default();
        for shard in shards {
            // Shards follow each other in the order of hashes: each is sorted in the caches, and with it the whole.
            let mut pairs: Vec<_> = std::mem::take(&mut shard.counts).into_iter().collect();
            pairs.sort_unstable();
            sorted.hashes.extend(pairs.iter().map(|pair| pair.0));
            for pair in pairs {
                sorted.counts.push(u32::try_from(pair.1).ok()?);
            }
        }
        Some(sorted)
    };
    let share = shards.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts = shards.chunks_mut(share);
        let parts: Vec<_> = parts.map(|part| scope.spawn(|| sort(part))).collect();
        let mut whole = DegreeVector::default();
        for part in parts {
            let part = part.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            if whole.hashes.is_empty() {
                whole = part;
            } else {
                whole.hashes.extend(part.hashes);
                whole.counts.extend(part.counts);
            }
        }
        Some(whole)
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held ends the scan anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(keys: &[u64]) -> Degrees {
        let counter = DegreeCounter::default();
        let runs: Vec<_> = keys.iter().map(|key| (mix(*key), 1)).collect();
        counter.add(&runs);
        counter.finish(&Frequent::default(), 2)
    }

    /// Without its vector, as after the budget dropped it.
    fn thinned(degrees: Degrees) -> Degrees {
        Degrees {
            vector: None,
            ..degrees
        }
    }

    /// `degrees` never falls below `truth`, and agrees with it where it says so.
    fn check(degrees: &Degrees, truth: &Degrees) {
        assert_eq!(degrees.rows, truth.rows);
        assert!(degrees.max >= truth.max);
        for (bound, norm) in degrees.norms.iter().zip(&truth.norms) {
            assert!(*bound >= norm * (1.0 - 1e-9), "{bound} for {norm}");
            assert!(!degrees.exact || (bound - norm).abs() <= 1e-9 * norm);
        }
        for (bin, exact) in degrees.bins.iter().zip(&truth.bins) {
            assert_eq!(bin.rows, exact.rows);
            assert!(bin.max >= exact.max);
        }
    }

    #[test]
    fn norms_of_a_small_column() {
        let degrees = count(&[1, 1, 1, 2, 2, 3]);
        assert_eq!((degrees.rows, degrees.max, degrees.exact), (6, 3, true));
        assert_eq!(degrees.norms[0], 6.0);
        assert!((degrees.norms[1] - 14f64.sqrt()).abs() < 1e-9);
        let vector = degrees.vector.unwrap();
        assert_eq!((vector.degree(mix(1)), vector.degree(mix(9))), (3, 0));
    }

    #[test]
    fn too_many_keys_leave_bounds() {
        let keys: Vec<u64> = (0..4000)
            .flat_map(|key| std::iter::repeat_n(key, (key % 7 + 1) as usize))
            .collect();
        let truth = count(&keys);
        let mut frequent = Frequent::default();
        keys.iter().for_each(|key| frequent.add(mix(*key), 1));
        let counter = DegreeCounter::default();
        let runs: Vec<_> = keys.iter().map(|key| (mix(*key), 1)).collect();
        counter.add(&runs);
        counter.overflowed.store(true, Ordering::Relaxed);
        let bounded = counter.finish(&frequent, 2);
        assert!(!bounded.exact && bounded.vector.is_none());
        check(&bounded, &truth);
        assert!(
            bounded.norms[1] < truth.rows as f64,
            "no better than nothing"
        );
    }

    #[test]
    fn vectors_survive_packing() {
        for integers in [true, false] {
            let vector = count(&[5, 5, 900, 70_000, u64::MAX, 0]).vector.unwrap();
            let bytes = vector.encode(integers);
            let decode = |bytes: &[u8], keys| DegreeVector::decode(bytes, keys, integers);
            assert_eq!(decode(&bytes, 5), Some(vector));
            assert_eq!(decode(&bytes, 4), None);
            assert_eq!(decode(&[0x80; 20], 10), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn merged_degrees_are_never_below_the_truth(
            parts in prop::collection::vec(prop::collection::vec(0u64..40, 0..150), 1..5),
            without in prop::bits::u8::ANY,
        ) {
            let truth = count(&parts.concat());
            let files: Vec<_> = parts.iter().map(|part| count(part)).collect();
            prop_assert_eq!(&Degrees::merge(files.clone()).unwrap(), &truth);
            let thin = |(at, file): (usize, Degrees)| match without >> at & 1 {
                1 => thinned(file),
                _ => file,
            };
            let files: Vec<_> = files.into_iter().enumerate().map(thin).collect();
            check(&Degrees::merge(files.clone()).unwrap(), &truth);
            // Merging what is merged already only loosens.
            let half = files.len() / 2;
            let (left, right) = (files[..half].to_vec(), files[half..].to_vec());
            let halves: Vec<_> = [left, right].into_iter().filter_map(Degrees::merge).collect();
            check(&Degrees::merge(halves).unwrap(), &truth);
        }

        #[test]
        fn noise_is_no_vector(noise in prop::collection::vec(any::<u8>(), 0..60), keys in 0usize..70) {
            let _ = DegreeVector::decode(&noise, keys, true);
        }
    }
}
