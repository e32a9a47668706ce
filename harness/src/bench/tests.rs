//! The schedule with a runner that answers from a list.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::SortOptions;

use super::*;
use crate::compare::SortKey;
use crate::schedule::is_whole;

/// Answers from a list for each arm, the last answer again and again.
#[derive(Default)]
struct Mock {
    answers: HashMap<usize, Vec<Attempt>>,
    unlimited: Option<Table>,
    calls: Vec<usize>,
    unlimited_calls: usize,
}

impl Runner for Mock {
    async fn run(&mut self, arm: usize, _: &Query, _: bool) -> Attempt {
        let nth = self.calls.iter().filter(|&&other| other == arm).count();
        self.calls.push(arm);
        let answers = &self.answers[&arm];
        answers[nth.min(answers.len() - 1)].clone()
    }

    async fn without_limit(&mut self, _: usize, _: &Query) -> Option<Table> {
        self.unlimited_calls += 1;
        self.unlimited.clone()
    }
}

fn table(rows: &[(i64, i64)]) -> Table {
    let column = |part: fn(&(i64, i64)) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(part).collect::<Int64Array>())
    };
    let batch =
        RecordBatch::try_from_iter([("k", column(|r| r.0)), ("v", column(|r| r.1))]).unwrap();
    Table {
        schema: batch.schema(),
        batches: vec![batch],
    }
}

fn done(rows: &[(i64, i64)], shape: Shape) -> Attempt {
    let table = table(rows);
    Attempt::Done(Box::new(Done {
        planning_ms: 1.0,
        execution_ms: 2.0,
        rows: Rows {
            digest: Digest::of(&table).unwrap(),
            table: Some(table),
            foreign: false,
        },
        shape,
        fingerprint: "f".to_owned(),
        peak_memory_bytes: None,
        observed: None,
    }))
}

fn plain(rows: &[(i64, i64)]) -> Attempt {
    done(rows, Shape::default())
}

fn limited(rows: &[(i64, i64)], ordered: bool) -> Attempt {
    let key = SortKey {
        column: 0,
        options: SortOptions::default(),
    };
    let keys = if ordered { vec![key] } else { Vec::new() };
    let shape = Shape {
        ordered,
        keys,
        limited: true,
    };
    done(rows, shape)
}

fn schedule(runs: u32, seed: Option<u64>) -> Schedule {
    Schedule {
        warmup: 1,
        runs,
        cold: false,
        seed,
        timeout_ms: 60_000.0,
    }
}

async fn bench(mock: &mut Mock, runs: u32) -> Option<QueryRun> {
    let run = go_on(mock, runs, None, &[]).await;
    run.whole.then_some(run)
}

async fn go_on(mock: &mut Mock, runs: u32, seed: Option<u64>, known: &[Sample]) -> QueryRun {
    let query = Query {
        name: "q".to_owned(),
        ..Query::default()
    };
    let arms: Vec<String> = (0..mock.answers.len())
        .map(|arm| format!("arm{arm}"))
        .collect();
    let schedule = schedule(runs, seed);
    let run = bench_query(mock, &query, &arms, schedule, known)
        .await
        .unwrap();
    let all = [known, &run.samples].concat();
    assert_eq!(is_whole(&all, &arms, schedule), run.whole);
    run
}

fn mock(answers: Vec<Vec<Attempt>>) -> Mock {
    Mock {
        answers: answers.into_iter().enumerate().collect(),
        ..Mock::default()
    }
}

async fn check_agreement(first: Attempt, second: Attempt, unlimited: Option<Table>, label: &str) {
    let mut mock = mock(vec![vec![first], vec![second]]);
    mock.unlimited = unlimited;
    let run = bench(&mut mock, 2).await.unwrap();
    assert!(run.agreements[0] <= Some(Agreement::SameByHash));
    assert_eq!(run.agreements[1].as_ref().unwrap().label(), label);
    assert!(
        mock.unlimited_calls <= 1,
        "the whole result is fetched once"
    );
    for sample in &run.samples {
        let wrong = sample.arm == "arm1" && label == "NO";
        assert_eq!(sample.status == Status::Wrong, wrong, "{sample:?}");
    }
}

#[tokio::test]
async fn each_round_starts_with_another_arm() {
    let same = || vec![plain(&[(1, 1)])];
    let mut mock = mock(vec![same(), same(), same()]);
    let run = bench(&mut mock, 3).await.unwrap();
    assert_eq!(mock.calls, [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]);
    let numbers: Vec<_> = run
        .samples
        .iter()
        .filter(|sample| sample.arm == "arm0")
        .map(|sample| (sample.warmup, sample.run))
        .collect();
    assert_eq!(numbers, [(true, 1), (false, 1), (false, 2), (false, 3)]);
}

