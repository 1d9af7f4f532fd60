//! The boundary: types that never change, and plugins of every age and language that load.

use crate::strangers::{Build, built, c_plugin, installed, plugin, program, source};
use recast::host::{Finder, Host, HostSettings, Outputs, Silent, TensorStore, Through, Trust};
use recast_abi::*;
use recast_plugin_api::diag::{Code, Findings};
use recast_plugin_api::ir::{DType, Graph, Tensor, Type};
use recast_plugin_api::messages::{LowerRequest, Lowered, WriteRequest};
use recast_plugin_api::model::{Child, Layer};
use recast_plugin_api::plugin::example;
use std::fmt::Write as _;
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Type -> size, alignment, and the offset of each field, as text; and the same as a C program that prints it.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* })*) => {
        fn layouts() -> String {
            let mut text = String::new();
            $(
                let (size, align) = (size_of::<$name>(), align_of::<$name>());
                writeln!(text, "{} {size} {align}", stringify!($name)).unwrap();
                $(writeln!(text, "  {} {}", stringify!($field), offset_of!($name, $field)).unwrap();)*
            )*
            text
        }

        fn c_program() -> String {
            let mut lines = String::new();
            $(
                let name = stringify!($name);
                let sizes = format!("sizeof(struct {name}), _Alignof(struct {name})");
                writeln!(lines, "printf(\"{name} %zu %zu\\n\", {sizes});").unwrap();
                $({
                    let field = stringify!($field);
                    writeln!(lines, "printf(\"  {field} %zu\\n\", offsetof(struct {name}, {field}));").unwrap();
                })*
            )*
            format!("#include \"recast_plugin.h\"\n#include <stdio.h>\nint main(void) {{\n{lines}return 0;\n}}\n")
        }
    };
}

layouts! {
    RecastBytes { ptr, len }
    RecastTensorView { dtype, rank, dims, data, align, flags }
    RecastHost { struct_size, abi_major, ctx, log, emit, get_extension }
    RecastEntry { magic, struct_size, abi_major, manifest, init, get_extension }
    RecastSourceV1 { struct_size, reserved, probe, describe, read }
    RecastTargetV1 { struct_size, reserved, capabilities, write }
    RecastLayersV1 { struct_size, reserved, list, infer_shape, lower, eval }
    RecastSelftestV1 { struct_size, reserved, cases }
    RecastHostLogV1 { struct_size, level_max }
    RecastHostFilesV1 { struct_size, reserved, map }
    RecastHostScratchV1 { struct_size, reserved, create, append }
    RecastHostTensorV1 { struct_size, reserved, get, view, done }
    RecastHostOutputV1 { struct_size, reserved, open, close }
    RecastHostLowerV1 { struct_size, reserved, lower_child }
    RecastHostProgressV1 { struct_size, reserved, report }
    RecastHostCancelV1 { struct_size, reserved, is_cancelled }
    RecastHostThreadsV1 { struct_size, reserved, budget }
    RecastCheckV1 { struct_size, reserved, check }
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/golden").join(name)).unwrap()
}

const FROZEN: &str = "ABI 1 is frozen: add a type with a new id";

/// These golden files are never rewritten, only appended to: a difference means that a released plugin would read the
/// wrong bytes or be called with the wrong arguments.
#[test]
fn released_types_have_not_changed() {
    assert_eq!(layouts(), golden("abi-1.0.txt"), "{FROZEN}");
}

#[test]
fn released_signatures_have_not_changed() {
    let mut structs = String::new();
    for file in ["lib.rs", "plugin.rs", "host.rs", "check.rs"] {
        let text = std::fs::read_to_string(source("../../plugin-api/abi/src").join(file)).unwrap();
        for part in text.split("#[repr(").skip(1) {
            let end = part.find("\n}").expect("a struct ends");
            let code =
                part[..end].lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains("cfg_attr"));
            let code: Vec<&str> = code.collect();
            writeln!(structs, "#[repr({}\n}}", code.join("\n")).unwrap();
        }
    }
    // How rustfmt breaks a line is not part of the ABI.
    let normal = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
    assert_eq!(normal(&structs), normal(&golden("abi-1.0.rs.txt")), "{FROZEN}");
}

