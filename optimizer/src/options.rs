//! Settings of a session, as a DataFusion configuration extension.

use datafusion::common::config::ConfigExtension;
use datafusion::common::extensions_options;

extensions_options! {
    /// How joins are ordered. In SQL: `SET joinwright.enumerator = 'goo'`.
    pub struct JoinwrightOptions {
        /// Whether joins are reordered at all.
        pub enabled: bool, default = true

        /// The cardinality estimator, by its name in the registry.
        pub estimator: String, default = "joinwright".to_string()

        /// The search, by its name in the registry.
        pub enumerator: String, default = "adaptive".to_string()

        /// The cost model, by its name in the registry.
        pub cost: String, default = "cout".to_string()

        /// The most csg-cmp-pairs that a search may look at in one region. Beyond it `adaptive` searches
        /// linear orders of the relations, other exact searches fall back to a greedy one.
        pub budget: u64, default = 100_000

        /// Whether two small relations may form a cross product before a third is joined with both by keys. Only where
        /// the search stays exact, and for regions of at most 64 relations.
        pub cross_products: bool, default = false

        /// A join tree such as `((a b) (c d))`, by the names of a region's relations: all of them, or some that are to be
        /// joined with each other so. A hint that cannot be obeyed is an error. Empty for none.
        pub join_hint: String, default = String::new()

        /// The share of the written order's cost by which another order must be cheaper, below 1. Estimates err, and the written
        /// order is the one whose speed the user knows. Negative ones let dearer orders pass, for experiments with random trees.
        pub min_gain: f64, default = 0.05

        /// How bold to be where estimates may err, within [0, 1]. Another order is taken only if it is the cheaper one in
        /// at least a share of 1 − `boldness` of plausible worlds, in which estimates err as far as their sources do: at 0 it has
        /// to win in all of them, at 1 what estimates say is enough.
        pub boldness: f64, default = 0.3

        /// Whether a region stays as written when the size of one of its tables is not known.
        pub require_statistics: bool, default = true

        /// Whether the build sides and partition modes of joins are chosen by our estimates, in a session that the planner of
        /// joinwright plans. Works without `enabled`.
        pub select_joins: bool, default = true

        /// Whether Parquet scans filter while they decode, where estimates say that it saves time. Works with `select_joins` only.
        pub scan_filters: bool, default = true

        /// Whether aggregates are computed in part below joins, where that leaves few rows to join, in a session that the planner of
        /// joinwright plans. Works without `enabled`.
        pub eager_aggregation: bool, default = true

        /// Estimated rows of a place below joins from which on an aggregate may be computed there: with fewer, no plan is slow enough.
        /// At 0 one is computed there wherever that is possible, whether it pays or not, for experiments and tests.
        pub eager_min_rows: u64, default = 10_000

        /// Whether a sub-plan that stands in a query more than once, as common table expressions do, runs once, in a session that the
        /// planner of joinwright plans, unless that is around a query planner of the session's own. Works without `enabled`.
        pub spool: bool, default = true

        /// Estimated rows that a sub-plan reads from tables from which on it is worth a spool: with fewer, no plan is slow enough. At 0
        /// all equal sub-plans are, whether it pays or not, for experiments and tests.
        pub spool_min_rows: u64, default = 10_000

        /// Whether DataFusion's own estimates, by which it picks the build sides of joins, see the
        /// statistics of the catalog. Works without `enabled`: the order of joins then stays as it is.
        pub inject_statistics: bool, default = false
    }
}

impl ConfigExtension for JoinwrightOptions {
    const PREFIX: &'static str = "joinwright";
}
