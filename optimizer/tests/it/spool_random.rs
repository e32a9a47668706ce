//! Random queries that name their common table expressions more than once: the same rows with every copy read from a spool.

use crate::random_queries::{Query, cases, small_table};
use crate::support::{absurd_ordering, rows, session, set, table, without_known_faults};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::displayable;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use std::sync::Arc;

/// A session that shares whatever it can, between joins in an order that absurd estimates choose.
fn forced(tables: &[Arc<MemTable>], seed: u64) -> SessionContext {
    let (ordering, _) = absurd_ordering(seed);
    let context = session(tables, Some(ordering));
    set(&context, "spool_min_rows", "0");
    if seed.is_multiple_of(2) {
        set(&context, "estimator", "absurd");
        set(&context, "require_statistics", "false");
        set(&context, "eager_min_rows", "0");
    }
    context
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_copies_read_from_spools_return_the_same_rows(
        tables in prop::collection::vec(small_table(), 4),
        seed: u64,
    ) {
        let tables: Vec<_> = tables.iter().map(|rows| table(rows)).collect();
        let sql = Query::new(seed).sql_with_common();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let Ok(expected) = rows(&session(&tables, None), &sql).await else {
                // What DataFusion itself refuses is no case.
                return Ok(());
            };
            for place in 0..2 {
                let got = rows(&forced(&tables, seed.wrapping_add(place)), &sql).await;
                let got = got.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                if got == expected {
                    continue;
                }
                // DataFusion errs where it merges joins of which one finds NULL equal to NULL.
                let right = rows(&without_known_faults(&tables), &sql).await;
                let right = right.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                prop_assert_eq!(&got, &right, "place {}: {}", place, sql);
            }
            Ok(())
        })?;
    }
}

/// The property above would hold of a rule that does nothing. This one does something.
#[tokio::test]
async fn random_copies_are_shared() {
    let tables: Vec<_> = (0..4)
        .map(|i| table(&[[Some(i), Some(1), None]; 3]))
        .collect();
    let (mut queries, mut shared) = (0, 0);
    for seed in 0..80 {
        let sql = Query::new(seed).sql_with_common();
        let Ok(planned) = forced(&tables, seed).sql(&sql).await else {
            continue;
        };
        let plan = planned.create_physical_plan().await.expect("a valid query");
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        queries += 1;
        shared += usize::from(plan.contains("readers="));
    }
    assert!(
        queries > 40 && 5 * shared > queries,
        "{shared} of {queries}"
    );
}
