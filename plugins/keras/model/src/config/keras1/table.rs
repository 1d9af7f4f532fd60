//! The one table of what Keras 1 called things: classes, keys of their configurations, and their arrays.

use super::Given;
use crate::config::class::is_keras;
use crate::roles::Role;
use recast_plugin_api::diag::{Code, Diag};
use serde_json::{Map, Value, json};

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Key {
    /// The same value under another name.
    Named(&'static str, &'static str),
    /// Several numbers, which are one list now.
    List(&'static [&'static str], &'static str),
    /// Stated always, `th` or `tf`.
    Ordering,
    /// Never stated: what the other layers say, for the classes that have it today.
    Inferred,
    /// One number, or both sides.
    Padding1,
    /// (height, width), or all four sides.
    Padding2,
    /// `cpu`, `mem`, `gpu`: today a number.
    Consume,
    /// Set to this, whatever the file says.
    Set(&'static str, &'static str),
    Drop(&'static str),
}

use Key::{Consume, Drop, Inferred, List, Named, Ordering, Padding1, Padding2, Set};

/// Which stored arrays make one weight of today, and how they are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Today's name.
    pub role: &'static str,
    /// Last words of the stored names, in the order in which they are joined along the last axis.
    pub stored: &'static [&'static str],
}

const fn one(role: &'static str, stored: &'static [&'static str]) -> Source {
    Source { role, stored }
}

struct Row {
    stored: &'static str,
    class: &'static str,
    keys: &'static [&'static [Key]],
    /// (last word, trainable), in the order of the file.
    arrays: &'static [(&'static str, bool)],
}

/// Keys that any layer may have. Regularizers and constraints matter in training alone.
const ANY: &[Key] = &[
    Named("input_dtype", "dtype"),
    Named("bias", "use_bias"),
    Named("init", "kernel_initializer"),
    Named("inner_init", "recurrent_initializer"),
    Drop("W_regularizer"),
    Drop("U_regularizer"),
    Drop("b_regularizer"),
    Drop("gamma_regularizer"),
    Drop("beta_regularizer"),
    Drop("depthwise_regularizer"),
    Drop("pointwise_regularizer"),
    Drop("activity_regularizer"),
    Drop("W_constraint"),
    Drop("b_constraint"),
    Drop("depthwise_constraint"),
    Drop("pointwise_constraint"),
];
const CONV: &[Key] = &[
    Named("nb_filter", "filters"),
    Named("border_mode", "padding"),
    Named("subsample", "strides"),
    Named("atrous_rate", "dilation_rate"),
    Drop("input_dim"),
    Drop("input_length"),
];
const CONV1: &[Key] = &[List(&["filter_length"], "kernel_size"), List(&["subsample_length"], "strides")];
const CONV2: &[Key] = &[List(&["nb_row", "nb_col"], "kernel_size"), Ordering];
const CONV3: &[Key] = &[List(&["kernel_dim1", "kernel_dim2", "kernel_dim3"], "kernel_size"), Ordering];
const DECONV: &[Key] = &[Named("output_shape", "legacy_output_shape")];
const POOL1: &[Key] = &[Named("pool_length", "pool_size"), Named("stride", "strides"), Named("border_mode", "padding")];
const POOL: &[Key] = &[Named("border_mode", "padding"), Ordering];
const UNITS: &[Key] = &[Named("output_dim", "units"), Drop("input_dim"), Drop("input_length")];
const RECURRENT: &[Key] = &[
    Named("inner_activation", "recurrent_activation"),
    Named("dropout_W", "dropout"),
    Named("dropout_U", "recurrent_dropout"),
    Consume,
    Drop("forget_bias_init"),
];
const GRU: &[Key] = &[Set("reset_after", "false")];
const RATE: &[Key] = &[Named("p", "rate")];
const KERNEL: &[(&str, bool)] = &[("W", true), ("b", true)];
const NONE: &[(&str, bool)] = &[];

const fn plain(name: &'static str, keys: &'static [&'static [Key]]) -> Row {
    Row { stored: name, class: name, keys, arrays: NONE }
}

const fn row(
    stored: &'static str,
    class: &'static str,
    keys: &'static [&'static [Key]],
    arrays: &'static [(&'static str, bool)],
) -> Row {
    Row { stored, class, keys, arrays }
}

