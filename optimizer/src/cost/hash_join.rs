//! `hashjoin`: what DataFusion's joins cost in time.
//!
//! A hash join builds a table of its left input and looks up every row of the right one. It can do so in two ways. It
//! *collects* the left input into one table that one thread builds and all threads look into, and the right input stays
//! where it is; or it *partitions* both inputs by the hash of the key, so that all threads build, at the price of copying
//! every row of both inputs once. Building a row costs more than looking one up, a table that no cache holds costs more
//! than one that fits, and wide rows cost more than narrow ones, on the build side twice: they are gathered into the
//! table's batch, and gathered again into the output.
//!
//! The constants are nanoseconds, fitted by `joinwright calibrate` to joins of made tables. Only their ratios decide.

use super::fit::dot;
use super::{CostModel, JoinRows};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many constants are the price of a step.
pub const JOIN_STEPS: usize = 12;

/// Bytes of a row of a hash table beside the row itself: hash, index, link.
pub(crate) const TABLE_ROW: f64 = 24.0;

/// One input of a join.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Side {
    /// Rows.
    pub rows: f64,
    /// Bytes of a row, of the columns that anything above the join or the join itself uses.
    pub width: f64,
}

/// How a join runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinMode {
    /// A hash join whose build side is gathered into one table.
    Collect,
    /// A hash join whose inputs are both partitioned by the key.
    Partition,
    /// Every pair is looked at; the build side is gathered.
    NestedLoop,
}

/// The constants of [`HashJoin`], in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashJoinConstants {
    /// To put a row into the table.
    pub build_row: f64,
    /// To gather a byte of the build side.
    pub build_byte: f64,
    /// To look up a row.
    pub probe_row: f64,
    /// For each row that is built or looked up where the cache does not hold its place.
    pub cache_miss: f64,
    /// To put out a row.
    pub output_row: f64,
    /// To put out a byte.
    pub output_byte: f64,
    /// To put out a byte of the build side, beyond that, where the cache does not hold it.
    pub gather_byte: f64,
    /// To hash a row and hand it to its partition.
    pub partition_row: f64,
    /// To copy a byte to its partition.
    pub partition_byte: f64,
    /// To look at a pair of a nested loop.
    pub pair: f64,
    /// To start a join.
    pub start: f64,
    /// To start the exchange of an input.
    pub start_exchange: f64,
    /// Bytes of a table that the cache holds.
    pub cache_bytes: f64,
    /// What each thread after the first adds to the speed of the steps that all share, of what the first one does: within [0, 1].
    pub further_thread: f64,
}

impl Default for HashJoinConstants {
    /// Those of the project's own calibration, which is kept with its measurements in `calibration/`.
    fn default() -> Self {
        Self {
            build_row: 25.5,
            build_byte: 0.0,
            probe_row: 7.72,
            cache_miss: 36.0,
            output_row: 8.59,
            output_byte: 0.0763,
            gather_byte: 2.87,
            partition_row: 0.0,
            partition_byte: 0.236,
            pair: 1.17,
            start: 127_000.0,
            start_exchange: 32_000.0,
            cache_bytes: 32.0 * 1024.0 * 1024.0,
            further_thread: 0.4,
        }
    }
}

impl HashJoinConstants {
    /// The price of each step, in the order of [`HashJoin::join_steps`].
    pub fn to_array(self) -> [f64; JOIN_STEPS] {
        [
            self.build_row,
            self.build_byte,
            self.probe_row,
            self.cache_miss,
            self.output_row,
            self.output_byte,
            self.gather_byte,
            self.partition_row,
            self.partition_byte,
            self.pair,
            self.start,
            self.start_exchange,
        ]
    }

    /// With other prices of the steps.
    pub fn with_prices(self, prices: [f64; JOIN_STEPS]) -> Self {
        let [
            build_row,
            build_byte,
            probe_row,
            cache_miss,
            output_row,
            output_byte,
            gather_byte,
            partition_row,
            partition_byte,
            pair,
            start,
            start_exchange,
        ] = prices;
        Self {
            build_row,
            build_byte,
            probe_row,
            cache_miss,
            output_row,
            output_byte,
            gather_byte,
            partition_row,
            partition_byte,
            pair,
            start,
            start_exchange,
            ..self
        }
    }

    /// The nanoseconds of steps.
    pub fn time(&self, steps: &[f64; JOIN_STEPS]) -> f64 {
        dot(&self.to_array(), steps)
    }
}

/// The time of DataFusion's joins, in nanoseconds of the query's run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashJoin {
    /// What the steps of a join cost.
    pub constants: HashJoinConstants,
    /// Partitions of a query (`target_partitions`), at least one.
    pub threads: f64,
}

impl Default for HashJoin {
    fn default() -> Self {
        Self::new(HashJoinConstants::default(), 2)
    }
}

