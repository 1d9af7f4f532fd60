//! What is known of Keras' classes by their names.

/// They call layers of their own. A wrapper that runs their `call` alone, as TimeDistributed of Keras 3 does, leaves
/// them the dtype policies that these have.
const MADE_OF_OTHERS: &[&str] = &[
    "AdditiveAttention",
    "Attention",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "CuDNNGRU",
    "CuDNNLSTM",
    "GRU",
    "GroupQueryAttention",
    "GroupedQueryAttention",
    "LSTM",
    "MultiHeadAttention",
    "Pipeline",
    "RNN",
    "SimpleRNN",
    "SpectralNormalization",
    "TimeDistributed",
];

pub fn is_made_of_others(class: &str) -> bool {
    MADE_OF_OTHERS.contains(&class)
}

/// Since this Keras, MultiHeadAttention takes the masks away from the tensors that it is called on, so that the layers
/// that it is made of do not see them, and never gives them back: later calls on the same tensors come without. It
/// looks for the mask of its query on the tensor alone, whatever the argument says.
pub const TAKES_MASKS_SINCE: (u32, u32) = (3, 8);

/// Since this Keras, what is masked everywhere gives zeros: of a Softmax, and of attention that is not fused.
pub const ZEROED_SINCE: (u32, u32) = (3, 10);

/// Before this Keras 3, the last axis stays in a `one_hot`, and a `multi_hot` marks along it.
pub const SAMPLES_SINCE: (u32, u32) = (3, 4);
