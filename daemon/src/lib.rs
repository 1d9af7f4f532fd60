//! The recast daemon: watches, schedules, calls plugins in worker processes, verifies, signs, publishes.
//!
//! It links no plugin and knows no format and no layer class.

pub mod config;
pub mod digest;
pub mod job;
pub mod lineage;
pub mod publish;
pub mod report;
pub mod tree;
pub mod watch;