/// Sorted by the stored name. A class that is not here has kept its keys and holds no arrays.
const TABLE: &[Row] = &[
    row("AtrousConvolution1D", "Conv1D", &[CONV, CONV1, &[List(&["atrous_rate"], "dilation_rate")]], KERNEL),
    row("AtrousConvolution2D", "Conv2D", &[CONV, CONV2], KERNEL),
    plain("AveragePooling1D", &[POOL1]),
    plain("AveragePooling2D", &[POOL]),
    plain("AveragePooling3D", &[POOL]),
    row(
        "BatchNormalization",
        "BatchNormalization",
        &[&[Drop("beta_init"), Drop("gamma_init")]],
        &[("gamma", true), ("beta", true), ("running_mean", false), ("running_std", false)],
    ),
    row("ConvLSTM2D", "ConvLSTM2D", &[CONV, CONV2, RECURRENT, &[Drop("output_dim")]], LSTM),
    row("Convolution1D", "Conv1D", &[CONV, CONV1], KERNEL),
    row("Convolution2D", "Conv2D", &[CONV, CONV2], KERNEL),
    row("Convolution3D", "Conv3D", &[CONV, CONV3], KERNEL),
    plain("Cropping2D", &[&[Inferred]]),
    plain("Cropping3D", &[&[Inferred]]),
    row("Deconvolution2D", "Conv2DTranspose", &[CONV, CONV2, DECONV], KERNEL),
    row("Dense", "Dense", &[UNITS], KERNEL),
    plain("Dropout", &[RATE]),
    row("Embedding", "Embedding", &[&[Drop("dropout")]], &[("W", true)]),
    row("GRU", "GRU", &[UNITS, RECURRENT, GRU], GATES_ZRH),
    plain("GaussianDropout", &[RATE]),
    plain("GaussianNoise", &[&[Named("sigma", "stddev")]]),
    plain("GlobalAveragePooling2D", &[&[Ordering]]),
    plain("GlobalAveragePooling3D", &[&[Ordering]]),
    plain("GlobalMaxPooling2D", &[&[Ordering]]),
    plain("GlobalMaxPooling3D", &[&[Ordering]]),
    row(
        "Highway",
        "Highway",
        &[&[Drop("input_dim")]],
        &[("W", true), ("W_carry", true), ("b", true), ("b_carry", true)],
    ),
    row("LSTM", "LSTM", &[UNITS, RECURRENT], LSTM),
    row("LocallyConnected1D", "LocallyConnected1D", &[CONV, CONV1], KERNEL),
    row("LocallyConnected2D", "LocallyConnected2D", &[CONV, CONV2], KERNEL),
    plain("MaxPooling1D", &[POOL1]),
    plain("MaxPooling2D", &[POOL]),
    plain("MaxPooling3D", &[POOL]),
    row("MaxoutDense", "MaxoutDense", &[UNITS], KERNEL),
    row("PReLU", "PReLU", &[], &[("alphas", true)]),
    row("ParametricSoftplus", "ParametricSoftplus", &[], &[("alphas", true), ("betas", true)]),
    row("SReLU", "SReLU", &[], &[("t_left", true), ("a_left", true), ("t_right", true), ("a_right", true)]),
    row(
        "SeparableConvolution2D",
        "SeparableConv2D",
        &[CONV, CONV2],
        &[("depthwise_kernel", true), ("pointwise_kernel", true), ("b", true)],
    ),
    row("SimpleRNN", "SimpleRNN", &[UNITS, RECURRENT], &[("W", true), ("U", true), ("b", true)]),
    plain("SpatialDropout1D", &[RATE]),
    plain("SpatialDropout2D", &[RATE, &[Ordering]]),
    plain("SpatialDropout3D", &[RATE, &[Ordering]]),
    row("TimeDistributedDense", "Dense", &[UNITS], KERNEL),
    plain("UpSampling1D", &[&[Named("length", "size")]]),
    plain("UpSampling2D", &[&[Inferred]]),
    plain("UpSampling3D", &[&[Inferred]]),
    plain("ZeroPadding1D", &[&[Padding1]]),
    plain("ZeroPadding2D", &[&[Inferred, Padding2]]),
    plain("ZeroPadding3D", &[&[Inferred]]),
];

const LSTM: &[(&str, bool)] = &[
    ("W_i", true),
    ("U_i", true),
    ("b_i", true),
    ("W_c", true),
    ("U_c", true),
    ("b_c", true),
    ("W_f", true),
    ("U_f", true),
    ("b_f", true),
    ("W_o", true),
    ("U_o", true),
    ("b_o", true),
];
const GATES_ZRH: &[(&str, bool)] = &[
    ("W_z", true),
    ("U_z", true),
    ("b_z", true),
    ("W_r", true),
    ("U_r", true),
    ("b_r", true),
    ("W_h", true),
    ("U_h", true),
    ("b_h", true),
];
/// All gates in one array each (`consume_less="gpu"`).
const WHOLE: &[(&str, bool)] = &[("W", true), ("U", true), ("b", true)];

