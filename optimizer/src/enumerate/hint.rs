//! Join hints: a join tree as text, such as `((a b) (c d))`.
//!
//! Aliases stand between parentheses, with white space or commas between them; those with characters that mean
//! something here are quoted, `"my table"`, and a quote in them is doubled. `(a b c)` is read as `((a b) c)`, and the
//! outermost parentheses may be left out.

use crate::join_graph::JoinKind;
use crate::join_tree::JoinTree;
use std::collections::HashMap;
use thiserror::Error;

/// A join tree by the aliases of its relations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinHint {
    /// The aliases, each once, in the order of the text.
    aliases: Vec<String>,
    /// The tree over positions in `aliases`.
    tree: JoinTree,
}

/// More relations than any region has; the depth of trees is bounded by it.
const MOST_ALIASES: usize = 10_000;

/// Why a hint cannot be obeyed. Positions are characters of the text, the first is 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HintError {
    /// It names no relation.
    #[error("the join hint names no relation")]
    Empty,
    /// It names more relations than a query has.
    #[error("the join hint names more than {MOST_ALIASES} relations")]
    TooLong,
    /// A parenthesis without its end.
    #[error("the parenthesis at character {position} of the join hint is not closed")]
    Unclosed {
        /// Where it opens.
        position: usize,
    },
    /// The end of a parenthesis that does not begin.
    #[error("nothing is open where character {position} of the join hint closes it")]
    Unopened {
        /// Where it is.
        position: usize,
    },
    /// Nothing between parentheses.
    #[error(
        "there is nothing in the parentheses that character {position} of the join hint closes"
    )]
    Nothing {
        /// Where they close.
        position: usize,
    },
    /// A quote without its end, or with no alias in it.
    #[error("the quote at character {position} of the join hint holds no alias or has no end")]
    Quote {
        /// Where it begins.
        position: usize,
    },
    /// No relation has that alias.
    #[error("unknown alias `{alias}` in the join hint: there is {}", known.join(", "))]
    Unknown {
        /// The alias.
        alias: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// An alias is named twice.
    #[error("the join hint names `{alias}` twice")]
    Twice {
        /// The alias.
        alias: String,
    },
    /// The query does not allow a join of the hint.
    #[error("the join hint joins ({}) with ({}): {why}", left.join(", "), right.join(", "))]
    NotAllowed {
        /// One input.
        left: Vec<String>,
        /// The other.
        right: Vec<String>,
        /// Why.
        why: Forbidden,
    },
    /// The joins of the hint are allowed, but no tree of all relations has them, or the search found none.
    #[error(
        "no allowed join tree of all relations was found with the part that the join hint names"
    )]
    NoTree,
}

/// What forbids a join.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// No predicate relates the inputs, and a cross product is not certain to be allowed.
    #[error("no predicate relates them, and a {} join forbids a cross product", kind.as_str())]
    Product {
        /// The kind of a join that one of the inputs takes part in.
        kind: JoinKind,
    },
    /// A join would have to be applied here, and cannot.
    #[error("the {} join of ({}) with ({}) forbids it", kind.as_str(), left.join(", "), right.join(", "))]
    Operator {
        /// Its kind.
        kind: JoinKind,
        /// What has to be in one input.
        left: Vec<String>,
        /// What has to be in the other one.
        right: Vec<String>,
    },
    /// More than one join would have to be applied at once, one of them of this kind.
    #[error("the {} join cannot be made at the same time as another one", kind.as_str())]
    NotAlone {
        /// The kind of the join.
        kind: JoinKind,
    },
}

/// Parentheses that are open: where, and the trees in them so far.
struct Open {
    position: usize,
    tree: Option<JoinTree>,
}

impl Open {
    /// The next tree between the parentheses.
    fn add(&mut self, tree: JoinTree) {
        self.tree = Some(match self.tree.take() {
            Some(left) => JoinTree::join(left, tree),
            None => tree,
        });
    }
}

impl JoinHint {
    /// Reads a hint.
    pub fn parse(text: &str) -> Result<Self, HintError> {
        let mut aliases: Vec<String> = vec![];
        let mut positions: HashMap<String, usize> = HashMap::new();
        // A list instead of recursion: the text may be as deep as its author likes.
        let mut outermost = Open {
            position: 0,
            tree: None,
        };
        let mut open: Vec<Open> = vec![];
        let mut rest = text.chars().enumerate().map(|(i, c)| (i + 1, c)).peekable();
        while let Some((position, c)) = rest.next() {
            let tree = match c {
                '(' => {
                    open.push(Open {
                        position,
                        tree: None,
                    });
                    continue;
                }
                ')' => match open.pop() {
                    Some(Open {
                        tree: Some(tree), ..
                    }) => tree,
                    Some(_) => return Err(HintError::Nothing { position }),
                    None => return Err(HintError::Unopened { position }),
                },
                c if is_separator(c) => continue,
                c => {
                    let alias = match c {
                        '"' => quoted(&mut rest).ok_or(HintError::Quote { position })?,
                        c => {
                            let mut alias = String::from(c);
                            while let Some((_, c)) = rest.next_if(|(_, c)| !is_special(*c)) {
                                alias.push(c);
                            }
                            alias
                        }
                    };
                    if aliases.len() == MOST_ALIASES {
                        return Err(HintError::TooLong);
                    }
                    if positions.insert(alias.clone(), aliases.len()).is_some() {
                        return Err(HintError::Twice { alias });
                    }
                    aliases.push(alias);
                    JoinTree::Leaf(aliases.len() - 1)
                }
            };
            open.last_mut().unwrap_or(&mut outermost).add(tree);
        }
        if let Some(Open { position, .. }) = open.pop() {
            return Err(HintError::Unclosed { position });
        }
        let tree = outermost.tree.ok_or(HintError::Empty)?;
        Ok(Self { aliases, tree })
    }

