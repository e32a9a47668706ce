//! Dynamic filters stay with their columns, whatever the order of the joins.

use crate::support::{rows, set};
use crate::tables::{Tables, physical};
use datafusion::physical_plan::displayable;

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

    // An aggregate has its groups elsewhere than its input has them, and hands down what is on them.
    set(&context, "join_hint", "");
    let sql = "SELECT name, tb.ref, max(tb.k) AS m FROM dim, tb WHERE dim.k = tb.k GROUP BY tb.ref, name ORDER BY tb.ref LIMIT 3";
    let plan = physical(&context, sql).await;
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!plan.contains("LocalLimitExec"), "{plan}");

    // What one minimum has seen says nothing of the other column.
    set(&context, "join_hint", "((ta tb) dim)");
    for (end, fenced) in [
        ("", true),
        (" ORDER BY tb.k LIMIT 3", true),
        (" ORDER BY name LIMIT 3", false),
    ] {
        let columns = if end.is_empty() {
            "min(ta.k), min(tb.k)"
        } else {
            "ta.k, tb.k, name"
        };
        let sql =
            format!("SELECT {columns} FROM dim, ta, tb WHERE dim.k = tb.k AND ta.id = tb.ref{end}");
        let plan = physical(&context, &sql).await;
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        assert_eq!(plan.contains("LocalLimitExec"), fenced, "{plan}");
        if end.is_empty() {
            let expected = rows(&alone, &sql).await.expect("a valid query");
            assert_eq!(rows(&context, &sql).await.expect("a valid query"), expected);
        }
    }
}
