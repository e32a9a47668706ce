//! True cardinalities of sub-plans, from a file of `query,sub_plan,true_rows`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use serde::Deserialize;

/// A set of relations of a query with their predicates, and the rows of its join.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct SubPlan {
    query: String,
    /// The aliases of its relations, sorted, joined by `+`.
    #[serde(rename = "sub_plan")]
    pub(crate) name: String,
    pub(crate) true_rows: u64,
}

/// The sub-plans of a file by query, in its order.
pub(crate) type Truth = BTreeMap<String, Vec<SubPlan>>;

/// Reads a truth file; columns beside those of [`SubPlan`] are let be.
pub(crate) fn read_truth(path: &Path) -> Result<Truth> {
    let file = || format!("cannot read {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(file)?;
    let mut truth = Truth::new();
    for line in reader.deserialize() {
        let sub_plan: SubPlan = line.with_context(file)?;
        let query = sub_plan.query.clone();
        truth.entry(query).or_default().push(sub_plan);
    }
    Ok(truth)
}

/// The relations that a sub-plan names; `None` if the region has not all of them.
pub(crate) fn relations_of(name: &str, graph: &QueryGraph) -> Option<RelSet> {
    let place = |alias: &str| graph.relations.iter().position(|r| r.alias == alias);
    name.split('+').map(place).collect()
}