/// By today's class; an empty class is any. The first whose arrays are there holds.
const SOURCES: &[(&str, &[Source])] = &[
    ("Embedding", &[one("embeddings", &["W"])]),
    (
        "",
        &[
            one("kernel", &["W"]),
            one("recurrent_kernel", &["U"]),
            one("bias", &["b"]),
            // Keras 1 keeps the gates in the order i, c, f, o.
            one("kernel", &["W_i", "W_f", "W_c", "W_o"]),
            one("recurrent_kernel", &["U_i", "U_f", "U_c", "U_o"]),
            one("bias", &["b_i", "b_f", "b_c", "b_o"]),
            one("kernel", &["W_z", "W_r", "W_h"]),
            one("recurrent_kernel", &["U_z", "U_r", "U_h"]),
            one("bias", &["b_z", "b_r", "b_h"]),
            one("carry_kernel", &["W_carry"]),
            one("carry_bias", &["b_carry"]),
            one("alpha", &["alphas"]),
            one("beta", &["betas"]),
            one("moving_mean", &["running_mean"]),
            // It holds the variance, whatever it is called.
            one("moving_variance", &["running_std"]),
        ],
    ),
];

/// The arrays of a layer as Keras 1 stores them, none for a class that only the file knows; `class` and `config` are
/// upgraded already.
pub fn roles(class: &str, config: &Value) -> Option<Vec<Role>> {
    let Some(row) = TABLE.iter().find(|row| row.class == class) else {
        return (is_keras(class) || class == "Merge").then(Vec::new);
    };
    let fused = config.get("implementation").and_then(Value::as_u64) == Some(2);
    let arrays = if fused && matches!(class, "LSTM" | "GRU") { WHOLE } else { row.arrays };
    let unbiased = !crate::json::flag(config, "use_bias", true);
    let kept = arrays.iter().filter(|(name, _)| !(unbiased && matches!(*name, "b" | "b_carry")));
    Some(kept.map(|&(name, trainable)| Role { name, trainable }).collect())
}

/// Is this what Keras 1 calls some array?
pub fn is_array(word: &str) -> bool {
    TABLE.iter().flat_map(|row| row.arrays).chain(WHOLE).any(|(name, _)| *name == word)
}

/// What becomes of a layer's stored arrays; an array that no source names keeps its name.
pub fn sources(class: &str) -> &'static [Source] {
    let own = SOURCES.iter().find(|(of, _)| *of == class || of.is_empty());
    own.map_or(&[], |(_, sources)| sources)
}

/// Class and configuration of one layer, in today's words.
pub fn translate(
    class: &str,
    mut config: Map<String, Value>,
    given: Given<'_>,
    at: &str,
) -> Result<(String, Map<String, Value>), Diag> {
    let found = TABLE.binary_search_by_key(&class, |row| row.stored).ok().map(|found| &TABLE[found]);
    let keys = found.map_or(&[][..], |row| row.keys);
    for key in keys.iter().copied().flatten().chain(ANY) {
        apply(*key, &mut config, class, given, at)?;
    }
    initializers(&mut config);
    Ok((found.map_or(class, |row| row.class).to_owned(), config))
}

fn apply(key: Key, config: &mut Map<String, Value>, class: &str, given: Given<'_>, at: &str) -> Result<(), Diag> {
    let bad = |config: &Map<String, Value>, detail: String| {
        let name = super::name_of(config);
        Diag::new(Code::BadConfig, if name.is_empty() { at } else { name }, detail)
    };
    match key {
        Named(old, new) => {
            if let Some(value) = config.remove(old) {
                config.insert(new.into(), value);
            }
        }
        List(old, new) => {
            if old.iter().any(|old| config.contains_key(*old)) {
                let values = old.iter().map(|old| config.remove(*old).unwrap_or(Value::Null)).collect();
                config.insert(new.into(), Value::Array(values));
            }
        }
        Ordering => {
            let stated = config.remove("dim_ordering").unwrap_or(Value::Null);
            let format = data_format(stated.as_str().or(given.ordering));
            let format = format.ok_or_else(|| bad(config, format!("`dim_ordering` is {stated}")))?;
            config.insert("data_format".into(), json!(format));
        }
        Inferred => {
            let stated = config.remove("dim_ordering");
            let known = stated.as_ref().and_then(Value::as_str).or(given.ordering);
            let Some(format) = data_format(known) else {
                let detail = format!(
                    "a {class} of Keras 1 does not store which axis its channels are, and no other layer tells"
                );
                return Err(Diag::new(Code::UnsupportedLayer, super::name_of(config), detail)
                    .hint("add `\"dim_ordering\": \"tf\"` (or \"th\") to its configuration"));
            };
            config.insert("data_format".into(), json!(format));
        }
        Padding1 => sides(config, |numbers, named| match numbers {
            Some(_) => None,
            None => Some(json!([named("left_pad"), named("right_pad")])),
        }),
        Padding2 => sides(config, |numbers, named| match numbers {
            Some([top, bottom, left, right]) if given.four_sides => Some(json!([[top, bottom], [left, right]])),
            Some([height, width, ..]) => Some(json!([[height, height], [width, width]])),
            Some(_) => None,
            None => Some(json!([[named("top_pad"), named("bottom_pad")], [named("left_pad"), named("right_pad")]])),
        }),
        Consume => {
            let implementation = match config.remove("consume_less").as_ref().and_then(Value::as_str) {
                Some("gpu") => 2,
                Some("mem") => 1,
                _ => 0,
            };
            config.insert("implementation".into(), json!(implementation));
        }
        Set(key, value) => drop(config.insert(key.into(), json!(value == "true"))),
        Drop(key) => drop(config.remove(key)),
    }
    Ok(())
}

