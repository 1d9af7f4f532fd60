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
    Row::new(
        "FeatureSpace",
        REFUSED,
        Masks::Drop,
        refuse,
        "a `.keras` of one is read as the model that it makes; refused inside of another",
    ),
    Row::new("FlaxLayer", REFUSED, Masks::Drop, code, "refused: it wraps a Flax module, which is code"),
    Row::new("JaxLayer", REFUSED, Masks::Drop, code, "refused: it wraps a JAX function, which is code"),
    Row::new("SequenceFeatures", REFUSED, Masks::Drop, refuse, "refused: as DenseFeatures"),
    Row::new("TFSMLayer", REFUSED, Masks::Drop, refuse, "refused: it runs a SavedModel that lies elsewhere"),
    Row::new("TorchModuleWrapper", REFUSED, Masks::Drop, code, "refused: it wraps a pickled module, which is code"),
    calls("ops.core.AssociativeScan"),
    calls("ops.core.Cond"),
    calls("ops.core.ForiLoop"),
    calls("ops.core.Map"),
    calls("ops.core.Scan"),
    calls("ops.core.Switch"),
    calls("ops.core.VectorizedMap"),
    calls("ops.core.WhileLoop"),
    Row::new("ops.image.ElasticTransform", REFUSED, Masks::Drop, refuse, "refused: it moves pixels at random"),
    calls("ops.linalg.JVP"),
    iterates("ops.linalg.CholeskyInverse"),
    iterates("ops.linalg.Eig"),
    iterates("ops.linalg.Eigh"),
    iterates("ops.linalg.Lstsq"),
    iterates("ops.linalg.LuFactor"),
    iterates("ops.linalg.MatrixRank"),
    iterates("ops.linalg.Pinv"),
    iterates("ops.linalg.Qr"),
    iterates("ops.linalg.SVD"),
    complex("ops.math.ViewAsComplex"),
    complex("ops.math.ViewAsReal"),
    sized("ops.nn.CTCDecode"),
    Row::new("ops.nn.CTCLoss", REFUSED, Masks::Drop, refuse, "refused: a loss, which only training has"),
    complex("ops.nn.Polar"),
    Row::new(
        "ops.numpy.Argpartition",
        REFUSED,
        Masks::Drop,
        refuse,
        "refused: each of Keras' backends has an order of its own",
    ),
    sized("ops.numpy.Bincount"),
    sized("ops.numpy.Histogram"),
    bits("ops.numpy.Nextafter"),
    sized("ops.numpy.Nonzero"),
    sized("ops.numpy.Unique"),
    bits("ops.numpy.View"),
    Row::new("tf.einsum", REFUSED, Masks::Drop, refuse, "refused: Keras 2 does not store its operands"),
    complex("tf.math.imag"),
    complex("tf.math.real"),
];

const fn calls(class: &'static str) -> Row {
    Row::new(class, REFUSED, Masks::Drop, code, "refused: it calls functions, which are code that no file holds")
}

const fn iterates(class: &'static str) -> Row {
    Row::new(class, REFUSED, Masks::Drop, refuse, "refused: no target has a decomposition of matrices")
}

const fn sized(class: &'static str) -> Row {
    Row::new(class, REFUSED, Masks::Drop, refuse, "refused: the size of its result depends on the values")
}

const fn complex(class: &'static str) -> Row {
    Row::new(class, REFUSED, Masks::Drop, refuse, "refused: no target has complex numbers")
}

const fn bits(class: &'static str) -> Row {
    Row::new(class, REFUSED, Masks::Drop, refuse, "refused: no target has the bits of numbers")
}

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
