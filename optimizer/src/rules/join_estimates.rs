//! The estimates of a plan's joins, on their way from the logical to the physical optimizer.
//!
//! A physical plan has joins, but no names: which estimate belongs to which join is known before it is made. DataFusion
//! makes one physical join of each logical one, in the same places, so a list in the order of the plan is enough, with
//! the names of the key columns to notice when it is not.

use super::pass::Pass;
use crate::extract::{self, Kinds};
use crate::join_tree::JoinTree;
use crate::trace::TraceTree;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Subquery};
use std::any::Any;
use std::sync::Arc;

/// The estimated rows around a join.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JoinEstimate {
    /// Rows of the left input.
    pub(super) left: f64,
    /// Rows of the right input.
    pub(super) right: f64,
    /// Rows of the result.
    pub(super) output: f64,
    /// Whether statistics stand behind them.
    pub(super) known: bool,
    /// The equalities of plain columns, by their names.
    pub(super) keys: Vec<(String, String)>,
}

/// The estimates of the joins of the query that is being planned, inputs before outputs and left before right.
///
/// They travel as an extension of the query's own copy of the configuration, which is the only thing of a session that a physical
/// optimizer rule sees.
#[derive(Debug, Clone)]
pub(super) struct JoinEstimates {
    pub(super) joins: Arc<[JoinEstimate]>,
    /// Bytes that the session may use, if it is limited.
    pub(super) memory: Option<usize>,
}

impl ConfigExtension for JoinEstimates {
    const PREFIX: &'static str = "joinwright_estimates";
}

impl ExtensionOptions for JoinEstimates {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        not_impl_err!("{key} is no setting")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![]
    }
}

impl Pass<'_> {
    /// The estimates of all joins of an optimized plan, as DataFusion orders the joins of the physical plan: scalar
    /// subqueries come after the plan that uses them. `None` if the plan has a join that no estimate can be had for.
    pub(super) fn estimate_joins(&self, plan: &LogicalPlan) -> Option<Vec<JoinEstimate>> {
        let mut joins = vec![];
        self.visit_query(plan, &mut joins)?;
        Some(joins)
    }

    fn visit_query(&self, plan: &LogicalPlan, joins: &mut Vec<JoinEstimate>) -> Option<()> {
        self.visit(plan, joins)?;
        for subquery in scalar_subqueries(plan)? {
            self.visit_query(&subquery.subquery, joins)?;
        }
        Some(())
    }

    #[recursive::recursive]
    fn visit(&self, plan: &LogicalPlan, joins: &mut Vec<JoinEstimate>) -> Option<()> {
        if let LogicalPlan::Join(join) = plan {
            if extract::is_large(plan) {
                return None;
            }
            if let Some(region) = extract::region(plan, Kinds::All, self.deriver()) {
                let tree = self.written_rows(&region);
                let known = region.graph.relations.iter().all(|r| r.base.known);
                let known = known || !self.options.require_statistics;
                let mut nodes = vec![];
                joins_of(plan, &region.written, &mut nodes)?;
                let mut nodes = nodes.into_iter();
                return self.visit_tree(&tree, &region, known, &mut nodes, joins);
            }
            self.visit(&join.left, joins)?;
            self.visit(&join.right, joins)?;
            let profile = |plan| self.deriver().profile(plan);
            let (left, right, output) = (profile(&join.left), profile(&join.right), profile(plan));
            joins.push(JoinEstimate {
                left: left.rows,
                right: right.rows,
                output: output.rows,
                known: left.known && right.known,
                keys: key_names(join),
            });
            return Some(());
        }
        for input in plan.inputs() {
            self.visit(input, joins)?;
        }
        Some(())
    }

    /// The joins of a region, and those in its leaves.
    fn visit_tree(
        &self,
        tree: &TraceTree,
        region: &extract::Region,
        known: bool,
        nodes: &mut std::vec::IntoIter<Node<'_>>,
        joins: &mut Vec<JoinEstimate>,
    ) -> Option<()> {
        match tree {
            TraceTree::Leaf { .. } => match nodes.next()? {
                Node::Leaf(leaf) => self.visit(region.leaves.get(leaf)?, joins),
                Node::Join(_) => None,
            },
            TraceTree::Join {
                left,
                right,
                est_rows,
                ..
            } => {
                self.visit_tree(left, region, known, nodes, joins)?;
                self.visit_tree(right, region, known, nodes, joins)?;
                let Node::Join(join) = nodes.next()? else {
                    return None;
                };
                joins.push(JoinEstimate {
                    left: left.est_rows(),
                    right: right.est_rows(),
                    output: *est_rows,
                    known,
                    keys: key_names(join),
                });
                Some(())
            }
        }
    }
}

/// What stands at a node of a region's tree.
enum Node<'a> {
    Leaf(usize),
    Join(&'a Join),
}

/// The nodes of a region's tree beside the joins of its plan, inputs before outputs; `None` if they do not match.
#[recursive::recursive]
fn joins_of<'a>(plan: &'a LogicalPlan, tree: &JoinTree, nodes: &mut Vec<Node<'a>>) -> Option<()> {
    match (tree, plan) {
        (JoinTree::Leaf(leaf), _) => {
            nodes.push(Node::Leaf(*leaf));
            Some(())
        }
        (JoinTree::Join(left, right), LogicalPlan::Join(join)) => {
            joins_of(&join.left, left, nodes)?;
            joins_of(&join.right, right, nodes)?;
            nodes.push(Node::Join(join));
            Some(())
        }
        // Renamings, aliases and filters between the joins of a region.
        (JoinTree::Join(..), _) => match plan.inputs()[..] {
            [input] => joins_of(input, tree, nodes),
            _ => None,
        },
    }
}

/// The names of the columns that are equal, where both sides are plain columns.
fn key_names(join: &Join) -> Vec<(String, String)> {
    let name = |expr: &Expr| match expr {
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    };
    let pairs = join.on.iter();
    pairs.filter_map(|(l, r)| name(l).zip(name(r))).collect()
}

/// The uncorrelated scalar subqueries that a plan uses itself, each once, in the order in which DataFusion plans them.
fn scalar_subqueries(plan: &LogicalPlan) -> Option<Vec<Subquery>> {
    let mut subqueries: Vec<Subquery> = vec![];
    let walked = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && subquery.outer_ref_columns.is_empty()
                    && !subqueries.contains(subquery)
                {
                    subqueries.push(subquery.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.ok().map(|_| subqueries)
}
