//! The parts that options choose by name. A library user adds their own.

use crate::cost::{Cmm, CostModel, Cout, HashJoin};
use crate::enumerate::{
    Adaptive, DpCcp, DpHyp, Enumerator, Exhaustive, Goo, GooDp, IkkBz, LinDp, QuickPick,
    SimpliOrder, Written,
};
use crate::estimate::{
    Bound, CardinalityEstimator, DataFusion, Joinwright, KeySample, Sample, Simpli, Textbook,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes an enumerator of what follows a colon after its name; `None` for parameters that make no sense.
pub type EnumeratorFactory = fn(parameters: &str) -> Option<Arc<dyn Enumerator>>;

/// Estimators, enumerators and cost models by name.
#[derive(Debug, Clone)]
pub struct Registry {
    estimators: BTreeMap<String, Arc<dyn CardinalityEstimator>>,
    enumerators: BTreeMap<String, Arc<dyn Enumerator>>,
    /// By name of an enumerator that takes parameters.
    factories: BTreeMap<String, EnumeratorFactory>,
    cost_models: BTreeMap<String, Arc<dyn CostModel>>,
}

impl Default for Registry {
    /// The parts of this crate.
    fn default() -> Self {
        let mut registry = Self::empty();
        registry.add_estimator(Arc::new(Bound));
        registry.add_estimator(Arc::new(DataFusion));
        registry.add_estimator(Arc::new(Joinwright));
        registry.add_estimator(Arc::new(KeySample));
        registry.add_estimator(Arc::new(Sample));
        registry.add_estimator(Arc::new(Simpli));
        registry.add_estimator(Arc::new(Textbook));
        registry.add_enumerator(Arc::new(Adaptive));
        registry.add_enumerator(Arc::new(DpCcp));
        registry.add_enumerator(Arc::new(DpHyp));
        registry.add_enumerator(Arc::new(Exhaustive));
        registry.add_enumerator(Arc::new(Goo));
        registry.add_enumerator(Arc::new(GooDp));
        registry.add_enumerator(Arc::new(IkkBz));
        registry.add_enumerator(Arc::new(LinDp));
        registry.add_enumerator(Arc::new(QuickPick::default()));
        registry.add_enumerator(Arc::new(SimpliOrder));
        registry.add_enumerator(Arc::new(Written));
        registry.add_enumerator_factory("quickpick", |parameters| {
            Some(Arc::new(QuickPick::parse(parameters)?))
        });
        registry.add_cost_model(Arc::new(Cmm));
        registry.add_cost_model(Arc::new(Cout));
        registry.add_cost_model(Arc::new(HashJoin::default()));
        registry
    }
}

impl Registry {
    /// A registry without parts.
    pub fn empty() -> Self {
        Self {
            estimators: BTreeMap::new(),
            enumerators: BTreeMap::new(),
            factories: BTreeMap::new(),
            cost_models: BTreeMap::new(),
        }
    }

    /// Adds an estimator under its name, in place of one that had the name before.
    pub fn add_estimator(&mut self, estimator: Arc<dyn CardinalityEstimator>) {
        self.estimators
            .insert(estimator.name().to_string(), estimator);
    }

    /// Adds an enumerator under its name, in place of one that had the name before.
    pub fn add_enumerator(&mut self, enumerator: Arc<dyn Enumerator>) {
        self.enumerators
            .insert(enumerator.name().to_string(), enumerator);
    }

    /// Adds a cost model under its name, in place of one that had the name before.
    pub fn add_cost_model(&mut self, cost_model: Arc<dyn CostModel>) {
        self.cost_models
            .insert(cost_model.name().to_string(), cost_model);
    }

    /// The estimator of that name.
    pub fn estimator(&self, name: &str) -> Option<&Arc<dyn CardinalityEstimator>> {
        self.estimators.get(name)
    }

    /// Adds what makes an enumerator of its parameters, for names like `quickpick:10,42`. Without parameters, the name is
    /// that of an enumerator that was added.
    pub fn add_enumerator_factory(&mut self, name: &str, factory: EnumeratorFactory) {
        self.factories.insert(name.to_string(), factory);
    }

    /// The enumerator of that name, which may have parameters after a colon; `None` if there is none, or if the
    /// parameters make no sense.
    pub fn enumerator(&self, name: &str) -> Option<Arc<dyn Enumerator>> {
        match name.split_once(':') {
            None => self.enumerators.get(name).cloned(),
            Some((name, parameters)) => self.factories.get(name)?(parameters),
        }
    }

    /// The cost model of that name.
    pub fn cost_model(&self, name: &str) -> Option<&Arc<dyn CostModel>> {
        self.cost_models.get(name)
    }

    /// Names of the estimators, sorted.
    pub fn estimators(&self) -> impl Iterator<Item = &str> {
        self.estimators.keys().map(String::as_str)
    }

    /// Names of the enumerators, sorted.
    pub fn enumerators(&self) -> impl Iterator<Item = &str> {
        self.enumerators.keys().map(String::as_str)
    }

    /// Names of the cost models, sorted.
    pub fn cost_models(&self) -> impl Iterator<Item = &str> {
        self.cost_models.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_follow_a_colon() {
        let registry = Registry::default();
        let known = |name: &str| registry.enumerator(name).is_some();
        for name in registry.enumerators() {
            assert!(known(name), "{name}");
        }
        assert!(known("quickpick:10") && known("quickpick:10,42") && known("quickpick: 10, 42"));
        for malformed in ["", "x", "0", "-1", "10,", "10,x", "10,42,7", "1e3"] {
            assert!(!known(&format!("quickpick:{malformed}")), "{malformed}");
        }
        assert!(!known("goo:1") && !known("nothing") && !known("nothing:1"));
    }
}
