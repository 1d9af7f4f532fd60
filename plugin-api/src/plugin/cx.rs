//! What a plugin can ask of the host while a call runs. Each kind of call has its own context, so that only what the
//! host offers there can be called there.

use super::error::HostError;
use super::tensor::Tensor;
use crate::diag::{Code, Diag, DiagProto, Findings};
use crate::ir::{self, wire::TensorProto};
use crate::messages::{LowerRequest, Lowered};
use prost::Message;
use recast_abi::*;
use std::ffi::c_void;
use std::io;
use std::ops::Deref;

/// What every call can do: report, show progress, ask whether to stop. May be used from any thread of the plugin.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    host: &'a RecastHost,
}

// SAFETY: the ABI allows every host function on any thread while the call lasts, and `'a` ends with the call.
unsafe impl Send for Cx<'_> {}
// SAFETY: as above.
unsafe impl Sync for Cx<'_> {}

impl<'a> Cx<'a> {
    /// # Safety
    /// `host` must be null or what the ABI promises for `'a`.
    #[doc(hidden)]
    pub unsafe fn new(host: *const RecastHost) -> Option<Cx<'a>> {
        // SAFETY: the caller's promise.
        let host = unsafe { host.as_ref() }?;
        (host.struct_size as usize >= size_of::<RecastHost>()).then_some(Cx { host })
    }

    pub(super) fn host(&self) -> &'a RecastHost {
        self.host
    }

    /// A host extension; none when this host is older than it.
    ///
    /// # Safety
    /// `T` must be the table that `recast-abi` names for `id`. Each begins with its size.
    unsafe fn extension<T>(&self, id: &'static str) -> Result<&'a T, HostError> {
        // SAFETY: `host` is alive; `id` is readable.
        let table = unsafe { (self.host.get_extension)(self.host.ctx, RecastBytes::new(id.as_bytes())) };
        // SAFETY: null, or a table that begins with its u32 size, which is looked at before the rest.
        let size = unsafe { table.cast::<u32>().as_ref() }.copied().unwrap_or(0);
        if (size as usize) < size_of::<T>() {
            return Err(HostError::Missing(id));
        }
        // SAFETY: not null, and large enough for the type that the caller vouches for.
        Ok(unsafe { &*table.cast::<T>() })
    }

    /// Hands bytes to the host. An error means: stop, the host does not want more.
    #[doc(hidden)]
    pub fn emit(&self, stream: u32, chunk: &[u8]) -> Result<(), HostError> {
        // SAFETY: `host` is alive; the chunk is consumed before `emit` returns.
        check("emit", unsafe { (self.host.emit)(self.host.ctx, stream, RecastBytes::new(chunk)) })
    }

    /// Tells a finding that does not end the call: a loss, a note.
    pub fn report(&self, diag: &Diag) {
        // A host that takes no more findings will stop the call by itself.
        let _ = self.emit(stream::DIAGNOSTIC, &DiagProto::from(diag).encode_to_vec());
    }

    /// `total` 0 when it is not known.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        // SAFETY: the table of this id.
        if let Ok(table) = unsafe { self.extension::<RecastHostProgressV1>(id::HOST_PROGRESS) } {
            // SAFETY: the table's contract; `what` is readable.
            unsafe { (table.report)(self.host.ctx, done, total, RecastBytes::new(what.as_bytes())) }
        }
    }

    pub fn is_cancelled(&self) -> bool {
        // SAFETY: the table of this id, and its contract.
        unsafe { self.extension::<RecastHostCancelV1>(id::HOST_CANCEL) }
            .is_ok_and(|table| unsafe { (table.is_cancelled)(self.host.ctx) } != 0)
    }

    /// For long loops: `cx.go_on()?`.
    pub fn go_on(&self) -> Result<(), Diag> {
        if self.is_cancelled() { Err(Diag::new(Code::Cancelled, "", "told to stop")) } else { Ok(()) }
    }

    /// How many threads this plugin may start.
    pub fn threads(&self) -> usize {
        // SAFETY: the table of this id, and its contract.
        unsafe { self.extension::<RecastHostThreadsV1>(id::HOST_THREADS) }
            .map_or(1, |table| unsafe { (table.budget)(self.host.ctx) } as usize)
            .max(1)
    }

    /// A tensor that `fill` asks the host for.
    fn borrow_tensor(
        &self,
        fill: impl FnOnce(&RecastHostTensorV1, *mut RecastTensorView) -> i32,
    ) -> Result<Tensor<'a>, HostError> {
        // SAFETY: the table of this id.
        let table = unsafe { self.extension::<RecastHostTensorV1>(id::HOST_TENSOR) }?;
        let nothing = RecastBytes::EMPTY;
        let mut view =
            RecastTensorView { dtype: 0, rank: 0, dims: std::ptr::null(), data: nothing, align: 1, flags: 0 };
        check("tensor", fill(table, &mut view))?;
        // SAFETY: the host filled the view.
        unsafe { Tensor::new(view, *self, table) }.ok_or(HostError::Status("dtype of a tensor", status::UNSUPPORTED))
    }

    fn find_tensor(&self, name: &str) -> Result<Tensor<'a>, Diag> {
        let bytes = RecastBytes::new(name.as_bytes());
        // SAFETY: the table's contract: `bytes` is readable, `view` writable.
        self.borrow_tensor(|table, view| unsafe { (table.get)(self.host.ctx, bytes, view) }).map_err(|e| e.at(name))
    }
}

