//! Messages that describe Python values: arguments and results of functions as their callers see them.

use crate::proto::TensorShapeProto;
use prost::Message;
use std::collections::BTreeMap;

/// A Python value.
#[derive(Clone, PartialEq, Message)]
pub struct StructuredValue {
    #[prost(oneof = "Structured", tags = "1, 13, 33, 51, 52, 53, 54")]
    pub kind: Option<Structured>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Structured {
    #[prost(message, tag = "1")]
    None(NoneValue),
    #[prost(string, tag = "13")]
    String(String),
    #[prost(message, tag = "33")]
    TensorSpec(TensorSpecProto),
    #[prost(message, tag = "51")]
    List(Values),
    #[prost(message, tag = "52")]
    Tuple(Values),
    #[prost(message, tag = "53")]
    Dict(DictValue),
    #[prost(message, tag = "54")]
    NamedTuple(NamedTupleValue),
}

#[derive(Clone, PartialEq, Message)]
pub struct NoneValue {}

#[derive(Clone, PartialEq, Message)]
pub struct Values {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<StructuredValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DictValue {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, StructuredValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NamedTupleValue {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<PairValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PairValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<StructuredValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorSpecProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
    #[prost(int32, tag = "3")]
    pub dtype: i32,
}

/// What Python knows of a function's arguments.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionSpec {
    #[prost(message, optional, tag = "1")]
    pub fullargspec: Option<StructuredValue>,
    #[prost(message, optional, tag = "5")]
    pub input_signature: Option<StructuredValue>,
}

impl Structured {
    pub fn value(self) -> StructuredValue {
        StructuredValue { kind: Some(self) }
    }
}

impl StructuredValue {
    pub fn none() -> StructuredValue {
        Structured::None(NoneValue {}).value()
    }

    /// Names of the tensors in it, in the order in which Python flattens it.
    pub fn tensor_names(&self) -> Vec<&str> {
        match &self.kind {
            Some(Structured::TensorSpec(spec)) => vec![spec.name.as_str()],
            Some(Structured::List(values) | Structured::Tuple(values)) => {
                values.values.iter().flat_map(StructuredValue::tensor_names).collect()
            }
            Some(Structured::Dict(dict)) => dict.fields.values().flat_map(StructuredValue::tensor_names).collect(),
            Some(Structured::None(_) | Structured::String(_) | Structured::NamedTuple(_)) | None => Vec::new(),
        }
    }

    pub fn text(text: &str) -> StructuredValue {
        Structured::String(text.into()).value()
    }

    pub fn list(values: Vec<StructuredValue>) -> StructuredValue {
        Structured::List(Values { values }).value()
    }

    pub fn tuple(values: Vec<StructuredValue>) -> StructuredValue {
        Structured::Tuple(Values { values }).value()
    }

    pub fn dict(fields: impl IntoIterator<Item = (String, StructuredValue)>) -> StructuredValue {
        Structured::Dict(DictValue { fields: fields.into_iter().collect() }).value()
    }
}

impl FunctionSpec {
    /// Of a function with these positional and keyword-only arguments.
    pub fn new(args: &[&str], keywords: &[&str], input_signature: StructuredValue) -> FunctionSpec {
        let names =
            |names: &[&str]| StructuredValue::list(names.iter().map(|name| StructuredValue::text(name)).collect());
        let parts = [
            ("args", names(args)),
            ("varargs", StructuredValue::none()),
            ("varkw", StructuredValue::none()),
            ("defaults", StructuredValue::none()),
            ("kwonlyargs", names(keywords)),
            ("kwonlydefaults", StructuredValue::none()),
            ("annotations", StructuredValue::dict([])),
        ];
        let pair = |(key, value): (&str, StructuredValue)| PairValue { key: key.into(), value: Some(value) };
        let spec = NamedTupleValue { name: "FullArgSpec".into(), values: parts.into_iter().map(pair).collect() };
        FunctionSpec { fullargspec: Some(Structured::NamedTuple(spec).value()), input_signature: Some(input_signature) }
    }
}
