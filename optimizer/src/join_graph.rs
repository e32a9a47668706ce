//! The join graph as search sees it: neighbour tables, and the joins that may not stand anywhere.
//!
//! Most predicates of most queries relate two relations of inner joins, and such an edge is two bits in a table. What
//! is more than that is an [`Operator`]: outer, semi, anti and mark joins, and inner joins whose place they restrict.
//! An operator carries what the conflict detector found ([`conflicts`](crate::conflicts)): the relations that have to
//! be on either side of it, and rules.

use crate::relset::{MAX_RELATIONS, RelSet};
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;

/// What connects two relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// No predicate at all: the two may form a cross product, see [`with_products`](crate::enumerate::with_products).
    Product,
    /// A predicate that no hash join can use: `a.x < b.y`.
    Theta,
    /// An equality, written or implied.
    Equality,
}

/// What a join does with the rows of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Rows with a partner, once for each.
    Inner,
    /// The same, and the left rows without a partner.
    Left,
    /// The same, and the right rows without a partner.
    Full,
    /// Left rows with a partner.
    Semi,
    /// Left rows without a partner.
    Anti,
    /// All left rows, and whether they have a partner.
    Mark,
}

impl JoinKind {
    /// The kind as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Full => "full",
            Self::Semi => "semi",
            Self::Anti => "anti",
            Self::Mark => "mark",
        }
    }

    /// Whether both inputs may change places.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Inner | Self::Full)
    }
}

/// A join that may not stand anywhere: a hyperedge between two sets of relations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// What it does with rows.
    pub kind: JoinKind,
    /// The relations that its predicate uses (the syntactic eligibility set).
    pub relations: RelSet,
    /// The relations that one input has to have (the left part of the total eligibility set): the preserved input where
    /// the kind is not symmetric.
    pub left: RelSet,
    /// The relations that the other input has to have.
    pub right: RelSet,
    /// Whether an equality is part of its predicate.
    pub keyed: bool,
    /// What else has to be in its inputs.
    pub rules: Vec<ConflictRule>,
}

/// If any of these relations is in the inputs of a join, then all of those have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConflictRule {
    /// Any of these…
    pub if_any: RelSet,
    /// …asks for all of these.
    pub then_all: RelSet,
}

impl Operator {
    /// All relations that it speaks of. What no operator of a graph mentions may be joined anywhere.
    pub fn mentioned(&self) -> RelSet {
        let rules = self.rules.iter();
        let of_rules = rules.map(|rule| rule.if_any.union(rule.then_all));
        let own = self.relations.union(self.left).union(self.right);
        of_rules.fold(own, RelSet::union)
    }

    /// Whether the join of `a` and `b` can be this operator; `Some(true)` if `b` is its left input.
    pub fn applicable(&self, a: RelSet, b: RelSet) -> Option<bool> {
        let both = a.union(b);
        let obeyed =
            |rule: &ConflictRule| !rule.if_any.intersects(both) || rule.then_all.is_subset(both);
        if !self.rules.iter().all(obeyed) {
            return None;
        }
        if self.left.is_subset(a) && self.right.is_subset(b) {
            Some(false)
        } else if self.left.is_subset(b) && self.right.is_subset(a) {
            Some(true)
        } else {
            None
        }
    }
}

/// How two sets of relations can be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What the join does with rows.
    pub kind: JoinKind,
    /// Whether an equality connects the sets.
    pub keyed: bool,
    /// Whether the second set is the left, preserved input of a join that is not symmetric.
    pub swapped: bool,
}

/// Which relations of a region are neighbours.
///
/// A graph has any number of relations; the methods that take or return a [`RelSet`] need at most [`MAX_RELATIONS`].
/// Graphs beyond that have plain edges alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinGraph {
    count: usize,
    /// Plain edges, each once, the lower relation first, sorted.
    edges: Vec<(usize, usize, EdgeKind)>,
    /// By relation: those that any plain edge connects it with.
    neighbors: Vec<RelSet>,
    /// By relation: those that a predicate of a plain edge connects it with.
    related: Vec<RelSet>,
    /// By relation: those that an equality of a plain edge connects it with.
    keyed: Vec<RelSet>,
    /// Inner predicates on three relations or more.
    predicates: Vec<RelSet>,
    operators: Vec<Operator>,
    /// By relation the bytes of a row; empty if they are not known.
    widths: Vec<u32>,
    /// The relations that operators speak of.
    restricted: RelSet,
    /// Hyperedges of operators and predicates in both directions: who has all of the first has a way to the second.
    ways: Vec<(RelSet, RelSet)>,
}

