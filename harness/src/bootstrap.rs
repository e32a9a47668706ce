//! Confidence intervals of ratios of times by the bootstrap (Efron, Annals of Statistics 1979), percentile method.
//!
//! The runs of a query under an arm are drawn again with replacement, and the ratio is computed from what was drawn: how far it
//! then varies is how far the noise of the machine reaches. Sums and means over queries draw within each query, since the queries of a
//! suite are given, and are no sample. The seed is fixed, and each query has random numbers of its own: the same samples have the same
//! intervals, whatever stands beside them.

use serde::Serialize;
use twox_hash::XxHash64;

use crate::query_summary::median;

/// How often the runs are drawn.
const RESAMPLES: usize = 2_000;
/// Fewer runs say nothing about how they vary.
const FEWEST_RUNS: usize = 3;
/// The share of ratios below an interval, and the share above.
const TAIL: f64 = 0.025;
const SEED: u64 = 0x6a6f_696e;

/// Where a ratio lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// Of ratios in any order; `None` without any.
    fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * (ratios.len().checked_sub(1)?) as f64).round() as usize;
            ratios.get(place).copied()
        };
        Some(Self {
            low: at(TAIL)?,
            high: at(1.0 - TAIL)?,
        })
    }

    /// Whether no difference at all is among what may be.
    pub(crate) fn contains_one(&self) -> bool {
        self.low <= 1.0 && self.high >= 1.0
    }
}

/// The medians of one query's times, drawn again and again: those of the first arm, and those of another.
#[derive(Clone, Debug)]
pub(crate) struct Resampled {
    first: Vec<f64>,
    other: Vec<f64>,
}

impl Resampled {
    /// `None` where an arm has too few runs.
    /// The names decide the random numbers, and must differ.
    pub(crate) fn new(query: &str, first: (&str, &[f64]), other: (&str, &[f64])) -> Option<Self> {
        Some(Self {
            first: medians(first.1, &[query, first.0])?,
            other: medians(other.1, &[query, other.0])?,
        })
    }

    /// The interval of this ratio over another one, which was measured beside it.
    pub(crate) fn over(&self, control: &Self) -> Option<Interval> {
        let pairs = self.ratios().zip(control.ratios());
        Interval::of(pairs.map(|(own, control)| own / control).collect())
    }

    /// The interval of the ratio of medians.
    pub(crate) fn ratio(&self) -> Option<Interval> {
        Interval::of(self.ratios().collect())
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.other
            .iter()
            .zip(&self.first)
            .map(|(other, first)| other / first)
    }
}

/// The sums of all queries' times, as they were drawn; `None` without any query.
pub(crate) fn total(queries: &[&Resampled]) -> Option<Resampled> {
    let sums = |times: fn(&Resampled) -> &Vec<f64>| {
        let mut sums = vec![0.0; RESAMPLES];
        for query in queries {
            let own = sums.iter_mut().zip(times(query));
            own.for_each(|(sum, time)| *sum += time);
        }
        sums
    };
    (!queries.is_empty()).then(|| Resampled {
        first: sums(|query| &query.first),
        other: sums(|query| &query.other),
    })
}

/// The interval of the geometric mean of all queries' ratios; `None` without any query.
pub(crate) fn geometric_mean(queries: &[&Resampled]) -> Option<Interval> {
    let mut logs = vec![0.0; RESAMPLES];
    for query in queries {
        let own = logs.iter_mut().zip(query.ratios());
        own.for_each(|(sum, ratio)| *sum += ratio.ln());
    }
    let count = queries.len() as f64;
    let means = logs.iter().map(|logs: &f64| (logs / count).exp());
    Interval::of(means.collect()).filter(|_| !queries.is_empty())
}

fn medians(times: &[f64], names: &[&str]) -> Option<Vec<f64>> {
    if times.len() < FEWEST_RUNS {
        return None;
    }
    // Arms have random numbers of their own: drawn alike, they would seem to vary together.
    let mut random = SplitMix(XxHash64::oneshot(SEED, names.join("\0").as_bytes()));
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let drawn = (0..times.len()).map(|_| times[random.below(times.len())]);
        medians.push(median(drawn.collect())?);
    }
    Some(medians)
}

/// Random numbers that are the same on every machine: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
struct SplitMix(u64);

impl SplitMix {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(first: &[f64], other: &[f64]) -> Resampled {
        Resampled::new("q", ("a", first), ("b", other)).unwrap()
    }

    #[test]
    fn the_same_samples_have_the_same_interval() {
        let (first, other) = ([10.0, 11.0, 12.0, 10.5, 30.0], [8.0, 9.0, 8.5, 8.2, 8.1]);
        let interval = resampled(&first, &other).ratio().unwrap();
        assert_eq!(resampled(&first, &other).ratio().unwrap(), interval);
        let ratio = 8.2 / 11.0;
        assert!(
            interval.low < ratio && ratio < interval.high,
            "{interval:?}"
        );
        assert!(!interval.contains_one(), "{interval:?}");
    }

    #[test]
    fn noise_contains_one() {
        let interval = resampled(&[10.0, 11.0, 12.0], &[12.0, 10.0, 11.0]).ratio();
        assert!(interval.unwrap().contains_one());
        let exact = resampled(&[10.0; 3], &[20.0; 3]).ratio().unwrap();
        assert_eq!((exact.low, exact.high), (2.0, 2.0));
    }

    #[test]
    fn two_runs_are_too_few() {
        assert!(Resampled::new("q", ("a", &[1.0, 2.0]), ("b", &[1.0; 3])).is_none());
    }

    #[test]
    fn sums_and_means() {
        let twice = resampled(&[10.0; 3], &[20.0; 3]);
        let half = resampled(&[100.0; 3], &[50.0; 3]);
        let (totals, mean) = (total(&[&twice, &half]), geometric_mean(&[&twice, &half]));
        let (totals, mean) = (totals.unwrap().ratio().unwrap(), mean.unwrap());
        assert_eq!((totals.low, totals.high), (70.0 / 110.0, 70.0 / 110.0));
        assert!((mean.low - 1.0).abs() < 1e-12 && (mean.high - 1.0).abs() < 1e-12);
        assert!(total(&[]).is_none() && geometric_mean(&[]).is_none());
    }

    /// A machine that got slower for all is no news.
    #[test]
    fn ratios_over_ratios() {
        let own = resampled(&[10.0; 3], &[30.0; 3]);
        let control = resampled(&[5.0; 3], &[10.0; 3]);
        let over = own.over(&control).unwrap();
        assert_eq!((over.low, over.high), (1.5, 1.5));
    }

    /// Of normal-like samples without any difference, about one interval in twenty leaves 1 out.
    #[test]
    fn intervals_cover() {
        let mut random = SplitMix(7);
        let mut sample = || -> Vec<f64> {
            let noise = |random: &mut SplitMix| {
                let sum: usize = (0..12).map(|_| random.below(1000)).sum();
                sum as f64 / 1000.0 - 6.0
            };
            (0..9).map(|_| 100.0 + 5.0 * noise(&mut random)).collect()
        };
        let mut covered = 0;
        for query in 0..200 {
            let (first, other) = (sample(), sample());
            let resampled = Resampled::new(&query.to_string(), ("a", &first), ("b", &other));
            covered += usize::from(resampled.unwrap().ratio().unwrap().contains_one());
        }
        assert!((180..=200).contains(&covered), "{covered} of 200");
    }
}
