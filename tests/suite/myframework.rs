//! A third party's target, built as a stranger builds it, from an artifact to a checked bundle.

use crate::strangers::plugin;
use recast_tests::{build_dir, convert_to, tests_dir};
use std::fs;
use std::path::{Path, PathBuf};

/// A plugin directory with the standard plugins and the stranger's.
fn plugins(home: &Path) -> String {
    let dir = home.join("plugins");
    fs::create_dir(&dir).expect("writable");
    let own = ["librecast_keras.so", "librecast_keras_layers.so"].map(|name| build_dir().join(name));
    for file in own.iter().chain([&plugin("myframework")]) {
        fs::copy(file, dir.join(file.file_name().expect("a name"))).expect("the library is copied");
    }
    dir.to_string_lossy().into_owned()
}

#[test]
fn a_framework_of_ones_own_is_one_plugin_away() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let plugins = plugins(home.path());
    for name in ["mnist_mlp", "small_cnn"] {
        let artifact = tests_dir().join(format!("samples/{name}.h5"));
        let converted = convert_to(home.path(), &artifact, "myframework", &["--plugins", &plugins]);
        assert_eq!((converted.status(), converted.level()), ("verified", "structural"), "{}", converted.findings());
        let bundle = PathBuf::from(converted.json["bundle"].as_str().expect("a bundle"));
        let text = fs::read_to_string(bundle.join(format!("{name}.mf"))).expect("the model");
        assert!(text.starts_with("myframework 1\n") && text.contains("\nlayer "), "{text}");
        assert!(bundle.join(format!("{name}.mfw")).metadata().expect("the weights").len() > 1000);
    }
}

#[test]
fn what_the_framework_lacks_is_refused_with_every_finding() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let plugins = plugins(home.path());
    let artifact = tests_dir().join("samples/text_lstm.h5");
    let converted = convert_to(home.path(), &artifact, "myframework", &["--plugins", &plugins]);
    assert_eq!((converted.status(), converted.exit_code), ("failed", 3), "{}", converted.findings());
    assert!(converted.errors().len() > 1, "{}", converted.findings());
    assert!(converted.findings().contains("lstm"), "{}", converted.findings());
}