fn check(what: &'static str, code: i32) -> Result<(), HostError> {
    if code == status::OK { Ok(()) } else { Err(HostError::Status(what, code)) }
}

macro_rules! context {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<'a>(Cx<'a>);

        impl<'a> $name<'a> {
            #[doc(hidden)]
            pub fn new(cx: Cx<'a>) -> Self {
                $name(cx)
            }
        }

        impl<'a> Deref for $name<'a> {
            type Target = Cx<'a>;
            fn deref(&self) -> &Cx<'a> {
                &self.0
            }
        }
    };
}

context! {
    /// While a source reads.
    ReadCx
}
context! {
    /// While a target writes.
    WriteCx
}
context! {
    /// While a layer is lowered.
    LowerCx
}

/// A file of the artifact, mapped by the host.
pub type File<'a> = &'a [u8];

impl<'a> ReadCx<'a> {
    /// Maps `path`: a path of the request, or one below it when that is a directory. Links are not followed.
    pub fn map(&self, path: &str) -> Result<File<'a>, Diag> {
        // SAFETY: the table of this id.
        let table = unsafe { self.extension::<RecastHostFilesV1>(id::HOST_FILES) }.map_err(|e| e.at(path))?;
        let mut bytes = RecastBytes::EMPTY;
        // SAFETY: the table's contract; `bytes` is writable.
        let code = unsafe { (table.map)(self.host.ctx, RecastBytes::new(path.as_bytes()), &mut bytes) };
        check("map", code).map_err(|e| e.at(path))?;
        // SAFETY: the host keeps the mapping until the call returns, and `'a` ends there.
        Ok(unsafe { bytes.as_slice() })
    }

    /// A new file for decoded tensors.
    pub fn scratch(&self) -> Result<ScratchFile<'a>, Diag> {
        // SAFETY: the table of this id.
        let table = unsafe { self.extension::<RecastHostScratchV1>(id::HOST_SCRATCH) }.map_err(|e| e.at("scratch"))?;
        let mut path = RecastBytes::EMPTY;
        // SAFETY: the table's contract; `path` is writable.
        let number = unsafe { (table.create)(self.host.ctx, &mut path) };
        if number < 0 {
            return Err(HostError::Status("create", number).at("scratch"));
        }
        // SAFETY: the host keeps the text until the call returns.
        let path = String::from_utf8_lossy(unsafe { path.as_slice() }).into_owned();
        Ok(ScratchFile { cx: self.0, table, number: number as u32, path })
    }
}

/// A file that a source puts decoded bytes into.
pub struct ScratchFile<'a> {
    cx: Cx<'a>,
    table: &'a RecastHostScratchV1,
    number: u32,
    path: String,
}

impl ScratchFile<'_> {
    /// What belongs into `LayerModel::files`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The offset at which the bytes begin: a multiple of 64.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, Diag> {
        // SAFETY: the table's contract; the bytes are consumed before it returns.
        let offset = unsafe { (self.table.append)(self.cx.host.ctx, self.number, RecastBytes::new(bytes)) };
        u64::try_from(offset).map_err(|_| HostError::Status("append", offset as i32).at("scratch"))
    }
}

