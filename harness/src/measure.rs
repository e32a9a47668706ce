//! Runs queries on DataFusion and takes their times: planning and execution apart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::PeakRecordingPool;
use datafusion::physical_plan::{displayable, execute_stream};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use futures::StreamExt;
use tokio::runtime::Handle;

use crate::bench::{Attempt, Done, Rows, Runner};
use crate::fingerprint::fingerprint;
use crate::interrupt::Interrupt;
use crate::operators::{Observed, Sketch};
use crate::rows::{Digest, Table};
use crate::shape::{returns_rows, shape, without_limit};
use crate::suite::Query;
use crate::tables::TablePath;

/// Beyond these a result is hashed instead of kept.
const MOST_ROWS_KEPT: usize = 4_000_000;
const MOST_BYTES_KEPT: usize = 1 << 30;

/// A query that was told to stop usually does so at its next batch.
const TIME_TO_STOP: Duration = Duration::from_secs(10);

/// Runs queries under arms, each in its own session.
pub(crate) struct Measure {
    /// One session an arm, in the order of the arms.
    pub(crate) sessions: Vec<SessionContext>,
    /// What the queries read, for the names of scans.
    pub(crate) tables: Arc<[TablePath]>,
    /// The threads that queries run on.
    pub(crate) workers: Handle,
    /// For one sample, planning and execution together.
    pub(crate) timeout: Duration,
    pub(crate) interrupt: Interrupt,
}

/// Splits a query file into statements; an empty one is an error.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>> {
    let statements = DFParser::parse_sql(sql)?;
    if statements.is_empty() {
        return Err(anyhow!("no statement"));
    }
    Ok(statements.into())
}

impl Measure {
    /// Runs in a task of its own, so that it can be abandoned at the timeout.
    async fn attempt(&mut self, arm: usize, query: &Query, limit: Limit, observe: bool) -> Attempt {
        let context = &self.sessions[arm];
        // A session of its own keeps what a query sets from the queries after it; tables and caches are shared.
        let context = SessionContext::new_with_state(context.state());
        let sql = query.sql.clone();
        let observed = observe.then(|| Arc::clone(&self.tables));
        let mut task = self
            .workers
            .spawn(async move { run_statements(&context, &sql, limit, observed).await });
        let ended = tokio::select! {
            ended = &mut task => Some(ended),
            () = tokio::time::sleep(self.timeout) => None,
            () = self.interrupt.wait() => {
                task.abort();
                let _ = tokio::time::timeout(TIME_TO_STOP, task).await;
                return Attempt::Interrupted;
            }
        };
        match ended {
            Some(Ok(Ok(done))) => Attempt::Done(Box::new(done)),
            Some(Ok(Err(error))) => Attempt::Failed(crate::one_line(&error)),
            Some(Err(error)) => Attempt::Failed(format!("the query broke down: {error}")),
            None => {
                task.abort();
                // Whatever it still does would be counted against the next sample.
                let _ = tokio::time::timeout(TIME_TO_STOP, task).await;
                Attempt::TimedOut
            }
        }
    }
}

impl Runner for Measure {
    async fn run(&mut self, arm: usize, query: &Query, observe: bool) -> Attempt {
        self.attempt(arm, query, Limit::Kept, observe).await
    }

    async fn without_limit(&mut self, arm: usize, query: &Query) -> Option<Table> {
        match self.attempt(arm, query, Limit::TakenOff, false).await {
            Attempt::Done(done) => done.rows.table,
            _ => None,
        }
    }
}

/// What to do with the outermost LIMIT of a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Kept,
    TakenOff,
}

/// Runs all statements; the last one that returns rows is the result. Its plan is observed where the tables are given.
async fn run_statements(
    context: &SessionContext,
    sql: &str,
    limit: Limit,
    tables: Option<Arc<[TablePath]>>,
) -> Result<Done> {
    let mut planning = Duration::ZERO;
    let mut execution = Duration::ZERO;
    let mut result = None;
    let pool = Arc::clone(&context.runtime_env().memory_pool);
    let peak = PeakRecordingPool::from_pool(pool.as_ref());
    if let Some(peak) = peak {
        peak.reset_peak();
    }
    let started = Instant::now();
    let statements = parse(sql)?;
    planning += started.elapsed();
    for statement in statements {
        let started = Instant::now();
        let state = context.state();
        let mut plan = state.statement_to_plan(statement).await?;
        if !returns_rows(&plan) {
            planning += started.elapsed();
            let started = Instant::now();
            context.execute_logical_plan(plan).await?.collect().await?;
            execution += started.elapsed();
            continue;
        }
        let shape = shape(&plan);
        if limit == Limit::TakenOff {
            plan = without_limit(&plan)?;
        }
        let physical = state.create_physical_plan(&plan).await?;
        planning += started.elapsed();
        // Before it runs: filters that fill in at run time are empty yet.
        let fingerprint = fingerprint(&displayable(physical.as_ref()).indent(false).to_string());
        let sketch = (tables.as_deref()).map(|tables| Sketch::of(&physical, tables));
        let schema = physical.schema();

        let started = Instant::now();
        let mut stream = execute_stream(physical, state.task_ctx())?;
        let mut kept = Kept::default();
        while let Some(batch) = stream.next().await {
            kept.add(batch?)?;
        }
        execution += started.elapsed();
        let observed = sketch.map(Sketch::observe);
        result = Some((kept.finish(schema)?, shape, fingerprint, observed));
    }
    let (rows, shape, fingerprint, observed) =
        result.ok_or_else(|| anyhow!("no statement returns rows"))?;
    Ok(Done {
        planning_ms: planning.as_secs_f64() * 1e3,
        execution_ms: execution.as_secs_f64() * 1e3,
        rows,
        shape,
        fingerprint,
        peak_memory_bytes: peak.map(|peak| peak.peak_reserved() as u64),
        observed,
    })
}