/// Beyond this many relations a predicate is no way from one to another: it would be `2^n` of them.
const MOST_PREDICATE_RELATIONS: usize = 6;

impl JoinGraph {
    /// A graph over relations `0..count` with the given edges. Edges from a relation to itself are dropped; of several
    /// between the same two relations the greatest kind counts.
    ///
    /// # Panics
    /// If an edge names a relation that is not there; callers take both from the region they extracted.
    pub fn new(count: usize, edges: impl IntoIterator<Item = (usize, usize, EdgeKind)>) -> Self {
        let mut edges: Vec<_> = edges
            .into_iter()
            .inspect(|(a, b, _)| {
                assert!(
                    *a < count && *b < count,
                    "edge {a}-{b} of {count} relations"
                );
            })
            .filter(|(a, b, _)| a != b)
            .map(|(a, b, kind)| (a.min(b), a.max(b), kind))
            .collect();
        // The greatest kind comes first and stays.
        edges.sort_unstable_by(|x, y| (x.0, x.1).cmp(&(y.0, y.1)).then(y.2.cmp(&x.2)));
        edges.dedup_by_key(|(a, b, _)| (*a, *b));
        let words = if count <= MAX_RELATIONS { count } else { 0 };
        let mut neighbors = vec![RelSet::EMPTY; words];
        let mut related = neighbors.clone();
        let mut keyed = neighbors.clone();
        if words > 0 {
            for (a, b, kind) in &edges {
                for (from, to) in [(*a, *b), (*b, *a)] {
                    let to = RelSet::single(to);
                    neighbors[from] = neighbors[from].union(to);
                    if *kind != EdgeKind::Product {
                        related[from] = related[from].union(to);
                    }
                    if *kind == EdgeKind::Equality {
                        keyed[from] = keyed[from].union(to);
                    }
                }
            }
        }
        Self {
            count,
            edges,
            neighbors,
            related,
            keyed,
            predicates: vec![],
            operators: vec![],
            widths: vec![],
            restricted: RelSet::EMPTY,
            ways: vec![],
        }
    }

    /// The same graph with inner predicates on three relations or more, which connect any two sets that have all of
    /// their relations together.
    ///
    /// # Panics
    /// If the graph has more than [`MAX_RELATIONS`] relations.
    #[must_use]
    pub fn with_predicates(mut self, predicates: impl IntoIterator<Item = RelSet>) -> Self {
        assert!(self.count <= MAX_RELATIONS, "{} relations", self.count);
        for relations in predicates {
            if relations.len() < 3 || self.predicates.contains(&relations) {
                continue;
            }
            self.predicates.push(relations);
            if relations.len() <= MOST_PREDICATE_RELATIONS {
                let halves = relations.subsets().filter(|half| *half != relations);
                self.ways
                    .extend(halves.map(|half| (half, relations.minus(half))));
            }
        }
        self
    }

    /// The same graph with operators.
    ///
    /// # Panics
    /// If the graph has more than [`MAX_RELATIONS`] relations.
    #[must_use]
    pub fn with_operators(mut self, operators: Vec<Operator>) -> Self {
        assert!(self.count <= MAX_RELATIONS, "{} relations", self.count);
        for operator in &operators {
            self.ways.push((operator.left, operator.right));
            self.ways.push((operator.right, operator.left));
            self.restricted = self.restricted.union(operator.mentioned());
        }
        self.operators = operators;
        self
    }

    /// The same graph with the bytes of a row of each relation.
    #[must_use]
    pub fn with_widths(mut self, widths: Vec<u32>) -> Self {
        self.widths = widths;
        self
    }

    /// Bytes of a row of the join of a set, as far as they are known.
    pub fn width(&self, set: RelSet) -> f64 {
        let widths = set.iter().filter_map(|relation| self.widths.get(relation));
        f64::from(widths.fold(0_u32, |sum, width| sum.saturating_add(*width)))
    }

    /// The graph of a petgraph graph whose node indexes are the relations.
    pub fn from_petgraph<N>(graph: &UnGraph<N, EdgeKind>) -> Self {
        Self::new(
            graph.node_count(),
            graph
                .edge_references()
                .map(|e| (e.source().index(), e.target().index(), *e.weight())),
        )
    }

