//! A tiny evaluator of joins, the judge of what the conflict detector allows.
//!
//! A relation has two columns of small numbers and NULLs. A [`Case`] is a tree of joins with predicates; it can be
//! evaluated as written, and in the shape of any join tree, whose joins then are what [`JoinGraph::link`] says.

use super::{OperatorNode, OperatorTree, operators};
use crate::join_graph::{EdgeKind, JoinGraph, JoinKind, Link};
use crate::join_tree::JoinTree;
use crate::relset::RelSet;
use std::fmt;

/// A row has a place for all columns of all relations: those that it does not have are NULL, as padded ones are.
pub(super) type Row = [Option<u8>; 20];

/// The place of a column of a relation.
pub(super) const fn column(relation: usize, column: usize) -> usize {
    2 * relation + column
}

/// The place of the first mark; relations take those before it.
const MARKS: usize = 12;

/// By relation its rows.
pub(super) type Data = Vec<Vec<[Option<u8>; 2]>>;

/// A predicate on places of a row.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// `x = y`
    Equal(usize, usize),
    /// `x IS NOT DISTINCT FROM y`
    Same(usize, usize),
    IsNull(usize),
    /// `x >= n`
    AtLeast(usize, u8),
    Or(Box<Test>, Box<Test>),
}

impl Test {
    pub(super) fn or(self, other: Test) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    /// Whether it is true, not false or unknown.
    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::Equal(x, y) => row[*x].is_some() && row[*x] == row[*y],
            Self::Same(x, y) => row[*x] == row[*y],
            Self::IsNull(x) => row[*x].is_none(),
            Self::AtLeast(x, n) => row[*x].is_some_and(|value| value >= *n),
            Self::Or(a, b) => a.holds(row) || b.holds(row),
        }
    }

    fn places(&self) -> Vec<usize> {
        match self {
            Self::Equal(x, y) | Self::Same(x, y) => vec![*x, *y],
            Self::IsNull(x) | Self::AtLeast(x, _) => vec![*x],
            Self::Or(a, b) => [a.places(), b.places()].concat(),
        }
    }
}

/// A tree of joins with predicates.
#[derive(Clone)]
pub(super) enum Query {
    Leaf(usize),
    Join(Box<Join>),
}

/// A join of a query.
#[derive(Debug, Clone)]
pub(super) struct Join {
    pub(super) kind: JoinKind,
    /// All have to be true.
    pub(super) on: Vec<Test>,
    /// The same, of rows of the result.
    pub(super) filter: Vec<Test>,
    pub(super) left: Query,
    pub(super) right: Query,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Join(join) = self else {
            return write!(f, "{:?}", self.relations());
        };
        let kind = join.kind.as_str();
        write!(
            f,
            "({:?} {kind} {:?} on {:?}",
            join.left, join.right, join.on
        )?;
        match join.filter.is_empty() {
            true => write!(f, ")"),
            false => write!(f, " where {:?})", join.filter),
        }
    }
}

impl Query {
    pub(super) fn join(
        kind: JoinKind,
        on: Vec<Test>,
        filter: Vec<Test>,
        left: Query,
        right: Query,
    ) -> Self {
        Self::Join(Box::new(Join {
            kind,
            on,
            filter,
            left,
            right,
        }))
    }

    pub(super) fn relations(&self) -> RelSet {
        match self {
            Self::Leaf(relation) => RelSet::single(*relation),
            Self::Join(join) => join.left.relations().union(join.right.relations()),
        }
    }
}

impl Join {
    /// The place of its mark.
    pub(super) fn mark(&self) -> usize {
        mark_of(self.right.relations())
    }
}

/// The place of the mark of a join with that right input. With relations numbered as the text names them no two right
/// inputs start with the same one.
pub(super) fn mark_of(right: RelSet) -> usize {
    MARKS + right.first().unwrap_or(0)
}

/// A query as the detector, search and the evaluator need it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) query: Query,
    pub(super) tree: OperatorTree,
    pub(super) graph: JoinGraph,
    /// The joins of the graph's operators.
    joins: Vec<Join>,
    /// Predicates of free joins and what follows from them.
    pool: Vec<Test>,
    /// By place the relations that have to be joined for it to have a value.
    owners: Vec<RelSet>,
}

impl Case {
    /// The case of a query; `free` tells whether inner joins may become plain edges.
    pub(super) fn new(query: Query, free: bool) -> Self {
        let all = query.relations();
        let mut case = Self {
            tree: OperatorTree::Leaf(0),
            graph: JoinGraph::new(0, []),
            joins: vec![],
            pool: vec![],
            owners: (0..20)
                .map(|place| match place < MARKS {
                    true => RelSet::single(place / 2),
                    false => RelSet::EMPTY,
                })
                .collect(),
            query: query.clone(),
        };
        case.tree = case.add(&query, free);
        case.close_equalities();
        let relations: Vec<_> = case.pool.iter().map(|test| case.relations(test)).collect();
        let edges = relations.iter().filter(|r| r.len() == 2).map(|r| {
            let (a, b) = (r.first().unwrap(), r.last().unwrap());
            (a, b, EdgeKind::Equality)
        });
        case.graph = JoinGraph::new(all.len(), edges)
            .with_predicates(relations.iter().copied())
            .with_operators(operators(&case.tree));
        case
    }

