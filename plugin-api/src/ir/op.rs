//! The ops: one closed table. Text form, wire form, documentation and the capability lists of targets come from it.
//!
//! Ops mean what Keras means, made explicit: axes are non-negative, padding is numbers wherever the length is known,
//! every default is spelled out, weights keep Keras' order (HWIO kernels; gates i,f,c,o; columns z,r,h). Inputs are
//! listed in each op's comment; those in brackets may be absent (`None`).
//! Arithmetic is that of real numbers rounded to the dtype; integer `Div` truncates toward zero only through `Cast`.

use super::Graph;
use super::attr::{Attr, AttrValue, words};
use super::dim::Dim;
use super::types::{DType, Tensor};

words! {
    /// One input, one output of the same shape. Floating point unless stated.
    UnaryFunction {
        Abs = "abs", Neg = "neg", Sign = "sign", Square = "square", Sqrt = "sqrt",
        /// 1 / sqrt(x)
        Rsqrt = "rsqrt",
        Reciprocal = "reciprocal", Exp = "exp", Expm1 = "expm1", Log = "log", Log1p = "log1p",
        Floor = "floor", Ceil = "ceil",
        /// Halves to even.
        Round = "round",
        /// Toward zero.
        Trunc = "trunc",
        Sin = "sin", Cos = "cos", Tan = "tan", Asin = "asin", Acos = "acos", Atan = "atan",
        Sinh = "sinh", Cosh = "cosh", Tanh = "tanh", Asinh = "asinh", Acosh = "acosh", Atanh = "atanh",
        Erf = "erf", Sigmoid = "sigmoid",
        /// max(x, 0); integers too
        Relu = "relu",
        /// log(1 + exp(x))
        Softplus = "softplus",
        /// x / (1 + |x|)
        Softsign = "softsign",
        /// x * sigmoid(x)
        Silu = "silu",
        /// 0.5 x (1 + erf(x / sqrt 2))
        Gelu = "gelu",
        /// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
        GeluTanh = "gelu_tanh",
        /// x * tanh(softplus(x))
        Mish = "mish",
        /// scale * elu(x, alpha) with alpha 1.6732632423543772, scale 1.0507009873554805
        Selu = "selu",
        /// bool -> bool
        Not = "not",
        /// float -> bool
        IsNan = "is_nan", IsInf = "is_inf", IsFinite = "is_finite",
        /// bits of an integer flipped
        BitwiseNot = "bitwise_not",
    }
}

words! {
    /// Elementwise functions with parameters `alpha` and `beta`.
    ActivationFunction {
        /// x > 0 ? x : alpha (exp(x) - 1)
        Elu = "elu",
        /// x >= 0 ? x : alpha x
        LeakyRelu = "leaky_relu",
        /// max(0, min(1, alpha x + beta))
        HardSigmoid = "hard_sigmoid",
        /// max(x,0) + min(0, alpha (exp(x/alpha) - 1))
        Celu = "celu",
        /// x > alpha ? x : 0
        ThresholdedRelu = "thresholded_relu",
        /// alpha tanh(beta x)
        ScaledTanh = "scaled_tanh",
        /// alpha x + beta
        Affine = "affine",
        // Parameterless ones, for the recurrent ops (alpha and beta are 0).
        Linear = "linear", Tanh = "tanh", Sigmoid = "sigmoid", Relu = "relu", Softplus = "softplus",
        Softsign = "softsign", Selu = "selu", Silu = "silu", Gelu = "gelu", GeluTanh = "gelu_tanh",
        Exp = "exp", Mish = "mish",
    }
}

/// An activation with its parameters, as an attribute of recurrent ops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationSpec {
    pub function: ActivationFunction,
    pub alpha: f64,
    pub beta: f64,
}

impl ActivationSpec {
    pub fn plain(function: ActivationFunction) -> ActivationSpec {
        ActivationSpec { function, alpha: 0.0, beta: 0.0 }
    }
}

