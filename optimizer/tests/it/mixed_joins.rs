//! Inner, outer, semi, anti and mark joins in one query, under random trees of its space: the same rows as without the
//! rule.

use crate::random_queries::Random;
use crate::support::{rows, session, table, without_known_faults};
use joinwright_optimizer::enumerate::{Enumerator, Problem, Solution, StopReason};
use joinwright_optimizer::join_graph::JoinKind;
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{JoinOrdering, Trace, TraceLog};
use proptest::prelude::*;
use std::sync::Arc;

/// A random legal tree, whatever it costs. Its cost is said to be below all others, so that the rule takes it.
#[derive(Debug)]
struct RandomTree(u64);

impl RandomTree {
    fn tree(problem: &Problem<'_>, random: &mut Random) -> Option<JoinTree> {
        let mut roots: Vec<(RelSet, JoinTree)> = (0..problem.graph.len())
            .map(|i| (RelSet::single(i), JoinTree::Leaf(i)))
            .collect();
        while roots.len() > 1 {
            let mut pairs = vec![];
            for a in 0..roots.len() {
                for b in (0..roots.len()).filter(|b| *b != a) {
                    if problem.graph.link(roots[a].0, roots[b].0).is_some() {
                        pairs.push((a, b));
                    }
                }
            }
            if pairs.is_empty() {
                if !problem.graph.operators().is_empty() {
                    return None;
                }
                pairs.push((0, 1));
            }
            let (a, b) = pairs[random.below(pairs.len())];
            let (high, low) = (roots.swap_remove(a.max(b)), roots.swap_remove(a.min(b)));
            let (left, right) = if a > b { (high, low) } else { (low, high) };
            roots.push((left.0.union(right.0), JoinTree::join(left.1, right.1)));
        }
        roots.pop().map(|root| root.1)
    }
}

impl Enumerator for RandomTree {
    fn name(&self) -> &str {
        "random_tree"
    }

    fn search(&self, problem: &Problem<'_>) -> Solution {
        let mut random = Random(self.0);
        let tree = (0..50).find_map(|_| Self::tree(problem, &mut random));
        Solution {
            cost: f64::NEG_INFINITY,
            tree: tree.unwrap_or_else(|| problem.written.clone()),
            pairs: 0,
            stop: StopReason::Sampled { trees: 1 },
        }
    }
}

/// A query over four tables, from a seed.
struct Query {
    random: Random,
    aliases: usize,
}

impl Query {
    fn column(&mut self, aliases: &[String]) -> String {
        let alias = &aliases[self.random.below(aliases.len())];
        format!("{alias}.{alias}k{}", self.random.below(3))
    }

    /// A tree of joins with the aliases that are visible in its result.
    fn from(&mut self, tables: usize) -> (String, Vec<String>) {
        if tables == 1 {
            self.aliases += 1;
            let alias = format!("a{}", self.aliases);
            // Every column has a name of its own: DataFusion 55.2 moves physical filters by the names of columns, and
            // where names repeat in the inputs of joins, its own answers are wrong.
            let table = self.random.below(4);
            let text = format!(
                "(SELECT k0 AS {alias}k0, k1 AS {alias}k1, k2 AS {alias}k2 FROM t{table}) AS {alias}"
            );
            return (text, vec![alias]);
        }
        let left = 1 + self.random.below(tables - 1);
        let (left, mut visible) = self.from(left);
        let (right, more) = self.from(tables - left_count(&left));
        let join = match self.random.below(8) {
            0 | 1 => "LEFT JOIN",
            2 => "RIGHT JOIN",
            3 => "FULL JOIN",
            _ => "JOIN",
        };
        let mut on = format!("{} = {}", self.column(&visible), self.column(&more));
        match self.random.below(6) {
            0 => on += &format!(" AND {} <> {}", self.column(&visible), self.column(&more)),
            1 => on += &format!(" AND {} = {}", self.column(&visible), self.column(&more)),
            2 if join != "FULL JOIN" => on += &format!(" AND {} > 1", self.column(&visible)),
            3 if join == "LEFT JOIN" => {
                on = format!(
                    "coalesce({}, 1) = {}",
                    self.column(&visible),
                    self.column(&more)
                );
            }
            _ => {}
        }
        visible.extend(more);
        (format!("({left} {join} {right} ON {on})"), visible)
    }

