//! The order in which the samples of a run are taken, and which of them are missing.

use twox_hash::XxHash64;

use crate::record::{Run, Sample, Status};
use crate::suite::Query;

/// How often each query runs under each arm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Samples that are recorded but do not count.
    pub(crate) warmup: u32,
    /// Samples that count.
    pub(crate) runs: u32,
    /// Whether what the system keeps of files is dropped before each sample.
    pub(crate) cold: bool,
    /// Shuffles the arms of each query, and the queries.
    pub(crate) seed: Option<u64>,
    /// The limit of a sample.
    pub(crate) timeout_ms: f64,
}

impl Schedule {
    /// Of a run.
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            warmup: run.warmup,
            runs: run.runs,
            cold: run.cold == Some(true),
            seed: run.seed,
            timeout_ms: run.timeout_s * 1e3,
        }
    }

    /// Warm-ups and runs together.
    pub(crate) fn rounds(&self) -> u32 {
        self.warmup + self.runs
    }

    /// The number of a round, counted from 1, warm-ups and runs apart, and whether it is a warm-up.
    pub(crate) fn run(&self, round: u32) -> (u32, bool) {
        match round < self.warmup {
            true => (round + 1, true),
            false => (round - self.warmup + 1, false),
        }
    }

    /// The order in which the arms of a query start, by position. Each round begins with the next one.
    pub(crate) fn arms(&self, query: &str, count: usize) -> Vec<usize> {
        let mut arms: Vec<usize> = (0..count).collect();
        if let Some(seed) = self.seed {
            arms.sort_by_key(|arm| XxHash64::oneshot(seed, format!("{query} {arm}").as_bytes()));
        }
        arms
    }

    /// The order in which queries run.
    pub(crate) fn queries<'a>(&self, queries: &'a [Query]) -> Vec<&'a Query> {
        let mut order: Vec<&Query> = queries.iter().collect();
        if let Some(seed) = self.seed {
            order.sort_by_key(|query| XxHash64::oneshot(seed, query.name.as_bytes()));
        }
        order
    }
}

/// A sample that is known.
pub(crate) fn find<'a>(
    known: &'a [Sample],
    arm: &str,
    run: u32,
    warmup: bool,
) -> Option<&'a Sample> {
    let mut known = known.iter();
    known.find(|sample| sample.arm == arm && sample.run == run && sample.warmup == warmup)
}

/// Whether the samples of a query are all that will ever be run of it.
pub(crate) fn is_whole(known: &[Sample], arms: &[String], schedule: Schedule) -> bool {
    arms.iter().all(|arm| {
        let mut gave_up = None;
        (0..schedule.rounds()).all(|round| {
            let (run, warmup) = schedule.run(round);
            match find(known, arm, run, warmup) {
                Some(sample) => {
                    if matches!(sample.status, Status::Error | Status::Timeout) {
                        gave_up = Some(sample.status);
                    }
                    true
                }
                None => gave_up == Some(Status::Error) || (warmup && gave_up.is_some()),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: Option<u64>) -> Schedule {
        Schedule {
            warmup: 1,
            runs: 1,
            cold: false,
            seed,
            timeout_ms: 60_000.0,
        }
    }

    #[test]
    fn a_seed_shuffles_alike_each_time() {
        let orders: Vec<Vec<usize>> = (0..20)
            .map(|seed| schedule(Some(seed)).arms("q", 3))
            .collect();
        let again = (0..20).map(|seed| schedule(Some(seed)).arms("q", 3));
        assert!(again.eq(orders.iter().cloned()));
        let distinct: std::collections::BTreeSet<_> = orders.iter().collect();
        assert!(distinct.len() > 3, "{distinct:?}");
        assert_eq!(schedule(None).arms("q", 3), [0, 1, 2]);
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
    }
}
