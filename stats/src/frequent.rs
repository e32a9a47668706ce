//! Most frequent values of a stream in bounded memory: Misra and Gries (1982), with the purge of Anderson et al. (IMC 2017).
//!
//! A table counts hashes. When it is full, the count of rank [`LEFT`] is taken off all of them, and those that fall to zero make
//! room. A count is then too low by at most what was taken off in total, which is at most the number of values over [`LEFT`].
//! Summaries add up with their errors (Agarwal et al., PODS 2012).
//!
//! The table is large as long as it holds all values, so that their counts are exact; when they turn out to be too many, half
//! of it does, and lies in a second-level cache.
//!
//! Rows of columns with many values are skimmed, many at a time: a row counts in one of [`BUCKETS`] buckets, chosen by its hash, and
//! only values in buckets of many rows come into the table. No value has more rows than its bucket, so what the fullest bucket that
//! was left out holds is the error that this adds, at most [`SKIMMED`] of the rows.

/// Slots of a table that holds all values; a power of two.
const SLOTS: usize = 1 << 14;

/// Slots after the first purge.
const HALF: usize = SLOTS / 2;

/// Counters before the first purge; half of them before the next ones.
const FULL: usize = SLOTS / 4 * 3;

/// Counters that a purge leaves at most.
const LEFT: usize = FULL / 4;

/// Slots at first.
const FEW: usize = 1 << 6;

/// Buckets of rows that are skimmed, 64 KiB.
const BUCKETS: usize = 1 << 14;

/// The share of the rows that a value may have and be skimmed off. A value of 0.1 % of all rows is then counted to at least 0.078 %
/// where nothing else is lost, and fewer than 1,280 values can be. The bound is three and a half times what a bucket holds on
/// average, so that hardly any bucket reaches it by chance.
const SKIMMED: f64 = 0.000_217;

/// Cuts that are tried one after the other before counts are put in order: where purges are many, counts are small.
const SMALL_CUTS: u64 = 4;

/// Counts of the most frequent hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frequent {
    /// `(hash, count)` by open addressing; a count of zero is an empty slot.
    slots: Vec<(u64, u64)>,
    used: usize,
    /// What was taken off each counter at most.
    error: u64,
}

impl Frequent {
    /// Counts a value `count` times; a count of zero is ignored.
    pub(crate) fn add(&mut self, hash: u64, count: u64) {
        if count == 0 {
            return;
        }
        if self.used >= self.limit() {
            self.make_room();
        }
        let index = self.find(hash);
        let slot = &mut self.slots[index];
        self.used += usize::from(slot.1 == 0);
        *slot = (hash, slot.1 + count);
    }

    /// Counts a row of each hash, faster than one by one where most have a counter already.
    pub(crate) fn add_rows(&mut self, mut hashes: &[u64]) {
        while let Some((&hash, rest)) = hashes[self.add_known(hashes)..].split_first() {
            self.add(hash, 1);
            hashes = rest;
        }
    }

    /// Counts rows up to the first whose hash has no counter, and returns how many.
    fn add_known(&mut self, hashes: &[u64]) -> usize {
        let slots = &mut self.slots[..];
        if slots.is_empty() {
            return 0;
        }
        let mask = slots.len() - 1;
        for (at, &hash) in hashes.iter().enumerate() {
            let mut index = hash as usize & mask;
            loop {
                let slot = &mut slots[index];
                if slot.1 == 0 {
                    return at;
                }
                if slot.0 == hash {
                    slot.1 += 1;
                    break;
                }
                index = (index + 1) & mask;
            }
        }
        hashes.len()
    }

    /// Counts a row of each hash, but leaves out values that have few of these rows. Best are some hundred thousand rows at once:
    /// of few rows, a bucket holds more than its share too often.
    pub(crate) fn skim(&mut self, hashes: &[u64]) {
        if hashes.is_empty() {
            return;
        }
        // Bits that neither choose slots nor key samples.
        let bucket_of = |hash: u64| (hash >> 24) as usize % BUCKETS;
        let mut buckets = vec![0u32; BUCKETS];
        for &hash in hashes {
            buckets[bucket_of(hash)] += 1;
        }
        let most = (hashes.len() as f64 * SKIMMED) as u32;
        let few = buckets.iter().copied().filter(|rows| *rows <= most);
        self.error += u64::from(few.max().unwrap_or(0));
        for &hash in hashes {
            if buckets[bucket_of(hash)] > most {
                self.add(hash, 1);
            }
        }
    }

