//! One TensorFlow node in the making. Attributes that follow from the dtypes of its inputs are filled in from the table
//! of ops.

use super::{Emit, Val};
use crate::proto::{Attr, AttrValue, ListValue, NameAttrList, NodeDef, dtype};
use crate::target::spec::{self, Arg, Kind, Many};
use recast_plugin_api::ir::{DType, ValueId};
use std::collections::BTreeMap;

/// `e.op("Softmax", &[&x]).to(value)`
pub struct Build<'e, 'a> {
    emit: &'e mut Emit<'a>,
    op: &'static str,
    inputs: Vec<Val>,
    attrs: BTreeMap<String, AttrValue>,
}

impl<'e, 'a> Build<'e, 'a> {
    pub fn new(emit: &'e mut Emit<'a>, op: &'static str, inputs: &[&Val]) -> Build<'e, 'a> {
        Build { emit, op, inputs: inputs.iter().map(|&val| val.clone()).collect(), attrs: BTreeMap::new() }
    }

    pub fn attr(mut self, name: &str, attr: Attr) -> Self {
        self.attrs.insert(name.into(), AttrValue { value: Some(attr) });
        self
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.attr(name, Attr::I(value))
    }

    pub fn float(self, name: &str, value: f64) -> Self {
        self.attr(name, Attr::F(value as f32))
    }

    pub fn flag(self, name: &str, value: bool) -> Self {
        self.attr(name, Attr::B(value))
    }

    pub fn str(self, name: &str, value: &str) -> Self {
        self.attr(name, Attr::S(value.into()))
    }

    pub fn strs(self, name: &str, values: &[&str]) -> Self {
        let s = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        self.attr(name, Attr::List(ListValue { s, ..ListValue::default() }))
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attr(name, Attr::List(ListValue { i: values.to_vec(), ..ListValue::default() }))
    }

    pub fn ty(self, name: &str, of: DType) -> Self {
        self.attr(name, Attr::Type(dtype::to_tf(of)))
    }

    pub fn func(self, name: &str, function: &str) -> Self {
        self.attr(name, Attr::Func(NameAttrList { name: function.into(), attr: BTreeMap::new() }))
    }

    /// Several inputs where the op takes a list.
    pub fn more(mut self, inputs: &[Val]) -> Self {
        self.inputs.extend_from_slice(inputs);
        self
    }

    fn missing(&mut self, name: &str, attr: Attr) {
        self.attrs.entry(name.to_string()).or_insert(AttrValue { value: Some(attr) });
    }

    /// Takes the dtypes of the inputs into the attributes.
    fn infer(&mut self, specs: &[Arg<'static>]) -> Result<(), String> {
        let dtypes: Vec<i32> = self.inputs.iter().map(|val| val.dtype).collect();
        let mut at = 0;
        for (index, spec) in specs.iter().enumerate() {
            // What stands behind a list takes one tensor each.
            let after = specs.len() - index - 1;
            let left = dtypes.len().saturating_sub(at);
            let count = if spec.many == Many::One { 1 } else { left.saturating_sub(after) };
            let mine = dtypes.get(at..at + count).ok_or_else(|| format!("{} lacks '{}'", self.op, spec.name))?;
            at += count;
            match (spec.many, spec.kind) {
                (Many::List, Kind::Attr(name)) => {
                    let list = ListValue { r#type: mine.to_vec(), ..ListValue::default() };
                    self.missing(name, Attr::List(list));
                    continue;
                }
                (Many::Count(name), _) => self.missing(name, Attr::I(count as i64)),
                (Many::One | Many::List, _) => {}
            }
            for &found in mine {
                let want = match spec.kind {
                    Kind::Fixed(number) => number,
                    Kind::Attr(name) => {
                        self.missing(name, Attr::Type(found));
                        self.dtype_of(name)
                    }
                };
                if want != found {
                    return Err(format!("{}: '{}' is of dtype {found} where {want} fits", self.op, spec.name));
                }
            }
        }
        if at == dtypes.len() { Ok(()) } else { Err(format!("{} takes {at} inputs, not {}", self.op, dtypes.len())) }
    }

    fn dtype_of(&self, attr: &str) -> i32 {
        match self.attrs.get(attr).and_then(|attr| attr.value.as_ref()) {
            Some(Attr::Type(number)) => *number,
            // What an op makes of an attribute left out.
            _ if matches!(attr, "out_type" | "index_type" | "Tidx") => dtype::to_tf(DType::I32),
            _ if attr == "output_type" => dtype::to_tf(DType::I64),
            _ => 0,
        }
    }

    fn results(&self, specs: &[Arg<'static>], node: &str) -> Vec<Val> {
        let mut results = Vec::new();
        for spec in specs {
            let attr = |name: &str| self.attrs.get(name).and_then(|attr| attr.value.as_ref());
            let dtypes = match (spec.many, spec.kind) {
                (Many::List, Kind::Attr(name)) => match attr(name) {
                    Some(Attr::List(list)) => list.r#type.clone(),
                    _ => Vec::new(),
                },
                (many, kind) => {
                    let count = match many {
                        Many::Count(name) => match attr(name) {
                            Some(Attr::I(count)) => *count as usize,
                            _ => 0,
                        },
                        Many::One | Many::List => 1,
                    };
                    let one = match kind {
                        Kind::Fixed(number) => number,
                        Kind::Attr(name) => self.dtype_of(name),
                    };
                    vec![one; count]
                }
            };
            let named = |(i, dtype): (usize, i32)| Val { name: format!("{node}:{}:{i}", spec.name), dtype };
            results.extend(dtypes.into_iter().enumerate().map(named));
        }
        results
    }

    fn finish(mut self, name: String) -> Vec<Val> {
        let Some((inputs, outputs)) = spec::find(self.op) else {
            self.emit.bug(format!("'{}' is not in the table of ops", self.op));
            return Vec::new();
        };
        if let Err(detail) = self.infer(&inputs) {
            self.emit.bug(detail);
        }
        let results = self.results(&outputs, &name);
        self.emit.push(NodeDef {
            name,
            op: self.op.into(),
            input: self.inputs.into_iter().map(|val| val.name).collect(),
            device: String::new(),
            attr: self.attrs,
        });
        results
    }

    /// The one result, the node under a name that the caller made free.
    pub fn named(self, name: String) -> Val {
        let mut results = self.finish(name);
        if results.is_empty() { Val { name: "nothing".into(), dtype: 0 } } else { results.swap_remove(0) }
    }

    /// The node's first result.
    pub fn tmp(self) -> Val {
        let name = self.emit.node_name(self.op);
        self.named(name)
    }

    /// All results.
    pub fn tmps(self) -> Vec<Val> {
        let name = self.emit.node_name(self.op);
        self.finish(name)
    }

    /// The node's first result is `value`.
    pub fn to(self, value: ValueId) {
        let Build { emit, op, inputs, attrs } = self;
        let val = Build { emit: &mut *emit, op, inputs, attrs }.tmp();
        emit.bind(value, val);
    }
}
