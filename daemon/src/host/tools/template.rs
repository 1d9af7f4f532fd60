//! `recast plugins new NAME`: a crate that builds into a plugin with one custom layer, ready to be changed.

use std::io;
use std::path::{Path, PathBuf};

const CARGO_TOML: &str = r#"# A recast plugin. The empty [workspace] keeps it out of any workspace that it lies in.
[workspace]

[package]
name = "@NAME@"
version = "0.1.0"
edition = "2024"
license = "MIT"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
recast-plugin-api = @SDK@

[profile.release]
# A panic must stay an answer: never "abort" here.
panic = "unwind"
strip = "debuginfo"
"#;

const LIB_RS: &str = r##"//! `@NAME@>Scale`: y = factor * x, with `factor` a number of the layer's config.
//!
//! In Keras:
//! ```python
//! @keras.saving.register_keras_serializable(package="@NAME@")
//! class Scale(keras.layers.Layer):
//!     def __init__(self, factor=2.0, **kwargs): ...
//!     def call(self, x): return self.factor * x
//!     def get_config(self): return {**super().get_config(), "factor": self.factor}
//! ```

use recast_plugin_api::diag::Findings;
use recast_plugin_api::ir::types::decode_numbers;
use recast_plugin_api::ir::{BinaryFunction, DType, Type};
use recast_plugin_api::lower::{Config, Lowering, Val};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::model::Layer;
use recast_plugin_api::plugin::{EvalReply, EvalTensor, Layers, LowerCx, example};

struct Scale;

impl Layers for Scale {
    /// The names that Keras saves: `package>Class`.
    const CLASSES: &'static [&'static str] = &["@NAME@>Scale"];

    /// The layer as ops. Weights come in by role: `lowering.param("kernel")?`.
    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        let mut lowering = Lowering::new(Some(cx), request)?;
        let factor = lowering.config.f64("factor")?;
        let x = lowering.input()?;
        let y = lowering.binary_scalar(BinaryFunction::Mul, x.value, factor)?;
        lowering.finish(&[Val { value: y, mask: x.mask }])
    }

    /// The same, computed: `recast plugins test` compares both. Optional.
    fn eval(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Option<EvalReply>, Findings> {
        let Some(layer) = &request.layer else { return Ok(None) };
        let factor = Config::new(&layer.path, &layer.config)?.f64("factor")?;
        let x = cx.tensor("input/0")?;
        let output = EvalTensor {
            dims: x.dims().iter().map(|&dim| dim as u64).collect(),
            values: decode_numbers(x.dtype(), x.bytes()).iter().map(|x| factor * x).collect(),
        };
        Ok(Some(EvalReply { outputs: vec![output] }))
    }

    /// What `recast plugins test` lowers.
    fn examples(&self) -> Vec<LowerRequest> {
        let layer = Layer {
            name: "scale".into(),
            path: "scale".into(),
            class: Self::CLASSES[0].into(),
            config: r#"{"name": "scale", "factor": 3.0}"#.into(),
            ..Layer::default()
        };
        vec![example(layer, &[Type::known(DType::F32, &[2, 3])])]
    }
}

recast_plugin_api::export_plugin! {
    id: "org.example.@NAME@",
    name: "@NAME@",
    layers: Scale,
}
"##;

const README: &str = "# @NAME@

A recast plugin.

    cargo build --release
    recast plugins test target/release/lib@LIB@.so

Then put the file into a plugin directory (`recast plugins list` says where they are): jobs that wait for
`layer:@NAME@>Scale` start by themselves.
";

/// Writes the crate `dir/name`; what was written. Nothing is overwritten.
pub fn begin(name: &str, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if !is_name {
        let text = format!("{name:?} is no crate name: lower-case letters, digits, '-' and '_'");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let root = dir.join(name);
    std::fs::create_dir(&root)?;
    std::fs::create_dir(root.join("src"))?;
    let files =
        [("Cargo.toml", CARGO_TOML), ("src/lib.rs", LIB_RS), ("README.md", README), (".gitignore", "/target\n")];
    let mut written = Vec::new();
    for (file, text) in files {
        let text = text.replace("@NAME@", name).replace("@LIB@", &name.replace('-', "_")).replace("@SDK@", &sdk());
        std::fs::write(root.join(file), text)?;
        written.push(root.join(file));
    }
    Ok(written)
}

/// The SDK that this recast was built with, where its source still is; else the published one.
fn sdk() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("plugin-api");
    match source.join("Cargo.toml").is_file() {
        true => format!("{{ path = {:?} }}", source.display().to_string()),
        false => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    }
}
