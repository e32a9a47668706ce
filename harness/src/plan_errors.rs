//! P-errors of the plans that arms and other systems have in a run, where the suite knows its true cardinalities: the true cost of
//! what a plan joins over that of the best plan there is.
//!
//! Under C_out, and under `hashjoin`, where each join of either plan builds from its cheaper input: systems decide that after the
//! order. Of a query of several regions the costs are added up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use datafusion::common::TableReference;
use joinwright_optimizer::cost::{CostModel, Cout, HashJoin, HashJoinConstants};
use joinwright_optimizer::join_tree::JoinTree;
use joinwright_optimizer::query_graph::QueryGraph;
use joinwright_optimizer::relset::RelSet;
use joinwright_optimizer::{EstimatedRegion, Registry};
use joinwright_stats::Catalog;
use serde::{Deserialize, Serialize};

use crate::arm::{Arm, Kind};
use crate::peers::{Joins, Peer};
use crate::quality::{TrueCost, TrueRows, true_cost};
use crate::session::{Purpose, Session};
use crate::suite::{Query, Suite};
use crate::tables::TablePath;
use crate::truth::sub_queries::{Columns, SubQueries};
use crate::truth::{SubPlan, Truth, read_truth, relations_of};

/// What a plan costs over what the best one costs, both by true cardinalities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PErrors {
    pub(crate) cout: f64,
    pub(crate) hashjoin: f64,
}

/// Knows the truth of a suite.
pub(crate) struct Judge {
    truth: Truth,
    hash_join: HashJoin,
    columns: Columns,
    /// Its plans have the relations by which other systems are judged.
    session: Session,
}

impl Judge {
    /// `None` where the suite has no truth; a file that cannot be read is said.
    pub(crate) async fn of_suite(
        suite: &Suite,
        tables: &[TablePath],
        catalog: &Arc<Catalog>,
        threads: usize,
    ) -> Result<Option<Self>> {
        let Some(path) = &suite.truth else {
            return Ok(None);
        };
        let truth = match read_truth(path) {
            Ok(truth) => truth,
            Err(error) => {
                let why = crate::one_line(&error);
                crate::complain(&format!("there will be no P-errors: {why}"));
                return Ok(None);
            }
        };
        let session = default_session(tables, catalog).await?;
        Ok(Some(Self {
            truth,
            hash_join: HashJoin::new(HashJoinConstants::default(), threads),
            columns: columns_of(&session, tables).await?,
            session,
        }))
    }

    /// Of the plan that an arm of ours has; `None` where the truth of no region is known in full.
    pub(crate) async fn of_arm(&self, session: &Session, query: &Query) -> Result<Option<PErrors>> {
        let Some(sub_plans) = self.truth.get(&query.name) else {
            return Ok(None);
        };
        let regions = session.regions(&query.sql, false).await;
        let regions = regions.with_context(|| format!("cannot plan query {}", query.name))?;
        let mut costs = Costs::default();
        for region in &regions {
            costs.add(
                &self.hash_join,
                region,
                &joins_of(&region.written),
                sub_plans,
            );
        }
        Ok(costs.errors())
    }

    /// Of the plan that another system has; `None` where the truth is not known in full, or the plan cannot be told by its joins.
    pub(crate) async fn of_peer(&self, peer: &mut Peer, query: &Query) -> Result<Option<PErrors>> {
        let Some(sub_plans) = self.truth.get(&query.name) else {
            return Ok(None);
        };
        let Ok(parts) = SubQueries::parse(&query.sql, &self.columns) else {
            return Ok(None);
        };
        let Some(joins) = peer.chosen_joins(&parts).await? else {
            return Ok(None);
        };
        let regions = self.session.regions(&query.sql, false).await;
        let regions = regions.with_context(|| format!("cannot plan query {}", query.name))?;
        let mut costs = Costs::default();
        for region in &regions {
            if let Some(joins) = sets_of(&joins, &region.graph) {
                costs.add(&self.hash_join, region, &joins, sub_plans);
            }
        }
        Ok(costs.errors())
    }
}

/// The session of DataFusion untouched.
pub(crate) async fn default_session(
    tables: &[TablePath],
    catalog: &Arc<Catalog>,
) -> Result<Session> {
    let arm = Arm {
        name: "default".to_owned(),
        kind: Kind::Default,
    };
    let (registry, purpose) = (Registry::default(), Purpose::Explain);
    Session::open(&arm, tables, catalog, &registry, 1, purpose).await
}

/// The names of all columns.
pub(crate) async fn columns_of(session: &Session, tables: &[TablePath]) -> Result<Columns> {
    let mut columns = Columns::new();
    for table in tables {
        let name = TableReference::bare(table.name.as_str());
        let schema = session.context.table_provider(name).await?.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        columns.insert(table.name.clone(), names.collect());
    }
    Ok(columns)
}

/// What a system joins, as sets of the relations of a region; `None` if it joins others.
pub(crate) fn sets_of(joins: &Joins, graph: &QueryGraph) -> Option<BTreeSet<RelSet>> {
    let place = |alias: &String| {
        let mut relations = graph.relations.iter();
        relations.position(|relation| relation.alias.to_lowercase() == *alias)
    };
    let sets = joins.iter();
    sets.map(|join| join.iter().map(place).collect()).collect()
}

fn joins_of(tree: &JoinTree) -> BTreeSet<RelSet> {
    let mut joins = BTreeSet::new();
    tree.for_each_join(&mut |left, right| {
        joins.insert(left.union(right));
    });
    joins
}

/// The costs of all regions of a query.
#[derive(Default)]
struct Costs {
    known: bool,
    cout: TrueCost,
    hash_join: TrueCost,
}

impl Costs {
    fn add(
        &mut self,
        model: &HashJoin,
        region: &EstimatedRegion,
        joins: &BTreeSet<RelSet>,
        sub_plans: &[SubPlan],
    ) {
        let known = sub_plans.iter().filter_map(|sub_plan| {
            let set = relations_of(&sub_plan.name, &region.graph)?;
            Some((set, sub_plan.true_rows as f64))
        });
        let truth = TrueRows(known.collect::<BTreeMap<_, _>>());
        let all = RelSet::first_n(region.graph.relations.len());
        if !truth.0.contains_key(&all) {
            return;
        }
        let graph = region.graph.join_graph();
        let cost = |model: &dyn CostModel| true_cost(&graph, &region.written, joins, &truth, model);
        let Some((cout, hash_join)) = cost(&Cout).zip(cost(model)) else {
            return;
        };
        self.known = true;
        self.cout.add(cout);
        self.hash_join.add(hash_join);
    }

    fn errors(&self) -> Option<PErrors> {
        self.known.then(|| PErrors {
            cout: self.cout.error(),
            hashjoin: self.hash_join.error(),
        })
    }
}