#[test]
fn the_c_header_says_the_same_as_the_rust_types() {
    let dir = tempfile::tempdir().unwrap();
    let (program, binary) = (dir.path().join("layouts.c"), dir.path().join("layouts"));
    std::fs::write(&program, c_program()).unwrap();
    let include = source("../../plugin-api/include");
    let compiled =
        Command::new("cc").args(["-std=c11", "-I"]).arg(include).arg(&program).arg("-o").arg(&binary).output();
    let compiled = compiled.unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&binary).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), layouts());
}

/// Every field of every struct in the header is in the list above: a field that only C knows would not be compared.
#[test]
fn the_header_has_no_field_that_is_not_compared() {
    let header = std::fs::read_to_string(source("../../plugin-api/include/recast_plugin.h")).unwrap();
    let fields = header.lines().filter(|line| line.starts_with("    ") && line.trim_end().contains(';')).count();
    assert_eq!(fields, layouts().lines().filter(|line| line.starts_with(' ')).count());
}

#[test]
fn the_header_has_the_same_numbers_and_names() {
    let header = std::fs::read_to_string(source("../../plugin-api/include/recast_plugin.h")).unwrap();
    let defined = |name: &str| {
        let line = header.lines().find(|line| line.starts_with(&format!("#define {name} ")));
        line.map(|line| line.rsplit(' ').next().unwrap().trim_matches(['(', ')', 'u', '"']).to_owned())
    };
    let numbers: [(&str, i64); 17] = [
        ("RECAST_ABI_MAJOR", ABI_MAJOR.into()),
        ("RECAST_UNSUPPORTED", status::UNSUPPORTED.into()),
        ("RECAST_BAD_INPUT", status::BAD_INPUT.into()),
        ("RECAST_IO", status::IO.into()),
        ("RECAST_CANCELLED", status::CANCELLED.into()),
        ("RECAST_INTERNAL", status::INTERNAL.into()),
        ("RECAST_MISUSE", status::MISUSE.into()),
        ("RECAST_PANIC", status::PANIC.into()),
        ("RECAST_STREAM_RESULT", stream::RESULT.into()),
        ("RECAST_STREAM_ERROR", stream::ERROR.into()),
        ("RECAST_STREAM_DIAGNOSTIC", stream::DIAGNOSTIC.into()),
        ("RECAST_STREAM_FIRST_OUTPUT", stream::FIRST_OUTPUT.into()),
        ("RECAST_LEVEL_TRACE", level::TRACE.into()),
        ("RECAST_BOOL", dtype::BOOL.into()),
        ("RECAST_BF16", dtype::BF16.into()),
        ("RECAST_F32", dtype::F32.into()),
        ("RECAST_F64", dtype::F64.into()),
    ];
    for (name, value) in numbers {
        assert_eq!(defined(name), Some(value.to_string()), "{name}");
    }
    assert!(header.contains(&format!("{MAGIC:#018X}").replace("0X", "0x")), "the magic number");
    for id in recast::host::HOST_EXTENSIONS.iter().chain(&[id::SOURCE, id::TARGET, id::LAYERS, id::SELFTEST, id::CHECK])
    {
        assert!(header.contains(&format!("\"{id}\"")), "{id}");
    }
}

#[test]
fn the_exported_symbols_are_those_that_hosts_look_for() {
    assert_eq!(recast_abi::root::ROOT_SYMBOL, recast_abi::root::abi_stable::library::ROOT_MODULE_LOADER_NAME);
    let library = std::fs::read(plugin("sample-layer")).unwrap();
    for symbol in [recast_abi::root::ROOT_SYMBOL, ENTRY_SYMBOL] {
        assert!(library.windows(symbol.len()).any(|window| window == symbol.as_bytes()), "{symbol}");
    }
}

/// A host on the given plugin files, in this process.
fn host(plugins: &[&Path]) -> Result<Host, Findings> {
    let mut finder = Finder::new();
    let found = plugins.iter().map(|path| finder.examine(path, &Trust::default()));
    let pins: Result<Vec<_>, _> = found.map(|found| found.map(|found| found.pin())).collect();
    let pins = pins.map_err(|refusal| vec![refusal.diag()])?;
    let tensors = TensorStore::new(&[], Path::new("/nonexistent"), 0);
    let settings = HostSettings { winners: Default::default(), tensors, events: Arc::new(Silent), threads: 1 };
    Host::open(&pins, settings)
}

