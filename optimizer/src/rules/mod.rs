//! The DataFusion rules and their installation.

mod inject_statistics;
mod memory;
mod regions;
mod reorder_joins;
mod session;

pub use inject_statistics::InjectStatistics;
pub use regions::{EstimatedRegion, estimate_regions};
pub use reorder_joins::{PlanLine, ReorderJoins, estimate_plan, observe};
pub use session::{JoinOrdering, SessionStateBuilderExt};