/// The plan of the last statement that returns rows, which is not run; those before it are.
pub(crate) async fn sketch(
    context: &SessionContext,
    sql: &str,
    tables: &[TablePath],
) -> Result<Observed> {
    let context = SessionContext::new_with_state(context.state());
    let mut last = None;
    for statement in parse(sql)? {
        let state = context.state();
        let plan = state.statement_to_plan(statement).await?;
        if returns_rows(&plan) {
            let physical = state.create_physical_plan(&plan).await?;
            last = Some(Sketch::of(&physical, tables));
        } else {
            context.execute_logical_plan(plan).await?.collect().await?;
        }
    }
    let sketch = last.ok_or_else(|| anyhow!("no statement returns rows"))?;
    Ok(sketch.observe())
}

/// Collects a result, and no more of it than memory should hold.
#[derive(Default)]
struct Kept {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// Set once the result is too large.
    digest: Option<Digest>,
}

impl Kept {
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        if let Some(digest) = &mut self.digest {
            return digest.add(&batch);
        }
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        if self.rows > MOST_ROWS_KEPT || self.bytes > MOST_BYTES_KEPT {
            let mut digest = Digest::default();
            for batch in self.batches.drain(..) {
                digest.add(&batch)?;
            }
            self.digest = Some(digest);
        }
        Ok(())
    }

    fn finish(self, schema: arrow::datatypes::SchemaRef) -> Result<Rows> {
        if let Some(digest) = self.digest {
            return Ok(Rows {
                digest,
                table: None,
                foreign: false,
            });
        }
        let table = Table {
            schema,
            batches: self.batches,
        };
        Ok(Rows {
            digest: Digest::of(&table)?,
            table: Some(table),
            foreign: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(timeout: Duration) -> (Measure, tokio::sync::watch::Sender<bool>) {
        let (sender, interrupt) = Interrupt::manual();
        let measure = Measure {
            sessions: vec![SessionContext::new()],
            tables: Arc::default(),
            workers: Handle::current(),
            timeout,
            interrupt,
        };
        (measure, sender)
    }

    fn query(sql: &str) -> Query {
        Query {
            name: "q".to_owned(),
            sql: sql.to_owned(),
            fault: None,
        }
    }

    /// Would take hours, in small steps, at each of which it can be stopped.
    const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000) a, \
        generate_series(1, 10000000000) b WHERE a.value % 7 <> b.value % 5";

    #[tokio::test(flavor = "multi_thread")]
    async fn several_statements_have_one_result() {
        let (mut measure, _sender) = measure(Duration::from_secs(60));
        let sql = "CREATE VIEW v AS SELECT 7 AS x; SELECT x FROM v; DROP VIEW v;";
        for _ in 0..2 {
            let Attempt::Done(done) = measure.run(0, &query(sql), false).await else {
                panic!("the view is dropped at the end of each run");
            };
            assert_eq!(done.rows.digest.rows, 1);
            assert_eq!(done.fingerprint.len(), 16);
        }
        let attempt = measure.run(0, &query("SELECT nothing"), false).await;
        assert!(matches!(attempt, Attempt::Failed(message) if message.contains("nothing")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn settings_end_with_their_query() {
        let (mut measure, _sender) = measure(Duration::from_secs(60));
        let set = "SET datafusion.execution.batch_size = 7; SELECT 1";
        assert!(matches!(
            measure.run(0, &query(set), false).await,
            Attempt::Done(_)
        ));
        let options = measure.sessions[0].copied_config();
        assert_ne!(options.options().execution.batch_size.get(), 7);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_timeout_ends_a_query() {
        let (mut measure, _sender) = measure(Duration::from_millis(50));
        let attempt = measure.run(0, &query(ENDLESS), false).await;
        assert!(matches!(attempt, Attempt::TimedOut));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_interruption_ends_a_query() {
        let (mut measure, sender) = measure(Duration::from_secs(600));
        sender.send_replace(true);
        let attempt = measure.run(0, &query(ENDLESS), false).await;
        assert!(matches!(attempt, Attempt::Interrupted));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_whole_result_behind_a_limit() {
        let (mut measure, _sender) = measure(Duration::from_secs(60));
        let sql = "SELECT value FROM generate_series(1, 50) ORDER BY value LIMIT 3";
        let whole = measure.without_limit(0, &query(sql)).await;
        assert_eq!(whole.map(|table| table.rows()), Some(50));
    }
}