impl AttrValue for ActivationSpec {
    fn to_attr(&self) -> Attr {
        Attr::List(vec![self.function.to_attr(), Attr::Float(self.alpha), Attr::Float(self.beta)])
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::List(items) if items.len() == 3 => Some(ActivationSpec {
                function: ActivationFunction::from_attr(&items[0])?,
                alpha: f64::from_attr(&items[1])?,
                beta: f64::from_attr(&items[2])?,
            }),
            _ => None,
        }
    }
}

words! {
    /// Two inputs of one dtype, numpy broadcasting.
    BinaryFunction {
        Add = "add", Sub = "sub", Mul = "mul",
        /// True division; floats only.
        Div = "div",
        /// floor(a / b)
        FloorDiv = "floor_div",
        /// a - b floor(a / b): the sign of b
        Mod = "mod",
        Pow = "pow", Max = "max", Min = "min", Atan2 = "atan2",
        /// Comparisons give bool.
        Equal = "equal", NotEqual = "not_equal", Less = "less", LessEqual = "less_equal",
        Greater = "greater", GreaterEqual = "greater_equal",
        /// bool only
        And = "and", Or = "or", Xor = "xor",
        /// integers only
        BitwiseAnd = "bitwise_and", BitwiseOr = "bitwise_or", BitwiseXor = "bitwise_xor",
        ShiftLeft = "shift_left", ShiftRight = "shift_right",
    }
}

impl BinaryFunction {
    pub fn is_comparison(self) -> bool {
        use BinaryFunction::*;
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }
}

words! {
    ReduceFunction {
        Sum = "sum", Mean = "mean", Max = "max", Min = "min", Prod = "prod",
        /// log(sum(exp(x)))
        LogSumExp = "log_sum_exp",
        /// bool only
        Any = "any", All = "all",
    }
}

words! {
    ArgFunction {
        /// Index of the first maximum.
        Max = "max",
        /// Index of the first minimum.
        Min = "min",
    }
}

words! { CumulativeFunction { Sum = "sum", Prod = "prod" } }

words! {
    /// Where the channel axis lies; axis 0 is the batch.
    Layout { ChannelsLast = "channels_last", ChannelsFirst = "channels_first" }
}

words! {
    /// Axes of a convolution kernel; H and W stand for all spatial axes. I is per group for `Conv`.
    KernelOrder {
        /// Keras: spatial..., in, out
        Hwio = "hwio",
        /// ONNX, PyTorch: out, in, spatial...
        Oihw = "oihw",
        /// Keras' transposed convolution: spatial..., out, in
        Hwoi = "hwoi",
        /// ONNX' and PyTorch's transposed convolution: in, out, spatial...
        Iohw = "iohw",
    }
}

words! {
    PoolFunction {
        Max = "max",
        /// Padding is not counted.
        Average = "average",
    }
}

words! { PadMode { Constant = "constant", Reflect = "reflect", Symmetric = "symmetric", Edge = "edge" } }

words! {
    ResizeMode {
        Nearest = "nearest",
        /// Linear in each resized axis (bilinear, trilinear).
        Linear = "linear",
        /// Keys' cubic with `cubic_a`.
        Cubic = "cubic",
        Lanczos3 = "lanczos3", Lanczos5 = "lanczos5", Area = "area",
    }
}

words! {
    /// Output index i to input coordinate, with s = in size / out size.
    ResizeCoordinates {
        /// (i + 0.5) s - 0.5
        HalfPixel = "half_pixel",
        /// i s
        Asymmetric = "asymmetric",
        /// i (in - 1) / (out - 1)
        AlignCorners = "align_corners",
    }
}

words! {
    /// How nearest picks an index from a coordinate.
    NearestRounding { Floor = "floor", Ceil = "ceil", HalfDown = "half_down", HalfUp = "half_up" }
}

