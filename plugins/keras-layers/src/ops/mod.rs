//! Keras 3 operations called on tensors of a functional model (`ops.numpy.Add`), and the TensorFlow functions that
//! Keras 2 wraps into layers (`tf.math.add`). Many names, few functions: the table says what each computes.
//!
//! Neither is a layer: inputs are not cast to a dtype policy, and masks end here.

mod args;
mod arrange;
mod elementwise;
mod fourier;
mod index;
mod matrices;
mod missing;
mod nets;
mod numbers;
mod order;
mod overlap;
mod products;
mod reduce;
mod sampling;
mod scale;
mod series;
mod shapes;
mod special;
mod windows;

use crate::activations;
use crate::policy::one;
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction as B, ReduceFunction as R, UnaryFunction as U};
use recast_plugin_api::lower::{Lowering, Val};

pub use index::{Index, picked};
pub use scale::ROWS as APPLICATIONS;

type Outcome = Result<Vec<Val>, Findings>;

/// What an operation computes.
#[derive(Clone, Copy)]
enum Run {
    /// Floats; whole numbers become f32 first.
    Float(U),
    /// Whole numbers stay what they are.
    Number(U),
    /// An activation function by Keras' name, with its defaults.
    Activation(&'static str),
    Binary(B),
    Compare(B),
    Logical(B),
    Bitwise(B),
    Reduce(R),
    Same,
    Call(fn(&mut Lowering<'_>) -> Outcome),
}

use Run::*;

const OPS: &[(Run, &[&str])] = &[
    (Number(U::Abs), &["ops.numpy.Abs", "ops.numpy.Absolute", "ops.numpy.Fabs", "tf.math.abs"]),
    (Number(U::Neg), &["ops.numpy.Negative", "tf.math.negative"]),
    (Number(U::Sign), &["ops.numpy.Sign", "tf.math.sign"]),
    (Number(U::Square), &["ops.numpy.Square", "tf.math.square"]),
    (Number(U::Relu), &["ops.nn.Relu", "tf.nn.relu"]),
    (Float(U::Sqrt), &["ops.numpy.Sqrt", "tf.math.sqrt"]),
    (Float(U::Rsqrt), &["ops.math.Rsqrt", "tf.math.rsqrt"]),
    (Float(U::Reciprocal), &["ops.numpy.Reciprocal", "tf.math.reciprocal"]),
    (Float(U::Exp), &["ops.numpy.Exp", "tf.math.exp"]),
    (Float(U::Expm1), &["ops.numpy.Expm1", "tf.math.expm1"]),
    (Float(U::Log), &["ops.numpy.Log", "tf.math.log"]),
    (Float(U::Log1p), &["ops.numpy.Log1p", "tf.math.log1p"]),
    (Float(U::Floor), &["ops.numpy.Floor", "tf.math.floor"]),
    (Float(U::Ceil), &["ops.numpy.Ceil", "tf.math.ceil"]),
    (Float(U::Sin), &["ops.numpy.Sin", "tf.math.sin"]),
    (Float(U::Cos), &["ops.numpy.Cos", "tf.math.cos"]),
    (Float(U::Tan), &["ops.numpy.Tan", "tf.math.tan"]),
    (Float(U::Asin), &["ops.numpy.Arcsin", "tf.math.asin"]),
    (Float(U::Acos), &["ops.numpy.Arccos", "tf.math.acos"]),
    (Float(U::Atan), &["ops.numpy.Arctan", "tf.math.atan"]),
    (Float(U::Sinh), &["ops.numpy.Sinh", "tf.math.sinh"]),
    (Float(U::Cosh), &["ops.numpy.Cosh", "tf.math.cosh"]),
    (Float(U::Tanh), &["ops.numpy.Tanh", "tf.math.tanh"]),
    (Float(U::Asinh), &["ops.numpy.Arcsinh", "tf.math.asinh"]),
    (Float(U::Acosh), &["ops.numpy.Arccosh", "tf.math.acosh"]),
    (Float(U::Atanh), &["ops.numpy.Arctanh", "tf.math.atanh"]),
    (Float(U::Erf), &["ops.math.Erf", "tf.math.erf"]),
    (Float(U::IsNan), &["ops.numpy.Isnan", "tf.math.is_nan"]),
    (Float(U::IsInf), &["ops.numpy.Isinf", "tf.math.is_inf"]),
    (Float(U::IsFinite), &["ops.numpy.Isfinite", "tf.math.is_finite"]),
    (Float(U::Sigmoid), &["ops.nn.Sigmoid", "tf.math.sigmoid"]),
    (Float(U::Softplus), &["ops.nn.Softplus", "tf.math.softplus"]),
    (Float(U::Softsign), &["ops.nn.Softsign", "tf.nn.softsign"]),
    (Float(U::Selu), &["ops.nn.Selu", "tf.nn.selu"]),
    (Float(U::Mish), &["ops.activations.Mish"]),
    (Activation("relu6"), &["ops.nn.Relu6", "tf.nn.relu6"]),
    (Activation("hard_sigmoid"), &["ops.nn.HardSigmoid"]),
    (Activation("hard_silu"), &["ops.nn.HardSilu"]),
    (Activation("hard_tanh"), &["ops.nn.HardTanh"]),
    (Activation("log_sigmoid"), &["ops.nn.LogSigmoid", "tf.math.log_sigmoid"]),
    (Activation("sparse_plus"), &["ops.nn.SparsePlus"]),
    (Activation("sparse_sigmoid"), &["ops.nn.SparseSigmoid"]),
    (Activation("tanh_shrink"), &["ops.nn.TanhShrink"]),
    (Call(elementwise::parametric), &["ops.nn.LeakyRelu", "ops.nn.Elu", "ops.nn.Celu", "ops.nn.Gelu", "ops.nn.Silu"]),
    (Call(elementwise::parametric), &["ops.nn.HardShrink", "ops.nn.SoftShrink", "ops.nn.Squareplus"]),
    (Call(elementwise::parametric), &["ops.activations.ReLU"]),
    (Call(elementwise::parametric), &["tf.nn.leaky_relu", "tf.nn.elu", "tf.nn.gelu", "tf.nn.silu"]),
    (Call(elementwise::along_last), &["ops.nn.Glu", "ops.nn.Sparsemax"]),
    (Call(elementwise::threshold), &["ops.nn.Threshold"]),
    (Call(elementwise::softmax), &["ops.nn.Softmax", "tf.nn.softmax", "tf.compat.v1.nn.softmax"]),
    (Call(elementwise::log_softmax), &["ops.nn.LogSoftmax", "tf.nn.log_softmax", "tf.compat.v1.nn.log_softmax"]),
    (Call(elementwise::round), &["ops.numpy.Round", "ops.numpy.Trunc", "tf.math.round", "tf.math.rint"]),
    (Call(elementwise::scaled_log), &["ops.numpy.Log2", "ops.numpy.Log10", "ops.numpy.Exp2"]),
    (Call(elementwise::erfc), &["ops.math.Erfc", "tf.math.erfc"]),
    (Binary(B::Add), &["ops.numpy.Add", "tf.__operators__.add", "tf.math.add"]),
    (Binary(B::Sub), &["ops.numpy.Subtract", "tf.math.subtract"]),
    (Binary(B::Mul), &["ops.numpy.Multiply", "tf.math.multiply"]),
    (Binary(B::Mul), &["tf.math.scalar_mul", "tf.compat.v1.math.scalar_mul"]),
    (Binary(B::FloorDiv), &["ops.numpy.FloorDivide", "tf.math.floordiv", "tf.compat.v1.floor_div"]),
    (Binary(B::Mod), &["ops.numpy.Mod", "tf.math.floormod"]),
    (Binary(B::Pow), &["ops.numpy.Power", "tf.math.pow"]),
    (Binary(B::Max), &["ops.numpy.Maximum", "tf.math.maximum"]),
    (Binary(B::Min), &["ops.numpy.Minimum", "tf.math.minimum"]),
    (Call(elementwise::bias_add), &["tf.nn.bias_add"]),
    (Call(elementwise::divide), &["ops.numpy.Divide", "ops.numpy.TrueDivide", "tf.math.divide", "tf.math.truediv"]),
    (Call(elementwise::divide_no_nan), &["ops.numpy.DivideNoNan", "tf.math.divide_no_nan"]),
    (Call(elementwise::arctan2), &["ops.numpy.Arctan2", "tf.math.atan2"]),
    (Call(elementwise::squared_difference), &["tf.math.squared_difference"]),
    (Call(elementwise::logaddexp), &["ops.numpy.Logaddexp"]),
    (Call(elementwise::add_n), &["tf.math.add_n"]),
    (Compare(B::Equal), &["ops.numpy.Equal", "tf.__operators__.eq", "tf.math.equal"]),
    (Compare(B::NotEqual), &["ops.numpy.NotEqual", "tf.__operators__.ne", "tf.math.not_equal"]),
    (Compare(B::Less), &["ops.numpy.Less", "tf.math.less"]),
    (Compare(B::LessEqual), &["ops.numpy.LessEqual", "tf.math.less_equal"]),
    (Compare(B::Greater), &["ops.numpy.Greater", "tf.math.greater"]),
    (Compare(B::GreaterEqual), &["ops.numpy.GreaterEqual", "tf.math.greater_equal"]),
    (Logical(B::And), &["ops.numpy.LogicalAnd", "tf.math.logical_and"]),
    (Logical(B::Or), &["ops.numpy.LogicalOr", "tf.math.logical_or"]),
    (Logical(B::Xor), &["ops.numpy.LogicalXor", "tf.math.logical_xor"]),
    (Call(elementwise::not), &["ops.numpy.LogicalNot", "tf.math.logical_not"]),
    (Call(elementwise::select), &["ops.numpy.Where", "tf.where"]),
    (Call(elementwise::clip), &["ops.numpy.Clip", "tf.clip_by_value"]),
    (Call(elementwise::cast), &["ops.core.Cast", "tf.cast"]),
    (Call(elementwise::filled_like), &["ops.numpy.ZerosLike", "tf.zeros_like", "tf.compat.v1.zeros_like"]),
    (Call(elementwise::filled_like), &["ops.numpy.OnesLike", "tf.ones_like", "tf.compat.v1.ones_like"]),
    (Call(numbers::of_one), &["ops.numpy.Cbrt", "ops.numpy.Deg2rad", "ops.numpy.Rad2deg", "ops.numpy.Sinc"]),
    (Call(numbers::of_one), &["ops.numpy.Signbit", "ops.numpy.Isposinf", "ops.numpy.Isneginf"]),
    (Call(numbers::of_two), &["ops.numpy.Fmax", "ops.numpy.Fmin", "ops.numpy.Fmod", "ops.numpy.Hypot"]),
    (Call(numbers::of_two), &["ops.numpy.Logaddexp2", "ops.numpy.Ldexp", "ops.numpy.Heaviside"]),
    (Call(numbers::is_close), &["ops.numpy.Isclose"]),
    (Call(special::i0), &["ops.numpy.I0"]),
    (Call(special::erfinv), &["ops.math.Erfinv"]),
    (Call(special::common_divisor), &["ops.numpy.Gcd", "ops.numpy.Lcm"]),
    (Call(special::counts), &["ops.numpy.Ndim", "ops.numpy.Size", "tf.rank", "tf.size", "tf.compat.v1.size"]),
    (Call(special::angle), &["ops.numpy.Angle"]),
    (Call(special::binary_crossentropy), &["ops.nn.BinaryCrossentropy"]),
    (Call(special::crossentropy), &["ops.nn.CategoricalCrossentropy", "ops.nn.SparseCategoricalCrossentropy"]),
    (Call(special::scatter_update), &["ops.core.ScatterUpdate"]),
    (Call(matrices::segments), &["ops.math.SegmentSum", "ops.math.SegmentProd"]),
    (Call(matrices::segments), &["ops.math.SegmentMax", "ops.math.SegmentMin"]),
    (Call(matrices::vander), &["ops.numpy.Vander"]),
    (Call(matrices::correlate), &["ops.numpy.Correlate"]),
    (Call(matrices::det), &["ops.linalg.Det", "ops.numpy.Slogdet"]),
    (Call(matrices::inv), &["ops.linalg.Inv"]),
    (Call(matrices::solve), &["ops.linalg.Solve"]),
    (Call(matrices::solve_triangular), &["ops.linalg.SolveTriangular"]),
    (Call(matrices::cholesky), &["ops.linalg.Cholesky"]),
    (Call(matrices::logdet), &["ops.math.Logdet"]),
    (Call(fourier::fft), &["ops.math.FFT", "ops.math.FFT2"]),
    (Call(fourier::ifft2), &["ops.math.IFFT2"]),
    (Call(fourier::rfft), &["ops.math.RFFT"]),
    (Call(fourier::irfft), &["ops.math.IRFFT"]),
    (Call(fourier::stft), &["ops.math.STFT"]),
    (Call(windows::gaussian_blur), &["ops.image.GaussianBlur"]),
    (Call(windows::sobel_edges), &["ops.image.SobelEdges"]),
    (Call(windows::unfold), &["ops.nn.Unfold"]),
    (Bitwise(B::BitwiseAnd), &["ops.numpy.BitwiseAnd"]),
    (Bitwise(B::BitwiseOr), &["ops.numpy.BitwiseOr"]),
    (Bitwise(B::BitwiseXor), &["ops.numpy.BitwiseXor"]),
    (Bitwise(B::ShiftLeft), &["ops.numpy.BitwiseLeftShift", "ops.numpy.LeftShift"]),
    (Bitwise(B::ShiftRight), &["ops.numpy.BitwiseRightShift", "ops.numpy.RightShift"]),
    (Number(U::BitwiseNot), &["ops.numpy.BitwiseNot", "ops.numpy.BitwiseInvert"]),
    (Call(numbers::real_part), &["ops.numpy.Real", "ops.numpy.Imag", "ops.numpy.Isreal"]),
    (Call(numbers::real_part), &["ops.numpy.Conj", "ops.numpy.Conjugate"]),
    (Call(numbers::nan_to_num), &["ops.numpy.NanToNum"]),
    (Call(numbers::saturate_cast), &["ops.core.SaturateCast", "tf.dtypes.saturate_cast"]),
    (Call(numbers::convert), &["ops.core.ConvertToTensor", "ops.numpy.Array"]),
    (Call(numbers::full_like), &["ops.numpy.FullLike"]),
    (Call(numbers::select), &["ops.numpy.Select"]),
    (Call(numbers::digitize), &["ops.numpy.Digitize", "ops.numpy.SearchSorted"]),
    (Call(numbers::distances), &["ops.math.CDist"]),
    (Call(order::sort), &["ops.numpy.Sort", "ops.numpy.Argsort", "tf.sort", "tf.argsort"]),
    (Call(order::quantile), &["ops.numpy.Median", "ops.numpy.Quantile", "ops.numpy.Percentile"]),
    (Call(order::quantile), &["ops.numpy.Nanmedian", "ops.numpy.Nanquantile", "ops.numpy.Nanpercentile"]),
    (Call(order::range), &["ops.numpy.Ptp"]),
    (Call(order::count_nonzero), &["ops.numpy.CountNonzero"]),
    (Call(order::average), &["ops.numpy.Average"]),
    (Call(order::without_nan), &["ops.numpy.Nansum", "ops.numpy.Nanprod", "ops.numpy.Nanmax", "ops.numpy.Nanmin"]),
    (Call(order::without_nan), &["ops.numpy.Nanmean", "ops.numpy.Nanvar", "ops.numpy.Nanstd"]),
    (Call(order::differences), &["ops.numpy.Diff"]),
    (Call(order::trapezoid), &["ops.numpy.Trapezoid"]),
    (Call(order::in_top_k), &["ops.math.InTopK"]),
    (Call(arrange::diagonal), &["ops.numpy.Diagonal", "ops.numpy.Trace", "tf.linalg.trace"]),
    (Call(arrange::diag), &["ops.numpy.Diag", "ops.numpy.Diagflat"]),
    (Call(arrange::rot90), &["ops.numpy.Rot90"]),
    (Call(arrange::flip_one), &["ops.numpy.Fliplr", "ops.numpy.Flipud"]),
    (Call(arrange::append), &["ops.numpy.Append"]),
    (Call(arrange::dstack), &["ops.numpy.Dstack"]),
    (Call(arrange::split), &["ops.numpy.ArraySplit", "ops.numpy.Hsplit", "ops.numpy.Vsplit", "ops.numpy.Dsplit"]),
    (Call(arrange::meshgrid), &["ops.numpy.Meshgrid"]),
    (Call(arrange::slice_update), &["ops.core.SliceUpdate"]),
    (Call(arrange::inner), &["ops.numpy.Inner"]),
    (Call(arrange::vdot), &["ops.numpy.Vdot"]),
    (Call(series::cross), &["ops.numpy.Cross"]),
    (Call(series::spaced), &["ops.numpy.Linspace", "ops.numpy.Logspace", "ops.numpy.Geomspace"]),
    (Call(series::unravel), &["ops.numpy.UnravelIndex"]),
    (Call(series::corrcoef), &["ops.numpy.Corrcoef"]),
    (Call(series::all_close), &["ops.numpy.AllClose"]),
    (Call(series::empty_like), &["ops.numpy.EmptyLike"]),
    (Call(series::band), &["tf.linalg.band_part"]),
    (Call(series::clip_by_norm), &["tf.clip_by_norm"]),
    (Call(series::both_parts), &["tf.nn.crelu", "tf.compat.v1.nn.crelu"]),
    (Call(series::scatter), &["ops.core.Scatter"]),
    (Call(missing::arg), &["ops.numpy.Nanargmax", "ops.numpy.Nanargmin"]),
    (Call(overlap::fold), &["ops.nn.Fold"]),
    (Call(overlap::istft), &["ops.math.ISTFT"]),
    (Call(overlap::ssim), &["ops.image.SSIM"]),
    (Call(sampling::affine), &["ops.image.AffineTransform"]),
    (Call(sampling::perspective), &["ops.image.PerspectiveTransform"]),
    (Call(sampling::map_coordinates), &["ops.image.MapCoordinates"]),
    (Call(sampling::scale_and_translate), &["ops.image.ScaleAndTranslate"]),
    (Call(arrange::kron), &["ops.numpy.Kron"]),
    (Call(arrange::sequences), &["ops.math.ExtractSequences"]),
    (Call(arrange::is_in), &["ops.numpy.IsIn"]),
    (Call(nets::pooling), &["ops.nn.MaxPool", "ops.nn.AveragePool"]),
    (Call(nets::pooling), &["ops.nn.AdaptiveMaxPool", "ops.nn.AdaptiveAveragePool"]),
    (Call(nets::conv), &["ops.nn.Conv", "ops.nn.DepthwiseConv", "ops.nn.SeparableConv"]),
    (Call(nets::conv_transpose), &["ops.nn.ConvTranspose"]),
    (Call(nets::batch_norm), &["ops.nn.BatchNorm"]),
    (Call(nets::layer_norm), &["ops.nn.LayerNorm", "ops.nn.RMSNorm"]),
    (Call(nets::attention), &["ops.nn.DotProductAttention"]),
    (Call(nets::multi_hot), &["ops.nn.MultiHot"]),
    (Call(nets::psnr), &["ops.nn.PSNR"]),
    (Call(nets::grayscale), &["ops.image.RGBToGrayscale"]),
    (Call(nets::framed), &["ops.image.CropImages", "ops.image.PadImages"]),
    (Call(nets::patches), &["ops.image.ExtractPatches"]),
    (Call(nets::hsv), &["ops.image.RGBToHSV", "ops.image.HSVToRGB"]),
    (Same, &["ops.core.StopGradient", "ops.numpy.Copy", "tf.identity", "tf.stop_gradient", "tf.ensure_shape"]),
    (Reduce(R::Sum), &["ops.numpy.Sum", "tf.math.reduce_sum", "tf.compat.v1.math.reduce_sum"]),
    (Reduce(R::Mean), &["ops.numpy.Mean", "tf.math.reduce_mean", "tf.compat.v1.math.reduce_mean"]),
    (Reduce(R::Max), &["ops.numpy.Max", "ops.numpy.Amax", "tf.math.reduce_max", "tf.compat.v1.math.reduce_max"]),
    (Reduce(R::Min), &["ops.numpy.Min", "ops.numpy.Amin", "tf.math.reduce_min", "tf.compat.v1.math.reduce_min"]),
    (Reduce(R::Prod), &["ops.numpy.Prod", "tf.math.reduce_prod", "tf.compat.v1.math.reduce_prod"]),
    (Reduce(R::Any), &["ops.numpy.Any", "tf.math.reduce_any", "tf.compat.v1.math.reduce_any"]),
    (Reduce(R::All), &["ops.numpy.All", "tf.math.reduce_all", "tf.compat.v1.math.reduce_all"]),
    (Reduce(R::LogSumExp), &["ops.math.Logsumexp", "tf.math.reduce_logsumexp"]),
    (Call(reduce::variance), &["ops.numpy.Var", "tf.math.reduce_variance"]),
    (Call(reduce::deviation), &["ops.numpy.Std", "tf.math.reduce_std"]),
    (Call(reduce::moments), &["ops.nn.Moments", "tf.nn.moments"]),
    (Call(reduce::norm), &["ops.linalg.Norm", "tf.norm", "tf.compat.v1.norm", "tf.math.reduce_euclidean_norm"]),
    (Call(reduce::normalize), &["ops.nn.Normalize", "tf.math.l2_normalize"]),
    (Call(reduce::arg), &["ops.numpy.Argmax", "ops.numpy.Argmin", "tf.math.argmax", "tf.math.argmin"]),
    (Call(reduce::cumulative), &["ops.numpy.Nancumsum", "ops.numpy.Nancumprod"]),
    (Call(reduce::cumulative), &["ops.numpy.Cumsum", "ops.numpy.Cumprod", "tf.math.cumsum", "tf.math.cumprod"]),
    (Call(reduce::top_k), &["ops.math.TopK", "tf.math.top_k"]),
    (Call(shapes::reshape), &["ops.numpy.Reshape", "ops.numpy.Ravel", "tf.reshape"]),
    (Call(shapes::transpose), &["ops.numpy.Transpose", "tf.transpose", "tf.compat.v1.transpose"]),
    (Call(shapes::expand_dims), &["ops.numpy.ExpandDims", "tf.expand_dims", "tf.compat.v1.expand_dims"]),
    (Call(shapes::squeeze), &["ops.numpy.Squeeze", "tf.squeeze", "tf.compat.v1.squeeze"]),
    (Call(shapes::moveaxis), &["ops.numpy.Moveaxis"]),
    (Call(shapes::swapaxes), &["ops.numpy.Swapaxes"]),
    (Call(shapes::concatenate), &["ops.numpy.Concatenate", "tf.concat"]),
    (Call(shapes::stack), &["ops.numpy.Stack", "tf.stack"]),
    (Call(shapes::vstack), &["ops.numpy.Vstack", "ops.numpy.Hstack"]),
    (Call(shapes::unstack), &["ops.core.Unstack", "tf.unstack"]),
    (Call(shapes::split), &["ops.numpy.Split", "tf.split"]),
    (Call(shapes::flip), &["ops.numpy.Flip", "tf.reverse"]),
    (Call(shapes::pad), &["ops.numpy.Pad", "tf.pad", "tf.compat.v1.pad"]),
    (Call(shapes::repeat), &["ops.numpy.Repeat", "tf.repeat"]),
    (Call(shapes::tile), &["ops.numpy.Tile", "tf.tile"]),
    (Call(shapes::broadcast_to), &["ops.numpy.BroadcastTo", "tf.broadcast_to"]),
    (Call(shapes::roll), &["ops.numpy.Roll", "tf.roll"]),
    (Call(shapes::triangle), &["ops.numpy.Tril", "ops.numpy.Triu"]),
    (Call(shapes::shape), &["tf.shape", "tf.compat.v1.shape"]),
    (Call(shapes::depth_to_space), &["ops.nn.DepthToSpace", "tf.nn.depth_to_space", "tf.compat.v1.nn.depth_to_space"]),
    (Call(shapes::space_to_depth), &["ops.nn.SpaceToDepth", "tf.nn.space_to_depth", "tf.compat.v1.nn.space_to_depth"]),
    (Call(shapes::resize), &["ops.image.Resize", "tf.image.resize"]),
    (Call(index::get_item), &["ops.numpy.GetItem", "tf.__operators__.getitem"]),
    (Call(index::slice), &["ops.core.Slice", "tf.slice"]),
    (Call(index::take), &["ops.numpy.Take", "tf.gather", "tf.compat.v1.gather"]),
    (Call(index::take_along_axis), &["ops.numpy.TakeAlongAxis"]),
    (Call(index::one_hot), &["ops.nn.OneHot", "tf.one_hot"]),
    (Call(products::matmul), &["ops.numpy.Matmul", "tf.linalg.matmul"]),
    (Call(products::dot), &["ops.numpy.Dot"]),
    (Call(products::tensordot), &["ops.numpy.Tensordot", "tf.tensordot"]),
    (Call(products::outer), &["ops.numpy.Outer"]),
    (Call(products::einsum), &["ops.numpy.Einsum"]),
];

const COUNT: usize = {
    let (mut count, mut at) = (0, 0);
    while at < OPS.len() {
        count += OPS[at].1.len();
        at += 1;
    }
    count
};

const NOTE: &str = "operands: tensors and constants of the file";

// A constant, because the table of all families is put together while compiling.
#[allow(clippy::large_const_arrays)]
const TABLE: [Row; COUNT] = {
    let mut rows = [Row::new("", "operation", Masks::Drop, lower, NOTE).raw(); COUNT];
    let (mut len, mut at) = (0, 0);
    while at < OPS.len() {
        let mut name = 0;
        while name < OPS[at].1.len() {
            rows[len].class = OPS[at].1[name];
            len += 1;
            name += 1;
        }
        at += 1;
    }
    rows
};

pub const ROWS: &[Row] = &TABLE;

fn lower(l: &mut Lowering<'_>) -> Outcome {
    let class = l.layer.class.as_str();
    let found = OPS.iter().find(|(_, names)| names.contains(&class));
    let (run, _) =
        found.ok_or_else(|| l.error(Code::UnknownLayer, format!("{class} is no operation of this plugin")))?;
    match *run {
        Float(function) => elementwise::float(l, function),
        Number(function) => elementwise::number(l, function),
        Activation(name) => activation(l, name),
        Binary(function) => elementwise::arithmetic(l, function),
        Compare(function) => elementwise::compare(l, function),
        Logical(function) => elementwise::logical(l, function),
        Bitwise(function) => numbers::bitwise(l, function),
        Reduce(function) => reduce::plain(l, function),
        Same => Ok(one(args::tensor(l)?)),
        Call(call) => call(l),
    }
}

fn activation(l: &mut Lowering<'_>, name: &str) -> Outcome {
    let x = args::float_tensor(l)?;
    let found = activations::named(name, l.keras_major());
    let found = found.ok_or_else(|| l.error(Code::Bug, format!("activation '{name}'")))?;
    Ok(one(found.apply(l, x)?))
}

/// The last part of the name: `LeakyRelu`, `leaky_relu`.
fn word<'a>(l: &Lowering<'a>) -> &'a str {
    l.layer.class.rsplit('.').next().unwrap_or("")
}

/// What to say of a setting that is not lowered.
fn unless(l: &Lowering<'_>, refused: bool, what: &str) -> Result<(), Diag> {
    if refused { Err(l.unsupported(what)) } else { Ok(()) }
}
