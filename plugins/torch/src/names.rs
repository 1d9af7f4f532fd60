//! Names of Python: what Keras calls a layer, made a legal name that nothing else has.

use std::collections::BTreeSet;

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Attributes that `nn.Module` has itself (PyTorch 2).
pub const MODULE_ATTRIBUTES: &[&str] = &[
    "add_module",
    "apply",
    "bfloat16",
    "buffers",
    "call_super_init",
    "children",
    "compile",
    "cpu",
    "cuda",
    "double",
    "dump_patches",
    "eval",
    "extra_repr",
    "float",
    "forward",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "half",
    "ipu",
    "load_state_dict",
    "modules",
    "mtia",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "register_buffer",
    "register_module",
    "register_parameter",
    "requires_grad_",
    "set_extra_state",
    "set_submodule",
    "share_memory",
    "state_dict",
    "to",
    "to_empty",
    "train",
    "training",
    "type",
    "xpu",
    "zero_grad",
];

/// Names that a module's text uses for itself.
pub const TAKEN: &[&str] = &[
    "F",
    "math",
    "nn",
    "self",
    "torch",
    "range",
    "reversed",
    "attention",
    "average_pool",
    "pad_edges",
    "pad_same",
    "resize_axis",
    "run_steps",
];

/// Longer names, which Keras allows, are cut: nobody reads them, and no line has room for them.
const NAME_CHARS_MAX: usize = 60;

/// A legal name, as near to `text` as can be.
pub fn identifier(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    name = name.trim_matches('_').chars().take(NAME_CHARS_MAX).collect();
    if name.is_empty() {
        name = "layer".into();
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "layer_");
    }
    if KEYWORDS.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// `my_resnet-50` as `MyResnet50`.
pub fn class_name(text: &str) -> String {
    let capital = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    identifier(text).split('_').map(capital).collect()
}

/// A set of names in use.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    pub fn with(taken: &[&str]) -> Names {
        Names(taken.iter().map(|name| name.to_string()).collect())
    }

    /// `base`, or the first `base_2`, `base_3` that is free.
    pub fn take(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut number = 1u64;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_different() {
        assert_eq!(identifier("conv2d/3x3:0"), "conv2d_3x3_0");
        assert_eq!(
            (identifier("lambda"), identifier("3d"), identifier("")),
            ("lambda_".into(), "layer_3d".into(), "layer".into())
        );
        assert_eq!(class_name("my_resnet-50"), "MyResnet50");
        let mut names = Names::with(MODULE_ATTRIBUTES);
        assert_eq!(
            (names.take("train"), names.take("a"), names.take("a")),
            ("train_2".into(), "a".into(), "a_2".into())
        );
    }
}
