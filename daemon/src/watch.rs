//! Watching drop folders.

pub mod names;