    /// The plain edges as petgraph knows them, a node a relation, for drawing and checking.
    pub fn to_petgraph(&self) -> UnGraph<usize, EdgeKind> {
        let mut graph = UnGraph::new_undirected();
        for relation in 0..self.len() {
            graph.add_node(relation);
        }
        for (a, b, kind) in &self.edges {
            graph.add_edge(NodeIndex::new(*a), NodeIndex::new(*b), *kind);
        }
        graph
    }

    /// The number of relations.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the graph has no relation.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The plain edges, each once, the lower relation first, sorted.
    pub fn edges(&self) -> &[(usize, usize, EdgeKind)] {
        &self.edges
    }

    /// The relations that operators speak of: no product may have one of them.
    pub fn restricted(&self) -> RelSet {
        self.restricted
    }

    /// Inner predicates on three relations or more.
    pub fn predicates(&self) -> &[RelSet] {
        &self.predicates
    }

    /// The joins that may not stand anywhere.
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// Whether plain edges are all there is, so that any connected set can be joined in any way.
    pub fn is_plain(&self) -> bool {
        self.operators.is_empty() && self.predicates.is_empty()
    }

    /// All relations of the graph.
    pub fn all(&self) -> RelSet {
        RelSet::first_n(self.len())
    }

    /// The neighbours of one relation by plain edges.
    pub fn neighbors(&self, relation: usize) -> RelSet {
        self.neighbors[relation]
    }

    /// The relations that an equality of a plain edge connects with a relation of `set`; some may be in it.
    pub fn keyed_neighbors(&self, set: RelSet) -> RelSet {
        set.iter().fold(RelSet::EMPTY, |around, relation| {
            around.union(self.keyed[relation])
        })
    }

    /// The relations outside `set` that a plain edge connects with it.
    pub fn neighborhood(&self, set: RelSet) -> RelSet {
        let mut around = RelSet::EMPTY;
        for relation in set.iter() {
            around = around.union(self.neighbors[relation]);
        }
        around.minus(set)
    }

    /// Hyperedges in both directions: a set that has all of the first has a way to the second.
    pub(crate) fn ways(&self) -> &[(RelSet, RelSet)] {
        &self.ways
    }

    /// Whether a plain edge connects the two sets.
    pub fn connects(&self, a: RelSet, b: RelSet) -> bool {
        let (small, other) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        small.iter().any(|r| self.neighbors[r].intersects(other))
    }

    /// Whether an equality of a plain edge connects the two sets, so that their join can be a hash join.
    pub fn has_key(&self, a: RelSet, b: RelSet) -> bool {
        let (small, other) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        small.iter().any(|r| self.keyed[r].intersects(other))
    }

    /// How two disjoint sets, each joined in an allowed way, can be joined; `None` if nothing connects them, or if that
    /// is not allowed.
    ///
    /// Every predicate and operator that gets all its relations by this join has to be applied by it, since no later
    /// one can. An operator other than an inner join has to be the only one.
    pub fn link(&self, a: RelSet, b: RelSet) -> Option<Link> {
        let mut inner = self.connects(a, b);
        let mut keyed = inner && self.has_key(a, b);
        if self.is_plain() {
            return inner.then_some(Link {
                kind: JoinKind::Inner,
                keyed,
                swapped: false,
            });
        }
        let both = a.union(b);
        // A product may take a relation to the wrong side of an operator.
        if inner && both.intersects(self.restricted) {
            let (small, other) = if a.len() <= b.len() { (a, b) } else { (b, a) };
            inner = small.iter().any(|r| self.related[r].intersects(other));
        }
        let completed = |set: RelSet| set.is_subset(both) && !set.is_subset(a) && !set.is_subset(b);
        inner |= self.predicates.iter().any(|p| completed(*p));
        let mut outer = None;
        for operator in &self.operators {
            if !completed(operator.relations) {
                continue;
            }
            let swapped = operator.applicable(a, b)?;
            if operator.kind == JoinKind::Inner {
                inner = true;
                keyed |= operator.keyed;
            } else if outer
                .replace(Link {
                    kind: operator.kind,
                    keyed: operator.keyed,
                    swapped: swapped && !operator.kind.is_symmetric(),
                })
                .is_some()
            {
                return None;
            }
        }
        match (outer, inner) {
            (Some(_), true) | (None, false) => None,
            (Some(link), false) => Some(link),
            (None, true) => Some(Link {
                kind: JoinKind::Inner,
                keyed,
                swapped: false,
            }),
        }
    }

    /// Whether the relations of `set` are connected with each other by plain edges. The empty set is not.
    pub fn is_connected(&self, set: RelSet) -> bool {
        match set.first() {
            None => false,
            Some(first) => self.reach(first, set) == set,
        }
    }

