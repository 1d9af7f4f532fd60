//! The package's Python files: `model.py` and `__init__.py`.

use crate::class::{Class, Helper, mentions};
use crate::layout::Turned;
use crate::nest::Written;
use crate::py::{Py, lay_out};
use recast_plugin_api::ir::Graph;
use std::collections::BTreeSet;

/// Names that a helper brings into the file.
pub fn helper_names(helpers: &BTreeSet<Helper>) -> Vec<&'static str> {
    let names = |helper: &Helper| {
        let defined =
            helper.text().lines().filter_map(|line| line.strip_prefix("def ").or(line.strip_prefix("class ")));
        defined.filter_map(|line| line.split(['(', ':']).next()).collect::<Vec<_>>()
    };
    helpers.iter().flat_map(names).collect()
}

pub fn model(written: &Written, name: &str) -> String {
    let helpers: Vec<&str> = written.out.helpers.iter().map(|helper| helper.text().trim_end()).collect();
    let classes: Vec<String> = written.out.classes.iter().map(|class: &Class| class.lines().join("\n")).collect();
    let body = helpers.iter().copied().chain(classes.iter().map(String::as_str)).collect::<Vec<_>>().join("\n\n\n");
    let mut text = format!("\"\"\"{}, converted from Keras by recast.\"\"\"\n\n", plain(name));
    if mentions(&body, "math.") {
        text.push_str("import math\n\n");
    }
    if mentions(&body, "torch.") {
        text.push_str("import torch\n");
    }
    if mentions(&body, "F.") {
        text.push_str("import torch.nn.functional as F\n");
    }
    text.push_str("from torch import nn\n\n\n");
    text.push_str(&body);
    text.push('\n');
    text
}

/// Text that can't end a string or a line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { '_' } else { c }).collect()
}

fn strings<'t>(name: &str, texts: impl Iterator<Item = &'t str>) -> String {
    let items: Vec<Py> = texts.map(|text| Py::Atom(format!("\"{}\"", plain(text)))).collect();
    lay_out(&format!("{name} = "), &Py::Tuple(items), "", 0).join("\n")
}

const LOAD: &str = r#"def load(path=None, device=None, dtype=None):
    """The model with its weights, ready to predict; `.train()` to go on training."""
    path = Path(path) if path else Path(__file__).with_name("model.safetensors")
    model = CLASS()
    model.load_state_dict(load_file(path))
    return model.to(device=device, dtype=dtype).eval()
"#;

/// `turned`: inputs and outputs that are channels-first on request.
pub fn init(written: &Written, graph: &Graph, turned: Option<&Turned>, name: &str) -> String {
    let class = &written.class;
    let mut parts = vec![
        strings("INPUTS", graph.inputs.iter().map(|input| input.name.as_str())),
        strings("OUTPUTS", graph.outputs.iter().map(|output| output.name.as_str())),
    ];
    if let Some(turned) = turned {
        let both = turned.inputs.iter().chain(&turned.outputs);
        parts.push(strings("CHANNELS_FIRST", both.map(String::as_str)));
    }
    let all = lay_out("__all__ = ", &Py::List(vec![format!("\"{class}\"").into(), "\"load\"".into()]), "", 0);
    format!(
        "\"\"\"{}, converted from Keras by recast.\"\"\"\n\nfrom pathlib import Path\n\nfrom safetensors.torch import \
         load_file\n\nfrom .model import {class}\n\n{}\n\n# Keras' names of what `forward` takes and \
         gives.\n{}\n\n\n{}",
        plain(name),
        all.join("\n"),
        parts.join("\n"),
        LOAD.replace("CLASS", class),
    )
}
