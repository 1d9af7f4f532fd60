//! The keras plugin as a target, without Python: every fixture is written as `.keras` and as `.h5`, read again, and
//! written again. What real Keras makes of the files is `tests/conformance/keras_targets.py`.

use crate::keras_host::TestHost;
use crate::strangers::plugin;
use crate::verify_commands::{bare, truth};
use recast_keras::weights::roles;
use recast_keras::write::{self, Output};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Data, Tensor};
use recast_plugin_api::messages::WriteRequest;
use recast_plugin_api::model::{Layer, LayerModel};
use recast_tests::{convert_to, tests_dir};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A host for the target: weights come from where the source found them, outputs go to memory.
struct Sink<'h, 'a> {
    host: &'h TestHost<'a>,
    model: &'h LayerModel,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    reported: RefCell<Vec<Diag>>,
}

struct File<'s> {
    files: &'s RefCell<BTreeMap<String, Vec<u8>>>,
    name: String,
}

impl Write for File<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.files.borrow_mut().entry(self.name.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output for Sink<'_, '_> {
    fn read(&self, tensor: &Tensor, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag> {
        assert!(tensor.is_plain(), "sources of fixtures permute nothing");
        match &tensor.data {
            Data::Inline(bytes) => take(bytes),
            Data::Region { .. } => take(&self.host.bytes(self.model, &tensor.into())),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn Write + '_>, Diag> {
        self.files.borrow_mut().insert(name.to_owned(), Vec::new());
        Ok(Box::new(File { files: &self.files, name: name.to_owned() }))
    }

    fn report(&self, diag: &Diag) {
        self.reported.borrow_mut().push(diag.clone());
    }

    fn progress(&self, _done: u64, _total: u64) -> Result<(), Diag> {
        Ok(())
    }
}

/// The one file of a target, and what was said while it was written.
fn written(host: &TestHost<'_>, model: &LayerModel, target: &str) -> Result<(Vec<u8>, Vec<Diag>), Findings> {
    let sink = Sink { host, model, files: RefCell::default(), reported: RefCell::default() };
    let request =
        WriteRequest { name: "m".into(), options: "{}".into(), layers: Some(model.clone()), ..WriteRequest::default() };
    write::write(&sink, target, &request)?;
    let mut files = sink.files.into_inner();
    let name = if target == "keras2" { "m_keras2.h5".to_owned() } else { format!("m.{target}") };
    let file = files.remove(&name).expect("the target's file");
    assert!(files.is_empty(), "{:?}", files.keys());
    Ok((file, sink.reported.into_inner()))
}

fn read<'a>(bytes: &'a [u8]) -> (TestHost<'a>, Result<LayerModel, Findings>) {
    let host = TestHost::with(&[("/m", bytes)]);
    let model = host.read(None);
    (host, model)
}

/// Every weight by layer and role; not every name can be kept as it is, and a stranger's weights have no names of their
/// own in a `.keras`, but an order.
fn weights(host: &TestHost<'_>, model: &LayerModel) -> BTreeMap<String, (Vec<u64>, Vec<u8>)> {
    fn visit<'m>(layer: &'m Layer, out: &mut Vec<&'m Layer>) {
        out.push(layer);
        layer.model.iter().flat_map(|model| &model.layers).for_each(|inner| visit(inner, out));
        layer.children.iter().filter_map(|child| child.layer.as_ref()).for_each(|inner| visit(inner, out));
    }
    let mut layers = Vec::new();
    model.root.iter().flat_map(|root| &root.layers).for_each(|layer| visit(layer, &mut layers));
    let mut found = BTreeMap::new();
    for layer in layers {
        let known = roles::of(&layer.class, &serde_json::Value::Null).is_some();
        for (number, weight) in layer.weights.iter().enumerate() {
            let role = if known { weight.role.clone() } else { number.to_string() };
            let tensor = weight.tensor.as_ref().expect("a weight has its tensor");
            let plain: String = layer.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let key = format!("{}#{role}", plain.trim_end_matches('_'));
            found.insert(key, (tensor.stored.clone(), host.bytes(model, tensor)));
        }
    }
    found
}

fn fixtures() -> Vec<PathBuf> {
    let folders = ["keras2", "keras3", "keras3_versions", "keras_v3/2", "keras_v3/2.12", "keras_v3/3", "old_keras"];
    let mut found = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(tests_dir().join("fixtures").join(folder)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "h5" || end == "keras"));
    // The host of these tests reads no weights whose order is another one than the file's.
    let turned = |name: &str| name.starts_with("keras1.") || name.contains("-theano_");
    found.retain(|path| !turned(&path.file_name().unwrap_or_default().to_string_lossy()));
    found.sort();
    found
}

