//! Cost models: what one join costs, given the rows that go in and come out.
//!
//! | model | meaning |
//! |---|---|
//! | [`Cout`] | sum of the rows of all intermediate results |
//! | [`Cmm`] | main-memory hash joins: inputs and outputs |
//! | [`HashJoin`] | the time of DataFusion's joins |

mod cmm;
mod cout;
mod hash_join;

pub use cmm::Cmm;
pub use cout::Cout;
pub(crate) use hash_join::TABLE_ROW;
pub use hash_join::{HashJoin, HashJoinConstants, JoinMode, Side};

/// The rows around one join.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JoinRows {
    /// Rows of the left input, the build side of a hash join.
    pub left: f64,
    /// Rows of the right input, the probe side of a hash join.
    pub right: f64,
    /// Rows of the result.
    pub output: f64,
    /// Bytes of a row of the left input; 0 for models that do not use widths.
    pub left_width: f64,
    /// Bytes of a row of the right input; 0 for models that do not use widths.
    pub right_width: f64,
    /// Whether an equality connects the inputs. Without one a nested loop looks at every pair.
    pub keyed: bool,
}

/// The cost of single joins. Search adds up the costs of a tree's joins.
pub trait CostModel: std::fmt::Debug + Send + Sync {
    /// The name by which options and arms choose the model.
    fn name(&self) -> &str;

    /// Whether the cost depends on the widths of rows, which a search adds up only then.
    fn uses_widths(&self) -> bool {
        false
    }

    /// Cost of the top join alone, not of its inputs: finite, at least zero, in the model's own
    /// unit.
    fn join_cost(&self, rows: JoinRows) -> f64;
}
