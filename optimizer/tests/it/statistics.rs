//! What queries tell about keys, and statistics of tables that are no files.

use crate::support;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use joinwright_optimizer::{
    JoinOrdering, JoinwrightOptions, analyze_provider, join_columns, observe,
};
use joinwright_stats::{AnalyzeOptions, Catalog, provider_key};
use std::sync::Arc;

fn context() -> SessionContext {
    let rows = |count: i32| -> Vec<[Option<i32>; 3]> {
        (0..count).map(|i| [Some(i), Some(i % 10), None]).collect()
    };
    let tables = [
        support::table(&rows(100)),
        support::table(&rows(1000)),
        support::table(&rows(5)),
    ];
    support::session(&tables, None)
}

#[tokio::test]
async fn columns_of_equalities_between_tables() {
    let context = context();
    let check = async |sql: &str, expected: &[&str]| {
        let plan = context.state().create_logical_plan(sql).await.unwrap();
        let found: Vec<_> = join_columns(&plan)
            .iter()
            .map(|(t, c)| format!("{t}.{c}"))
            .collect();
        assert_eq!(found, expected, "{sql}");
    };
    check(
        "SELECT * FROM t0, t1 x WHERE t0.k0 = x.k1 AND t0.k2 = 3",
        &["t0.k0", "t1.k1"],
    )
    .await;
    check("SELECT * FROM t0 JOIN t1 USING (k1)", &["t0.k1", "t1.k1"]).await;
    check(
        "SELECT * FROM t0 a, t0 b WHERE a.k0 = b.k1 AND a.k0 = a.k2",
        &["t0.k0", "t0.k1"],
    )
    .await;
    check(
        "SELECT * FROM t0 WHERE EXISTS (SELECT 1 FROM t1 WHERE t1.k1 = t0.k0)",
        &["t0.k0", "t1.k1"],
    )
    .await;
    check(
        "SELECT * FROM t0 LEFT JOIN t1 ON CAST(t0.k0 AS BIGINT) = t1.k0 AND t1.k1 < t0.k1",
        &["t0.k0", "t1.k0"],
    )
    .await;
    check(
        "SELECT * FROM t0, (SELECT k0 + 1 AS n FROM t1) x WHERE t0.k0 = x.n",
        &["t0.k0"],
    )
    .await;
    check("SELECT 1", &[]).await;
}

#[tokio::test]
async fn tables_in_memory_are_analyzed_and_found_by_name() {
    let catalog = Arc::new(Catalog::in_memory());
    let context = context();
    let options = AnalyzeOptions::default();
    for name in ["t0", "t1"] {
        let provider = context.table_provider(name).await.unwrap();
        let state = context.state();
        for expected in [(1, 0), (0, 1)] {
            let done = analyze_provider(
                &catalog,
                name,
                "1",
                provider.as_ref(),
                &state,
                &options,
                &(),
            );
            let done = done.await.unwrap();
            assert_eq!((done.scanned, done.cached), expected);
        }
    }
    let stats = catalog.snapshot().table(&[provider_key("t1")]).unwrap();
    assert_eq!(stats.column("k1").unwrap().ndv, Some(10.0));
    let estimate = |plan: &LogicalPlan| {
        let options = JoinwrightOptions::default();
        let regions = observe(
            plan,
            &catalog.snapshot(),
            &JoinOrdering::default(),
            &options,
        );
        regions[0]
            .relations
            .iter()
            .map(|r| (r.alias.clone(), r.est_rows, r.stale))
            .collect::<Vec<_>>()
    };
    let plan = context
        .state()
        .create_logical_plan("SELECT * FROM t0 JOIN t1 ON t0.k0 = t1.k0 WHERE t1.k1 = 4")
        .await;
    let plan = context.state().optimize(&plan.unwrap()).unwrap();
    // A tenth of the rows: the sketches are used.
    assert_eq!(
        estimate(&plan),
        [
            ("t0".to_owned(), 100.0, false),
            ("t1".to_owned(), 100.0, false)
        ]
    );
}