    /// From the exact counts of all values, each once: keeps as many as there is room for, the first of equal ones, and the error that
    /// leaving out the others makes.
    pub(crate) fn of_counts(counters: impl Iterator<Item = (u64, u64)> + Clone) -> Self {
        let mut counts: Vec<u64> = counters.clone().map(|counter| counter.1).collect();
        let mut error = 0;
        if counts.len() > FULL {
            counts.select_nth_unstable_by_key(FULL, |count| std::cmp::Reverse(*count));
            error = counts[FULL];
        }
        let above = counts.iter().take(FULL).filter(|count| **count > error);
        let mut room = FULL - above.count();
        let mut frequent = Self::default();
        for (hash, count) in counters {
            if count == error && room > 0 {
                room -= 1;
                frequent.add(hash, count);
            } else if count > error {
                frequent.add(hash, count);
            }
        }
        frequent.error = error;
        frequent
    }

    fn find(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        // The low bits: the high ones choose rows for key samples, and may all be zero.
        let mut index = hash as usize & mask;
        while self.slots[index].1 != 0 && self.slots[index].0 != hash {
            index = (index + 1) & mask;
        }
        index
    }

    /// Counters that the table may have before room must be made. Small tables stay sparse, so that looking a hash up seldom
    /// takes a second try, which the processor could not foresee.
    fn limit(&self) -> usize {
        match self.slots.len() {
            SLOTS => FULL,
            HALF if self.error > 0 => FULL / 2,
            HALF => HALF / 2,
            few => few / 4,
        }
    }

    fn make_room(&mut self) {
        let full = if self.error > 0 { FULL / 2 } else { FULL };
        let (slots, counters) = if self.used >= full {
            let cut = self.cut();
            self.error += cut;
            let left = self.slots.iter().filter(|slot| slot.1 > cut);
            // The table will be as full again soon: it would only have to grow.
            (HALF, left.map(|slot| (slot.0, slot.1 - cut)).collect())
        } else {
            let slots = (self.slots.len() * 2).clamp(FEW, SLOTS);
            (slots, self.counters())
        };
        self.slots.clear();
        self.slots.resize(slots, (0, 0));
        self.used = counters.len();
        for counter in counters {
            let index = self.find(counter.0);
            self.slots[index] = counter;
        }
    }

    /// The count of rank [`LEFT`]: the least that no more than so many counters exceed.
    fn cut(&self) -> u64 {
        let beyond = |cut| self.slots.iter().filter(|slot| slot.1 > cut).count();
        let small = (1..=SMALL_CUTS).find(|cut| beyond(*cut) <= LEFT);
        small.unwrap_or_else(|| {
            let order = |counter: &(u64, u64)| std::cmp::Reverse(counter.1);
            self.counters().select_nth_unstable_by_key(LEFT, order).1.1
        })
    }

    fn counters(&self) -> Vec<(u64, u64)> {
        let used = |slot: &&(u64, u64)| slot.1 > 0;
        self.slots.iter().filter(used).copied().collect()
    }

