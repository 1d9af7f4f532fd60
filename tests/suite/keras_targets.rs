//! The keras plugin as a target, without Python: every fixture is written as `.keras` and as `.h5`, read again, and
//! written again. What real Keras makes of the files is `tests/conformance/keras_targets.py`.

use crate::keras_host::TestHost;
use recast_keras::weights::roles;
use recast_keras::write::{self, Output};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{Data, Tensor};
use recast_plugin_api::messages::WriteRequest;
use recast_plugin_api::model::{Layer, LayerModel};
use recast_tests::{convert_to, tests_dir};
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
    let file = files.remove(&format!("m.{target}")).expect("the target's file");
    assert!(files.is_empty(), "{:?}", files.keys());
    Ok((file, sink.reported.into_inner()))
}

fn read<'a>(bytes: &'a [u8]) -> (TestHost<'a>, Result<LayerModel, Findings>) {
    let host = TestHost::with(&[("/m", bytes)]);
    let model = host.read(None);
    (host, model)
}

/// Every weight by layer and role; `/` is no letter of a name in Keras 3, and a stranger's weights have no names of
/// their own in a `.keras`, but an order.
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
            let key = format!("{}#{role}", layer.path.replace('/', "_"));
            found.insert(key, (tensor.stored.clone(), host.bytes(model, tensor)));
        }
    }
    found
}

fn fixtures() -> Vec<PathBuf> {
    let folders = ["keras2", "keras3", "keras_v3/2", "keras_v3/2.12", "keras_v3/3"];
    let mut found = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(tests_dir().join("fixtures").join(folder)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "h5" || end == "keras"));
    found.sort();
    found
}

/// What Keras 3 can't say, by the name of the fixture.
const REFUSED: &[(&str, Code)] = &[
    ("beyond_locally_connected_1d", Code::UnsupportedLayer),
    ("lambda_layer", Code::UnsafeCode),
    ("lstm_time_major", Code::UnsupportedLayer),
    ("separable_conv1d_causal", Code::UnsupportedLayer),
];

fn round_trip(path: &Path, target: &str) -> Result<(), String> {
    let bytes = std::fs::read(path).unwrap();
    let (host, model) = read(&bytes);
    // Some fixtures are there to be refused, some have their architecture beside them.
    let Ok(model) = model else { return Ok(()) };
    let name = path.file_stem().unwrap().to_string_lossy();
    let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
    let first = match (written(&host, &model, target), refused) {
        (Ok((first, _)), None) => first,
        (Err(found), Some((_, code))) if found.iter().any(|diag| diag.code == *code) => return Ok(()),
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

#[test]
fn converted_by_the_daemon_it_comes_back_as_the_same_graph() {
    let home = tempfile::tempdir().unwrap();
    for (fixture, target) in [
        ("samples/mnist_mlp.h5", "keras"),
        ("samples/text_lstm.h5", "h5"),
        ("samples/text_lstm.h5", "keras"),
        ("fixtures/keras2/activation_hard_sigmoid.h5", "keras"),
        ("fixtures/keras2/beyond_functions.h5", "keras"),
        ("fixtures/keras3/beyond_functions.h5", "keras"),
        // No plugin lowers its class: layers and weights are what is compared.
        ("fixtures/keras2/custom_layer.h5", "keras"),
        ("samples/mnist_mlp.h5", "tfjs"),
        ("samples/text_lstm.h5", "tfjs"),
    ] {
        let path = tests_dir().join(fixture);
        let done = convert_to(home.path(), &path, target, &[]);
        assert_eq!((done.status(), done.level()), ("verified", "structural"), "{fixture}: {}", done.findings());
    }
}
