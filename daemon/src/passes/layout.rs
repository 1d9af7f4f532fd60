//! `layout`. Before: clean. After: every op that has a layout is in the target's, every convolution kernel in the
//! target's order, and a `Transpose` stands only where data really has to be turned.
//!
//! Each value is kept in whatever axes it was made in, together with the permutation that it is in. An op with a layout
//! asks for its own; any other op takes what its inputs have, as long as it can say itself in those axes
//! (`Op::permuted`). So permutations travel through the graph and cancel each other, and nothing here knows ops by name
//! but the two that are nothing else than a change of axes.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::permute::{
    Perm, Permuted, Want, identity, inverse, is_identity, kernel_turned, then, to_layout,
};
use recast_plugin_api::ir::{Dim, Graph, Layout, Node, Op, Rebuild, Scan, Tensor, Type, ValueId};
use std::collections::HashMap;

/// What a target wants; `None` where it takes both.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub layout: Option<Layout>,
    /// Convolution kernels with their channels first.
    pub channels_first_kernel: Option<bool>,
}

/// A value of the old graph, as the new one holds it.
#[derive(Clone)]
enum Rep {
    /// A weight or constant: turning it costs nothing.
    Known(Known),
    /// Axis `i` of `value` is axis `perm[i]` of the old value.
    Made { value: ValueId, perm: Perm },
}

#[derive(Clone)]
struct Known {
    /// Of the old graph; none for a constant.
    param: Option<usize>,
    path: String,
    tensor: Tensor,
}

struct Pass<'a> {
    out: Rebuild<'a>,
    wanted: Wanted,
    reps: Vec<Option<Rep>>,
    /// Values that were turned before, and what they became.
    turned: HashMap<(ValueId, Perm), ValueId>,
    /// What a `Reshape` of the new graph was made from.
    reshaped_from: HashMap<ValueId, ValueId>,
    constants: HashMap<Tensor, ValueId>,
}

pub fn layout(graph: &Graph, wanted: Wanted) -> Result<Graph, Diag> {
    let mut pass = Pass {
        out: Rebuild::new(graph),
        wanted,
        reps: vec![None; graph.value_count()],
        turned: HashMap::new(),
        reshaped_from: HashMap::new(),
        constants: HashMap::new(),
    };
    pass.out.copy_inputs();
    for input in &graph.inputs {
        let value = pass.out.get(input.value);
        pass.set(input.value, Rep::Made { value, perm: identity(graph.shape(input.value).len()) });
    }
    for (index, param) in graph.params.iter().enumerate() {
        let known = Known { param: Some(index), path: String::new(), tensor: param.tensor.clone() };
        pass.set(param.value, Rep::Known(known));
    }
    for node in graph.nodes() {
        pass.node(node)?;
    }
    for output in &graph.outputs {
        let plain = identity(graph.shape(output.value).len());
        let value = pass.in_axes(output.value, &plain, "")?;
        pass.out.map(output.value, value);
    }
    Ok(pass.out.finish())
}

/// The permutation moves axes of size one only: elements keep their order.
fn moves_nothing(shape: &[Dim], perm: &[usize]) -> bool {
    let kept: Vec<usize> = perm.iter().copied().filter(|&axis| !shape[axis].is_one()).collect();
    kept.windows(2).all(|pair| pair[0] < pair[1])
}

/// The shape with leading axes of size one up to `rank`.
fn aligned<T: Clone>(shape: &[T], rank: usize, one: T) -> Vec<T> {
    std::iter::repeat_n(one, rank - shape.len()).chain(shape.iter().cloned()).collect()
}

/// A tensor's view in other axes, where one view can say it.
fn turned_tensor(tensor: &Tensor, perm: &[usize]) -> Option<Tensor> {
    let dims: Vec<Dim> = tensor.shape.iter().map(|&size| Dim::Known(size)).collect();
    if moves_nothing(&dims, perm) {
        // Plain views stay plain: nobody has to rearrange bytes for axes of size one.
        return tensor.reshaped(&perm.iter().map(|&axis| tensor.shape[axis]).collect::<Vec<_>>());
    }
    tensor.permuted(perm)
}

impl<'a> Pass<'a> {
    fn set(&mut self, old: ValueId, rep: Rep) {
        self.reps[old.0 as usize] = Some(rep);
    }

    fn rep(&self, old: ValueId) -> Result<&Rep, Diag> {
        let rep = self.reps[old.0 as usize].as_ref();
        rep.ok_or_else(|| Diag::new(recast_plugin_api::diag::Code::Bug, "layout", format!("%{} has no value", old.0)))
    }

