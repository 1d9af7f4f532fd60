//! Commands as runtimes: the configured interpreter of a target's runner script, and the oracle. All questions of a job
//! are asked at once, as an interpreter with a framework in it takes seconds to start.

use super::{Question, Refusal, Runtime, Session};
use crate::host::Events;
use crate::job::CommandRequest;
use recast_plugin_api::diag::Diag;
use recast_reference::Array;
use recast_reference::npz::{read_npz, write_npz};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A command and where it may work.
#[derive(Clone)]
pub struct Commands {
    pub events: Arc<dyn Events>,
    /// Below the job's staging, which is removed with all that a command leaves there.
    pub scratch: PathBuf,
}

/// The command of `[verify.runtimes.NAME]` with the script that a target brings for it.
pub struct Scripted {
    pub commands: Commands,
    pub name: String,
    pub script: String,
}

struct Loaded {
    commands: Commands,
    name: String,
    script: String,
    model: PathBuf,
}

impl Runtime for Scripted {
    fn name(&self) -> String {
        format!("{} (command)", self.name)
    }

    fn bisects(&self) -> bool {
        false
    }

    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal> {
        let (commands, name, script) = (self.commands.clone(), self.name.clone(), self.script.clone());
        Ok(Box::new(Loaded { commands, name, script, model: file.to_owned() }))
    }
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal> {
        let question = Question { inputs: inputs.to_vec(), outputs: outputs.to_vec() };
        Ok(self.run_all(&[question])?.pop().unwrap_or_default())
    }

    fn run_all(&mut self, questions: &[Question]) -> Result<Vec<Vec<Array>>, Refusal> {
        let dir = self.commands.fresh_dir()?;
        let script = dir.join("runner.py");
        std::fs::write(&script, &self.script).map_err(|e| Refusal::Fails(format!("the script: {e}")))?;
        self.commands.ask(Some(&self.name), &dir, vec![script, self.model.clone()], questions)
    }
}

impl Commands {
    /// What the oracle says that the artifact gives.
    pub fn ask_oracle(&self, artifact: &Path, questions: &[Question]) -> Result<Vec<Vec<Array>>, Refusal> {
        self.ask(None, &self.fresh_dir()?, vec![artifact.to_owned()], questions)
    }

    fn fresh_dir(&self) -> Result<PathBuf, Refusal> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let dir = self.scratch.join(format!("command-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&dir).map_err(|e| Refusal::Fails(format!("{}: {e}", dir.display())))?;
        Ok(dir)
    }

    fn ask(
        &self,
        runtime: Option<&str>,
        dir: &Path,
        mut args: Vec<PathBuf>,
        questions: &[Question],
    ) -> Result<Vec<Vec<Array>>, Refusal> {
        let fails = |diag: Diag| Refusal::Fails(format!("{}: {}", file_name(&diag.at), diag.detail));
        let mut answers = Vec::new();
        for (index, question) in questions.iter().enumerate() {
            let (inputs, outputs) = (dir.join(format!("inputs_{index}.npz")), dir.join(format!("outputs_{index}.npz")));
            write_npz(&inputs, &question.inputs).map_err(fails)?;
            answers.push(outputs.clone());
            args.extend([inputs, outputs]);
        }
        let request = CommandRequest { runtime: runtime.map(str::to_owned), dir: dir.to_owned(), args };
        self.events.run_command(&request).map_err(Refusal::Fails)?;
        let read = |(question, path): (&Question, &PathBuf)| {
            let arrays = read_npz(path).map_err(fails)?;
            question.outputs.iter().enumerate().map(|(at, name)| take(&arrays, at, name)).collect()
        };
        questions.iter().zip(&answers).map(read).collect()
    }
}

/// An output by its name; by its place where the command named its arrays as numpy names what has no names.
fn take(arrays: &[(String, Array)], at: usize, name: &str) -> Result<Array, Refusal> {
    let find = |name: &str| arrays.iter().find(|(known, _)| known == name).map(|(_, array)| array.clone());
    let found = find(name).or_else(|| find(&format!("arr_{at}")));
    found.ok_or_else(|| {
        let held: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
        Refusal::Fails(format!("the command wrote no array '{name}'; it wrote: {}", held.join(", ")))
    })
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
