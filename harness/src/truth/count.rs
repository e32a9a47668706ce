//! Exact rows of all connected sub-plans of a region, without running each of their joins.
//!
//! Relations are factors over the variables they join by ([`Factor`]), and the rows of a sub-plan are what is left when all its
//! variables have been eliminated one after the other (Dechter's bucket elimination, 1999; FAQ, Abo Khamis, Ngo and Rudra, PODS 2016):
//! to eliminate a variable, join the factors that have it and sum it out. On acyclic sub-plans this folds leaves into their
//! neighbours; a cycle keeps the variables that close it, and only there tuples of several relations are made. All sub-plans use one
//! order of elimination, so that a factor belongs to a set of relations and the variables that are left, and is computed once.
//!
//! The chain `A(x) – B(x, y) – C(y)` with the order `y, x`: `{B,C}` sums `B·C` over `y` to a factor on `x`, which `{A,B,C}` multiplies
//! with `A`; `{B,C}` alone sums it up.

use std::collections::HashMap;
use std::rc::Rc;

use joinwright_optimizer::join_graph::JoinGraph;
use joinwright_optimizer::relset::RelSet;

use super::factor::{Check, Factor, GaveUp, Limits, Test, passes};
use super::join::join;
use super::order::elimination_order;

/// Bytes of factors that are kept for other sub-plans.
const MEMORY: usize = 2 << 30;

/// A condition whose variables have at most this many combinations becomes a factor like any other.
const COMBINATIONS: u64 = 1 << 20;

/// A region, coded.
#[derive(Default)]
pub(crate) struct Problem {
    /// By relation its columns with the rows that have each combination.
    pub(crate) relations: Vec<Factor>,
    /// What the columns stand for.
    pub(crate) variables: Vec<Variable>,
    /// Predicates on several relations.
    pub(crate) conditions: Vec<Condition>,
}

/// Values by which relations meet: those of an equality class, or of one side of a condition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    /// One more than its largest code.
    pub(crate) domain: u32,
    /// The relations that have it.
    pub(crate) relations: RelSet,
    /// The condition it is for; none for an equality class.
    pub(crate) condition: Option<usize>,
}

/// A predicate on several relations. Its variables are its own.
pub(crate) struct Condition {
    pub(crate) relations: RelSet,
    /// In the order in which the test takes them.
    pub(crate) variables: Vec<usize>,
    pub(crate) test: Test,
}

/// The connected sets of relations, smaller ones first; the most a region may have is `most`.
pub(crate) fn connected_sets(graph: &JoinGraph, most: usize) -> Option<Vec<RelSet>> {
    let mut level: Vec<RelSet> = (0..graph.len()).map(RelSet::single).collect();
    let mut all = vec![];
    while !level.is_empty() {
        all.extend(&level);
        if all.len() > most {
            return None;
        }
        let mut next = vec![];
        for set in &level {
            let around = graph.neighborhood(*set);
            next.extend(
                around
                    .iter()
                    .map(|relation| set.union(RelSet::single(relation))),
            );
        }
        next.sort_unstable();
        next.dedup();
        level = next;
    }
    Some(all)
}

/// Counts the sub-plans of one region.
pub(crate) struct Counter {
    problem: Problem,
    /// By variable the bits of its codes.
    bits: Vec<u32>,
    /// All variables, the first one to be eliminated first.
    order: Vec<usize>,
    /// By condition its factor, where it has few combinations.
    tables: Vec<Option<Rc<Factor>>>,
    known: HashMap<(RelSet, Vec<usize>), Kept>,
    bytes: usize,
    clock: u64,
}

struct Kept {
    factor: Rc<Factor>,
    /// When it was last asked for.
    used: u64,
}

/// A factor that may not be there yet.
#[derive(Clone)]
struct Part {
    relations: RelSet,
    /// Sorted.
    variables: Vec<usize>,
    made_of: MadeOf,
}

#[derive(Clone)]
enum MadeOf {
    Relation(usize),
    Condition(usize),
    /// A join of these under these conditions.
    Join(Vec<Part>, Vec<usize>),
}

