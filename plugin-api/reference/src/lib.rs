//! What every op of the graph means: the reference evaluator, in slow obvious code (convolutions and products of
//! matrices excepted, which are obvious only after a look at `eval::conv` and `eval::matmul`), and the test kit for
//! plugin authors.
//!
//! - Floating point is evaluated in f64, whatever the graph's dtypes; nothing is rounded on the way. f16 and bf16
//!   values are f64 too: only `Cast` to a narrower float rounds. Integers and bools are exact. Two things are as
//!   float32 has them, since what follows hangs by them: a sum in which the larger number swallows the smaller is the
//!   larger one, and what no input has a part in is rounded (see `settled`).
//! - `Rounding::Perturbed` disturbs each op's result at random by what float32 arithmetic (f16, bf16 where the graph
//!   says so) may add. The difference to the exact run is the rounding that this graph must suffer.
//! - Values are dropped after their last use; weights stay in their stored dtype until an op needs them.
//! - Nothing here panics on what a file holds: what can't be evaluated is a `Diag` with the layer's path.

pub mod array;
mod eval;
mod noise;
pub mod npz;
mod run;
mod settled;
pub mod testkit;
pub mod weights;

pub use array::{Array, Data};
pub use run::{Evaluation, Observer, Options, Rounding, evaluate, evaluate_observed};
pub use weights::{Bytes, Files, Weights};
