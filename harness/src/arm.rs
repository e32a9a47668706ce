//! An arm of an experiment: which optimizer plans the queries.
//!
//! `default` is DataFusion untouched, `default+stats` DataFusion whose own estimates see the statistics of the catalog,
//! `literal` DataFusion without its own join flattening, `joinwright` this project with its default parts, and
//! `estimator=textbook,enumerator=dpccp` this project with parts by name.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// What plans the queries of an arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// DataFusion as its users have it.
    Default,
    /// DataFusion, which chooses build sides by the statistics of the catalog; the order of joins is its own.
    DefaultStats,
    /// DataFusion without `eliminate_cross_join`: the joins stay as the query wrote them.
    Literal,
    /// The join ordering of this project.
    Joinwright(Parts),
}

/// The parts named by an arm; what is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) estimator: Option<String>,
    pub(crate) enumerator: Option<String>,
    pub(crate) cost: Option<String>,
    /// A file that `calibrate` wrote, in place of the constants that the project ships.
    pub(crate) constants: Option<String>,
    /// In csg-cmp-pairs.
    pub(crate) budget: Option<u64>,
    /// A join tree to be obeyed.
    pub(crate) hint: Option<String>,
    /// Whether joins are put in another order.
    pub(crate) order: Option<bool>,
    /// Whether build sides and partition modes are chosen by this project's estimates.
    pub(crate) physical: Option<bool>,
    /// Whether Parquet scans filter while they decode, where estimates say that it pays.
    pub(crate) scans: Option<bool>,
    /// Whether aggregates are computed in part below joins, where that pays.
    pub(crate) eager: Option<bool>,
    /// Whether equal sub-plans run once.
    pub(crate) spool: Option<bool>,
    /// Whether DataFusion's own estimates see the statistics of the catalog.
    pub(crate) stats: Option<bool>,
    /// How bold to be where estimates may err, as the setting of that name has it.
    pub(crate) boldness: Option<String>,
    /// How much cheaper a tree has to be, as the setting of that name has it; below zero, dearer ones are taken too.
    pub(crate) min_gain: Option<String>,
    /// Whether small relations may form cross products.
    pub(crate) cross: Option<bool>,
}

/// One arm, under the name it was given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// The part names that an arm may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownParts {
    pub(crate) estimators: Vec<String>,
    pub(crate) enumerators: Vec<String>,
    pub(crate) cost_models: Vec<String>,
}

impl Arm {
    /// Parses `default`, `default+stats`, `literal`, `joinwright`, or `key=value,…`; fails with a line that names the
    /// unknown word.
    pub(crate) fn parse(text: &str, known: &KnownParts) -> Result<Self> {
        let kind = match text.trim() {
            "default" => Kind::Default,
            "default+stats" => Kind::DefaultStats,
            "literal" => Kind::Literal,
            "joinwright" => Kind::Joinwright(Parts::default()),
            parts if parts.contains('=') => Kind::Joinwright(parse_parts(parts, known)?),
            other => bail!(
                "unknown arm `{other}`: an arm is `default`, `default+stats`, `literal`, `joinwright`, or parts such \
                 as `estimator=textbook,enumerator=dpccp,cost=cout`"
            ),
        };
        Ok(Self {
            name: text.trim().to_owned(),
            kind,
        })
    }

    /// Parses all arms of a run, or `defaults` where none is given; an arm given twice is an error.
    pub(crate) fn parse_all(
        texts: &[String],
        defaults: &[&str],
        known: &KnownParts,
    ) -> Result<Vec<Self>> {
        let mut arms = Vec::new();
        let given: Vec<&str> = match texts {
            [] => defaults.to_vec(),
            texts => texts.iter().map(String::as_str).collect(),
        };
        for text in given {
            arms.push(Self::parse(text, known)?);
        }
        distinct(arms)
    }

