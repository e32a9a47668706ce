//! The parts that options choose by name. A library user adds their own.

use crate::cost::{CostModel, Cout};
use crate::enumerate::{DpCcp, DpHyp, Enumerator, Exhaustive, Goo, Written};
use crate::estimate::{
    Bound, CardinalityEstimator, DataFusion, Joinwright, KeySample, Sample, Simpli, Textbook,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Estimators, enumerators and cost models by name.
#[derive(Debug, Clone)]
pub struct Registry {
    estimators: BTreeMap<String, Arc<dyn CardinalityEstimator>>,
    enumerators: BTreeMap<String, Arc<dyn Enumerator>>,
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
        registry.add_enumerator(Arc::new(DpCcp));
        registry.add_enumerator(Arc::new(DpHyp));
        registry.add_enumerator(Arc::new(Goo));
        registry.add_enumerator(Arc::new(Exhaustive));
        registry.add_enumerator(Arc::new(Written));
        registry.add_cost_model(Arc::new(Cout));
        registry
    }
}

impl Registry {
    /// A registry without parts.
    pub fn empty() -> Self {
        Self {
            estimators: BTreeMap::new(),
            enumerators: BTreeMap::new(),
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

    /// The enumerator of that name.
    pub fn enumerator(&self, name: &str) -> Option<&Arc<dyn Enumerator>> {
        self.enumerators.get(name)
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
