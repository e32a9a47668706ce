//! Equi-depth histograms.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// Buckets of a histogram, apart from values so frequent that they have one of their own.
const BUCKETS: f64 = 256.0;

/// How the values of a column are distributed.
///
/// A bucket ends at a value of the column and knows how many rows have that value, and how many lie strictly between it
/// and the end of the bucket before. So a frequent value is counted by itself and never spread over a range.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// In ascending order of their upper ends.
    pub buckets: Vec<Bucket>,
    /// By how much a [`rank`](Self::rank) may be wrong at 99 % confidence, as a share of the rows, for values at a bucket's end;
    /// between two ends half the rows of the bucket come on top.
    pub rank_error: f64,
}

/// A bucket of a [`Histogram`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The largest value of the bucket.
    pub upper: Value,
    /// Rows whose value lies above the end of the bucket before and below `upper`.
    pub below: f64,
    /// Rows with the value `upper`.
    pub equal: f64,
}

/// Rows below a value and rows with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Share of the rows that are not null with a smaller value, within [0, 1].
    pub below: f64,
    /// Share of the rows that are not null with this value where it ends a bucket, else 0.
    pub equal: f64,
}

impl Histogram {
    /// Rows that the histogram describes: those that are neither null nor NaN.
    pub fn rows(&self) -> f64 {
        self.buckets.iter().map(|b| b.below + b.equal).sum()
    }

    /// Where a value stands. `None` if the histogram is empty, or the value of another kind than its own.
    ///
    /// Between the ends of a bucket, numbers are interpolated, and bytes are taken for the middle.
    pub fn rank(&self, value: &Value) -> Option<Rank> {
        let rows = self.rows();
        let first = self.buckets.first()?;
        value.compare(&first.upper)?;
        let mut below = 0.0;
        let mut lower: Option<&Value> = None;
        for bucket in &self.buckets {
            match value.compare(&bucket.upper)? {
                Ordering::Greater => below += bucket.below + bucket.equal,
                Ordering::Equal => {
                    return Some(Rank {
                        below: (below + bucket.below) / rows,
                        equal: bucket.equal / rows,
                    });
                }
                Ordering::Less => {
                    below += bucket.below * share_below(lower, value, &bucket.upper);
                    break;
                }
            }
            lower = Some(&bucket.upper);
        }
        Some(Rank {
            below: below / rows,
            equal: 0.0,
        })
    }

    /// Makes buckets of values with their rows; `weighted` is sorted, and equal values stand together.
    pub(crate) fn build(weighted: impl IntoIterator<Item = (Value, f64)>, rank_error: f64) -> Self {
        let mut fine: Vec<Bucket> = Vec::new();
        for (value, rows) in weighted {
            match fine.last_mut() {
                Some(last) if value.compare(&last.upper) == Some(Ordering::Equal) => {
                    last.equal += rows;
                }
                _ => fine.push(Bucket {
                    upper: value,
                    below: 0.0,
                    equal: rows,
                }),
            }
        }
        Self {
            buckets: fine,
            rank_error,
        }
        .coarsened()
    }

    /// Joins neighbours as long as a bucket holds no more than its share.
    fn coarsened(self) -> Self {
        let depth = self.rows() / BUCKETS;
        let last = self.buckets.len().saturating_sub(1);
        let mut buckets = Vec::new();
        let mut pending = 0.0;
        for (index, bucket) in self.buckets.into_iter().enumerate() {
            let below = pending + bucket.below;
            // The smallest value of all stays the end of a bucket, so that nothing lies below it.
            if index == 0 || index == last || below + bucket.equal >= depth {
                pending = 0.0;
                buckets.push(Bucket { below, ..bucket });
            } else {
                pending = below + bucket.equal;
            }
        }
        Self {
            buckets,
            rank_error: self.rank_error,
        }
    }

    /// The histogram of all rows of several parts, the same in any order of them up to rounding.
    pub(crate) fn merge(parts: &[&Self]) -> Self {
        if let [one] = parts {
            return (*one).clone();
        }
        let mut ends: Vec<&Value> = parts
            .iter()
            .flat_map(|part| part.buckets.iter().map(|bucket| &bucket.upper))
            .collect();
        ends.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
        ends.dedup_by(|a, b| a.compare(b) == Some(Ordering::Equal));
        let mut buckets: Vec<Bucket> = ends
            .into_iter()
            .map(|end| Bucket {
                upper: end.clone(),
                below: 0.0,
                equal: 0.0,
            })
            .collect();
        let mut error = 0.0;
        for part in parts {
            part.spread_over(&mut buckets);
            error += part.rank_error * part.rows();
        }
        let rows: f64 = parts.iter().map(|part| part.rows()).sum();
        let merged = Self {
            buckets,
            // Rows of a bucket that another part's ends cut are misplaced by half of it at most.
            rank_error: if rows > 0.0 {
                error / rows + 0.5 / BUCKETS
            } else {
                0.0
            },
        };
        merged.coarsened()
    }

