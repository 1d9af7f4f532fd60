//! Attention over any axes, brought into the form of the op, which has one time axis and one batch axis.

use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{BroadcastTo, Dim, Shape, ValueId};
use recast_plugin_api::lower::Lowering;

/// How the axes of projected tensors (b, d1, d2, ..., heads, dim) become those of the op, and back.
pub struct Axes {
    /// Shape of the projected query; the attended axes of the key.
    query: Shape,
    key: Shape,
    /// Axes that are neither batch nor attended.
    free: Vec<usize>,
    attended: Vec<usize>,
}

impl Axes {
    /// For the projected query and key; `attended` are the axes that are attended over.
    pub fn new(l: &Lowering<'_>, attended: &[usize], q: ValueId, k: ValueId) -> Axes {
        let (query, key) = (l.shape(q), l.shape(k));
        let free = (1..query.len() - 2).filter(|axis| !attended.contains(axis)).collect();
        Axes { query, key, free, attended: attended.to_vec() }
    }

    fn is_plain(&self) -> bool {
        self.free.is_empty() && self.attended.len() == 1
    }

    /// Free axes next to the batch, attended ones after them, then heads and dim.
    fn perm(&self) -> Vec<usize> {
        let rank = self.query.len();
        let tail = [rank - 2, rank - 1];
        [0].iter().chain(&self.free).chain(&self.attended).chain(&tail).copied().collect()
    }

    fn pick(shape: &[Dim], axes: &[usize]) -> Shape {
        axes.iter().map(|&axis| shape[axis].clone()).collect()
    }

    /// (b * free, attended, heads, dim)
    pub fn merged(&self, l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
        if self.is_plain() {
            return Ok(x);
        }
        let rank = l.rank(x);
        if rank != self.query.len() {
            return Err(l.unsupported(format!("attention between {} and {rank} axes", self.query.len())));
        }
        let x = l.transpose(x, &self.perm())?;
        let shape = l.shape(x);
        let (lead, rest) = shape.split_at(1 + self.free.len());
        let (attended, tail) = rest.split_at(self.attended.len());
        let shape: Shape =
            [element_count(lead), element_count(attended)].into_iter().chain(tail.iter().cloned()).collect();
        l.reshape(x, shape)
    }

    /// Back from (b * free, attended, heads, dim).
    pub fn apart(&self, l: &mut Lowering<'_>, x: ValueId, dim: u64) -> Result<ValueId, Diag> {
        if self.is_plain() {
            return Ok(x);
        }
        let perm = self.perm();
        let mut shape = Axes::pick(&self.query, &perm);
        if let Some(last) = shape.last_mut() {
            *last = Dim::Known(dim);
        }
        let x = l.reshape(x, shape)?;
        let back: Vec<usize> = (0..perm.len()).filter_map(|axis| perm.iter().position(|&from| from == axis)).collect();
        l.transpose(x, &back)
    }

    /// (b, free, heads, attended of the query, attended of the key)
    fn scores_shape(&self) -> Shape {
        let mut shape = vec![self.query[0].clone()];
        shape.extend(Axes::pick(&self.query, &self.free));
        shape.push(self.query[self.query.len() - 2].clone());
        shape.extend(Axes::pick(&self.query, &self.attended));
        shape.extend(Axes::pick(&self.key, &self.attended));
        shape
    }

    pub fn scores(&self, l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
        if self.is_plain() { Ok(x) } else { l.reshape(x, self.scores_shape()) }
    }

    /// A mask of Keras' shape as (b * free, heads or 1, attended, attended). Keras inserts what the mask lacks before
    /// the attended axes.
    pub fn mask(&self, l: &mut Lowering<'_>, mask: ValueId) -> Result<ValueId, Diag> {
        let (mut mask, full) = (mask, self.scores_shape());
        let tail = 2 * self.attended.len();
        if l.rank(mask) <= tail || l.rank(mask) > full.len() {
            return Err(l.unsupported(format!("a mask {} on scores of {} axes", l.ty(mask), full.len())));
        }
        while l.rank(mask) < full.len() {
            mask = l.expand(mask, l.rank(mask) - tail)?;
        }
        if self.is_plain() {
            return Ok(mask);
        }
        let mut wide = full;
        let heads = wide.len() - tail - 1;
        wide[heads] = l.shape(mask)[heads].clone();
        let mask = l.add(BroadcastTo { shape: wide.clone() }, &[mask])?;
        let count = self.attended.len();
        let shape = vec![
            element_count(&wide[..heads]),
            wide[heads].clone(),
            element_count(&wide[heads + 1..heads + 1 + count]),
            element_count(&wide[heads + 1 + count..]),
        ];
        l.reshape(mask, shape)
    }
}
