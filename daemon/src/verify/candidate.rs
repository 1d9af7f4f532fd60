//! The written file while it is checked.

use super::Check;
use super::rounds::Set;
use super::runtime::{Question, Refusal, Runtime, Session};
use super::words::Words;
use crate::passes;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{DType, Graph, ValueId};
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
            let note = note(check, runtime, &what);
            return Ok(Candidate { check, runtime, whole: None, note });
        }
        match runtime.load(check.file) {
            Ok(session) => Ok(Candidate { check, runtime, whole: Some(session), note: String::new() }),
            Err(Refusal::Lacks(what)) => {
                let note = note(check, runtime, &what);
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
                    self.note = note(self.check, self.runtime, &what);
                    self.whole = None;
                }
            }
        }
        sets.iter().zip(questions).map(|(set, question)| self.run_decomposed(set, question)).collect()
    }

    fn run_decomposed(&self, set: &Set, question: Question) -> Result<Vec<Array>, Diag> {
        let graph = &set.bound.graph;
        let mut words = Words::of(graph);
        let mut replaced = match &mut words {
            Some(words) => Some(words.numbered(graph, &set.inputs, self.check.weights)?),
            None => None,
        };
        if has_doubles(graph) {
            replaced = Some(passes::widen(replaced.as_ref().unwrap_or(graph), DType::F64, DType::F32)?);
        }
        let mut session = self.decomposed(graph, replaced)?;
        let mut there = |array: Array| match (&mut words, array.dtype) {
            (Some(words), DType::Str) => words.encoded(&array),
            (_, DType::F64) => array.cast(DType::F32),
            _ => array,
        };
        let inputs: Vec<_> = question.inputs.into_iter().map(|(name, array)| (name, there(array))).collect();
        let found = session.run(&inputs, &question.outputs).map_err(|refusal| self.refused(refusal))?;
        let dtypes = graph.outputs.iter().map(|output| graph.ty(output.value).dtype);
        let back = |(array, dtype): (Array, DType)| match (&words, dtype) {
            (Some(words), DType::Str) => words.decoded(&array),
            (_, DType::F64) => array.cast(dtype),
            _ => array,
        };
        Ok(found.into_iter().zip(dtypes).map(back).collect())
    }

    /// `replaced` is the graph without what the runtime has no tensors of (strings, float64), where it has some.
    fn decomposed(&self, graph: &Graph, replaced: Option<Graph>) -> Result<Box<dyn Session>, Diag> {
        let first = |mut found: Findings| found.pop().unwrap_or_else(|| self.unable("no finding"));
        let graph = (self.check.decompose)(replaced.as_ref().unwrap_or(graph)).map_err(first)?;
        let graph = graph.or(replaced).ok_or_else(|| self.unable("and nothing can be decomposed"))?;
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

fn has_doubles(graph: &Graph) -> bool {
    let is_double = |value: &ValueId| graph.ty(*value).dtype == DType::F64;
    let made = graph.nodes().iter().any(|node| node.outputs.iter().any(is_double));
    made || graph.inputs.iter().any(|input| is_double(&input.value))
}

/// How the file is checked instead.
fn note(check: &Check<'_>, runtime: &dyn Runtime, what: &str) -> String {
    let strings = match Words::of(check.graph) {
        Some(_) => {
            ", with numbers for strings: tables of words, and how texts are cut, were not run as the file has them"
        }
        None => "",
    };
    format!("{} lacks {what}: checked in a decomposed form{strings}", runtime.name())
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
