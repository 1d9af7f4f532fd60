//! Tensors as a plugin sees them: borrowed from the host's mapping.

use super::cx::Cx;
use crate::ir::DType;
use recast_abi::{RecastHostTensorV1, RecastTensorView, dtype};

/// A borrowed tensor; the host frees what it had to rearrange when this is dropped.
pub struct Tensor<'a> {
    view: RecastTensorView,
    dtype: DType,
    cx: Cx<'a>,
    table: &'a RecastHostTensorV1,
}

// SAFETY: the bytes are not written to, and the ABI allows `done` on any thread.
unsafe impl Send for Tensor<'_> {}
// SAFETY: as above.
unsafe impl Sync for Tensor<'_> {}

impl<'a> Tensor<'a> {
    /// # Safety
    /// `view` must be what `table` gave for the call of `cx`; it is given back once.
    pub(super) unsafe fn new(view: RecastTensorView, cx: Cx<'a>, table: &'a RecastHostTensorV1) -> Option<Tensor<'a>> {
        Some(Tensor { view, dtype: dtype_of_code(view.dtype)?, cx, table })
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn dims(&self) -> &[i64] {
        if self.view.rank == 0 || self.view.dims.is_null() {
            return &[];
        }
        // SAFETY: the host's promise for `get`: `rank` sizes, alive until `done`.
        unsafe { std::slice::from_raw_parts(self.view.dims, self.view.rank as usize) }
    }

    /// Row-major, little-endian; not aligned for its element type.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the host's promise for `get`: alive and unchanged until `done`.
        unsafe { self.view.data.as_slice() }
    }
}

impl Drop for Tensor<'_> {
    fn drop(&mut self) {
        // SAFETY: the table and its ctx belong to the call that this tensor borrows from.
        unsafe { (self.table.done)(self.cx.host().ctx, &self.view) }
    }
}

/// The number of a dtype on the boundary; none for strings, which don't cross as tensors.
pub fn dtype_code(of: DType) -> Option<u32> {
    Some(match of {
        DType::Bool => dtype::BOOL,
        DType::I8 => dtype::I8,
        DType::U8 => dtype::U8,
        DType::I16 => dtype::I16,
        DType::U16 => dtype::U16,
        DType::I32 => dtype::I32,
        DType::U32 => dtype::U32,
        DType::I64 => dtype::I64,
        DType::U64 => dtype::U64,
        DType::F16 => dtype::F16,
        DType::BF16 => dtype::BF16,
        DType::F32 => dtype::F32,
        DType::F64 => dtype::F64,
        DType::Str => return None,
    })
}

pub fn dtype_of_code(code: u32) -> Option<DType> {
    DType::ALL.iter().copied().find(|&candidate| dtype_code(candidate) == Some(code))
}
