//! One relation: its rows after its predicates, and the rows of it that are known one by one.

use super::members::{Members, members};
use super::posterior::Prior;
use crate::estimate::profile::MIN_ROWS;
use crate::estimate::textbook::restricted_by_spread;
use crate::estimate::{EstimateSource, restricted};
use crate::query_graph::{Member, QueryGraph, Relation, resolve_region_column};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction;
use foldhash::HashMap;
use joinwright_stats::{Degrees, KeyIndex, RowSet, Selection};
use std::sync::{Arc, OnceLock};

/// Weight of the rate of all rows when that of one key is estimated, in rows.
const KEY_SHRINKAGE: f64 = 3.0;
/// The variance of the logarithm of a share that common values and histograms tell, and of any other.
const PRIOR_VARIANCE: f64 = 1.0;
const GUESS_VARIANCE: f64 = 4.0;
/// From so many hits in a sample on, what else is known of a predicate does not matter.
const MANY_HITS: f64 = 64.0;

/// Rows to choose any from.
const SOME: usize = 256;

/// Rows of a relation that are known one by one, and which of them pass.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) set: Arc<RowSet>,
    /// By row, whether it passes the predicates that could be evaluated; `None` if all do.
    pass: Option<BooleanBuffer>,
    /// Share that the predicates which could not be evaluated leave of the others.
    rate: Rate,
    /// Index of each equality class that the relation is a member of.
    pub(super) keys: Vec<Option<Arc<KeyIndex>>>,
    /// The number of rows that pass.
    pub(super) passing: usize,
    /// Some of them may not, and some others may, as values are rounded.
    rounded: bool,
    /// Some of these rows, once somebody asked for them.
    some: OnceLock<Vec<u32>>,
    /// Rows of the table for one row here.
    pub(super) scale: f64,
}

#[derive(Debug, Clone)]
enum Rate {
    Constant(f64),
    /// By the key of a column, and overall.
    ByKey(Arc<KeyIndex>, HashMap<u64, f64>, f64),
}

impl Rate {
    fn scale(&mut self, factor: f64) {
        match self {
            Self::Constant(rate) => *rate *= factor,
            Self::ByKey(_, rates, overall) => {
                rates.values_mut().for_each(|rate| *rate *= factor);
                *overall *= factor;
            }
        }
    }
}

impl View {
    fn new(set: Arc<RowSet>, columns: &[Option<String>], scale: f64) -> Self {
        let index = |column: &Option<String>| set.index(column.as_ref()?);
        Self {
            keys: columns.iter().map(index).collect(),
            passing: set.batch.num_rows(),
            rounded: false,
            some: OnceLock::new(),
            set,
            pass: None,
            rate: Rate::Constant(1.0),
            scale,
        }
    }

    fn restrict(&mut self, rows: &BooleanBuffer) {
        let pass = match &self.pass {
            Some(pass) => pass & rows,
            None => rows.clone(),
        };
        self.passing = pass.count_set_bits();
        self.some = OnceLock::new();
        self.pass = Some(pass);
    }

    /// Drops the rows that semi and anti joins drop, or lets all rows count for less. Returns the factor of that.
    fn restrict_members(&mut self, relation: &Relation) -> f64 {
        let mut factor = 1.0;
        for membership in &relation.memberships {
            match members(membership, &self.set) {
                Members::Rows(rows) => self.restrict(&rows),
                Members::Share(share) => factor *= share,
            }
        }
        self.rate.scale(factor);
        factor
    }

    /// All rows pass, and none counts for less than one.
    pub(super) fn is_unfiltered(&self) -> bool {
        self.pass.is_none() && matches!(self.rate, Rate::Constant(1.0))
    }

    /// What a row counts for: 0 if it does not pass.
    pub(super) fn weight(&self, row: u32) -> f64 {
        if let Some(pass) = &self.pass
            && !pass.value(row as usize)
        {
            return 0.0;
        }
        match &self.rate {
            Rate::Constant(rate) => *rate,
            Rate::ByKey(index, rates, other) => index
                .hash(row)
                .and_then(|key| rates.get(&key))
                .copied()
                .unwrap_or(*other),
        }
    }

    /// The rows that pass, ascending.
    pub(super) fn passing_rows(&self) -> Vec<u32> {
        match &self.pass {
            Some(pass) => pass.set_indices().map(|row| row as u32).collect(),
            None => (0..self.passing as u32).collect(),
        }
    }

