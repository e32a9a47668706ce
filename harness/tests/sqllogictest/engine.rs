//! DataFusion's test engine, as it is or with joins reordered by statistics.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingTable;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder};
use datafusion::prelude::SessionContext;
use datafusion_sqllogictest::{DFColumnType, DFOutput, DFSqlLogicTestError, DataFusion};
use indicatif::ProgressBar;
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt, TraceLog};
use joinwright_stats::{Catalog, Store, list_parquet};
use object_store::ObjectMeta;
use sqllogictest::AsyncDB;

use crate::absurd::Absurd;

/// How joins are ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// By DataFusion alone.
    Untouched,
    /// By statistics.
    Statistics,
    /// By numbers drawn with this seed, which have nothing to do with the data.
    Absurd(u64),
}

impl Mode {
    /// Puts the rule of this mode into a session.
    pub(crate) fn install(self, context: &SessionContext) -> Result<Option<Installed>> {
        let trace = TraceLog::default();
        let mut ordering = JoinOrdering {
            trace: Some(trace.clone()),
            ..JoinOrdering::default()
        };
        match self {
            Self::Untouched => return Ok(None),
            Self::Statistics => {}
            Self::Absurd(seed) => ordering.registry.add_estimator(Arc::new(Absurd { seed })),
        }
        let catalog = Arc::new(Catalog::in_memory());
        let state = context.state_ref();
        let existing = state.read().clone();
        let mut rebuilt = SessionStateBuilder::new_from_existing(existing.clone())
            .with_join_ordering(Arc::clone(&catalog), ordering)
            .build();
        // The builder finds a default catalog and so switches this off, which tests can see.
        let options = rebuilt.config_mut().options_mut();
        options.catalog.create_default_catalog_and_schema = existing
            .config_options()
            .catalog
            .create_default_catalog_and_schema;
        keep_functions(&existing, &mut rebuilt)?;
        *state.write() = rebuilt;
        if let Self::Absurd(_) = self {
            let mut state = state.write();
            let options = state.config_mut().options_mut();
            options.set("joinwright.estimator", "absurd")?;
            // Also where nothing is known, and for any gain.
            options.set("joinwright.require_statistics", "false")?;
            options.set("joinwright.min_gain", "0")?;
            // And aggregates in part below joins wherever they can be.
            options.set("joinwright.eager_min_rows", "0")?;
            // And equal sub-plans once.
            options.set("joinwright.spool_min_rows", "0")?;
            // With build sides chosen by what the catalog knows, which no answer may come from.
            options.set("joinwright.inject_statistics", "true")?;
        }
        Ok(Some(Installed {
            catalog,
            trace,
            reordered: Arc::default(),
        }))
    }
}

/// A session's rule.
#[derive(Clone)]
pub(crate) struct Installed {
    /// What the rule knows.
    pub(crate) catalog: Arc<Catalog>,
    /// What the rule did to the last statement.
    trace: TraceLog,
    /// Regions that left the rule in another order than they came.
    pub(crate) reordered: Arc<AtomicUsize>,
}

/// Lets names stand for the functions that they stood for in `existing`.
///
/// DataFusion's builder takes a state's functions in the order of a hash table. Where one function has another's name
/// as an alias, as Spark's `array_contains` and DataFusion's `array_has` do, either may win.
fn keep_functions(existing: &SessionState, rebuilt: &mut SessionState) -> Result<()> {
    // A function registered again takes all its names, so that one may have to be registered more than once.
    macro_rules! keep {
        ($functions:ident, $register:ident) => {
            let mut turns = existing.$functions().len();
            while let Some((name, function)) = existing
                .$functions()
                .iter()
                .find(|(name, function)| rebuilt.$functions().get(*name) != Some(function))
            {
                ensure!(turns > 0, "functions take the name {name} from each other");
                turns -= 1;
                rebuilt.$register(Arc::clone(function))?;
            }
        };
    }
    keep!(scalar_functions, register_udf);
    keep!(aggregate_functions, register_udaf);
    keep!(window_functions, register_udwf);
    Ok(())
}

/// DataFusion's test engine; before each statement, it learns the statistics of all Parquet tables.
pub(crate) struct Engine {
    datafusion: DataFusion,
    context: SessionContext,
    rule: Option<Installed>,
    /// The files of each table when its statistics were read.
    known: HashMap<String, Vec<ObjectMeta>>,
}

impl Engine {
    pub(crate) fn new(context: SessionContext, file: PathBuf, rule: Option<Installed>) -> Self {
        Self {
            datafusion: DataFusion::new(context.clone(), file, ProgressBar::hidden()),
            context,
            rule,
            known: HashMap::new(),
        }
    }

    /// Reads the statistics of Parquet tables that are new, or whose files have changed.
    async fn learn_statistics(&mut self, catalog: &Catalog) -> Result<()> {
        for catalog_name in self.context.catalog_names() {
            let Some(tables) = self.context.catalog(&catalog_name) else {
                continue;
            };
            for schema_name in tables.schema_names() {
                let Some(schema) = tables.schema(&schema_name) else {
                    continue;
                };
                if schema_name == "information_schema" {
                    continue;
                }
                for table_name in schema.table_names() {
                    let Some(table) = schema.table(&table_name).await? else {
                        continue;
                    };
                    if let Some(table) = table.downcast_ref::<ListingTable>()
                        && table
                            .options()
                            .format
                            .downcast_ref::<ParquetFormat>()
                            .is_some()
                    {
                        let name = format!("{catalog_name}.{schema_name}.{table_name}");
                        self.learn_table(catalog, name, table).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn learn_table(
        &mut self,
        catalog: &Catalog,
        name: String,
        table: &ListingTable,
    ) -> Result<()> {
        let mut files = Vec::new();
        let mut store = Store::local();
        for path in table.table_paths() {
            let url = path.object_store();
            let inner = self.context.runtime_env().object_store(&url)?;
            store = Store::new(url.as_str(), inner);
            // Not DataFusion's own listing: it remembers, and would then not see what later statements write.
            let mut found = list_parquet(&store, path.prefix()).await?;
            found.retain(|file| path.contains(&file.location, true));
            files.extend(found);
        }
        if self.known.get(&name) != Some(&files) {
            // Files that are no sound Parquet file are the statement's to complain about, not ours.
            let _ = catalog.analyze(&name, &store, &files).await;
            self.known.insert(name, files);
        }
        Ok(())
    }
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = DFSqlLogicTestError;
    type ColumnType = DFColumnType;

    async fn run(&mut self, sql: &str) -> Result<DFOutput, DFSqlLogicTestError> {
        let Some(rule) = self.rule.clone() else {
            return self.datafusion.run(sql).await;
        };
        self.learn_statistics(&rule.catalog)
            .await
            .map_err(|error| DFSqlLogicTestError::Other(error.to_string()))?;
        let output = self.datafusion.run(sql).await;
        let regions = rule.trace.take();
        let reordered = regions.iter().filter(|region| region.reordered).count();
        rule.reordered.fetch_add(reordered, Relaxed);
        output
    }

    // `skipif` and `onlyif` ask for this name.
    fn engine_name(&self) -> &str {
        self.datafusion.engine_name()
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn shutdown(&mut self) {
        self.datafusion.shutdown().await;
    }
}
