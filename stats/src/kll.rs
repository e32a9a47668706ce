//! Quantiles of a stream in bounded memory: the KLL sketch (Karnin, Lang, Liberty, FOCS 2016).
//!
//! Items of level `l` stand for `2^l` values each. A level that is full is sorted, and every second item moves up. Which half
//! moves is a coin, tossed here from the state of the sketch, so that the same stream always gives the same sketch; sketches of the
//! libraries toss a coin of their own, and two runs over the same data would then disagree.

/// Capacity of the top level. The rank error at 99 % confidence is 2.296 / k^0.9723 (Apache DataSketches' fit): 0.34 %.
const K: usize = 800;

/// Fewest items of a level before it is compacted.
const MIN_LEVEL: usize = 8;

/// The rank error of a sketch that has compacted at least once, at 99 % confidence, as a share of the values.
pub(crate) const RANK_ERROR: f64 = 0.0035;

/// A quantile sketch.
#[derive(Clone, Debug)]
pub(crate) struct Kll<T> {
    /// By weight; the items of a level are in no order.
    levels: Vec<Vec<T>>,
    /// Compactions so far, the source of coins.
    tosses: u64,
}

impl<T: Ord> Default for Kll<T> {
    fn default() -> Self {
        Self {
            levels: vec![Vec::new()],
            tosses: 0,
        }
    }
}

impl<T: Ord> Kll<T> {
    /// Adds one value.
    pub(crate) fn insert(&mut self, item: T) {
        self.levels[0].push(item);
        // More than the level's capacity: a few large sorts take less time than many small ones, and lose less.
        if self.levels[0].len() >= K {
            self.compact();
        }
    }

    /// Adds all values of another sketch.
    pub(crate) fn merge(&mut self, other: Self) {
        for (level, items) in other.levels.into_iter().enumerate() {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].extend(items);
        }
        self.compact();
    }

    /// Nothing was forgotten: the items are all values.
    pub(crate) fn is_exact(&self) -> bool {
        self.levels.len() == 1
    }

    /// Capacities shrink by two thirds from level to level below the top.
    fn capacity(&self, level: usize) -> usize {
        let depth = self.levels.len() - 1 - level;
        let capacity = K as f64 * (2.0f64 / 3.0).powi(i32::try_from(depth).unwrap_or(i32::MAX));
        (capacity as usize).max(MIN_LEVEL)
    }

    /// Halves every level that is over its capacity, from below.
    fn compact(&mut self) {
        let mut level = 0;
        while level < self.levels.len() {
            if self.levels[level].len() >= self.capacity(level) {
                if level + 1 == self.levels.len() {
                    self.levels.push(Vec::new());
                }
                let mut items = std::mem::take(&mut self.levels[level]);
                // Above the lowest level, items are sorted in long runs, which a stable sort makes use of.
                items.sort();
                // An odd item stays behind, so that the weights add up.
                let odd = (items.len() % 2 == 1).then(|| items.pop()).flatten();
                self.tosses += 1;
                let coin = crate::hash::mix(self.tosses) as usize & 1;
                let kept = items.into_iter().skip(coin).step_by(2);
                self.levels[level + 1].extend(kept);
                self.levels[level].extend(odd);
            }
            level += 1;
        }
    }

    /// The items with their weights, sorted; the weights add up to the number of values.
    pub(crate) fn into_weighted(self) -> Vec<(T, u64)> {
        let weighted = |(level, items): (usize, Vec<T>)| {
            items.into_iter().map(move |item| (item, 1u64 << level))
        };
        let mut all: Vec<_> = self
            .levels
            .into_iter()
            .enumerate()
            .flat_map(weighted)
            .collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    /// The largest difference between true and estimated rank, as a share.
    fn rank_error(sketch: Kll<u64>, mut values: Vec<u64>) -> f64 {
        values.sort_unstable();
        let total = values.len() as f64;
        let mut below = 0;
        let mut worst: f64 = 0.0;
        for (item, weight) in sketch.into_weighted() {
            let least = values.partition_point(|value| *value < item) as f64;
            let most = values.partition_point(|value| *value <= item) as f64;
            let middle = below as f64 + weight as f64 / 2.0;
            worst = worst.max((least - middle).max(middle - most) / total);
            below += weight;
        }
        assert_eq!(below as usize, values.len());
        worst
    }

    fn sketch(values: impl Iterator<Item = u64>) -> Kll<u64> {
        let mut sketch = Kll::default();
        values.for_each(|value| sketch.insert(value));
        sketch
    }

    #[test]
    fn ranks_are_within_the_error() {
        let check = |values: Vec<u64>| {
            let error = rank_error(sketch(values.iter().copied()), values);
            assert!(error < RANK_ERROR, "{error}");
        };
        check((0..200_000).collect());
        check((0..200_000).rev().collect());
        check((0..200_000).map(mix).collect());
        check((0..200_000).map(|i| mix(i) % 7 * (i % 1000)).collect());
    }

    #[test]
    fn merged_sketches_are_within_the_error() {
        let mut whole = Kll::default();
        for part in 0..100 {
            whole.merge(sketch((part * 2000..(part + 1) * 2000).map(mix)));
        }
        let error = rank_error(whole, (0..200_000).map(mix).collect());
        assert!(error < RANK_ERROR, "{error}");
    }

    #[test]
    fn few_values_are_exact() {
        let few = sketch(0..500);
        assert!(few.is_exact());
        assert_eq!(few.into_weighted().len(), 500);
        let many = sketch(0..1_000_000);
        assert!(!many.is_exact());
        assert!(many.into_weighted().len() < 3 * K);
    }
}
