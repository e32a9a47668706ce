//! Tables of Parquet files, with a catalog of what they hold.

use crate::support::set;
use datafusion::execution::SessionStateBuilder;
use datafusion::object_store::path::Path;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
use joinwright_stats::{Catalog, Store, list_parquet};
use std::path::PathBuf;
use std::sync::Arc;

/// A folder of tables, each a folder of Parquet files, that goes with the test.
pub(crate) struct Tables {
    pub(crate) folder: PathBuf,
}

impl Tables {
    /// An empty folder for the test of this name.
    pub(crate) fn new(test: &str) -> Self {
        // With a blank in it, which a URL would have encoded.
        let name = format!("joinwright {test} {}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self { folder }
    }

    /// Writes the rows of a query into a file such as `t/1.parquet`, over what was there.
    pub(crate) async fn write(&self, file: &str, query: &str) {
        let path = self.folder.join(file);
        let _ = std::fs::remove_file(&path);
        let copy = format!("COPY ({query}) TO '{}' STORED AS PARQUET", path.display());
        let written = SessionContext::new().sql(&copy).await;
        let written = written.expect("a valid query").collect().await;
        written.expect("a file is written");
    }

    /// A catalog of these tables as they are now.
    pub(crate) async fn analyzed(&self, tables: &[&str]) -> Arc<Catalog> {
        self.analyzed_into(Catalog::in_memory(), tables).await
    }

    /// A catalog with samples, which lie in files of its cache.
    pub(crate) async fn sampled(&self, tables: &[&str]) -> Arc<Catalog> {
        let cache = Catalog::open(self.folder.join(".joinwright"));
        self.analyzed_into(cache.expect("a cache"), tables).await
    }

    async fn analyzed_into(&self, catalog: Catalog, tables: &[&str]) -> Arc<Catalog> {
        for table in tables {
            let prefix = Path::from_absolute_path(self.folder.join(table));
            let prefix = prefix.expect("a path that the store can hold");
            let store = Store::local();
            let files = list_parquet(&store, &prefix).await.expect("the files");
            let analyzed = catalog.analyze(table, &store, &files).await;
            assert_ne!(analyzed.expect("sound files").files, 0);
        }
        Arc::new(catalog)
    }

    /// A session over these tables, with the rules of a catalog or without.
    pub(crate) async fn session(
        &self,
        tables: &[&str],
        catalog: Option<&Arc<Catalog>>,
    ) -> SessionContext {
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(2));
        let builder = match catalog {
            Some(catalog) => {
                builder.with_join_ordering(Arc::clone(catalog), JoinOrdering::default())
            }
            None => builder,
        };
        let context = SessionContext::new_with_state(builder.build());
        self.register(&context, tables).await;
        context
    }

    pub(crate) async fn register(&self, context: &SessionContext, tables: &[&str]) {
        for table in tables {
            let create = format!(
                "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'",
                self.folder.join(table).display()
            );
            context.sql(&create).await.expect("a table");
        }
    }

    /// A session with the statistics of a catalog, and no other order of joins.
    pub(crate) async fn informed(&self, tables: &[&str], catalog: &Arc<Catalog>) -> SessionContext {
        let context = self.session(tables, Some(catalog)).await;
        set(&context, "enabled", "false");
        set(&context, "select_joins", "false");
        set(&context, "inject_statistics", "true");
        context
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The physical plan of a query.
pub(crate) async fn physical(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let planned = context.sql(sql).await.expect("a valid query");
    planned.create_physical_plan().await.expect("a plan")
}
