//! A cost-based join optimizer for Apache DataFusion.
//!
//! DataFusion joins tables in the order in which a query names them. This crate finds a cheaper
//! order from collected statistics, through DataFusion's own extension points:
//!
//! ```no_run
//! use datafusion::execution::SessionStateBuilder;
//! use joinwright_optimizer::{JoinOrdering, SessionStateBuilderExt};
//! use joinwright_stats::Catalog;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let catalog = Arc::new(Catalog::open(".joinwright")?);
//! // catalog.analyze("lineitem", &store, &files).await?; once a table
//! let state = SessionStateBuilder::new()
//!     .with_default_features()
//!     .with_join_ordering(catalog, JoinOrdering::default())
//!     .build();
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`query_graph`] | relations, equality classes and predicates of one region |
//! | [`estimate`] | cardinality estimators |
//! | [`join_graph`], [`relset`], [`join_tree`] | what search sees, and what it returns |
//! | [`enumerate`] | searches |
//! | [`cost`] | cost models |
//! | [`registry`], [`options`] | parts by name, and the settings that name them |
//! | [`shapes`] | made graphs to study enumerators on |
//! | [`rules`] | the DataFusion rules and their installation |
//! | [`trace`] | what was decided and why, as data |
//! | `join_columns` | [`join_columns()`]: which columns a query joins by |
//! | `provider` | [`analyze_provider`]: statistics of tables that are no Parquet files |
//! | `extract`, `derive`, `emit` | between DataFusion's plans and the query graph |
//!
//! Only `rules`, `extract`, `derive` and `emit` know DataFusion plans. Nothing here reads files,
//! clocks or the environment, and no decision depends on the order of a hash table.

pub mod conflicts;
pub mod cost;
mod derive;
mod emit;
pub mod enumerate;
pub mod estimate;
mod extract;
mod guard;
mod join_columns;
pub mod join_graph;
pub mod join_tree;
pub mod options;
mod provider;
pub mod query_graph;
mod random;
pub mod registry;
pub mod relset;
pub mod rules;
pub mod shapes;
pub mod trace;

pub use cost::CostConstants;
pub use join_columns::join_columns;
pub use options::JoinwrightOptions;
pub use provider::analyze_provider;
pub use registry::Registry;
pub use rules::{
    EstimatedRegion, InjectStatistics, JoinOrdering, PlanLine, ReorderJoins,
    SessionStateBuilderExt, estimate_plan, estimate_regions, observe,
};
pub use trace::{TimeSpent, Trace, TraceLog};

/// The statistics catalog, see [`joinwright_stats`].
pub use joinwright_stats::Catalog;