words! {
    /// What training does to a value that inference leaves alone.
    DropoutFunction {
        /// Zero with probability `rate`, else divided by 1 - rate.
        Dropout = "dropout",
        /// Keeps mean and variance of what SELU gives.
        Alpha = "alpha",
        /// Times a normal number of mean 1 and standard deviation sqrt(rate / (1 - rate)).
        Gaussian = "gaussian",
        /// Plus a normal number of mean 0 and standard deviation `rate`.
        Noise = "noise",
    }
}

words! {
    /// Of texts; all but the letters and signs of ASCII stay.
    StringFunction {
        Lower = "lower",
        /// Without what is neither letter, digit nor space.
        StripPunctuation = "strip_punctuation",
    }
}

words! {
    /// What a text is cut into.
    SplitFunction {
        /// What stands between runs of space, tab and U+000A to U+000D; none of them is empty.
        Whitespace = "whitespace",
        /// Characters of Unicode.
        Characters = "characters",
    }
}

words! {
    /// A number of 64 bits for each element.
    HashFunction {
        /// FarmHash's Fingerprint64 of a string's bytes; no key.
        Fingerprint64 = "fingerprint64",
        /// SipHash-2-4 of a string's bytes under a key of two numbers.
        SipHash = "sip_hash",
        /// Of several inputs: begins with the one number of the key, and mixes in the Fingerprint64 of each string, and
        /// each number as it is, as TensorFlow's FingerprintCat64 does.
        Cross = "cross",
    }
}

words! { Direction { Forward = "forward", Backward = "backward" } }

/// Padding of one spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// Elements before, elements after.
    Explicit(u64, u64),
    /// Output length ceil(n / stride), the odd element after. Only where the length is symbolic and the stride above
    /// one: `Graph::add` turns it into `Explicit` wherever the numbers are known.
    Same,
}

impl AttrValue for Padding {
    fn to_attr(&self) -> Attr {
        match self {
            Padding::Explicit(before, after) => (*before, *after).to_attr(),
            Padding::Same => Attr::Str("same".into()),
        }
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if *attr == Attr::Str("same".into()) {
            return Some(Padding::Same);
        }
        <(u64, u64)>::from_attr(attr).map(|(before, after)| Padding::Explicit(before, after))
    }
}

/// Named attributes on their way into an op; what no field takes is an error.
pub type Attrs = Vec<(String, Attr)>;

fn take<T: AttrValue>(attrs: &mut Attrs, op: &str, name: &str) -> Result<T, String> {
    let at = attrs.iter().position(|(key, _)| key == name).ok_or_else(|| format!("{op} lacks attribute '{name}'"))?;
    let (_, attr) = attrs.swap_remove(at);
    T::from_attr(&attr).ok_or_else(|| format!("{op}: attribute '{name}' has the wrong form"))
}

/// What may stand in brackets behind an op's family.
macro_rules! mark {
    (carries) => {
        true
    };
}

