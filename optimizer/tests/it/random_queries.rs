//! Queries from seeds: aggregates over joins of all kinds, sub-queries and common table expressions, over tables `t0` to `t3`.

use proptest::prelude::*;

/// Numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }

    fn one<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// A FROM item: its integer columns, by names that no other item has. (DataFusion 55.2 moves physical filters by the names of
/// columns, and where names repeat in the inputs of joins, its own answers are wrong.)
#[derive(Clone)]
struct Item {
    columns: Vec<String>,
}

/// A query over four tables, from a seed.
pub(crate) struct Query {
    random: Random,
    aliases: usize,
    /// Common table expressions `c0`, `c1`, … that it may name, of columns `x`, `y` and `z`.
    common: usize,
}

impl Query {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            aliases: 0,
            common: 0,
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// A FROM item that hides its names behind its own.
    fn item(&mut self, depth: usize) -> (String, Item) {
        let (t, u) = (self.random.below(4), self.random.below(4));
        let a = self.alias();
        let names = ["x", "y", "z"].map(|c| format!("{a}{c}"));
        let [x, y, z] = &names;
        let columns = names.iter().map(|name| format!("{a}.{name}")).collect();
        if self.common > 0 && self.random.below(3) > 0 {
            let c = self.random.below(self.common);
            let condition = match self.random.below(6) {
                0 => " WHERE c.x > 0",
                _ => "",
            };
            let select =
                format!("SELECT c.x AS {x}, c.y AS {y}, c.z AS {z} FROM c{c} AS c{condition}");
            return (format!("({select}) AS {a}"), Item { columns });
        }
        let select = match self.random.below(if depth == 0 { 8 } else { 12 }) {
            0..6 => format!("SELECT k0 AS {x}, k1 AS {y}, k2 AS {z} FROM t{t}"),
            6 => format!("SELECT k0 AS {x}, coalesce(k1, 7) AS {y}, k2 + 0 AS {z} FROM t{t}"),
            7 => format!(
                "SELECT k0 AS {x}, k1 AS {y}, k2 AS {z} FROM t{t} UNION ALL SELECT k1, k2, k0 FROM t{u}"
            ),
            8 => format!(
                "SELECT k0 AS {x}, CAST(count(k1) AS INT) AS {y}, max(k2) AS {z} FROM t{t} GROUP BY k0"
            ),
            9 => format!("SELECT DISTINCT k0 AS {x}, k1 AS {y}, k2 AS {z} FROM t{t}"),
            // Places below a sub-query are reached through its names.
            _ => {
                let (from, items) = self.from(depth - 1);
                let all: Vec<String> = items.iter().flat_map(|i| i.columns.clone()).collect();
                let condition = self.condition(&all, depth - 1);
                let [p, q, r, s] = [0; 4].map(|_| self.random.one(&all).clone());
                match self.random.below(3) {
                    0 => format!(
                        "SELECT {p} AS {x}, {q} + {s} AS {y}, {r} AS {z} FROM {from}{condition}"
                    ),
                    1 => format!(
                        "SELECT {p} AS {x}, CAST(sum({q}) AS INT) AS {y}, min({r}) AS {z} FROM {from}{condition} GROUP BY {p}"
                    ),
                    _ => {
                        format!("SELECT {p} AS {x}, {q} AS {y}, {r} AS {z} FROM {from}{condition}")
                    }
                }
            }
        };
        (format!("({select}) AS {a}"), Item { columns })
    }

