//! The written file while it is checked.

use super::Check;
use super::bindings::Bound;
use super::rounds::Set;
use super::runtime::{Question, Refusal, Runtime, Session};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_reference::Array;

/// The written file in a runtime, or, where the runtime lacks an op, a decomposed variant of it for each binding.
pub(crate) struct Candidate<'a> {
    check: &'a Check<'a>,
    runtime: &'a dyn Runtime,
    whole: Option<Box<dyn Session>>,
    pub note: String,
}

impl<'a> Candidate<'a> {
    pub(crate) fn load(check: &'a Check<'a>, runtime: &'a dyn Runtime) -> Result<Candidate<'a>, Diag> {
        let lacks = check.written.nodes().iter().zip(runtime.lacks(check.written)).find(|(_, lacks)| *lacks);
        if let Some((node, _)) = lacks {
            let what = format!("'{}' as '{}' needs it", node.op.name(), node.path);
            let note = format!("{} lacks {what}: checked in a decomposed form", runtime.name());
            return Ok(Candidate { check, runtime, whole: None, note });
        }
        match runtime.load(check.file) {
            Ok(session) => Ok(Candidate { check, runtime, whole: Some(session), note: String::new() }),
            Err(Refusal::Lacks(what)) => {
                let note = format!("{} lacks {what}: checked in a decomposed form", runtime.name());
                Ok(Candidate { check, runtime, whole: None, note })
            }
            Err(Refusal::Fails(why)) => Err(could_not(&runtime.name(), &why, RUNTIME_HINT)),
            Err(Refusal::Rejects(why)) => {
                Err(Diag::new(Code::Mismatch, "", format!("{} does not load the written file: {why}", runtime.name())))
            }
        }
    }

    /// Outputs for each question.
    pub(crate) fn run(&mut self, sets: &[Set]) -> Result<Vec<Vec<Array>>, Diag> {
        let questions: Vec<Question> = sets.iter().map(question).collect();
        if let Some(session) = &mut self.whole {
            match session.run_all(&questions) {
                Ok(found) => return Ok(found),
                Err(Refusal::Rejects(why)) => return Err(self.rejected(&why)),
                Err(Refusal::Fails(why)) => return Err(self.failed(&why)),
                Err(Refusal::Lacks(what)) => {
                    self.note = format!("{} lacks {what}: checked in a decomposed form", self.runtime.name());
                    self.whole = None;
                }
            }
        }
        let run = |(set, question): (&Set, &Question)| {
            let mut session = self.decomposed(&set.bound)?;
            session.run(&question.inputs, &question.outputs).map_err(|refusal| self.refused(refusal))
        };
        sets.iter().zip(&questions).map(run).collect()
    }

    fn decomposed(&self, bound: &Bound) -> Result<Box<dyn Session>, Diag> {
        let first = |mut found: Findings| found.pop().unwrap_or_else(|| self.unable("no finding"));
        let graph = (self.check.decompose)(&bound.graph).map_err(first)?;
        let graph = graph.ok_or_else(|| self.unable("and nothing can be decomposed"))?;
        let file = (self.check.variant)(&graph, "decomposed").map_err(first)?;
        self.runtime.load(&file).map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> Diag {
        match refusal {
            Refusal::Lacks(what) => self.unable(&what),
            Refusal::Rejects(why) => self.rejected(&why),
            Refusal::Fails(why) => self.failed(&why),
        }
    }

    fn unable(&self, what: &str) -> Diag {
        let detail = format!("{}; {what}", self.note);
        Diag::new(Code::NotVerified, "", detail).hint(
            "configure ONNX Runtime ([verify] onnxruntime = \"/path/libonnxruntime.so\"), or policy = \"best-effort\"",
        )
    }

    fn rejected(&self, why: &str) -> Diag {
        Diag::new(Code::Mismatch, "", format!("{} fails on the written file: {why}", self.runtime.name()))
    }

    fn failed(&self, why: &str) -> Diag {
        could_not(&self.runtime.name(), why, RUNTIME_HINT)
    }
}

/// What was configured to answer did not get to an answer: that is never taken for agreement, whatever else was
/// checked.
pub(super) fn could_not(runtime: &str, why: &str, hint: &str) -> Diag {
    Diag::new(Code::NotVerified, runtime, why).hint(hint)
}

const RUNTIME_HINT: &str = "mend the command under [verify.runtimes], or take it out to do without";

pub(super) fn question(set: &Set) -> Question {
    let graph = &set.bound.graph;
    Question {
        inputs: graph.inputs.iter().zip(&set.inputs).map(|(i, array)| (i.name.clone(), array.clone())).collect(),
        outputs: graph.outputs.iter().map(|output| output.name.clone()).collect(),
    }
}