    /// Adds what another summary counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.error += other.error;
        for &(hash, count) in &other.slots {
            self.add(hash, count);
        }
    }

    /// Drops the counters of rare values if something was lost anyway, so that little has to be merged.
    pub(crate) fn thin_out(&mut self) {
        if self.error > 0 && self.used >= FULL / 2 {
            self.make_room();
        }
    }

    /// There is room for so many more values, and nothing was lost so far.
    pub(crate) fn fits(&self, more: usize) -> bool {
        self.error == 0 && self.used + more < FULL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0 && self.error == 0
    }

    /// The number of distinct values, if the table never overflowed.
    pub(crate) fn distinct(&self) -> Option<u64> {
        (self.error == 0).then_some(self.used as u64)
    }

    /// What a true count may exceed the counted one by.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    /// The hashes that have a counter.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.slots
            .iter()
            .filter(|slot| slot.1 > 0)
            .map(|slot| slot.0)
    }

    /// All counters in no order; none are left here.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let taken = std::mem::take(self);
        taken.slots.into_iter().filter(|slot| slot.1 > 0)
    }

    /// All counters, the most frequent first, ties by hash.
    pub(crate) fn into_sorted(self) -> Vec<(u64, u64)> {
        let mut counters = self.counters();
        counters.sort_unstable_by_key(|&(hash, count)| (std::cmp::Reverse(count), hash));
        counters
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::hash::mix;

    /// Every counter is within the error, and every value beyond the error has a counter.
    fn check(frequent: Frequent, stream: &[u64], exact: bool) {
        let mut truth: HashMap<u64, u64> = HashMap::new();
        stream
            .iter()
            .for_each(|&hash| *truth.entry(hash).or_default() += 1);
        let error = frequent.error();
        assert!(error as f64 <= stream.len() as f64 * (SKIMMED + 1.0 / LEFT as f64));
        assert_eq!(frequent.distinct(), exact.then_some(truth.len() as u64));
        let counted: HashMap<_, _> = frequent.into_sorted().into_iter().collect();
        for (hash, count) in truth {
            let low = counted.get(&hash).copied().unwrap_or(0);
            assert!(
                low <= count && count <= low + error,
                "{low} {count} {error}"
            );
        }
    }

    #[test]
    fn exact_counts_that_do_not_fit_leave_an_error() {
        let mut counts: Vec<_> = (0..20_000).map(|i| (mix(i), 1 + i % 7)).collect();
        let stream: Vec<_> = counts
            .iter()
            .flat_map(|&(hash, count)| vec![hash; count as usize])
            .collect();
        let frequent = Frequent::of_counts(counts.iter().copied());
        assert_eq!((frequent.used, frequent.error()), (FULL, 3));
        check(frequent, &stream, false);
        counts.truncate(FULL);
        assert_eq!(
            Frequent::of_counts(counts.into_iter()).distinct(),
            Some(FULL as u64)
        );
    }

    fn count(stream: &[u64]) -> Frequent {
        let mut frequent = Frequent::default();
        stream.iter().for_each(|&hash| frequent.add(hash, 1));
        frequent
    }

    #[test]
    fn counts_are_within_the_error() {
        let few: Vec<_> = (0..50_000).map(|i| mix(i % 9000)).collect();
        check(count(&few), &few, true);
        let skewed: Vec<_> = (1..300_000u64)
            .map(|i| mix(mix(i) % (1 << (i % 20))))
            .collect();
        check(count(&skewed), &skewed, false);
        let unique: Vec<_> = (0..200_000).map(mix).collect();
        check(count(&unique), &unique, false);
        // Hashes that agree in their high bits, as those of a key sample do.
        let low: Vec<_> = (0..20_000).collect();
        check(count(&low), &low, false);
    }

    #[test]
    fn skimmed_counts_are_within_the_error() {
        let check_skimmed = |stream: &[u64], least: f64| {
            let mut frequent = Frequent::default();
            stream
                .iter()
                .take(10_000)
                .for_each(|&hash| frequent.add(hash, 1));
            stream[10_000..]
                .chunks(1 << 17)
                .for_each(|part| frequent.skim(part));
            assert!(frequent.error() as f64 <= least * stream.len() as f64);
            check(frequent, stream, false);
        };
        let unique: Vec<_> = (0..400_000).map(mix).collect();
        check_skimmed(&unique, SKIMMED);
        let even: Vec<_> = (0..400_000).map(|i| mix(i % 50_000)).collect();
        check_skimmed(&even, SKIMMED);
        // Some values are frequent, and some lie at the bound.
        let skewed: Vec<_> = (0..400_000u64)
            .map(|i| mix(mix(i) % (1 << (i % 20))))
            .collect();
        check_skimmed(&skewed, SKIMMED + 1.0 / LEFT as f64);
        let bound: Vec<_> = (0..400_000u64).map(|i| mix(mix(i) % 4_600)).collect();
        let mut frequent = Frequent::default();
        frequent.skim(&bound[..1 << 17]);
        let error = frequent.error() as f64;
        assert!(error <= (SKIMMED + 1.0 / LEFT as f64) * (1 << 17) as f64);
    }

    #[test]
    fn merged_counts_are_within_the_summed_error() {
        let stream: Vec<_> = (1..400_000u64)
            .map(|i| mix(mix(i) % (1 << (i % 19))))
            .collect();
        let mut whole = Frequent::default();
        stream
            .chunks(7_000)
            .for_each(|part| whole.merge(&count(part)));
        check(whole, &stream, false);
    }
}