    /// Inputs before outputs, left before right, as operators are.
    fn add(&mut self, query: &Query, free: bool) -> OperatorTree {
        let Query::Join(join) = query else {
            return OperatorTree::Leaf(query.relations().first().unwrap());
        };
        let (left, right) = (self.add(&join.left, free), self.add(&join.right, free));
        if join.kind == JoinKind::Mark {
            self.owners[join.mark()] = join.right.relations();
        }
        let relations = self.all_relations(join.on.iter().chain(&join.filter));
        let scope = left.scope().union(right.scope());
        let free = free && join.kind == JoinKind::Inner && relations.is_subset(scope);
        match free {
            true => self.pool.extend(join.on.iter().cloned()),
            false => self.joins.push((**join).clone()),
        }
        OperatorTree::Join(Box::new(OperatorNode {
            kind: join.kind,
            relations,
            rejects_null: join.on.iter().fold(RelSet::EMPTY, |rejected, test| {
                rejected.union(self.rejects_null(test))
            }),
            keyed: true,
            filtered: !join.filter.is_empty(),
            free,
            left,
            right,
        }))
    }

    /// Adds what follows from the equalities of free joins.
    fn close_equalities(&mut self) {
        let mut more = true;
        let mut pairs: Vec<(usize, usize)> = self
            .pool
            .iter()
            .filter_map(|test| match test {
                Test::Equal(x, y) => Some((*x, *y)),
                _ => None,
            })
            .collect();
        while more {
            more = false;
            for (x, y) in pairs.clone() {
                for (u, v) in pairs.clone() {
                    for (p, q) in [(x, u), (x, v), (y, u), (y, v)] {
                        let linked = [u, v].contains(&x) || [u, v].contains(&y);
                        if linked && p != q && !pairs.contains(&(p, q)) && !pairs.contains(&(q, p))
                        {
                            pairs.push((p, q));
                            self.pool.push(Test::Equal(p, q));
                            more = true;
                        }
                    }
                }
            }
        }
    }

    fn relations(&self, test: &Test) -> RelSet {
        let places = test.places().into_iter();
        places.fold(RelSet::EMPTY, |set, place| set.union(self.owners[place]))
    }

    fn all_relations<'a>(&self, tests: impl Iterator<Item = &'a Test>) -> RelSet {
        tests.fold(RelSet::EMPTY, |set, test| set.union(self.relations(test)))
    }

    /// The relations whose NULLs make it not true.
    fn rejects_null(&self, test: &Test) -> RelSet {
        match test {
            Test::Equal(..) | Test::AtLeast(..) => self.relations(test),
            Test::Same(..) | Test::IsNull(_) => RelSet::EMPTY,
            Test::Or(a, b) => self.rejects_null(a).intersect(self.rejects_null(b)),
        }
    }

    /// The rows of the query, sorted.
    pub(super) fn written_rows(&self, data: &Data) -> Vec<Row> {
        fn rows(query: &Query, data: &Data) -> Vec<Row> {
            match query {
                Query::Leaf(relation) => scan(*relation, data).collect(),
                Query::Join(join) => {
                    let on: Vec<&Test> = join.on.iter().collect();
                    let (left, right) = (rows(&join.left, data), rows(&join.right, data));
                    joined(join.kind, &on, Some(join), &left, &right)
                }
            }
        }
        let mut rows = rows(&self.query, data);
        rows.sort_unstable();
        rows
    }

    /// The rows of a join tree, sorted; `None` if the graph does not allow it.
    pub(super) fn rows(&self, tree: &JoinTree, data: &Data) -> Option<Vec<Row>> {
        self.sorted_rows(tree, data, &|a, b| self.graph.link(a, b))
    }

    /// The rows of a join tree, sorted, whether it is allowed or not; `None` if a join has no predicate, or one on what
    /// it does not see.
    pub(super) fn forced_rows(&self, tree: &JoinTree, data: &Data) -> Option<Vec<Row>> {
        self.sorted_rows(tree, data, &|a, b| {
            let mut operators = self.graph.operators().iter().zip(&self.joins);
            let (operator, join) = operators.find(|(o, _)| completed(o.relations, a, b))?;
            let left = operator.relations.intersect(join.left.relations());
            for test in join.on.iter().chain(&join.filter) {
                if test.places().iter().any(|p| self.hidden(*p, a, b)) {
                    return None;
                }
            }
            Some(Link {
                kind: join.kind,
                keyed: true,
                swapped: !left.is_subset(a),
            })
        })
    }

    /// Whether a join of what was joined before has no such column: it comes from the right input of a semi, anti or
    /// mark join there, or is the mark of a join that was not there.
    fn hidden(&self, place: usize, a: RelSet, b: RelSet) -> bool {
        let before = |set: RelSet| set.is_subset(a) || set.is_subset(b);
        let mut operators = self.graph.operators().iter().zip(&self.joins);
        let owner = self.owners[place];
        operators.any(|(operator, join)| match join.kind {
            JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
                let done = before(operator.relations);
                let right = join.right.relations();
                match join.kind == JoinKind::Mark && place == join.mark() {
                    true => !done && !completed(operator.relations, a, b),
                    false => done && owner.is_subset(right) && place < MARKS,
                }
            }
            _ => false,
        })
    }

    fn sorted_rows(
        &self,
        tree: &JoinTree,
        data: &Data,
        link: &dyn Fn(RelSet, RelSet) -> Option<Link>,
    ) -> Option<Vec<Row>> {
        let mut rows = self.tree_rows(tree, data, link)?.1;
        rows.sort_unstable();
        Some(rows)
    }

    fn tree_rows(
        &self,
        tree: &JoinTree,
        data: &Data,
        link: &dyn Fn(RelSet, RelSet) -> Option<Link>,
    ) -> Option<(RelSet, Vec<Row>)> {
        let (left, right) = match tree {
            JoinTree::Leaf(relation) => {
                let set = RelSet::single(*relation);
                let own: Vec<&Test> = self.of(|r| r == set).collect();
                let rows = scan(*relation, data).filter(|row| own.iter().all(|t| t.holds(row)));
                return Some((set, rows.collect()));
            }
            JoinTree::Join(left, right) => (left, right),
        };
        let (a, a_rows) = self.tree_rows(left, data, link)?;
        let (b, b_rows) = self.tree_rows(right, data, link)?;
        let link = link(a, b)?;
        let mut on: Vec<&Test> = self.of(|r| completed(r, a, b)).collect();
        let mut join = None;
        for (operator, of) in self.graph.operators().iter().zip(&self.joins) {
            if completed(operator.relations, a, b) {
                on.extend(&of.on);
                join = Some(of);
            }
        }
        let rows = match link.swapped {
            true => joined(link.kind, &on, join, &b_rows, &a_rows),
            false => joined(link.kind, &on, join, &a_rows, &b_rows),
        };
        Some((a.union(b), rows))
    }

    /// Predicates that may stand anywhere by their relations.
    fn of(&self, wanted: impl Fn(RelSet) -> bool) -> impl Iterator<Item = &Test> {
        self.pool
            .iter()
            .filter(move |test| wanted(self.relations(test)))
    }
}

