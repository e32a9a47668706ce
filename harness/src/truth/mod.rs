//! True cardinalities of sub-plans: read from a file, or counted.
//!
//! | module | holds |
//! |---|---|
//! | `file` | files of `query,sub_plan,true_rows` |
//! | `inferred` | predicates that are DataFusion's own |
//! | `reduce` | what DataFusion reads of each relation, coded |
//! | `factor` | weighted tables of codes, tests of their tuples |
//! | `join`, `index`, `sums` | joins of factors: tuples by key, and sums by what is kept |
//! | `sub_queries` | sub-plans as SQL, for other systems |
//! | `count` | the rows of all sub-plans of a region |
//! | `order` | the order in which variables are eliminated |

pub(crate) mod count;
pub(crate) mod factor;
mod file;
mod index;
pub(crate) mod inferred;
mod join;
mod order;
pub(crate) mod reduce;
pub(crate) mod sub_queries;
mod sums;

pub(crate) use file::{SubPlan, Truth, TruthLine, TruthWriter, name_of, read_truth, relations_of};