    fn from(&mut self, depth: usize) -> (String, Vec<Item>) {
        let (mut text, item) = self.item(depth);
        let mut items = vec![item];
        for _ in 0..1 + self.random.below(if depth == 0 { 2 } else { 3 }) {
            let (right, more) = self.item(depth);
            let join = match self.random.below(14) {
                0 | 1 => "LEFT JOIN",
                2 | 3 => "RIGHT JOIN",
                4 => "FULL JOIN",
                5 => "LEFT SEMI JOIN",
                6 => "LEFT ANTI JOIN",
                _ => "JOIN",
            };
            let left: Vec<String> = items.iter().flat_map(|i| i.columns.clone()).collect();
            let [l, m] = [0; 2].map(|_| self.random.one(&left).clone());
            let [r, s] = [0; 2].map(|_| self.random.one(&more.columns).clone());
            let on = match self.random.below(10) {
                0 if join == "JOIN" => String::new(),
                0 => format!("{l} = {r} AND {s} > 0"),
                1 if join != "FULL JOIN" => format!("{l} < {r}"),
                2 => format!("{l} = {r} AND {m} = {s}"),
                3 => format!("{l} = {r} AND {m} <> {s}"),
                4 => format!("{l} IS NOT DISTINCT FROM {r}"),
                5 if join != "FULL JOIN" => format!("{l} = {r} AND {m} > 0"),
                6 => format!("{l} + 1 = {r}"),
                _ => format!("{l} = {r}"),
            };
            text = match on.is_empty() {
                true => format!("{text} CROSS JOIN {right}"),
                false => format!("{text} {join} {right} ON {on}"),
            };
            if !matches!(join, "LEFT SEMI JOIN" | "LEFT ANTI JOIN") {
                items.push(more);
            }
        }
        (text, items)
    }

