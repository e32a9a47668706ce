//! C_out: Cluet & Moerkotte, ICDT 1995. The sum of the rows of all intermediate results.
//!
//! It knows no engine, has no constant to fit, and ranks plans well as long as every join is a hash
//! join: each intermediate row is produced once and consumed once. A join without a key is not a
//! hash join: the engine forms the product and filters it, so the product is the intermediate
//! result that counts.

use super::{CostModel, JoinRows};

/// The sum of the rows of all joins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cout;

impl CostModel for Cout {
    fn name(&self) -> &str {
        "cout"
    }

    fn join_cost(&self, rows: JoinRows) -> f64 {
        if rows.keyed {
            rows.output
        } else {
            rows.output.max(rows.left * rows.right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_without_key_costs_its_product() {
        let rows = JoinRows {
            left: 10.0,
            right: 20.0,
            output: 5.0,
            keyed: true,
            ..JoinRows::default()
        };
        assert_eq!(Cout.join_cost(rows), 5.0);
        assert_eq!(
            Cout.join_cost(JoinRows {
                keyed: false,
                ..rows
            }),
            200.0
        );
    }
}
