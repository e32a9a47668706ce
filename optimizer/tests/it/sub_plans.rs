//! The estimates of sub-plans that are no tables: groups, windows, subqueries, and joins of these, against counts.

use crate::joinwright::{Analyzed, random};
use crate::support;

/// Orders of ten lines each: the order, its day, and a number of the line.
const ORDERS: i32 = 10_000;
/// Days that there are, of which orders have only a fifth.
const DAYS: i32 = 5_000;

/// Lines of orders, and days with their months and weekdays.
async fn orders() -> Analyzed {
    let mut random = random(11);
    let day = |order: i32| 2_000 + (order.wrapping_mul(7_919) % 1_000).abs();
    let lines = (0..ORDERS * 10).map(|line| {
        let order = line / 10;
        [Some(order), Some(day(order)), Some(random(1_000) as i32)]
    });
    let days = (0..DAYS).map(|day| [Some(day), Some(day / 30), Some(day % 7)]);
    let lines = support::table(&lines.collect::<Vec<_>>());
    let days = support::table(&days.collect::<Vec<_>>());
    Analyzed::new(&[lines, days]).await
}

/// Fails if the estimate of a query's plan is more than `most` times above or below its rows.
async fn check(analyzed: &Analyzed, sql: &str, most: f64) {
    let (truth, estimate) = analyzed.look_at_plan(sql).await;
    let (truth, rows) = (truth.max(1.0), estimate.max(1.0));
    let error = (truth / rows).max(rows / truth);
    assert!(error <= most, "{estimate} for {truth} rows: {sql}");
}

#[tokio::test]
async fn groups_are_left_or_taken_with_all_of_their_rows() {
    let orders = orders().await;
    // Lines drawn at random would leave six times as many orders.
    let joined = "FROM t0, t1 WHERE t0.k1 = t1.k0 AND t1.k2 = 3";
    check(
        &orders,
        &format!("SELECT t0.k0 {joined} GROUP BY t0.k0"),
        1.5,
    )
    .await;
    let pairs = format!("SELECT DISTINCT t0.k0, t0.k1 {joined}");
    check(&orders, &pairs, 1.5).await;
    let has_order = "SELECT * FROM t1 WHERE k0 IN (SELECT k1 FROM t0 WHERE k0 < 100)";
    check(&orders, has_order, 1.5).await;
    // Numbers of lines have nothing to do with their order: here the formula is right.
    check(&orders, "SELECT k0 FROM t0 WHERE k2 < 100 GROUP BY k0", 1.5).await;
}

#[tokio::test]
async fn groups_are_those_within_the_bounds_of_the_other_side() {
    let orders = orders().await;
    let months = "SELECT t1.k1 FROM t0, t1 WHERE t0.k1 = t1.k0 GROUP BY t1.k1";
    check(&orders, months, 1.2).await;
    let counted = months.replace("t1.k1 FROM", "t1.k1, count(*) FROM");
    check(&orders, &counted, 1.2).await;
}

#[tokio::test]
async fn constants_come_from_rows_that_are_known() {
    let orders = orders().await;
    let month = "(SELECT DISTINCT k1 + 1 FROM t1 WHERE k0 = 2400)";
    let lines = format!("SELECT t0.* FROM t0, t1 WHERE t0.k1 = t1.k0 AND t1.k1 = {month}");
    check(&orders, &lines, 1.3).await;
}

#[tokio::test]
async fn sub_plans_meet_in_the_domain_of_their_keys() {
    let orders = orders().await;
    let some =
        |number: i32| format!("(SELECT k0, count(*) c FROM t0 WHERE k2 < {number} GROUP BY k0)");
    let both = format!(
        "SELECT * FROM {} a, {} b WHERE a.k0 = b.k0",
        some(20),
        "(SELECT k0, count(*) c FROM t0 WHERE k2 >= 970 GROUP BY k0)"
    );
    // Containment would find all of the fewer ones.
    check(&orders, &both, 1.5).await;
    let neither = format!(
        "SELECT * FROM {} a WHERE k0 NOT IN (SELECT k0 FROM t0 WHERE k2 >= 990)",
        some(20)
    );
    check(&orders, &neither, 1.5).await;
}

#[tokio::test]
async fn places_in_a_partition_are_few() {
    let orders = orders().await;
    let ranked = "SELECT k0, row_number() OVER (PARTITION BY k0 ORDER BY k2) r FROM t0";
    check(
        &orders,
        &format!("SELECT * FROM ({ranked}) WHERE r <= 2"),
        1.5,
    )
    .await;
    let last =
        format!("SELECT * FROM ({ranked}) a, ({ranked}) b WHERE a.k0 = b.k0 AND a.r = b.r + 1");
    check(&orders, &last, 2.0).await;
}

#[tokio::test]
async fn sums_are_compared_by_their_distributions() {
    let orders = orders().await;
    let groups = "SELECT k0 FROM t0 GROUP BY k0 HAVING";
    // Days are about 2,500, numbers about 500.
    check(&orders, &format!("{groups} sum(k1) > 2 * sum(k2)"), 1.1).await;
    check(&orders, &format!("{groups} sum(k1) + 0 < 5 * sum(k2)"), 2.0).await;
    let (truth, estimate) = orders
        .look_at_plan(&format!("{groups} sum(k1) < sum(k2)"))
        .await;
    assert!(truth == 0.0 && estimate < 50.0, "{estimate}");
}

#[tokio::test]
async fn predicates_across_tables_are_asked_of_pairs_that_pass_alone() {
    let orders = orders().await;
    let both = "SELECT t0.* FROM t0, t1 WHERE t0.k1 = t1.k0 AND (t0.k2 < 10 AND t1.k2 = 1 OR t0.k2 >= 990 AND t1.k2 = 2)";
    check(&orders, both, 2.0).await;
}