    /// So many of the rows that pass, at equal distances; `count` is at most `passing`.
    pub(super) fn some_passing_rows(&self, count: usize) -> Vec<u32> {
        let step = self.passing as f64 / count as f64;
        let places = (0..count).map(|i| ((i as f64 + 0.5) * step) as usize);
        let Some(pass) = &self.pass else {
            return places.map(|place| place as u32).collect();
        };
        // Rows are counted 64 at a time until the ones that hold the next place.
        let chunks = pass.bit_chunks();
        let mut words = (0u32..).step_by(64).zip(chunks.iter_padded());
        let (mut row, mut word, mut before) = (0, 0u64, 0);
        let mut rows = Vec::with_capacity(count);
        for place in places {
            while place >= before + word.count_ones() as usize {
                before += word.count_ones() as usize;
                match words.next() {
                    Some(next) => (row, word) = next,
                    None => return rows,
                }
            }
            let mut rest = word;
            for _ in before..place {
                rest &= rest - 1;
            }
            rows.push(row + rest.trailing_zeros());
        }
        rows
    }

    /// One of the rows that pass, for a random number; `None` if none does.
    pub(super) fn any_passing_row(&self, random: u64) -> Option<u32> {
        let some = || self.some_passing_rows(self.passing.min(SOME));
        let rows = self.some.get_or_init(some);
        rows.get((random % rows.len().max(1) as u64) as usize)
            .copied()
    }

    /// What every passing row counts for, if all count the same.
    pub(super) fn constant_weight(&self) -> Option<f64> {
        match &self.rate {
            Rate::Constant(rate) => Some(*rate),
            Rate::ByKey(..) => None,
        }
    }

    pub(super) fn is_all(&self) -> bool {
        self.set.selection == Selection::All
    }
}

/// A relation.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// Rows after its predicates.
    pub(crate) rows: f64,
    pub(crate) source: EstimateSource,
    /// Rows before them.
    pub(super) base_rows: f64,
    /// Every row, if they are known.
    pub(super) all: Option<Arc<View>>,
    /// A uniform sample, if not, or if predicates could not be evaluated on every row.
    pub(super) uniform: Option<Arc<View>>,
    /// Some predicates could not be evaluated on every row.
    pub(super) rated: bool,
    /// By class, whether the uniform sample is coordinated by its key.
    pub(super) uniform_by_key: Vec<bool>,
    /// By class the sample that is coordinated by its key.
    pub(super) by_key: Vec<Option<Arc<View>>>,
    /// By class the degrees of its key, before predicates.
    pub(super) degrees: Vec<Option<Arc<Degrees>>>,
    /// By class the number of distinct keys.
    pub(super) distinct: Vec<f64>,
    /// By class, whether the relation is a member.
    pub(super) member: Vec<bool>,
    /// There are no predicates.
    pub(super) unfiltered: bool,
}

impl Leaf {
    pub(crate) fn new(graph: &QueryGraph, at: usize) -> Self {
        let relation = &graph.relations[at];
        let profile = restricted(relation);
        let columns: Vec<Option<String>> = graph
            .classes
            .iter()
            .map(|class| {
                let same = class
                    .members
                    .windows(2)
                    .all(|m| m[0].data_type == m[1].data_type);
                let member = class.members.iter().find(|m| m.relation == at)?;
                key_column(relation, member).filter(|_| same)
            })
            .collect();
        let mut conjuncts: Vec<&Expr> = vec![];
        for conjunct in relation.predicates.iter().flat_map(split_conjunction) {
            if !conjuncts.contains(&conjunct) {
                conjuncts.push(conjunct);
            }
        }
        let mut leaf = Self {
            rows: profile.rows,
            source: profile.source,
            base_rows: relation.base.rows,
            all: None,
            uniform: None,
            rated: false,
            uniform_by_key: vec![false; columns.len()],
            by_key: vec![None; columns.len()],
            degrees: vec![None; columns.len()],
            distinct: columns
                .iter()
                .map(|column| {
                    let place = relation
                        .base_columns
                        .iter()
                        .position(|c| Some(c) == column.as_ref());
                    place.map_or(1.0, |place| relation.base.columns[place].ndv)
                })
                .collect(),
            member: graph
                .classes
                .iter()
                .map(|class| class.relations().contains(at))
                .collect(),
            unfiltered: conjuncts.is_empty() && relation.memberships.is_empty(),
        };
        leaf.look(relation, &columns, &conjuncts);
        leaf
    }

