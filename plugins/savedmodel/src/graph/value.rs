//! What a tensor of TensorFlow is while its graph is lowered: a value of the graph in the making, or something that is
//! known already. Shapes are computed with tensors in TensorFlow; here they stay sizes, with symbols for what is free.

use super::counter::Counter;
use super::ops::ragged::Ragged;
use super::ops::random::Drawn;
use recast_plugin_api::ir::types::{decode_numbers, encode_number};
use recast_plugin_api::ir::{DType, Data, Dim, Tensor, ValueId};
use std::rc::Rc;

/// Elements that are worked out one by one: shapes, axes, permutations. Larger integers are data.
pub const FOLDED_MAX: usize = 1024;

#[derive(Clone)]
pub enum Val {
    /// Of the graph at this depth: 0 is the model, each loop body that is being built is one deeper.
    Tensor { depth: usize, value: ValueId },
    /// Elements that are stored.
    Known(Rc<Tensor>),
    /// Whole numbers of which some are free sizes.
    Ints(Rc<Ints>),
    /// Strings that are known.
    Texts(Rc<Texts>),
    /// A handle: the name of the variable's node.
    Variable(Rc<str>),
    /// A handle: the name of the table's node.
    Table(Rc<str>),
    /// A list of tensors: all elements of a tensor along its first axis (`stacked`), or of a shape not yet filled.
    List(Rc<List>),
    /// What a loop counts.
    Counter(Counter),
    /// A loop's condition: the counter is below each of these scalars.
    Below(Rc<Vec<Val>>),
    /// Drawn at random.
    Drawn(Rc<Drawn>),
    /// The bits of a float32 tensor, as whole numbers.
    Bits(Rc<Val>),
    /// Words of texts, or where they belong.
    Ragged(Rc<Ragged>),
    /// Places and shape of what a known tensor holds all of: in the place of a sparse one.
    Filled(Rc<Val>),
    /// Nothing: dropped by a branch that is not taken, or by an op that only has effects.
    Nothing,
    /// Could not be lowered; the finding is noted.
    Failed,
}

/// A whole number, known or a free size.
#[derive(Debug, Clone, PartialEq)]
pub enum Int {
    N(i64),
    D(Dim),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ints {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub elements: Vec<Int>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    pub shape: Vec<u64>,
    pub items: Vec<String>,
}

#[derive(Clone)]
pub enum List {
    /// Elements are the steps of a tensor along this axis (0, or 1 where a Scan stacked it).
    Of { tensor: Val, axis: usize },
    /// Reserved, with its length, before a loop fills it; which variable of the loop it is once it is inside.
    Reserved { len: Option<Int>, of: Option<usize> },
    /// Inside a loop: the element that this step writes, at the counter's place or (none) always at the first.
    Written { of: usize, item: Val, at: Option<Counter> },
    /// Filled by hand, outside loops.
    Items(Vec<Val>),
}

impl Int {
    pub fn known(&self) -> Option<i64> {
        match self {
            Int::N(n) => Some(*n),
            Int::D(dim) => dim.known().and_then(|n| i64::try_from(n).ok()),
        }
    }

    /// As a size; none below zero.
    pub fn dim(&self) -> Option<Dim> {
        match self {
            Int::N(n) => u64::try_from(*n).ok().map(Dim::Known),
            Int::D(dim) => Some(dim.clone()),
        }
    }

    pub fn of(dim: Dim) -> Int {
        match dim.known().and_then(|n| i64::try_from(n).ok()) {
            Some(n) => Int::N(n),
            None => Int::D(dim),
        }
    }

    pub fn add(&self, other: &Int) -> Option<Int> {
        match (self, other) {
            (Int::N(a), Int::N(b)) => a.checked_add(*b).map(Int::N),
            (Int::D(dim), Int::N(n)) | (Int::N(n), Int::D(dim)) => dim.offset(*n).map(Int::of),
            (Int::D(a), Int::D(b)) => Some(Int::of(a.plus(b))),
        }
    }

