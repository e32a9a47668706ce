//! Cardinality estimators.
//!
//! | name | what it does |
//! |---|---|
//! | `joinwright` | [`Joinwright`]: joins the rows that statistics know one by one |
//! | `bound` | [`Bound`]: a guaranteed upper bound, from known rows and degrees |
//! | `datafusion` | [`DataFusion`]: what DataFusion's own formulas say |
//! | `keysample` | [`KeySample`]: samples that hold all rows of certain keys, joined |
//! | `sample` | [`Sample`]: predicates evaluated on rows, joins as `textbook` |
//! | `simpli` | [`Simpli`]: table sizes alone |
//! | `textbook` | [`Textbook`]: NDV, min/max, null fractions; independence, containment |
//! | any | [`Inject`]: rows from a list, another estimator for the rest, noise |
//!
//! Estimation has two steps: [`CardinalityEstimator::prepare`] once a region, where the predicates
//! of the leaves are evaluated, then [`Cardinalities::estimate`] for the sets of relations that
//! search asks about. An estimate belongs to a set, never to an order of joins.

mod bound;
mod datafusion;
mod evaluate;
mod inject;
mod joinwright;
mod literal;
mod operators;
mod product;
mod profile;
mod sample;
pub mod selectivity;
mod simpli;
mod spanning;
mod textbook;

pub use self::datafusion::DataFusion;
pub use bound::Bound;
pub use evaluate::Evaluations;
pub(crate) use evaluate::{Counted, evaluate_at, evaluate_moments};
pub use inject::{Inject, Noise};
pub(crate) use joinwright::leaf::key_column;
pub(crate) use joinwright::members::rows_left;
pub use joinwright::{Joinwright, KeySample};
pub(crate) use literal::compare;
pub use operators::{OperatorRows, WithOperators};
pub use product::ProductRows;
pub(crate) use profile::MIN_ROWS;
pub use profile::{ColumnProfile, Profile, distinct_after};
pub use sample::Sample;
pub use simpli::Simpli;
pub use textbook::Textbook;
pub(crate) use textbook::{key_profile, restricted};

use crate::query_graph::QueryGraph;
use crate::relset::RelSet;

/// Where an estimate came from, the most trustworthy first. A guess that looks like a measurement
/// misleads, so every estimate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// Counted.
    Exact,
    /// From common values and histograms.
    Histogram,
    /// Seen in a uniform sample of rows.
    Sample,
    /// Seen in joined rows: of tables that are known whole, or of samples that hold all rows of certain keys.
    KeySample,
    /// Interpolated between a column's smallest and largest value.
    MinMax,
    /// From numbers of distinct values.
    Ndv,
    /// Cannot be exceeded, whatever the data: from known rows and degrees of keys.
    Bound,
    /// No statistic covers it.
    Guess,
}

impl EstimateSource {
    /// The source as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Histogram => "histogram",
            Self::Sample => "sample",
            Self::KeySample => "key_sample",
            Self::MinMax => "min_max",
            Self::Ndv => "ndv",
            Self::Bound => "bound",
            Self::Guess => "guess",
        }
    }
}

/// Rows of one set of relations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Estimated rows: finite and above zero, since an estimate of zero would make every plan on
    /// top of it look free.
    pub rows: f64,
    /// The least trustworthy source that went into it.
    pub source: EstimateSource,
    /// Rows the set cannot exceed, where that is known.
    pub upper_bound: Option<f64>,
}

impl Estimate {
    /// An estimate that no statistic stands behind.
    pub fn guess(rows: f64) -> Self {
        Self {
            rows,
            source: EstimateSource::Guess,
            upper_bound: None,
        }
    }
}

/// Rows of the sets of relations of one region.
pub trait Cardinalities: std::fmt::Debug {
    /// The estimate for the join of `relations` with all predicates inside it, whatever the join
    /// order. `relations` is not empty.
    fn estimate(&self, relations: RelSet) -> Estimate;

    /// The rows of [`estimate`](Self::estimate), for search.
    fn rows(&self, relations: RelSet) -> f64 {
        self.estimate(relations).rows
    }

    /// The rows as a product of relations and edges, if that is all they are. Searches need it for regions of more
    /// relations than a [`RelSet`] holds.
    fn product(&self) -> Option<&ProductRows> {
        None
    }
}

/// A way to estimate cardinalities.
pub trait CardinalityEstimator: std::fmt::Debug + Send + Sync {
    /// The name by which options and arms choose the estimator.
    fn name(&self) -> &str;

    /// Does the work that is needed once a region.
    fn prepare(&self, graph: &QueryGraph) -> Box<dyn Cardinalities>;

    /// Like [`prepare`](Self::prepare), for those who study estimates and can wait for better ones.
    fn prepare_thoroughly(&self, graph: &QueryGraph) -> Box<dyn Cardinalities> {
        self.prepare(graph)
    }
}