/// Loads one plugin; the refusal's text where it is refused.
fn load(path: &Path) -> Result<Through, String> {
    let text = |findings: Findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let host = host(&[path]).map_err(text)?;
    let (plugin, _) = host.manifests().next().expect("one plugin");
    host.load(plugin).map_err(|diag| text(vec![diag]))
}

fn refused(path: &Path, words: &[&str]) {
    let text = load(path).expect_err("it is refused");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

fn scaled_tanh() -> LowerRequest {
    let layer = Layer {
        name: "act".into(),
        path: "net/act".into(),
        class: "acme>ScaledTanh".into(),
        config: r#"{"scale": 2.5}"#.into(),
        ..Layer::default()
    };
    example(layer, &[Type::known(DType::F32, &[2])])
}

fn check_sample_layer(library: &Path) {
    let host = host(&[library]).unwrap();
    let lowered = host.lower(&scaled_tanh(), &|_| unreachable!("it wraps nothing")).unwrap();
    let graph = lowered.graph.unwrap().decode_graph().unwrap();
    let ops: Vec<&str> = graph.nodes().iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["unary", "constant", "binary"]);
    let x = Tensor::from_f32(&[2], &[0.5, -3.0]);
    let reply = host.eval(&scaled_tanh(), &[x]).unwrap().expect("a second opinion");
    assert_eq!(reply.outputs[0].dims, [2]);
    let expected = [2.5 * 0.5f64.tanh(), 2.5 * (-3.0f64).tanh()];
    reply.outputs[0].values.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{a} {b}"));
    let uses = host.uses();
    assert_eq!(
        (uses[0].id.as_str(), uses[0].layers.as_slice()),
        ("com.acme.layers", &["acme>ScaledTanh x1".into()][..])
    );
}

#[test]
fn a_strangers_layer_loads_and_lowers() {
    let library = plugin("sample-layer");
    assert_eq!(load(&library), Ok(Through::AbiStable));
    check_sample_layer(&library);
}

/// A wrapper's plugin asks the host for what is inside, which asks the plugin that owns it: here the same one again.
#[test]
fn a_wrapper_is_lowered_with_what_it_wraps() {
    let host = host(&[&plugin("sample-layer")]).unwrap();
    let mut request = scaled_tanh();
    let child = Child { attribute: "layer".into(), layer: request.layer.take() };
    let wrapper = |path: &str, children| Layer {
        path: path.into(),
        class: "acme>Twice".into(),
        config: "{}".into(),
        children,
        ..Layer::default()
    };
    request.layer = Some(wrapper("net/twice", vec![child.clone()]));
    let owner: &dyn Fn(&LowerRequest) -> Result<Lowered, Findings> =
        &|child| host.lower(child, &|_| unreachable!("it wraps nothing"));
    let graph = host.lower(&request, owner).unwrap().graph.unwrap().decode_graph().unwrap();
    assert_eq!(graph.nodes().iter().filter(|node| node.op.name() == "unary").count(), 2);
    assert!(graph.nodes().iter().all(|node| node.path == "net/act"));
    // A finding inside is reported once, where it belongs.
    let mut broken = child;
    broken.layer.as_mut().unwrap().config = "{}".into();
    request.layer = Some(wrapper("net/twice", vec![broken]));
    let findings = host.lower(&request, owner).unwrap_err();
    assert_eq!((findings.len(), findings[0].code, findings[0].at.as_str()), (1, Code::BadConfig, "net/act"));
}

#[test]
fn findings_of_a_plugin_come_back_located() {
    let host = host(&[&plugin("sample-layer")]).unwrap();
    let mut request = scaled_tanh();
    request.layer.as_mut().unwrap().config = "{}".into();
    let findings = host.lower(&request, &|_| unreachable!()).unwrap_err();
    assert_eq!((findings[0].code, findings[0].at.as_str()), (Code::BadConfig, "net/act"));
}

#[test]
fn a_plugin_of_the_nightly_toolchain_loads() {
    let rustup = Command::new("rustup").args(["run", "nightly", "rustc", "-V"]).env_remove("RUSTUP_TOOLCHAIN").output();
    if !rustup.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED a_plugin_of_the_nightly_toolchain_loads: there is no nightly toolchain");
        return;
    }
    let library = built(&Build::of("sample-layer").toolchain("nightly"));
    assert_eq!(load(&library), Ok(Through::AbiStable));
    check_sample_layer(&library);
}

