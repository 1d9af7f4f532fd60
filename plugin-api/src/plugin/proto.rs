//! Messages of the boundary itself; those of the three plugin kinds are in `crate::messages`.

use crate::messages::{Caps, LowerRequest};
use prost::Message;

/// Why a call failed as a whole, on stream 1. Findings about the artifact go to stream 2 instead.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorProto {
    /// Of `recast_abi::status`.
    #[prost(sint32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    /// Layer path or file member, where there is one.
    #[prost(string, tag = "3")]
    pub at: String,
    /// `src/lib.rs:12:5` of a panic.
    #[prost(string, tag = "4")]
    pub location: String,
    #[prost(string, tag = "5")]
    pub hint: String,
    #[prost(string, repeated, tag = "6")]
    pub causes: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CapsList {
    #[prost(message, repeated, tag = "1")]
    pub caps: Vec<Caps>,
}

/// What the conformance kit feeds to a plugin.
#[derive(Clone, PartialEq, Message)]
pub struct SelftestCases {
    #[prost(message, repeated, tag = "1")]
    pub lower: Vec<LowerRequest>,
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<SampleFile>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SampleFile {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub bytes: Vec<u8>,
}

/// Outputs of one layer, computed by its plugin.
#[derive(Clone, PartialEq, Message)]
pub struct EvalReply {
    #[prost(message, repeated, tag = "1")]
    pub outputs: Vec<EvalTensor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EvalTensor {
    #[prost(uint64, repeated, tag = "1")]
    pub dims: Vec<u64>,
    /// Row-major.
    #[prost(double, repeated, tag = "2")]
    pub values: Vec<f64>,
}
