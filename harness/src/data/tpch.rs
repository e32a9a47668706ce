//! The eight tables of TPC-H.

use arrow::record_batch::RecordBatchReader;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use super::Recipe;

/// Of each table, the columns with spaces between them (TPC-H 3.0.1, 1.4.2).
pub(super) const PRIMARY_KEYS: [(&str, &str); 8] = [
    ("region", "r_regionkey"),
    ("nation", "n_nationkey"),
    ("supplier", "s_suppkey"),
    ("customer", "c_custkey"),
    ("part", "p_partkey"),
    ("partsupp", "ps_partkey ps_suppkey"),
    ("orders", "o_orderkey"),
    ("lineitem", "l_orderkey l_linenumber"),
];

/// How to make each table at a scale factor.
pub(super) fn recipes(scale: f64) -> Vec<Recipe> {
    fn recipe<R: RecordBatchReader + 'static>(
        table: &'static str,
        expected_rows: i64,
        make: impl FnOnce() -> R + Send + 'static,
    ) -> Recipe {
        Recipe {
            table,
            expected_rows: expected_rows.max(0) as u64,
            make: Box::new(move || Box::new(make())),
        }
    }
    let orders = OrderGenerator::calculate_row_count(scale, 1, 1);
    let parts = PartGenerator::calculate_row_count(scale, 1, 1);
    vec![
        recipe("region", 5, move || {
            RegionArrow::new(RegionGenerator::new(scale, 1, 1))
        }),
        recipe("nation", 25, move || {
            NationArrow::new(NationGenerator::new(scale, 1, 1))
        }),
        recipe(
            "supplier",
            SupplierGenerator::calculate_row_count(scale, 1, 1),
            move || SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)),
        ),
        recipe("part", parts, move || {
            PartArrow::new(PartGenerator::new(scale, 1, 1))
        }),
        recipe("partsupp", 4 * parts, move || {
            PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1))
        }),
        recipe(
            "customer",
            CustomerGenerator::calculate_row_count(scale, 1, 1),
            move || CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)),
        ),
        recipe("orders", orders, move || {
            OrderArrow::new(OrderGenerator::new(scale, 1, 1))
        }),
        // An order has one to seven lines.
        recipe("lineitem", 4 * orders, move || {
            LineItemArrow::new(LineItemGenerator::new(scale, 1, 1))
        }),
    ]
}
