//! Mapped bytes as hdf5-pure wants them: a source that owns itself. The library asks for `'static`, the mapping lives
//! for one call; so the view forgets its bytes when the call's guard goes, and a handle that outlives it reads nothing.

use hdf5_pure::{File, FormatError, Source};
use recast_plugin_api::diag::{Code, Diag};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone)]
struct View(Arc<RwLock<Option<&'static [u8]>>>);

impl Source for View {
    fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).map_or(0, |bytes| bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes.ok_or_else(|| FormatError::Source("the file is closed".into()))?;
        let available = bytes.len();
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(buf.len())?));
        let found = range.clone().and_then(|range| bytes.get(range));
        let found = found
            .ok_or(FormatError::UnexpectedEof { expected: range.map_or(usize::MAX, |range| range.end), available })?;
        buf.copy_from_slice(found);
        Ok(())
    }
}

/// Takes the bytes back when it goes, however the call ends.
struct Revoke(View);

impl Drop for Revoke {
    fn drop(&mut self) {
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Opens `bytes` for the time of `body`.
pub fn with_file<R, E: From<Diag>>(bytes: &[u8], at: &str, body: impl FnOnce(&File) -> Result<R, E>) -> Result<R, E> {
    // SAFETY: no reference outlives this function: `read_at` copies under the lock, and `Revoke` clears the slot
    // (waiting for readers) before the borrow of `bytes` ends.
    let bytes = unsafe { std::mem::transmute::<&[u8], &'static [u8]>(bytes) };
    let view = View(Arc::new(RwLock::new(Some(bytes))));
    let _revoke = Revoke(view.clone());
    let file = File::from_source(view).map_err(|error| malformed(at, &error))?;
    body(&file)
}

/// Opens several, in this order.
pub fn with_files<R, E: From<Diag>>(
    named: &[(&str, &[u8])],
    body: &mut dyn FnMut(&[File]) -> Result<R, E>,
) -> Result<R, E> {
    fn more<R, E: From<Diag>>(
        named: &[(&str, &[u8])],
        opened: &mut Vec<File>,
        body: &mut dyn FnMut(&[File]) -> Result<R, E>,
    ) -> Result<R, E> {
        let Some(((at, bytes), rest)) = named.split_first() else { return body(opened) };
        with_file(bytes, at, |file| {
            opened.push(file.clone());
            let result = more(rest, opened, body);
            opened.pop();
            result
        })
    }
    more(named, &mut Vec::with_capacity(named.len()), body)
}

pub fn malformed(at: &str, error: &dyn std::fmt::Display) -> Diag {
    Diag::new(Code::Malformed, at, format!("HDF5: {error}"))
}