macro_rules! ops {
    ($($family:ident $([$carries:ident])?: $(#[doc = $doc:literal])* $Name:ident = $text:literal {
        $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)?
    })*) => {
        $($(#[doc = $doc])* #[derive(Debug, Clone, PartialEq)] pub struct $Name { $($(#[$fdoc])* pub $field: $ty),* })*

        /// One operation. Closed: a match over it has no wildcard arm, so the compiler lists every place to touch.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op { $($(#[doc = $doc])* $Name($Name)),* }

        $(impl From<$Name> for Op { fn from(op: $Name) -> Op { Op::$Name(op) } })*

        impl Op {
            /// Names of all ops, in table order.
            pub const NAMES: &[&str] = &[$($text),*];

            pub fn name(&self) -> &'static str { match self { $(Op::$Name(_) => $text),* } }

            pub fn family(&self) -> &'static str { match self { $(Op::$Name(_) => stringify!($family)),* } }

            /// Does the result hold elements of the first input (moved about, bounded, in another dtype), and at most
            /// fill values beside them? `[carries]` in the table.
            pub fn carries(&self) -> bool {
                match self { $(Op::$Name(_) => false $(|| mark!($carries))?),* }
            }

            /// Name, family and description of every op, for the documentation.
            pub fn table() -> Vec<(&'static str, &'static str, String)> {
                vec![$(($text, stringify!($family), [$($doc),*].concat())),*]
            }

            /// Attributes in field order.
            pub fn attrs(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    $(Op::$Name(op) => { let _ = op; vec![$((stringify!($field), op.$field.to_attr())),*] })*
                }
            }

            /// The op of that name with these attributes. The error says what is wrong with them.
            pub fn from_attrs(name: &str, mut attrs: Attrs) -> Result<Op, String> {
                let op = match name {
                    $($text => Op::$Name($Name { $($field: take(&mut attrs, $text, stringify!($field))?),* }),)*
                    _ => return Err(format!("unknown op '{name}'")),
                };
                match attrs.first() {
                    Some((key, _)) => Err(format!("{name} has no attribute '{key}'")),
                    None => Ok(op),
                }
            }
        }
    };
}