impl Counter {
    /// Prepares for counting; an error if a predicate cannot be evaluated.
    pub(crate) fn new(problem: Problem) -> Result<Self, GaveUp> {
        let bits_of = |domain: u32| (u32::BITS - domain.saturating_sub(1).leading_zeros()).max(1);
        let bits = problem
            .variables
            .iter()
            .map(|v| bits_of(v.domain))
            .collect();
        let tables = problem
            .conditions
            .iter()
            .map(|condition| table(condition, &problem.variables))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            order: elimination_order(&problem, &tables),
            bits,
            tables,
            problem,
            known: HashMap::new(),
            bytes: 0,
            clock: 0,
        })
    }

    /// The rows of the join of `set`, which is not empty.
    pub(crate) fn count(&mut self, set: RelSet, limits: &mut Limits<'_>) -> Result<u128, GaveUp> {
        self.clock += 1;
        let mut rows = 1_u128;
        for part in self.eliminate(set) {
            let factor = self.factor(&part, limits)?;
            rows = rows.checked_mul(factor.total()?).ok_or(GaveUp::Overflow)?;
        }
        Ok(rows)
    }

    /// The parts that are left when all variables of a sub-plan have been eliminated; one, if it is connected.
    fn eliminate(&self, set: RelSet) -> Vec<Part> {
        let problem = &self.problem;
        let is_active = |variable: usize| {
            let about = &problem.variables[variable];
            match about.condition {
                Some(condition) => problem.conditions[condition].relations.is_subset(set),
                None => about.relations.intersect(set).len() > 1,
            }
        };
        let mut parts: Vec<Part> = set
            .iter()
            .map(|relation| Part {
                relations: RelSet::single(relation),
                variables: {
                    let all = problem.relations[relation].variables.iter();
                    all.copied().filter(|v| is_active(*v)).collect()
                },
                made_of: MadeOf::Relation(relation),
            })
            .collect();
        let mut pending = vec![];
        for (i, condition) in problem.conditions.iter().enumerate() {
            if !condition.relations.is_subset(set) {
                continue;
            }
            if self.tables[i].is_none() {
                pending.push(i);
                continue;
            }
            parts.push(Part {
                relations: RelSet::EMPTY,
                variables: sorted(&condition.variables),
                made_of: MadeOf::Condition(i),
            });
        }
        for variable in &self.order {
            self.eliminate_one(*variable, &mut parts, &mut pending);
        }
        parts
    }

    /// Joins the parts that have `variable`, and those without which a pending condition on it cannot be tested.
    fn eliminate_one(&self, variable: usize, parts: &mut Vec<Part>, pending: &mut Vec<usize>) {
        let conditions = &self.problem.conditions;
        let mut wanted = vec![variable];
        for condition in pending.iter() {
            if conditions[*condition].variables.contains(&variable) {
                wanted.extend(&conditions[*condition].variables);
            }
        }
        let is_wanted = |part: &Part| part.variables.iter().any(|v| wanted.contains(v));
        let (bucket, rest): (Vec<Part>, Vec<Part>) = parts.drain(..).partition(is_wanted);
        *parts = rest;
        let has = |v: &usize| bucket.iter().any(|part| part.variables.contains(v));
        if !has(&variable) {
            parts.extend(bucket);
            return;
        }
        let testable = |i: &usize| conditions[*i].variables.iter().all(has);
        let (tested, still): (Vec<usize>, Vec<usize>) = pending.iter().partition(|i| testable(i));
        *pending = still;
        let mut variables = sorted(bucket.iter().flat_map(|part| &part.variables));
        variables.retain(|v| {
            parts.iter().any(|part| part.variables.contains(v))
                || pending.iter().any(|i| conditions[*i].variables.contains(v))
        });
        parts.push(Part {
            relations: bucket
                .iter()
                .fold(RelSet::EMPTY, |all, part| all.union(part.relations)),
            variables,
            made_of: MadeOf::Join(bucket, tested),
        });
    }

    fn factor(&mut self, part: &Part, limits: &mut Limits<'_>) -> Result<Rc<Factor>, GaveUp> {
        if let MadeOf::Condition(i) = part.made_of {
            return self.tables[i].clone().ok_or(GaveUp::Predicate);
        }
        let key = (part.relations, part.variables.clone());
        if let Some(kept) = self.known.get_mut(&key) {
            kept.used = self.clock;
            return Ok(Rc::clone(&kept.factor));
        }
        let factor = match &part.made_of {
            MadeOf::Join(inputs, conditions) => {
                let factors = inputs
                    .iter()
                    .map(|input| self.factor(input, limits))
                    .collect::<Result<Vec<_>, _>>()?;
                self.join_all(factors, conditions, &part.variables, limits)?
            }
            MadeOf::Relation(relation) => {
                let whole = &self.problem.relations[*relation];
                whole.project(&part.variables, &self.bits, &[], limits)?
            }
            MadeOf::Condition(_) => return Err(GaveUp::Predicate),
        };
        let factor = Rc::new(factor);
        self.bytes += factor.bytes();
        let kept = Kept {
            factor: Rc::clone(&factor),
            used: self.clock,
        };
        self.known.insert(key, kept);
        if self.bytes > MEMORY {
            self.forget();
        }
        Ok(factor)
    }

    /// Makes room: what was not asked for lately goes, until half of it is free.
    fn forget(&mut self) {
        let mut ages: Vec<(u64, usize)> = self
            .known
            .values()
            .map(|kept| (kept.used, kept.factor.bytes()))
            .collect();
        ages.sort_unstable();
        let mut excess = self.bytes.saturating_sub(MEMORY / 2);
        let mut oldest = 0;
        for (used, bytes) in ages {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            oldest = used + 1;
        }
        self.known.retain(|_, kept| kept.used >= oldest);
        self.bytes = self.known.values().map(|kept| kept.factor.bytes()).sum();
    }

    /// Joins factors, two at a time, those first whose join is smallest.
    fn join_all(
        &self,
        mut factors: Vec<Rc<Factor>>,
        conditions: &[usize],
        keep: &[usize],
        limits: &mut Limits<'_>,
    ) -> Result<Factor, GaveUp> {
        let mut pending = conditions.to_vec();
        if let [factor] = &factors[..] {
            let checks = self.checks(&pending);
            return factor.project(keep, &self.bits, &checks, limits);
        }
        loop {
            let (left, right) = self.best_pair(&factors);
            let (b, a) = (factors.swap_remove(right), factors.swap_remove(left));
            let has = |v: &usize| a.variables.contains(v) || b.variables.contains(v);
            let testable = |i: &usize| self.problem.conditions[*i].variables.iter().all(has);
            let (now, later): (Vec<usize>, Vec<usize>) = pending.iter().partition(|i| testable(i));
            pending = later;
            let mut kept = sorted(a.variables.iter().chain(&b.variables));
            kept.retain(|v| {
                keep.contains(v)
                    || factors.iter().any(|factor| factor.variables.contains(v))
                    || pending
                        .iter()
                        .any(|i| self.problem.conditions[*i].variables.contains(v))
            });
            let joined = join(&a, &b, &kept, &self.bits, &self.checks(&now), limits)?;
            if factors.is_empty() {
                return Ok(joined);
            }
            factors.push(Rc::new(joined));
        }
    }

    fn checks(&self, conditions: &[usize]) -> Vec<Check<'_>> {
        let of = |i: &usize| {
            let condition = &self.problem.conditions[*i];
            (&condition.test, &condition.variables[..])
        };
        conditions.iter().map(of).collect()
    }

    /// The two of at least two factors whose join is estimated to be smallest.
    fn best_pair(&self, factors: &[Rc<Factor>]) -> (usize, usize) {
        let mut best = (0, 1);
        let mut least = f64::INFINITY;
        for (i, a) in factors.iter().enumerate() {
            for (j, b) in factors.iter().enumerate().skip(i + 1) {
                let (a_rows, b_rows) = (a.len() as f64, b.len() as f64);
                let mut rows = a_rows * b_rows;
                for variable in a.variables.iter().filter(|v| b.variables.contains(v)) {
                    rows /= f64::from(self.problem.variables[*variable].domain.max(1));
                }
                // An input must be read, even if nothing comes of it.
                let rows = rows.max(a_rows).max(b_rows);
                if rows < least {
                    (best, least) = ((i, j), rows);
                }
            }
        }
        best
    }
}

