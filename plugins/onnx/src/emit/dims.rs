//! Sizes that are known only when the model runs: read from the shapes of the inputs, computed from the polynomial.

use super::Emit;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::dim::Atom;
use recast_plugin_api::ir::sizes::Sizes;
use recast_plugin_api::ir::{DType, Dim, Node};

impl Emit<'_> {
    /// A size as a vector of one i64.
    pub fn size(&mut self, dim: &Dim) -> Result<String, Diag> {
        if let Some(size) = dim.known() {
            return Ok(self.ints(&[size as i64]));
        }
        if let Some(name) = self.sizes.get(dim) {
            return Ok(name.clone());
        }
        let name = match dim.as_symbol() {
            Some(symbol) => self.symbol(symbol)?,
            None => self.polynomial(dim)?,
        };
        self.sizes.insert(dim.clone(), name.clone());
        Ok(name)
    }

    /// A size as a rank-0 i64.
    pub fn size_scalar(&mut self, dim: &Dim) -> Result<String, Diag> {
        if let Some(size) = dim.known() {
            return Ok(self.scalar(DType::I64, size as f64));
        }
        let vector = self.size(dim)?;
        let axes = self.ints(&[0]);
        Ok(self.call("Squeeze", &[&vector, &axes]))
    }

    /// A shape as a vector of i64.
    pub fn shape_vector(&mut self, dims: &[Dim]) -> Result<String, Diag> {
        let mut parts: Vec<String> = Vec::new();
        let mut run: Vec<i64> = Vec::new();
        for dim in dims {
            match dim.known() {
                Some(size) => run.push(size as i64),
                None => {
                    if !run.is_empty() {
                        parts.push(self.ints(&run));
                        run.clear();
                    }
                    parts.push(self.size(dim)?);
                }
            }
        }
        if !run.is_empty() || parts.is_empty() {
            parts.push(self.ints(&run));
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.op("Concat", &parts).int("axis", 0).tmp())
    }

    fn symbol(&mut self, symbol: &str) -> Result<String, Diag> {
        let (value, axis) = self.graph().symbol_axis(symbol, self.path())?;
        let axis = axis as i64;
        let input = self.name(value);
        if self.opset >= 15 {
            return Ok(self.op("Shape", &[&input]).int("start", axis).int("end", axis + 1).tmp());
        }
        let shape = self.call("Shape", &[&input]);
        let index = self.ints(&[axis]);
        Ok(self.op("Gather", &[&shape, &index]).int("axis", 0).tmp())
    }

    /// 0, 1, ... below `dim`, as i64.
    pub fn counting(&mut self, dim: &Dim) -> Result<String, Diag> {
        if let Some(size) = dim.known().filter(|size| *size <= COUNTED_MAX) {
            return Ok(self.ints(&(0..size as i64).collect::<Vec<_>>()));
        }
        let limit = self.size_scalar(dim)?;
        let (zero, one) = (self.scalar(DType::I64, 0.0), self.scalar(DType::I64, 1.0));
        Ok(self.call("Range", &[&zero, &limit, &one]))
    }

    /// Makes every size that `nodes` may ask for, so that a nested graph finds it in the graph around it.
    pub fn prepare_sizes<'n>(&mut self, dims: impl Iterator<Item = &'n Dim>) -> Result<(), Diag> {
        dims.filter(|dim| dim.known().is_none()).try_for_each(|dim| self.size(dim).map(|_| ()))
    }

    /// `value` under another shape: a weight as another initializer, anything else by a Reshape.
    pub fn reshaped(&mut self, node: &Node, index: usize, dims: &[u64]) -> Result<String, Diag> {
        let value = self.value(node, index)?;
        if self.ty(value).sizes().as_deref() == Some(dims) {
            return Ok(self.name(value));
        }
        if let Some(known) = self.known(value).cloned() {
            return Ok(self.init_as(&known, dims));
        }
        let name = self.name(value);
        let shape = self.ints(&dims.iter().map(|&size| size as i64).collect::<Vec<_>>());
        Ok(self.call("Reshape", &[&name, &shape]))
    }
}

impl Sizes for Emit<'_> {
    type Value = String;

    fn number(&mut self, number: i64) -> String {
        self.ints(&[number])
    }

    fn factor(&mut self, atom: &Atom) -> Result<String, Diag> {
        match atom {
            Atom::Symbol(name) => self.size(&Dim::symbol(name)),
            Atom::Floor(inner, divisor) => {
                // ONNX' division truncates; sizes are never negative, so that is the floor.
                let inner = self.size(&Dim::Symbolic(inner.clone()))?;
                let divisor = self.ints(&[*divisor]);
                Ok(self.call("Div", &[&inner, &divisor]))
            }
        }
    }

    fn product(&mut self, a: &String, b: &String) -> String {
        self.call("Mul", &[a, b])
    }

    fn sum(&mut self, a: &String, b: &String) -> String {
        self.call("Add", &[a, b])
    }
}

/// Longer counts are made at run time instead of stored.
const COUNTED_MAX: u64 = 4096;
