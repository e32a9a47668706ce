//! The DataFusion rules and their installation.

mod reorder_joins;
mod session;

pub use reorder_joins::{PlanLine, ReorderJoins, estimate_plan, observe};
pub use session::{JoinOrdering, SessionStateBuilderExt};