impl<'a> WriteCx<'a> {
    /// A weight by its param's name, as the graph says (axes permuted where it says so).
    pub fn tensor(&self, name: &str) -> Result<Tensor<'a>, Diag> {
        self.find_tensor(name)
    }

    /// The elements of any tensor of the graph: a constant, say.
    pub fn view(&self, tensor: &ir::Tensor) -> Result<Tensor<'a>, Diag> {
        let proto = TensorProto::from(tensor).encode_to_vec();
        let proto = RecastBytes::new(&proto);
        // SAFETY: the table's contract: `proto` is readable, `view` writable.
        let found = self.borrow_tensor(|table, view| unsafe { (table.view)(self.host.ctx, proto, view) });
        found.map_err(|e| e.at("constant"))
    }

    /// A new output file, `name.onnx` or `name_torch/model.py`. The first one is the primary file.
    pub fn create(&self, name: &str) -> Result<OutputFile<'a>, Diag> {
        // SAFETY: the table of this id.
        let table = unsafe { self.extension::<RecastHostOutputV1>(id::HOST_OUTPUT) }.map_err(|e| e.at(name))?;
        // SAFETY: the table's contract; `name` is readable.
        let stream = unsafe { (table.open)(self.host.ctx, RecastBytes::new(name.as_bytes())) };
        if stream < 0 {
            return Err(HostError::Status("open", stream).at(name));
        }
        Ok(OutputFile { cx: self.0, table, stream: stream as u32, written: 0 })
    }
}

impl WriteCx<'_> {
    /// A whole output file at once, for small ones.
    pub fn create_with(&self, name: &str, content: &[u8]) -> Result<(), Diag> {
        let mut file = self.create(name)?;
        io::Write::write_all(&mut file, content).map_err(|error| Diag::io(name, &error))
    }
}

/// An output file. Each write goes from where the bytes lie straight to the disk: hand over whole tensors, and collect
/// small pieces in a buffer first.
pub struct OutputFile<'a> {
    cx: Cx<'a>,
    table: &'a RecastHostOutputV1,
    stream: u32,
    written: u64,
}

impl OutputFile<'_> {
    pub fn written(&self) -> u64 {
        self.written
    }
}

impl io::Write for OutputFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cx.emit(self.stream, bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputFile<'_> {
    fn drop(&mut self) {
        // SAFETY: the table's contract. A failure shows up as a failed write before, or when the host syncs the file.
        let _ = unsafe { (self.table.close)(self.cx.host.ctx, self.stream) };
    }
}

impl<'a> LowerCx<'a> {
    /// A weight of the layer. A lowering that only moves weights into params does not need their bytes.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'a>, Diag> {
        self.find_tensor(name)
    }

    /// Lowers a wrapped layer, whichever plugin owns its class. Findings of a failure are reported already, so the
    /// error holds none of them: pass it on.
    pub fn lower_child(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        let at = request.layer.as_ref().map_or("", |layer| layer.path.as_str());
        // SAFETY: the table of this id.
        let table = unsafe { self.extension::<RecastHostLowerV1>(id::HOST_LOWER) }.map_err(|e| e.at(at))?;
        let request = request.encode_to_vec();
        let mut reply: Option<Vec<u8>> = None;
        let user = (&raw mut reply).cast::<c_void>();
        // SAFETY: the table's contract; `user` is what `keep_reply` expects, and outlives the call.
        let code = unsafe {
            let keep = RecastReply { call: keep_reply };
            (table.lower_child)(self.host.ctx, RecastBytes::new(&request), keep, user)
        };
        if code != status::OK {
            return Err(Findings::new());
        }
        let reply = reply.ok_or_else(|| Diag::new(Code::Bug, at, "the host gave no reply to lower_child"))?;
        Lowered::decode(reply.as_slice()).map_err(|e| Diag::new(Code::PluginMisbehaved, at, e.to_string()).into())
    }
}

unsafe extern "C" fn keep_reply(user: *mut c_void, bytes: RecastBytes) {
    // SAFETY: `lower_child` passes its own `Option<Vec<u8>>`, and the host readable bytes.
    unsafe { *user.cast::<Option<Vec<u8>>>() = Some(bytes.as_slice().to_vec()) }
}
