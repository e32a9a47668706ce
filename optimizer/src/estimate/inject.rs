//! Estimates from a list, over those of another estimator, and with noise.
//!
//! With the true rows of all sub-plans this is the oracle of Leis et al. (VLDB 2015), with noise the experiment that asks how much
//! an error of an estimate costs.

use super::profile::MIN_ROWS;
use super::{Cardinalities, CardinalityEstimator, Estimate, EstimateSource};
use crate::query_graph::QueryGraph;
use crate::relset::RelSet;
use std::collections::{BTreeMap, HashMap};
use std::f64::consts::TAU;
use std::sync::Arc;

/// Estimates by the name of a sub-plan; those that are not listed come from `base`.
#[derive(Debug, Clone)]
pub struct Inject {
    /// Its name in the registry.
    pub name: String,
    /// Rows by sub-plan, which is named by the aliases of its relations, sorted and joined by `+`.
    pub rows: BTreeMap<String, f64>,
    /// What the listed rows are.
    pub source: EstimateSource,
    /// Estimates the rest.
    pub base: Arc<dyn CardinalityEstimator>,
    /// By which all estimates are off.
    pub noise: Option<Noise>,
}

/// Log-normal errors, independent between sub-plans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// The factor of one standard deviation: about two thirds of the estimates are off by no more. At least 1.
    pub factor: f64,
    /// Chooses the errors; the same seed errs the same way in the same sub-plan.
    pub seed: u64,
}

impl CardinalityEstimator for Inject {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        let place = |alias: &str| graph.relations.iter().position(|r| r.alias == alias);
        let listed = self.rows.iter().filter_map(|(name, rows)| {
            let set = name.split('+').map(place).collect::<Option<RelSet>>()?;
            Some((set, *rows))
        });
        let aliases = graph.relations.iter().map(|r| hash(r.alias.as_bytes()));
        Box::new(Injected {
            rows: listed.collect(),
            source: self.source,
            base: self.base.prepare(graph),
            noise: self.noise,
            aliases: aliases.collect(),
        })
    }
}

#[derive(Debug)]
struct Injected {
    rows: HashMap<RelSet, f64>,
    source: EstimateSource,
    base: Box<dyn Cardinalities>,
    noise: Option<Noise>,
    /// By relation the hash of its alias.
    aliases: Vec<u64>,
}

impl Cardinalities for Injected {
    fn estimate(&self, relations: RelSet) -> Estimate {
        let mut estimate = match self.rows.get(&relations) {
            Some(rows) => Estimate {
                rows: *rows,
                source: self.source,
                upper_bound: None,
            },
            None => self.base.estimate(relations),
        };
        if let Some(noise) = self.noise {
            let of_set = relations
                .iter()
                .filter_map(|relation| self.aliases.get(relation))
                .fold(noise.seed, |sum, alias| sum.wrapping_add(*alias));
            estimate.rows *= noise.factor.powf(normal(of_set));
            // What is a bound for the estimate is none for the error.
            estimate.upper_bound = None;
        }
        estimate.rows = estimate.rows.clamp(MIN_ROWS, f64::MAX);
        estimate
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// SplitMix64.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A standard normal number by the method of Box and Muller.
fn normal(state: u64) -> f64 {
    // Above zero, at most one.
    let uniform = |bits: u64| ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let first = mixed(state);
    let second = mixed(first);
    (-2.0 * uniform(first).ln()).sqrt() * (TAU * uniform(second)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal() {
        let numbers: Vec<f64> = (0..10_000).map(normal).collect();
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / 10_000.0;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