#[tokio::test]
async fn failures_are_rows_and_end_their_arm_alone() {
    let rows = plain(&[(1, 1)]);
    let mut mock = mock(vec![
        vec![rows.clone(), Attempt::TimedOut],
        vec![Attempt::Failed("no memory".to_owned())],
        vec![rows],
    ]);
    let run = bench(&mut mock, 2).await.unwrap();
    let of = |arm: &str| -> Vec<Status> {
        let samples = run.samples.iter().filter(|sample| sample.arm == arm);
        samples.map(|sample| sample.status).collect()
    };
    // What is not tried after a timeout would have been as long at least.
    assert_eq!(of("arm0"), [Status::Ok, Status::Timeout, Status::Timeout]);
    let censored = run.samples.iter().filter(|s| s.status == Status::Timeout);
    assert!(
        censored
            .clone()
            .all(|s| s.total_ms == Some(60_000.0) && s.execution_ms.is_none())
    );
    assert!(censored.clone().next_back().unwrap().error.as_deref() == Some(NOT_RUN));
    assert_eq!(of("arm1"), [Status::Error]);
    assert_eq!(of("arm2"), [Status::Ok, Status::Ok, Status::Ok]);
    let error = run
        .samples
        .iter()
        .filter(|sample| sample.arm == "arm1")
        .find_map(|sample| sample.error.as_deref());
    assert_eq!(error, Some("no memory"));
    assert_eq!(run.agreements[1], None);
    assert_eq!(run.agreements[2], Some(Agreement::Same));
}

#[tokio::test]
async fn another_arm_is_the_reference_if_the_first_fails() {
    let mut mock = mock(vec![
        vec![Attempt::Failed("broken".to_owned())],
        vec![plain(&[(1, 1)])],
        vec![plain(&[(1, 2)])],
    ]);
    let run = bench(&mut mock, 1).await.unwrap();
    assert_eq!(run.agreements[1], Some(Agreement::Same));
    assert!(matches!(run.agreements[2], Some(Agreement::Different(_))));
}

#[tokio::test]
async fn a_later_run_may_not_differ_either() {
    let right = plain(&[(1, 1)]);
    let mut mock = mock(vec![
        vec![right.clone()],
        vec![right.clone(), plain(&[(1, 7)]), right],
    ]);
    let run = bench(&mut mock, 2).await.unwrap();
    assert!(matches!(run.agreements[1], Some(Agreement::Different(_))));
    let wrong: Vec<_> = run
        .samples
        .iter()
        .filter(|sample| sample.status == Status::Wrong)
        .collect();
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0]
            .error
            .as_deref()
            .unwrap()
            .contains("missing row: 1 | 1")
    );
}

/// A timeout in the warm-up has rows that count.
#[tokio::test]
async fn timeouts_are_censored_rows() {
    let mut mock = mock(vec![vec![plain(&[(1, 1)])], vec![Attempt::TimedOut]]);
    let run = bench(&mut mock, 3).await.unwrap();
    let slow: Vec<_> = run
        .samples
        .iter()
        .filter(|sample| sample.arm == "arm1")
        .map(|sample| (sample.warmup, sample.run, sample.total_ms))
        .collect();
    let limit = Some(60_000.0);
    let runs = (1..=3).map(|run| (false, run, limit));
    assert_eq!(
        slow,
        [(true, 1, limit)]
            .into_iter()
            .chain(runs)
            .collect::<Vec<_>>()
    );
    assert_eq!(mock.calls.iter().filter(|&&arm| arm == 1).count(), 1);
}

#[tokio::test]
async fn what_an_interruption_leaves_is_not_run_again() {
    let rows = || plain(&[(1, 1)]);
    let mut interrupted = mock(vec![vec![rows()], vec![rows(), Attempt::Interrupted]]);
    let first = go_on(&mut interrupted, 2, None, &[]).await;
    assert!(!first.whole);
    // Both warm up, and the second arm begins the next round.
    assert_eq!(first.samples.len(), 2);
    let mut again = mock(vec![vec![rows()], vec![rows(), plain(&[(1, 2)])]]);
    let rest = go_on(&mut again, 2, None, &first.samples).await;
    assert!(rest.whole);
    assert_eq!(rest.samples.len(), 4);
    assert!(rest.samples.iter().all(|sample| !sample.warmup));
    // Once each without a sample, then what is missing.
    assert_eq!(again.calls, [0, 1, 1, 0, 0, 1]);
    assert_eq!(rest.agreements[0], Some(Agreement::Same));
    assert!(matches!(rest.agreements[1], Some(Agreement::Different(_))));
    // Nothing is missing any more.
    let all = [first.samples, rest.samples].concat();
    let mut none = mock(vec![vec![rows()], vec![rows()]]);
    let nothing = go_on(&mut none, 2, None, &all).await;
    assert!(nothing.whole && nothing.samples.is_empty());
    assert!(matches!(
        nothing.agreements[1],
        Some(Agreement::Different(_))
    ));
}

