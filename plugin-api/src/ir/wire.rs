//! The graph on the wire: protobuf messages, and the bounded way back. What comes in may be anything: every reference,
//! count and attribute is checked, and types are inferred anew rather than believed.

use super::attr::Attr;
use super::dim::Dim;
use super::op::Op;
use super::types::{DType, Data, Tensor, Type};
use super::validate::is_permutation;
use super::{Graph, NODES_MAX, RANK_MAX, ValueId};
use crate::diag::{Code, Diag};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(string, tag = "1")]
    pub dtype: String,
    /// Each as `Dim` prints it.
    #[prost(string, repeated, tag = "2")]
    pub shape: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(string, tag = "1")]
    pub dtype: String,
    #[prost(uint64, repeated, tag = "2")]
    pub stored: Vec<u64>,
    /// Absent for the identity.
    #[prost(uint32, repeated, tag = "3")]
    pub perm: Vec<u32>,
    /// Absent when it is `stored` (permuted).
    #[prost(message, optional, tag = "4")]
    pub shape: Option<ShapeProto>,
    #[prost(uint32, tag = "5")]
    pub file: u32,
    #[prost(uint64, tag = "6")]
    pub offset: u64,
    #[prost(uint64, tag = "7")]
    pub len: u64,
    /// Present for inline data, which then has no file.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub inline: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShapeProto {
    #[prost(uint64, repeated, tag = "1")]
    pub sizes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NamedValueProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub value: u32,
    /// For inputs.
    #[prost(message, optional, tag = "3")]
    pub ty: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ParamProto {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, tag = "2")]
    pub role: String,
    #[prost(message, optional, tag = "3")]
    pub tensor: Option<TensorProto>,
    #[prost(uint32, tag = "4")]
    pub value: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, tag = "1")]
    pub op: String,
    #[prost(message, repeated, tag = "2")]
    pub attrs: Vec<AttrProto>,
    /// 0 is absent, else the value's id plus one.
    #[prost(uint32, repeated, tag = "3")]
    pub inputs: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    pub outputs: Vec<u32>,
    #[prost(string, tag = "5")]
    pub path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct AttrProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "AttrKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub kind: Option<AttrKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AttrKind {
    #[prost(bool, tag = "2")]
    None(bool),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(sint64, tag = "4")]
    Int(i64),
    #[prost(double, tag = "5")]
    Float(f64),
    #[prost(string, tag = "6")]
    Str(String),
    #[prost(string, tag = "7")]
    Dim(String),
    #[prost(message, tag = "8")]
    List(AttrListProto),
    #[prost(message, tag = "9")]
    Tensor(TensorProto),
    #[prost(message, tag = "10")]
    Graph(Box<GraphProto>),
}