/// Puts the sides of a padding that is a list of numbers, or an object that names sides, in its place.
fn sides(
    config: &mut Map<String, Value>,
    today: impl FnOnce(Option<&[Value]>, &dyn Fn(&str) -> Value) -> Option<Value>,
) {
    let sides = match config.get("padding") {
        Some(Value::Array(numbers)) => today(Some(numbers), &|_| Value::Null),
        Some(Value::Object(sides)) => today(None, &|side| sides.get(side).cloned().unwrap_or(json!(0))),
        _ => None,
    };
    if let Some(sides) = sides {
        config.insert("padding".into(), sides);
    }
}

fn data_format(ordering: Option<&str>) -> Option<&'static str> {
    match ordering {
        Some("th") => Some("channels_first"),
        Some("tf") => Some("channels_last"),
        _ => None,
    }
}

/// Their names of today.
fn initializers(config: &mut Map<String, Value>) {
    for key in ["kernel_initializer", "recurrent_initializer"] {
        let today = match config.get(key).and_then(Value::as_str) {
            Some("zero") => "zeros",
            Some("one") => "ones",
            Some("normal") => "random_normal",
            Some("uniform") => "random_uniform",
            _ => continue,
        };
        config.insert(key.into(), json!(today));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(ordering: Option<&str>) -> Given<'_> {
        Given { ordering, four_sides: true }
    }

    fn translated(class: &str, config: Value, ordering: Option<&str>) -> (String, Value) {
        let Value::Object(config) = config else { panic!("a configuration is an object") };
        let (class, config) = translate(class, config, given(ordering), "x").unwrap();
        (class, Value::Object(config))
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|row| row.stored));
    }

    #[test]
    fn keys_become_todays() {
        let config = json!({"name": "c", "nb_filter": 3, "nb_row": 5, "nb_col": 2, "border_mode": "same",
            "subsample": [1, 2], "dim_ordering": "th", "bias": true, "W_constraint": null});
        let expected = json!({"name": "c", "filters": 3, "kernel_size": [5, 2], "padding": "same", "strides": [1, 2],
            "data_format": "channels_first", "use_bias": true});
        assert_eq!(translated("Convolution2D", config, None), ("Conv2D".into(), expected));
        let config = json!({"name": "u", "size": [2, 2]});
        let expected = json!({"name": "u", "size": [2, 2], "data_format": "channels_last"});
        assert_eq!(translated("UpSampling2D", config, Some("tf")), ("UpSampling2D".into(), expected));
        let config = json!({"name": "z", "padding": {"top_pad": 1, "left_pad": 2}});
        let expected = json!({"name": "z", "padding": [[1, 0], [2, 0]], "data_format": "channels_last"});
        assert_eq!(translated("ZeroPadding2D", config, Some("tf")), ("ZeroPadding2D".into(), expected));
    }

    #[test]
    fn an_ordering_that_nobody_states_is_asked_for() {
        let Value::Object(config) = json!({"name": "u", "size": [2, 2]}) else { unreachable!() };
        assert_eq!(translate("UpSampling2D", config, given(None), "x").unwrap_err().code, Code::UnsupportedLayer);
    }

    #[test]
    fn arrays_follow_the_options() {
        let names =
            |class, config: Value| roles(class, &config).unwrap().iter().map(|role| role.name).collect::<Vec<_>>();
        assert_eq!(names("Dense", json!({"use_bias": false})), ["W"]);
        assert_eq!(names("LSTM", json!({"implementation": 2})), ["W", "U", "b"]);
        assert_eq!(names("GRU", json!({"implementation": 0})).len(), 9);
    }
}
