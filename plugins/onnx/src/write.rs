//! From an emitted graph to bytes: first every length, then every byte.
//!
//! A model is its head, then the graph as one length-delimited field: nodes, name, inputs and outputs, and at its end
//! one initializer after the other, each a small head with the raw data as its last field.

use crate::emit;
use crate::emit::weights::{decode, encode};
use crate::options::Options;
use crate::proto::{self, Entry, GraphProto, ModelHead, NodeProto, OperatorSetId, TensorHead, ir_version};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Graph};
use std::io;

/// Where weights come from: the host, or a test's memory.
pub trait Weights {
    /// Calls `take` once with the param's bytes: row-major, little-endian, as the graph's param of this name says.
    fn read(&self, name: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), Diag>) -> Result<(), Diag>;
}

/// One ingredient of an initializer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    Param(String),
    Bytes(Vec<u8>),
    /// Another dtype's elements as float32.
    Single(DType, Box<Piece>),
}

impl Piece {
    fn fetch(&self, weights: &dyn Weights) -> Result<Vec<u8>, Diag> {
        match self {
            Piece::Bytes(bytes) => Ok(bytes.clone()),
            Piece::Param(name) => {
                let mut copy = Vec::new();
                weights.read(name, &mut |bytes| {
                    copy = bytes.to_vec();
                    Ok(())
                })?;
                Ok(copy)
            }
            Piece::Single(from, piece) => Ok(encode(DType::F32, decode(*from, &piece.fetch(weights)?).into_iter())),
        }
    }
}

type Make = Box<dyn Fn(&[Vec<u8>]) -> Vec<u8>>;

pub enum InitSource {
    Piece(Piece),
    /// Small weights in another order: gates of recurrent layers, folded normalization.
    Made {
        from: Vec<Piece>,
        make: Make,
    },
}

/// One initializer of the graph.
pub struct Init {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<u64>,
    pub source: InitSource,
}

impl Init {
    pub fn byte_len(&self) -> u64 {
        self.dims.iter().product::<u64>() * self.dtype.size() as u64
    }

    fn copy_to(&self, weights: &dyn Weights, out: &mut dyn io::Write) -> Result<(), Diag> {
        let want = self.byte_len();
        let name = &self.name;
        let mut put = |bytes: &[u8]| {
            if bytes.len() as u64 != want {
                return Err(Diag::new(Code::Bug, name, format!("{} bytes where {want} were planned", bytes.len())));
            }
            out.write_all(bytes).map_err(|e| Diag::new(Code::Io, name, e.to_string()))
        };
        match &self.source {
            InitSource::Piece(Piece::Param(param)) => weights.read(param, &mut put),
            InitSource::Piece(Piece::Bytes(bytes)) => put(bytes),
            InitSource::Piece(piece @ Piece::Single(..)) => put(&piece.fetch(weights)?),
            InitSource::Made { from, make } => {
                let pieces = from.iter().map(|piece| piece.fetch(weights)).collect::<Result<Vec<_>, _>>()?;
                put(&make(&pieces))
            }
        }
    }
}

/// What the file says about itself.
pub struct About<'a> {
    pub name: &'a str,
    pub source_digest: &'a str,
    pub recast_version: &'a str,
}

/// A protobuf message ends at 2 GiB; above this, weights leave the file.
const INLINE_TOTAL_MAX: u64 = 1_900_000_000;
/// Smaller tensors stay in the file: readers look at shapes and indices before they open other files.
const EXTERNAL_BYTES_MIN: u64 = 1024;
const EXTERNAL_ALIGN: u64 = 64;

struct Planned {
    init: Init,
    /// `TensorHead`, encoded.
    head: Vec<u8>,
    /// Offset in the data file, where the bytes are there.
    external: Option<u64>,
}

impl Planned {
    /// Length of the tensor message.
    fn len(&self) -> u64 {
        let raw = self.init.byte_len();
        match self.external {
            Some(_) => self.head.len() as u64,
            None => self.head.len() as u64 + field_len(proto::tag::TENSOR_RAW_DATA, raw),
        }
    }
}

/// Length of a length-delimited field, its key included.
fn field_len(tag: u32, len: u64) -> u64 {
    key_len(tag) as u64 + encoded_len_varint(len) as u64 + len
}

fn field_key(tag: u32, len: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len, out);
}

/// A file whose every length is known.
pub struct Plan {
    head: Vec<u8>,
    /// The graph without its initializers.
    body: Vec<u8>,
    inits: Vec<Planned>,
    data_file: Option<String>,
    /// What the file does not hold as the graph has it.
    pub losses: Vec<Diag>,
}

/// Told (done, total) bytes of weights between two of them; an error stops the writing.
pub type Progress<'a> = &'a dyn Fn(u64, u64) -> Result<(), Diag>;

