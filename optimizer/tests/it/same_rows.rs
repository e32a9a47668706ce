//! The invariant above all others: whatever the rule does, a query returns the rows that DataFusion
//! returns without it. Random small tables whose keys meet, random queries over them, sensible and
//! absurd estimates.

use crate::support;
use crate::support::{absurd_ordering, rows, session, set, table, without_known_faults};
use datafusion::physical_plan::displayable;
use proptest::prelude::*;
use std::fmt::Write;

/// Columns of a table.
const COLUMNS: [&str; 3] = ["k0", "k1", "k2"];

/// A random number for each choice that a query text needs, taken in turn.
struct Choices<'a> {
    numbers: &'a [u16],
    next: usize,
}

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let number = self.numbers[self.next % self.numbers.len()];
        self.next += 1;
        // The position takes part, so that a short list does not repeat itself.
        (usize::from(number) + self.next / self.numbers.len()) % n
    }

    fn one<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// A query over `tables` tables, made from choices.
struct Query<'a> {
    choices: Choices<'a>,
    tables: usize,
    aliases: usize,
}

impl Query<'_> {
    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// A FROM item with the integer columns it offers.
    fn item(&mut self, depth: usize) -> (String, Vec<String>) {
        let table = self.choices.below(self.tables);
        let alias = self.alias();
        let visible = |names: &[&str]| names.iter().map(|c| format!("{alias}.{c}")).collect();
        match self.choices.below(if depth == 0 { 6 } else { 10 }) {
            0..6 => (format!("t{table} AS {alias}"), visible(&COLUMNS)),
            6 => {
                let key = self.choices.one(&COLUMNS);
                let text = format!(
                    "(SELECT {key} AS g, CAST(count(*) AS INT) AS n, max(k1) AS m \
                     FROM t{table} GROUP BY {key}) AS {alias}"
                );
                (text, visible(&["g", "n", "m"]))
            }
            7 => {
                let other = self.choices.below(self.tables);
                let text = format!(
                    "(SELECT k0 AS u, k1 AS v FROM t{table} \
                     UNION ALL SELECT k2, k0 FROM t{other}) AS {alias}"
                );
                (text, visible(&["u", "v"]))
            }
            // A sub-query that only renames: the rule looks through it.
            _ => {
                let (from, columns) = self.from(depth - 1);
                let picked: Vec<String> =
                    (0..3).map(|_| self.choices.one(&columns).clone()).collect();
                let condition = self.condition(&columns, depth - 1);
                let text = format!(
                    "(SELECT {} AS x, {} AS y, {} AS z FROM {from} WHERE {condition}) AS {alias}",
                    picked[0], picked[1], picked[2]
                );
                (text, visible(&["x", "y", "z"]))
            }
        }
    }

    /// A FROM clause with the columns it offers.
    fn from(&mut self, depth: usize) -> (String, Vec<String>) {
        let (mut text, mut columns) = self.item(depth);
        for _ in 0..1 + self.choices.below(if depth == 0 { 2 } else { 4 }) {
            let (item, more) = self.item(depth);
            let left = self.choices.one(&columns).clone();
            let right = self.choices.one(&more).clone();
            let join = match self.choices.below(12) {
                0 => "LEFT JOIN",
                1 => "RIGHT JOIN",
                2 => "FULL JOIN",
                _ => "JOIN",
            };
            match self.choices.below(8) {
                0 if join == "JOIN" => write!(text, " CROSS JOIN {item}"),
                1 if join == "JOIN" => write!(text, " JOIN {item} ON {left} < {right}"),
                2 => {
                    let (l, r) = (
                        self.choices.one(&columns).clone(),
                        self.choices.one(&more).clone(),
                    );
                    write!(text, " {join} {item} ON {left} = {right} AND {l} = {r}")
                }
                3 => {
                    let l = self.choices.one(&columns).clone();
                    write!(
                        text,
                        " {join} {item} ON {left} = {right} AND {l} <> {right}"
                    )
                }
                _ => write!(text, " {join} {item} ON {left} = {right}"),
            }
            .expect("text grows");
            columns.extend(more);
        }
        (text, columns)
    }

    /// A WHERE condition: a conjunction of up to four predicates of all kinds.
    fn condition(&mut self, columns: &[String], depth: usize) -> String {
        let mut conjuncts = vec!["true".to_string()];
        for _ in 0..self.choices.below(5) {
            let [a, b, c] = [0; 3].map(|_| self.choices.one(columns).clone());
            let number = self.choices.below(4);
            let table = self.choices.below(self.tables);
            conjuncts.push(match self.choices.below(if depth == 0 { 8 } else { 12 }) {
                0..3 => format!("{a} = {b}"),
                // Not `a + b = c`: see `datafusion_loses_equalities_across_three_relations`.
                3 => format!("{a} + {b} - {c} = 0"),
                4 => format!("({a} = {number} OR {b} = {c})"),
                5 => format!("{a} <> {b}"),
                6 => format!("{a} >= {number}"),
                7 => format!("({a} IS NOT NULL OR {b} IS NULL)"),
                8 => format!("EXISTS (SELECT 1 FROM t{table} AS e WHERE e.k0 = {a})"),
                9 => format!("NOT EXISTS (SELECT 1 FROM t{table} AS e WHERE e.k1 = {a})"),
                10 => format!("{a} IN (SELECT k2 FROM t{table})"),
                _ => format!("{a} <= (SELECT max(k0) FROM t{table})"),
            });
        }
        conjuncts.join(" AND ")
    }

    fn sql(&mut self) -> String {
        let (from, columns) = self.from(2);
        let condition = self.condition(&columns, 2);
        if self.choices.below(4) == 0 {
            let group = self.choices.one(&columns).clone();
            let sum = self.choices.one(&columns).clone();
            return format!(
                "SELECT {group}, count(*), sum({sum}) FROM {from} WHERE {condition} GROUP BY {group}"
            );
        }
        let select: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{c} AS c{i}"))
            .collect();
        format!("SELECT {} FROM {from} WHERE {condition}", select.join(", "))
    }
}

