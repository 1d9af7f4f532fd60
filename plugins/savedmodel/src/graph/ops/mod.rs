//! TensorFlow's ops, as recast's: one table, a file for each family.

mod bits;
pub mod blocks;
pub mod control;
mod fold;
mod index;
mod lists;
pub mod loops;
mod math;
mod nn;
pub mod ragged;
pub mod random;
mod reduce;
mod shape;
mod source;
pub mod spelled;
pub mod strings;
mod trips;

use super::def::Node;
use super::interp::Interp;
use super::value::Val;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::ValueId;

/// Inputs without control; outputs in order.
pub type Lower = for<'a> fn(&mut Interp<'a>, &Node<'a>, &[Val]) -> Result<Vec<Val>, Diag>;

pub struct Row {
    pub op: &'static str,
    pub lower: Lower,
    /// Names of the outputs where there are several: functions refer to them by name.
    outputs: &'static [&'static str],
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Plain,
    /// Looks at inputs that could not be lowered, or are not there, itself.
    Lenient,
}

impl Row {
    /// Which output the named one is (its first tensor, where it is a list).
    pub fn output(&self, name: &str) -> usize {
        self.outputs.iter().position(|known| *known == name).unwrap_or(0)
    }

    pub fn is_lenient(&self) -> bool {
        self.kind == Kind::Lenient
    }
}

const fn row(op: &'static str, lower: Lower) -> Row {
    Row { op, lower, outputs: &[], kind: Kind::Plain }
}

const fn several(op: &'static str, lower: Lower, outputs: &'static [&'static str]) -> Row {
    Row { op, lower, outputs, kind: Kind::Plain }
}

const fn lenient(op: &'static str, lower: Lower) -> Row {
    Row { op, lower, outputs: &[], kind: Kind::Lenient }
}

pub fn find(op: &str) -> Option<&'static Row> {
    TABLE.binary_search_by_key(&op, |row| row.op).ok().map(|at| &TABLE[at])
}

/// Names of all ops that are lowered.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.op)
}

const NORM: &[&str] = &["y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"];

const MERGE: &[&str] = &["output", "value_index"];
const SWITCH: &[&str] = &["output_false", "output_true"];

