//! Watching drop folders. The scan is the truth; the kernel's events only say "look now". The unit of work is an
//! entry of the folder, a file or a directory with everything in it.
//!
//! An entry goes: seen -> settling -> ready -> claimed. It is ready when a fingerprint of its whole tree has not
//! changed for the settle time, by a clock that nobody sets. A claim copies it, and looks again afterwards. What is
//! not complete by the rules of its own format waits; what is not allowed is refused, with the reason written down.

pub mod claim;
pub mod complete;
pub mod names;
pub mod root;
pub mod saved_model;
pub mod scan;
pub mod tfjs;
pub mod wake;

pub use claim::{Claim, Claimed, claim};
pub use root::{Change, Root, RootState};
pub use scan::{Scan, scan};
