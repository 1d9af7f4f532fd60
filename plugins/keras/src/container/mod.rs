//! The files that Keras models come in.

pub mod archive;
mod flat;
pub mod h5;
pub mod package;
pub mod tfjs;
