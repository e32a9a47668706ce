//! Fitting a model that is a sum of steps, each with its constant, to measured times.

/// Passes of the reweighting, and sweeps of the solver in one, which goes on from where the last one ended.
const PASSES: usize = 40;
const SWEEPS: usize = 400;
/// The relative change of a constant below which a sweep is the last one, and of the loss below which a pass is.
const CONVERGED: f64 = 1e-7;

/// What was measured of one piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed<const N: usize> {
    /// How often each step is done.
    pub steps: [f64; N],
    /// What is known of the time without the steps, in nanoseconds.
    pub offset: f64,
    /// The time it took, in nanoseconds, above zero.
    pub time: f64,
}

impl<const N: usize> Observed<N> {
    /// What the constants say it takes.
    pub fn predicted(&self, constants: &[f64; N]) -> f64 {
        self.offset + dot(&self.steps, constants)
    }
}

/// Constants and how well they tell the times they were fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit<const N: usize> {
    /// The time of each step in nanoseconds, none below zero.
    pub constants: [f64; N],
    /// The mean square of the natural logarithm of predicted over measured time.
    pub loss: f64,
}

/// The non-negative constants whose predictions are off by the least factor: the sum of squared logarithms of predicted over
/// measured time is minimized by least squares of relative errors, reweighted to stand for logarithms.
pub fn fit<const N: usize>(observed: &[Observed<N>]) -> Fit<N> {
    let mut weights = vec![1.0; observed.len()];
    let mut best = Fit {
        constants: [0.0; N],
        loss: f64::INFINITY,
    };
    let mut constants = [0.0; N];
    for _ in 0..PASSES {
        constants = least_squares(observed, &weights, constants);
        let mut loss = 0.0;
        for (observed, weight) in observed.iter().zip(&mut weights) {
            let ratio = (observed.predicted(&constants) / observed.time).max(1e-3);
            let error = ratio.ln();
            loss += error * error;
            // With this weight the square of the relative error has the slope that the square of the logarithm has.
            *weight = match (ratio - 1.0).abs() < 1e-6 {
                true => 1.0,
                false => (error / (ratio * (ratio - 1.0))).sqrt(),
            };
        }
        loss /= observed.len().max(1) as f64;
        let before = best.loss;
        if loss < best.loss {
            best = Fit { constants, loss };
        }
        if (before - loss).abs() <= CONVERGED * loss {
            break;
        }
    }
    best
}

/// Non-negative weighted least squares of relative errors, by coordinate descent from a guess.
fn least_squares<const N: usize>(
    observed: &[Observed<N>],
    weights: &[f64],
    guess: [f64; N],
) -> [f64; N] {
    let mut gram = [[0.0; N]; N];
    let mut moments = [0.0; N];
    for (observed, weight) in observed.iter().zip(weights) {
        let scale = weight / observed.time;
        let target = (observed.time - observed.offset) * scale;
        for i in 0..N {
            let left = observed.steps[i] * scale;
            moments[i] += left * target;
            for (product, right) in gram[i].iter_mut().zip(&observed.steps) {
                *product += left * right * scale;
            }
        }
    }
    let mut constants = guess;
    for _ in 0..SWEEPS {
        let mut change: f64 = 0.0;
        for i in 0..N {
            if gram[i][i] <= 0.0 {
                continue;
            }
            let others = dot(&gram[i], &constants) - gram[i][i] * constants[i];
            let new = ((moments[i] - others) / gram[i][i]).max(0.0);
            change = change.max((new - constants[i]).abs() / new.max(f64::MIN_POSITIVE));
            constants[i] = new;
        }
        if change < CONVERGED {
            break;
        }
    }
    constants
}

pub(super) fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work of three steps and its time, off by up to the factor.
    fn made(constants: [f64; 3], noise: f64) -> Vec<Observed<3>> {
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let work = (0..200).map(|_| {
            let steps = [random() * 1e6, random() * 1e4, 1.0];
            let off = noise.powf(2.0 * random() - 1.0);
            Observed {
                steps,
                offset: 500.0,
                time: (500.0 + dot(&steps, &constants)) * off,
            }
        });
        work.collect()
    }

    #[test]
    fn exact_times_give_the_constants() {
        let constants = [12.0, 340.0, 20_000.0];
        let fit = fit(&made(constants, 1.0));
        for (fitted, constant) in fit.constants.iter().zip(constants) {
            assert!((fitted / constant - 1.0).abs() < 1e-3, "{fit:?}");
        }
        assert!(fit.loss < 1e-9, "{fit:?}");
    }

    #[test]
    fn noise_of_a_factor_does_not_bias_it() {
        let fit = fit(&made([12.0, 340.0, 20_000.0], 2.0));
        assert!((fit.constants[0] / 12.0 - 1.0).abs() < 0.15, "{fit:?}");
        assert!(fit.loss < 0.3, "{fit:?}");
    }

    #[test]
    fn a_step_that_does_not_cost_is_free() {
        let fit = fit(&made([12.0, 0.0, 20_000.0], 1.3));
        assert!(fit.constants.iter().all(|c| *c >= 0.0), "{fit:?}");
        assert!(fit.constants[1] < 60.0, "{fit:?}");
    }

    #[test]
    fn nothing_observed_costs_nothing() {
        assert_eq!(fit::<3>(&[]).constants, [0.0; 3]);
    }
}