#[derive(Clone, PartialEq, Message)]
pub struct AttrListProto {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<AttrProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<NamedValueProto>,
    #[prost(message, repeated, tag = "3")]
    pub params: Vec<ParamProto>,
    #[prost(message, repeated, tag = "4")]
    pub nodes: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<NamedValueProto>,
    #[prost(uint32, tag = "6")]
    pub value_count: u32,
    #[prost(message, repeated, tag = "7")]
    pub equal: Vec<DimPairProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DimPairProto {
    #[prost(string, tag = "1")]
    pub a: String,
    #[prost(string, tag = "2")]
    pub b: String,
}

impl From<&Type> for TypeProto {
    fn from(ty: &Type) -> TypeProto {
        TypeProto { dtype: ty.dtype.as_str().into(), shape: ty.shape.iter().map(Dim::to_string).collect() }
    }
}

impl From<&Tensor> for TensorProto {
    fn from(tensor: &Tensor) -> TensorProto {
        let (file, offset, len, inline) = match &tensor.data {
            Data::Region { file, offset, len } => (*file, *offset, *len, None),
            Data::Inline(bytes) => (0, 0, 0, Some(bytes.clone())),
        };
        let plain = tensor.is_plain();
        let same = plain && tensor.shape == tensor.stored;
        TensorProto {
            dtype: tensor.dtype.as_str().into(),
            stored: tensor.stored.clone(),
            perm: if plain { Vec::new() } else { tensor.perm.iter().map(|&axis| axis as u32).collect() },
            shape: if same { None } else { Some(ShapeProto { sizes: tensor.shape.clone() }) },
            file,
            offset,
            len,
            inline,
        }
    }
}

fn attr_proto(name: &str, attr: &Attr) -> AttrProto {
    let kind = match attr {
        Attr::None => AttrKind::None(true),
        Attr::Bool(value) => AttrKind::Bool(*value),
        Attr::Int(value) => AttrKind::Int(*value),
        Attr::Float(value) => AttrKind::Float(*value),
        Attr::Str(value) => AttrKind::Str(value.clone()),
        Attr::Dim(dim) => AttrKind::Dim(dim.to_string()),
        Attr::List(items) => {
            AttrKind::List(AttrListProto { items: items.iter().map(|item| attr_proto("", item)).collect() })
        }
        Attr::Tensor(tensor) => AttrKind::Tensor(tensor.into()),
        Attr::Graph(graph) => AttrKind::Graph(Box::new(graph.as_ref().into())),
    };
    AttrProto { name: name.into(), kind: Some(kind) }
}

impl From<&Graph> for GraphProto {
    fn from(graph: &Graph) -> GraphProto {
        let input = |input: &super::Input| NamedValueProto {
            name: input.name.clone(),
            value: input.value.0,
            ty: Some(graph.ty(input.value).into()),
        };
        let node = |node: &super::Node| NodeProto {
            op: node.op.name().into(),
            attrs: node.op.attrs().iter().map(|(name, attr)| attr_proto(name, attr)).collect(),
            inputs: node.inputs.iter().map(|value| value.map_or(0, |v| v.0 + 1)).collect(),
            outputs: node.outputs.iter().map(|value| value.0).collect(),
            path: node.path.clone(),
        };
        let param = |param: &super::Param| ParamProto {
            path: param.path.clone(),
            role: param.role.clone(),
            tensor: Some((&param.tensor).into()),
            value: param.value.0,
        };
        let output =
            |output: &super::Output| NamedValueProto { name: output.name.clone(), value: output.value.0, ty: None };
        GraphProto {
            name: graph.name.clone(),
            inputs: graph.inputs.iter().map(input).collect(),
            params: graph.params.iter().map(param).collect(),
            nodes: graph.nodes().iter().map(node).collect(),
            outputs: graph.outputs.iter().map(output).collect(),
            value_count: graph.value_count() as u32,
            equal: graph.equal.iter().map(|(a, b)| DimPairProto { a: a.to_string(), b: b.to_string() }).collect(),
        }
    }
}

fn bad(at: &str, detail: impl Into<String>) -> Diag {
    Diag::new(Code::PluginMisbehaved, at, detail)
}

impl TypeProto {
    pub fn decode_type(&self) -> Result<Type, Diag> {
        let dtype = DType::parse(&self.dtype).ok_or_else(|| bad("type", format!("dtype '{}'", self.dtype)))?;
        if self.shape.len() > RANK_MAX {
            return Err(Diag::new(Code::LimitExceeded, "type", format!("rank {} > {RANK_MAX}", self.shape.len())));
        }
        let dims = self.shape.iter().map(|text| Dim::parse(text).ok_or_else(|| bad("type", format!("size '{text}'"))));
        Ok(Type::new(dtype, dims.collect::<Result<Vec<_>, _>>()?))
    }
}

fn product(sizes: &[u64]) -> Option<u64> {
    sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size))
}

