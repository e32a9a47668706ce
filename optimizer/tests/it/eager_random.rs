//! Random aggregates above random joins: the same rows and the same schema with every aggregate that can be computed in part below
//! its joins computed there, at places that absurd estimates choose.

use crate::random_queries::{Query, cases, small_table};
use crate::support::{absurd_ordering, aggregated, session, set, table, without_known_faults};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use std::sync::Arc;

/// A session that computes aggregates below joins wherever it can, at places that absurd estimates choose.
fn forced(tables: &[Arc<MemTable>], seed: u64) -> SessionContext {
    let (ordering, _) = absurd_ordering(seed);
    let context = session(tables, Some(ordering));
    set(&context, "estimator", "absurd");
    set(&context, "eager_min_rows", "0");
    // In the order of the text, and in another.
    set(&context, "enabled", &seed.is_multiple_of(2).to_string());
    context
}

/// Places that each query is run with.
const PLACES: u64 = 3;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_aggregate_below_joins_returns_the_same_rows(
        tables in prop::collection::vec(small_table(), 4),
        seed: u64,
    ) {
        let tables: Vec<_> = tables.iter().map(|rows| table(rows)).collect();
        let sql = Query::new(seed).sql();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let Ok((expected, _)) = aggregated(&session(&tables, None), &sql).await else {
                // What DataFusion itself refuses is no case.
                return Ok(());
            };
            for place in 0..PLACES {
                let got = aggregated(&forced(&tables, seed.wrapping_add(place)), &sql).await;
                let (got, _) = got.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                if got == expected {
                    continue;
                }
                // DataFusion errs where it merges joins of which one finds NULL equal to NULL.
                let right = aggregated(&without_known_faults(&tables), &sql).await;
                let (right, _) = right.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                prop_assert_eq!(&got, &right, "place {}: {}", place, sql);
            }
            Ok(())
        })?;
    }
}

/// The property above would hold of a rule that does nothing. This one does something.
#[tokio::test]
async fn random_aggregates_are_computed_below_joins() {
    let tables: Vec<_> = (0..4)
        .map(|i| table(&[[Some(i), Some(1), None]; 3]))
        .collect();
    let (mut queries, mut pushed) = (0, 0);
    for seed in 0..80 {
        let sql = Query::new(seed).sql();
        if let Ok((_, without)) = aggregated(&session(&tables, None), &sql).await {
            let (_, with) = aggregated(&forced(&tables, seed), &sql)
                .await
                .expect("a valid query");
            queries += 1;
            pushed += usize::from(with > without);
        }
    }
    assert!(
        queries > 60 && pushed * 5 > queries * 2,
        "{pushed} of {queries} queries"
    );
}
