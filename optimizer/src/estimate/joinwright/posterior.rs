//! What was seen, where something was expected: Poisson likelihood, log-normal prior.
//!
//! Estimates err by factors, upwards as much as downwards, so the logarithm of what was expected has a variance. (The usual Gamma
//! prior would never leave more than `1 + hits` times what was expected, although formulas expect a thousandth where keys
//! are correlated.)

/// The relative step at which the search for the most likely rate ends.
const PRECISION: f64 = 1e-3;
/// Steps after which it ends in any case.
const STEPS: usize = 64;

/// What is expected of a number of rows, or of a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prior {
    /// Its median, above 0.
    pub(super) median: f64,
    /// The variance of its logarithm.
    pub(super) variance: f64,
}

impl Prior {
    /// The most likely value, where `hits` were counted and a value of 1 would have given `exposure` of them on average.
    pub(super) fn updated(self, hits: f64, exposure: f64) -> f64 {
        let median = self.median.ln();
        if exposure <= 0.0 || !median.is_finite() {
            return self.median;
        }
        // The root of a decreasing, concave function, from its right, which Newton's steps do not leave.
        let seen = (hits / exposure).ln();
        let mut log = median.max(seen).min(median + self.variance * hits);
        for _ in 0..STEPS {
            let expected = exposure * log.exp();
            let excess = hits - expected - (log - median) / self.variance;
            let step = excess / (expected + 1.0 / self.variance);
            log += step;
            if step.abs() < PRECISION {
                break;
            }
        }
        log.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIOR: Prior = Prior {
        median: 10.0,
        variance: 1.0,
    };

    #[test]
    fn nothing_seen_leaves_what_was_expected() {
        assert_eq!(PRIOR.updated(0.0, 0.0), 10.0);
        // Nothing where ten were expected: fewer, but not none.
        let rate = PRIOR.updated(0.0, 1.0);
        assert!((1.0..3.0).contains(&rate), "{rate}");
    }

    #[test]
    fn many_hits_win_over_any_expectation() {
        let rate = PRIOR.updated(20.0, 20.0 / 1e6);
        assert!((3e5..1e6).contains(&rate), "{rate}");
        let rate = PRIOR.updated(1000.0, 1e6);
        assert!((1e-3..1.01e-3).contains(&rate), "{rate}");
    }

    proptest! {
        #[test]
        fn between_what_is_seen_and_what_was_expected(
            median in 1e-6..1e12f64, variance in 0.1..10.0f64, hits in 0.0..1e4f64, exposure in 1e-12..1e6f64,
        ) {
            let rate = Prior { median, variance }.updated(hits, exposure);
            let seen = hits / exposure;
            let slack = 1.0 + 2.0 * PRECISION;
            prop_assert!(rate.is_finite() && rate > 0.0);
            prop_assert!(rate <= median.max(seen) * slack, "{rate}");
            prop_assert!(rate * slack >= median.min(seen), "{rate}");
        }

        #[test]
        fn more_hits_never_mean_less(
            median in 1e-3..1e6f64, variance in 0.1..10.0f64, hits in 0.0..100.0f64, exposure in 1e-6..1e3f64,
        ) {
            let prior = Prior { median, variance };
            let more = prior.updated(hits + 1.0, exposure);
            prop_assert!(more * (1.0 + 2.0 * PRECISION) >= prior.updated(hits, exposure));
        }
    }
}