/// What a target can't say: (targets, folder or nothing for any, name of the fixture, code).
const REFUSED: &[(&[&str], &str, &str, Code)] = &[
    (&["keras", "h5"], "", "beyond_locally_connected_1d", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "", "lambda_layer", Code::UnsafeCode),
    (&["keras", "h5", "keras2"], "old_keras", "keras2.0.9-tensorflow_legacy_layers", Code::UnsupportedLayer),
    (&["keras", "h5"], "", "lstm_time_major", Code::UnsupportedLayer),
    (&["keras", "h5"], "", "separable_conv1d_causal", Code::UnsupportedLayer),
    // Masked steps that give the first state, and windows that Theano pads otherwise.
    (&["keras", "h5", "keras2"], "old_keras", "keras2.2.4-tensorflow_cells_masked", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "old_keras", "keras2.2.4-tensorflow_gru_both_initial_masked", Code::UnsupportedLayer),
    (
        &["keras", "h5", "keras2"],
        "old_keras",
        "keras2.2.4-tensorflow_simple_softmax_initial_masked",
        Code::UnsupportedLayer,
    ),
    // Pairs that give zeros at other masked steps than those of today.
    (&["keras", "h5", "keras2"], "old_keras", "tf1.12_pair_masked_gru", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "old_keras", "tf1.12_pair_masked_unrolled_lstm", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "old_keras", "tf1.13_pair_masked_gru", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "old_keras", "tf1.13_pair_masked_unrolled_lstm", Code::UnsupportedLayer),
    (&["keras", "h5", "keras2"], "old_keras", "tf2.0_bidirectional_gru_none_sequences_masked", Code::UnsupportedLayer),
    // Keras 2 and 3 would look for its weights in different orders.
    (&["h5"], "keras2", "masks_order_of_weights", Code::UnsupportedLayer),
    // What no other Keras computes, and what Keras 2 does not have.
    (&["keras", "h5", "keras2"], "keras3_versions", "upsampled_of_3.0", Code::UnsupportedLayer),
    (&["keras2"], "keras3_versions", "rms_scaling_of_3.0", Code::UnsupportedLayer),
    (&["keras2"], "keras3_versions", "rms_scaling_of_3.5", Code::UnsupportedLayer),
    // Functions and layers of Keras 3, and one that has another meaning there.
    (&["keras2"], "keras3", "activation_celu", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_glu", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_hard_shrink", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_hard_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_hard_silu", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_hard_swish", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_hard_tanh", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_log_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_soft_shrink", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_sparse_plus", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_sparse_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_sparsemax", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_squareplus", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "activation_tanh_shrink", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "beyond_norms_of_ints", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "beyond_rms_normalization", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "dense_hard_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "gru_hard_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "gru_reset_before_hard_sigmoid", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "lstm_hard_sigmoid", Code::UnsupportedLayer),
    // Keras 3 leaves out what is masked.
    (&["keras2"], "keras3", "masks_maximum", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "masks_maximum_with_none", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "masks_multiplied", Code::UnsupportedLayer),
    (&["keras2"], "keras3", "masks_multiplied_with_none", Code::UnsupportedLayer),
];

fn round_trip(path: &Path, target: &str) -> Result<(), String> {
    let bytes = std::fs::read(path).unwrap();
    let (host, model) = read(&bytes);
    // Some fixtures are there to be refused, some have their architecture beside them.
    let Ok(model) = model else { return Ok(()) };
    let name = path.file_stem().unwrap().to_string_lossy();
    let folder = path.parent().unwrap().file_name().unwrap();
    let here = |row: &&(&[&str], &str, &str, Code)| row.0.contains(&target) && (row.1.is_empty() || folder == row.1);
    let refused = REFUSED.iter().filter(here).find(|row| row.2 == name);
    let first = match (written(&host, &model, target), refused) {
        (Ok((first, _)), None) => first,
        (Err(found), Some((.., code))) if found.iter().any(|diag| diag.code == *code) => return Ok(()),
        (Ok(_), Some(_)) => return Err("written, though it is among REFUSED".into()),
        (Err(found), _) => return Err(format!("{found:?}")),
    };
    let (again, second) = read(&first);
    let second = second.map_err(|found| format!("read back: {found:?}"))?;
    if weights(&host, &model) != weights(&again, &second) {
        return Err("other weights".into());
    }
    let (fixed, _) = written(&again, &second, target).map_err(|found| format!("written again: {found:?}"))?;
    if fixed != first {
        return Err("written again, it is another file".into());
    }
    Ok(())
}

fn check_all(target: &str) {
    let fixtures = fixtures();
    assert!(fixtures.len() > 900, "{} fixtures", fixtures.len());
    let wrong: Vec<String> = fixtures
        .iter()
        .filter_map(|path| round_trip(path, target).err().map(|why| format!("{}: {why}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
}

#[test]
fn what_is_written_as_keras_is_read_back_with_every_weight() {
    check_all("keras");
}

#[test]
fn what_is_written_as_h5_is_read_back_with_every_weight() {
    check_all("h5");
}

/// What a file for Keras 2 says in its words, it does not say for Keras 3, too; the others are weighed here.
#[test]
fn what_is_written_for_keras_2_has_every_weight() {
    check_all("keras2");
}

#[test]
fn a_strangers_class_is_kept_by_its_name_and_said() {
    let bytes = std::fs::read(tests_dir().join("fixtures/keras2/custom_layers_two.h5")).unwrap();
    let (host, model) = read(&bytes);
    let (file, said) = written(&host, &model.unwrap(), "keras").unwrap();
    let custom: Vec<&str> =
        said.iter().filter(|diag| diag.code == Code::CustomObject).map(|diag| diag.at.as_str()).collect();
    assert_eq!(custom, ["scale", "mystery"]);
    let classes: Vec<String> =
        read(&file).1.unwrap().root.unwrap().layers.into_iter().map(|layer| layer.class).collect();
    assert!(
        classes.contains(&"my_pkg>Scale".to_owned()) && classes.contains(&"Unregistered".to_owned()),
        "{classes:?}"
    );
}

/// Keras 3 finds them in their modules, tf.keras 2.15 only where it is told of them.
#[test]
fn classes_that_keras_2_does_not_find_are_said() {
    let bytes = std::fs::read(tests_dir().join("fixtures/keras3/beyond_application_layers.h5")).unwrap();
    let custom = |target: &str| -> Vec<String> {
        let (host, model) = read(&bytes);
        let (_, said) = written(&host, &model.unwrap(), target).unwrap();
        said.into_iter().filter(|diag| diag.code == Code::CustomObject).map(|diag| diag.at).collect()
    };
    assert_eq!(custom("keras2"), ["scale", "depth", "sum"]);
    assert_eq!(custom("keras"), [""; 0]);
}

/// Sources under `tests`, and the target that each is converted to.
const COME_BACK: &[(&str, &str)] = &[
    ("samples/mnist_mlp.h5", "keras"),
    ("samples/text_lstm.h5", "h5"),
    ("samples/text_lstm.h5", "keras"),
    ("fixtures/keras2/activation_hard_sigmoid.h5", "keras"),
    ("fixtures/keras2/beyond_functions.h5", "keras"),
    ("fixtures/keras3/beyond_functions.h5", "keras"),
    // No plugin lowers its class: layers and weights are what is compared.
    ("fixtures/keras2/custom_layer.h5", "keras"),
    // Names that Keras 3 does not take, and masks that it joins by another rule.
    ("fixtures/keras2/slash_names_in_nested.h5", "keras"),
    ("fixtures/keras2/masks_added_with_none.h5", "keras"),
    ("fixtures/keras2/masks_order_of_weights.h5", "keras"),
    ("fixtures/keras2/masks_multiplied.h5", "h5"),
    // Whole numbers where Keras 2 gave floats, or wider ones.
    ("fixtures/options_keras2/other_dtypes.keras", "keras"),
    ("fixtures/options_keras2/other_dtypes.keras", "h5"),
    ("fixtures/options_keras2/half_in_floats.keras", "keras"),
    ("fixtures/options_keras2/masked_scores.keras", "keras"),
    ("fixtures/options_keras2/half_batch_norm.keras", "keras"),
    ("fixtures/options_keras2/batch_statistics.keras", "keras2"),
    ("fixtures/options_keras2/stored_functions.keras", "keras2"),
    ("fixtures/options_keras2/written_attention.keras", "keras"),
    ("fixtures/options_keras2/written_attention.keras", "keras2"),
    ("fixtures/options_keras3/endless_norms.keras", "keras"),
    ("fixtures/options_keras3/endless_norms.keras", "keras2"),
    // The same of layers in wrappers, and of layers that leave no trace in a graph.
    ("fixtures/options_keras2/wrapped_dtypes.keras", "keras"),
    ("fixtures/options_keras2/wrapped_dtypes.keras", "h5"),
    ("fixtures/options_keras3/wrapped_whole_numbers.keras", "keras2"),
    // Scores of masked attention, where they can't differ.
    ("fixtures/options_keras2/unseen_scores.keras", "keras"),
    ("fixtures/options_keras3/causal_scores.keras", "keras2"),
    ("fixtures/options_keras3/whole_numbers.keras", "keras2"),
    ("fixtures/options_keras3/masked_groups.keras", "keras2"),
    ("fixtures/keras3/odd_names.h5", "keras2"),
    ("fixtures/keras3/mha_embedding_mask.h5", "keras2"),
    // Attention that takes no notice of masks, as before Keras 2.10.
    ("fixtures/old_keras/tf2.9_mha_embedding_mask.h5", "h5"),
    ("fixtures/old_keras/tf2.9_mha_embedding_mask.h5", "keras2"),
    ("fixtures/old_keras/tf2.9_mha_embedding_mask_pooled.h5", "keras"),
    // Attention that takes masks away (from 3.8 on), or not, and what is cast comes without (before 3.14), or not.
    ("fixtures/options_keras2/masked_blocks.keras", "keras"),
    ("fixtures/options_keras2/masked_blocks.keras", "h5"),
    ("fixtures/options_keras2/masked_blocks.keras", "keras2"),
    ("fixtures/options_keras3/masked_blocks.keras", "keras"),
    ("fixtures/options_keras3/masked_blocks.keras", "h5"),
    ("fixtures/options_keras3/masked_blocks.keras", "keras2"),
    ("fixtures/keras3_versions/taken_masks_of_3.5.keras", "keras"),
    ("fixtures/keras3_versions/taken_masks_of_3.9.keras", "keras2"),
    ("fixtures/keras3_versions/cast_masks_of_3.12.keras", "keras"),
    ("fixtures/keras3_versions/cast_masks_of_3.14.keras", "keras"),
    // A list of no masks, and masks behind none in a model inside.
    ("fixtures/options_keras2/masks_of_none.keras", "keras"),
    ("fixtures/options_keras2/masks_of_none.keras", "keras2"),
    ("fixtures/options_keras3/masks_of_none.keras", "keras"),
    ("fixtures/options_keras3/masks_of_none.keras", "keras2"),
    ("fixtures/options_keras3/one_of_two_masks.keras", "keras2"),
    ("fixtures/options_keras3/no_masks_attended.keras", "keras"),
    ("fixtures/options_keras3/no_masks_attended.keras", "keras2"),
    ("fixtures/options_keras3/no_masks_inside.keras", "keras2"),
    ("fixtures/options_keras3/joined_inside.keras", "keras"),
    ("fixtures/options_keras3/joined_inside.keras", "h5"),
    // Masks as inputs and outputs of models inside.
    ("fixtures/options_keras2/masks_through_models.keras", "keras"),
    ("fixtures/options_keras2/masks_through_models.keras", "h5"),
    ("fixtures/options_keras2/masks_through_models.keras", "keras2"),
    ("fixtures/options_keras3/masks_through_models.keras", "keras2"),
    ("fixtures/options_keras3/mask_that_hangs.keras", "keras2"),
    // What cuDNN's layers mean by themselves, as layers of a pair.
    ("fixtures/legacy/cudnn_bidirectional_gru_early.h5", "keras"),
    ("fixtures/legacy/cudnn_bidirectional_gru_early.h5", "keras2"),
    // States of a stack of cells, once in one row, and from the last cell to the first.
    ("fixtures/old_keras/keras2.1.6-tensorflow_cells_turned.h5", "keras"),
    ("fixtures/old_keras/keras2.1.6-tensorflow_cells_turned.h5", "keras2"),
    ("fixtures/old_keras/keras2.2.4-tensorflow_cells.h5", "h5"),
    ("samples/mnist_mlp.h5", "tfjs"),
    ("samples/text_lstm.h5", "tfjs"),
    // What TensorFlow.js has other words for: SpatialDropout2D, silu, negative axes, states among the inputs.
    ("fixtures/keras3/spatial_dropout_2d.h5", "tfjs"),
    ("fixtures/keras3/dense_swish.h5", "tfjs"),
    ("fixtures/keras3/lstm_initial_state.h5", "tfjs"),
    ("fixtures/keras3/bidirectional_lstm_last.h5", "tfjs"),
    ("fixtures/tensorflow_js/rnn_gru", "tfjs"),
];

#[test]
fn converted_by_the_daemon_it_comes_back_as_the_same_graph() {
    let home = tempfile::tempdir().unwrap();
    for (fixture, target) in COME_BACK {
        let path = tests_dir().join(fixture);
        let done = convert_to(home.path(), &path, target, &[]);
        assert_eq!((done.status(), done.level()), ("verified", "structural"), "{fixture}: {}", done.findings());
    }
}

/// Seen in Keras 3.15 and tf.keras 2.15: what these do not read, or would round, if it stood there as it came.
#[test]
fn words_are_those_that_keras_reads() {
    for (fixture, target, said) in [
        ("options_keras3/endless_norms.keras", "keras", r#""ord":Infinity"#),
        ("options_keras3/one_of_two_masks.keras", "keras2", r#""y":0}"#),
        ("options_keras3/endless_norms.keras", "keras2", r#""ord":Infinity"#),
        ("options_keras3/random_shear.keras", "keras", r#""x_factor":0.5"#),
        ("options_keras3/gated_attention.keras", "keras", "_gate_dense"),
        ("options_keras3/adaptive_pools.keras", "keras", r#""class_name":"AdaptiveMaxPooling2D""#),
        ("options_keras2/half_batch_norm.keras", "keras", r#""dtype":"mixed_bfloat16""#),
        ("options_keras2/masked_blocks.keras", "keras", r#""negative_slope":1.0"#),
        ("options_keras2/stored_functions.keras", "keras2", r#""function":"math.add""#),
    ] {
        let bytes = std::fs::read(tests_dir().join("fixtures").join(fixture)).unwrap();
        let (host, model) = read(&bytes);
        let (file, _) = written(&host, &model.unwrap(), target).unwrap();
        assert!(String::from_utf8_lossy(&file).contains(said), "{fixture} {target}");
    }
}

/// What Keras 3 does not compute as the Keras of the source did is refused before it is written.
#[test]
fn what_keras_3_computes_otherwise_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for (fixture, why) in [
        ("options_keras2/conv1d_of_rows.keras", "Keras 3's Conv1D takes 3 axes"),
        ("options_keras2/resizing_gaussian.keras", "Keras 3's Resizing has no interpolation `gaussian`"),
        (
            "options_keras2/up_sampling_mitchellcubic.keras",
            "Keras 3's UpSampling2D has no interpolation `mitchellcubic`",
        ),
        ("options_keras2/masked_softmax.keras", "Keras 3 gives zeros where all is masked"),
        ("options_keras2/cast_query.keras", "Keras 3 finds the mask of a query that it casts"),
        ("options_keras2/conv_lstm_of_any_size.keras", "asks for the sizes of its images"),
        ("options_keras2/mean_of_whole_numbers.keras", "that of TensorFlow whole numbers"),
        ("options_keras2/spectral_embedding.keras", "that of Keras 2 floats"),
        ("options_keras2/batch_statistics.keras", "the batch's own statistics, Keras 3 the moving ones"),
        ("keras3_versions/dead_rows_of_3.9.keras", "Keras 3 gives zeros to queries whose keys are all masked"),
        ("keras3_versions/encodings_of_3.0.keras", "Keras 3.0 to 3.3 put what Discretization makes"),
        ("old_keras/keras2.2.4-tensorflow_cells_masked.h5", "a masked step gives the first state here"),
        ("old_keras/keras2.2.4-tensorflow_gru_both_initial_masked.h5", "a masked step gives the first state here"),
        ("old_keras/keras2.2.4-theano_conv_lstm.h5", "pads its even window"),
    ] {
        let path = tests_dir().join("fixtures").join(fixture);
        for target in ["keras", "h5"] {
            let done = convert_to(home.path(), &path, target, &[]);
            let findings = done.findings();
            let all = done.errors().iter().all(|code| *code == "unsupported-layer");
            assert!(done.exit_code == 3 && all && findings.contains(why), "{fixture} {target}: {findings}");
        }
    }
}

/// What TensorFlow.js would not load, or would compute otherwise: `tests/conformance/tensorflow_js/check.mjs`.
#[test]
fn what_tensorflow_js_computes_otherwise_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for (fixture, why) in [
        ("keras2/conv1d_causal", "TensorFlow.js's Conv1D has no `padding` of"),
        ("keras2/conv2d_groups", "TensorFlow.js's Conv2D has no `groups` of 2"),
        ("keras2/masks_averaged", "TensorFlow.js joins no masks as Keras does"),
        ("keras2/bidirectional_lstm_masked", "TensorFlow.js repeats states where steps are masked"),
        ("keras2/one_output_twice", "the same tensor is an output twice"),
        ("keras3/gru", "TensorFlow.js's GRU has no `reset_after` of true"),
        ("keras3/input_uint8", "an input of uint8"),
        ("keras3/embedding_scalar_id", "an input of one axis"),
    ] {
        let path = tests_dir().join(format!("fixtures/{fixture}.h5"));
        let done = convert_to(home.path(), &path, "tfjs", &[]);
        let findings = done.findings();
        assert!(done.status() == "failed" && findings.contains(why), "{fixture}: {findings}");
    }
}

/// Keras 2.1.6 dilates a DepthwiseConv2D; TensorFlow.js, which follows that Keras, does not.
#[test]
fn a_model_by_the_keras_that_javascript_follows_is_none_by_javascript() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (tests_dir().join("fixtures/tensorflow_js/depthwise_dilated"), home.path().join("by_python"));
    std::fs::create_dir(&to).unwrap();
    std::fs::copy(from.join("weights.bin"), to.join("weights.bin")).unwrap();
    std::fs::copy(from.with_extension("golden.npz"), to.with_extension("golden.npz")).unwrap();
    let text = std::fs::read_to_string(from.join("model.json")).unwrap();
    for (stated, errors) in [("tfjs-layers 4.22.0", vec![]), ("2.1.6", vec!["mismatch"])] {
        let changed = text.replace("tfjs-layers 4.22.0", stated);
        assert!(changed.contains(&format!("\"{stated}\"")), "the version is stated");
        std::fs::write(to.join("model.json"), changed).unwrap();
        let done = convert_to(home.path(), &to, "onnx", &[]);
        assert_eq!(done.errors(), errors, "{stated}: {}", done.findings());
    }
}

/// The scopes of the weights of a TensorFlow.js model, sorted.
fn scopes(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("model.json")).expect("model.json");
    let model: Value = serde_json::from_str(&text).expect("it is JSON");
    let weights = model["weightsManifest"][0]["weights"].as_array().expect("weights").iter();
    let names = weights.map(|weight| weight["name"].as_str().expect("a name").to_owned());
    let mut scopes: Vec<String> = names.map(|name| name[..name.rfind('/').expect("a scope")].to_owned()).collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

/// TensorFlow.js finds weights by names of its own making: `originalName` of its variables.
#[test]
fn weights_are_named_as_tensorflow_js_names_them() {
    let home = tempfile::tempdir().unwrap();
    let made = |path: &Path| {
        let done = convert_to(home.path(), path, "tfjs", &[]);
        let part = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{}", done.findings())).to_owned();
        scopes(&Path::new(&part(&done.json["bundle"])).join(part(&done.json["outputs"][0]["path"])))
    };
    for (fixture, want) in [
        ("keras2/nested_two_in_two_out", "mix out_1 out_2 side"),
        ("keras2/time_distributed_video", "dense lstm time_distributed"),
        ("keras2/time_distributed_nested", "batch_normalization conv2d dense"),
        ("keras2/bidirectional_lstm_last", "bidirectional/backward_lstm bidirectional/forward_lstm"),
        ("keras3/bidirectional_lstm_last", "bidirectional/backward_forward_lstm bidirectional/forward_forward_lstm"),
    ] {
        assert_eq!(made(&tests_dir().join(format!("fixtures/{fixture}.h5"))).join(" "), want, "{fixture}");
    }
    for fixture in ["rnn_gru", "rnn_lstm_stacked"] {
        let path = tests_dir().join("fixtures/tensorflow_js").join(fixture);
        assert_eq!(made(&path), scopes(&path), "{fixture}, as TensorFlow.js itself wrote it");
    }
}

/// A class of the user's own is kept by its registered name and listed, with a plugin and without; with one, what the
/// graphs compute is compared, too.
#[test]
fn a_registered_class_is_listed_and_compared_as_far_as_it_is_known() {
    let home = tempfile::tempdir().unwrap();
    let path = tests_dir().join("fixtures/keras3/custom_layer_with_plugin.h5");
    for (plugged, note) in [(false, "no outputs were compared"), (true, "recorded outputs")] {
        let library = plugin("sample-layer");
        let directory = library.parent().unwrap().to_str().unwrap();
        let more: &[&str] = if plugged { &["--plugins", directory] } else { &[] };
        for target in ["keras", "h5", "keras2"] {
            let done = convert_to(home.path(), &path, target, more);
            let findings = done.findings();
            assert_eq!((done.status(), done.level()), ("verified", "structural"), "{target} {plugged}: {findings}");
            let listed = done.json["diagnostics"].as_array().unwrap().iter();
            let listed: Vec<&str> = listed
                .filter(|diag| diag["code"] == "custom-object")
                .map(|diag| diag["at"].as_str().unwrap())
                .collect();
            assert_eq!(listed, ["scaled"], "{target} {plugged}");
            let said = done.json["outputs"][0]["verification"]["note"].as_str().unwrap();
            assert!(said.contains(note), "{target} {plugged}: {said}");
        }
    }
}

/// What a configured Keras gives for the file is compared with the graph.
#[test]
fn a_configured_keras_proves_the_file() {
    let home = tempfile::tempdir().unwrap();
    let (graph, artifact) = (truth(home.path(), "text_lstm.h5"), bare(home.path(), "text_lstm.h5"));
    let runner = recast_tests::build_dir().join("fake-runner");
    for (target, name) in [("keras", "keras"), ("h5", "keras"), ("keras2", "keras2")] {
        for (mode, expected) in [("by-place", (0, "reference")), ("by-place-wrong", (5, "none"))] {
            let config = format!("[verify.runtimes.{name}]\ncommand = [{runner:?}, {mode:?}, {graph:?}]\n");
            std::fs::write(home.path().join("keras.toml"), config).unwrap();
            let done = convert_to(home.path(), Path::new(&artifact), target, &["--config", "keras.toml"]);
            assert_eq!((done.exit_code, done.level()), expected, "{target} {mode}: {}", done.findings());
        }
    }
}