    /// The components that neither edges nor operators connect, each as a set, ordered by their lowest relation.
    pub fn components(&self) -> Vec<RelSet> {
        let mut rest = self.all();
        let mut components = vec![];
        while let Some(first) = rest.first() {
            let mut component = self.reach(first, rest);
            while let Some(more) = self.joined_by_ways(component, rest) {
                component = component.union(more);
            }
            rest = rest.minus(component);
            components.push(component);
        }
        components
    }

    /// What the hyperedges add to a component, with all that plain edges connect with it.
    fn joined_by_ways(&self, component: RelSet, within: RelSet) -> Option<RelSet> {
        let (from, to) = self.ways.iter().find(|(from, to)| {
            let touched = from.union(*to);
            touched.intersects(component) && !touched.is_subset(component)
        })?;
        let new = from.union(*to).minus(component).intersect(within);
        (!new.is_empty()).then(|| {
            new.iter().fold(new, |more, relation| {
                more.union(self.reach(relation, within))
            })
        })
    }

    /// The relations of `within` that plain edges inside it connect with `start`.
    fn reach(&self, start: usize, within: RelSet) -> RelSet {
        let mut reached = RelSet::single(start);
        loop {
            let more = self.neighborhood(reached).intersect(within);
            if more.is_empty() {
                return reached;
            }
            reached = reached.union(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(relations: &[usize]) -> RelSet {
        relations.iter().copied().collect()
    }

    #[test]
    fn components_and_keys() {
        let graph = JoinGraph::new(
            5,
            [
                (0, 1, EdgeKind::Equality),
                (2, 1, EdgeKind::Theta),
                (3, 4, EdgeKind::Theta),
                (4, 3, EdgeKind::Equality),
                (3, 3, EdgeKind::Equality),
            ],
        );
        assert_eq!(graph.edges().len(), 3);
        assert_eq!(graph.components(), [set(&[0, 1, 2]), set(&[3, 4])]);
        assert!(graph.is_connected(set(&[0, 1, 2])) && !graph.is_connected(set(&[0, 2])));
        assert!(graph.connects(set(&[0, 1]), set(&[2])));
        assert!(!graph.has_key(set(&[0, 1]), set(&[2])));
        assert!(graph.has_key(set(&[0]), set(&[1, 2])));
        assert!(graph.has_key(set(&[3]), set(&[4])));
        assert_eq!(graph.neighborhood(set(&[0])), set(&[1]));
        assert_eq!(JoinGraph::from_petgraph(&graph.to_petgraph()), graph);
    }

    #[test]
    fn a_predicate_on_three_relations_connects_them() {
        let graph = JoinGraph::new(4, [(0, 3, EdgeKind::Equality)])
            .with_predicates([set(&[0, 1, 2]), set(&[0, 1])]);
        assert_eq!(graph.components(), [graph.all()]);
        assert_eq!(graph.link(set(&[0]), set(&[1])), None);
        let link = graph.link(set(&[0, 3]), set(&[1, 2])).unwrap();
        assert_eq!((link.kind, link.keyed), (JoinKind::Inner, false));
    }

    #[test]
    fn an_operator_is_alone_at_its_join() {
        let left_join = Operator {
            kind: JoinKind::Left,
            relations: set(&[0, 1]),
            left: set(&[0]),
            right: set(&[1]),
            keyed: true,
            rules: vec![ConflictRule {
                if_any: set(&[1]),
                then_all: set(&[2]),
            }],
        };
        let graph =
            JoinGraph::new(3, [(1, 2, EdgeKind::Equality)]).with_operators(vec![left_join.clone()]);
        // The rule asks for relation 2.
        assert_eq!(graph.link(set(&[0]), set(&[1])), None);
        let link = graph.link(set(&[1, 2]), set(&[0])).unwrap();
        assert_eq!((link.kind, link.swapped), (JoinKind::Left, true));
        // A second predicate would have to be applied by the same join.
        let edges = [(1, 2, EdgeKind::Equality), (0, 2, EdgeKind::Theta)];
        let graph = JoinGraph::new(3, edges).with_operators(vec![left_join]);
        assert_eq!(graph.link(set(&[0]), set(&[1, 2])), None);
    }

    #[test]
    fn large_graphs_have_edges_alone() {
        let graph = JoinGraph::new(5_000, (1..5_000).map(|i| (i - 1, i, EdgeKind::Equality)));
        assert_eq!((graph.len(), graph.edges().len()), (5_000, 4_999));
    }
}
