//! The recast daemon: watches, schedules, calls plugins in worker processes, verifies, signs, publishes.
//!
//! It links no plugin and knows no format and no layer class.

pub mod job;
