//! What the work of a Parquet scan costs, with its filters after decoding or while it decodes.
//!
//! A plain scan decodes all columns of all rows, and a filter above evaluates the predicates. A late one decodes the columns of one
//! predicate after the other, for the rows that passed so far, then the keys that joins look for, and the other columns for the
//! rows that are left. Rows that are left out are not free: their pages are decompressed, and each change between rows that
//! are read and rows that are not has its price. (DataFusion's `execution.parquet.pushdown_filters`; late materialization in Abadi et al., ICDE 2007.)

use super::fit::dot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many constants a scan has.
pub const SCAN_STEPS: usize = 8;

/// What the steps of a scan cost, in nanoseconds of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanConstants {
    /// To decode a value.
    pub decode_value: f64,
    /// To decode a byte of a value.
    pub decode_byte: f64,
    /// To evaluate one conjunct on a row that is decoded.
    pub conjunct: f64,
    /// To evaluate one conjunct on a row while it is decoded, and keep its outcome.
    pub late_conjunct: f64,
    /// To look up a row's key among those of a build side.
    pub lookup: f64,
    /// To step over a value that is not wanted.
    pub skip_value: f64,
    /// To step over a byte of it.
    pub skip_byte: f64,
    /// To change from stepping over values to decoding them, or back.
    pub switch: f64,
}

impl Default for ScanConstants {
    /// Those of the project's own calibration, which is kept with its measurements in `calibration/`.
    fn default() -> Self {
        Self {
            decode_value: 0.49,
            decode_byte: 0.682,
            conjunct: 0.0,
            late_conjunct: 2.22,
            lookup: 13.3,
            skip_value: 0.0,
            skip_byte: 0.401,
            switch: 20.7,
        }
    }
}

impl ScanConstants {
    /// In the order of the steps of [`ScanWork`].
    pub fn to_array(self) -> [f64; SCAN_STEPS] {
        [
            self.decode_value,
            self.decode_byte,
            self.conjunct,
            self.late_conjunct,
            self.lookup,
            self.skip_value,
            self.skip_byte,
            self.switch,
        ]
    }

    /// From the order of the steps of [`ScanWork`].
    pub fn from_array(constants: [f64; SCAN_STEPS]) -> Self {
        let [
            decode_value,
            decode_byte,
            conjunct,
            late_conjunct,
            lookup,
            skip_value,
            skip_byte,
            switch,
        ] = constants;
        Self {
            decode_value,
            decode_byte,
            conjunct,
            late_conjunct,
            lookup,
            skip_value,
            skip_byte,
            switch,
        }
    }

    /// The nanoseconds of steps.
    pub fn time(self, steps: &[f64; SCAN_STEPS]) -> f64 {
        dot(&self.to_array(), steps)
    }
}

/// A condition on the rows of a scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanFilter {
    /// The columns it needs, by their place among those of the scan.
    pub columns: Vec<usize>,
    /// The share of the rows that pass it, of those that passed the ones before.
    pub keep: f64,
    /// Nanoseconds for each row that it is evaluated on, beyond what any condition takes.
    pub row_cost: f64,
}

/// In which order a scan that filters while it decodes does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LateOrder {
    /// The predicates as they are written, then the keys of joins.
    Written,
    /// Those first that need the fewest bytes.
    SmallestFirst,
}

/// A scan and the filters right above it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanWork {
    /// Rows before any filter.
    pub rows: f64,
    /// Bytes of a value of each column; of text, those in the file before compression.
    pub widths: Vec<f64>,
    /// The predicates, in the order in which they are evaluated.
    pub conjuncts: Vec<ScanFilter>,
    /// Build sides of joins above, whose keys rows have to be among.
    pub keys: Vec<ScanFilter>,
}

impl ScanWork {
    /// The steps where all is decoded first.
    pub fn plain(&self) -> [f64; SCAN_STEPS] {
        let bytes: f64 = self.widths.iter().sum();
        let values = self.rows * self.widths.len() as f64;
        let conjuncts = self.rows * self.conjuncts.len() as f64;
        let decoded = [values, self.rows * bytes, conjuncts];
        let mut steps = [0.0; SCAN_STEPS];
        steps[..decoded.len()].copy_from_slice(&decoded);
        steps
    }

