//! One binary: end to end through the real daemon and real plugin files; hostile inputs; what a machine can hold of the
//! project's style. `cargo build --workspace` comes first: the plugins are files that the daemon loads.

mod fixtures;
mod readme;
mod tidy;