#[test]
fn a_plugin_without_the_sdk_loads() {
    assert_eq!(load(&plugin("raw")), Ok(Through::AbiStable));
}

#[test]
fn a_newer_plugin_loads_as_long_as_it_offers_what_this_host_knows() {
    assert_eq!(load(&built(&Build::of("raw").feature("newer"))), Ok(Through::AbiStable));
    refused(&built(&Build::of("raw").feature("only-newer")), &["recast.layers/2", "recast.layers/1", "newer recast"]);
    refused(&built(&Build::of("raw").feature("needy")), &["recast.host.future/7", "newer recast"]);
}

#[test]
fn another_abi_is_refused_before_and_after_loading() {
    refused(&built(&Build::of("raw").feature("abi2")), &["plugin ABI 2", "plugin ABI 1", "newer recast"]);
    refused(&built(&Build::of("raw").feature("abi2-entry")), &["plugin ABI 2", "plugin ABI 1"]);
    refused(&built(&Build::of("raw").feature("bad-magic")), &["0x7", "magic"]);
    refused(&built(&Build::of("raw").feature("two-faced")), &["another manifest"]);
}

#[test]
fn a_c_plugin_loads_and_writes() {
    let dir = tempfile::tempdir().unwrap();
    let library = c_plugin(dir.path(), &[]);
    assert_eq!(load(&library), Ok(Through::C));
    let host = host(&[&library]).unwrap();
    assert_eq!(host.capabilities("ctext").unwrap().target, "ctext");
    let mut graph = Graph::new("m");
    graph.param("dense", "kernel", Tensor::from_f32(&[2, 1], &[1.0, 2.0]));
    let request = WriteRequest { graph: Some((&graph).into()), ..WriteRequest::default() };
    let outputs = Mutex::new(Outputs::new(dir.path(), 1000).unwrap());
    host.write("ctext", &request, &outputs).unwrap();
    let files = outputs.into_inner().unwrap().finish();
    let written = std::fs::read(dir.path().join("model.ctext")).unwrap();
    assert_eq!(written, [&b"kernel:"[..], &1f32.to_le_bytes(), &2f32.to_le_bytes()].concat());
    assert_eq!((files[0].path.as_str(), files[0].bytes), ("model.ctext", 15));
    assert_eq!(files[0].sha256, recast::digest::of_bytes(&written));
}

#[test]
fn a_c_plugin_of_another_abi_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused(&c_plugin(dir.path(), &["-DABI=\"2\""]), &["plugin ABI 2", "plugin ABI 1"]);
}

/// A copy of the ABI crate under another version and with other text in it, outside of the workspace.
fn other_abi(into: &Path, version: &str, edits: &[(&str, &str)]) {
    let from = source("../../plugin-api/abi");
    std::fs::create_dir_all(into.join("abi/src")).unwrap();
    let manifest = std::fs::read_to_string(from.join("Cargo.toml")).unwrap();
    let manifest = manifest
        .replace("version = \"1.0.0\"", &format!("version = \"{version}\""))
        .replace("edition.workspace = true", "edition = \"2024\"")
        .replace("abi_stable = { workspace = true,", "abi_stable = { version = \"0.11.3\", default-features = false,");
    let is_kept =
        |line: &&str| !line.contains(".workspace = true") && !line.contains("lints") && *line != "workspace = true";
    let manifest: Vec<&str> = manifest.lines().filter(is_kept).collect();
    std::fs::write(into.join("abi/Cargo.toml"), manifest.join("\n")).unwrap();
    let mut unused: Vec<&str> = edits.iter().map(|(from, _)| *from).collect();
    for entry in std::fs::read_dir(from.join("src")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in edits {
            unused.retain(|known| known != from || !text.contains(from));
            text = text.replace(from, to);
        }
        std::fs::write(into.join("abi/src").join(path.file_name().unwrap()), text).unwrap();
    }
    assert!(unused.is_empty(), "no such text in the ABI crate: {unused:?}");
}

/// A stranger that is built against `other_abi`.
fn stranger_of(into: &Path, name: &str) -> PathBuf {
    let dir = into.join(name);
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let manifest = std::fs::read_to_string(source(name).join("Cargo.toml")).unwrap();
    std::fs::write(dir.join("Cargo.toml"), manifest.replace("../../../plugin-api/abi", "../abi")).unwrap();
    for file in ["lib.rs", "main.rs"] {
        let from = source(name).join("src").join(file);
        if from.is_file() {
            std::fs::copy(from, dir.join("src").join(file)).unwrap();
        }
    }
    dir
}

