//! A DataFusion session for each arm, and what the optimizer says about a query in it.
//!
//! All that this crate asks of the optimizer goes through here.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{PeakRecordingPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use joinwright_optimizer::cost::HashJoin;
use joinwright_optimizer::{
    CostConstants, EstimatedRegion, JoinOrdering, JoinwrightOptions, PlanLine, Registry,
    SessionStateBuilderExt, TimeSpent, Trace, TraceLog, estimate_plan, estimate_regions,
    join_columns, observe,
};
use joinwright_stats::Catalog;
use serde::Serialize;

use crate::alternatives::{Alternatives, Recordings};
use crate::arm::{Arm, Kind, KnownParts, Parts};
use crate::calibration::read_constants;
use crate::injection;
use crate::measure::parse;
use crate::shape::returns_rows;
use crate::tables::TablePath;
use crate::truth::inferred::in_one_direction;

/// The rule that makes up DataFusion's own join order.
const FLATTENING: &str = "eliminate_cross_join";

/// One arm's session over a folder of tables.
pub(crate) struct Session {
    pub(crate) context: SessionContext,
    kind: Kind,
    ordering: JoinOrdering,
    catalog: Arc<Catalog>,
    /// Where searches are watched.
    recordings: Option<Recordings>,
}

/// A query that is planned, and not run.
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    /// The nodes of the optimized plan with estimates, in the order of `EXPLAIN`.
    pub(crate) lines: Vec<PlanLine>,
    /// The regions of adjacent joins.
    pub(crate) regions: Vec<Trace>,
    /// By region, where the session looks at them: the trees that were not taken.
    pub(crate) alternatives: Vec<Option<Alternatives>>,
}

/// A region of joins, with the trees that were not taken where they were looked at.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ExplainedRegion<'a> {
    #[serde(flatten)]
    pub(crate) trace: &'a Trace,
    #[serde(flatten)]
    pub(crate) others: Option<&'a Alternatives>,
}

impl Planned {
    /// The regions with what is known of each.
    pub(crate) fn explained(&self) -> impl Iterator<Item = ExplainedRegion<'_>> {
        let region = |(at, trace)| ExplainedRegion {
            trace,
            others: self.alternatives.get(at).and_then(Option::as_ref),
        };
        self.regions.iter().enumerate().map(region)
    }
}

/// The names that an arm may use.
pub(crate) fn known_parts(registry: &Registry) -> KnownParts {
    fn owned(names: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
        names.into_iter().map(Into::into).collect()
    }
    KnownParts {
        estimators: owned(registry.estimators().chain(injection::NAMES)),
        enumerators: owned(registry.enumerators()),
        cost_models: owned(registry.cost_models()),
    }
}

/// Whether a session's plans are to be looked at, or only to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// As users have it: nothing is recorded while planning.
    Run,
    /// With a trace of each region and the time of its search.
    Explain,
    /// And with the trees that the search did not take.
    Alternatives,
}

