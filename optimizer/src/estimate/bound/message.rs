//! Upper bounds by key, and what is put together from them.
//!
//! All numbers here are rows, counted or bounded from above; keys are known by their hashes, so that keys which collide count as one,
//! which only enlarges a bound.

use crate::relset::RelSet;
use foldhash::fast::FixedState;
use joinwright_stats::{Degrees, KeyIndex};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Values of a [`Steps`] that agree in their first bits are taken for the largest of them: 4 bits of the mantissa, 6 %.
const STEP_BITS: u32 = 48;

/// Rows by hash of the key. The seed is fixed: sums of huge numbers are rounded in the order of the keys.
pub(super) type Weights = HashMap<u64, f64, FixedState>;

/// A join key of a relation: how many of its rows, before any predicate, have a key. One of the two is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key {
    /// Where to find the rows of each key, if all rows are known.
    pub(crate) index: Option<Arc<KeyIndex>>,
    /// Degrees of the keys, or bounds of them.
    pub(crate) degrees: Option<Arc<Degrees>>,
}

impl Key {
    /// Rows with the key, at most.
    pub(super) fn degree(&self, hash: u64) -> f64 {
        if let Some(index) = &self.index {
            return index.rows(hash).len() as f64;
        }
        let Some(degrees) = &self.degrees else {
            return f64::INFINITY;
        };
        match &degrees.vector {
            Some(vector) => f64::from(vector.degree(hash)),
            None => degrees
                .bins
                .get(bin_of(hash, degrees.bins.len()))
                .map_or(degrees.max as f64, |bin| bin.max as f64),
        }
    }

    /// Rows with any key, at most.
    fn max_degree(&self) -> f64 {
        match (&self.degrees, &self.index) {
            (Some(degrees), _) => degrees.max as f64,
            (None, Some(index)) => {
                index.keys().map(|(_, rows)| rows.len()).max().unwrap_or(0) as f64
            }
            (None, None) => f64::INFINITY,
        }
    }

    /// Number of keys, or of rows where these are not known by name.
    pub(super) fn weight(&self) -> usize {
        let rows = || self.degrees.as_ref().map_or(0, |d| d.rows as usize);
        self.distinct().unwrap_or_else(rows)
    }

    /// Number of keys, where all are known by name.
    fn distinct(&self) -> Option<usize> {
        if let Some(index) = &self.index {
            return Some(index.distinct());
        }
        Some(self.degrees.as_ref()?.vector.as_ref()?.hashes.len())
    }

    /// Calls `visit` with every key and its degree, where all are known by name.
    fn for_each(&self, visit: &mut dyn FnMut(u64, f64)) {
        // An index lists its rows, of which a key may have very many.
        if let Some(vector) = self.degrees.as_ref().and_then(|d| d.vector.as_ref()) {
            for (hash, count) in vector.hashes.iter().zip(&vector.counts) {
                visit(*hash, f64::from(*count));
            }
        } else if let Some(index) = &self.index {
            for (hash, rows) in index.keys() {
                visit(hash, rows.len() as f64);
            }
        }
    }
}

/// The bin of a hash among `bins`, a power of two: its highest bits.
fn bin_of(hash: u64, bins: usize) -> usize {
    match bins.checked_ilog2() {
        Some(bits) if bits > 0 => (hash >> (u64::BITS - bits)) as usize,
        _ => 0,
    }
}

/// For each key the rows, at most, that the join of some relations has with it.
#[derive(Debug)]
pub(super) enum Message {
    /// Key by key; keys that are missing have no rows.
    Counted {
        /// By hash of the key.
        weights: Weights,
        /// The largest of them.
        max: f64,
        /// Not bounded but counted, as far as predicates could be evaluated.
        exact: bool,
    },
    /// `sums` at the degree of the key.
    Degrees {
        /// The key of the relation at the top.
        key: Key,
        /// What so many of its rows have at most.
        sums: Sums,
        /// Not bounded but counted.
        exact: bool,
    },
}

impl Message {
    pub(super) fn counted(weights: Weights, exact: bool) -> Self {
        let max = weights.values().copied().fold(0.0, f64::max);
        Self::Counted {
            weights,
            max,
            exact,
        }
    }

