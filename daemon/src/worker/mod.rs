//! One job, one process: started, watched, killed where need be, and judged by its last message alone.
//!
//! ```text
//! daemon                                   worker (`recast worker`)
//!   run_job(spec) ---- Start(spec) ------->  sandbox, then plugins, then the pipeline
//!            <---- Log, Progress ----------
//!            <---- Run(request) -----------  waits
//!   command  ---- Ran(failure?) --------->
//!            <---- Done(report) ----------  _exit
//! ```
//! The messages cross a socket pair of their own; what plugins print goes into a pipe that becomes log lines. A worker
//! that ends without `Done`, whatever its exit code, has failed, and the plugin that was entered last is to blame: a
//! file in the staging directory tells which one.

mod child;
mod command;
mod ipc;
mod output;
mod parent;
mod runner;
pub mod sandbox;
mod trail;
mod verdict;

pub use child::{Pipeline, child_main};
pub use ipc::{FRAME_BYTES_MAX, Frames, FromWorker, ToWorker, write_frame};
pub use parent::{WorkerCommand, run_case_job, run_job};
pub use runner::{Processes, Scanner};
pub use trail::{Entered, calls_of};

/// The hidden subcommand that a worker is started with.
pub const SUBCOMMAND: &str = "worker";
