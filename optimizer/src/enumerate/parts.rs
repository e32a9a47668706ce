//! A join graph in which a node is a relation or a compound of relations, with rows as a product.
//!
//! Searches of more than 64 relations see no sets but this: the logarithms of the rows of the parts and of the
//! selectivities between them. Logarithms, since products of thousands of relations leave the range of floats on the
//! way, even where the result is within it.

use super::{Problem, cheaper_orientation};
use crate::cost::{CostModel, JoinRows};
use crate::estimate::ProductRows;
use crate::join_graph::EdgeKind;
use crate::join_tree::{JoinTree, Step};
use crate::relset::RelSet;

/// What connects a part with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PartEdge {
    /// The other part.
    pub(super) to: u32,
    /// The best kind of predicate between the two; without one there is a selectivity and no way to join.
    pub(super) kind: Option<EdgeKind>,
    /// Natural logarithm of the selectivity.
    pub(super) selectivity: f64,
}

/// Parts and what connects them.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// By part the natural logarithm of its rows.
    pub(super) rows: Vec<f64>,
    /// By part where its edges start; one more for the end.
    starts: Vec<u32>,
    edges: Vec<PartEdge>,
}

impl Parts {
    /// Parts by the logarithms of their rows and selectivities; edges between the same two parts are applied together.
    pub(super) fn new(
        rows: Vec<f64>,
        edges: impl IntoIterator<Item = (usize, usize, Option<EdgeKind>, f64)>,
    ) -> Self {
        let mut directed: Vec<(u32, PartEdge)> = vec![];
        for (a, b, kind, selectivity) in edges {
            for (from, to) in [(a, b), (b, a)] {
                let to = to as u32;
                directed.push((
                    from as u32,
                    PartEdge {
                        to,
                        kind,
                        selectivity,
                    },
                ));
            }
        }
        // A stable sort adds up the selectivities of both directions in the same order.
        directed.sort_by_key(|(from, edge)| (*from, edge.to));
        directed.dedup_by(|(from, edge), (kept_from, kept)| {
            let same = (*from, edge.to) == (*kept_from, kept.to);
            if same {
                kept.kind = kept.kind.max(edge.kind);
                kept.selectivity += edge.selectivity;
            }
            same
        });
        let mut starts = vec![0_u32; rows.len() + 1];
        for (from, _) in &directed {
            starts[*from as usize + 1] += 1;
        }
        for part in 0..rows.len() {
            starts[part + 1] += starts[part];
        }
        Self {
            rows,
            starts,
            edges: directed.into_iter().map(|(_, edge)| edge).collect(),
        }
    }

    /// The relations of a problem, by what its cardinalities say as a product. Without a product all relations look
    /// alike.
    pub(super) fn of(problem: &Problem<'_>) -> Self {
        let n = problem.graph.len();
        let product = problem.cardinalities.product();
        let mut rows: Vec<f64> = product
            .map(|product| product.relations().iter().map(|rows| rows.ln()).collect())
            .unwrap_or_default();
        rows.resize(n, 0.0);
        let joins = problem.graph.edges().iter();
        let joins = joins.map(|(a, b, kind)| (*a, *b, Some(*kind), 0.0));
        let selectivities = product.map(ProductRows::edges).unwrap_or_default().iter();
        let selectivities = selectivities
            .filter(|(a, b, _)| *a < n && *b < n)
            .map(|(a, b, selectivity)| (*a, *b, None, selectivity.ln()));
        Self::new(rows, joins.chain(selectivities))
    }

    /// Disjoint sets of relations as parts. What two sets have in common with a third is not a product in general, so
    /// this is good for ordering them and no more; edges are there where the two could be joined, or where an operator
    /// or a predicate leads from one to the other.
    pub(super) fn of_sets(problem: &Problem<'_>, sets: &[RelSet]) -> Self {
        let rows = |set: RelSet| problem.cardinalities.rows(set).max(f64::MIN_POSITIVE).ln();
        let of_sets: Vec<f64> = sets.iter().map(|set| rows(*set)).collect();
        let mut edges = vec![];
        for (b, right) in sets.iter().enumerate() {
            for (a, left) in sets[..b].iter().enumerate() {
                if let Some(link) = problem.graph.link(*left, *right) {
                    let selectivity = rows(left.union(*right)) - of_sets[a] - of_sets[b];
                    let kind = match link.keyed {
                        true => EdgeKind::Equality,
                        false => EdgeKind::Theta,
                    };
                    edges.push((a, b, Some(kind), selectivity));
                }
            }
        }
        for (from, to) in problem.graph.ways() {
            let touching = |way: &RelSet| sets.iter().position(|set| set.intersects(*way));
            let (Some(a), Some(b)) = (touching(from), touching(to)) else {
                continue;
            };
            if a != b
                && !edges
                    .iter()
                    .any(|edge| (edge.0, edge.1) == (a.min(b), a.max(b)))
            {
                let selectivity = rows(from.union(*to)) - rows(*from) - rows(*to);
                edges.push((a.min(b), a.max(b), Some(EdgeKind::Theta), selectivity));
            }
        }
        Self::new(of_sets, edges)
    }

