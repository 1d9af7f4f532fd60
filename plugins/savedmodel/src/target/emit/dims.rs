//! Sizes that are known only when the model runs: read from the shapes of the inputs, computed from the polynomial. All
//! are i32, as TensorFlow computes shapes.

use super::{Emit, Val};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::dim::Atom;
use recast_plugin_api::ir::sizes::Sizes;
use recast_plugin_api::ir::{DType, Dim};

impl Emit<'_> {
    /// A size as a rank-0 i32.
    pub fn size(&mut self, dim: &Dim) -> Result<Val, Diag> {
        if let Some(size) = dim.known() {
            return Ok(self.int(i64::try_from(size).unwrap_or(i64::MAX)));
        }
        if let Some(val) = self.scope().sizes.get(dim) {
            return Ok(val.clone());
        }
        let val = if self.scopes.len() > 1 {
            self.captured(|e| e.size(dim))?
        } else {
            match dim.as_symbol() {
                Some(symbol) => self.symbol(symbol)?,
                None => self.polynomial(dim)?,
            }
        };
        self.scope_mut().sizes.insert(dim.clone(), val.clone());
        Ok(val)
    }

    /// A shape as a vector of i32.
    pub fn shape_vector(&mut self, dims: &[Dim]) -> Result<Val, Diag> {
        let known: Option<Vec<i64>> = dims.iter().map(|dim| dim.known().map(|size| size as i64)).collect();
        if let Some(known) = known {
            return Ok(self.ints(&known));
        }
        let sizes = dims.iter().map(|dim| self.size(dim)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.op("Pack", &[]).more(&sizes).tmp())
    }

    /// The shape of a Reshape: constant with one -1 where that can say it.
    pub fn reshape_target(&mut self, want: &[Dim]) -> Result<Val, Diag> {
        let open = want.iter().filter(|dim| dim.known().is_none()).count();
        let empty = want.iter().any(|dim| dim.known() == Some(0));
        if open != 1 || empty {
            return self.shape_vector(want);
        }
        let target: Vec<i64> = want.iter().map(|dim| dim.known().map_or(-1, |size| size as i64)).collect();
        Ok(self.ints(&target))
    }

    pub fn reshaped(&mut self, x: &Val, want: &[Dim]) -> Result<Val, Diag> {
        let target = self.reshape_target(want)?;
        Ok(self.call("Reshape", &[x, &target]))
    }

    fn symbol(&mut self, symbol: &str) -> Result<Val, Diag> {
        let (value, axis) = self.graph().symbol_axis(symbol, self.path())?;
        let axis = axis as i64;
        let path = self.path().to_string();
        self.set_path(symbol.to_string());
        let input = self.val(value)?;
        let shape = self.op("Shape", &[&input]).ty("out_type", DType::I32).tmp();
        let size = self.element(&shape, axis);
        self.set_path(path);
        Ok(size)
    }

    /// Element `index` of a vector.
    pub fn element(&mut self, vector: &Val, index: i64) -> Val {
        let (begin, end, one) = (self.ints(&[index]), self.ints(&[index + 1]), self.ints(&[1]));
        self.op("StridedSlice", &[vector, &begin, &end, &one]).int("shrink_axis_mask", 1).tmp()
    }

    /// 0, 1, ... below `dim`, as i32.
    pub fn counting(&mut self, dim: &Dim) -> Result<Val, Diag> {
        if let Some(size) = dim.known().filter(|size| *size <= COUNTED_MAX) {
            return Ok(self.ints(&(0..size as i64).collect::<Vec<_>>()));
        }
        let (zero, limit, one) = (self.int(0), self.size(dim)?, self.int(1));
        Ok(self.call("Range", &[&zero, &limit, &one]))
    }
}

impl Sizes for Emit<'_> {
    type Value = Val;

    fn number(&mut self, number: i64) -> Val {
        self.int(number)
    }

    fn factor(&mut self, atom: &Atom) -> Result<Val, Diag> {
        match atom {
            Atom::Symbol(name) => self.size(&Dim::symbol(name)),
            Atom::Floor(inner, divisor) => {
                let (inner, divisor) = (self.size(&Dim::Symbolic(inner.clone()))?, self.int(*divisor));
                Ok(self.call("FloorDiv", &[&inner, &divisor]))
            }
        }
    }

    fn product(&mut self, a: &Val, b: &Val) -> Val {
        self.call("Mul", &[a, b])
    }

    fn sum(&mut self, a: &Val, b: &Val) -> Val {
        self.call("AddV2", &[a, b])
    }
}

/// Longer counts are made at run time instead of stored.
const COUNTED_MAX: u64 = 4096;