ops! {
    elementwise: /// x -> f(x)
    Unary = "unary" { function: UnaryFunction }
    elementwise: /// x -> f(x; alpha, beta)
    Activation = "activation" { function: ActivationFunction, alpha: f64, beta: f64 }
    elementwise: /// a, b -> f(a, b)
    Binary = "binary" { function: BinaryFunction }
    elementwise [carries]: /// x -> min(max(x, min), max); an absent bound does not bind
    Clip = "clip" { min: Option<f64>, max: Option<f64> }
    elementwise: /// condition (bool), a, b -> condition ? a : b; numpy broadcasting over all three
    Where = "where" {}
    elementwise [carries]: /// x -> x as `to`; float to integer truncates toward zero, anything to bool is x != 0,
    /// integers to strings are decimal numbers
    Cast = "cast" { to: DType }

    elementwise [carries]: /// x -> x. While training, one draw of `function` for each element; those that differ
    /// along `shared` only have one draw. Targets that do not list it get the graph without it.
    Dropout = "dropout" { function: DropoutFunction, rate: f64, shared: Vec<usize> }

    matmul: /// a (..., m, k), b (..., k, n) -> (..., m, n); leading axes broadcast; both of rank two or more
    MatMul = "matmul" {}
    matmul: /// operands -> sum over the letters that the result lacks; letters only, no ellipsis, no repeats in one
    /// operand
    Einsum = "einsum" { equation: String }

    conv: /// x, kernel, [bias (out)] -> cross-correlation; in channels = kernel in * groups
    Conv = "conv" {
        strides: Vec<u64>, dilations: Vec<u64>, padding: Vec<Padding>, groups: u64,
        layout: Layout, kernel: KernelOrder,
    }
    conv: /// x, kernel, [bias (out)] -> gradient of Conv: length (n-1) stride + (k-1) dilation + 1 + output_padding -
    /// before - after
    ConvTranspose = "conv_transpose" {
        strides: Vec<u64>, dilations: Vec<u64>,
        /// Elements cut off before and after.
        cropping: Vec<(u64, u64)>,
        /// Elements (zero plus bias, or values that reach there) added after.
        output_padding: Vec<u64>,
        groups: u64, layout: Layout, kernel: KernelOrder,
    }
    pool: /// x -> one value a window; windows that lie wholly in the padding do not occur
    Pool = "pool" {
        function: PoolFunction, window: Vec<u64>, strides: Vec<u64>, padding: Vec<Padding>, layout: Layout,
    }

    norm: /// x, [scale], [offset], mean, variance (each of length x[axis]) -> (x - mean) / sqrt(variance + epsilon) *
    /// scale + offset
    BatchNorm = "batch_norm" { axis: usize, epsilon: f64 }
    norm: /// x, [scale], [offset] (each with the sizes of `axes`) -> (x - m) / sqrt(v + epsilon) * scale + offset; m
    /// and v (biased) over `axes`
    LayerNorm = "layer_norm" {
        /// Ascending.
        axes: Vec<usize>, epsilon: f64,
    }
    norm: /// x, [scale], [offset] (each of length x[axis]) -> as LayerNorm over all axes but the batch, within each
    /// of `groups` runs of channels
    GroupNorm = "group_norm" { axis: usize, groups: u64, epsilon: f64 }
    norm: /// x, [scale] (with the sizes of `axes`) -> x / sqrt(mean(x^2 over axes) + epsilon) * scale
    RmsNorm = "rms_norm" { axes: Vec<usize>, epsilon: f64 }
    norm: /// x -> exp(x) / sum(exp(x)) over `axes`
    Softmax = "softmax" { axes: Vec<usize> }
    norm: /// x -> x - log(sum(exp(x))) over `axis`
    LogSoftmax = "log_softmax" { axis: usize }

    reduce: /// x -> f over `axes`
    Reduce = "reduce" { function: ReduceFunction, axes: Vec<usize>, keepdims: bool }
    reduce: /// x -> i64 index along `axis`
    ArgReduce = "arg_reduce" { function: ArgFunction, axis: usize, keepdims: bool }
    reduce: /// x -> running f along `axis`; `exclusive` leaves the element itself out
    Cumulative = "cumulative" { function: CumulativeFunction, axis: usize, exclusive: bool, reverse: bool }
    reduce: /// x -> the `k` largest along `axis`, largest first, and their i64 indices; equal values: lower index first
    TopK = "top_k" { axis: usize, k: Dim, largest: bool }

    shape [carries]: /// x -> same elements in C order; the counts must be equal
    Reshape = "reshape" { shape: Vec<Dim> }
    shape [carries]: /// x -> axis i of the result is axis perm[i] of x
    Transpose = "transpose" { perm: Vec<usize> }
    shape [carries]: /// xs... -> joined along `axis`
    Concat = "concat" { axis: usize }
    shape [carries]: /// x -> elements start, start + step, ... below stop of `axis`
    Slice = "slice" { axis: usize, start: Dim, stop: Dim, step: u64 }
    shape [carries]: /// x, [fill value (scalar); zero when absent] -> padded; `before`/`after` per axis
    Pad = "pad" { padding: Vec<(u64, u64)>, mode: PadMode }
    shape [carries]: /// x -> whole array repeated per axis
    Tile = "tile" { repeats: Vec<Dim> }
    shape [carries]: /// x -> numpy broadcast_to
    BroadcastTo = "broadcast_to" { shape: Vec<Dim> }
    shape: /// x, indices (integers, 0 <= i < x[axis]) -> numpy take: `axis` replaced by the shape of indices
    Gather = "gather" { axis: usize }
    shape: /// x, indices (integers, rank of x) -> numpy take_along_axis; axes other than `axis` equal
    GatherElements = "gather_elements" { axis: usize }
    shape [carries]: /// x -> order of `axes` reversed
    Reverse = "reverse" { axes: Vec<usize> }
    shape: /// indices (integers) -> `depth` zeros and ones on a new axis `axis`; an index out of range gives zeros
    OneHot = "one_hot" { depth: u64, axis: usize, dtype: DType }
    shape: /// x (n, m at the last two axes) -> zero above (lower) or below (upper) the diagonal shifted by `k`
    Triangle = "triangle" { lower: bool, k: i64 }

    strings: /// x (str) -> i64: the number beside x where it is one of `keys` (all unlike), else `fallback`
    StringToIndex = "string_to_index" { keys: Vec<String>, values: Vec<i64>, fallback: i64 }
    strings: /// x (i64) -> str: the string beside x where it is one of `keys` (all unlike), else `fallback`
    IndexToString = "index_to_string" { keys: Vec<i64>, values: Vec<String>, fallback: String }

    strings: /// x (str) -> f(x)
    StringMap = "string_map" { function: StringFunction }
    strings: /// x (str) (...) -> str (..., words): what each text is cut into, behind each other for each of `ngrams`
    /// the runs of so many of them with spaces between, and empty strings up to `words`, which is a symbol of its own:
    /// the most that any text has
    StringSplit = "string_split" { by: SplitFunction, ngrams: Vec<u64>, words: Dim }
    strings: /// xs... (str; for `cross` also i64, all of one shape) -> i64: the hash (unsigned) modulo `buckets`
    StringHash = "string_hash" { function: HashFunction, key: Vec<u64>, buckets: u64 }

    resize: /// x -> `axes` resampled to `sizes`
    Resize = "resize" {
        axes: Vec<usize>, sizes: Vec<Dim>, mode: ResizeMode, coordinates: ResizeCoordinates,
        rounding: NearestRounding, cubic_a: f64, antialias: bool,
    }

    recurrent: /// x (batch, time, in), [mask (batch, time) bool], then per direction: kernel (in, 4u), recurrent
    /// kernel (u, 4u), [bias (4u)], [h (batch, u)], [c (batch, u)] -> sequence (batch, time, directions, u), h (batch,
    /// directions, u), c (batch, directions, u)
    /// Gates i, f, c, o: c' = f c + i act(..), h' = o act(c'). A masked step keeps the state and repeats the last
    /// output (zeros before the first, or always with `zero_masked`). Backward runs over time reversed; its sequence is
    /// in the order of time.
    Lstm = "lstm" {
        directions: Vec<Direction>, activation: ActivationSpec, recurrent_activation: ActivationSpec,
        zero_masked: bool,
    }
    recurrent: /// x, [mask], then per direction: kernel (in, 3u), recurrent kernel (u, 3u), [bias (3u), or (2, 3u)
    /// input and recurrent with `reset_after`], [h] -> sequence, h; as Lstm
    /// Gates z, r, h: h' = z h + (1 - z) act(..); `reset_after` applies r after the recurrent product.
    Gru = "gru" {
        directions: Vec<Direction>, activation: ActivationSpec, recurrent_activation: ActivationSpec,
        reset_after: bool, zero_masked: bool,
    }
    recurrent: /// x, [mask], then per direction: kernel (in, u), recurrent kernel (u, u), [bias (u)], [h] ->
    /// sequence, h; as Lstm
    /// h' = act(x kernel + h recurrent + bias).
    SimpleRnn = "simple_rnn" { directions: Vec<Direction>, activation: ActivationSpec, zero_masked: bool }

    attention: /// q (b, t, h, d), k (b, s, g, d), v (b, s, g, e), [mask (bool, broadcasts to b, h, t, s)] -> (b, t,
    /// h, e), scores (b, h, t, s)
    /// scores = softmax over s of scale q k + (mask ? 0 : mask_bias); h is a multiple of g; with `causal` also
    /// position s > t is masked.
    Attention = "attention" { scale: f64, causal: bool, mask_bias: f64 }

    control: /// states..., then scanned (axis 1 is time)... -> final states..., stacked outputs (axis 1 is time)...
    /// `body` takes states and one step of each scanned input (without the time axis), gives states and one step of
    /// each output.
    Scan = "scan" { body: Box<Graph>, states: usize, reverse: bool }

    source: /// -> the tensor
    Constant = "constant" { tensor: Tensor }
    source: /// -> i64 scalar: the size that `dim` has at run time
    DimSize = "dim_size" { dim: Dim }
    source: /// -> 0, 1, ... dim-1 as `dtype`
    Iota = "iota" { dim: Dim, dtype: DType }
}
