//! The estimators `oracle` and `inject`, whose estimates come from a file and belong to one query each.
//!
//! `estimator=oracle` has the true rows of the suite's truth file, `oracle:FILE` those of another one. `inject:FILE` has the estimates
//! of a file of `sub_plan,rows` or `query,sub_plan,rows`. Parameters follow, in any order: `base=NAME` estimates what the file lacks,
//! `noise=FACTOR` and `seed=NUMBER` multiply all estimates by random factors, of which `FACTOR` is one standard deviation:
//! `estimator=inject:mine.csv:base=textbook:noise=2:seed=7`. `inject::noise=2` has noise alone.
//!
//! Names of sub-plans repeat between queries, so such an arm has a session for each query.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use joinwright_optimizer::Registry;
use joinwright_optimizer::estimate::{CardinalityEstimator, EstimateSource, Inject, Noise};
use joinwright_stats::Catalog;
use serde::Deserialize;

use crate::arm::{Arm, Kind};
use crate::session::{Purpose, Session};
use crate::suite::Suite;
use crate::tables::TablePath;
use crate::truth::read_truth;

/// The estimators of this module.
pub(crate) const NAMES: [&str; 2] = ["oracle", "inject"];

/// What estimates where neither the file nor the arm says.
const BASE: &str = "textbook";

/// Rows by query, and by sub-plan; those of no query hold for all.
type Listed = BTreeMap<Option<String>, BTreeMap<String, f64>>;

/// A line of a file of estimates.
#[derive(Deserialize)]
struct Line {
    query: Option<String>,
    sub_plan: String,
    rows: f64,
}

/// An estimator with a file behind it.
struct Injection {
    /// As the arm has it.
    name: String,
    listed: Listed,
    source: EstimateSource,
    base: Arc<dyn CardinalityEstimator>,
    noise: Option<Noise>,
}

impl Injection {
    /// Reads the file of an arm's estimator, if it is one of this module.
    fn of(arm: &Arm, suite: &Suite, registry: &Registry) -> Result<Option<Self>> {
        let Kind::Joinwright(parts) = &arm.kind else {
            return Ok(None);
        };
        let Some(name) = parts.estimator.clone() else {
            return Ok(None);
        };
        let mut words = name.split(':');
        let kind = words.next().unwrap_or_default();
        if !NAMES.contains(&kind) {
            return Ok(None);
        }
        let mut file = None;
        let mut base = BASE;
        let (mut factor, mut seed) = (None, 0);
        for word in words {
            let number = || format!("`{word}` in arm `{}` is not a number", arm.name);
            match word.split_once('=') {
                Some(("base", name)) => base = name,
                Some(("noise", text)) => factor = Some(text.parse::<f64>().with_context(number)?),
                Some(("seed", text)) => seed = text.parse().with_context(number)?,
                Some((key, _)) => bail!(
                    "unknown parameter `{key}` in arm `{}`: there is base, noise and seed",
                    arm.name
                ),
                None if file.is_none() => file = Some(word),
                None => bail!("arm `{}` names two files", arm.name),
            }
        }
        if let Some(factor) = factor
            && !(factor >= 1.0 && factor.is_finite())
        {
            bail!(
                "noise {factor} in arm `{}` is not a factor of at least 1",
                arm.name
            );
        }
        let Some(base) = registry.estimator(base) else {
            bail!("unknown base `{base}` in arm `{}`", arm.name);
        };
        let file = file.filter(|file| !file.is_empty()).map(PathBuf::from);
        let (listed, source) = match (kind, file) {
            ("oracle", file) => {
                let Some(file) = file.as_ref().or(suite.truth.as_ref()) else {
                    bail!(
                        "suite {} has no truth: count it by `joinwright truth`, and name the file as oracle:FILE",
                        suite.name
                    );
                };
                (read_oracle(file)?, EstimateSource::Exact)
            }
            (_, Some(file)) => (read_rows(&file)?, EstimateSource::Guess),
            (_, None) => (Listed::new(), EstimateSource::Guess),
        };
        Ok(Some(Self {
            listed,
            source,
            base: Arc::clone(base),
            noise: factor.map(|factor| Noise { factor, seed }),
            name,
        }))
    }

    /// The estimator for one query.
    fn for_query(&self, query: &str) -> Inject {
        let mut rows = self.listed.get(&None).cloned().unwrap_or_default();
        if let Some(own) = self.listed.get(&Some(query.to_owned())) {
            rows.extend(own.iter().map(|(name, rows)| (name.clone(), *rows)));
        }
        Inject {
            name: self.name.clone(),
            rows,
            source: self.source,
            base: Arc::clone(&self.base),
            noise: self.noise,
        }
    }
}

fn read_oracle(path: &Path) -> Result<Listed> {
    let mut listed = Listed::new();
    for (query, sub_plans) in read_truth(path)? {
        let rows = sub_plans.into_iter().map(|s| (s.name, s.true_rows as f64));
        listed.insert(Some(query), rows.collect());
    }
    Ok(listed)
}