    /// The options of this arm by name, for the record of a run; `arm` is what stands behind a name that does not tell.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        let mut options = self.parts();
        let own = match &self.kind {
            Kind::Default => "default",
            Kind::DefaultStats => "default+stats",
            Kind::Literal => "literal",
            Kind::Joinwright(_) => "joinwright",
        };
        if self.name != own && !self.name.contains('=') {
            options.insert("arm".to_owned(), own.to_owned());
        }
        options
    }

    fn parts(&self) -> BTreeMap<String, String> {
        let parts = match &self.kind {
            Kind::Joinwright(parts) => parts,
            Kind::DefaultStats => &Parts {
                stats: Some(true),
                ..Parts::default()
            },
            Kind::Default | Kind::Literal => return BTreeMap::new(),
        };
        let budget = parts.budget.map(|pairs| pairs.to_string());
        let switch = |part: Option<bool>| part.map(|on| on_or_off(on).to_owned());
        let (order, physical) = (switch(parts.order), switch(parts.physical));
        let (scans, eager, spool) = (
            switch(parts.scans),
            switch(parts.eager),
            switch(parts.spool),
        );
        let (stats, cross) = (switch(parts.stats), switch(parts.cross));
        [
            ("estimator", &parts.estimator),
            ("enumerator", &parts.enumerator),
            ("cost", &parts.cost),
            ("constants", &parts.constants),
            ("boldness", &parts.boldness),
            ("min_gain", &parts.min_gain),
            ("budget", &budget),
            ("hint", &parts.hint),
            ("order", &order),
            ("physical", &physical),
            ("scans", &scans),
            ("eager", &eager),
            ("spool", &spool),
            ("stats", &stats),
            ("cross", &cross),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
        .collect()
    }
}

/// The arms, unless two have the same name.
pub(crate) fn distinct(arms: Vec<Arm>) -> Result<Vec<Arm>> {
    for (at, arm) in arms.iter().enumerate() {
        if arms[..at].iter().any(|other| other.name == arm.name) {
            bail!("arm `{}` is given twice", arm.name);
        }
    }
    Ok(arms)
}

fn parse_parts(text: &str, known: &KnownParts) -> Result<Parts> {
    let mut parts = Parts::default();
    for (key, value) in split_pairs(text)? {
        match key.as_str() {
            "estimator" => set(&mut parts.estimator, &key, value, &known.estimators)?,
            "enumerator" => set(&mut parts.enumerator, &key, value, &known.enumerators)?,
            "cost" => set(&mut parts.cost, &key, value, &known.cost_models)?,
            "budget" => match value.parse() {
                Ok(pairs) => parts.budget = Some(pairs),
                Err(_) => bail!("budget `{value}` is not a number of csg-cmp-pairs"),
            },
            "order" => parts.order = Some(parse_switch(&key, &value)?),
            "physical" => parts.physical = Some(parse_switch(&key, &value)?),
            "scans" => parts.scans = Some(parse_switch(&key, &value)?),
            "eager" => parts.eager = Some(parse_switch(&key, &value)?),
            "spool" => parts.spool = Some(parse_switch(&key, &value)?),
            "constants" => parts.constants = Some(value),
            "boldness" => match value.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => parts.boldness = Some(value),
                _ => bail!("boldness `{value}` is not a number from 0 to 1"),
            },
            "min_gain" => match value.parse::<f64>() {
                Ok(gain) if gain.is_finite() && gain <= 1.0 => parts.min_gain = Some(value),
                _ => bail!("min_gain `{value}` is not a number up to 1"),
            },
            "hint" => parts.hint = Some(value),
            "stats" => parts.stats = Some(parse_switch(&key, &value)?),
            "cross" => parts.cross = Some(parse_switch(&key, &value)?),
            _ => bail!(
                "unknown part `{key}` in arm `{text}`: the parts are estimator, enumerator, cost, constants, \
                 boldness, min_gain, budget, hint, order, physical, scans, eager, spool, stats and cross"
            ),
        }
    }
    Ok(parts)
}

