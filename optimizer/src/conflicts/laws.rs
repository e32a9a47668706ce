//! Every entry of the tables of laws: what they allow is in the space and returns the same rows; what they forbid is
//! not, and would return others.

use super::evaluate::{Case, Data, Query, Test, column, mark_of};
use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use crate::relset::RelSet;

/// The joins that may stand in a query: its class in the tables, kind, and whether it has a filter.
const JOINS: [(usize, JoinKind, bool); 8] = [
    (0, JoinKind::Inner, false),
    (1, JoinKind::Semi, false),
    (1, JoinKind::Anti, false),
    (1, JoinKind::Mark, false),
    (2, JoinKind::Left, false),
    (3, JoinKind::Full, false),
    (4, JoinKind::Left, true),
    (5, JoinKind::Full, true),
];

/// An entry for the classes of a (rows) and b (columns): `+` always, `-` never, `a` if the predicate of a is not true
/// for NULLs of the relation that both use, `b` the same for b, `&` if neither is.
struct Law {
    name: &'static str,
    /// The relation that both joins use.
    shared: usize,
    /// `(0 ∘a 1) ∘b 2`, not `0 ∘a (1 ∘b 2)`.
    left_deep: bool,
    transformed: fn() -> JoinTree,
    /// Inner, restricting, left, full, left with a filter, full with a filter.
    entries: [&'static str; 6],
}

const ASSOC: [&str; 6] = ["+++-+-", "------", "--b---", "--b&--", "--b---", "--b---"];

const LAWS: [Law; 4] = [
    Law {
        name: "(0 a 1) b 2 = 0 a (1 b 2)",
        shared: 1,
        left_deep: true,
        transformed: || tree(0, (1, 2)),
        entries: ASSOC,
    },
    Law {
        name: "0 a (1 b 2) = (0 a 1) b 2",
        shared: 1,
        left_deep: false,
        transformed: || tree(2, (0, 1)),
        entries: ASSOC,
    },
    Law {
        name: "(0 a 1) b 2 = (0 b 2) a 1",
        shared: 0,
        left_deep: true,
        transformed: || tree(1, (0, 2)),
        entries: ["+++-+-", "+++-+-", "+++a+a", "--b&--", "+++-+-", "--b---"],
    },
    Law {
        name: "0 a (1 b 2) = 1 b (0 a 2)",
        shared: 2,
        left_deep: false,
        transformed: || tree(1, (0, 2)),
        entries: ["+-----", "------", "------", "---&--", "------", "------"],
    },
];

fn tree(one: usize, (a, b): (usize, usize)) -> JoinTree {
    JoinTree::join(
        JoinTree::Leaf(one),
        JoinTree::join(JoinTree::Leaf(a), JoinTree::Leaf(b)),
    )
}

/// Which sides NULLs of make a predicate not true.
const REJECTS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

/// A predicate on two places that is not true for NULLs of those that it rejects.
fn predicate(x: usize, y: usize, rejects: (bool, bool)) -> Vec<Test> {
    match rejects {
        (true, true) => vec![Test::Equal(x, y)],
        (true, false) => vec![Test::IsNull(y).or(Test::Equal(x, y)), Test::AtLeast(x, 0)],
        (false, true) => vec![Test::IsNull(x).or(Test::Equal(x, y)), Test::AtLeast(y, 0)],
        (false, false) => vec![Test::Same(x, y)],
    }
}

/// A relation as seen above the join that has it as its right input; `None` if it is not seen.
fn seen(relation: usize, kind: JoinKind) -> Option<usize> {
    match kind {
        JoinKind::Semi | JoinKind::Anti => None,
        JoinKind::Mark => Some(mark_of(RelSet::single(relation))),
        _ => Some(column(relation, 1)),
    }
}

/// The query on the left of a law; `None` if its upper join would use what it cannot see.
fn query(
    law: &Law,
    a: (JoinKind, bool, (bool, bool)),
    b: (JoinKind, bool, (bool, bool)),
) -> Option<Query> {
    let places = |from: usize, to: usize| (column(from, 0), column(to, 0));
    // Relations that a and b use, in the order of their inputs.
    let (mut of_a, mut of_b) = match law.shared {
        1 => (places(0, 1), places(1, 2)),
        0 => (places(0, 1), places(0, 2)),
        _ => (places(0, 2), places(1, 2)),
    };
    match (law.left_deep, law.shared) {
        (true, 1) => of_b.0 = seen(1, a.0)?,
        (false, 2) => of_a.1 = seen(2, b.0)?,
        _ => {}
    }
    let join = |(kind, filtered, rejects), (x, y), left, right| {
        let filter = match (filtered, kind) {
            (false, _) => vec![],
            (true, JoinKind::Full) => vec![Test::IsNull(x).or(Test::IsNull(y))],
            (true, _) => vec![Test::IsNull(y).or(Test::AtLeast(x, 2))],
        };
        Query::join(kind, predicate(x, y, rejects), filter, left, right)
    };
    let leaf = Query::Leaf;
    Some(match law.left_deep {
        true => join(b, of_b, join(a, of_a, leaf(0), leaf(1)), leaf(2)),
        false => join(a, of_a, leaf(0), join(b, of_b, leaf(1), leaf(2))),
    })
}

/// Whether an entry of a law allows to apply it.
fn allows(entry: char, a_rejects: bool, b_rejects: bool) -> bool {
    match entry {
        '+' => true,
        'a' => a_rejects,
        'b' => b_rejects,
        '&' => a_rejects && b_rejects,
        _ => false,
    }
}

/// Rows under which every forbidden transformation shows.
fn rows() -> [Data; 4] {
    let (n, one, two) = (None, Some(1), Some(2));
    [
        vec![
            vec![[two, n], [n, two]],
            vec![[one, n], [n, two], [one, two], [one, n]],
            vec![[two, one], [n, n], [n, one], [one, one]],
        ],
        vec![
            vec![[one, n], [two, two], [two, n], [two, two]],
            vec![[one, n], [two, one], [one, two]],
            vec![[one, one]],
        ],
        vec![
            vec![[two, n], [one, one]],
            vec![[two, two], [two, two]],
            vec![[one, n]],
        ],
        vec![vec![[n, two]], vec![[one, n]], vec![[two, one]]],
    ]
}

#[test]
fn every_entry_of_the_laws() {
    let data = rows();
    let mut wrong = vec![];
    for law in &LAWS {
        for (a_class, a, a_filtered) in JOINS {
            for (b_class, b, b_filtered) in JOINS {
                for (a_rejects, b_rejects) in REJECTS.iter().flat_map(|x| REJECTS.map(|y| (*x, y)))
                {
                    let Some(query) =
                        query(law, (a, a_filtered, a_rejects), (b, b_filtered, b_rejects))
                    else {
                        continue;
                    };
                    let entry = law.entries[a_class].chars().nth(b_class).unwrap();
                    let (a_shared, b_shared) = match law.shared {
                        0 => (a_rejects.0, b_rejects.0),
                        1 => (a_rejects.1, b_rejects.0),
                        _ => (a_rejects.1, b_rejects.1),
                    };
                    let expected = allows(entry, a_shared, b_shared);
                    let case = Case::new(query, false);
                    let transformed = (law.transformed)();
                    let in_space = case.rows(&transformed, &data[0]).is_some();
                    let same = data.iter().all(|data| {
                        case.forced_rows(&transformed, data) == Some(case.written_rows(data))
                    });
                    if (in_space, same) != (expected, expected) {
                        wrong.push(format!(
                            "{}: {:?} entry {entry}, in space: {in_space}, same: {same}",
                            law.name, case.query,
                        ));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
