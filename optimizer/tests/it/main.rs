//! Tests of the optimizer from outside, in one binary: each would link all of DataFusion.

mod eager;
mod eager_random;
mod inject_statistics;
mod joinwright;
mod large;
mod mixed_joins;
mod physical;
mod plans;
mod products;
mod random_queries;
mod same_rows;
mod spool;
mod spool_random;
mod statistics;
mod stray_filters;
mod sub_plans;
mod support;
mod tables;
