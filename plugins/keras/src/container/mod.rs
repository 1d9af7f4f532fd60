//! The files that Keras models come in.

pub mod archive;
pub mod h5;
