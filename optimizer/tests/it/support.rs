//! What the integration tests share: tables in memory, sessions with and without the rule, rows as
//! text, and an estimator that knows nothing.

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::estimate::{
    Cardinalities, CardinalityEstimator, Estimate, EstimateSource,
};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{JoinOrdering, JoinwrightOptions, SessionStateBuilderExt, TraceLog};
use joinwright_stats::Catalog;
use std::sync::Arc;

/// A table of columns `k0`, `k1`, `k2` (integers, some NULL) and `s` (text).
pub(crate) fn table(rows: &[[Option<i32>; 3]]) -> Arc<MemTable> {
    let key =
        |i: usize| -> ArrayRef { Arc::new(rows.iter().map(|r| r[i]).collect::<Int32Array>()) };
    let text: StringArray = rows
        .iter()
        .map(|r| r[0].map(|k| format!("s{}", k % 2)))
        .collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new("k0", DataType::Int32, true),
        Field::new("k1", DataType::Int32, true),
        Field::new("k2", DataType::Int32, true),
        Field::new("s", DataType::Utf8, true),
    ]));
    let columns = vec![key(0), key(1), key(2), Arc::new(text) as ArrayRef];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns of one length");
    Arc::new(MemTable::try_new(schema, vec![vec![batch]]).expect("one partition"))
}

/// A session over tables `t0`, `t1`, … with the rule, which does what estimates say, or without.
pub(crate) fn session(tables: &[Arc<MemTable>], ordering: Option<JoinOrdering>) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2);
    let builder = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config);
    let with_rule = ordering.is_some();
    let builder = match ordering {
        Some(ordering) => builder.with_join_ordering(Arc::new(Catalog::in_memory()), ordering),
        None => builder,
    };
    let context = SessionContext::new_with_state(builder.build());
    if with_rule {
        set(&context, "boldness", "1");
    }
    for (i, table) in tables.iter().enumerate() {
        let table = Arc::clone(table);
        let registered = context.register_table(format!("t{i}"), table);
        registered.expect("an unused name");
    }
    context
}

/// The parts of an ordering whose estimates are random, with a log of what it did.
pub(crate) fn absurd_ordering(seed: u64) -> (JoinOrdering, TraceLog) {
    let log = TraceLog::default();
    let mut ordering = JoinOrdering {
        trace: Some(log.clone()),
        ..JoinOrdering::default()
    };
    ordering.registry.add_estimator(Arc::new(Absurd(seed)));
    (ordering, log)
}

/// Sets an option `joinwright.KEY` of a session.
pub(crate) fn set(context: &SessionContext, key: &str, value: &str) {
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    let set = options.set(&format!("{}.{key}", PREFIX), value);
    set.expect("a known option");
}

const PREFIX: &str = <JoinwrightOptions as datafusion::common::config::ConfigExtension>::PREFIX;

/// The optimized plan of a query.
pub(crate) async fn optimized(context: &SessionContext, sql: &str) -> Result<LogicalPlan> {
    context.sql(sql).await?.into_optimized_plan()
}

/// The rows of a query as sorted text, to be compared as a multiset.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let mut rows = rows_in_order(context, sql).await?;
    rows.sort();
    Ok(rows)
}

/// A session without the rule, and without what in DataFusion loses rows: `eliminate_cross_join`, which makes adjacent joins one and lets
/// NULL equal NULL for all of its keys or for none, and swapped joins, through which its filter pushdown goes by the names of columns.
pub(crate) fn without_known_faults(tables: &[Arc<MemTable>]) -> SessionContext {
    let context = session(tables, None);
    assert!(context.remove_optimizer_rule("eliminate_cross_join"));
    let state = context.state_ref();
    state
        .write()
        .config_mut()
        .options_mut()
        .optimizer
        .join_reordering = false;
    context
}

/// The rows of a query as text.
pub(crate) async fn rows_in_order(context: &SessionContext, sql: &str) -> Result<Vec<String>> {
    texts(&context.sql(sql).await?.collect().await?)
}

/// Rows as text.
pub(crate) fn texts(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = vec![];
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(values.join("|"));
        }
    }
    Ok(rows)
}

/// What a query is in a session.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<String>,
    columns: Vec<(String, DataType)>,
    /// Whether the rows are of the schema that the query said it would have. DataFusion's own plan may promise more of them: it
    /// takes some aggregates from statistics, which are never NULL.
    keeps_schema: bool,
}

/// The answer of a session to a query, and how many aggregates its plan has.
pub(crate) async fn aggregated(context: &SessionContext, sql: &str) -> Result<(Answer, usize)> {
    let planned = context.sql(sql).await?;
    let promised = planned.schema().as_arrow().clone();
    let plan = planned.create_physical_plan().await?;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let aggregates = text.matches("AggregateExec").count() - text.matches("mode=Partial").count();
    let schema = plan.schema();
    let fields = schema.fields().iter();
    let answer = Answer {
        rows: rows(context, sql).await?,
        columns: fields
            .map(|f| (f.name().clone(), f.data_type().clone()))
            .collect(),
        keeps_schema: promised.contains(&schema),
    };
    Ok((answer, aggregates))
}

/// An estimator called `absurd`: rows from a hash of the set, over 60 orders of magnitude, now and
/// then infinite or not a number, which the contract forbids and a bug would still produce.
#[derive(Debug)]
pub(crate) struct Absurd(pub(crate) u64);

impl CardinalityEstimator for Absurd {
    fn name(&self) -> &str {
        "absurd"
    }

    fn prepare(&self, _graph: &QueryGraph) -> Box<dyn Cardinalities> {
        Box::new(Self(self.0))
    }
}

impl Cardinalities for Absurd {
    fn estimate(&self, set: RelSet) -> Estimate {
        let mut x = (set.bits() ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 32;
        let rows = match x % 64 {
            0 => f64::INFINITY,
            1 => f64::NAN,
            2 => 0.0,
            n => 10_f64.powi(n as i32 - 30),
        };
        Estimate {
            rows,
            source: EstimateSource::Guess,
            upper_bound: None,
        }
    }
}