    pub fn sub(&self, other: &Int) -> Option<Int> {
        match (self, other) {
            (Int::N(a), Int::N(b)) => a.checked_sub(*b).map(Int::N),
            (Int::D(dim), Int::N(n)) => dim.offset(n.checked_neg()?).map(Int::of),
            _ => self.dim()?.minus(&other.dim()?).map(Int::of),
        }
    }

    pub fn mul(&self, other: &Int) -> Option<Int> {
        match (self, other) {
            (Int::N(a), Int::N(b)) => a.checked_mul(*b).map(Int::N),
            (Int::N(0), _) | (_, Int::N(0)) => Some(Int::N(0)),
            _ => Some(Int::of(self.dim()?.times(&other.dim()?))),
        }
    }

    pub fn floor_div(&self, other: &Int) -> Option<Int> {
        match (self, other) {
            (_, Int::N(0)) => None,
            (Int::N(a), Int::N(b)) => {
                let quotient = a.checked_div(*b)?;
                Some(Int::N(if a % b != 0 && (*a < 0) != (*b < 0) { quotient - 1 } else { quotient }))
            }
            (Int::D(dim), Int::N(n)) => Some(Int::of(dim.floor_div(u64::try_from(*n).ok()?))),
            (a, Int::D(b)) => a.dim()?.exact_div(b).map(Int::of),
        }
    }
}

impl Ints {
    pub fn scalar(dtype: DType, element: Int) -> Ints {
        Ints { dtype, shape: Vec::new(), elements: vec![element] }
    }

    pub fn vector(dtype: DType, elements: Vec<Int>) -> Ints {
        Ints { dtype, shape: vec![elements.len()], elements }
    }

    pub fn known(&self) -> Option<Vec<i64>> {
        self.elements.iter().map(Int::known).collect()
    }

    /// As stored elements, where all are known.
    pub fn tensor(&self) -> Option<Tensor> {
        let bytes = self.known()?.into_iter().flat_map(|n| encode_int(self.dtype, n)).collect();
        let shape: Vec<u64> = self.shape.iter().map(|&size| size as u64).collect();
        Some(Tensor::inline(self.dtype, &shape, bytes))
    }

    /// As a value: plain elements where all are known.
    pub fn val(self) -> Val {
        match self.tensor() {
            Some(tensor) => Val::Known(Rc::new(tensor)),
            None => Val::Ints(Rc::new(self)),
        }
    }

    pub fn of_tensor(tensor: &Tensor) -> Option<Ints> {
        let Data::Inline(bytes) = &tensor.data else { return None };
        let integer = tensor.dtype.is_int() || tensor.dtype == DType::Bool;
        if !integer || tensor.len() > FOLDED_MAX as u64 || !tensor.is_plain() {
            return None;
        }
        let elements = decode_ints(tensor.dtype, bytes).into_iter().map(Int::N).collect();
        let shape = tensor.shape.iter().map(|&size| size as usize).collect();
        Some(Ints { dtype: tensor.dtype, shape, elements })
    }
}

/// 64 bits survive, which `f64` would not let them.
fn encode_int(dtype: DType, n: i64) -> Vec<u8> {
    match dtype {
        DType::I64 => n.to_le_bytes().to_vec(),
        DType::U64 => (n as u64).to_le_bytes().to_vec(),
        other => encode_number(other, n as f64),
    }
}

fn decode_ints(dtype: DType, bytes: &[u8]) -> Vec<i64> {
    match dtype {
        DType::I64 | DType::U64 => {
            bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap_or_default())).collect()
        }
        other => decode_numbers(other, bytes).into_iter().map(|n| n as i64).collect(),
    }
}

/// The elements of a small stored tensor.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match &tensor.data {
        Data::Inline(bytes) if tensor.is_plain() => Some(decode_numbers(tensor.dtype, bytes)),
        Data::Inline(_) | Data::Region { .. } => None,
    }
}
