//! Spools: a sub-plan that stands in a query more than once runs once.
//!
//! DataFusion puts the text of a common table expression wherever the query names it, and runs it each time. After all other
//! rules the copies that are still equal, and cost more to run than their rows cost to keep, become the inputs of
//! [`SpoolExec`] operators, which read from one buffer. (Zhou, Larson, Freytag and Lehner: Efficient Exploitation of
//! Similar Subexpressions for Query Processing, SIGMOD 2007, without the merging of those that only are similar.)

mod buffer;
mod exec;
mod node;
mod share;

pub use exec::SpoolExec;
pub(super) use node::SpoolPlanner;
pub use share::ShareSpools;

use self::node::Spool;
use super::pass::Pass;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashMap, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, TableScan, Volatility};
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

/// Rows that a copy reads from tables, for each row that it returns: what a spool keeps it writes and reads, and what filters
/// from above would have dropped it keeps, too.
const LEAST_READ: f64 = 2.0;

/// Bytes of a row's number, date or view of a text, and of a text beside its view.
const FIXED_BYTES: f64 = 8.0;
const TEXT_BYTES: f64 = 32.0;

/// The most bytes that a spool may be expected to keep, and the most of the memory that a session may use. What it keeps beyond
/// that is in files.
const MOST_BYTES: f64 = 256e6;
const MOST_OF_MEMORY: f64 = 0.125;

/// Of a session that may use so much memory, if it is limited.
fn most_bytes(memory: Option<usize>) -> f64 {
    memory.map_or(MOST_BYTES, |m| MOST_BYTES.min(m as f64 * MOST_OF_MEMORY))
}

impl Pass<'_> {
    /// The plan with spools in place of sub-plans that stand in it more than once; `None` if there are none that pay. `memory` is
    /// what the session may use, if that is limited.
    pub(super) fn spool(
        &self,
        plan: &LogicalPlan,
        memory: Option<usize>,
    ) -> Result<Option<LogicalPlan>> {
        let subqueries = subqueries(plan)?;
        let mut nodes = vec![];
        for plan in std::iter::once(plan).chain(subqueries.iter().map(Arc::as_ref)) {
            collect(plan, &mut nodes)?;
        }
        let shared = self.shared(&nodes, memory);
        if shared.is_empty() {
            return Ok(None);
        }
        let spooled = plan.clone().transform_down_with_subqueries(|node| {
            match node {
                // What runs again with other rows has no copy.
                LogicalPlan::RecursiveQuery(_) => {
                    Ok(Transformed::new(node, false, TreeNodeRecursion::Jump))
                }
                node => with_spools(node, &shared),
            }
        })?;
        Ok(Some(spooled.data))
    }

    /// The sub-plans that stand in a plan more than once and are worth a spool, each once, the outer ones first.
    fn shared<'p>(&self, nodes: &[Node<'p>], memory: Option<usize>) -> Vec<&'p LogicalPlan> {
        let mut alike: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            if node.movable && node.works {
                alike.entry(node.outline).or_default().push(at);
            }
        }
        let mut shared = vec![];
        // Parts of a copy that does not run.
        let mut gone = vec![false; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            if gone[at] {
                continue;
            }
            let others = alike.get(&node.outline).filter(|_| node.movable);
            let others = others.into_iter().flatten().copied();
            let copies = others.filter(|&other| {
                other > at && !gone[other] && are_copies(nodes[other].plan, node.plan)
            });
            let copies: Vec<usize> = copies.collect();
            if copies.is_empty() || !self.pays(node.plan, memory) {
                continue;
            }
            shared.push(node.plan);
            for copy in copies {
                gone[copy..copy + nodes[copy].size].fill(true);
            }
        }
        shared
    }

    /// Whether it takes longer to run a sub-plan again than to keep its rows.
    fn pays(&self, plan: &LogicalPlan, memory: Option<usize>) -> bool {
        if self.options.spool_min_rows == 0 {
            return true;
        }
        let profile = self.deriver().profile(plan);
        if !profile.known || profile.rows * row_bytes(plan) > most_bytes(memory) {
            return false;
        }
        let mut read = 0.0;
        // The closure returns no error.
        let _ = plan.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let all = TableScan {
                    filters: vec![],
                    fetch: None,
                    ..scan.clone()
                };
                read += self.deriver().profile(&LogicalPlan::TableScan(all)).rows;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        read >= self.options.spool_min_rows as f64 && read >= LEAST_READ * profile.rows
    }
}

