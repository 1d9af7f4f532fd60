//! Runtimes that run a written file: the second opinion.

pub mod embedded;
pub mod onnxruntime;

use recast_reference::Array;
use std::path::Path;

/// Why a runtime did not run a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It lacks something that the file uses: no word about the file.
    Lacks(String),
    /// It should be able to, and says that the file is wrong.
    Rejects(String),
}

pub trait Runtime {
    /// Name and version, for reports.
    fn name(&self) -> String;
    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal>;
}

/// A loaded file.
pub trait Session {
    /// Outputs in the order of `outputs`, from inputs by name.
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal>;
}