    fn exists(&mut self, visible: &[String]) -> String {
        let outer = self.column(visible);
        self.aliases += 1;
        let (e, f) = (format!("e{}", self.aliases), format!("f{}", self.aliases));
        let (t, u) = (self.random.below(4), self.random.below(4));
        match self.random.below(4) {
            0 => format!(
                "EXISTS (SELECT 1 FROM t{t} {e} JOIN t{u} {f} ON {e}.k1 = {f}.k0 WHERE {e}.k0 = {outer})"
            ),
            1 => {
                let second = self.column(visible);
                format!(
                    "EXISTS (SELECT 1 FROM t{t} {e} WHERE {e}.k0 = {outer} AND {e}.k1 <> {second})"
                )
            }
            2 => format!("{outer} IN (SELECT k2 FROM t{t} {e} WHERE {e}.k1 IS NOT NULL)"),
            _ => format!("EXISTS (SELECT 1 FROM t{t} {e} WHERE {e}.k2 = {outer})"),
        }
    }

    fn sql(mut self) -> String {
        let tables = 2 + self.random.below(4);
        let (from, visible) = self.from(tables);
        let mut conjuncts = vec![];
        for _ in 0..self.random.below(4) {
            let column = self.column(&visible);
            conjuncts.push(match self.random.below(7) {
                0 => format!("({column} IS NULL OR {} = 1)", self.column(&visible)),
                1 => format!("{column} IS NOT DISTINCT FROM {}", self.column(&visible)),
                2 => self.exists(&visible),
                3 => format!("NOT {}", self.exists(&visible)),
                4 => format!("({column} = 1 OR {})", self.exists(&visible)),
                5 => format!("({} OR {})", self.exists(&visible), self.exists(&visible)),
                _ => format!("{column} >= 1"),
            });
        }
        let select: Vec<String> = visible
            .iter()
            .enumerate()
            .map(|(i, a)| format!("{a}.{a}k0 AS x{i}, {a}.{a}k1 AS y{i}"))
            .collect();
        let condition = match conjuncts.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conjuncts.join(" AND ")),
        };
        format!("SELECT {} FROM {from}{condition}", select.join(", "))
    }
}

/// The tables of a FROM text.
fn left_count(text: &str) -> usize {
    text.matches(") AS ").count()
}

fn small_table() -> impl Strategy<Value = Vec<[Option<i32>; 3]>> {
    let value = prop_oneof![1 => Just(None), 5 => (0..3_i32).prop_map(Some)];
    prop::collection::vec([value.clone(), value.clone(), value], 0..5)
}

/// Trees that each query is run under.
const TREES: u64 = 10;

fn random_ordering(seed: u64) -> (JoinOrdering, TraceLog) {
    let log = TraceLog::default();
    let mut ordering = JoinOrdering {
        trace: Some(log.clone()),
        ..JoinOrdering::default()
    };
    ordering.registry.add_enumerator(Arc::new(RandomTree(seed)));
    (ordering, log)
}

/// Whether a region with a join that is not inner was given another tree.
fn is_mixed(trace: &Trace) -> bool {
    trace.reordered && trace.edges.iter().any(|e| e.join != JoinKind::Inner)
}

