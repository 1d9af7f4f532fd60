//! What `recast plugins` does: each tool returns something that prints as text for people and as JSON for machines.

mod conformance;
mod doctor;
mod listing;
mod template;

pub use conformance::{Case, CaseResult, Conformance, Ground, Outcome, run_case, test};
pub use doctor::{Diagnosis, Sign, Symptom, doctor};
pub use listing::{Inspected, Listing, inspect, list};
pub use template::begin;

use crate::config;
use crate::host::{Finder, Trust, search_path};

/// Every plugin that is found with this configuration, and what was refused.
fn discovered(config: &config::Plugins) -> crate::host::Discovery {
    Finder::new().discover(&search_path(&config.path), &trust(config))
}

fn trust(config: &config::Plugins) -> Trust {
    Trust { allow: config.allow.clone(), ..Trust::default() }
}
