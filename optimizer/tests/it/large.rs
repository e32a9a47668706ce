//! Regions of as many relations as a set holds, and of more: planned as one, with the same rows.

use crate::support::{absurd_ordering, optimized, rows, session, set, table};
use std::sync::Arc;

/// A query over `relations` relations, each joined with the one that `partner` names.
fn query(relations: usize, partner: impl Fn(usize) -> usize) -> String {
    let from: Vec<String> = (0..relations).map(|i| format!("t{} a{i}", i % 3)).collect();
    let conditions: Vec<String> = (1..relations)
        .map(|i| format!("a{}.k{} = a{i}.k0", partner(i), i % 2))
        .collect();
    format!(
        "SELECT count(*), sum(a{}.k1), min(a1.s) FROM {} WHERE {} AND a0.k2 + a1.k2 + a2.k2 < 100",
        relations - 1,
        from.join(", "),
        conditions.join(" AND ")
    )
}

/// Tables of several sizes whose keys meet once, so that joins of many of them stay small.
fn tables() -> Vec<Arc<datafusion::datasource::MemTable>> {
    (0..3)
        .map(|i| {
            let mut rows = vec![
                [Some(1), Some(1), Some(i)],
                [Some(2 + i), Some(2 + i), None],
                [None, Some(1), Some(i)],
            ];
            rows.extend((0..20 * (2 - i)).map(|k| [Some(100 * (i + 1) + k), Some(-k), None]));
            table(&rows)
        })
        .collect()
}

async fn check(relations: usize, partner: impl Fn(usize) -> usize) {
    let sql = query(relations, partner);
    let expected = rows(&session(&tables(), None), &sql).await;
    let expected = expected.expect("a valid query");
    for estimator in ["textbook", "absurd"] {
        let (ordering, log) = absurd_ordering(1);
        let context = session(&tables(), Some(ordering));
        set(&context, "estimator", estimator);
        set(&context, "min_gain", "0");
        let got = rows(&context, &sql).await.expect("a valid plan");
        assert_eq!(got, expected, "{estimator}: {sql}");
        let traces = log.take();
        assert_eq!(traces.len(), 1);
        assert_eq!(traces[0].relations.len(), relations);
        let reordered = traces[0].reordered || estimator == "absurd";
        assert!(reordered, "{}", traces[0].stop);
    }
}

#[tokio::test]
async fn chains_of_64_and_65() {
    check(64, |i| i - 1).await;
    check(65, |i| i - 1).await;
}

#[tokio::test]
async fn stars_of_64_and_100() {
    check(64, |_| 0).await;
    check(100, |_| 0).await;
}

#[tokio::test]
async fn two_hundred_relations_are_planned() {
    let (ordering, log) = absurd_ordering(1);
    let context = session(&tables(), Some(ordering));
    let sql = query(200, |i| i / 2);
    let plan = optimized(&context, &sql).await.expect("a valid query");
    let scans = plan.display_indent().to_string();
    assert_eq!(scans.matches("TableScan").count(), 200);
    let traces = log.take();
    let sizes: Vec<usize> = traces.iter().map(|t| t.relations.len()).collect();
    assert_eq!(sizes, [200]);
}

#[tokio::test]
async fn a_hint_holds_for_many_relations() {
    let (ordering, log) = absurd_ordering(1);
    let context = session(&tables(), Some(ordering));
    set(&context, "join_hint", "(a70 a69)");
    let sql = query(80, |i| i - 1);
    optimized(&context, &sql).await.expect("a valid query");
    let tree = format!("{:?}", log.take()[0].tree);
    let (at, other) = (tree.find("\"a70\""), tree.find("\"a69\""));
    let between = &tree[at.expect("a leaf")..other.expect("a leaf")];
    assert_eq!(between.matches("alias").count(), 1, "{between}");
}
