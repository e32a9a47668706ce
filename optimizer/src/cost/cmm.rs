//! C_mm: the main-memory cost function of Leis et al., "How Good Are Query Optimizers, Really?" (PVLDB 2015), without
//! its index joins, which DataFusion has not.
//!
//! A scan costs a fifth of its rows. A hash join costs its output and the input that it builds; looking up the other one
//! is part of what made it. Scans are the same in every plan, and are left out.

use super::{CostModel, JoinRows};

/// Output and build side of every join.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cmm;

impl CostModel for Cmm {
    fn name(&self) -> &str {
        "cmm"
    }

    fn join_cost(&self, rows: JoinRows) -> f64 {
        if rows.keyed {
            rows.output + rows.left
        } else {
            rows.output.max(rows.left * rows.right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_side_counts() {
        let rows = JoinRows {
            left: 10.0,
            right: 20.0,
            output: 5.0,
            keyed: true,
            ..JoinRows::default()
        };
        assert_eq!(Cmm.join_cost(rows), 15.0);
        let product = Cmm.join_cost(JoinRows {
            keyed: false,
            ..rows
        });
        assert_eq!(product, 200.0);
    }
}
