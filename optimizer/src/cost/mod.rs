//! Cost models: what one join costs, given the rows that go in and come out.
//!
//! | model | meaning |
//! |---|---|
//! | [`Cout`] | sum of the rows of all intermediate results |
//! | [`Cmm`] | main-memory hash joins: inputs and outputs |
//! | [`HashJoin`] | the time of DataFusion's joins |

mod cmm;
mod cout;
mod fit;
mod hash_join;
mod scan;
mod width;

pub use cmm::Cmm;
pub use cout::Cout;
pub use fit::{Fit, Observed, fit};
pub(crate) use hash_join::TABLE_ROW;
pub use hash_join::{HashJoin, HashJoinConstants, JOIN_STEPS, JoinMode, Side};
pub use scan::{LateOrder, SCAN_STEPS, ScanConstants, ScanFilter, ScanWork};
pub use width::{row_width, value_width};

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// All constants that a calibration fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostConstants {
    /// Of joins.
    pub hash_join: HashJoinConstants,
    /// Of Parquet scans.
    pub scan: ScanConstants,
}

impl CostConstants {
    /// Whether all are times that a model can add up: finite, none below zero, and a cache of some size.
    pub fn is_sound(&self) -> bool {
        let joins = self.hash_join.to_array();
        let scans = self.scan.to_array();
        let time = |time: &f64| time.is_finite() && *time >= 0.0;
        let cache = self.hash_join.cache_bytes;
        let further = self.hash_join.further_thread;
        joins.iter().chain(&scans).all(time)
            && cache.is_finite()
            && cache > 0.0
            && (0.0..=1.0).contains(&further)
    }
}

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

    /// The same model for queries of that many partitions, if that makes a difference to it.
    fn for_partitions(&self, _partitions: usize) -> Option<Arc<dyn CostModel>> {
        None
    }

    /// Cost of the top join alone, not of its inputs: finite, at least zero, in the model's own
    /// unit.
    fn join_cost(&self, rows: JoinRows) -> f64;
}