impl Session {
    /// Opens a session for an arm over `tables`.
    pub(crate) async fn open(
        arm: &Arm,
        tables: &[TablePath],
        catalog: &Arc<Catalog>,
        registry: &Registry,
        threads: usize,
        purpose: Purpose,
    ) -> Result<Self> {
        if let Kind::Joinwright(parts) = &arm.kind
            && let Some(name) = &parts.estimator
            && registry.estimator(name).is_none()
        {
            bail!(
                "estimator `{name}` is for the queries of a suite: bench, plan, explain and estimate have them"
            );
        }
        let config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_information_schema(true);
        let explain = purpose != Purpose::Run;
        let mut registry = registry.clone();
        let mut constants = CostConstants::default();
        if let Kind::Joinwright(Parts {
            constants: Some(file),
            ..
        }) = &arm.kind
        {
            constants = read_constants(Path::new(file))?;
            registry.add_cost_model(Arc::new(HashJoin::new(constants.hash_join, threads)));
        }
        let mut recordings = None;
        let mut watched = None;
        if let Kind::Joinwright(parts) = &arm.kind
            && purpose == Purpose::Alternatives
        {
            let own = parts.enumerator.clone();
            let enumerator = own.unwrap_or_else(|| JoinwrightOptions::default().enumerator);
            let recorded = recordings.insert(Recordings::default());
            watched = recorded.watch(&mut registry, &enumerator);
        }
        let ordering = JoinOrdering {
            registry,
            constants,
            trace: explain.then(TraceLog::default),
            clock: explain.then_some(clock as fn() -> Duration),
        };
        // As it is by default, but that it remembers the most that was reserved.
        let pool = PeakRecordingPool::new(Arc::new(UnboundedMemoryPool::default()));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool));
        let builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc()?)
            .with_default_features();
        let builder = match &arm.kind {
            Kind::Default => builder,
            Kind::Literal => {
                let mut rules = Optimizer::new().rules;
                rules.retain(|rule| rule.name() != FLATTENING);
                builder.with_optimizer_rules(rules)
            }
            Kind::DefaultStats | Kind::Joinwright(_) => {
                builder.with_join_ordering(Arc::clone(catalog), ordering.clone())
            }
        };
        let session = Self {
            context: SessionContext::new_with_state(builder.build()),
            kind: arm.kind.clone(),
            ordering,
            catalog: Arc::clone(catalog),
            recordings,
        };
        session.set_parts()?;
        if let Some(name) = watched {
            // In place of a name with parameters, which the watched search has already.
            session.set("joinwright.enumerator", &name)?;
        }
        session.register(tables).await?;
        Ok(session)
    }

    /// Sets the options of the parts that the arm names.
    fn set_parts(&self) -> Result<()> {
        let parts = match &self.kind {
            Kind::Joinwright(parts) => parts,
            Kind::DefaultStats => {
                self.set("joinwright.enabled", "false")?;
                self.set("joinwright.select_joins", "false")?;
                self.set("joinwright.eager_aggregation", "false")?;
                self.set("joinwright.spool", "false")?;
                return self.set("joinwright.inject_statistics", "true");
            }
            Kind::Default | Kind::Literal => return Ok(()),
        };
        let budget = parts.budget.map(|pairs| pairs.to_string());
        let switch = |part: Option<bool>| part.map(|on| on.to_string());
        let (order, physical) = (switch(parts.order), switch(parts.physical));
        let (scans, eager, spool) = (
            switch(parts.scans),
            switch(parts.eager),
            switch(parts.spool),
        );
        let (stats, cross) = (switch(parts.stats), switch(parts.cross));
        for (option, value) in [
            ("estimator", &parts.estimator),
            ("enumerator", &parts.enumerator),
            ("cost", &parts.cost),
            ("boldness", &parts.boldness),
            ("min_gain", &parts.min_gain),
            ("budget", &budget),
            ("join_hint", &parts.hint),
            ("enabled", &order),
            ("select_joins", &physical),
            ("scan_filters", &scans),
            ("eager_aggregation", &eager),
            ("spool", &spool),
            ("inject_statistics", &stats),
            ("cross_products", &cross),
        ] {
            if let Some(value) = value {
                self.set(&format!("joinwright.{option}"), value)?;
            }
        }
        Ok(())
    }

    fn set(&self, option: &str, value: &str) -> Result<()> {
        set_in(&self.context, option, value)
    }

    async fn register(&self, tables: &[TablePath]) -> Result<()> {
        let mut upper_case = false;
        for table in tables {
            let name = TableReference::bare(table.name.as_str());
            let options = ParquetReadOptions::default();
            self.context
                .register_parquet(name.clone(), table_url(&table.path), options)
                .await
                .with_context(|| format!("cannot read table {}", table.path.display()))?;
            let schema = self.context.table_provider(name).await?.schema();
            let mut names = schema.fields().iter().map(|field| field.name().as_str());
            upper_case |= has_upper_case(&table.name) || names.any(has_upper_case);
        }
        if upper_case {
            // Queries over such data were written for a system that does not fold names to lower case.
            self.set("datafusion.sql_parser.enable_ident_normalization", "false")?;
        }
        Ok(())
    }

    /// Plans the last statement of `sql` that returns rows. Views and settings before it take effect; no data is read
    /// but the footers of files.
    pub(crate) async fn plan(&self, sql: &str) -> Result<Planned> {
        self.optimized(sql, |plan, context| self.look_at(plan, context))
            .await
    }

    /// The regions of the last statement of `sql` that returns rows, in the order that this arm joins them, with the
    /// estimates of its estimator, `thorough` ones or those that planning uses.
    pub(crate) async fn regions(&self, sql: &str, thorough: bool) -> Result<Vec<EstimatedRegion>> {
        self.optimized(sql, |plan, context| {
            let snapshot = self.catalog.snapshot();
            let options = options(context);
            estimate_regions(&plan, &snapshot, &self.ordering, &options, thorough)
        })
        .await
    }

    /// The joins of DataFusion's own plan of the last statement of `sql` that returns rows, with the estimates of this arm's
    /// estimator, `thorough` ones or those that planning uses.
    pub(crate) async fn default_joins(
        &self,
        sql: &str,
        thorough: bool,
    ) -> Result<Vec<(LogicalPlan, PlanLine)>> {
        let context = SessionContext::new_with_state(self.context.state());
        set_in(&context, "joinwright.enabled", "false")?;
        self.optimized_in(&context, sql, |plan, context| {
            let snapshot = self.catalog.snapshot();
            let options = options(context);
            let lines = estimate_plan(&plan, &snapshot, &self.ordering, &options, thorough);
            let mut nodes = vec![];
            nodes_of(&plan, &mut nodes);
            let nodes = nodes.into_iter().cloned().zip(lines);
            nodes
                .filter(|(node, _)| matches!(node, LogicalPlan::Join(_)))
                .collect()
        })
        .await
    }

    /// The number of rows that an optimized plan returns.
    pub(crate) async fn count(&self, plan: LogicalPlan) -> Result<u64> {
        let none: Vec<datafusion::logical_expr::Expr> = vec![];
        let count = LogicalPlanBuilder::from(plan).aggregate(none, [count(lit(1))])?;
        let counted = self.context.execute_logical_plan(count.build()?).await?;
        let batches = counted.collect().await?;
        let rows = batches.iter().find(|batch| batch.num_rows() == 1);
        let rows = rows.context("a count has no row")?;
        let rows = rows.column(0).as_primitive_opt::<Int64Type>();
        Ok(rows.context("a count is no integer")?.value(0).try_into()?)
    }

    async fn optimized<T>(
        &self,
        sql: &str,
        look: impl Fn(LogicalPlan, &SessionContext) -> T,
    ) -> Result<T> {
        let context = SessionContext::new_with_state(self.context.state());
        self.optimized_in(&context, sql, look).await
    }

    async fn optimized_in<T>(
        &self,
        context: &SessionContext,
        sql: &str,
        look: impl Fn(LogicalPlan, &SessionContext) -> T,
    ) -> Result<T> {
        let mut optimized = None;
        for statement in parse(sql)? {
            let state = context.state();
            let plan = state.statement_to_plan(statement).await?;
            if returns_rows(&plan) {
                let plan = state.optimize(&plan)?;
                optimized = Some(look(plan, context));
                continue;
            }
            match plan {
                LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => {
                    context.execute_logical_plan(plan).await?;
                }
                other => bail!("not a query: {}", other.display()),
            }
        }
        optimized.context("no statement returns rows")
    }

    /// Plans the statements of `sql` that return rows down to their operators, and tells how long that took, and how much of it was
    /// ours. The session has to have a clock.
    pub(crate) async fn plan_physically(&self, sql: &str) -> Result<(Duration, TimeSpent)> {
        let context = SessionContext::new_with_state(self.context.state());
        let take = || (self.ordering.trace.as_ref()).map(TraceLog::take_spent);
        take();
        let mut started = Instant::now();
        let statements = parse(sql)?;
        let mut total = started.elapsed();
        for statement in statements {
            started = Instant::now();
            let state = context.state();
            let plan = state.statement_to_plan(statement).await?;
            if returns_rows(&plan) {
                state.create_physical_plan(&plan).await?;
                total += started.elapsed();
            } else {
                total += started.elapsed();
                context.execute_logical_plan(plan).await?;
            }
        }
        let spent = take();
        // The traces of what was planned are nobody's any more.
        drop(self.ordering.trace.as_ref().map(TraceLog::take));
        Ok((total, spent.unwrap_or_default()))
    }

    /// The columns by which the statements of `sql` join tables, as far as they can be planned as they stand.
    pub(crate) async fn join_columns(&self, sql: &str) -> BTreeSet<(String, String)> {
        let mut columns = BTreeSet::new();
        let state = self.context.state();
        for statement in parse(sql).unwrap_or_default() {
            if let Ok(plan) = state.statement_to_plan(statement).await {
                columns.extend(join_columns(&plan));
            }
        }
        columns
    }

    /// The predicates of the statements of `sql` as they are written, as far as they can be planned as they stand.
    pub(crate) async fn predicates(&self, sql: &str) -> BTreeSet<String> {
        let mut predicates = BTreeSet::new();
        let state = self.context.state();
        for statement in parse(sql).unwrap_or_default() {
            let Ok(plan) = state.statement_to_plan(statement).await else {
                continue;
            };
            let walked = plan.apply_with_subqueries(|node| {
                node.apply_expressions(|expr| {
                    let conjuncts = split_conjunction(expr).into_iter();
                    predicates.extend(conjuncts.map(|e| in_one_direction(e).to_string()));
                    Ok(TreeNodeRecursion::Continue)
                })
            });
            if let Err(error) = walked {
                tracing::debug!(%error, "the predicates of a statement are not known");
            }
        }
        predicates
    }

    fn look_at(&self, plan: LogicalPlan, context: &SessionContext) -> Planned {
        let options = options(context);
        let snapshot = self.catalog.snapshot();
        let traced = self.ordering.trace.as_ref().map(TraceLog::take);
        let mut regions = match (&self.kind, traced) {
            (Kind::Joinwright(_), Some(regions)) => regions,
            _ => observe(&plan, &snapshot, &self.ordering, &options),
        };
        let alternatives = match &self.recordings {
            Some(recordings) => recordings.take(&mut regions),
            None => vec![],
        };
        Planned {
            alternatives,
            lines: estimate_plan(&plan, &snapshot, &self.ordering, &options, false),
            regions,
            plan,
        }
    }

    /// The name of the estimator that plans queries; `None` where DataFusion's own estimates do.
    pub(crate) fn estimator(&self) -> Option<String> {
        match self.kind {
            Kind::Joinwright(_) => Some(options(&self.context).estimator),
            Kind::Default | Kind::DefaultStats | Kind::Literal => None,
        }
    }
}

fn set_in(context: &SessionContext, option: &str, value: &str) -> Result<()> {
    let state = context.state_ref();
    let mut state = state.write();
    let options = state.config_mut().options_mut();
    options
        .set(option, value)
        .with_context(|| format!("cannot set {option} to {value}"))
}

/// The nodes of a plan in the order of `EXPLAIN`.
fn nodes_of<'a>(plan: &'a LogicalPlan, nodes: &mut Vec<&'a LogicalPlan>) {
    nodes.push(plan);
    for input in plan.inputs() {
        nodes_of(input, nodes);
    }
}

fn options(context: &SessionContext) -> JoinwrightOptions {
    let config = context.copied_config();
    let options = config.options().extensions.get::<JoinwrightOptions>();
    options.cloned().unwrap_or_default()
}

/// Time since the first call, for the optimizer, which reads no clock itself.
fn clock() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

fn has_upper_case(name: &str) -> bool {
    name.contains(char::is_uppercase)
}

/// A URL, since DataFusion reads `*`, `?` and `[` in a plain path as a pattern.
fn table_url(path: &Path) -> String {
    let path_text = path.to_string_lossy();
    let encoded = path_text
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    let end = if path.is_dir() { "/" } else { "" };
    format!("file://{encoded}{end}")
}
