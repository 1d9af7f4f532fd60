//! Short ways to add common ops, and to put one graph into another.

use super::*;
use crate::diag::Findings;

impl Graph {
    pub fn unary(&mut self, path: &str, function: UnaryFunction, x: ValueId) -> Result<ValueId, Diag> {
        self.add(path, Unary { function }, &[x])
    }

    pub fn binary(&mut self, path: &str, function: BinaryFunction, a: ValueId, b: ValueId) -> Result<ValueId, Diag> {
        self.add(path, Binary { function }, &[a, b])
    }

    pub fn reshape(&mut self, path: &str, x: ValueId, shape: impl Into<Shape>) -> Result<ValueId, Diag> {
        let shape = shape.into();
        if self.shape(x) == shape { Ok(x) } else { self.add(path, Reshape { shape }, &[x]) }
    }

    pub fn transpose(&mut self, path: &str, x: ValueId, perm: &[usize]) -> Result<ValueId, Diag> {
        let identity = perm.iter().enumerate().all(|(i, &axis)| i == axis) && perm.len() == self.shape(x).len();
        if identity { Ok(x) } else { self.add(path, Transpose { perm: perm.to_vec() }, &[x]) }
    }

    pub fn cast(&mut self, path: &str, x: ValueId, to: DType) -> Result<ValueId, Diag> {
        if self.ty(x).dtype == to { Ok(x) } else { self.add(path, Cast { to }, &[x]) }
    }

    pub fn constant(&mut self, path: &str, tensor: Tensor) -> Result<ValueId, Diag> {
        self.add(path, Constant { tensor }, &[])
    }

    /// A rank-0 constant of the dtype of `x`.
    pub fn scalar_like(&mut self, path: &str, x: ValueId, value: f64) -> Result<ValueId, Diag> {
        let tensor = Tensor::scalar(self.ty(x).dtype, value);
        self.constant(path, tensor)
    }

    /// x f value, with the value in x's dtype.
    pub fn binary_scalar(&mut self, path: &str, f: BinaryFunction, x: ValueId, value: f64) -> Result<ValueId, Diag> {
        let scalar = self.scalar_like(path, x, value)?;
        self.binary(path, f, x, scalar)
    }

    pub fn reduce(
        &mut self,
        path: &str,
        f: ReduceFunction,
        x: ValueId,
        axes: &[usize],
        keep: bool,
    ) -> Result<ValueId, Diag> {
        self.add(path, Reduce { function: f, axes: axes.to_vec(), keepdims: keep }, &[x])
    }

    pub fn slice(&mut self, path: &str, x: ValueId, axis: usize, start: Dim, stop: Dim) -> Result<ValueId, Diag> {
        if start == Dim::Known(0) && self.shape(x).get(axis) == Some(&stop) {
            return Ok(x);
        }
        self.add(path, Slice { axis, start, stop, step: 1 }, &[x])
    }

    /// Elements start, start + step, .. below stop.
    pub fn strided(
        &mut self,
        path: &str,
        x: ValueId,
        axis: usize,
        (start, stop): (Dim, Dim),
        step: u64,
    ) -> Result<ValueId, Diag> {
        match step {
            1 => self.slice(path, x, axis, start, stop),
            _ => self.add(path, Slice { axis, start, stop, step }, &[x]),
        }
    }

    /// Drops an axis of size one.
    pub fn squeeze(&mut self, path: &str, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
        let mut shape = self.shape(x).to_vec();
        if axis >= shape.len() {
            return Err(self.no_axis(path, x, axis));
        }
        shape.remove(axis);
        self.reshape(path, x, shape)
    }

    /// Inserts an axis of size one.
    pub fn expand(&mut self, path: &str, x: ValueId, axis: usize) -> Result<ValueId, Diag> {
        let mut shape = self.shape(x).to_vec();
        if axis > shape.len() {
            return Err(self.no_axis(path, x, axis));
        }
        shape.insert(axis, Dim::Known(1));
        self.reshape(path, x, shape)
    }

    fn no_axis(&self, path: &str, x: ValueId, axis: usize) -> Diag {
        Diag::new(Code::TypeMismatch, path, format!("axis {axis} of {}", self.ty(x)))
    }

    /// Copies the nodes and params of `fragment` behind this graph's own, with `inputs` in the place of its inputs.
    /// Every type is inferred anew with what the inputs really are. Returns what each value of the fragment became.
    pub fn splice(&mut self, fragment: &Graph, inputs: &[ValueId]) -> Result<Vec<Option<ValueId>>, Findings> {
        if inputs.len() != fragment.inputs.len() {
            let detail = format!("a graph of {} inputs was given {}", fragment.inputs.len(), inputs.len());
            return Err(Diag::new(Code::Bug, &fragment.name, detail).into());
        }
        let mut map: Vec<Option<ValueId>> = vec![None; fragment.value_count()];
        for (input, &value) in fragment.inputs.iter().zip(inputs) {
            if fragment.ty(input.value) != self.ty(value) {
                let detail = format!("{} where {} was lowered", self.ty(value), fragment.ty(input.value));
                return Err(Diag::new(Code::Bug, &input.name, detail).into());
            }
            map[input.value.0 as usize] = Some(value);
        }
        for param in &fragment.params {
            map[param.value.0 as usize] = Some(self.param(&param.path, &param.role, param.tensor.clone()));
        }
        for node in fragment.nodes() {
            let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|v| v.and_then(|v| map[v.0 as usize])).collect();
            let outputs = self.add_node(&node.path, node.op.clone(), &inputs)?;
            for (old, new) in node.outputs.iter().zip(outputs) {
                map[old.0 as usize] = Some(new);
            }
        }
        Ok(map)
    }
}
