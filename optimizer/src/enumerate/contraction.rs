//! A part of the relations as one.
//!
//! Edges, predicates and operators lead to the part where they led to one of its relations, and its rows are those of its
//! set. What a predicate or operator needs of a relation inside, it has as soon as it has the whole, so the joins
//! allowed of the small graph are those allowed of the large one.

use super::hint::{ForcedTree, renumbered};
use crate::estimate::{Cardinalities, Estimate, ProductRows};
use crate::join_graph::{ConflictRule, EdgeKind, JoinGraph, Operator};
use crate::join_tree::JoinTree;
use crate::relset::{MAX_RELATIONS, RelSet};

/// A part of the relations as one.
#[derive(Debug)]
pub(super) struct Contraction {
    /// By relation its number in the contracted graph.
    to: Vec<usize>,
    /// By number in the contracted graph the relation, the lowest of the part for the part.
    from: Vec<usize>,
    /// The number of the part.
    part: usize,
    /// The tree of the part.
    tree: JoinTree,
    named: Vec<bool>,
}

impl Contraction {
    /// The part that `forced` names of so many relations.
    pub(super) fn new(relations: usize, forced: &ForcedTree) -> Self {
        let mut named = vec![false; relations];
        for relation in &forced.named {
            named[*relation] = true;
        }
        let lowest = named.iter().position(|n| *n).unwrap_or(0);
        let stays = |relation: &usize| !named[*relation] || *relation == lowest;
        let from: Vec<usize> = (0..relations).filter(stays).collect();
        let mut to = vec![lowest; relations];
        for (number, relation) in from.iter().enumerate() {
            to[*relation] = number;
        }
        // The part is where its lowest relation was: none before it is gone.
        Self {
            to,
            from,
            part: lowest,
            tree: forced.tree.clone(),
            named,
        }
    }

    /// A set in terms of the contracted graph.
    fn set(&self, set: RelSet) -> RelSet {
        set.iter().map(|relation| self.to[relation]).collect()
    }

    /// The contracted graph.
    pub(super) fn graph(&self, graph: &JoinGraph) -> JoinGraph {
        let edges = graph.edges().iter();
        let edges = edges.map(|(a, b, kind)| (self.to[*a], self.to[*b], *kind));
        // Of a predicate on three relations an edge may be left.
        let predicates: Vec<RelSet> = graph.predicates().iter().map(|p| self.set(*p)).collect();
        let pairs = predicates.iter().filter_map(|set| {
            let (a, b) = (set.first()?, set.last()?);
            (set.len() == 2).then_some((a, b, EdgeKind::Theta))
        });
        let contracted = JoinGraph::new(self.from.len(), edges.chain(pairs));
        if graph.is_plain() {
            return contracted;
        }
        let operators = graph.operators().iter();
        contracted
            .with_predicates(predicates.iter().copied())
            .with_operators(
                operators
                    .map(|operator| Operator {
                        relations: self.set(operator.relations),
                        left: self.set(operator.left),
                        right: self.set(operator.right),
                        rules: operator
                            .rules
                            .iter()
                            .map(|rule| ConflictRule {
                                if_any: self.set(rule.if_any),
                                then_all: self.set(rule.then_all),
                            })
                            .collect(),
                        ..operator.clone()
                    })
                    // The joins of the part are made.
                    .filter(|operator| operator.relations.len() > 1)
                    .collect(),
            )
    }

    /// Rows and selectivities of the contracted graph.
    pub(super) fn product(&self, rows: &ProductRows) -> ProductRows {
        let mut relations: Vec<f64> = self.from.iter().map(|r| rows.relations()[*r]).collect();
        let inside = |relation: usize| self.named[relation];
        let mut part = 1.0;
        for (relation, rows) in rows.relations().iter().enumerate() {
            if inside(relation) {
                part *= rows;
            }
        }
        let mut edges = vec![];
        for (a, b, selectivity) in rows.edges() {
            match inside(*a) && inside(*b) {
                true => part *= selectivity,
                false => edges.push((self.to[*a], self.to[*b], *selectivity)),
            }
        }
        relations[self.part] = ProductRows::clamp(part);
        ProductRows::new(relations, edges)
    }

    /// The written tree with the part where its first relation was. It need not be allowed.
    pub(super) fn written(&self, tree: &JoinTree) -> JoinTree {
        let mut seen = false;
        self.without_part(tree, &mut seen)
            .unwrap_or(JoinTree::Leaf(self.part))
    }

    #[recursive::recursive]
    fn without_part(&self, tree: &JoinTree, seen: &mut bool) -> Option<JoinTree> {
        match tree {
            JoinTree::Leaf(relation) => {
                let again = self.named[*relation] && std::mem::replace(seen, true);
                (!again).then(|| JoinTree::Leaf(self.to[*relation]))
            }
            JoinTree::Join(left, right) => {
                let left = self.without_part(left, seen);
                match (left, self.without_part(right, seen)) {
                    (Some(left), Some(right)) => Some(JoinTree::join(left, right)),
                    (left, right) => left.or(right),
                }
            }
        }
    }

    /// A tree of the contracted graph with the part in it.
    pub(super) fn expanded(&self, tree: &JoinTree) -> JoinTree {
        self.with_part(&renumbered(tree, &self.from))
    }

    #[recursive::recursive]
    fn with_part(&self, tree: &JoinTree) -> JoinTree {
        match tree {
            JoinTree::Leaf(relation) if self.named[*relation] => self.tree.clone(),
            JoinTree::Leaf(relation) => JoinTree::Leaf(*relation),
            JoinTree::Join(left, right) => {
                JoinTree::join(self.with_part(left), self.with_part(right))
            }
        }
    }
}

/// Rows of the contracted graph.
#[derive(Debug)]
pub(super) struct ContractedRows<'a> {
    contraction: &'a Contraction,
    whole: &'a dyn Cardinalities,
    product: Option<ProductRows>,
}

impl<'a> ContractedRows<'a> {
    /// What is known of the whole graph in terms of the contracted one.
    pub(super) fn new(contraction: &'a Contraction, whole: &'a dyn Cardinalities) -> Self {
        let product = whole.product().map(|rows| contraction.product(rows));
        Self {
            contraction,
            whole,
            product,
        }
    }
}

impl Cardinalities for ContractedRows<'_> {
    fn estimate(&self, set: RelSet) -> Estimate {
        let Contraction {
            to, part, named, ..
        } = self.contraction;
        // Sets of the large graph are too large for a word, but then its rows are a product.
        if let (Some(product), true) = (&self.product, to.len() > MAX_RELATIONS) {
            return product.estimate(set);
        }
        let mut relations: RelSet = set.iter().map(|i| self.contraction.from[i]).collect();
        if set.contains(*part) {
            let inside = (0..named.len()).filter(|relation| named[*relation]);
            relations = relations.union(inside.collect());
        }
        self.whole.estimate(relations)
    }

    fn product(&self) -> Option<&ProductRows> {
        self.product.as_ref()
    }
}
