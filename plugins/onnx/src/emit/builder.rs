//! One ONNX node in the making.

use super::Emit;
use crate::proto::{AttributeProto, GraphProto, NodeProto, kind};
use recast_plugin_api::ir::ValueId;

/// `e.op("Concat", &[&a, &b]).int("axis", 1).to(value)`
pub struct Build<'e, 'a> {
    emit: &'e mut Emit<'a>,
    op_type: &'static str,
    inputs: Vec<String>,
    attributes: Vec<AttributeProto>,
    domain: Option<&'static str>,
}

impl<'e, 'a> Build<'e, 'a> {
    pub fn new(emit: &'e mut Emit<'a>, op_type: &'static str, inputs: &[&str]) -> Build<'e, 'a> {
        let mut inputs: Vec<String> = inputs.iter().map(|name| name.to_string()).collect();
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        Build { emit, op_type, inputs, attributes: Vec::new(), domain: None }
    }

    fn attribute(mut self, name: &str, of: i32, fill: impl FnOnce(&mut AttributeProto)) -> Self {
        let mut attribute = AttributeProto { name: Some(name.into()), kind: Some(of), ..AttributeProto::default() };
        fill(&mut attribute);
        self.attributes.push(attribute);
        self
    }

    /// The op is one of this domain instead of ONNX' own.
    pub fn domain(mut self, domain: &'static str) -> Self {
        self.domain = Some(domain);
        self
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.attribute(name, kind::INT, |a| a.i = Some(value))
    }

    pub fn float(self, name: &str, value: f64) -> Self {
        self.attribute(name, kind::FLOAT, |a| a.f = Some(value as f32))
    }

    pub fn str(self, name: &str, value: &str) -> Self {
        self.attribute(name, kind::STRING, |a| a.s = Some(value.into()))
    }

    pub fn ints(self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.attribute(name, kind::INTS, |a| a.ints = values.into_iter().collect())
    }

    pub fn floats(self, name: &str, values: &[f64]) -> Self {
        self.attribute(name, kind::FLOATS, |a| a.floats = values.iter().map(|&v| v as f32).collect())
    }

    pub fn strs<S: AsRef<str>>(self, name: &str, values: &[S]) -> Self {
        let bytes = |value: &S| value.as_ref().as_bytes().to_vec();
        self.attribute(name, kind::STRINGS, |a| a.strings = values.iter().map(bytes).collect())
    }

    pub fn graph(self, name: &str, graph: GraphProto) -> Self {
        self.attribute(name, kind::GRAPH, |a| a.g = Some(Box::new(graph)))
    }

    fn push(self, outputs: Vec<String>, name: String) {
        self.emit.push(NodeProto {
            input: self.inputs,
            output: outputs,
            name: Some(name),
            op_type: Some(self.op_type.into()),
            attribute: self.attributes,
            domain: self.domain.map(str::to_string),
        });
    }

    /// The node's one result, for use by the next node of the same op.
    pub fn tmp(self) -> String {
        let name = self.emit.value_name(self.op_type);
        self.push(vec![name.clone()], name.clone());
        name
    }

    /// Several results; those not wanted are left out.
    pub fn tmps(self, wanted: &[bool]) -> Vec<String> {
        let base = self.emit.value_name(self.op_type);
        let name = |(i, &want): (usize, &bool)| match (want, i) {
            (false, _) => String::new(),
            (true, 0) => base.clone(),
            (true, _) => self.emit.unique(&format!("{base}.{i}")),
        };
        let outputs: Vec<String> = wanted.iter().enumerate().map(name).collect();
        let mut written = outputs.clone();
        while written.last().is_some_and(String::is_empty) {
            written.pop();
        }
        self.push(written, base);
        outputs
    }

    /// The node's one result is `value`.
    pub fn to(self, value: ValueId) {
        let name = self.emit.result_name(value, self.op_type);
        self.emit.bind(value, name.clone());
        self.push(vec![name.clone()], name);
    }

    /// The node's results are `values`, in this order.
    pub fn to_all(self, values: &[ValueId]) {
        let bound = |&value: &ValueId| {
            let name = self.emit.result_name(value, self.op_type);
            self.emit.bind(value, name.clone());
            name
        };
        let outputs: Vec<String> = values.iter().map(bound).collect();
        let name = outputs.first().cloned().unwrap_or_default();
        self.push(outputs, name);
    }
}