/// The rows of a query under a random tree, and whether that tree was another one for joins of mixed kinds.
async fn rows_under_random_tree(
    tables: &[Arc<datafusion::datasource::MemTable>],
    sql: &str,
    seed: u64,
) -> Result<(Vec<String>, bool), String> {
    let (ordering, log) = random_ordering(seed);
    let context = session(tables, Some(ordering));
    crate::support::set(&context, "enumerator", "random_tree");
    let products = seed.is_multiple_of(2).to_string();
    crate::support::set(&context, "cross_products", &products);
    let got = rows(&context, sql).await.map_err(|e| e.to_string())?;
    Ok((got, log.take().iter().any(is_mixed)))
}

/// `JOINWRIGHT_CASES=1000` runs more.
fn cases() -> u32 {
    let given = std::env::var("JOINWRIGHT_CASES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_tree_returns_the_same_rows(
        tables in prop::collection::vec(small_table(), 4),
        seed: u64,
    ) {
        let tables: Vec<_> = tables.iter().map(|rows| table(rows)).collect();
        let sql = Query { random: Random(seed), aliases: 0 }.sql();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let Ok(expected) = rows(&session(&tables, None), &sql).await else {
                // What DataFusion itself refuses is no case.
                return Ok(());
            };
            for tree in 0..TREES {
                let got = rows_under_random_tree(&tables, &sql, seed ^ tree).await;
                let (got, _) = got.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                if got == expected {
                    continue;
                }
                // DataFusion errs where it merges joins of which one finds NULL equal to NULL.
                let right = rows(&without_known_faults(&tables), &sql).await;
                let right = right.map_err(|e| TestCaseError::fail(format!("{sql}\n{e}")))?;
                prop_assert_eq!(&got, &right, "tree {}: {}", tree, sql);
            }
            Ok(())
        })?;
    }
}

/// The property above would hold of a rule that does nothing. This one does something.
#[tokio::test]
async fn mixed_joins_are_reordered() {
    let tables: Vec<_> = (0..4)
        .map(|i| table(&[[Some(i), Some(1), None]; 3]))
        .collect();
    let (mut queries, mut mixed) = (0, 0);
    for seed in 0..60 {
        let sql = Query {
            random: Random(seed),
            aliases: 0,
        }
        .sql();
        if let Ok((_, is_mixed)) = rows_under_random_tree(&tables, &sql, seed).await {
            queries += 1;
            mixed += usize::from(is_mixed);
        }
    }
    assert!(
        queries > 40 && mixed * 4 > queries,
        "{mixed} of {queries} queries"
    );
}

/// DataFusion's `eliminate_cross_join` forgets which of adjacent inner joins find NULL equal to NULL, when an order that this rule
/// chose puts two of them side by side.
#[tokio::test]
async fn nulls_stay_equal_in_any_order() {
    let tables = [
        table(&[[Some(1), None, None], [None, None, Some(1)]]),
        table(&[[Some(1), None, Some(2)]]),
        table(&[[None, None, Some(2)]]),
    ];
    let sql = "SELECT a.ak0, a.ak1, b.bk0, b.bk1, c.ck0, c.ck1, d.dk0, d.dk1
        FROM ((SELECT k0 AS ak0, k1 AS ak1, k2 AS ak2 FROM t2) AS a
        JOIN ((SELECT k0 AS bk0, k1 AS bk1, k2 AS bk2 FROM t1) AS b
        JOIN ((SELECT k0 AS ck0, k1 AS ck1, k2 AS ck2 FROM t0) AS c
        JOIN (SELECT k0 AS dk0, k1 AS dk1, k2 AS dk2 FROM t0) AS d ON c.ck2 = d.dk0) ON b.bk0 = d.dk0) ON a.ak2 = b.bk2)
        WHERE a.ak1 IS NOT DISTINCT FROM c.ck1";
    for seed in 7_380_836_343_718_626_814..7_380_836_343_718_627_000 {
        let found = rows_under_random_tree(&tables, sql, seed).await;
        let (found, _) = found.expect("a valid query");
        assert_eq!(found, ["NULL|NULL|1|NULL|NULL|NULL|1|NULL"], "seed {seed}");
    }
}
