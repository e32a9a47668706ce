//! Build sides, partition modes and scan filters, as the final plan has them.

use crate::support::{rows, set};
use crate::tables::{Tables, physical};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
use joinwright_stats::Catalog;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TABLES: [&str; 2] = ["big", "dim"];

/// `big` has 400,000 rows, ten of each of its keys; `dim` has one row a key, and `kind = 7` for 40 of them.
async fn tables(test: &str) -> (Tables, Arc<Catalog>) {
    let tables = Tables::new(test);
    let big = "SELECT value * 7919 % 40000 AS key, value, 'text number ' || value AS text, \
               value * 3 AS a, value * 5 AS b FROM range(0, 400000)";
    tables.write("big/1.parquet", big).await;
    let dim = "SELECT value AS id, value % 1000 AS kind FROM range(0, 40000)";
    tables.write("dim/1.parquet", dim).await;
    let catalog = tables.sampled(&TABLES).await;
    (tables, catalog)
}

/// By hash join of a plan, its mode and the table that it builds from, where that is one.
fn joins(plan: &Arc<dyn ExecutionPlan>) -> Vec<(PartitionMode, String)> {
    let mut joins = vec![];
    plan.apply(|node| {
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let build = displayable(join.left().as_ref()).indent(false).to_string();
            let table = TABLES.iter().find(|t| build.contains(&format!("/{t}/")));
            joins.push((*join.partition_mode(), table.map_or("", |t| t).to_string()));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("no error is made");
    joins
}

/// The number of Parquet scans that filter while they decode.
fn filtering_scans(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut scans = 0;
    plan.apply(|node| {
        let source = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
            .and_then(|scan| scan.file_source().downcast_ref::<ParquetSource>());
        let filters = source.is_some_and(|s| s.table_parquet_options().global.pushdown_filters);
        scans += usize::from(filters);
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("no error is made");
    scans
}

/// DataFusion takes a fifth of `big` for the result of this predicate: more than `dim` has.
const FEW_OF_BIG: &str =
    "SELECT value, kind FROM dim JOIN big ON key = id WHERE text LIKE '%number 12345%'";

#[tokio::test]
async fn the_input_with_fewer_rows_builds() {
    let (tables, catalog) = tables("builds").await;
    let ours = tables.session(&TABLES, Some(&catalog)).await;
    let default = tables.session(&TABLES, None).await;
    let of = async |context: &SessionContext| joins(&physical(context, FEW_OF_BIG).await);
    assert_eq!(of(&default).await[0].1, "dim", "nothing to improve");
    let collected = vec![(PartitionMode::CollectLeft, "big".to_string())];
    assert_eq!(of(&ours).await, collected);
    // It is the estimate that decides, not the order of joins.
    set(&ours, "enabled", "false");
    assert_eq!(of(&ours).await, collected);
    set(&ours, "select_joins", "false");
    assert_eq!(of(&ours).await, of(&default).await);
    assert_eq!(
        rows(&ours, FEW_OF_BIG).await.expect("rows"),
        rows(&default, FEW_OF_BIG).await.expect("rows")
    );
}

#[tokio::test]
async fn inputs_of_scalar_subqueries_are_recognized() {
    let (tables, catalog) = tables("subqueries").await;
    let ours = tables.session(&TABLES, Some(&catalog)).await;
    let query = format!(
        "SELECT count(*), (SELECT min(value) FROM ({FEW_OF_BIG})) AS least FROM ({FEW_OF_BIG})"
    );
    let found = joins(&physical(&ours, &query).await);
    let collected = (PartitionMode::CollectLeft, "big".to_string());
    assert_eq!(found, vec![collected.clone(), collected]);
}

/// One row in a thousand of `big` has a partner, and five columns wait for it.
const FEW_PARTNERS: &str = "SELECT text, value, a, b FROM big JOIN dim ON key = id WHERE kind = 7";

#[tokio::test]
async fn scans_filter_by_the_keys_of_a_build_side() {
    let (tables, catalog) = tables("scans").await;
    let ours = tables.session(&TABLES, Some(&catalog)).await;
    let default = tables.session(&TABLES, None).await;
    let of = async |sql: &str| filtering_scans(&physical(&ours, sql).await);
    assert_eq!(of(FEW_PARTNERS).await, 1);
    // Where all rows have a partner, or only the key is read, nothing is saved.
    let all = FEW_PARTNERS.replace("kind = 7", "kind >= 0");
    assert_eq!(of(&all).await, 0);
    assert_eq!(
        of("SELECT count(*) FROM big JOIN dim ON key = id WHERE kind = 7").await,
        0
    );
    for query in [FEW_PARTNERS, &all] {
        assert_eq!(
            rows(&ours, query).await.expect("rows"),
            rows(&default, query).await.expect("rows"),
            "{query}"
        );
    }
    set(&ours, "scan_filters", "false");
    let off = filtering_scans(&physical(&ours, FEW_PARTNERS).await);
    assert_eq!(off, 0);
}

/// Outer joins keep the rows that a build side does not have.
#[tokio::test]
async fn scans_of_preserved_inputs_keep_their_rows() {
    let (tables, catalog) = tables("preserved").await;
    let ours = tables.session(&TABLES, Some(&catalog)).await;
    let default = tables.session(&TABLES, None).await;
    for query in [
        "SELECT count(*), count(kind) FROM big LEFT JOIN (SELECT * FROM dim WHERE kind = 7) ON key = id",
        "SELECT count(*), count(kind) FROM (SELECT * FROM dim WHERE kind = 7) RIGHT JOIN big ON key = id",
        "SELECT count(*), count(text) FROM big FULL JOIN (SELECT * FROM dim WHERE kind = 7) ON key = id",
        "SELECT count(*), max(text) FROM big WHERE key NOT IN (SELECT id FROM dim WHERE kind = 7)",
        "SELECT count(*), max(text) FROM big WHERE NOT EXISTS (SELECT 1 FROM dim WHERE id = key AND kind = 7)",
        "SELECT count(*), max(text) FROM big WHERE EXISTS (SELECT 1 FROM dim WHERE id = key AND kind = 7)",
        "SELECT count(*), max(text) FROM big WHERE value < 10 OR EXISTS (SELECT 1 FROM dim WHERE id = key AND kind = 7)",
    ] {
        assert_eq!(
            rows(&ours, query).await.expect("rows"),
            rows(&default, query).await.expect("rows"),
            "{query}"
        );
    }
}

/// A planner that counts what it plans.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl QueryPlanner for Counting {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let planner = DefaultPhysicalPlanner::default();
        planner.create_physical_plan(plan, session).await
    }
}

#[tokio::test]
async fn the_planner_of_a_user_still_plans() {
    let (tables, catalog) = tables("planner").await;
    let planner = Arc::new(Counting::default());
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(SessionConfig::new().with_target_partitions(2))
        .with_query_planner(Arc::clone(&planner) as _)
        .with_join_ordering(catalog, JoinOrdering::default())
        .build();
    let context = SessionContext::new_with_state(state);
    tables.register(&context, &TABLES).await;
    let before = planner.0.load(Ordering::Relaxed);
    let collected = vec![(PartitionMode::CollectLeft, "big".to_string())];
    assert_eq!(joins(&physical(&context, FEW_OF_BIG).await), collected);
    assert_eq!(planner.0.load(Ordering::Relaxed), before + 1);
}

/// What a limited memory cannot hold is not gathered on one side, however fast that would be.
#[tokio::test]
async fn memory_limits_what_is_collected() {
    let (tables, catalog) = tables("memory").await;
    let query = "SELECT count(*), max(x.text) FROM big x JOIN big y ON x.value = y.value JOIN dim ON y.key = id";
    let with_memory = async |bytes: usize, ordering: bool| {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0);
        let builder = SessionStateBuilder::new()
            .with_default_features()
            .with_config(SessionConfig::new().with_target_partitions(2))
            .with_runtime_env(runtime.build_arc().expect("a runtime"));
        let builder = match ordering {
            true => builder.with_join_ordering(Arc::clone(&catalog), JoinOrdering::default()),
            false => builder,
        };
        let context = SessionContext::new_with_state(builder.build());
        tables.register(&context, &TABLES).await;
        rows(&context, query).await
    };
    // As much as DataFusion needs alone is enough.
    let mut limit = 16 << 20;
    while with_memory(limit, false).await.is_err() {
        limit *= 2;
    }
    let ours = with_memory(limit, true).await.expect("enough memory");
    let default = with_memory(limit, false).await.expect("enough memory");
    assert_eq!(ours, default);
}
