//! TensorFlow's ops as far as they are written: arguments, results, and the attributes that follow from their dtypes.

/// Name; inputs; outputs. `x:T` is one tensor whose dtype is attribute `T`, `values:N*T` is `N` of them, `args:[Tin]`
/// a list with its own dtypes, `x:i32` a tensor that is always of that dtype. Sorted.
pub const OPS: &[(&str, &str, &str)] = &[
    ("Abs", "x:T", "y:T"),
    ("Acos", "x:T", "y:T"),
    ("Acosh", "x:T", "y:T"),
    ("AddV2", "x:T y:T", "z:T"),
    ("All", "input:bool reduction_indices:Tidx", "output:bool"),
    ("Any", "input:bool reduction_indices:Tidx", "output:bool"),
    ("ArgMax", "input:T dimension:Tidx", "output:output_type"),
    ("ArgMin", "input:T dimension:Tidx", "output:output_type"),
    ("AsString", "input:T", "output:str"),
    ("Asin", "x:T", "y:T"),
    ("Asinh", "x:T", "y:T"),
    ("AssignVariableOp", "resource:resource value:dtype", ""),
    ("Atan", "x:T", "y:T"),
    ("Atan2", "y:T x:T", "z:T"),
    ("Atanh", "x:T", "y:T"),
    ("AvgPool", "value:T", "output:T"),
    ("AvgPool3D", "input:T", "output:T"),
    ("BatchMatMulV2", "x:T y:T", "output:T"),
    ("BiasAdd", "value:T bias:T", "output:T"),
    ("BitwiseAnd", "x:T y:T", "z:T"),
    ("BitwiseOr", "x:T y:T", "z:T"),
    ("BitwiseXor", "x:T y:T", "z:T"),
    ("BroadcastTo", "input:T shape:Tidx", "output:T"),
    ("Cast", "x:SrcT", "y:DstT"),
    ("Ceil", "x:T", "y:T"),
    ("ConcatV2", "values:N*T axis:Tidx", "output:T"),
    ("Const", "", "output:dtype"),
    ("Conv2D", "input:T filter:T", "output:T"),
    ("Conv2DBackpropInput", "input_sizes:i32 filter:T out_backprop:T", "output:T"),
    ("Conv3D", "input:T filter:T", "output:T"),
    ("Conv3DBackpropInputV2", "input_sizes:Tshape filter:T out_backprop:T", "output:T"),
    ("Cos", "x:T", "y:T"),
    ("Cosh", "x:T", "y:T"),
    ("Cumprod", "x:T axis:Tidx", "out:T"),
    ("Cumsum", "x:T axis:Tidx", "out:T"),
    ("DenseBincount", "input:Tidx size:Tidx weights:T", "output:T"),
    ("DepthwiseConv2dNative", "input:T filter:T", "output:T"),
    ("Einsum", "inputs:N*T", "output:T"),
    ("Elu", "features:T", "activations:T"),
    ("Equal", "x:T y:T", "z:bool"),
    ("Erf", "x:T", "y:T"),
    ("Exp", "x:T", "y:T"),
    ("ExpandDims", "input:T dim:Tdim", "output:T"),
    ("Expm1", "x:T", "y:T"),
    ("Fill", "dims:index_type value:T", "output:T"),
    ("Floor", "x:T", "y:T"),
    ("FloorDiv", "x:T y:T", "z:T"),
    ("FloorMod", "x:T y:T", "z:T"),
    (
        "FusedBatchNormV3",
        "x:T scale:U offset:U mean:U variance:U",
        "y:T batch_mean:U batch_variance:U reserve_space_1:U reserve_space_2:U reserve_space_3:U",
    ),
    ("GatherV2", "params:Tparams indices:Tindices axis:Taxis", "output:Tparams"),
    ("Greater", "x:T y:T", "z:bool"),
    ("GreaterEqual", "x:T y:T", "z:bool"),
    ("HashTableV2", "", "table_handle:resource"),
    ("Identity", "input:T", "output:T"),
    ("Invert", "x:T", "y:T"),
    ("IsFinite", "x:T", "y:bool"),
    ("IsInf", "x:T", "y:bool"),
    ("IsNan", "x:T", "y:bool"),
    ("LeakyRelu", "features:T", "activations:T"),
    ("LeftShift", "x:T y:T", "z:T"),
    ("Less", "x:T y:T", "z:bool"),
    ("LessEqual", "x:T y:T", "z:bool"),
    ("Log", "x:T", "y:T"),
    ("Log1p", "x:T", "y:T"),
    ("LogSoftmax", "logits:T", "logsoftmax:T"),
    ("LogicalAnd", "x:bool y:bool", "z:bool"),
    ("LogicalNot", "x:bool", "y:bool"),
    ("LogicalOr", "x:bool y:bool", "z:bool"),
    ("LookupTableFindV2", "table_handle:resource keys:Tin default_value:Tout", "values:Tout"),
    ("LookupTableImportV2", "table_handle:resource keys:Tin values:Tout", ""),
    ("MatMul", "a:T b:T", "product:T"),
    ("MatrixBandPart", "input:T num_lower:Tindex num_upper:Tindex", "band:T"),
    ("Max", "input:T reduction_indices:Tidx", "output:T"),
    ("MaxPool", "input:T", "output:T"),
    ("MaxPool3D", "input:T", "output:T"),
    ("Maximum", "x:T y:T", "z:T"),
    ("Mean", "input:T reduction_indices:Tidx", "output:T"),
    ("Min", "input:T reduction_indices:Tidx", "output:T"),
    ("Minimum", "x:T y:T", "z:T"),
    ("MirrorPad", "input:T paddings:Tpaddings", "output:T"),
    ("Mul", "x:T y:T", "z:T"),
    ("Neg", "x:T", "y:T"),
    ("NoOp", "", ""),
    ("NotEqual", "x:T y:T", "z:bool"),
    ("OneHot", "indices:TI depth:i32 on_value:T off_value:T", "output:T"),
    ("Pack", "values:N*T", "output:T"),
    ("Pad", "input:T paddings:Tpaddings", "output:T"),
    ("PadV2", "input:T paddings:Tpaddings constant_values:T", "output:T"),
    ("Placeholder", "", "output:dtype"),
    ("Pow", "x:T y:T", "z:T"),
    ("Prod", "input:T reduction_indices:Tidx", "output:T"),
    (
        "RaggedTensorToTensor",
        "shape:Tshape values:T default_value:T row_partition_tensors:num_row_partition_tensors*Tindex",
        "result:T",
    ),
    ("Range", "start:Tidx limit:Tidx delta:Tidx", "output:Tidx"),
    ("ReadVariableOp", "resource:resource", "value:dtype"),
    ("RealDiv", "x:T y:T", "z:T"),
    ("Reciprocal", "x:T", "y:T"),
    ("Relu", "features:T", "activations:T"),
    ("Relu6", "features:T", "activations:T"),
    ("Reshape", "tensor:T shape:Tshape", "output:T"),
    ("ResizeArea", "images:T size:i32", "resized_images:f32"),
    ("ResizeBicubic", "images:T size:i32", "resized_images:f32"),
    ("ResizeBilinear", "images:T size:i32", "resized_images:f32"),
    ("ResizeNearestNeighbor", "images:T size:i32", "resized_images:T"),
    ("RestoreV2", "prefix:str tensor_names:str shape_and_slices:str", "tensors:[dtypes]"),
    ("ReverseV2", "tensor:T axis:Tidx", "output:T"),
    ("RightShift", "x:T y:T", "z:T"),
    ("Round", "x:T", "y:T"),
    ("Rsqrt", "x:T", "y:T"),
    ("SaveV2", "prefix:str tensor_names:str shape_and_slices:str tensors:[dtypes]", ""),
    ("ScaleAndTranslate", "images:T size:i32 scale:f32 translation:f32", "resized_images:f32"),
    ("SelectV2", "condition:bool t:T e:T", "output:T"),
    ("Selu", "features:T", "activations:T"),
    ("Shape", "input:T", "output:out_type"),
    ("Sigmoid", "x:T", "y:T"),
    ("Sign", "x:T", "y:T"),
    ("Sin", "x:T", "y:T"),
    ("Sinh", "x:T", "y:T"),
    ("Softmax", "logits:T", "softmax:T"),
    ("Softplus", "features:T", "activations:T"),
    ("Softsign", "features:T", "activations:T"),
    ("SparseCross", "dense_inputs:[dense_types]", "output_indices:i64 output_values:out_type output_shape:i64"),
    ("Split", "split_dim:i32 value:T", "output:num_split*T"),
    ("Sqrt", "x:T", "y:T"),
    ("Square", "x:T", "y:T"),
    ("Squeeze", "input:T", "output:T"),
    ("StatefulPartitionedCall", "args:[Tin]", "output:[Tout]"),
    ("StatelessWhile", "input:[T]", "output:[T]"),
    ("StaticRegexReplace", "input:str", "output:str"),
    ("StridedSlice", "input:T begin:Index end:Index strides:Index", "output:T"),
    ("StringLower", "input:str", "output:str"),
    ("StringNGrams", "data:str data_splits:Tsplits", "ngrams:str ngrams_splits:Tsplits"),
    ("StringSplitV2", "input:str sep:str", "indices:i64 values:str shape:i64"),
    ("StringToHashBucketFast", "input:str", "output:i64"),
    ("StringToHashBucketStrong", "input:str", "output:i64"),
    ("Sub", "x:T y:T", "z:T"),
    ("Sum", "input:T reduction_indices:Tidx", "output:T"),
    ("Tan", "x:T", "y:T"),
    ("Tanh", "x:T", "y:T"),
    ("TensorListFromTensor", "tensor:element_dtype element_shape:shape_type", "output_handle:variant"),
    ("TensorListGetItem", "input_handle:variant index:i32 element_shape:Tshape", "item:element_dtype"),
    ("TensorListReserve", "element_shape:shape_type num_elements:i32", "handle:variant"),
    ("TensorListSetItem", "input_handle:variant index:i32 item:element_dtype", "output_handle:variant"),
    ("TensorListStack", "input_handle:variant element_shape:i32", "tensor:element_dtype"),
    ("Tile", "input:T multiples:Tmultiples", "output:T"),
    ("TopKV2", "input:T k:Tk", "values:T indices:index_type"),
    ("Transpose", "x:T perm:Tperm", "y:T"),
    ("UnicodeDecode", "input:str", "row_splits:Tsplits char_values:i32"),
    ("UnicodeEncode", "input_values:i32 input_splits:Tsplits", "output:str"),
    ("VarHandleOp", "", "resource:resource"),
];

