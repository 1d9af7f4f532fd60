//! One layer: its class, its keys, what it wraps.

use super::classes::{self, Row};
use super::values::object;
use super::{Dialect, Home, Upgrade, gone};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::{Layer, keras_version};
use serde_json::{Map, Value, json};

/// Classes of Keras 1 and 2 that no version of Keras 3 has: everything else that is not in the table is a stranger's.
const LOST: &[&str] = &[
    "AbstractRNNCell",
    "ConvLSTM2DCell",
    "ConvRNN2D",
    "CuDNNGRU",
    "CuDNNLSTM",
    "DenseFeatures",
    "DeviceWrapper",
    "DropoutWrapper",
    "Highway",
    "LRN2D",
    "Lambda",
    "LocallyConnected1D",
    "LocallyConnected2D",
    "MaxoutDense",
    "Merge",
    "ParametricSoftplus",
    "PeepholeLSTMCell",
    "RandomFourierFeatures",
    "ResidualWrapper",
    "SReLU",
    "TensorFlowOpLayer",
];

/// Those of them that tf.keras 2.15 has, with the keys that they have had since Keras 2.
const ONLY_2: &[&str] = &["LocallyConnected1D", "LocallyConnected2D"];

/// Classes that look words up, split them, or hash them.
const OF_WORDS: &[&str] = &["HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"];

/// What Keras itself does to texts before it looks up their words.
const STANDARD_TEXTS: &[&str] =
    &["character", "lower", "lower_and_strip_punctuation", "strip_punctuation", "whitespace"];