pub fn plan(graph: &Graph, options: &Options, about: &About) -> Result<Plan, Findings> {
    let emitted = emit::graph(graph, options.opset)?;
    let mut losses = if emitted.doubles.is_empty() { Vec::new() } else { vec![emitted.doubles.loss()] };
    losses.extend(emitted.newer);
    let opset = emitted.opset;
    let total: u64 = emitted.inits.iter().map(Init::byte_len).sum();
    let external = options.external_data || total > INLINE_TOTAL_MAX;
    let data_file = external.then(|| format!("{}.onnx.data", about.name));
    let mut metadata = Vec::new();
    if !about.source_digest.is_empty() {
        metadata.push(Entry::new("recast.source_sha256", about.source_digest));
    }
    metadata.push(Entry::new("recast.record", format!("{}.onnx.sigstore.json", about.name)));
    let mut opset_import = vec![OperatorSetId { domain: Some(String::new()), version: Some(opset.into()) }];
    let (domain, version) = emit::ML;
    if emitted.nodes.iter().any(|node| of_domain(node, domain)) {
        opset_import.push(OperatorSetId { domain: Some(domain.into()), version: Some(version) });
    }
    let head = ModelHead {
        ir_version: Some(ir_version(opset)),
        producer_name: Some("recast".into()),
        producer_version: Some(about.recast_version.into()),
        opset_import,
        metadata_props: metadata,
    };
    let body = GraphProto {
        node: emitted.nodes,
        name: Some(if graph.name.is_empty() { about.name.into() } else { graph.name.clone() }),
        input: emitted.inputs,
        output: emitted.outputs,
    };
    let mut offset = 0;
    let inits = emitted.inits.into_iter().map(|init| planned(init, data_file.as_deref(), &mut offset)).collect();
    Ok(Plan { head: head.encode_to_vec(), body: body.encode_to_vec(), inits, data_file, losses })
}

/// Is the node, or one in a graph inside of it, an op of this domain?
fn of_domain(node: &NodeProto, domain: &str) -> bool {
    let bodies = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    node.domain.as_deref() == Some(domain) || bodies.flat_map(|body| &body.node).any(|node| of_domain(node, domain))
}

fn planned(init: Init, data_file: Option<&str>, offset: &mut u64) -> Planned {
    let mut head = TensorHead {
        dims: init.dims.iter().map(|&size| size as i64).collect(),
        data_type: Some(proto::data_type(init.dtype)),
        name: Some(init.name.clone()),
        ..TensorHead::default()
    };
    let len = init.byte_len();
    let external = match data_file {
        Some(location) if len >= EXTERNAL_BYTES_MIN => {
            let at = offset.next_multiple_of(EXTERNAL_ALIGN);
            *offset = at + len;
            head.data_location = Some(1);
            head.external_data = vec![
                Entry::new("location", location),
                Entry::new("offset", at.to_string()),
                Entry::new("length", len.to_string()),
            ];
            Some(at)
        }
        _ => None,
    };
    Planned { init, head: head.encode_to_vec(), external }
}

impl Plan {
    /// The file of external weights, where there is one. It lies beside the model.
    pub fn data_file(&self) -> Option<&str> {
        self.data_file.as_deref()
    }

    pub fn write_model(&self, weights: &dyn Weights, out: &mut dyn io::Write, progress: Progress) -> Result<(), Diag> {
        let io = |e: io::Error| Diag::new(Code::Io, "model", e.to_string());
        let initializers = self.inits.iter().map(|init| field_len(proto::tag::GRAPH_INITIALIZER, init.len()));
        let graph_len = self.body.len() as u64 + initializers.sum::<u64>();
        let mut small = self.head.clone();
        field_key(proto::tag::MODEL_GRAPH, graph_len, &mut small);
        small.extend_from_slice(&self.body);
        out.write_all(&small).map_err(io)?;
        let here = || self.inits.iter().filter(|planned| planned.external.is_none());
        let total: u64 = here().map(|planned| planned.init.byte_len()).sum();
        let mut done = 0;
        for planned in &self.inits {
            small.clear();
            field_key(proto::tag::GRAPH_INITIALIZER, planned.len(), &mut small);
            small.extend_from_slice(&planned.head);
            if planned.external.is_none() {
                field_key(proto::tag::TENSOR_RAW_DATA, planned.init.byte_len(), &mut small);
            }
            out.write_all(&small).map_err(io)?;
            if planned.external.is_none() {
                progress(done, total)?;
                planned.init.copy_to(weights, out)?;
                done += planned.init.byte_len();
            }
        }
        Ok(())
    }

    pub fn write_data(&self, weights: &dyn Weights, out: &mut dyn io::Write, progress: Progress) -> Result<(), Diag> {
        let external = || self.inits.iter().filter_map(|planned| planned.external.map(|at| (at, &planned.init)));
        let total = external().map(|(at, init)| at + init.byte_len()).max().unwrap_or(0);
        let mut written = 0u64;
        for (at, init) in external() {
            progress(written, total)?;
            let gap = vec![0u8; (at - written) as usize];
            out.write_all(&gap).map_err(|e| Diag::new(Code::Io, &init.name, e.to_string()))?;
            init.copy_to(weights, out)?;
            written = at + init.byte_len();
        }
        Ok(())
    }
}