/// Whether a predicate gets the last of its relations by a join.
fn completed(relations: RelSet, a: RelSet, b: RelSet) -> bool {
    relations.is_subset(a.union(b)) && !relations.is_subset(a) && !relations.is_subset(b)
}

fn scan(relation: usize, data: &Data) -> impl Iterator<Item = Row> {
    data[relation].iter().map(move |values| {
        let mut row = Row::default();
        row[column(relation, 0)] = values[0];
        row[column(relation, 1)] = values[1];
        row
    })
}

/// The rows of a join; `join` has its mark and filter.
fn joined(
    kind: JoinKind,
    on: &[&Test],
    join: Option<&Join>,
    left: &[Row],
    right: &[Row],
) -> Vec<Row> {
    let mut rows = vec![];
    let mut right_matched = vec![false; right.len()];
    for l in left {
        let mut matched = false;
        for (r, r_matched) in right.iter().zip(&mut right_matched) {
            let row: Row = std::array::from_fn(|place| l[place].or(r[place]));
            if !on.iter().all(|test| test.holds(&row)) {
                continue;
            }
            matched = true;
            *r_matched = true;
            if matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Full) {
                rows.push(row);
            }
        }
        match kind {
            JoinKind::Inner => {}
            JoinKind::Left | JoinKind::Full | JoinKind::Anti if matched => {}
            JoinKind::Semi if !matched => {}
            JoinKind::Left | JoinKind::Full | JoinKind::Anti | JoinKind::Semi => rows.push(*l),
            JoinKind::Mark => {
                let mut row = *l;
                if let Some(join) = join {
                    row[join.mark()] = Some(u8::from(matched));
                }
                rows.push(row);
            }
        }
    }
    if kind == JoinKind::Full {
        let unmatched = right.iter().zip(&right_matched).filter(|(_, m)| !**m);
        rows.extend(unmatched.map(|(row, _)| *row));
    }
    if let Some(join) = join {
        rows.retain(|row| join.filter.iter().all(|test| test.holds(row)));
    }
    rows
}

/// Every tree that the graph allows for a set, each once whatever the order of inputs.
pub(super) fn trees(graph: &JoinGraph, set: RelSet) -> Vec<JoinTree> {
    let Some(lowest) = set.first() else {
        return vec![];
    };
    if set.len() == 1 {
        return vec![JoinTree::Leaf(lowest)];
    }
    let mut found = vec![];
    for a in set.subsets().filter(|a| a.contains(lowest) && *a != set) {
        let b = set.minus(a);
        if graph.link(a, b).is_none() {
            continue;
        }
        let right = trees(graph, b);
        for left in trees(graph, a) {
            let tree = |right: &JoinTree| JoinTree::join(left.clone(), right.clone());
            found.extend(right.iter().map(tree));
        }
    }
    found
}