    fn old_type(&self, old: ValueId) -> &'a Type {
        self.out.from.ty(old)
    }

    fn node(&mut self, node: &'a Node) -> Result<(), Diag> {
        match &node.op {
            Op::Transpose(op) => {
                let input = first(node)?;
                let rep = self.transposed(input, &op.perm, &node.path)?;
                self.set(node.outputs[0], rep);
                Ok(())
            }
            Op::Reshape(op) => {
                let rep = self.reshape(first(node)?, &op.shape, &node.path)?;
                self.set(node.outputs[0], rep);
                Ok(())
            }
            Op::Constant(op) => {
                let known = Known { param: None, path: node.path.clone(), tensor: op.tensor.clone() };
                self.set(node.outputs[0], Rep::Known(known));
                Ok(())
            }
            Op::Scan(op) => {
                let body = Box::new(layout(&op.body, self.wanted)?);
                let plain = self.plain(node);
                self.add(node, Permuted { op: Scan { body, ..op.clone() }.into(), ..plain })
            }
            _other => {
                let chosen = self.choose(node);
                self.add(node, chosen)
            }
        }
    }

    /// The value with its axes named anew: no node.
    fn transposed(&mut self, old: ValueId, perm: &[usize], path: &str) -> Result<Rep, Diag> {
        match self.rep(old)?.clone() {
            Rep::Made { value, perm: have } => {
                let to = inverse(perm);
                Ok(Rep::Made { value, perm: have.iter().map(|&axis| to[axis]).collect() })
            }
            Rep::Known(known) => match turned_tensor(&known.tensor, perm) {
                Some(tensor) => Ok(Rep::Known(Known { tensor, ..known })),
                None => {
                    let value = self.known(&known)?;
                    let value = self.out.graph.transpose(path, value, perm)?;
                    Ok(Rep::Made { value, perm: identity(perm.len()) })
                }
            },
        }
    }

    fn reshape(&mut self, old: ValueId, shape: &[Dim], path: &str) -> Result<Rep, Diag> {
        let sizes: Option<Vec<u64>> = shape.iter().map(Dim::known).collect();
        if let (Rep::Known(known), Some(sizes)) = (self.rep(old)?, sizes)
            && let Some(tensor) = known.tensor.reshaped(&sizes)
        {
            return Ok(Rep::Known(Known { tensor, ..known.clone() }));
        }
        let plain = identity(self.old_type(old).rank());
        let value = self.in_axes(old, &plain, path)?;
        let value = self.reshaped(value, shape, path)?;
        Ok(Rep::Made { value, perm: identity(shape.len()) })
    }

    /// A reshape of the new graph; one of a reshape is one of what that was made from.
    fn reshaped(&mut self, value: ValueId, shape: &[Dim], path: &str) -> Result<ValueId, Diag> {
        let from = self.reshaped_from.get(&value).copied().unwrap_or(value);
        let new = self.out.graph.reshape(path, from, shape)?;
        if new != from {
            self.reshaped_from.insert(new, from);
        }
        Ok(new)
    }

    fn known(&mut self, known: &Known) -> Result<ValueId, Diag> {
        if let Some(index) = known.param {
            let param = &self.out.from.params[index];
            return Ok(self.out.graph.param_view(&param.path, &param.role, known.tensor.clone()));
        }
        if let Some(&value) = self.constants.get(&known.tensor) {
            return Ok(value);
        }
        let value = self.out.graph.constant(&known.path, known.tensor.clone())?;
        self.constants.insert(known.tensor.clone(), value);
        Ok(value)
    }

    /// The old value in the new graph, axis `i` being the old axis `perm[i]`.
    fn in_axes(&mut self, old: ValueId, perm: &[usize], path: &str) -> Result<ValueId, Diag> {
        match self.rep(old)?.clone() {
            Rep::Known(known) => match turned_tensor(&known.tensor, perm) {
                Some(tensor) => self.known(&Known { tensor, ..known }),
                None => {
                    let value = self.known(&known)?;
                    self.turn(value, perm, path)
                }
            },
            Rep::Made { value, perm: have } => self.turn(value, &then(&inverse(&have), perm), path),
        }
    }

    /// A value of the new graph with its axes permuted, at most once for each permutation.
    fn turn(&mut self, value: ValueId, perm: &[usize], path: &str) -> Result<ValueId, Diag> {
        if is_identity(perm) {
            return Ok(value);
        }
        if let Some(&found) = self.turned.get(&(value, perm.to_vec())) {
            return Ok(found);
        }
        let shape = self.out.graph.shape(value);
        let new = if moves_nothing(shape, perm) {
            let shape: Vec<Dim> = perm.iter().map(|&axis| shape[axis].clone()).collect();
            self.reshaped(value, &shape, path)?
        } else {
            self.out.graph.transpose(path, value, perm)?
        };
        self.turned.insert((value, perm.to_vec()), new);
        self.turned.insert((new, inverse(perm)), value);
        Ok(new)
    }

    /// The old value as `want` asks: of lower rank than the permutation, it gets leading axes of size one.
    fn wanted(&mut self, old: ValueId, want: &Want, path: &str) -> Result<ValueId, Diag> {
        let rank = self.old_type(old).rank();
        let perm = match want {
            Want::Same => return self.in_axes(old, &identity(rank), path),
            Want::Axes(perm) if perm.len() == rank => return self.in_axes(old, perm, path),
            // A scalar broadcasts in any axes.
            Want::Axes(_) if rank == 0 => return self.in_axes(old, &[], path),
            Want::Axes(perm) => perm,
        };
        if let Rep::Known(known) = self.rep(old)? {
            let tensor = known.tensor.reshaped(&aligned(&known.tensor.shape, perm.len(), 1));
            if let Some(tensor) = tensor.and_then(|tensor| turned_tensor(&tensor, perm)) {
                let known = Known { tensor, ..known.clone() };
                return self.known(&known);
            }
        }
        let value = self.in_axes(old, &identity(rank), path)?;
        let shape = aligned(self.out.graph.shape(value), perm.len(), Dim::Known(1));
        let value = self.reshaped(value, &shape, path)?;
        self.turn(value, perm, path)
    }

    fn types(&self, node: &Node) -> Vec<Option<&'a Type>> {
        node.inputs.iter().map(|value| value.map(|value| self.old_type(value))).collect()
    }

    /// The node in the axes that it has.
    fn plain(&self, node: &Node) -> Permuted {
        let outputs = node.outputs.iter().map(|&value| identity(self.old_type(value).rank())).collect();
        Permuted { op: node.op.clone(), inputs: vec![Want::Same; node.inputs.len()], outputs }
    }

    /// The node in the layout that the target wants, or else in the axes in which the fewest values have to be turned.
    fn choose(&self, node: &Node) -> Permuted {
        let types = self.types(node);
        let rank = types.first().copied().flatten().map_or(0, Type::rank);
        if let (Some(have), Some(want)) = (node.op.layout(rank), self.wanted.layout)
            && have != want
        {
            let turned = node.op.permuted(&types, &to_layout(want, rank));
            return turned.unwrap_or_else(|| self.plain(node));
        }
        let plain = self.plain(node);
        let mut best = (self.cost(node, &plain), plain);
        let mut tried: Vec<&Perm> = Vec::new();
        for value in node.inputs.iter().flatten() {
            let Some(Rep::Made { perm, .. }) = &self.reps[value.0 as usize] else { continue };
            if is_identity(perm) || tried.contains(&perm) {
                continue;
            }
            tried.push(perm);
            let Some(permuted) = node.op.permuted(&types, perm) else { continue };
            // Turned by its channels alone, as a Permute before it may ask, it is in the layout that is not wanted.
            if self.wanted.layout.is_some_and(|want| permuted.op.layout(rank).is_some_and(|got| got != want)) {
                continue;
            }
            let cost = self.cost(node, &permuted);
            // At the same price permutations travel on: what follows a convolution is often another one.
            if cost < best.0 || (cost == best.0 && tried.len() == 1) {
                best = (cost, permuted);
            }
        }
        best.1
    }

    /// How many values would have to be turned that were not turned before.
    fn cost(&self, node: &Node, permuted: &Permuted) -> usize {
        let turns = |(value, want): (&Option<ValueId>, &Want)| {
            let Some(Rep::Made { value, perm: have }) = value.and_then(|value| self.reps[value.0 as usize].as_ref())
            else {
                return false;
            };
            let perm = match want {
                Want::Axes(perm) if perm.len() == have.len() => then(&inverse(have), perm),
                Want::Same | Want::Axes(_) => inverse(have),
            };
            let free = is_identity(&perm) || moves_nothing(self.out.graph.shape(*value), &perm);
            !free && !self.turned.contains_key(&(*value, perm))
        };
        node.inputs.iter().zip(&permuted.inputs).filter(|pair| turns(*pair)).count()
    }

    fn add(&mut self, node: &Node, mut permuted: Permuted) -> Result<(), Diag> {
        if let (Some(channels_first), Some(kernel)) =
            (self.wanted.channels_first_kernel, node.inputs.get(1).copied().flatten())
            && let Some((op, perm)) = kernel_turned(&permuted.op, self.old_type(kernel).rank(), channels_first)
        {
            permuted.op = op;
            permuted.inputs[1] = Want::Axes(perm);
        }
        let mut inputs = Vec::new();
        for (value, want) in node.inputs.iter().zip(&permuted.inputs) {
            inputs.push(match value {
                Some(value) => Some(self.wanted(*value, want, &node.path)?),
                None => None,
            });
        }
        let outputs = self.out.graph.add_node(&node.path, permuted.op, &inputs)?;
        for ((&old, value), perm) in node.outputs.iter().zip(outputs).zip(permuted.outputs) {
            self.set(old, Rep::Made { value, perm });
        }
        Ok(())
    }
}

fn first(node: &Node) -> Result<ValueId, Diag> {
    let value = node.inputs.first().copied().flatten();
    value.ok_or_else(|| Diag::new(recast_plugin_api::diag::Code::Bug, &node.path, "an input is missing"))
}
