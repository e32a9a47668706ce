//! What a join comes to: weights, summed by the variables that are kept.

use super::factor::{Factor, GaveUp, NULL};
use super::index::{Groups, dense_slots, partial_keys, width};

/// Tuples that a factor may have: what all threads of memory hold is a small multiple of it.
const MOST_TUPLES: usize = 1 << 26;

/// Where joined tuples go: summed by the variables that are kept.
pub(super) struct Sink<'a> {
    keep: &'a [usize],
    bits: &'a [u32],
    probe: &'a Factor,
    build: &'a Factor,
    /// By tuple of each side its part of the key of the output.
    probe_keys: Vec<u64>,
    build_keys: Vec<u64>,
    sums: Sums,
}

enum Sums {
    /// Nothing is kept.
    One(u128),
    /// By key.
    Dense(Vec<u128>),
    /// By number of the key.
    Sparse(Groups, Vec<u128>),
    /// Summing would not help, or the keys are too wide: tuple after tuple.
    All(Factor),
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        probe: &'a Factor,
        build: &'a Factor,
        keep: &'a [usize],
        bits: &'a [u32],
    ) -> Self {
        let width = width(keep, bits);
        let kept = |variable: &usize| keep.contains(variable);
        let whole = probe.variables.iter().chain(&build.variables).all(kept);
        let sums = if keep.is_empty() {
            Sums::One(0)
        } else if whole || width > 64 {
            Sums::All(Factor {
                variables: keep.to_vec(),
                columns: vec![vec![]; keep.len()],
                weights: vec![],
            })
        } else if let Some(slots) = dense_slots(width, probe.len() + build.len()) {
            Sums::Dense(vec![0; slots])
        } else {
            Sums::Sparse(Groups::default(), vec![])
        };
        let keyed = matches!(sums, Sums::Dense(_) | Sums::Sparse(..));
        let only_build: Vec<usize> = build
            .variables
            .iter()
            .filter(|v| !probe.variables.contains(v))
            .copied()
            .collect();
        let mut build_keys = vec![];
        if keyed && only_build.iter().any(kept) {
            // A column of both sides counts once.
            let own = Factor {
                columns: only_build
                    .iter()
                    .filter_map(|v| Some(build.column(*v)?.to_vec()))
                    .collect(),
                variables: only_build,
                weights: build.weights.clone(),
            };
            build_keys = partial_keys(&own, keep, bits);
        }
        Self {
            keep,
            bits,
            probe_keys: if keyed {
                partial_keys(probe, keep, bits)
            } else {
                vec![]
            },
            build_keys,
            probe,
            build,
            sums,
        }
    }

    /// Adds the joined tuple of `i` of the probe side and `j` of the build side, which is out of range if nothing of it is kept.
    #[inline]
    pub(super) fn add(&mut self, i: usize, j: usize, weight: u128) -> Result<(), GaveUp> {
        let sum = match &mut self.sums {
            Sums::One(sum) => sum,
            Sums::Dense(sums) => {
                let key = self.probe_keys[i] | self.build_keys.get(j).copied().unwrap_or(0);
                &mut sums[key as usize]
            }
            Sums::Sparse(groups, sums) => {
                let key = self.probe_keys[i] | self.build_keys.get(j).copied().unwrap_or(0);
                let group = groups.insert(key);
                if group == sums.len() {
                    if group == MOST_TUPLES {
                        return Err(GaveUp::Memory);
                    }
                    sums.push(0);
                }
                &mut sums[group]
            }
            Sums::All(factor) => {
                if factor.len() == MOST_TUPLES {
                    return Err(GaveUp::Memory);
                }
                for (variable, column) in self.keep.iter().zip(&mut factor.columns) {
                    let code = match self.probe.column(*variable) {
                        Some(codes) => codes.get(i),
                        None => self.build.column(*variable).and_then(|codes| codes.get(j)),
                    };
                    column.push(code.copied().unwrap_or(NULL));
                }
                factor.weights.push(weight);
                return Ok(());
            }
        };
        *sum = sum.checked_add(weight).ok_or(GaveUp::Overflow)?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Factor, GaveUp> {
        let (keys, weights) = match self.sums {
            Sums::All(factor) => return Ok(factor),
            Sums::One(sum) => (vec![0], vec![sum]),
            Sums::Sparse(groups, sums) => (groups.keys, sums),
            Sums::Dense(sums) => {
                let used = sums.iter().enumerate().filter(|(_, sum)| **sum > 0);
                used.map(|(key, sum)| (key as u64, *sum)).unzip()
            }
        };
        let mut shift = 0;
        let mut columns = Vec::with_capacity(self.keep.len());
        for variable in self.keep {
            let mask = (1_u64 << self.bits[*variable]) - 1;
            columns.push(
                keys.iter()
                    .map(|key| (key >> shift & mask) as u32)
                    .collect(),
            );
            shift += self.bits[*variable];
        }
        Ok(Factor {
            variables: self.keep.to_vec(),
            columns,
            weights,
        })
    }
}