/// A node, or if it is a copy the spool of it, with spools in it.
fn with_spools(node: LogicalPlan, shared: &[&LogicalPlan]) -> Result<Transformed<LogicalPlan>> {
    let Some(number) = shared.iter().position(|copy| are_copies(copy, &node)) else {
        return Ok(Transformed::no(node));
    };
    let inner =
        node.map_children(|child| child.transform_down(|node| with_spools(node, shared)))?;
    let spool = Spool {
        number,
        input: inner.data,
    };
    let node = Arc::new(spool);
    let plan = LogicalPlan::Extension(Extension { node });
    Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
}

/// Whether two plans return the same rows.
fn are_copies(one: &LogicalPlan, other: &LogicalPlan) -> bool {
    one == other && {
        let sources = sources(one);
        sources.is_some() && sources == self::sources(other)
    }
}

/// The plans of the subqueries in a plan's expressions, and of those in theirs.
fn subqueries(plan: &LogicalPlan) -> Result<Vec<Arc<LogicalPlan>>> {
    let mut found: Vec<Arc<LogicalPlan>> = vec![];
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                // DataFusion runs equal ones once.
                if let Expr::ScalarSubquery(subquery) = expr
                    && !found.contains(&subquery.subquery)
                {
                    found.push(Arc::clone(&subquery.subquery));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// A node of a plan, in the order of a walk from above.
struct Node<'p> {
    plan: &'p LogicalPlan,
    /// Nodes of its sub-plan, itself among them.
    size: usize,
    /// Alike for equal sub-plans, and cheaply computed.
    outline: u64,
    /// Whether it returns the same rows wherever it stands.
    movable: bool,
    /// Whether it does more than read.
    works: bool,
}

#[recursive::recursive]
fn collect<'p>(plan: &'p LogicalPlan, nodes: &mut Vec<Node<'p>>) -> Result<()> {
    let at = nodes.len();
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    discriminant(plan).hash(&mut hasher);
    plan.schema().fields().len().hash(&mut hasher);
    let (mut movable, mut works) = match plan {
        LogicalPlan::Join(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Window(_) => (true, true),
        LogicalPlan::TableScan(scan) => {
            scan.table_name.hash(&mut hasher);
            scan.filters.len().hash(&mut hasher);
            (true, false)
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Unnest(_) => (true, false),
        _ => (false, false),
    };
    nodes.push(Node {
        plan,
        size: 0,
        outline: 0,
        movable: false,
        works: false,
    });
    plan.apply_expressions(|expr| {
        movable &= !depends(expr);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !matches!(plan, LogicalPlan::RecursiveQuery(_)) {
        for input in plan.inputs() {
            let child = nodes.len();
            collect(input, nodes)?;
            let child = &nodes[child];
            child.outline.hash(&mut hasher);
            movable &= child.movable;
            works |= child.works;
        }
    }
    let size = nodes.len() - at;
    nodes[at] = Node {
        plan,
        size,
        outline: hasher.finish(),
        movable,
        works,
    };
    Ok(())
}

/// Whether an expression has another value at another place or time: it looks at an outer query or is random, or it reads
/// the result of a scalar subquery, which is there for the query that it belongs to.
fn depends(expr: &Expr) -> bool {
    let mut found = false;
    // The closure returns no error.
    let _ = expr.apply(|expr| {
        found |= matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ) || is_volatile(expr);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    found
}

fn is_volatile(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(f) => f.func.signature().volatility == Volatility::Volatile,
        Expr::WindowFunction(f) => f.fun.signature().volatility == Volatility::Volatile,
        _ => expr.is_volatile_node(),
    }
}

/// Where the tables of a sub-plan come from, which its equality does not ask for. `None` stands for one that is not known.
fn sources(plan: &LogicalPlan) -> Option<Vec<*const ()>> {
    let mut sources = Some(vec![]);
    // The closure returns no error.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider: Option<Arc<dyn TableProvider>> = source_as_provider(&scan.source).ok();
            match (provider, &mut sources) {
                (Some(provider), Some(sources)) => sources.push(Arc::as_ptr(&provider).cast()),
                _ => sources = None,
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    sources
}

/// Bytes of a row in memory, by the types of its columns.
fn row_bytes(plan: &LogicalPlan) -> f64 {
    let fields = plan.schema().fields().iter();
    let bytes = fields.map(|field| match field.data_type().primitive_width() {
        Some(width) => (width as f64).max(FIXED_BYTES),
        None => TEXT_BYTES,
    });
    bytes.sum()
}