    /// The aliases, each once, in the order of the text.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// The tree over relations whose aliases are these, each at the place of its relation.
    pub fn resolve<A: AsRef<str>>(&self, aliases: &[A]) -> Result<ForcedTree, HintError> {
        let known: HashMap<&str, usize> = aliases
            .iter()
            .enumerate()
            .map(|(relation, alias)| (alias.as_ref(), relation))
            .collect();
        let mut relations = vec![];
        for alias in &self.aliases {
            match known.get(alias.as_str()) {
                Some(relation) => relations.push(*relation),
                None => {
                    return Err(HintError::Unknown {
                        alias: alias.clone(),
                        known: aliases.iter().map(|a| a.as_ref().to_string()).collect(),
                    });
                }
            }
        }
        Ok(ForcedTree {
            tree: renumbered(&self.tree, &relations),
            named: relations,
            aliases: aliases.iter().map(|a| a.as_ref().to_string()).collect(),
        })
    }
}

/// A hint in terms of the relations of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedTree {
    pub(super) tree: JoinTree,
    /// The relations that it names.
    pub(super) named: Vec<usize>,
    /// By relation of the region its alias.
    pub(super) aliases: Vec<String>,
}

impl ForcedTree {
    /// A tree of some relations, each once; `aliases` are those of all, by relation.
    pub(crate) fn new(tree: JoinTree, aliases: Vec<String>) -> Self {
        Self {
            named: tree.leaves(),
            tree,
            aliases,
        }
    }

    /// The tree, the left input of each join as the hint has it.
    pub fn tree(&self) -> &JoinTree {
        &self.tree
    }

    /// Whether it names every relation, so that nothing is left to search.
    pub fn is_whole(&self) -> bool {
        self.named.len() == self.aliases.len()
    }
}

/// A tree with other numbers for its relations.
#[recursive::recursive]
pub(super) fn renumbered(tree: &JoinTree, numbers: &[usize]) -> JoinTree {
    match tree {
        JoinTree::Leaf(relation) => JoinTree::Leaf(numbers[*relation]),
        JoinTree::Join(left, right) => {
            JoinTree::join(renumbered(left, numbers), renumbered(right, numbers))
        }
    }
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// What ends an alias that is not quoted.
fn is_special(c: char) -> bool {
    is_separator(c) || matches!(c, '(' | ')' | '"')
}

/// The rest of a quoted alias; `None` if it has no end or is empty.
fn quoted(rest: &mut std::iter::Peekable<impl Iterator<Item = (usize, char)>>) -> Option<String> {
    let mut alias = String::new();
    while let Some((_, c)) = rest.next() {
        match c {
            '"' if rest.next_if(|(_, c)| *c == '"').is_none() => {
                return (!alias.is_empty()).then_some(alias);
            }
            c => alias.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of a hint with aliases in place of numbers.
    fn show(hint: &JoinHint, tree: &JoinTree) -> String {
        match tree {
            JoinTree::Leaf(i) => hint.aliases()[*i].clone(),
            JoinTree::Join(l, r) => format!("({} {})", show(hint, l), show(hint, r)),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let hint = JoinHint::parse(text).unwrap();
        assert_eq!(show(&hint, &hint.tree), expected, "{text}");
    }

    #[track_caller]
    fn check_error(text: &str, message: &str) {
        let found = JoinHint::parse(text).unwrap_err().to_string();
        assert!(found.contains(message), "{text}: {found}");
    }

    #[test]
    fn texts() {
        check("((a b) (c d))", "((a b) (c d))");
        check("((a,b),(c , d))", "((a b) (c d))");
        check("(a b)(c d)", "((a b) (c d))");
        check("(a b c d)", "(((a b) c) d)");
        check("a", "a");
        check("((a))", "a");
        check("(\"my table\" \"x\"\"y\")", "(my table x\"y)");
        check("(d#2 straße.t)", "(d#2 straße.t)");
        check("(a\"b\"c)", "((a b) c)");
        let deep = format!("{}x{}", "(".repeat(200_000), ")".repeat(200_000));
        check(&deep, "x");
    }

    #[test]
    fn broken_texts() {
        check_error("", "names no relation");
        check_error(" , ", "names no relation");
        check_error("((a b)", "parenthesis at character 1 ");
        check_error("(a (b c)", "parenthesis at character 1 ");
        check_error("(a b))", "character 6 ");
        check_error("(a ())", "character 5 ");
        check_error("(ä \"b", "quote at character 4 ");
        check_error("(a \"\")", "quote at character 4 ");
        check_error("((a b) a)", "names `a` twice");
        let long: String = (0..=MOST_ALIASES).map(|i| format!("{i} ")).collect();
        check_error(&long, "more than");
    }

    #[test]
    fn aliases_become_relations() {
        let hint = JoinHint::parse("(c (a b))").unwrap();
        let forced = hint.resolve(&["a", "b", "c"]).unwrap();
        let expected = JoinTree::join(
            JoinTree::Leaf(2),
            JoinTree::join(JoinTree::Leaf(0), JoinTree::Leaf(1)),
        );
        assert_eq!((forced.tree(), forced.is_whole()), (&expected, true));
        assert!(!hint.resolve(&["a", "b", "c", "d"]).unwrap().is_whole());
        let error = hint.resolve(&["a", "b", "d"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown alias `c` in the join hint: there is a, b, d"
        );
    }
}
