//! Standard classes that are refused by rule, each with its reason: better than to say that nobody knows them.

use crate::table::{Masks, Row, find};
use recast_plugin_api::diag::{Code, Findings};
use recast_plugin_api::lower::{Lowering, Val};

const REFUSED: &str = "refused";

pub const ROWS: &[Row] = &[
    Row::new("AbstractRNNCell", REFUSED, Masks::Drop, code, "refused: what it computes is in a class of its own"),
    Row::new("DenseFeatures", REFUSED, Masks::Drop, refuse, "refused: it reads feature columns, which are code"),
    Row::new(
        "DropoutWrapper",
        REFUSED,
        Masks::Drop,
        refuse,
        "read where it keeps all; else refused: it drops at inference too",
    ),
    Row::new("FeatureSpace", REFUSED, Masks::Drop, refuse, "refused: it looks up and hashes strings"),
    Row::new("FlaxLayer", REFUSED, Masks::Drop, code, "refused: it wraps a Flax module, which is code"),
    Row::new("HashedCrossing", REFUSED, Masks::Drop, refuse, "refused: no target has its hash of strings"),
    Row::new("Hashing", REFUSED, Masks::Drop, refuse, "refused: no target has its hash of strings"),
    Row::new("JaxLayer", REFUSED, Masks::Drop, code, "refused: it wraps a JAX function, which is code"),
    Row::new("SequenceFeatures", REFUSED, Masks::Drop, refuse, "refused: as DenseFeatures"),
    Row::new("TFSMLayer", REFUSED, Masks::Drop, refuse, "refused: it runs a SavedModel that lies elsewhere"),
    Row::new(
        "TextVectorization",
        REFUSED,
        Masks::Drop,
        refuse,
        "refused: it splits strings, which no target does alike",
    ),
    Row::new("TorchModuleWrapper", REFUSED, Masks::Drop, code, "refused: it wraps a pickled module, which is code"),
];

type Outcome = Result<Vec<Val>, Findings>;

/// What to do about a layer that is code.
const SUPPLY: &str = "make it a registered layer in Keras, and supply that class as a plugin: `recast plugins new`";

fn reason(l: &Lowering<'_>) -> String {
    let note = find(&l.layer.class).map_or("refused", |row| row.note);
    format!("{} '{}' is {note}", l.layer.class, l.layer.name)
}

fn refuse(l: &mut Lowering<'_>) -> Outcome {
    let hint = "run it before the model, or supply the class as a plugin: `recast plugins new`";
    Err(l.error(Code::UnsupportedLayer, reason(l)).hint(hint).into())
}

fn code(l: &mut Lowering<'_>) -> Outcome {
    Err(l.error(Code::UnsafeCode, reason(l)).hint(SUPPLY).into())
}
