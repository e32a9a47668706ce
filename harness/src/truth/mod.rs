//! True cardinalities of sub-plans: read from a file, or counted.
//!
//! | module | holds |
//! |---|---|
//! | `file` | files of `query,sub_plan,true_rows` |
//! | `inferred` | predicates that are DataFusion's own |
//! | `reduce` | what DataFusion reads of each relation, coded |
//! | `factor` | weighted tables of codes and their joins |
//! | `sub_queries` | sub-plans as SQL, for other systems |
//! | `count` | the rows of all sub-plans of a region |

pub(crate) mod count;
pub(crate) mod factor;
mod file;
pub(crate) mod inferred;
pub(crate) mod reduce;
pub(crate) mod sub_queries;

pub(crate) use file::{SubPlan, Truth, TruthLine, TruthWriter, name_of, read_truth, relations_of};