    /// Nanoseconds that dear predicates take where all is decoded first.
    pub fn plain_predicates(&self) -> f64 {
        let mut passing = self.rows;
        let costs = self.conjuncts.iter().map(|conjunct| {
            let cost = passing * conjunct.row_cost;
            passing *= conjunct.keep;
            cost
        });
        costs.sum()
    }

    /// The steps where filters decide what is decoded, and the nanoseconds that dear predicates take.
    pub fn late(&self, order: LateOrder) -> ([f64; SCAN_STEPS], f64) {
        let mut steps = [0.0; SCAN_STEPS];
        let mut predicates = 0.0;
        let mut decoded = BTreeSet::new();
        let mut passing = self.rows;
        let mut decode = |steps: &mut [f64; SCAN_STEPS], columns: &[usize], rows: f64| {
            for column in columns {
                let width = self.widths.get(*column);
                if let (Some(width), true) = (width, decoded.insert(*column)) {
                    steps[0] += rows;
                    steps[1] += rows * width;
                    steps[5] += self.rows - rows;
                    steps[6] += (self.rows - rows) * width;
                    // Of rows that pass by chance, each that follows on one that does not.
                    steps[7] += 2.0 * rows * (1.0 - rows / self.rows.max(1.0));
                }
            }
        };
        for (step, filter) in self.filters(order) {
            decode(&mut steps, &filter.columns, passing);
            steps[step] += passing;
            predicates += passing * filter.row_cost;
            passing *= filter.keep;
        }
        let all: Vec<usize> = (0..self.widths.len()).collect();
        decode(&mut steps, &all, passing);
        (steps, predicates)
    }

    /// Predicates and keys in an order, each with the step that it is.
    fn filters(&self, order: LateOrder) -> Vec<(usize, &ScanFilter)> {
        let conjuncts = self.conjuncts.iter().map(|conjunct| (3, conjunct));
        let mut filters: Vec<_> = conjuncts
            .chain(self.keys.iter().map(|key| (4, key)))
            .collect();
        if order == LateOrder::SmallestFirst {
            let bytes = |filter: &ScanFilter| -> f64 {
                let widths = filter.columns.iter();
                widths.filter_map(|column| self.widths.get(*column)).sum()
            };
            filters.sort_by(|(_, a), (_, b)| bytes(a).total_cmp(&bytes(b)));
        }
        filters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(keep: f64) -> ScanWork {
        ScanWork {
            rows: 1e6,
            widths: vec![8.0, 8.0, 24.0],
            conjuncts: vec![],
            keys: vec![ScanFilter {
                columns: vec![0],
                keep,
                row_cost: 0.0,
            }],
        }
    }

    #[test]
    fn late_decoding_saves_what_does_not_pass() {
        let constants = ScanConstants::default();
        let time = |steps| constants.time(&steps);
        let late = |keep| time(work(keep).late(LateOrder::Written).0);
        assert!(late(0.001) < late(0.5));
        assert!(late(1.0) > time(work(1.0).plain()));
        let (skipped, switches) = (1.5e6, 2.0 * 2.0 * 0.25e6 * 0.75);
        let steps = [1.5e6, 16e6, 0.0, 0.0, 1e6, skipped, 0.75e6 * 32.0, switches];
        assert_eq!(work(0.25).late(LateOrder::Written), (steps, 0.0));
    }

    #[test]
    fn a_column_is_decoded_once() {
        let mut twice = work(0.5);
        twice.conjuncts.push(ScanFilter {
            columns: vec![0],
            keep: 1.0,
            row_cost: 0.0,
        });
        let steps = |work: ScanWork| work.late(LateOrder::Written).0;
        let (once, twice) = (steps(work(0.5)), steps(twice));
        assert_eq!((twice[0], twice[3]), (once[0], 1e6));
    }

    #[test]
    fn dear_predicates_come_after_small_keys() {
        let mut dear = work(0.01);
        dear.conjuncts.push(ScanFilter {
            columns: vec![2],
            keep: 0.1,
            row_cost: 35.0,
        });
        assert_eq!(dear.plain_predicates(), 35e6);
        assert_eq!(dear.late(LateOrder::Written).1, 35e6);
        let (steps, predicates) = dear.late(LateOrder::SmallestFirst);
        assert_eq!((steps[3], steps[4], predicates), (1e4, 1e6, 35e4));
    }

    #[test]
    fn arrays_keep_the_order() {
        let constants = ScanConstants::default();
        assert_eq!(ScanConstants::from_array(constants.to_array()), constants);
    }
}
