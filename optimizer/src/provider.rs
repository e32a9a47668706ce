//! Statistics of tables that are no Parquet files.

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execute_stream;
use joinwright_stats::{AnalyzeOptions, AnalyzeSummary, Catalog, Progress};
use std::sync::Arc;

/// Analyzes any table from its rows: CSV, memory, a lake format. The sketches are those of Parquet files.
///
/// `name` is the table's name as queries write it, since such a table has no files to be known by. `version` is any text that
/// changes when the table does: while it stays, later calls read nothing. The table is read through `session`, once.
///
/// # Errors
/// What the table's scan fails with, or [`joinwright_stats::StatsError`] as an external error. What was known stays
/// known then.
pub async fn analyze_provider(
    catalog: &Catalog,
    name: &str,
    version: &str,
    provider: &dyn TableProvider,
    session: &dyn Session,
    options: &AnalyzeOptions,
    progress: &dyn Progress,
) -> Result<AnalyzeSummary> {
    let plan = provider.scan(session, None, &[], None).await?;
    let schema = plan.schema();
    let task: Arc<TaskContext> = session.task_ctx();
    let batches = execute_stream(plan, task)?;
    let analyzed = catalog.analyze_batches(name, version, schema, batches, options, progress);
    analyzed
        .await
        .map_err(|error| DataFusionError::External(Box::new(error)))
}