    /// Trees over disjoint parts as parts themselves.
    pub(super) fn compounds(&self, forest: &[JoinTree]) -> Self {
        let leaves: Vec<Vec<usize>> = forest.iter().map(JoinTree::leaves).collect();
        let mut compound_of = vec![None; self.len()];
        for (compound, leaves) in leaves.iter().enumerate() {
            for part in leaves {
                compound_of[*part] = Some(compound);
            }
        }
        let mut rows = vec![0.0; forest.len()];
        let mut between = vec![];
        for (compound, leaves) in leaves.iter().enumerate() {
            for part in leaves {
                rows[compound] += self.rows[*part];
                for edge in self.edges(*part).iter().filter(|e| *part < e.to as usize) {
                    match compound_of[edge.to as usize] {
                        Some(other) if other == compound => rows[compound] += edge.selectivity,
                        Some(other) => between.push((compound, other, edge.kind, edge.selectivity)),
                        None => {}
                    }
                }
            }
        }
        Self::new(rows, between)
    }

    /// How many parts there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What connects a part with others, by their number.
    pub(super) fn edges(&self, part: usize) -> &[PartEdge] {
        &self.edges[self.starts[part] as usize..self.starts[part + 1] as usize]
    }

    /// The cost of a tree over the parts. Each selectivity applies at the lowest join that has both ends. A leaf that
    /// is no part counts as one row.
    pub(super) fn tree_cost(&self, tree: &JoinTree, cost: &dyn CostModel) -> f64 {
        let mut total = 0.0;
        self.for_each_join(tree, cost, |join| total += join.cost);
        total
    }

    /// Visits the joins of a tree over the parts, inputs before outputs and left before right.
    pub(super) fn for_each_join(
        &self,
        tree: &JoinTree,
        cost: &dyn CostModel,
        mut visit: impl FnMut(PartJoin),
    ) {
        /// Leaves from one position to before another, and the logarithm of their rows.
        struct Span {
            from: usize,
            to: usize,
            rows: f64,
        }
        let mut leaves: Vec<usize> = vec![];
        let mut positions = vec![usize::MAX; self.len()];
        tree.fold(&mut |step: Step<Span>| match step {
            Step::Leaf(part) => {
                let from = leaves.len();
                leaves.push(part);
                if let Some(position) = positions.get_mut(part) {
                    *position = from;
                }
                Span {
                    from,
                    to: from + 1,
                    rows: self.rows.get(part).copied().unwrap_or(0.0),
                }
            }
            Step::Join(left, right) => {
                // From the side of fewer leaves: so each leaf is looked at in at most log n joins.
                let (small, large) = match left.to - left.from <= right.to - right.from {
                    true => (&left, &right),
                    false => (&right, &left),
                };
                let mut rows = left.rows + right.rows;
                let mut kind = None;
                for part in &leaves[small.from..small.to] {
                    if *part >= self.len() {
                        continue;
                    }
                    for edge in self.edges(*part) {
                        if (large.from..large.to).contains(&positions[edge.to as usize]) {
                            rows += edge.selectivity;
                            kind = kind.max(edge.kind);
                        }
                    }
                }
                visit(PartJoin {
                    rows,
                    connected: kind.is_some(),
                    cost: cost.join_cost(JoinRows {
                        left: rows_of(left.rows),
                        right: rows_of(right.rows),
                        output: rows_of(rows),
                        keyed: kind == Some(EdgeKind::Equality),
                        ..JoinRows::default()
                    }),
                });
                Span {
                    from: left.from,
                    to: right.to,
                    rows,
                }
            }
        });
    }
}

/// A join in a tree over parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartJoin {
    /// The logarithm of its rows.
    pub(super) rows: f64,
    /// Whether a predicate connects its inputs.
    pub(super) connected: bool,
    /// Its own cost.
    pub(super) cost: f64,
}

/// Rows by their logarithm, as estimates say them.
pub(super) fn rows_of(logarithm: f64) -> f64 {
    ProductRows::clamp(logarithm.exp())
}

/// A side of a join of parts: its rows and its lowest part, which breaks ties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub(super) rows: f64,
    pub(super) lowest: usize,
}

/// The cost of a join in its cheaper orientation, and whether the first side is the left input then.
pub(super) fn orient(
    cost: &dyn CostModel,
    a: Side,
    b: Side,
    output: f64,
    keyed: bool,
) -> (f64, bool) {
    let rows = JoinRows {
        left: a.rows,
        right: b.rows,
        output,
        keyed,
        ..JoinRows::default()
    };
    cheaper_orientation(cost, rows, a.lowest.cmp(&b.lowest))
}
