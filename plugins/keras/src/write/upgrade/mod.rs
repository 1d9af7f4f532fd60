//! A layer model as the configuration that today's Keras writes: every version's names, keys and calls become those of
//! Keras 3. What Keras 3 can't say with the same numbers is a finding, all of them at once.

mod calls;
mod casts;
mod cells;
mod classes;
mod explicit;
mod functions;
mod gone;
pub mod javascript;
mod layer;
mod masks;
mod order;
mod prepare;
mod restore;
mod stepped;
mod terms;
mod typed;
mod values;

pub use order::{Operation, order, order_without_masks, orders_differ};
pub use prepare::{Prepared, prepare};
pub use typed::{Typed, refused_by_2};

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::model::{LayerModel, Model, keras_version};
use serde_json::Value;

/// Whom the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `.keras`: Keras 3 alone.
    Keras3,
    /// `.h5`: Keras 3, and tf.keras 2 where it has the layers: old spellings that both understand.
    Both,
    /// `.h5` for tf.keras 2 alone: what Keras 2 writes, and means.
    Keras2,
    /// TensorFlow.js: the same without functions of TensorFlow.
    Js,
}

impl Dialect {
    /// What is read as Keras 2 means it, and by nobody else.
    pub fn is_old(self) -> bool {
        matches!(self, Dialect::Keras2 | Dialect::Js)
    }
}

/// Where a class of the table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// `keras.layers`, in tf.keras 2.15 and Keras 3.
    Both,
    /// `keras.layers` of Keras 3.
    Only3,
    /// The module of a network of `keras.applications`, in both; Keras 3 finds it nowhere else.
    Application(&'static str),
    /// `keras.layers` of 2.15; Keras 3 keeps it for old files in `keras._legacy.layers`.
    Legacy,
}

/// A configuration, and what was lost on the way.
pub struct Upgraded {
    /// `{"module", "class_name", "config", "registered_name"}`.
    pub config: Value,
    pub notes: Vec<Diag>,
}

struct Upgrade<'m> {
    /// Of the Keras that wrote the source.
    version: &'m str,
    major: u32,
    dialect: Dialect,
    findings: Findings,
    notes: Vec<Diag>,
    /// Layers that tf.keras 2 does not load from a file for both, and why.
    newer: Vec<Newer>,
    /// tf.keras 2 would load it, and compute something else: it must not.
    closed: bool,
    /// Of the layer in the making.
    dtype: Value,
}

/// The path of a layer that Keras 3 alone has words for, and why.
pub type Newer = (String, String);

/// The configuration of the whole model. `newer`: why a file for both must be for Keras 3 alone.
pub fn model(source: &LayerModel, root: &Model, dialect: Dialect, newer: Option<Newer>) -> Result<Upgraded, Findings> {
    let mut upgrade = Upgrade {
        version: &source.keras_version,
        major: keras_version(&source.keras_version).0,
        dialect,
        findings: Findings::new(),
        notes: Vec::new(),
        closed: newer.is_some(),
        dtype: Value::Null,
        newer: newer.into_iter().collect(),
    };
    let config = upgrade.model(root, &Value::Null, true);
    upgrade.note_newer();
    if upgrade.findings.is_empty() { Ok(Upgraded { config, notes: upgrade.notes }) } else { Err(upgrade.findings) }
}

impl Upgrade<'_> {
    /// Keras 3 alone has words for something of this layer.
    fn needs_newer(&mut self, path: &str, why: impl Into<String>) {
        if self.dialect == Dialect::Both {
            self.newer.push((path.to_owned(), why.into()));
        }
    }

    /// Said once for a file, by the first layer.
    fn note_newer(&mut self) {
        let Some((path, why)) = self.newer.first() else { return };
        let others = match self.newer.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        let detail = format!("Keras 3 loads this file, tf.keras 2 does not: {why}{others}");
        let hint = "the target `keras2` writes the model for tf.keras 2.15 alone";
        self.notes.push(Diag::new(Code::NeedsNewer, path.as_str(), detail).note().hint(hint));
    }

    /// Spellings that Keras 2 understands.
    fn plain(&self) -> bool {
        self.dialect != Dialect::Keras3
    }
}