    /// A WHERE clause, or nothing.
    fn condition(&mut self, columns: &[String], depth: usize) -> String {
        let mut conjuncts = vec![];
        for _ in 0..self.random.below(3) {
            let [a, b] = [0; 2].map(|_| self.random.one(columns).clone());
            let table = self.random.below(4);
            conjuncts.push(match self.random.below(if depth == 0 { 4 } else { 9 }) {
                0 => format!("({a} IS NULL OR {b} = 1)"),
                1 => format!("{a} <= {b}"),
                2 | 3 => format!("{a} >= 1"),
                4 => format!("EXISTS (SELECT 1 FROM t{table} AS e WHERE e.k0 = {a})"),
                5 => format!(
                    "NOT EXISTS (SELECT 1 FROM t{table} AS e WHERE e.k0 = {a} AND e.k1 <> {b})"
                ),
                6 => format!("{a} IN (SELECT k1 FROM t{table})"),
                7 => format!("{a} NOT IN (SELECT k1 FROM t{table} WHERE k1 IS NOT NULL)"),
                _ => format!("({a} = 1 OR EXISTS (SELECT 1 FROM t{table} AS e WHERE e.k0 = {b}))"),
            });
        }
        match conjuncts.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conjuncts.join(" AND ")),
        }
    }

    /// An argument: mostly columns of one item, so that there is a side that has all of them.
    fn argument(&mut self, columns: &[String]) -> String {
        let [a, b] = [0; 2].map(|_| self.random.one(columns).clone());
        match self.random.below(12) {
            0 => format!("{a} + {b}"),
            1 => format!("CAST({a} AS DECIMAL(7, 2)) * CAST({b} AS DECIMAL(5, 1))"),
            2 => format!("coalesce({a}, {b}, 3)"),
            3 => format!("CASE WHEN {a} = 1 THEN {b} ELSE 2 END"),
            // Sums of halves are exact.
            4 => format!("CAST({a} AS DOUBLE) / 2"),
            5 => format!("CAST({a} AS DECIMAL(5, 1))"),
            6 => "2".to_string(),
            7 => format!("CAST({a} AS BIGINT)"),
            _ => a,
        }
    }

    fn function(&mut self, own: &[String], all: &[String]) -> String {
        let arg = self.argument(own);
        match self.random.below(18) {
            0..4 => format!("sum({arg})"),
            4..7 => "count(*)".to_string(),
            7..9 => format!("count({arg})"),
            9 => {
                let other = self.random.one(own);
                format!("count({arg}, {other})")
            }
            10 => format!("avg({arg})"),
            11 => {
                let any = self.argument(all);
                format!("count(DISTINCT {any})")
            }
            12 => {
                let any = self.argument(all);
                format!("sum(DISTINCT {any})")
            }
            13 | 14 => {
                let any = self.argument(all);
                format!("max({any})")
            }
            15 if self.random.below(3) == 0 => format!("sum({arg}) FILTER (WHERE {} = 1)", own[0]),
            _ => format!("min({arg})"),
        }
    }

    /// An aggregate over joins.
    pub(crate) fn sql(mut self) -> String {
        self.select()
    }

    /// One with common table expressions, which name each other.
    pub(crate) fn sql_with_common(mut self) -> String {
        let mut with = vec![];
        for c in 0..1 + self.random.below(3) {
            let (item, names) = self.item(1);
            let names = names.columns;
            let (x, y, z) = (&names[0], &names[1], &names[2]);
            with.push(match self.random.below(4) {
                0 => format!("c{c} AS (SELECT {x} AS x, CAST(count(*) AS INT) AS y, max({z}) AS z FROM {item} GROUP BY {x})"),
                1 => format!("c{c} AS (SELECT DISTINCT {x} AS x, {y} AS y, {z} AS z FROM {item})"),
                2 => format!("c{c} AS (SELECT {x} AS x, {y} AS y, CAST(rank() OVER (PARTITION BY {x} ORDER BY {y}, {z}) AS INT) AS z FROM {item})"),
                _ => {
                    let t = self.random.below(4);
                    format!("c{c} AS (SELECT {x} AS x, k1 AS y, {z} AS z FROM {item} JOIN t{t} ON k0 = {y})")
                }
            });
            self.common = c + 1;
        }
        let mut sql = self.select();
        match self.random.below(4) {
            0 => sql = format!("SELECT count(*) AS n, count(u.f0) AS f FROM ({sql}) AS u"),
            1 => {
                sql = format!(
                    "SELECT x, y FROM c0 UNION ALL SELECT x, z FROM c{} WHERE x >= (SELECT min(x) FROM c0)",
                    self.common - 1
                )
            }
            _ => {}
        }
        format!("WITH {} {sql}", with.join(", "))
    }

    fn select(&mut self) -> String {
        let depth = if self.common > 0 { 1 } else { 2 };
        let (from, items) = self.from(depth);
        let all: Vec<String> = items.iter().flat_map(|i| i.columns.clone()).collect();
        let own = self.random.one(&items).columns.clone();
        let condition = self.condition(&all, 2);
        let mut groups: Vec<String> = vec![];
        for _ in 0..self.random.below(4) {
            let [a, b] = [0; 2].map(|_| self.random.one(&all).clone());
            let group = match self.random.below(8) {
                0 => format!("{a} + {b}"),
                1 => format!("{a} % 2"),
                _ => a,
            };
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let functions: Vec<String> = (0..1 + self.random.below(3))
            .map(|_| self.function(&own, &all))
            .collect();
        let mut select: Vec<String> = groups
            .iter()
            .enumerate()
            .map(|(i, g)| format!("{g} AS g{i}"))
            .collect();
        let group_by = match (groups.as_slice(), self.random.below(8)) {
            ([], _) => String::new(),
            (_, 0) => format!(" GROUP BY ROLLUP ({})", groups.join(", ")),
            (_, 1) => format!(" GROUP BY CUBE ({})", groups.join(", ")),
            ([g, ..], 2) => format!(
                " GROUP BY GROUPING SETS (({}), ({g}), ())",
                groups.join(", ")
            ),
            _ => format!(" GROUP BY {}", groups.join(", ")),
        };
        if !groups.is_empty() && self.random.below(10) == 0 {
            return format!(
                "SELECT DISTINCT {} FROM {from}{condition}",
                select.join(", ")
            );
        }
        select.extend(
            functions
                .iter()
                .enumerate()
                .map(|(i, f)| format!("{f} AS f{i}")),
        );
        let having = match self.random.below(6) {
            0 => format!(" HAVING {} > 1", functions[0]),
            _ => String::new(),
        };
        let sql = format!(
            "SELECT {} FROM {from}{condition}{group_by}{having}",
            select.join(", ")
        );
        match self.random.below(8) {
            0 => format!("SELECT count(*) AS c, count(f0) AS d, max(f0) AS m FROM ({sql}) AS q"),
            1 => format!(
                "SELECT q.f0, t0.k0 FROM ({sql}) AS q JOIN t0 ON CAST(q.f0 AS DOUBLE) > t0.k0"
            ),
            _ => sql,
        }
    }
}

/// The rows of a small table with few values, so that keys meet, and NULLs.
pub(crate) fn small_table() -> impl Strategy<Value = Vec<[Option<i32>; 3]>> {
    let value = prop_oneof![1 => Just(None), 7 => (0..3_i32).prop_map(Some)];
    prop::collection::vec([value.clone(), value.clone(), value], 0..7)
}

/// `JOINWRIGHT_CASES=1000` runs more.
pub(crate) fn cases() -> u32 {
    let given = std::env::var("JOINWRIGHT_CASES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(200)
}