    fn at(&self, hash: u64) -> f64 {
        match self {
            Self::Counted { weights, .. } => weights.get(&hash).copied().unwrap_or(0.0),
            Self::Degrees { key, sums, .. } => sums.at(key.degree(hash)),
        }
    }

    fn max(&self) -> f64 {
        match self {
            Self::Counted { max, .. } => *max,
            Self::Degrees { key, sums, .. } => sums.at(key.max_degree()),
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::Counted { exact, .. } | Self::Degrees { exact, .. } => *exact,
        }
    }

    /// Number of keys that may have rows, where they are known by name.
    fn keys(&self) -> Option<usize> {
        match self {
            Self::Counted { weights, .. } => Some(weights.len()),
            Self::Degrees { key, .. } => key.distinct(),
        }
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(u64)) {
        match self {
            Self::Counted { weights, .. } => weights.keys().for_each(|hash| visit(*hash)),
            Self::Degrees { key, .. } => key.for_each(&mut |hash, _| visit(hash)),
        }
    }

    /// The largest value in each of `bins` ranges of hashes.
    fn max_by_bin(&self, bins: usize) -> Vec<f64> {
        let mut most = vec![0.0; bins];
        match self {
            Self::Counted { weights, .. } => {
                for (hash, weight) in weights {
                    let at = &mut most[bin_of(*hash, bins)];
                    *at = weight.max(*at);
                }
            }
            Self::Degrees { key, sums, .. } => match &key.degrees {
                Some(degrees) if degrees.bins.len() == bins => {
                    for (at, bin) in most.iter_mut().zip(&degrees.bins) {
                        *at = sums.at(bin.max as f64);
                    }
                }
                _ => most.fill(self.max()),
            },
        }
        most
    }
}

/// All that hangs on one relation by one equality class: a message from each of the class's other members.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// The class.
    pub(super) class: usize,
    /// The relations behind.
    pub(super) behind: RelSet,
    /// At least one.
    pub(super) messages: Vec<Rc<Message>>,
}

impl Factor {
    /// The product of the messages at a key.
    pub(super) fn at(&self, hash: u64) -> f64 {
        let mut product = 1.0;
        for message in &self.messages {
            product *= message.at(hash);
            if product == 0.0 {
                break;
            }
        }
        product
    }

    fn max(&self) -> f64 {
        product(self.messages.iter().map(|m| m.max()))
    }

    pub(super) fn is_exact(&self) -> bool {
        self.messages.iter().all(|m| m.is_exact())
    }

    /// The fewest keys that a message knows by name.
    pub(super) fn keys(&self) -> Option<usize> {
        self.smallest()?.keys()
    }

    fn smallest(&self) -> Option<&Rc<Message>> {
        let known = self.messages.iter().filter(|m| m.keys().is_some());
        known.min_by_key(|m| m.keys())
    }

    /// Calls `visit` for a superset of the keys whose product is not zero.
    pub(super) fn for_each_key(&self, visit: &mut dyn FnMut(u64)) {
        if let Some(message) = self.smallest() {
            message.for_each_key(visit);
        }
    }
}

/// A product in which zero wins over infinity.
pub(super) fn product(factors: impl Iterator<Item = f64>) -> f64 {
    let mut product = 1.0;
    for factor in factors {
        if factor == 0.0 {
            return 0.0;
        }
        product *= factor;
    }
    product
}

/// The rows of a relation by what a factor multiplies them with: how many rows have how much, the largest first. Rows that are
/// missing have nothing.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<(f64, f64)>);