fn parse_switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => bail!("{key} is `on` or `off`, not `{value}`"),
    }
}

fn on_or_off(switch: bool) -> &'static str {
    if switch { "on" } else { "off" }
}

/// Splits at commas; a piece without `=` belongs to the value before it, as in `enumerator=quickpick:10,42`.
fn split_pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in text.split(',') {
        match (piece.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) => {
                let key = key.trim().to_owned();
                if pairs.iter().any(|(other, _)| *other == key) {
                    bail!("part `{key}` is given twice in arm `{text}`");
                }
                pairs.push((key, value.trim().to_owned()));
            }
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece.trim());
            }
            (None, None) => bail!("arm `{text}` does not start with a part such as `estimator=…`"),
        }
    }
    Ok(pairs)
}

fn set(slot: &mut Option<String>, key: &str, value: String, known: &[String]) -> Result<()> {
    // What follows a colon are parameters of the part, which reads them itself.
    let name = value.split(':').next().unwrap_or_default();
    if !known.iter().any(|other| other == name) {
        bail!("unknown {key} `{name}`: there is {}", known.join(", "));
    }
    *slot = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownParts {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        KnownParts {
            estimators: list(&["textbook", "simpli"]),
            enumerators: list(&["dpccp", "quickpick"]),
            cost_models: list(&["cout"]),
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let message = Arm::parse(text, &known()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn names_and_parts() {
        assert_eq!(Arm::parse("default", &known()).unwrap().kind, Kind::Default);
        assert_eq!(Arm::parse("literal", &known()).unwrap().kind, Kind::Literal);
        let stats = Arm::parse("default+stats", &known()).unwrap();
        assert_eq!(
            (&stats.kind, stats.options()["stats"].as_str()),
            (&Kind::DefaultStats, "on")
        );
        let arm = Arm::parse(
            "estimator=simpli,enumerator=quickpick:10,42,cost=cout,physical=off,budget=99,stats=on,cross=off",
            &known(),
        )
        .unwrap();
        let Kind::Joinwright(parts) = &arm.kind else {
            panic!("parts make an arm of this project");
        };
        assert_eq!(parts.estimator.as_deref(), Some("simpli"));
        assert_eq!(parts.enumerator.as_deref(), Some("quickpick:10,42"));
        assert_eq!(parts.budget, Some(99));
        assert_eq!((parts.stats, parts.cross), (Some(true), Some(false)));
        assert_eq!((parts.physical, parts.order), (Some(false), None));
        assert_eq!(arm.options()["enumerator"], "quickpick:10,42");
    }

    #[test]
    fn errors_name_the_word() {
        check_error("jointwright", "unknown arm `jointwright`");
        check_error("", "unknown arm ``");
        check_error("estimator=orakel", "unknown estimator `orakel`");
        check_error("enumerator=dp", "unknown enumerator `dp`");
        check_error("cost=", "unknown cost ``");
        check_error("speed=high", "unknown part `speed`");
        check_error("budget=lots", "budget `lots`");
        check_error("physical=maybe", "physical is `on` or `off`, not `maybe`");
        check_error("min_gain=2", "min_gain `2`");
        check_error("eager=1", "eager is `on` or `off`, not `1`");
        check_error("stats=yes", "stats is `on` or `off`, not `yes`");
        check_error("default+statistics", "`default+stats`");
        check_error("dpccp,cost=cout", "does not start with a part");
        check_error("cost=cout,cost=cout", "given twice");
    }

    #[test]
    fn arms_of_a_run_are_distinct() {
        let twice = vec!["default".to_owned(), "default".to_owned()];
        assert!(Arm::parse_all(&twice, &[], &known()).is_err());
        let arms = Arm::parse_all(&[], &["default", "joinwright"], &known()).unwrap();
        assert_eq!(arms.len(), 2);
    }
}