    /// Adds the rows of this histogram to finer buckets, whose ends include its own.
    fn spread_over(&self, fine: &mut [Bucket]) {
        let mut at = 0;
        let mut lower: Option<&Value> = None;
        for bucket in &self.buckets {
            let mut done = 0.0;
            while let Some(target) = fine.get_mut(at) {
                at += 1;
                if target.upper.compare(&bucket.upper) != Some(Ordering::Less) {
                    target.below += bucket.below * (1.0 - done);
                    target.equal += bucket.equal;
                    break;
                }
                let reached = share_below(lower, &target.upper, &bucket.upper).max(done);
                target.below += bucket.below * (reached - done);
                done = reached;
            }
            lower = Some(&bucket.upper);
        }
    }
}

/// The share of what lies strictly between two values that is below a value between them.
fn share_below(lower: Option<&Value>, value: &Value, upper: &Value) -> f64 {
    let number = |value: &Value| value.to_f64().filter(|number| number.is_finite());
    match (lower.map(number), number(value), number(upper)) {
        (Some(Some(lower)), Some(value), Some(upper)) if upper > lower => {
            ((value - lower) / (upper - lower)).clamp(0.0, 1.0)
        }
        // Nothing lies below the first end.
        (None, _, _) => 0.0,
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    fn exact(mut values: Vec<i128>) -> Histogram {
        values.sort_unstable();
        Histogram::build(values.into_iter().map(|v| (Value::Int(v), 1.0)), 0.0)
    }

    /// Ranks are right to the stated error and half a bucket.
    fn check(histogram: &Histogram, mut values: Vec<i128>) {
        values.sort_unstable();
        let rows = values.len() as f64;
        assert!((histogram.rows() - rows).abs() < 1e-6 * rows);
        let bound = histogram.rank_error + 1.0 / BUCKETS;
        for &value in &values {
            let rank = histogram.rank(&Value::Int(value)).unwrap();
            let least = values.partition_point(|v| *v < value) as f64 / rows;
            let most = values.partition_point(|v| *v <= value) as f64 / rows;
            let miss = (rank.below - least).abs().min((rank.below - most).abs());
            assert!(miss <= bound + 1e-9, "{value}: {rank:?} for {least}");
            if rank.equal > 0.0 {
                assert!((rank.equal - (most - least)).abs() <= bound + 1e-9);
            }
        }
    }

    fn skewed(count: u64) -> Vec<i128> {
        (0..count)
            .map(|i| i128::from(mix(i) % (1 << (i % 16))))
            .collect()
    }

    #[test]
    fn ranks_of_every_value() {
        check(&exact((0..10_000).collect()), (0..10_000).collect());
        check(&exact(skewed(20_000)), skewed(20_000));
        check(&exact(vec![7; 100]), vec![7; 100]);
        let few = exact(vec![1, 1, 5, 9, 9, 9]);
        assert_eq!(few.buckets.len(), 3);
        let rank = |value| few.rank(&Value::Int(value)).unwrap();
        assert_eq!((rank(9).below, rank(9).equal), (0.5, 0.5));
        assert_eq!((rank(0).below, rank(10).below), (0.0, 1.0));
    }

    #[test]
    fn other_kinds_have_no_rank() {
        let histogram = exact(vec![1, 2]);
        assert_eq!(histogram.rank(&Value::Bool(true)), None);
        assert_eq!(Histogram::default().rank(&Value::Int(1)), None);
    }

    #[test]
    fn merged_in_any_order() {
        let parts: Vec<_> = skewed(30_000).chunks(3_000).map(<[i128]>::to_vec).collect();
        let histograms: Vec<_> = parts.iter().map(|part| exact(part.clone())).collect();
        let mut order: Vec<_> = histograms.iter().collect();
        let merged = Histogram::merge(&order);
        check(&merged, parts.concat());
        assert!(merged.buckets.len() as f64 <= 2.0 * BUCKETS + 2.0);
        order.reverse();
        let reversed = Histogram::merge(&order);
        for (a, b) in merged.buckets.iter().zip(&reversed.buckets) {
            assert_eq!(a.upper, b.upper);
            assert!((a.below - b.below).abs() < 1e-6 && (a.equal - b.equal).abs() < 1e-6);
        }
    }
}