    /// Finds the rows that are known one by one, and evaluates predicates on them.
    fn look(&mut self, relation: &Relation, columns: &[Option<String>], conjuncts: &[&Expr]) {
        let Some(details) = &relation.details else {
            return;
        };
        let type_of = |name: &str| relation.base_type(name);
        let rows = self.base_rows;
        let scale = |set: &RowSet| rows / (set.batch.num_rows() as f64).max(1.0);
        // Evaluates what can be; the rest is returned.
        let filter = |view: &mut View| -> Vec<usize> {
            let mut rest = vec![];
            for (at, conjunct) in conjuncts.iter().enumerate() {
                let passed = relation.evaluations.evaluate(conjunct, &view.set, &type_of);
                match passed.filter(|passed| !passed.is_too_rough()) {
                    Some(passed) => {
                        view.rounded |= passed.rounded;
                        view.restrict(&passed.rows);
                    }
                    None => rest.push(at),
                }
            }
            rest
        };
        let uniform = details
            .uniform_rows()
            .map(|set| View::new(Arc::clone(&set), columns, scale(&set)));
        if let Some(set) = details.all_rows().filter(|set| set.batch.num_rows() > 0) {
            let mut all = View::new(Arc::clone(&set), columns, scale(&set));
            let rest = filter(&mut all);
            let mut sample_of_rest = None;
            if !rest.is_empty() {
                let (known, rest): (Vec<usize>, Vec<usize>) =
                    (0..conjuncts.len()).partition(|at| !rest.contains(at));
                // Of the rest some can be evaluated on the sample, whose columns are not coded; others nowhere.
                let passed = |view: &View, at: &usize| {
                    let conjunct = conjuncts[*at];
                    let passed = relation.evaluations.evaluate(conjunct, &view.set, &type_of);
                    passed.filter(|passed| !passed.is_too_rough())
                };
                let on_sample =
                    |at: &usize| uniform.as_ref().is_some_and(|u| passed(u, at).is_some());
                let (seen, unseen): (Vec<usize>, Vec<usize>) =
                    rest.iter().partition(|at| on_sample(at));
                let prior =
                    |some: &[usize]| prior_of(relation, some.iter().map(|at| conjuncts[*at]));
                let of_unseen = match unseen.is_empty() {
                    true => 1.0,
                    false => prior(&unseen).median,
                };
                let restricted = |view: &View, some: &[usize]| {
                    let mut view = view.clone();
                    for at in some {
                        view.restrict(&passed(&view, at)?.rows);
                    }
                    Some(view)
                };
                let some = uniform.as_ref().and_then(|view| restricted(view, &known));
                let both = some.as_ref().and_then(|some| restricted(some, &seen));
                all.rate = match (&some, &both) {
                    (Some(some), Some(both)) if !seen.is_empty() => {
                        rate_of_rest(prior(&seen), some, both, &all)
                    }
                    _ => Rate::Constant(if seen.is_empty() {
                        1.0
                    } else {
                        prior(&seen).median
                    }),
                };
                all.rate.scale(of_unseen);
                if let Some(mut sample) = both {
                    if let Selection::ByKey { column, below } = &sample.set.selection {
                        sample.scale = u64::MAX as f64 / *below as f64;
                        self.uniform_by_key =
                            columns.iter().map(|c| c.as_ref() == Some(column)).collect();
                    }
                    sample.rate.scale(of_unseen);
                    sample_of_rest = Some(sample);
                }
                self.rated = true;
            }
            let factor = all.restrict_members(relation);
            if let Some(mut sample) = sample_of_rest {
                sample.restrict_members(relation);
                self.uniform = Some(Arc::new(sample));
            }
            self.source = match rest.is_empty() && factor == 1.0 && !all.rounded {
                true => EstimateSource::Exact,
                false => EstimateSource::Sample,
            };
            let (Rate::Constant(rate) | Rate::ByKey(_, _, rate)) = &all.rate;
            let total = all.passing as f64 * rate;
            self.rows = (total * all.scale).clamp(MIN_ROWS, rows.max(MIN_ROWS));
            self.all = Some(Arc::new(all));
            return;
        }
        let (mut seen, mut hits) = (0.0, 0.0);
        let mut whole = true;
        // A semi join leaves either some of the rows, or all of them for less.
        let mut filter = |view: &mut View| {
            whole &= filter(view).is_empty();
            let factor = view.restrict_members(relation);
            seen += view.set.batch.num_rows() as f64;
            hits += view.passing as f64 * factor;
        };
        let mut uniform = uniform;
        if let Some(view) = &mut uniform {
            filter(view);
        }
        for (class, column) in columns.iter().enumerate() {
            let Some(column) = column else { continue };
            self.degrees[class] = details.degrees(column);
            let Some(set) = details.rows_by_key(column) else {
                continue;
            };
            let Selection::ByKey { below, .. } = set.selection else {
                continue;
            };
            let share = below as f64 / u64::MAX as f64;
            let mut view = View::new(Arc::clone(&set), columns, 1.0 / share.max(1e-12));
            filter(&mut view);
            self.by_key[class] = Some(Arc::new(view));
        }
        self.uniform = uniform.map(Arc::new);
        if seen > 0.0 && whole && !self.unfiltered {
            let share = match hits >= MANY_HITS {
                true => hits / seen,
                false => {
                    let memberships = relation.memberships.iter().map(|m| m.share);
                    let mut prior = prior_of(relation, conjuncts.iter().copied());
                    prior.median *= memberships.product::<f64>();
                    updated(prior, hits, seen)
                }
            };
            self.rows = (rows * share).clamp(MIN_ROWS, rows.max(MIN_ROWS));
            self.source = EstimateSource::Sample;
        }
    }