fn small_table() -> impl Strategy<Value = Vec<[Option<i32>; 3]>> {
    let value = prop_oneof![1 => Just(None), 8 => (0..4_i32).prop_map(Some)];
    prop::collection::vec([value.clone(), value.clone(), value], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn same_rows_with_the_rule_on_and_off(
        tables in prop::collection::vec(small_table(), 2..5),
        numbers in prop::collection::vec(any::<u16>(), 120),
        seed: u64,
    ) {
        let tables: Vec<_> = tables.iter().map(|rows| table(rows)).collect();
        let choices = Choices { numbers: &numbers, next: 0 };
        let sql = Query { choices, tables: tables.len(), aliases: 0 }.sql();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let Ok(expected) = rows(&session(&tables, None), &sql).await else {
                // What DataFusion itself refuses is no case.
                return Ok(());
            };
            for estimator in ["joinwright", "textbook", "absurd"] {
                for enumerator in ["dpccp", "goo"] {
                    let (ordering, _) = absurd_ordering(seed);
                    let context = session(&tables, Some(ordering));
                    set(&context, "estimator", estimator);
                    set(&context, "enumerator", enumerator);
                    let got = rows(&context, &sql).await;
                    let got = got.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                    if got == expected {
                        continue;
                    }
                    let right = rows(&without_known_faults(&tables), &sql).await;
                    let right = right.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                    prop_assert_eq!(&got, &right, "{} {}: {}", estimator, enumerator, sql);
                }
            }
            Ok(())
        })?;
    }
}

/// The property above would hold of a rule that does nothing. This one does something.
#[tokio::test]
async fn random_queries_are_reordered() {
    let tables: Vec<_> = (0..3)
        .map(|i| table(&[[Some(i), Some(1), None]; 3]))
        .collect();
    let (mut reordered, mut regions, mut refused) = (0, 0, 0);
    for case in 0..100_u64 {
        let numbers: Vec<u16> = (0..120)
            .map(|i| ((case + 1).wrapping_mul(i * i + 7919) >> 3) as u16)
            .collect();
        let choices = Choices {
            numbers: &numbers,
            next: 0,
        };
        let sql = Query {
            choices,
            tables: tables.len(),
            aliases: 0,
        }
        .sql();
        let (ordering, log) = absurd_ordering(case);
        let context = session(&tables, Some(ordering));
        set(&context, "estimator", "absurd");
        if support::optimized(&context, &sql).await.is_err() {
            refused += 1;
            continue;
        }
        for trace in log.take() {
            regions += 1;
            reordered += usize::from(trace.written_cost != trace.cost || trace.reordered);
        }
    }
    assert!(refused < 20, "{refused} of 100 queries were refused");
    assert!(
        regions > 60 && reordered * 5 > regions,
        "{reordered} of {regions} regions"
    );
}

/// FIXME: DataFusion 55.2 loses `b.k0 + a.k1 = c.k0` here: `eliminate_cross_join` takes it for a join
/// key, finds no two inputs that it joins, and forgets it. Such queries have no reference to compare
/// with, so the random queries leave them out. When this fails, they can come in again.
#[tokio::test]
async fn datafusion_loses_equalities_across_three_relations() {
    let tables = [table(&[[Some(1); 3]])];
    let sql =
        "SELECT c.k0 FROM t0 a CROSS JOIN t0 b JOIN t0 c ON a.k0 = c.k1 AND b.k0 + a.k1 = c.k0";
    let found = rows(&session(&tables, None), sql).await;
    assert_eq!(
        found.expect("a valid query"),
        ["1"],
        "1 + 1 = 1 holds of no row"
    );
}

/// DataFusion's filter pushdown looks below projections by name. When the projection that restores the order of columns above a
/// swapped join has two of one name, it takes the first: `a3.k0 IS NULL` became `a1.k0 IS NULL`.
#[tokio::test]
async fn filters_above_swapped_joins_keep_their_columns() {
    let tables = [
        table(&[[Some(0), Some(0), Some(3)]]),
        table(&[]),
        table(&[]),
    ];
    let sql = "SELECT a1.k0 AS c0, a1.k1 AS c1, a1.k2 AS c2, a2.g, a2.n, a3.k0 AS c5, a3.k1 AS c6, a3.k2 AS c7 FROM t0 AS a1 \
        LEFT JOIN (SELECT k0 AS g, count(*) AS n FROM t0 GROUP BY k0) AS a2 ON a1.k0 = a2.g \
        RIGHT JOIN t0 AS a3 ON a1.k2 = a3.k0 AND a2.g <> a3.k0 \
        WHERE a3.k0 >= 0 AND a3.k2 >= 0 AND (a1.k0 IS NOT NULL OR a3.k0 IS NULL)";
    // Which inputs are swapped is up to the estimates: some of these swap them.
    let mut swapped = false;
    for seed in 0..16 {
        let (ordering, _) = absurd_ordering(seed);
        let context = session(&tables, Some(ordering));
        set(&context, "estimator", "absurd");
        let got = rows(&context, sql).await.expect("a valid query");
        assert!(got.is_empty(), "{seed}: {got:?}");
        let plan = context.sql(sql).await.expect("a valid query");
        let plan = plan.create_physical_plan().await.expect("a plan");
        let plan = displayable(plan.as_ref()).indent(false).to_string();
        swapped |= plan.contains("join_type=Left, on=[(k0@0, k2@");
    }
    assert!(swapped, "no case of it");
}
