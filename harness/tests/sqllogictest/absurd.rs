//! Estimates that have nothing to do with the data: results must not depend on them.

use joinwright_optimizer::estimate::{Cardinalities, CardinalityEstimator, Estimate};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;

/// Draws the rows of each set of relations.
#[derive(Debug)]
pub(crate) struct Absurd {
    pub(crate) seed: u64,
}

impl CardinalityEstimator for Absurd {
    fn name(&self) -> &str {
        "absurd"
    }

    fn prepare(&self, _graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Self { seed: self.seed })
    }
}

impl Cardinalities for Absurd {
    /// From 1e-3 to 1e12 rows, at times from 1e-300 to 1e300, evenly by magnitude.
    fn estimate(&self, relations: RelSet) -> Estimate {
        let draw = splitmix(splitmix(self.seed) ^ relations.bits());
        let even = (splitmix(draw) >> 11) as f64 / (1u64 << 53) as f64;
        let magnitude = match draw % 8 {
            0 => even * 600.0 - 300.0,
            _ => even * 15.0 - 3.0,
        };
        Estimate::guess(10f64.powf(magnitude))
    }
}

/// The next number of the generator SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