/// Dtype of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'s> {
    /// The attribute that names it.
    Attr(&'s str),
    /// TensorFlow's number.
    Fixed(i32),
}

/// How many tensors an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Many<'s> {
    One,
    /// As many as the attribute says, all of one dtype.
    Count(&'s str),
    /// As many as the attribute lists dtypes.
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg<'s> {
    pub name: &'s str,
    pub kind: Kind<'s>,
    pub many: Many<'s>,
}

/// Inputs and outputs of the op of this name.
pub fn find(op: &str) -> Option<(Vec<Arg<'static>>, Vec<Arg<'static>>)> {
    let at = OPS.binary_search_by_key(&op, |row| row.0).ok()?;
    let (_, inputs, outputs) = OPS[at];
    Some((inputs.split_whitespace().filter_map(arg).collect(), outputs.split_whitespace().filter_map(arg).collect()))
}

fn arg(text: &'static str) -> Option<Arg<'static>> {
    let (name, ty) = text.split_once(':')?;
    if let Some(list) = ty.strip_prefix('[') {
        return Some(Arg { name, kind: Kind::Attr(list.strip_suffix(']')?), many: Many::List });
    }
    let (many, ty) = match ty.split_once('*') {
        Some((count, ty)) => (Many::Count(count), ty),
        None => (Many::One, ty),
    };
    Some(Arg { name, kind: fixed(ty).map_or(Kind::Attr(ty), Kind::Fixed), many })
}

fn fixed(name: &str) -> Option<i32> {
    use crate::proto::dtype;
    use recast_plugin_api::ir::DType;
    match name {
        "resource" => Some(dtype::RESOURCE),
        "variant" => Some(dtype::VARIANT),
        name => DType::parse(name).map(dtype::to_tf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_row_reads() {
        assert!(OPS.is_sorted_by_key(|row| row.0));
        for (name, inputs, outputs) in OPS {
            let (ins, outs) = find(name).unwrap();
            assert_eq!(ins.len(), inputs.split_whitespace().count(), "{name}");
            assert_eq!(outs.len(), outputs.split_whitespace().count(), "{name}");
        }
        let (ins, _) = find("ConcatV2").unwrap();
        assert_eq!((ins[0].many, ins[0].kind), (Many::Count("N"), Kind::Attr("T")));
    }
}
