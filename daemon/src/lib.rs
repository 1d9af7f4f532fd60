//! The recast daemon: watches, schedules, calls plugins in worker processes, verifies, signs, publishes.
//!
//! It links no plugin and knows no format and no layer class.

pub mod attempt;
pub mod cli;
pub mod config;
pub mod convert;
pub mod digest;
pub mod host;
pub mod inspect;
pub mod job;
pub mod ledger;
pub mod lineage;
pub mod lower;
pub mod passes;
pub mod pipeline;
pub mod publish;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod systemd;
pub mod tree;
pub mod verify;
pub mod watch;
pub mod worker;
