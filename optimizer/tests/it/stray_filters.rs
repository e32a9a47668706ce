//! Dynamic filters stay with their columns, whatever the order of the joins.

use crate::support::{rows, set};
use crate::tables::Tables;

/// `ta.k` begins where `tb.k` has long ended: a filter on the one leaves nothing of the other.
#[tokio::test]
async fn a_filter_on_one_column_does_not_reach_another_of_its_name() {
    let tables = Tables::new("stray filters");
    for (file, query) in [
        (
            "ta/1.parquet",
            "SELECT value AS id, value + 1000 AS k FROM generate_series(1, 1000)",
        ),
        (
            "tb/1.parquet",
            "SELECT value % 1000 + 1 AS ref, value % 10 AS k FROM generate_series(1, 5000)",
        ),
        (
            "dim/1.parquet",
            "SELECT value AS k, concat('n', value) AS name FROM generate_series(0, 2)",
        ),
    ] {
        tables.write(file, query).await;
    }
    let names = ["dim", "ta", "tb"];
    let catalog = tables.analyzed(&names).await;
    let sql = "SELECT count(*), min(ta.k), max(ta.k), min(name) FROM dim, ta, tb \
        WHERE dim.k = tb.k AND ta.id = tb.ref";
    let alone = tables.session(&names, None).await;
    let expected = rows(&alone, sql).await.expect("a valid query");
    let context = tables.session(&names, Some(&catalog)).await;
    for eager in ["false", "true"] {
        set(&context, "eager_aggregation", eager);
        for hint in [
            "(dim (ta tb))",
            "(dim (tb ta))",
            "((dim tb) ta)",
            "((ta tb) dim)",
        ] {
            set(&context, "join_hint", hint);
            let got = rows(&context, sql).await.expect("a valid query");
            assert_eq!(got, expected, "{hint}");
        }
    }
}
