//! Random queries over random rows: every tree that the graph allows returns the rows of the query.

use super::evaluate::{Case, Data, Query, Test, column, mark_of, trees};
use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use proptest::prelude::*;

/// Choices of a random query; when there are no more, the first of each.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.next().unwrap_or(0) as usize % sides
    }

    fn pick(&mut self, places: &[usize]) -> usize {
        places[self.roll(places.len())]
    }
}

/// A query over relations `from..to` and the places of the columns it has.
fn query(from: usize, to: usize, dice: &mut Dice) -> (Query, Vec<usize>) {
    if to - from == 1 {
        return (Query::Leaf(from), vec![column(from, 0), column(from, 1)]);
    }
    let middle = from + 1 + dice.roll(to - from - 1);
    let (left, mut places) = query(from, middle, dice);
    let (right, right_places) = query(middle, to, dice);
    let kind = match dice.roll(10) {
        0..4 => JoinKind::Inner,
        4 | 5 => JoinKind::Left,
        6 => JoinKind::Full,
        7 => JoinKind::Semi,
        8 => JoinKind::Anti,
        _ => JoinKind::Mark,
    };
    let on = predicate(&places, &right_places, dice);
    match kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Full => places.extend(&right_places),
        JoinKind::Mark => places.push(mark_of((middle..to).collect())),
        JoinKind::Semi | JoinKind::Anti => {}
    }
    let filterable = matches!(kind, JoinKind::Left | JoinKind::Full | JoinKind::Mark);
    let filter = match dice.roll(6) {
        // What belongs to the join has its columns: of the preserved input, and what the join adds.
        5 if filterable => {
            let added = *places.last().unwrap_or(&0);
            let other = dice.pick(&places);
            match dice.roll(3) {
                0 => vec![Test::IsNull(added).or(Test::AtLeast(other, 1))],
                1 => vec![Test::AtLeast(added, 1).or(Test::IsNull(other))],
                _ => vec![Test::Same(added, other)],
            }
        }
        _ => vec![],
    };
    (Query::join(kind, on, filter, left, right), places)
}

/// A predicate over what the inputs of a join have.
fn predicate(left: &[usize], right: &[usize], dice: &mut Dice) -> Vec<Test> {
    let template = dice.roll(20);
    let (l, r) = (dice.pick(left), dice.pick(right));
    let (l2, r2) = match template {
        0..8 => (l, r),
        _ => (dice.pick(left), dice.pick(right)),
    };
    match template {
        0..6 => vec![Test::Equal(l, r)],
        6 => vec![Test::Same(l, r)],
        7 => vec![Test::IsNull(l).or(Test::Equal(l, r))],
        8 => vec![Test::IsNull(r).or(Test::Equal(l, r))],
        9 => vec![Test::Equal(l, r).or(Test::Equal(l2, r))],
        10 => vec![Test::Equal(l, r).or(Test::Equal(l, r2))],
        11 => vec![Test::Equal(l, r), Test::Equal(l2, r2)],
        12 => vec![Test::Equal(l, r), Test::Equal(l, r2)],
        13 => vec![Test::AtLeast(l, 1)],
        14 => vec![Test::AtLeast(r, 1)],
        15 => vec![],
        16 => vec![Test::Same(l, r), Test::AtLeast(l2, 0)],
        17 => vec![Test::Same(l, r), Test::AtLeast(r2, 0)],
        18 => vec![Test::Equal(l, r).or(Test::AtLeast(l2, 1))],
        _ => vec![Test::Equal(l, r), Test::IsNull(r2)],
    }
}

/// A random query over up to `most` relations.
pub(super) fn any_query(most: usize) -> impl Strategy<Value = Query> {
    let dice = prop::collection::vec(any::<u8>(), 0..60);
    (2..=most, dice).prop_map(|(n, dice)| query(0, n, &mut Dice(dice.into_iter())).0)
}

/// Up to four rows a relation.
fn any_data(relations: usize) -> impl Strategy<Value = Data> {
    let value = || prop_oneof![1 => Just(None), 3 => (0..3_u8).prop_map(Some)];
    let row = (value(), value()).prop_map(|(a, b)| [a, b]);
    prop::collection::vec(prop::collection::vec(row, 0..=4), relations)
}

/// Whether all trees of a query return what the query does.
fn check(query: &Query, free: bool, data: &[Data]) -> Result<usize, TestCaseError> {
    let case = Case::new(query.clone(), free);
    let trees = trees(&case.graph, query.relations());
    for data in data {
        let expected = case.written_rows(data);
        for tree in &trees {
            let rows = case.rows(tree, data);
            prop_assert_eq!(
                rows.as_ref(),
                Some(&expected),
                "{:?}\nof {:#?}\nwith {:?}",
                tree,
                case.query,
                case.graph.operators()
            );
        }
    }
    Ok(trees.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn allowed_trees_return_the_same_rows(
        query in any_query(4),
        free: bool,
        data in prop::collection::vec(any_data(4), 3),
    ) {
        check(&query, free, &data)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn allowed_trees_of_more_relations_return_the_same_rows(
        query in any_query(6),
        free: bool,
        data in prop::collection::vec(any_data(6), 2),
    ) {
        check(&query, free, &data)?;
    }
}

/// A left join below free inner joins in the right input of another one may leave them.
#[test]
fn free_joins_bind_no_more_than_their_scope() {
    let equal = |a, b| vec![Test::Equal(column(a, 0), column(b, 0))];
    let join = |kind, a, b, left, right| Query::join(kind, equal(a, b), vec![], left, right);
    let leaf = Query::Leaf;
    // 0 left ((1 left 2) inner 3)
    let inner = join(JoinKind::Left, 1, 2, leaf(1), leaf(2));
    let inner = join(JoinKind::Inner, 1, 3, inner, leaf(3));
    let case = Case::new(join(JoinKind::Left, 0, 1, leaf(0), inner), true);
    let shapes = trees(&case.graph, case.graph.all()).len();
    // 2 comes after any of 1-3, 0-(1-3), or at once.
    assert_eq!(shapes, 3);
    // The right input of the upper join stays whole: 3 cannot come after 0.
    let operators = case.graph.operators();
    let top = operators
        .iter()
        .find(|o| o.left.contains(0))
        .map(|o| o.right);
    assert_eq!(top, Some([1, 3].into_iter().collect()));
}

/// `(((0 full 1) left 2) left 3)`, the last by 2 and 3: for NULLs of 0 there is no 2, and so the last predicate rejects
/// NULLs of 0 as well. Both left joins may come before the full one.
#[test]
fn nulls_are_rejected_through_a_left_join_below() {
    let equal = |a, b| vec![Test::Equal(column(a, 0), column(b, 0))];
    let join = |kind, a, b, left, right| Query::join(kind, equal(a, b), vec![], left, right);
    let leaf = Query::Leaf;
    let full = join(JoinKind::Full, 0, 1, leaf(0), leaf(1));
    let left = join(JoinKind::Left, 0, 2, full, leaf(2));
    let case = Case::new(join(JoinKind::Left, 2, 3, left, leaf(3)), false);
    let shapes = trees(&case.graph, case.graph.all());
    let leaf = JoinTree::Leaf;
    let before = JoinTree::join(JoinTree::join(leaf(0), leaf(2)), leaf(3));
    assert!(
        shapes.contains(&JoinTree::join(before, leaf(1))),
        "{shapes:?}"
    );
}
