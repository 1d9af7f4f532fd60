//! Functions of the library, and loops made of two of them.

use super::scope::{Scope, arg_def, attrs};
use super::{Emit, Val};
use crate::proto::{Attr, FunctionDef, OpDef};
use crate::target::names;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{DType, Graph};
use std::collections::BTreeMap;

/// A function of these arguments that gives these values.
pub(super) fn function(name: &str, args: &[Val], results: &[Val], scope: &mut Scope) -> FunctionDef {
    let mut output_arg = Vec::new();
    let mut ret = BTreeMap::new();
    for (i, result) in results.iter().enumerate() {
        let out = format!("result_{i}");
        ret.insert(out.clone(), result.name.clone());
        output_arg.push(arg_def(&out, result.dtype));
    }
    let signature = OpDef {
        name: name.into(),
        input_arg: args.iter().map(|arg| arg_def(&arg.name, arg.dtype)).collect(),
        output_arg,
        is_stateful: false,
        control_output: Vec::new(),
    };
    let node_def = std::mem::take(&mut scope.nodes);
    FunctionDef { signature: Some(signature), node_def, ret, ..FunctionDef::default() }
}

/// What a loop's body sees: the step (rank-0 i32, from zero), and the states.
pub struct Step {
    pub number: Val,
    /// How many steps there are; rank-0 i32.
    pub count: Val,
    pub states: Vec<Val>,
}

impl<'a> Emit<'a> {
    /// `count` times `body`, which gives the states anew; returns the states after the last step. `graph` is what the
    /// body's values are of.
    pub fn repeat(
        &mut self,
        count: &Val,
        states: &[Val],
        graph: &'a Graph,
        body: impl FnOnce(&mut Self, &Step) -> Result<Vec<Val>, Diag>,
    ) -> Result<Vec<Val>, Diag> {
        let base = format!("{}_while", names::argument(self.path()));
        let number = self.functions.len();
        let (body_name, cond_name) =
            (format!("__inference_{base}_body_{number}"), format!("__inference_{base}_cond_{}", number + 1));
        // The places are taken now: a loop inside of this one numbers its own behind them.
        self.functions.extend([FunctionDef::default(), FunctionDef::default()]);
        let path = self.path().to_string();
        let (mut scope, (mut args, mut results)) = self.inside(graph, |e| {
            e.set_path(path);
            let mut args = vec![e.own_arg("step", count.dtype), e.own_arg("count", count.dtype)];
            for (i, state) in states.iter().enumerate() {
                args.push(e.own_arg(&format!("state_{i}"), state.dtype));
            }
            let step = Step { number: args[0].clone(), count: args[1].clone(), states: args[2..].to_vec() };
            let next = body(e, &step)?;
            let one = e.int(1);
            let number = e.call("AddV2", &[&step.number, &one]);
            let mut results = vec![number, step.count];
            results.extend(next);
            Ok((args, results))
        })?;
        let captures = std::mem::take(&mut scope.captures);
        // What the body takes from around it goes round unchanged.
        args.extend(captures.iter().map(|(_, inner)| inner.clone()));
        results.extend(captures.iter().map(|(_, inner)| inner.clone()));
        self.functions[number] = function(&body_name, &args, &results, &mut scope);
        let (mut scope, going) = self.inside(graph, |e| {
            e.set_path(String::new());
            args.iter().for_each(|arg| {
                e.unique(&arg.name);
            });
            Ok(e.call("Less", &[&args[0], &args[1]]))
        })?;
        self.functions[number + 1] = function(&cond_name, &args, &[going], &mut scope);
        let zero = self.int(0);
        let mut inputs = vec![zero, count.clone()];
        inputs.extend_from_slice(states);
        inputs.extend(captures.into_iter().map(|(outer, _)| outer));
        let node = self.op("StatelessWhile", &[]).more(&inputs).func("cond", &cond_name).func("body", &body_name);
        let node = node.int("parallel_iterations", 32).flag("_lower_using_switch_merge", true);
        let results = node.tmps();
        Ok(results.into_iter().skip(2).take(states.len()).collect())
    }

    fn own_arg(&mut self, name: &str, dtype: i32) -> Val {
        Val { name: self.arg_name(name), dtype }
    }

    /// A list of the elements of a tensor's first axis; `element` is their shape, -1 where it is free.
    pub fn list_of(&mut self, x: &Val, element: &[i64]) -> Val {
        let shape = self.ints(element);
        self.call("TensorListFromTensor", &[x, &shape])
    }

    pub fn list_item(&mut self, list: &Val, index: &Val, element: &[i64], dtype: DType) -> Val {
        let shape = self.ints(element);
        self.op("TensorListGetItem", &[list, index, &shape]).ty("element_dtype", dtype).tmp()
    }

    /// An empty list for `count` elements of this shape (a vector of i32).
    pub fn list_reserved(&mut self, element: &Val, count: &Val, dtype: DType) -> Val {
        self.op("TensorListReserve", &[element, count]).ty("element_dtype", dtype).tmp()
    }

    /// The elements of a list on a new first axis.
    pub fn list_stacked(&mut self, list: &Val, element: &Val, dtype: DType) -> Val {
        self.op("TensorListStack", &[list, element]).ty("element_dtype", dtype).tmp()
    }
}

/// Shapes of arguments, where a function's callers can see them.
pub fn shape_attrs(shape: Attr) -> crate::proto::ArgAttrs {
    crate::proto::ArgAttrs { attr: attrs([("_output_shapes", shape)]) }
}