impl HashJoin {
    /// A model with these constants, for queries of that many partitions.
    pub fn new(constants: HashJoinConstants, threads: usize) -> Self {
        Self {
            constants,
            threads: threads.max(1) as f64,
        }
    }

    /// The time that a join adds to its query.
    pub fn join_time(&self, mode: JoinMode, build: Side, probe: Side, output: Side) -> f64 {
        self.constants
            .time(&self.join_steps(mode, build, probe, output))
    }

    /// How often a join takes each step, in the order of [`HashJoinConstants::to_array`]; steps that all threads take at the
    /// same time are divided by their speed together.
    pub fn join_steps(
        &self,
        mode: JoinMode,
        build: Side,
        probe: Side,
        output: Side,
    ) -> [f64; JOIN_STEPS] {
        let bytes = |side: Side| side.rows * side.width;
        // What only one thread does, and what all share.
        let share = 1.0 / (1.0 + (self.threads - 1.0) * self.constants.further_thread);
        let (build_share, tables) = match mode {
            JoinMode::Partition => (share, self.threads),
            JoinMode::Collect | JoinMode::NestedLoop => (1.0, 1.0),
        };
        let keyed = mode != JoinMode::NestedLoop;
        let rows = |rows: f64, counts: bool| match counts {
            true => rows,
            false => 0.0,
        };
        let miss = self.miss(build, tables);
        let exchanged = mode == JoinMode::Partition;
        [
            rows(build.rows * build_share, keyed),
            bytes(build) * build_share,
            rows(probe.rows * share, keyed),
            rows(
                (build.rows * build_share + probe.rows * share) * miss,
                keyed,
            ),
            output.rows * share,
            bytes(output) * share,
            output.rows * build.width * miss * share,
            rows((build.rows + probe.rows) * share, exchanged),
            rows((bytes(build) + bytes(probe)) * share, exchanged),
            rows(build.rows * probe.rows * share, !keyed),
            1.0,
            rows(2.0, exchanged),
        ]
    }

    /// The share of lookups that miss the cache, if each of `tables` has its part of the rows.
    fn miss(&self, build: Side, tables: f64) -> f64 {
        let bytes = build.rows * (TABLE_ROW + build.width) / tables;
        bytes / (bytes + self.constants.cache_bytes)
    }
}

impl CostModel for HashJoin {
    fn name(&self) -> &str {
        "hashjoin"
    }

    fn uses_widths(&self) -> bool {
        true
    }

    fn for_partitions(&self, partitions: usize) -> Option<Arc<dyn CostModel>> {
        Some(Arc::new(Self::new(self.constants, partitions)))
    }

    fn join_cost(&self, rows: JoinRows) -> f64 {
        let build = Side {
            rows: rows.left,
            width: rows.left_width,
        };
        let probe = Side {
            rows: rows.right,
            width: rows.right_width,
        };
        let output = Side {
            rows: rows.output,
            width: rows.left_width + rows.right_width,
        };
        if !rows.keyed {
            return self.join_time(JoinMode::NestedLoop, build, probe, output);
        }
        let collected = self.join_time(JoinMode::Collect, build, probe, output);
        if self.threads <= 1.0 {
            return collected;
        }
        collected.min(self.join_time(JoinMode::Partition, build, probe, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(rows: f64, width: f64) -> Side {
        Side { rows, width }
    }

    fn time(mode: JoinMode, build: f64, probe: f64) -> f64 {
        let output = side(build.min(probe), 16.0);
        HashJoin::default().join_time(mode, side(build, 8.0), side(probe, 8.0), output)
    }

    #[test]
    fn the_smaller_input_builds() {
        for mode in [JoinMode::Collect, JoinMode::Partition] {
            assert!(time(mode, 1e3, 1e6) < time(mode, 1e6, 1e3), "{mode:?}");
        }
    }

    #[test]
    fn small_build_sides_are_collected() {
        assert!(time(JoinMode::Collect, 1e3, 1e6) < time(JoinMode::Partition, 1e3, 1e6));
        let many = HashJoin::new(HashJoinConstants::default(), 64);
        let even = side(1e7, 8.0);
        let collected = many.join_time(JoinMode::Collect, even, even, even);
        assert!(many.join_time(JoinMode::Partition, even, even, even) < collected);
    }

    #[test]
    fn wide_rows_cost_more() {
        let model = HashJoin::default();
        let of = |width| {
            let build = side(1e4, width);
            model.join_time(JoinMode::Collect, build, side(1e5, 8.0), side(1e4, width))
        };
        assert!(of(200.0) > 1.5 * of(8.0));
    }

    #[test]
    fn a_nested_loop_costs_its_pairs() {
        assert!(time(JoinMode::NestedLoop, 1e4, 1e4) > 10.0 * time(JoinMode::Collect, 1e4, 1e4));
    }
}