/// Classes of Keras 3 that don't take `trainable`: they have nothing to train.
const UNTRAINED: &[&str] = &["Discretization", "Pipeline", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"];

/// Keys of Keras 3 that matter to training, or to how fast something is computed.
const TRAINING_KEYS: &[&str] = &["flash_attention", "lora_alpha", "lora_rank", "seed", "use_cudnn"];

/// Keys of Keras 3 that choose what augmentation does, which is nothing at inference, or what another key makes use of.
const INERT_KEYS: &[&str] = &["bounding_box_format", "factor", "fill_mode", "fill_value", "value_range"];

/// A layer in the making.
pub(super) struct Made {
    pub module: String,
    pub class: String,
    pub config: Value,
    /// As Keras registers a stranger's class.
    pub registered: Option<String>,
    /// It is named with its module in every list: what Keras 2 does not have, or does not find without.
    pub with_module: bool,
}

/// Does training of this BatchNormalization keep further moments?
pub(super) fn is_renormalized(layer: &Layer) -> bool {
    parsed(&layer.config).get("renorm") == Some(&json!(true))
}

impl Upgrade<'_> {
    /// A layer that stands inside another one: an object as Keras 3 serialises it.
    pub(super) fn inner(&mut self, layer: &Layer) -> Value {
        if let Some(model) = &layer.model {
            let mut value = self.model(model, &parsed(&layer.config), false);
            if self.dialect == Dialect::Both {
                // Inside a layer Keras 3 looks for a class in its module only.
                let (module, registered) = model_home(&model.kind);
                value["module"] = json!(module);
                value["registered_name"] = registered;
            }
            return value;
        }
        let made = self.layer(layer);
        json!({
            "module": made.module, "class_name": made.class, "config": made.config,
            "registered_name": made.registered,
        })
    }

    /// A layer in a list of layers.
    pub(super) fn entry(&mut self, layer: &Layer) -> Value {
        if let Some(model) = &layer.model {
            return self.model(model, &parsed(&layer.config), false);
        }
        let made = self.layer(layer);
        if self.plain() && !made.with_module {
            return json!({"class_name": made.registered.unwrap_or(made.class), "config": made.config});
        }
        json!({
            "module": made.module, "class_name": made.class, "config": made.config,
            "registered_name": made.registered,
        })
    }

    fn layer(&mut self, layer: &Layer) -> Made {
        let config = parsed(&layer.config);
        let only3 = classes::find(&layer.class).map_or(layer.class.starts_with("ops."), |row| row.home == Home::Only3);
        if only3 && self.dialect.is_old() {
            let class = layer.class.strip_prefix("ops.").unwrap_or(&layer.class);
            let detail = format!("Keras 2, which TensorFlow.js follows, has no {class}");
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        if let Some(operation) = layer.class.strip_prefix("ops.") {
            self.needs_newer(&layer.path, format!("it has no operation {operation}"));
            return operation_node(operation, config);
        }
        if let Some(function) = layer.class.strip_prefix("tf.").filter(|_| self.dialect == Dialect::Keras2) {
            return function_node(function, config);
        }
        match row_of(layer, self.dialect) {
            Some(row) => self.known(row, layer, &config),
            None => self.stranger(layer, config),
        }
    }

    fn known(&mut self, row: &'static Row, layer: &Layer, config: &Value) -> Made {
        let mut out = Map::new();
        let policy = config.get("dtype").unwrap_or(&Value::Null);
        let dtype = policy.get("config").and_then(|config| config.get("name")).unwrap_or(policy).clone();
        let outer = std::mem::replace(&mut self.dtype, dtype);
        for (key, value) in config.as_object().into_iter().flatten() {
            let key = gone::renamed(row.class, key).unwrap_or(key);
            if let Some(value) = self.key(row, layer, key, value) {
                out.insert(key.to_owned(), value);
            }
        }
        self.complete(row.class, layer, config, &mut out);
        self.dtype = outer;
        if OF_WORDS.contains(&row.class) {
            self.of_words(layer, &mut out);
        }
        let mut class = row.class;
        if class == "RandomCrop" {
            class = self.random_crop(layer, &mut out);
        }
        if class == "LeakyReLU" && self.plain() {
            // The name that Keras 2 has for it, which Keras 3 still takes.
            if let Some(slope) = out.shift_remove("negative_slope") {
                out.insert("alpha".into(), slope);
            }
        }
        let module = row.module().to_owned();
        // Where it is named without its module, 2.15 does not find the one, and Keras 3 forgets a list of axes.
        let axes = out.get("axis").and_then(Value::as_array).is_some_and(|axes| axes.len() != 1);
        let unfound = matches!(row.home, Home::Application(_)) || row.class == "SpectralNormalization";
        let with_module = matches!(row.home, Home::Only3 | Home::Legacy) || unfound || axes;
        if row.home == Home::Only3 {
            self.needs_newer(&layer.path, format!("it has no {class}"));
        } else if unfound && self.dialect == Dialect::Keras2 {
            let detail = format!("tf.keras 2.15 finds its `{class}` among `custom_objects` only");
            self.notes.push(Diag::new(Code::CustomObject, layer.path.as_str(), detail));
        } else if unfound {
            self.needs_newer(&layer.path, format!("it finds {class} among `custom_objects` only"));
        }
        Made { module, class: class.to_owned(), config: Value::Object(out), registered: None, with_module }
    }

    /// Keras 2 takes no dtype of floats where indices come out, and none but strings where texts go in, which Keras 3
    /// takes no dtype at all for. Functions of a user's own are kept by their names.
    fn of_words(&mut self, layer: &Layer, out: &mut Map<String, Value>) {
        let mode = out.get("output_mode").and_then(Value::as_str).unwrap_or("int");
        let lists = |key: &str| out.get(key).is_some_and(Value::is_array);
        let (worded, weighed, several) = (lists("vocabulary"), lists("idf_weights"), lists("ngrams"));
        if mode == "tf_idf" && worded && !weighed {
            let detail = "its words are in the file, and their idf_weights are not";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        let splits = layer.class == "TextVectorization";
        if splits || mode == "int" && self.plain() {
            out.shift_remove("dtype");
        }
        if splits && self.plain() && several {
            // Keras 2 takes no list where it wants a tuple.
            let items = out.get("ngrams").cloned().unwrap_or_default();
            out.insert("ngrams".into(), json!({"class_name": "__tuple__", "items": items}));
        }
        if splits && self.dialect.is_old() && !worded {
            let detail = "its vocabulary is not in the file, and Keras 2 loads no TextVectorization without";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        for key in ["standardize", "split"] {
            let own = |value: &Value| match value.as_str() {
                Some(name) => !STANDARD_TEXTS.contains(&name),
                None => !value.is_null(),
            };
            if splits && out.get(key).is_some_and(own) {
                let detail = format!("its `{key}` is kept by its name: whoever loads the output has to register it");
                self.notes.push(Diag::new(Code::CustomObject, layer.path.as_str(), detail));
            }
        }
    }

    /// One key of a known class; none where it is left out.
    fn key(&mut self, row: &Row, layer: &Layer, key: &str, value: &Value) -> Option<Value> {
        match key {
            "trainable" if UNTRAINED.contains(&row.class) => return None,
            "name" | "trainable" => return Some(value.clone()),
            "padding" if row.class == "SeparableConv1D" && *value == json!("causal") => {
                if !self.dialect.is_old() {
                    let detail = "SeparableConv1D of Keras 3 has no causal padding";
                    self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
                }
                return Some(value.clone());
            }
            "padding" if *value == json!("theano") => {
                return self
                    .only_theano(layer, "it was written on Theano, whose `same` padding is not that of Keras 3");
            }
            "legacy_theano" if row.class.starts_with("ConvLSTM") && has_even_window(layer) => {
                let why = "it was written on Theano, which pads its even window from step to step as Keras 3 does not";
                return self.only_theano(layer, why);
            }
            // What masked steps gave on Theano, they give in Keras 3.
            "legacy_theano" if row.class != "SReLU" => return None,
            // Keras 1 wrote the type of its inputs there; to Keras 3 it is that of the table.
            "dtype" if row.class == "Embedding" && value.as_str().is_some_and(|name| name.contains("int")) => {
                return None;
            }
            // Of a Sequential without an input, as in an .h5, Keras 3 takes it for that of what comes in.
            "dtype" if row.class == "Discretization" && self.plain() && gives_indices(layer) => return None,
            "x_factor" | "y_factor" if row.class == "RandomShear" => return Some(factor(value)),
            "dtype" if row.class == "BatchNormalization" && self.major < 3 => {
                return self.dtype(value, &layer.path).map(with_whole_weights);
            }
            "dtype" => return self.dtype(value, &layer.path),
            "layer" | "backward_layer" | "cell" | "cells" => return self.wrapped(layer, key, value),
            "activity_regularizer" if !value.is_null() => return self.value(key, value, &layer.path),
            // How training weighs its batches: inference does the same with and without.
            "renorm" | "renorm_clipping" | "renorm_momentum" if !is_renormalized(layer) => return None,
            "synchronized" if *value == json!(false) => return None,
            // TensorFlow.js knows it, as Keras 2 does.
            "time_major" if self.dialect.is_old() => return Some(value.clone()),
            "axis" if row.class == "BatchNormalization" => return Some(self.one_axis(value, &layer.path)),
            _ => {}
        }
        if !row.takes(key) {
            if !gone::may_go(row.class, key, value) && !matches!(key, "causal" | "constants") {
                let detail = format!("Keras 3's {} has no `{key}`, which is {value} here", row.class);
                self.findings.push(
                    Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail)
                        .hint("other targets (onnx) keep what it computes"),
                );
            }
            return None;
        }
        // What is left out means the same, and loads in those versions of Keras 3, too, that do not know the key.
        let default = row.default(key).or_else(|| gone::later(row.class, key));
        if default.as_ref() == Some(value) {
            return None;
        }
        if self.plain() && row.default(key).is_some() {
            return self.new_key(row, layer, key, value);
        }
        self.value(key, value, &layer.path)
    }

    fn only_theano(&mut self, layer: &Layer, why: &str) -> Option<Value> {
        let finding = Diag::new(Code::UnsupportedLayer, layer.path.as_str(), why);
        self.findings.push(finding.hint("other targets (onnx) keep what it computes"));
        None
    }

    /// A key that Keras 2 does not know, with another value than it has when it is left out.
    fn new_key(&mut self, row: &Row, layer: &Layer, key: &str, value: &Value) -> Option<Value> {
        if TRAINING_KEYS.contains(&key) {
            return None;
        }
        if !self.dialect.is_old() {
            self.needs_newer(&layer.path, format!("its {} has no `{key}`", row.class));
            return self.value(key, value, &layer.path);
        }
        match (key, value.as_str()) {
            // Taken by the layer, if not listed among its arguments.
            ("zero_output_for_mask", _) => Some(value.clone()),
            // The only one that it has.
            ("data_format", Some("channels_last")) => None,
            _ if INERT_KEYS.contains(&key) => None,
            _ => {
                let detail = format!("Keras 2's {} has no `{key}`, which is {value} here", row.class);
                self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
                None
            }
        }
    }

    /// Keras 2 stores a list of one axis once the layer is built; Keras 3 wants the axis.
    fn one_axis(&mut self, value: &Value, path: &str) -> Value {
        match value.as_array().map(Vec::as_slice) {
            None => value.clone(),
            Some([axis]) => axis.clone(),
            Some(_) => {
                let detail = format!("BatchNormalization over the axes {value}: Keras 3 has one axis");
                self.findings.push(Diag::new(Code::UnsupportedLayer, path, detail));
                Value::Null
            }
        }
    }

    /// What is wrapped, from the layer that was made of it; none where the child says it all.
    fn wrapped(&mut self, layer: &Layer, key: &str, value: &Value) -> Option<Value> {
        if key == "cells" {
            let cells = layer.children.iter().filter(|child| child.attribute.starts_with("cells/"));
            let cells = cells.filter_map(|child| child.layer.as_ref());
            return Some(cells.map(|cell| self.inner(cell)).collect());
        }
        let attribute = match (key, layer.class.as_str()) {
            ("layer", "Bidirectional") => "forward_layer",
            _ => key,
        };
        let child = layer.child(attribute)?;
        if layer.class != "Bidirectional" {
            return Some(self.inner(child));
        }
        if value.is_null() {
            return None;
        }
        // The children of a Bidirectional have names and options of their own: here the stored ones count, and beside
        // them what the class of the file means by itself, as cuDNN's layers do.
        let mut stored = value.get("config").cloned().unwrap_or_default();
        if let (Some(stored), Value::Object(child)) = (stored.as_object_mut(), parsed(&child.config)) {
            for (key, value) in child {
                stored.entry(key).or_insert(value);
            }
        }
        Some(self.inner(&Layer { config: stored.to_string(), ..child.clone() }))
    }

    /// Of a layer inside that goes backwards, Keras 2 makes a second one that goes forwards; Keras 3 has to be told.
    fn turned(&mut self, layer: &Layer, config: &Value) -> Option<Value> {
        let inner = config.get("layer")?.get("config")?;
        let told = config.get("backward_layer").is_some_and(|own| !own.is_null());
        if self.major >= 3 || told || inner.get("go_backwards") != Some(&json!(true)) {
            return None;
        }
        let child = layer.child("backward_layer")?;
        Some(self.inner(child))
    }

    /// Options that older versions did not write, because they had no choice.
    fn complete(&mut self, class: &str, layer: &Layer, config: &Value, out: &mut Map<String, Value>) {
        let has = |key: &str| config.get(key).is_some();
        if matches!(class, "GRU" | "GRUCell") && !has("reset_after") {
            // Two rows of biases are those of the newer variant.
            let bias = layer.weight("bias").and_then(|bias| bias.tensor.as_ref());
            let rows = bias.and_then(|bias| bias.decode_tensor().ok()).map(|bias| bias.shape.len());
            let after = rows.map_or(self.at_least(2, 3), |rank| rank == 2);
            out.insert("reset_after".into(), json!(after));
        }
        if matches!(class, "GRU" | "GRUCell" | "LSTM" | "LSTMCell") && !has("recurrent_activation") {
            let name = if self.at_least(2, 3) { "sigmoid" } else { "hard_sigmoid" };
            let activation = self.activation(&json!(name), &layer.path);
            out.insert("recurrent_activation".into(), activation);
        }
        if class.starts_with("ConvLSTM") && !has("recurrent_activation") && self.major < 3 {
            let activation = self.activation(&json!("hard_sigmoid"), &layer.path);
            out.insert("recurrent_activation".into(), activation);
        }
        if class == "PReLU" && !has("shared_axes") {
            // Keras 1 did not write which axes share their slopes: those along which there is one.
            let alpha = layer.weight("alpha").and_then(|alpha| alpha.tensor.as_ref()?.decode_tensor().ok());
            let sizes = alpha.map(|alpha| alpha.shape).unwrap_or_default();
            let shared: Vec<usize> = (1..=sizes.len()).filter(|axis| sizes[axis - 1] == 1).collect();
            if !shared.is_empty() {
                out.insert("shared_axes".into(), json!(shared));
            }
        }
        if class == "Bidirectional"
            && let Some(backward) = self.turned(layer, config)
        {
            out.insert("backward_layer".into(), backward);
        }
        if class == "MultiHeadAttention" && self.dialect.is_old() {
            // It asks for them, and makes its weights later where they are not known.
            for key in ["query_shape", "key_shape", "value_shape"] {
                out.insert(key.into(), config.get(key).cloned().unwrap_or_default());
            }
        } else if class == "MultiHeadAttention" {
            self.needs_newer(&layer.path, "Keras 2 asks a MultiHeadAttention for keys that Keras 3 refuses");
        }
        // In an old file Keras 3 takes this word for its function of the same name.
        if class == "Attention" && self.plain() && out.get("score_mode") == Some(&json!("dot")) {
            out.shift_remove("score_mode");
        }
        if self.major == 2 && !self.at_least(2, 6) {
            self.early_preprocessing(class, layer, out);
        }
        let interpolated = config.get("interpolation").is_some_and(|way| *way != json!("nearest"));
        if class == "UpSampling2D" && interpolated && !self.at_least(2, 3) && !self.version.ends_with("-tf") {
            let detail = "Keras before 2.3 interpolates between corners of pixels, Keras 3 between their centres";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        let first = config.get("data_format") == Some(&json!("channels_first"));
        if class == "UpSampling2D" && interpolated && first && self.major == 3 && !self.at_least(3, 2) {
            let detail = "Keras 3.0 and 3.1 give channels-first images another size, of their width and channels";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
    }

    /// What TensorFlow 2.3 to 2.5 called otherwise, and what it computed otherwise.
    fn early_preprocessing(&mut self, class: &str, layer: &Layer, out: &mut Map<String, Value>) {
        match (class, out.get("output_mode").and_then(Value::as_str)) {
            ("CategoryEncoding", None | Some("binary")) => {
                out.insert("output_mode".into(), json!("multi_hot"));
            }
            ("CategoryEncoding", Some("tf-idf")) => {
                let detail = "CategoryEncoding has no output_mode 'tf-idf' any more";
                self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
            }
            ("Discretization", _) => {
                let all = self.at_least(2, 5);
                if let Some(Value::Array(bounds)) = out.get_mut("bin_boundaries") {
                    *bounds = below(bounds, all);
                }
            }
            _ => {}
        }
    }

    /// At inference Keras 2 resizes to the crop's size, Keras 3 leaves the image alone since 3.8.
    fn random_crop(&mut self, layer: &Layer, out: &mut Map<String, Value>) -> &'static str {
        if self.at_least(3, 8) && !self.dialect.is_old() {
            return "RandomCrop";
        }
        if self.at_least(3, 8) {
            // It gives the image as it is, in its dtype, and Keras 2's cuts.
            ["height", "width", "seed"].iter().for_each(|key| drop(out.shift_remove(*key)));
            out.insert("scale".into(), json!(1.0));
            let detail =
                "RandomCrop became the Rescaling by one that it is at inference: training does not crop any more";
            self.notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail));
            return "Rescaling";
        }
        if !self.at_least(2, 7) {
            let detail =
                "RandomCrop before Keras 2.7 resizes and then cuts, which no layer of Keras 3 does at inference";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        if self.at_least(3, 6) {
            let detail = "RandomCrop of Keras 3.6 and 3.7 cuts at inference, which no layer of Keras 3.15 does";
            self.findings.push(Diag::new(Code::UnsupportedLayer, layer.path.as_str(), detail));
        }
        out.shift_remove("seed");
        out.insert("interpolation".into(), json!("bilinear"));
        out.insert("crop_to_aspect_ratio".into(), json!(true));
        let detail =
            "RandomCrop became the Resizing that it is at inference: training does not crop at random any more";
        self.notes.push(Diag::new(Code::TrainingDropped, layer.path.as_str(), detail));
        "Resizing"
    }

    /// Did this Keras, or a later one, write the source?
    pub(super) fn at_least(&self, major: u32, minor: u32) -> bool {
        keras_version(self.version) >= (major, minor)
    }

    /// A class that somebody else brings: kept by its name, with its configuration as it is.
    fn stranger(&mut self, layer: &Layer, mut config: Value) -> Made {
        let class = layer.class.as_str();
        if self.dialect == Dialect::Keras2 && ONLY_2.contains(&class) {
            let config = known_keys(config);
            let module = "keras.layers".to_owned();
            return Made { module, class: class.to_owned(), config, registered: None, with_module: false };
        }
        if LOST.contains(&class) || class.starts_with("tf.") {
            let what =
                class.strip_prefix("tf.").map_or(class.to_owned(), |function| format!("TensorFlow's {function}"));
            let code = if class == "Lambda" { Code::UnsafeCode } else { Code::UnsupportedLayer };
            let who = if self.dialect.is_old() { "Keras 2.15" } else { "Keras 3" };
            let detail = format!("{who} has no layer or operation for {what}");
            let diag =
                Diag::new(code, layer.path.as_str(), detail).hint("other targets (onnx) may keep what it computes");
            self.findings.push(diag);
        } else {
            let detail = format!("`{class}` is kept by its name: whoever loads the output has to register that class");
            self.notes.push(Diag::new(Code::CustomObject, layer.path.as_str(), detail));
        }
        if let Some(map) = config.as_object_mut() {
            map.shift_remove("batch_input_shape");
            if let Some(dtype) = map.get("dtype").and_then(|dtype| self.dtype(dtype, &layer.path)) {
                map.insert("dtype".into(), dtype);
            }
        }
        let bare = class.rsplit('>').next().unwrap_or(class).to_owned();
        Made {
            module: layer.module.clone(),
            class: bare,
            config,
            registered: Some(class.to_owned()),
            with_module: false,
        }
    }

    /// A layer that has nothing but a class and a configuration: one that is used as an activation.
    pub(super) fn plain_object(&mut self, class: &str, config: Value, path: &str) -> Value {
        let layer =
            Layer { class: class.to_owned(), path: path.to_owned(), config: config.to_string(), ..Layer::default() };
        if class == "Pipeline" {
            return object("keras.layers", class, config);
        }
        self.inner(&layer)
    }
}

/// A range as RandomShear takes it: Keras 3 writes the one that it makes of a number, and reads none that begins below
/// zero.
fn factor(range: &Value) -> Value {
    let (low, high) = (range.get(0).and_then(Value::as_f64), range.get(1).and_then(Value::as_f64));
    let whole = low.zip(high).is_some_and(|(low, high)| low < 0.0 && low == -high);
    if whole { range[1].clone() } else { range.clone() }
}

/// Keras 2 keeps the weights of a BatchNormalization in float32 whatever the policy; Keras 3 would round them.
fn with_whole_weights(policy: Value) -> Value {
    match policy.as_str() {
        Some(half @ ("float16" | "bfloat16")) => json!(format!("mixed_{half}")),
        _ => policy,
    }
}

fn has_even_window(layer: &Layer) -> bool {
    let even = |size: &Value| size.as_u64().is_some_and(|size| size % 2 == 0);
    match parsed(&layer.config).get("kernel_size") {
        Some(Value::Array(sizes)) => sizes.iter().any(even),
        size => size.is_some_and(even),
    }
}

fn gives_indices(layer: &Layer) -> bool {
    parsed(&layer.config).get("output_mode").is_none_or(|mode| *mode == json!("int"))
}

/// Without what Keras 1 wrote beside the arguments of a layer.
fn known_keys(mut config: Value) -> Value {
    if let Some(map) = config.as_object_mut() {
        map.retain(|key, _| !matches!(key.as_str(), "batch_input_shape" | "input_shape" | "input_dtype" | "input_dim"));
    }
    config
}

/// The row of a class of Keras. Somebody else's may have the name of one that Keras does not export, and Keras 2 wrote
/// its own such as somebody's ("Custom>CustomScaleLayer"), under which name it finds it again.
fn row_of(layer: &Layer, dialect: Dialect) -> Option<&'static Row> {
    let custom = layer.class.strip_prefix("Custom>").filter(|_| !dialect.is_old());
    let row = classes::find(custom.unwrap_or(&layer.class))?;
    let Home::Application(_) = row.home else { return custom.is_none().then_some(row) };
    let config = parsed(&layer.config);
    let fits = row.keys.split(' ').all(|key| config.get(key).is_some());
    let ours = custom.is_some() || layer.module.is_empty() || layer.module.starts_with("keras.");
    (fits && ours).then_some(row)
}

/// Module and registered name of a kind of model.
pub(super) fn model_home(kind: &str) -> (&'static str, Value) {
    match kind {
        "Sequential" => ("keras", Value::Null),
        _ => ("keras.src.models.functional", json!("Functional")),
    }
}

fn operation_node(operation: &str, config: Value) -> Made {
    let (family, class) = operation.rsplit_once('.').unwrap_or(("numpy", operation));
    let module = match family {
        "activations" => "keras.src.activations.activations".to_owned(),
        family => format!("keras.src.ops.{family}"),
    };
    let class = class.to_owned();
    Made { module, registered: Some(class.clone()), class, config, with_module: true }
}

/// A function of TensorFlow as Keras 2 makes a layer of it.
fn function_node(function: &str, config: Value) -> Made {
    let class = if function == "__operators__.getitem" { "SlicingOpLambda" } else { "TFOpLambda" };
    let module = "keras.src.layers.core.tf_op_layer".to_owned();
    Made { module, class: class.to_owned(), config, registered: None, with_module: false }
}

pub(super) fn parsed(config: &str) -> Value {
    serde_json::from_str(config).unwrap_or(Value::Null)
}

/// Bounds that belong to the bucket before them, as bounds that belong to the one behind: the next float32. By
/// TensorFlow 2.4 (which says so by an infinite last bound) and 2.5 (`all`).
fn below(bounds: &[Value], all: bool) -> Vec<Value> {
    let infinite = |bound: &Value| bound.as_str() == Some("Infinity");
    if !all && !bounds.last().is_some_and(infinite) {
        return bounds.to_vec();
    }
    let finite = bounds.iter().filter(|bound| !infinite(bound));
    finite.map(|bound| bound.as_f64().map_or(bound.clone(), |bound| json!((bound as f32).next_up()))).collect()
}