/// Sorted by op.
static TABLE: &[Row] = &[
    row("Abs", math::unary),
    row("Acos", math::unary),
    row("Acosh", math::unary),
    row("Add", math::binary),
    row("AddN", math::add_n),
    row("AddV2", math::binary),
    row("All", reduce::reduce),
    row("Any", reduce::reduce),
    row("ArgMax", reduce::arg),
    row("ArgMin", reduce::arg),
    row("AsString", strings::as_string),
    row("Asin", math::unary),
    row("Asinh", math::unary),
    row("Assert", source::nothing),
    row("Atan", math::unary),
    row("Atan2", math::binary),
    row("Atanh", math::unary),
    row("AvgPool", nn::pool),
    row("AvgPool3D", nn::pool),
    row("BatchMatMul", nn::mat_mul),
    row("BatchMatMulV2", nn::mat_mul),
    row("BatchMatMulV3", nn::mat_mul),
    row("BatchToSpaceND", blocks::batch_to_space),
    row("BiasAdd", nn::bias_add),
    row("Bitcast", bits::bitcast),
    row("BitwiseAnd", bits::and),
    row("BitwiseOr", math::binary),
    row("BitwiseXor", math::binary),
    row("BroadcastArgs", fold::broadcast_args),
    row("BroadcastTo", shape::broadcast_to),
    row("Bucketize", math::bucketize),
    lenient("Case", control::case),
    row("Cast", math::cast),
    row("Ceil", math::unary),
    row("CheckNumerics", source::identity),
    row("ClipByValue", math::clip),
    row("Concat", shape::concat_first),
    row("ConcatV2", shape::concat),
    row("Const", source::constant),
    row("Conv2D", nn::conv),
    row("Conv2DBackpropInput", nn::conv_transpose),
    row("Conv3D", nn::conv),
    row("Conv3DBackpropInputV2", nn::conv_transpose),
    row("Cos", math::unary),
    row("Cosh", math::unary),
    row("Cumprod", reduce::cumulative),
    row("Cumsum", reduce::cumulative),
    row("DenseBincount", reduce::bincount),
    row("DepthToSpace", blocks::depth_to_space),
    row("DepthwiseConv2dNative", nn::depthwise_conv),
    row("Div", math::binary),
    row("DivNoNan", math::div_no_nan),
    row("Einsum", nn::einsum),
    row("Elu", math::activation),
    row("EmptyTensorList", lists::empty),
    row("EnsureShape", source::ensure_shape),
    row("Enter", source::identity),
    row("Equal", math::binary),
    row("Erf", math::unary),
    row("Erfc", math::erfc),
    row("Exp", math::unary),
    row("ExpandDims", shape::expand_dims),
    row("Expm1", math::unary),
    row("Fill", shape::fill),
    row("Floor", math::unary),
    row("FloorDiv", math::binary),
    row("FloorMod", math::binary),
    several("FusedBatchNorm", nn::batch_norm, NORM),
    several("FusedBatchNormV2", nn::batch_norm, NORM),
    several("FusedBatchNormV3", nn::batch_norm, NORM),
    row("Gather", index::gather),
    row("GatherNd", index::gather_nd),
    row("GatherV2", index::gather),
    row("Greater", math::binary),
    row("GreaterEqual", math::binary),
    row("HashTable", strings::table),
    row("HashTableV2", strings::table),
    row("Identity", source::identity),
    lenient("IdentityN", source::identity_n),
    lenient("If", control::branch),
    row("ImageProjectiveTransformV2", nn::warped),
    row("ImageProjectiveTransformV3", nn::warped),
    row("Inv", math::unary),
    row("Invert", math::unary),
    row("InvertPermutation", fold::invert_permutation),
    row("IsFinite", math::unary),
    row("IsInf", math::unary),
    row("IsNan", math::unary),
    row("L2Loss", math::l2_loss),
    row("LeakyRelu", math::activation),
    row("LeftShift", math::binary),
    row("Less", math::binary),
    row("LessEqual", math::binary),
    row("LinSpace", shape::lin_space),
    several("ListDiff", fold::list_diff, &["out", "idx"]),
    row("Log", math::unary),
    row("Log1p", math::unary),
    row("LogSoftmax", nn::softmax),
    row("LogicalAnd", math::binary),
    row("LogicalNot", math::unary),
    row("LogicalOr", math::binary),
    row("LookupTableFind", strings::find),
    row("LookupTableFindV2", strings::find),
    row("LookupTableSize", strings::size),
    row("LookupTableSizeV2", strings::size),
    row("LoopCond", source::identity),
    row("MatMul", nn::mat_mul),
    row("MatrixBandPart", index::band_part),
    row("Max", reduce::reduce),
    row("MaxPool", nn::pool),
    row("MaxPool3D", nn::pool),
    row("Maximum", math::binary),
    row("Mean", reduce::reduce),
    Row { op: "Merge", lower: control::merge, outputs: MERGE, kind: Kind::Lenient },
    row("Min", reduce::reduce),
    row("Minimum", math::binary),
    row("MirrorPad", shape::mirror_pad),
    row("Mod", math::binary),
    row("Mul", math::binary),
    row("MulNoNan", math::mul_no_nan),
    row("MutableHashTable", strings::table),
    row("MutableHashTableV2", strings::table),
    row("Neg", math::unary),
    row("NextIteration", source::identity),
    row("NoOp", source::nothing),
    row("NotEqual", math::binary),
    row("OneHot", index::one_hot),
    row("OnesLike", shape::ones_like),
    row("Pack", shape::pack),
    row("Pad", shape::pad),
    row("PadV2", shape::pad),
    lenient("PartitionedCall", control::call),
    row("Placeholder", source::placeholder),
    row("PlaceholderWithDefault", source::identity),
    row("Pow", math::binary),
    row("PreventGradient", source::identity),
    row("Prod", reduce::reduce),
    row("RaggedBincount", ragged::refused),
    row("RaggedTensorToTensor", ragged::refused),
    row("RandomStandardNormal", random::any),
    row("RandomUniform", random::uniform),
    row("RandomUniformInt", random::any),
    row("Range", shape::range),
    row("Rank", fold::rank),
    row("ReadVariableOp", source::identity),
    row("RealDiv", math::binary),
    row("Reciprocal", math::unary),
    row("RefEnter", source::identity),
    row("RefIdentity", source::identity),
    Row { op: "RefMerge", lower: control::merge, outputs: MERGE, kind: Kind::Lenient },
    row("RefNextIteration", source::identity),
    several("RefSwitch", control::switch, SWITCH),
    row("Relu", math::unary),
    row("Relu6", math::relu6),
    row("Reshape", shape::reshape),
    row("ResizeBicubic", nn::resize),
    row("ResizeBilinear", nn::resize),
    row("ResizeNearestNeighbor", nn::resize),
    row("ResourceGather", index::resource_gather),
    row("ReverseSequence", index::reverse_sequence),
    row("ReverseV2", index::reverse),
    row("RightShift", math::binary),
    row("Rint", math::unary),
    row("RngReadAndSkip", random::key),
    row("Roll", index::roll),
    row("Round", math::unary),
    row("Rsqrt", math::unary),
    row("ScaleAndTranslate", nn::translate),
    row("Select", math::select_rows),
    row("SelectV2", math::select),
    row("Selu", math::unary),
    row("Shape", fold::shape),
    row("ShapeN", fold::shape_n),
    row("Sigmoid", math::unary),
    row("Sign", math::unary),
    row("Sin", math::unary),
    row("Sinh", math::unary),
    row("Size", fold::size),
    row("Slice", index::slice),
    row("Snapshot", source::identity),
    row("Softmax", nn::softmax),
    row("Softplus", math::unary),
    row("Softsign", math::unary),
    row("SpaceToBatchND", blocks::space_to_batch),
    row("SpaceToDepth", blocks::space_to_depth),
    several("SparseCross", strings::cross, &["output_indices", "output_values", "output_shape"]),
    row("SparseToDense", strings::sparse_to_dense),
    row("Split", shape::split),
    row("SplitV", shape::split_v),
    row("Sqrt", math::unary),
    row("Square", math::unary),
    row("SquaredDifference", math::squared_difference),
    row("Squeeze", shape::squeeze),
    lenient("StatefulPartitionedCall", control::call),
    lenient("StatelessCase", control::case),
    lenient("StatelessIf", control::branch),
    row("StatelessRandomGetAlg", random::key),
    several("StatelessRandomGetKeyCounter", random::key, &["key", "counter"]),
    several("StatelessRandomGetKeyCounterAlg", random::key, &["key", "counter", "alg"]),
    row("StatelessRandomNormal", random::any),
    row("StatelessRandomNormalV2", random::any),
    row("StatelessRandomUniform", random::uniform),
    row("StatelessRandomUniformIntV2", random::any),
    row("StatelessRandomUniformV2", random::uniform),
    row("StatelessTruncatedNormal", random::any),
    row("StatelessTruncatedNormalV2", random::any),
    lenient("StatelessWhile", loops::repeat),
    row("StaticRegexReplace", strings::regex),
    row("StopGradient", source::identity),
    row("StridedSlice", index::strided_slice),
    row("StringLower", strings::lower),
    several("StringNGrams", ragged::refused, &["ngrams", "ngrams_splits"]),
    several("StringSplitV2", ragged::string_split, &["indices", "values", "shape"]),
    row("StringToHashBucketFast", strings::hash),
    row("StringToHashBucketStrong", strings::hash),
    row("Sub", math::binary),
    row("Sum", reduce::reduce),
    several("Switch", control::switch, SWITCH),
    row("Tan", math::unary),
    row("Tanh", math::unary),
    row("TensorArrayCloseV3", source::nothing),
    row("TensorArrayGatherV3", lists::array_gather),
    row("TensorArrayReadV3", lists::array_read),
    row("TensorArrayScatterV3", lists::array_scatter),
    row("TensorArraySizeV3", lists::array_size),
    several("TensorArrayV3", lists::array, &["handle", "flow"]),
    row("TensorArrayWriteV3", lists::array_write),
    row("TensorListFromTensor", lists::from_tensor),
    row("TensorListGetItem", lists::get_item),
    row("TensorListLength", lists::length),
    row("TensorListReserve", lists::reserve),
    row("TensorListSetItem", lists::set_item),
    row("TensorListStack", lists::stack),
    row("Tile", shape::tile),
    several("TopKV2", reduce::top_k, &["values", "indices"]),
    row("Transpose", shape::transpose),
    row("TruncateDiv", math::truncate_div),
    row("TruncatedNormal", random::any),
    several("UnicodeDecode", ragged::unicode_decode, &["row_splits", "char_values"]),
    row("UnicodeEncode", ragged::refused),
    row("Unpack", shape::unpack),
    row("VarHandleOp", source::variable),
    row("VarIsInitializedOp", source::nothing),
    row("Variable", source::variable),
    row("VariableV2", source::variable),
    lenient("While", loops::repeat),
    row("Xdivy", math::div_no_nan),
    row("ZerosLike", shape::zeros_like),
];

/// Inputs that there must be.
pub(super) fn inputs<'v, const N: usize>(node: &Node<'_>, vals: &'v [Val]) -> Result<&'v [Val; N], Diag> {
    let found = vals.get(..N).and_then(|vals| vals.try_into().ok());
    found.ok_or_else(|| node.bad(format!("takes {N} inputs, has {}", vals.len())))
}

/// Every input as a value of the graph.
pub(super) fn values(interp: &mut Interp<'_>, node: &Node<'_>, vals: &[Val]) -> Result<Vec<ValueId>, Diag> {
    vals.iter().map(|val| interp.value(node, val)).collect()
}

pub(super) fn one(interp: &Interp<'_>, value: ValueId) -> Result<Vec<Val>, Diag> {
    Ok(vec![interp.val(value)])
}

/// An axis counted from the end where it is negative.
pub(super) fn axis(node: &Node<'_>, axis: i64, rank: usize) -> Result<usize, Diag> {
    recast_plugin_api::lower::resolve_axis(axis, rank)
        .ok_or_else(|| node.bad(format!("axis {axis} of a tensor of rank {rank}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by(|a, b| a.op < b.op));
        assert!(names().count() >= 150, "{}", names().count());
    }
}