#[tokio::test]
async fn another_system_is_held_to_the_number() {
    let foreign = |rows: &[(i64, i64)]| {
        let Attempt::Done(mut done) = plain(rows) else {
            unreachable!("plain rows are done");
        };
        done.rows.foreign = true;
        done.rows.table = None;
        Attempt::Done(done)
    };
    let own = plain(&[(1, 1)]);
    check_agreement(own.clone(), foreign(&[(7, 7)]), None, "yes (by number)").await;
    check_agreement(own.clone(), foreign(&[]), None, "NO").await;
    // It is never what others are held to.
    let mut mock = mock(vec![vec![foreign(&[])], vec![own]]);
    let run = bench(&mut mock, 2).await.unwrap();
    assert_eq!(run.agreements[1], Some(Agreement::Same));
    assert!(matches!(run.agreements[0], Some(Agreement::Different(_))));
    // It may come first, and is judged as soon as there is something to hold it to.
    let foreign = foreign(&[(7, 7)]);
    let (seed, _) = (0..)
        .map(|seed| (seed, schedule(1, Some(seed)).arms("q", 2)))
        .find(|(_, order)| order[0] == 1)
        .unwrap();
    let mut first = self::mock(vec![vec![plain(&[(1, 1)])], vec![foreign.clone()]]);
    let run = go_on(&mut first, 2, Some(seed), &[]).await;
    assert_eq!(first.calls[0], 1);
    assert_eq!(run.agreements[1], Some(Agreement::SameByNumber));
    let mut alone = self::mock(vec![vec![Attempt::Failed(String::new())], vec![foreign]]);
    let run = bench(&mut alone, 1).await.unwrap();
    assert_eq!(run.agreements[1], Some(Agreement::Alone));
}

#[tokio::test]
async fn rows_are_a_multiset() {
    let rows = plain(&[(1, 1), (2, 2)]);
    check_agreement(rows.clone(), plain(&[(2, 2), (1, 1)]), None, "yes").await;
    check_agreement(rows.clone(), plain(&[(2, 2)]), None, "NO").await;
    check_agreement(rows, plain(&[(2, 2), (2, 2)]), None, "NO").await;
}

#[tokio::test]
async fn order_is_part_of_the_answer() {
    let sorted = |rows: &[(i64, i64)]| {
        let Attempt::Done(mut done) = limited(rows, true) else {
            unreachable!("limited rows are done");
        };
        done.shape.limited = false;
        Attempt::Done(done)
    };
    let first = sorted(&[(1, 5), (1, 3), (2, 0)]);
    check_agreement(
        first.clone(),
        sorted(&[(1, 3), (1, 5), (2, 0)]),
        None,
        "yes",
    )
    .await;
    check_agreement(first, sorted(&[(1, 5), (2, 0), (1, 3)]), None, "NO").await;
}

#[tokio::test]
async fn limits_may_choose_among_ties_only() {
    let whole = || Some(table(&[(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)]));
    let first = limited(&[(1, 1), (2, 1)], true);
    let second = |rows: &[(i64, i64)]| limited(rows, true);
    check_agreement(
        first.clone(),
        second(&[(1, 1), (2, 3)]),
        whole(),
        "yes (ties)",
    )
    .await;
    check_agreement(first.clone(), second(&[(1, 1), (2, 9)]), whole(), "NO").await;
    check_agreement(first.clone(), second(&[(1, 1), (3, 1)]), whole(), "NO").await;
    check_agreement(first.clone(), second(&[(1, 7), (2, 1)]), whole(), "NO").await;
    check_agreement(
        first.clone(),
        second(&[(1, 1), (2, 3)]),
        None,
        "unknown (limit)",
    )
    .await;
    check_agreement(first, second(&[(1, 1), (2, 1)]), None, "yes").await;
}

#[tokio::test]
async fn unordered_limits_choose_freely() {
    let whole = || Some(table(&[(1, 1), (2, 1), (2, 2)]));
    let first = limited(&[(1, 1)], false);
    let second = |rows: &[(i64, i64)]| limited(rows, false);
    check_agreement(
        first.clone(),
        second(&[(2, 2)]),
        whole(),
        "yes (unordered limit)",
    )
    .await;
    check_agreement(first.clone(), second(&[(9, 9)]), whole(), "NO").await;
    check_agreement(first, second(&[]), whole(), "NO").await;
}

#[tokio::test]
async fn large_results_are_compared_by_hash() {
    let large = |rows: &[(i64, i64)]| {
        let Attempt::Done(mut done) = plain(rows) else {
            unreachable!("plain rows are done");
        };
        done.rows.table = None;
        Attempt::Done(done)
    };
    let first = large(&[(1, 1), (2, 2)]);
    check_agreement(
        first.clone(),
        large(&[(2, 2), (1, 1)]),
        None,
        "yes (by hash)",
    )
    .await;
    check_agreement(first, large(&[(2, 2), (1, 2)]), None, "NO").await;
}
