//! Arms from a TOML file: a list by name, and a matrix of parts.
//!
//! ```toml
//! [[arm]]
//! name = "baseline"
//! parts = "default"
//!
//! [matrix]
//! estimator = ["textbook", "joinwright"]
//! enumerator = ["adaptive", "goo"]
//! cost = ["cout"]
//! parts = "physical=off"          # in all of them
//! ```
//!
//! The arms of the matrix are called by their parts: `estimator=textbook,enumerator=adaptive,cost=cout,physical=off`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::arm::{Arm, KnownParts};

/// More arms than this are a slip: a suite would run for days.
const MOST_ARMS: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmsFile {
    #[serde(default)]
    arm: Vec<NamedArm>,
    #[serde(default)]
    matrix: Matrix,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedArm {
    name: Option<String>,
    /// An arm as on the command line.
    parts: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    estimator: Option<Vec<String>>,
    enumerator: Option<Vec<String>>,
    cost: Option<Vec<String>>,
    /// Further parts of all arms of the matrix.
    parts: Option<String>,
}

/// Reads the arms of a file, those of the list first.
pub(crate) fn read_arms(path: &Path, known: &KnownParts) -> Result<Vec<Arm>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_arms(&text, known).with_context(|| format!("cannot understand {}", path.display()))
}

fn parse_arms(text: &str, known: &KnownParts) -> Result<Vec<Arm>> {
    let file: ArmsFile = toml::from_str(text)?;
    let mut arms = vec![];
    for named in &file.arm {
        let mut arm = Arm::parse(&named.parts, known)?;
        if let Some(name) = &named.name {
            if name.trim().is_empty() {
                bail!("the arm of parts `{}` has an empty name", named.parts);
            }
            name.trim().clone_into(&mut arm.name);
        }
        arms.push(arm);
    }
    for parts in file.matrix.combinations()? {
        arms.push(Arm::parse(&parts, known)?);
    }
    if arms.is_empty() {
        bail!("it has no arm: neither [[arm]] nor [matrix]");
    }
    Ok(arms)
}

impl Matrix {
    /// The parts of each combination. A part that is not listed keeps its default.
    fn combinations(&self) -> Result<Vec<String>> {
        let listed = [
            ("estimator", &self.estimator),
            ("enumerator", &self.enumerator),
            ("cost", &self.cost),
        ];
        let mut all = vec![vec![]];
        for (part, values) in listed {
            let Some(values) = values else {
                continue;
            };
            if values.is_empty() {
                bail!("`{part} = []` in [matrix] lists nothing: name some, or leave the line out");
            }
            if all.len() * values.len() > MOST_ARMS {
                bail!("the matrix has more than {MOST_ARMS} arms");
            }
            all = all
                .iter()
                .flat_map(|so_far: &Vec<String>| {
                    values.iter().map(move |value| {
                        let mut parts = so_far.clone();
                        parts.push(format!("{part}={value}"));
                        parts
                    })
                })
                .collect();
        }
        let any = listed.iter().any(|(_, values)| values.is_some());
        let more = self.parts.iter();
        let join = |mut parts: Vec<String>| {
            parts.extend(more.clone().cloned());
            parts.join(",")
        };
        Ok(match any {
            true => all.into_iter().map(join).collect(),
            false => vec![],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownParts {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        KnownParts {
            estimators: list(&["textbook", "simpli"]),
            enumerators: list(&["goo", "quickpick"]),
            cost_models: list(&["cout"]),
        }
    }

    fn names(text: &str) -> Vec<String> {
        let arms = parse_arms(text, &known()).unwrap();
        arms.into_iter().map(|arm| arm.name).collect()
    }

    #[test]
    fn a_list_and_a_matrix() {
        let text = r#"
            [[arm]]
            name = "baseline"
            parts = "default"
            [[arm]]
            parts = "joinwright"
            [matrix]
            estimator = ["textbook", "simpli"]
            enumerator = ["goo", "quickpick:10,42"]
            parts = "physical=off"
        "#;
        assert_eq!(
            names(text),
            [
                "baseline",
                "joinwright",
                "estimator=textbook,enumerator=goo,physical=off",
                "estimator=textbook,enumerator=quickpick:10,42,physical=off",
                "estimator=simpli,enumerator=goo,physical=off",
                "estimator=simpli,enumerator=quickpick:10,42,physical=off",
            ]
        );
        let arms = parse_arms(text, &known()).unwrap();
        assert_eq!(arms[0].options()["arm"], "default");
        assert!(arms[1].options().is_empty());
        assert_eq!(names("[matrix]\ncost = ['cout']"), ["cost=cout"]);
    }

    #[test]
    fn errors_name_the_word() {
        let check = |text: &str, expected: &str| {
            let error = parse_arms(text, &known()).unwrap_err();
            let message = crate::one_line(&error);
            assert!(message.contains(expected), "{message}");
        };
        check("", "no arm");
        check("[matrix]\nparts = 'physical=off'", "no arm");
        check("[[arm]]\nname = 'x'", "parts");
        check("[[arm]]\nname = ' '\nparts = 'default'", "empty name");
        check("[matrix]\nestimator = ['orakel']", "orakel");
        check(
            "[matrix]\nestimator = ['simpli']\nenumerator = []",
            "`enumerator = []`",
        );
        check("[matrix]\nspeed = ['high']", "speed");
        check("[[arms]]\nparts = 'default'", "arms");
        let many = format!("[{}]", vec!["'goo'"; 40].join(","));
        let matrix = format!("[matrix]\nestimator = {many}\nenumerator = {many}");
        check(&matrix, "more than 1000 arms");
    }
}
