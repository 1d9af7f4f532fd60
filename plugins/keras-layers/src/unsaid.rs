//! Options that a layer has, and that its Keras did not write: its own reader takes the default, too. The file can't
//! say whether the model had another value, so that it is said that this is a guess.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::lower::Lowering;

struct Unsaid {
    class: &'static str,
    /// In today's words.
    key: &'static str,
    read_as: &'static str,
    by: Writer,
}

/// Who left it out.
enum Writer {
    Keras1,
    /// TensorFlow, with a Keras of this version.
    TensorFlow((u32, u32), &'static str),
}

use Writer::{Keras1, TensorFlow};

const fn row(class: &'static str, key: &'static str, read_as: &'static str, by: Writer) -> Unsaid {
    Unsaid { class, key, read_as, by }
}

/// As a comparison of the constructors of those versions with what their `get_config` returns has it.
const TABLE: &[Unsaid] = &[
    row("AdditiveAttention", "causal", "false", TensorFlow((2, 2), "1.14 and 2.0")),
    row("Attention", "causal", "false", TensorFlow((2, 2), "1.14 and 2.0")),
    row("AveragePooling1D", "data_format", "channels_last", TensorFlow((2, 1), "up to 1.12")),
    row("ConvLSTM2D", "strides", "1", Keras1),
    row("MaxPooling1D", "data_format", "channels_last", TensorFlow((2, 1), "up to 1.12")),
    row("UpSampling2D", "interpolation", "nearest", TensorFlow((2, 2), "1.13 and 1.14")),
];

/// Says what of the layer the file leaves open.
pub fn say(l: &Lowering<'_>) {
    for row in TABLE.iter().filter(|row| row.class == l.layer.class && l.config.get(row.key).is_none()) {
        let stated = &l.request.keras_version;
        let who = match row.by {
            Keras1 if l.keras_major() == 1 => "Keras 1".to_owned(),
            TensorFlow(version, which) if stated.ends_with("-tf") && l.keras_version() == version => {
                format!("TensorFlow {which}")
            }
            _ => continue,
        };
        let detail = format!("files of {who} do not say the `{}` of a {}: read as {}", row.key, row.class, row.read_as);
        let hint = "if the model had another, save it with a later version";
        l.report(&Diag::new(Code::OptionIgnored, &l.layer.path, detail).note().hint(hint));
    }
}