    /// The rows to choose from where a key is given: all, or the uniform sample.
    pub(super) fn view(&self) -> Option<&Arc<View>> {
        self.all.as_ref().or(self.uniform.as_ref())
    }
}

/// The share of rows that pass, of which `hits` among `seen` did, and `prior` was guessed. Never zero, and `prior` where nothing was
/// seen.
pub(super) fn small_count(hits: f64, seen: f64, prior: f64) -> f64 {
    let prior = Prior {
        median: prior,
        variance: GUESS_VARIANCE,
    };
    updated(prior, hits, seen)
}

/// The share of rows that pass, of which `hits` among `seen` did.
fn updated(prior: Prior, hits: f64, seen: f64) -> f64 {
    let median = prior.median.clamp(f64::MIN_POSITIVE, 1.0);
    Prior { median, ..prior }.updated(hits, seen).min(1.0)
}

/// The share of a table's rows that pass some conjuncts, as far as common values and histograms tell.
fn prior_of<'a>(relation: &Relation, conjuncts: impl Iterator<Item = &'a Expr>) -> Prior {
    let alone = Relation {
        predicates: conjuncts.cloned().collect(),
        memberships: vec![],
        ..relation.clone()
    };
    let passing = restricted_by_spread(&alone);
    Prior {
        median: (passing.rows / relation.base.rows).clamp(0.0, 1.0),
        variance: match passing.source {
            EstimateSource::Exact | EstimateSource::Histogram => PRIOR_VARIANCE,
            _ => GUESS_VARIANCE,
        },
    }
}

/// The share of the rows passing some conjuncts that pass the rest, too, seen in the rows of a uniform sample that pass `some`
/// of them and `both`.
fn rate_of_rest(prior: Prior, some: &View, both: &View, all: &View) -> Rate {
    let (seen, hits) = (some.passing as f64, both.passing as f64);
    let overall = updated(prior, hits, seen);
    let of_key = |rows: &[u32]| {
        let count = |view: &View| rows.iter().filter(|row| view.weight(**row) > 0.0).count();
        let (den, num) = (count(some) as f64, count(both) as f64);
        (den, (num + KEY_SHRINKAGE * overall) / (den + KEY_SHRINKAGE))
    };
    // The key that tells most about the predicate: the one with the largest variance between its keys.
    let mut best: Option<(f64, &KeyIndex, &Arc<KeyIndex>)> = None;
    for (small, large) in some.keys.iter().zip(&all.keys) {
        let (Some(small), Some(large)) = (small, large) else {
            continue;
        };
        let variance = |(den, rate): (f64, f64)| den * (rate - overall).powi(2);
        let between = small.keys().map(|(_, rows)| variance(of_key(rows))).sum();
        if best.as_ref().is_none_or(|best| best.0 < between) {
            best = Some((between, small, large));
        }
    }
    let Some((_, small, large)) = best else {
        return Rate::Constant(overall);
    };
    let rates = small.keys().map(|(key, rows)| (key, of_key(rows).1));
    Rate::ByKey(Arc::clone(large), rates.collect(), overall)
}

/// The table's column that a key is, through conversions that keep what values hash to.
pub(crate) fn key_column(relation: &Relation, member: &Member) -> Option<String> {
    fn column(key: &Expr) -> Option<&datafusion::common::Column> {
        match key {
            Expr::Column(column) => Some(column),
            Expr::Alias(alias) => column(&alias.expr),
            _ => None,
        }
    }
    let (inner, converted) = match &member.key {
        Expr::Cast(cast) => (cast.expr.as_ref(), true),
        key => (key, false),
    };
    let (_, field) = resolve_region_column(column(inner)?)?;
    let place = *relation.output.get(field)?;
    let data_type = &relation.base.columns.get(place)?.data_type;
    let keeps = |t: &DataType| {
        (t.is_integer() && member.data_type.is_integer())
            || (t.is_string() && member.data_type.is_string())
    };
    (!converted || keeps(data_type))
        .then(|| relation.base_columns.get(place).cloned())
        .flatten()
}
