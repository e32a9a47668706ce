//! The DataFusion rules and their installation.

mod common;
mod eager;
mod inject_statistics;
mod join_estimates;
mod large;
mod memory;
mod null_equality;
mod pass;
mod plan_lines;
mod planner;
mod region;
mod regions;
mod reorder_joins;
mod scan_filters;
mod select_joins;
mod session;
mod spool;
mod stray_filters;

pub use inject_statistics::InjectStatistics;
pub use plan_lines::{PlanLine, estimate_plan};
pub use regions::{EstimatedRegion, estimate_regions};
pub use reorder_joins::{ReorderJoins, observe};
pub use select_joins::SelectJoins;
pub use session::{JoinOrdering, SessionStateBuilderExt};
pub use spool::{ShareSpools, SpoolExec};
pub use stray_filters::KeepStrayFilters;