impl TensorProto {
    /// Checks that view and stored bytes agree; that a region lies inside its file is for the one who maps it.
    pub fn decode_tensor(&self) -> Result<Tensor, Diag> {
        let dtype = DType::parse(&self.dtype).ok_or_else(|| bad("tensor", format!("dtype '{}'", self.dtype)))?;
        let rank = self.stored.len();
        let perm: Vec<usize> = match self.perm.is_empty() {
            true => (0..rank).collect(),
            false => self.perm.iter().map(|&axis| axis as usize).collect(),
        };
        if rank > RANK_MAX || !is_permutation(&perm, rank) {
            return Err(bad("tensor", format!("axes {perm:?} of rank {rank}")));
        }
        let seen: Vec<u64> = perm.iter().map(|&axis| self.stored[axis]).collect();
        let shape = self.shape.as_ref().map_or(seen, |shape| shape.sizes.clone());
        let elements = product(&self.stored).filter(|&n| product(&shape) == Some(n));
        let bytes = elements.and_then(|n| n.checked_mul(dtype.size() as u64));
        let bytes = bytes.ok_or_else(|| bad("tensor", format!("{:?} seen as {shape:?}", self.stored)))?;
        let (data, len) = match &self.inline {
            Some(inline) => (Data::Inline(inline.clone()), inline.len() as u64),
            None => (Data::Region { file: self.file, offset: self.offset, len: self.len }, self.len),
        };
        if dtype != DType::Str && len != bytes {
            return Err(bad("tensor", format!("{len} bytes for {bytes}")));
        }
        Ok(Tensor { dtype, stored: self.stored.clone(), perm, shape, data })
    }
}

/// Nesting of graphs and lists in attributes.
const ATTR_DEPTH_MAX: usize = 16;

fn decode_attr(proto: &AttrProto, depth: usize) -> Result<Attr, Diag> {
    if depth > ATTR_DEPTH_MAX {
        return Err(Diag::new(Code::LimitExceeded, &proto.name, format!("nested over {ATTR_DEPTH_MAX} deep")));
    }
    let kind = proto.kind.as_ref().ok_or_else(|| bad(&proto.name, "attribute without value"))?;
    Ok(match kind {
        AttrKind::None(_) => Attr::None,
        AttrKind::Bool(value) => Attr::Bool(*value),
        AttrKind::Int(value) => Attr::Int(*value),
        AttrKind::Float(value) => Attr::Float(*value),
        AttrKind::Str(value) => Attr::Str(value.clone()),
        AttrKind::Dim(text) => Attr::Dim(Dim::parse(text).ok_or_else(|| bad(&proto.name, format!("size '{text}'")))?),
        AttrKind::List(list) => {
            Attr::List(list.items.iter().map(|item| decode_attr(item, depth + 1)).collect::<Result<_, _>>()?)
        }
        AttrKind::Tensor(tensor) => Attr::Tensor(tensor.decode_tensor()?),
        AttrKind::Graph(graph) => Attr::Graph(Box::new(decode(graph, depth + 1)?)),
    })
}

impl GraphProto {
    pub fn decode_graph(&self) -> Result<Graph, Diag> {
        decode(self, 0)
    }
}

/// A graph on its way in. Values get numbers in the order in which they are read, and `finish` gives them back those of
/// the sender: what travels beside a graph (`LoweredOutput`) speaks of values by these.
struct Decoder {
    graph: Graph,
    ids: Vec<Option<ValueId>>,
}

impl Decoder {
    fn define(&mut self, at: &str, id: u32, value: ValueId) -> Result<(), Diag> {
        let slot = self.ids.get_mut(id as usize).ok_or_else(|| bad(at, format!("value %{id} is out of range")))?;
        if slot.is_some() {
            return Err(bad(at, format!("value %{id} is defined twice")));
        }
        *slot = Some(value);
        Ok(())
    }

    fn get(&self, at: &str, id: u32) -> Result<ValueId, Diag> {
        let value = self.ids.get(id as usize).copied().flatten();
        value.ok_or_else(|| bad(at, format!("value %{id} is used before it is defined")))
    }

    fn node(&mut self, node: &NodeProto, depth: usize) -> Result<(), Diag> {
        let attrs = node.attrs.iter().map(|attr| Ok((attr.name.clone(), decode_attr(attr, depth)?)));
        let attrs = attrs.collect::<Result<_, Diag>>()?;
        let op = Op::from_attrs(&node.op, attrs).map_err(|e| Diag::new(Code::UnsupportedOp, &node.path, e))?;
        let inputs = node.inputs.iter().map(|&id| match id.checked_sub(1) {
            Some(id) => self.get(&node.path, id).map(Some),
            None => Ok(None),
        });
        let inputs: Vec<Option<ValueId>> = inputs.collect::<Result<_, _>>()?;
        let outputs = self.graph.add_node(&node.path, op, &inputs)?;
        if outputs.len() != node.outputs.len() {
            return Err(bad(&node.path, format!("{} gives {} outputs", node.op, outputs.len())));
        }
        node.outputs.iter().zip(outputs).try_for_each(|(&id, value)| self.define(&node.path, id, value))
    }