/// The combinations of a condition's variables for which it holds, if there are few to be tried.
fn table(condition: &Condition, variables: &[Variable]) -> Result<Option<Rc<Factor>>, GaveUp> {
    let domains: Vec<u32> = condition
        .variables
        .iter()
        .map(|v| variables[*v].domain.max(1))
        .collect();
    let combinations = domains.iter().try_fold(1_u64, |product, domain| {
        product.checked_mul(u64::from(*domain))
    });
    let Some(combinations) = combinations.filter(|count| *count <= COMBINATIONS) else {
        return Ok(None);
    };
    let mut columns = vec![];
    let mut stride = 1;
    for domain in &domains {
        let code = |i: u64| (i / stride % u64::from(*domain)) as u32;
        columns.push((0..combinations).map(code).collect::<Vec<u32>>());
        stride *= u64::from(*domain);
    }
    let holds = passes(&condition.test, &columns)?;
    let kept = |column: &Vec<u32>| {
        let held = column.iter().zip(&holds).filter(|(_, holds)| **holds);
        held.map(|(code, _)| *code).collect::<Vec<u32>>()
    };
    let mut by_variable: Vec<(usize, Vec<u32>)> = condition
        .variables
        .iter()
        .copied()
        .zip(columns.iter().map(kept))
        .collect();
    by_variable.sort_by_key(|(variable, _)| *variable);
    let (variables, columns) = by_variable.into_iter().unzip();
    Ok(Some(Rc::new(Factor {
        variables,
        columns,
        weights: vec![1; holds.iter().filter(|holds| **holds).count()],
    })))
}

