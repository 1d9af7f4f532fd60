//! What a recast plugin author sees: safe traits around the frozen ABI (`plugin`), the layer model that sources make
//! (`model`), the graph that layers plugins lower to and targets write from (`ir`), findings (`diag`), and what readers
//! of binary files share (`parts`).

pub mod diag;
pub mod ir;
pub mod lower;
pub mod messages;
pub mod model;
pub mod parts;
pub mod plugin;