    fn finish(mut self) -> Result<Graph, Diag> {
        let sent = self.ids.iter().enumerate().map(|(id, value)| value.ok_or(id)).collect::<Result<Vec<_>, _>>();
        let sent = sent.map_err(|id| bad(&self.graph.name, format!("value %{id} is never defined")))?;
        let mut back = vec![ValueId(0); sent.len()];
        for (id, value) in sent.iter().enumerate() {
            back[value.0 as usize] = ValueId(id as u32);
        }
        let graph = &mut self.graph;
        graph.types = sent.iter().map(|value| graph.types[value.0 as usize].clone()).collect();
        let inputs = graph.inputs.iter_mut().map(|input| &mut input.value);
        let params = graph.params.iter_mut().map(|param| &mut param.value);
        let outputs = graph.outputs.iter_mut().map(|output| &mut output.value);
        let nodes = graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten().chain(&mut node.outputs));
        inputs.chain(params).chain(outputs).chain(nodes).for_each(|value| *value = back[value.0 as usize]);
        Ok(self.graph)
    }
}

fn decode(proto: &GraphProto, depth: usize) -> Result<Graph, Diag> {
    let sizes = [proto.nodes.len(), proto.params.len(), proto.inputs.len(), proto.outputs.len()];
    if sizes.iter().any(|&count| count > NODES_MAX) || proto.value_count as usize > 4 * NODES_MAX {
        return Err(Diag::new(Code::LimitExceeded, &proto.name, format!("more than {NODES_MAX} nodes or params")));
    }
    let ids = vec![None; proto.value_count as usize];
    let mut decoder = Decoder { graph: Graph::new(proto.name.clone()), ids };
    for input in &proto.inputs {
        let ty = input.ty.as_ref().ok_or_else(|| bad(&input.name, "input without type"))?.decode_type()?;
        let value = decoder.graph.input(input.name.clone(), ty);
        decoder.define(&input.name, input.value, value)?;
    }
    for param in &proto.params {
        let tensor = param.tensor.as_ref().ok_or_else(|| bad(&param.path, "param without tensor"))?.decode_tensor()?;
        let value = decoder.graph.push_param(&param.path, &param.role, tensor);
        decoder.define(&param.path, param.value, value)?;
    }
    for node in &proto.nodes {
        decoder.node(node, depth)?;
    }
    for output in &proto.outputs {
        let value = decoder.get(&output.name, output.value)?;
        decoder.graph.output(output.name.clone(), value);
    }
    for pair in &proto.equal {
        let dims = Dim::parse(&pair.a).zip(Dim::parse(&pair.b));
        let dims = dims.ok_or_else(|| bad(&proto.name, format!("sizes '{}' and '{}'", pair.a, pair.b)))?;
        if !decoder.graph.equal.contains(&dims) {
            decoder.graph.equal.push(dims);
        }
    }
    decoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::UnaryFunction;

    #[test]
    fn values_keep_their_numbers() -> Result<(), Diag> {
        let mut graph = Graph::new("g");
        let x = graph.input("x", Type::known(DType::F32, &[2]));
        let y = graph.unary("l", UnaryFunction::Tanh, x)?;
        // Taken after a node: its number lies between those of the nodes.
        let w = graph.param("l", "w", Tensor::from_f32(&[2], &[1.0, 2.0]));
        let z = graph.binary("l", crate::ir::BinaryFunction::Add, y, w)?;
        graph.output("z", z);
        let mut proto = GraphProto::from(&graph);
        assert_eq!(proto.decode_graph()?, graph);
        proto.value_count += 1;
        assert!(proto.decode_graph().is_err_and(|diag| diag.detail.contains("never defined")));
        Ok(())
    }
}