/// The raw plugin against another ABI crate, with `adapt` applied to its source. Each `name` is one place on the disk:
/// cargo takes another path for another crate, and would keep all of them.
fn raw_against(name: &str, version: &str, edits: &[(&str, &str)], adapt: impl Fn(String) -> String) -> PathBuf {
    let dir = variant_dir(name);
    other_abi(&dir, version, edits);
    let stranger = stranger_of(&dir, "raw");
    let lib = stranger.join("src/lib.rs");
    let text = adapt(std::fs::read_to_string(&lib).unwrap());
    std::fs::write(&lib, text).unwrap();
    built(&Build { dir: stranger, ..Build::default() })
}

fn variant_dir(name: &str) -> PathBuf {
    let dir = recast_tests::build_dir().join("strangers/variants").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

const LOWER: &str = "    pub lower: unsafe extern \"C\" fn(host: *const RecastHost, request: RecastBytes) -> i32,\n";
const NEW_TYPE: &str = "#[repr(C)]\n#[derive(Debug, Clone, Copy)]\n#[cfg_attr(feature = \"abi-stable\", \
     derive(abi_stable::StableAbi))]\npub struct RecastFutureV1 { pub struct_size: u32 }\n";

fn growth() -> String {
    format!("{NEW_TYPE}use crate::{{RecastBytes, RecastHost}};")
}

#[test]
fn a_plugin_of_an_abi_crate_that_grew_by_a_type_loads() {
    let edits = [("use crate::{RecastBytes, RecastHost};", growth())];
    let edits: Vec<(&str, &str)> = edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let library = raw_against("grown", "1.5.0", &edits, |text| text);
    assert_eq!(load(&library), Ok(Through::AbiStable));
}

#[test]
fn a_host_of_an_abi_crate_that_grew_loads_todays_plugin() {
    let dir = variant_dir("newer-host");
    other_abi(&dir, "1.5.0", &[("use crate::{RecastBytes, RecastHost};", &growth())]);
    let host = program(&Build { dir: stranger_of(&dir, "newer-host"), ..Build::default() });
    for (library, classes) in [(plugin("raw"), "raw>Nothing"), (plugin("sample-layer"), "acme>ScaledTanh\nacme>Twice")]
    {
        let output = Command::new(&host).arg(library).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.trim(), format!("1.5.0 {classes} false"), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_abi_crate_that_changed_a_released_type_is_refused() {
    let lower = "lower(_: *const RecastHost, _: RecastBytes) -> i32 {";
    let library = raw_against("changed", "1.5.0", &[(LOWER, &LOWER.replace("i32", "i64"))], |text| {
        assert!(text.contains(lower));
        text.replace(lower, &lower.replace("i32", "i64")).replace("message.\n    status::OK", "message.\n    0")
    });
    refused(&library, &["mismatched type", "recast.layers/1", "i64"]);
}

/// What prefix types would have allowed, and what they then would have broken.
#[test]
fn an_abi_crate_that_appended_a_field_is_refused() {
    let last = "    pub get_extension: unsafe extern \"C\" fn(id: RecastBytes) -> *const c_void,\n";
    let edits = [(last, format!("{last}    pub more: u64,\n"))];
    let library = raw_against("appended", "1.5.0", &[(edits[0].0, &edits[0].1)], |text| {
        text.replace("    get_extension,\n});", "    get_extension,\n    more: 0,\n});")
    });
    refused(&library, &["field"]);
}

#[test]
fn an_abi_crate_with_another_major_version_is_refused() {
    refused(&raw_against("major", "2.0.0", &[], |text| text), &["2.0.0", "recast-abi 1"]);
}

#[test]
fn two_plugins_do_not_get_each_others_functions() {
    let dir = tempfile::tempdir().unwrap();
    let (acme, bad) = (plugin("sample-layer"), installed(&plugin("misbehaving"), dir.path()));
    let host = host(&[&acme, &bad]).unwrap();
    for (plugin, manifest) in host.manifests() {
        let classes = &manifest.provided(id::LAYERS).unwrap().classes;
        assert_eq!(&host.listed_classes(plugin).unwrap(), classes, "{}", manifest.id);
    }
}
