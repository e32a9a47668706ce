//! Planning of queries over up to 500 tables: DataFusion's optimizer with the rule and without, from the logical plan of the
//! SQL text to the optimized one. Once each, since 500 tables take DataFusion minutes: `cargo bench --bench planning`, or with
//! other numbers of tables, `-- 50 500`.
//!
//! The tables are in memory and have between 1 and 500 rows, which is all that estimates know of them.

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
use joinwright_stats::Catalog;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime of one thread");
    let numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let mut sizes: Vec<usize> = numbers.collect();
    if sizes.is_empty() {
        sizes = vec![50, 100, 200];
    }
    println!("Seconds from the logical plan to the optimized one, once.");
    for tables in sizes {
        let chain = query(tables, |i| format!("t{}.b = t{i}.a", i - 1));
        let star = query(tables, |i| format!("t0.a = t{i}.a"));
        for (shape, sql) in [("chain", chain), ("star", star)] {
            for (name, with_rule) in [("datafusion", false), ("joinwright", true)] {
                let state = session(tables, with_rule).state();
                let plan = runtime.block_on(state.create_logical_plan(&sql));
                let plan = plan.expect("a valid query");
                let start = Instant::now();
                black_box(state.optimize(&plan).expect("a plan"));
                let seconds = start.elapsed().as_secs_f64();
                println!("{shape:5} of {tables:4} {name:10} {seconds:9.3}");
            }
        }
    }
}

/// A query over all tables, each but the first joined as `condition` says.
fn query(tables: usize, condition: impl Fn(usize) -> String) -> String {
    let conditions: Vec<String> = (1..tables).map(condition).collect();
    let tables: Vec<String> = (0..tables).map(|i| format!("t{i}")).collect();
    let (tables, conditions) = (tables.join(", "), conditions.join(" AND "));
    format!("SELECT count(*) FROM {tables} WHERE {conditions}")
}

fn session(tables: usize, with_rule: bool) -> SessionContext {
    let builder = SessionStateBuilder::new().with_default_features();
    let builder = match with_rule {
        true => builder.with_join_ordering(Arc::new(Catalog::in_memory()), JoinOrdering::default()),
        false => builder,
    };
    let context = SessionContext::new_with_state(builder.build());
    for i in 0..tables {
        // 7,919 is a prime: as many rows as no two neighbours have.
        let rows = (i * 7_919 % 500) as i32 + 1;
        let column = || Arc::new(Int32Array::from_iter_values(0..rows)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("a", column()), ("b", column())]);
        let batch = batch.expect("two columns of one length");
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
        let table = Arc::new(table.expect("one partition"));
        let registered = context.register_table(format!("t{i}"), table);
        registered.expect("an unused name");
    }
    context
}
