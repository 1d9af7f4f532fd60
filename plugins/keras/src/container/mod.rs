//! The files that Keras models come in.

pub mod h5;