impl Steps {
    /// Of a relation with key `key` and `rows` rows. Of more than `most` keys bins are looked at.
    pub(super) fn new(key: &Key, rows: f64, factor: &Factor, most: usize) -> Self {
        let mut steps: Vec<(f64, f64)> = vec![];
        let mut add = |value: f64, rows: f64| {
            if value > 0.0 && rows > 0.0 {
                steps.push((value, rows));
            }
        };
        let (own, other) = (key.distinct(), factor.keys());
        let own_is_less = own.unwrap_or(usize::MAX) <= other.unwrap_or(usize::MAX);
        match (own, other, &key.degrees) {
            (Some(own), _, _) if own <= most && own_is_less => {
                key.for_each(&mut |hash, degree| add(factor.at(hash), degree));
            }
            (_, Some(other), _) if other <= most => {
                // Keys of one bin together have no more rows than the bin.
                let mut seen: Vec<f64> = vec![];
                let bins = match &key.degrees {
                    Some(degrees) if own.is_none() => degrees.bins.as_slice(),
                    _ => &[],
                };
                let mut by_bin: Vec<Vec<(f64, f64)>> = vec![vec![]; bins.len()];
                seen.resize(bins.len(), 0.0);
                factor.for_each_key(&mut |hash| {
                    let (value, degree) = (factor.at(hash), key.degree(hash));
                    match bins.is_empty() {
                        true => add(value, degree),
                        false => by_bin[bin_of(hash, bins.len())].push((value, degree)),
                    }
                });
                for (bin, mut keys) in bins.iter().zip(by_bin) {
                    keys.sort_by(|a, b| b.0.total_cmp(&a.0));
                    let mut left = bin.rows as f64;
                    for (value, degree) in keys {
                        add(value, degree.min(left));
                        left -= degree.min(left);
                    }
                }
            }
            (_, _, Some(degrees)) => {
                let bins = degrees.bins.len();
                let mut most = vec![1.0; bins];
                for message in &factor.messages {
                    for (most, value) in most.iter_mut().zip(message.max_by_bin(bins)) {
                        *most = product([*most, value].into_iter());
                    }
                }
                for (bin, value) in degrees.bins.iter().zip(most) {
                    add(value, bin.rows as f64);
                }
            }
            _ => add(factor.max(), rows),
        }
        steps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        // Runs of values that agree in their first bits have the largest of them, which comes first.
        steps.dedup_by(|next, kept| {
            let same = next.0.to_bits() >> STEP_BITS == kept.0.to_bits() >> STEP_BITS;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        Self(steps)
    }
}

/// What a number of rows has at most in sum: concave and piecewise linear.
#[derive(Debug, Default)]
pub(super) struct Sums(Vec<Bend>);

/// The end of a piece.
#[derive(Debug, Clone, Copy)]
struct Bend {
    rows: f64,
    sum: f64,
    /// What each row of the piece before has.
    value: f64,
}

impl Sums {
    /// The product of several steps over the rows of one relation, of which there are `rows` at most.
    ///
    /// Of whatever d rows, the sum of the products of what each factor gives them is at most that of the d largest of each factor,
    /// largest with largest (rearrangement inequality). This is how SafeBound joins degree sequences.
    pub(super) fn new(steps: &[Rc<Steps>], rows: f64) -> Self {
        let mut bends = vec![];
        let mut at = vec![0usize; steps.len()];
        // Rows left of the current step of each factor.
        let mut left: Vec<f64> = steps
            .iter()
            .map(|s| s.0.first().map_or(0.0, |step| step.1))
            .collect();
        let (mut done, mut sum) = (0.0, 0.0);
        while done < rows {
            if steps.iter().zip(&at).any(|(s, at)| *at >= s.0.len()) {
                break;
            }
            let value = product(steps.iter().zip(&at).map(|(s, at)| s.0[*at].0));
            let run = left.iter().copied().fold(rows - done, f64::min);
            done += run;
            sum += value * run;
            bends.push(Bend {
                rows: done,
                sum,
                value,
            });
            for ((steps, at), left) in steps.iter().zip(&mut at).zip(&mut left) {
                *left -= run;
                if *left <= 0.0 {
                    *at += 1;
                    *left = steps.0.get(*at).map_or(0.0, |step| step.1);
                }
            }
        }
        Self(bends)
    }

    /// The sum of all rows.
    pub(super) fn total(&self) -> f64 {
        self.0.last().map_or(0.0, |bend| bend.sum)
    }

    /// The sum of `rows` rows, at most.
    pub(super) fn at(&self, rows: f64) -> f64 {
        if rows <= 0.0 {
            return 0.0;
        }
        let next = self.0.partition_point(|bend| bend.rows < rows);
        let (before, sum) = match next {
            0 => (0.0, 0.0),
            _ => (self.0[next - 1].rows, self.0[next - 1].sum),
        };
        match self.0.get(next) {
            Some(bend) => sum + (rows - before) * bend.value,
            None => sum,
        }
    }
}