pub(super) fn sorted<'a>(variables: impl IntoIterator<Item = &'a usize>) -> Vec<usize> {
    let mut variables: Vec<usize> = variables.into_iter().copied().collect();
    variables.sort_unstable();
    variables.dedup();
    variables
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use joinwright_optimizer::join_graph::EdgeKind;
    use proptest::prelude::*;

    use super::super::factor::{Comparison, NULL};
    use super::*;

    /// Rows of each relation by class and, behind the classes, by condition; `None` is NULL.
    type Rows = Vec<Vec<Option<u32>>>;

    #[derive(Clone, Debug)]
    struct Case {
        /// By relation the classes it has.
        classes: Vec<Vec<bool>>,
        rows: Vec<Rows>,
        /// Two relations and how their last columns compare; tested on tuples rather than as a factor if set.
        condition: Option<(usize, usize, usize, bool)>,
    }

    const CLASSES: usize = 3;
    const COMPARISONS: [Comparison; 5] = [
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Different,
    ];

    fn cases() -> impl Strategy<Value = Case> {
        let value = prop_oneof![1 => Just(None), 6 => (0..4_u32).prop_map(Some)];
        let row = prop::collection::vec(value, CLASSES + 1);
        let relation = prop::collection::vec(row, 0..9);
        let classes = prop::collection::vec(any::<bool>(), CLASSES);
        (2..5_usize).prop_flat_map(move |n| {
            let condition = (0..n, 1..n, 0..COMPARISONS.len(), any::<bool>());
            (
                prop::collection::vec(classes.clone(), n),
                prop::collection::vec(relation.clone(), n),
                prop::option::of(condition),
            )
                .prop_map(move |(classes, rows, condition)| Case {
                    classes,
                    rows,
                    condition: condition.map(|(a, step, op, big)| (a, (a + step) % n, op, big)),
                })
        })
    }

    fn problem(case: &Case) -> Problem {
        let n = case.rows.len();
        let mut variables: Vec<Variable> = (0..CLASSES)
            .map(|class| Variable {
                domain: 4,
                relations: (0..n).filter(|r| case.classes[*r][class]).collect(),
                condition: None,
            })
            .collect();
        let mut conditions = vec![];
        if let Some((a, b, op, big)) = case.condition {
            for relation in [a, b] {
                variables.push(Variable {
                    // Too many combinations for a table.
                    domain: if big { 1 << 20 } else { 4 },
                    relations: RelSet::single(relation),
                    condition: Some(0),
                });
            }
            let op = COMPARISONS[op];
            conditions.push(Condition {
                relations: [a, b].into_iter().collect(),
                variables: vec![CLASSES, CLASSES + 1],
                test: if case.rows[a].len().is_multiple_of(2) {
                    Test::Compare(op)
                } else {
                    Test::Evaluated(Box::new(move |columns| {
                        let pairs = columns[0].iter().zip(&columns[1]);
                        Ok(pairs.map(|(l, r)| op.holds(*l, *r)).collect())
                    }))
                },
            });
        }
        let relations = (0..n)
            .map(|r| {
                let has = |v: &usize| variables[*v].relations.contains(r);
                let own: Vec<usize> = (0..variables.len()).filter(has).collect();
                let code = |v: usize| {
                    let cells = case.rows[r].iter().map(move |row| row[v.min(CLASSES)]);
                    cells.map(|cell| cell.unwrap_or(NULL)).collect()
                };
                Factor {
                    columns: own.iter().map(|v| code(*v)).collect(),
                    variables: own,
                    weights: vec![1; case.rows[r].len()],
                }
            })
            .collect();
        Problem {
            relations,
            variables,
            conditions,
        }
    }

    /// Nested loops.
    fn naive(case: &Case, set: RelSet) -> u128 {
        let chosen: Vec<usize> = set.iter().collect();
        let mut count = 0;
        let mut tuple: Vec<&Vec<Option<u32>>> = vec![];
        descend(case, set, &chosen, &mut tuple, &mut count);
        count
    }

    fn descend<'a>(
        case: &'a Case,
        set: RelSet,
        chosen: &[usize],
        tuple: &mut Vec<&'a Vec<Option<u32>>>,
        count: &mut u128,
    ) {
        let Some(relation) = chosen.get(tuple.len()) else {
            let row_of = |relation: usize| {
                let place = chosen.iter().position(|r| *r == relation);
                tuple[place.unwrap_or_default()]
            };
            for class in 0..CLASSES {
                let having = chosen.iter().filter(|r| case.classes[**r][class]);
                let values: Vec<Option<u32>> = having.map(|r| row_of(*r)[class]).collect();
                let equal = |pair: &[Option<u32>]| pair[0].is_some() && pair[0] == pair[1];
                if !values.windows(2).all(equal) {
                    return;
                }
            }
            if let Some((a, b, op, _)) = case.condition
                && set.contains(a)
                && set.contains(b)
            {
                match (row_of(a)[CLASSES], row_of(b)[CLASSES]) {
                    (Some(l), Some(r)) if COMPARISONS[op].holds(l, r) => {}
                    _ => return,
                }
            }
            *count += 1;
            return;
        };
        for row in &case.rows[*relation] {
            tuple.push(row);
            descend(case, set, chosen, tuple, count);
            tuple.pop();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn counts_are_those_of_nested_loops(case in cases()) {
            let mut counter = Counter::new(problem(&case)).unwrap();
            let stop = AtomicBool::new(false);
            for bits in 1..1_u64 << case.rows.len() {
                let set = RelSet::from_bits(bits);
                let mut limits = Limits { rows: u64::MAX, stop: &stop };
                prop_assert_eq!(counter.count(set, &mut limits), Ok(naive(&case, set)), "{:?}", set);
            }
        }
    }

    #[test]
    fn what_exceeds_the_cap_is_given_up() {
        let case = Case {
            classes: vec![vec![true, false, false]; 2],
            rows: vec![vec![vec![Some(1); CLASSES + 1]; 50]; 2],
            condition: None,
        };
        let mut counter = Counter::new(problem(&case)).unwrap();
        let stop = AtomicBool::new(false);
        let mut count = |rows| counter.count(RelSet::first_n(2), &mut Limits { rows, stop: &stop });
        assert_eq!(count(10), Err(GaveUp::Cap));
        assert_eq!(count(1_000_000), Ok(2500));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    #[test]
    fn connected_sets_of_a_chain() {
        let edges = [(0, 1, EdgeKind::Equality), (1, 2, EdgeKind::Equality)];
        let graph = JoinGraph::new(3, edges);
        let sets = connected_sets(&graph, 100).unwrap();
        let bits: Vec<u64> = sets.iter().map(|set| set.bits()).collect();
        assert_eq!(bits, [1, 2, 4, 3, 6, 7]);
        assert!(connected_sets(&graph, 5).is_none());
    }
}