fn read_rows(path: &Path) -> Result<Listed> {
    let file = || format!("cannot read {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(file)?;
    let mut listed = Listed::new();
    for line in reader.deserialize() {
        let line: Line = line.with_context(file)?;
        if !(line.rows >= 0.0 && line.rows.is_finite()) {
            bail!(
                "{}: {} of {} is no number of rows",
                file(),
                line.rows,
                line.sub_plan
            );
        }
        let mut aliases: Vec<&str> = line.sub_plan.split('+').collect();
        aliases.sort_unstable();
        let of_query = listed.entry(line.query).or_default();
        of_query.insert(aliases.join("+"), line.rows);
    }
    Ok(listed)
}

/// The sessions of one arm over a suite: one for all queries, or one for each.
pub(crate) struct QuerySessions {
    arm: Arm,
    tables: Vec<TablePath>,
    catalog: Arc<Catalog>,
    registry: Registry,
    threads: usize,
    purpose: Purpose,
    /// The one for all queries.
    shared: Option<Arc<Session>>,
    injection: Option<Injection>,
}

impl QuerySessions {
    /// Prepares an arm, reads the file it names, and opens what can be opened at once.
    pub(crate) async fn open(
        arm: &Arm,
        suite: &Suite,
        (tables, catalog): (&[TablePath], &Arc<Catalog>),
        registry: &Registry,
        threads: usize,
        purpose: Purpose,
    ) -> Result<Self> {
        let injection = Injection::of(arm, suite, registry)?;
        let shared = match &injection {
            Some(_) => None,
            None => {
                let session = Session::open(arm, tables, catalog, registry, threads, purpose);
                Some(Arc::new(session.await?))
            }
        };
        Ok(Self {
            arm: arm.clone(),
            tables: tables.to_vec(),
            catalog: Arc::clone(catalog),
            registry: registry.clone(),
            threads,
            purpose,
            shared,
            injection,
        })
    }

    /// The session that plans a query.
    pub(crate) async fn of_query(&self, query: &str) -> Result<Arc<Session>> {
        if let Some(shared) = &self.shared {
            return Ok(Arc::clone(shared));
        }
        let mut registry = self.registry.clone();
        if let Some(injection) = &self.injection {
            registry.add_estimator(Arc::new(injection.for_query(query)));
        }
        let (arm, tables, catalog) = (&self.arm, &self.tables, &self.catalog);
        let session = Session::open(arm, tables, catalog, &registry, self.threads, self.purpose);
        Ok(Arc::new(session.await?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::session::known_parts;

    fn injection(suite: &Suite, estimator: &str) -> Result<Option<Injection>> {
        let registry = Registry::default();
        let arm = Arm::parse(&format!("estimator={estimator}"), &known_parts(&registry))?;
        Injection::of(&arm, suite, &registry)
    }

    fn suite(folder: &Path) -> Suite {
        fs::write(
            folder.join("suite.toml"),
            "data = 'd'\nqueries = 'q'\ntruth = 'truth.csv'",
        )
        .unwrap();
        fs::write(
            folder.join("truth.csv"),
            "query,sub_plan,true_rows\nq1,a+b,7\nq1,a,\n",
        )
        .unwrap();
        Suite::find(folder.to_str().unwrap(), 1.0, None).unwrap()
    }

    #[test]
    fn files_and_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let suite = suite(folder.path());
        let oracle = injection(&suite, "oracle").unwrap().unwrap();
        assert_eq!(
            oracle.for_query("q1").rows,
            BTreeMap::from([("a+b".to_owned(), 7.0)])
        );
        assert!(oracle.for_query("q2").rows.is_empty());

        let file = folder.path().join("mine.csv");
        fs::write(&file, "sub_plan,rows\nb+a,3.5\n").unwrap();
        let text = format!("inject:{}:noise=2:seed=7:base=textbook", file.display());
        let inject = injection(&suite, &text).unwrap().unwrap().for_query("q2");
        assert_eq!(inject.name, text);
        assert_eq!(inject.rows, BTreeMap::from([("a+b".to_owned(), 3.5)]));
        assert_eq!(
            inject.noise,
            Some(Noise {
                factor: 2.0,
                seed: 7
            })
        );
        let noise = injection(&suite, "inject::noise=3").unwrap().unwrap();
        assert!(noise.listed.is_empty());
        assert!(injection(&suite, "textbook").unwrap().is_none());
    }

    #[test]
    fn errors_name_the_word() {
        let folder = tempfile::tempdir().unwrap();
        let suite = suite(folder.path());
        for (estimator, named) in [
            ("oracle:no such file", "no such file"),
            ("inject:x:base=magic", "unknown base `magic`"),
            ("inject:x:volume=3", "unknown parameter `volume`"),
            ("inject:x:noise=0.5", "noise 0.5"),
            ("inject:x:seed=x", "`seed=x`"),
            ("inject:x:y", "two files"),
        ] {
            let message = format!("{:#}", injection(&suite, estimator).err().unwrap());
            assert!(message.contains(named), "{message}");
        }
    }
}
