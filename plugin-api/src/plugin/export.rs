//! From safe traits to the tables of the boundary.

use super::cx::{Cx, LowerCx, ReadCx, WriteCx};
use super::error::{HostError, status_of};
use super::guard::{guarded, install_panic_hook};
use super::manifest::Format;
use super::proto::{CapsList, ErrorProto, SampleFile, SelftestCases};
use super::{Layers, Source, Target};
use crate::diag::{DiagProto, Findings};
use crate::messages::{CheckRequest, LowerRequest, ReadRequest, WriteRequest};
use prost::Message;
use recast_abi::*;
use std::ffi::c_void;

/// The value of a stateless type, so that one path in `export_plugin!` names both.
pub trait Constant: Sized + 'static {
    const VALUE: Self;
}

/// What a plugin offers; the tables live as long as the process.
pub struct Tables {
    pub source: &'static [RecastSourceV1],
    pub target: &'static [RecastTargetV1],
    pub layers: &'static [RecastLayersV1],
    pub selftest: RecastSelftestV1,
    pub check: &'static [RecastCheckV1],
}

impl Tables {
    /// # Safety
    /// `id` must be readable.
    pub unsafe fn get(&'static self, id: RecastBytes) -> *const c_void {
        fn pointer<T>(table: &'static [T]) -> *const c_void {
            table.first().map_or(std::ptr::null(), |table| (&raw const *table).cast())
        }
        // SAFETY: the caller's promise.
        match std::str::from_utf8(unsafe { id.as_slice() }) {
            Ok(id::SOURCE) => pointer(self.source),
            Ok(id::TARGET) => pointer(self.target),
            Ok(id::LAYERS) => pointer(self.layers),
            Ok(id::CHECK) => pointer(self.check),
            Ok(id::SELFTEST) => pointer(std::slice::from_ref(&self.selftest)),
            _ => std::ptr::null(),
        }
    }
}

pub const fn source_table<S: Source + Constant>() -> RecastSourceV1 {
    RecastSourceV1 {
        struct_size: size_of::<RecastSourceV1>() as u32,
        reserved: 0,
        probe: probe::<S>,
        describe: None,
        read: read::<S>,
    }
}

pub const fn target_table<T: Target + Constant>() -> RecastTargetV1 {
    RecastTargetV1 {
        struct_size: size_of::<RecastTargetV1>() as u32,
        reserved: 0,
        capabilities: capabilities::<T>,
        write: write::<T>,
    }
}

pub const fn layers_table<L: Layers + Constant>() -> RecastLayersV1 {
    RecastLayersV1 {
        struct_size: size_of::<RecastLayersV1>() as u32,
        reserved: 0,
        list: list::<L>,
        infer_shape: None,
        lower: lower::<L>,
        eval: Some(eval::<L>),
    }
}

pub const fn check_table<T: Target + Constant>() -> RecastCheckV1 {
    RecastCheckV1 { struct_size: size_of::<RecastCheckV1>() as u32, reserved: 0, check: check::<T> }
}

pub const fn selftest_table(cases: unsafe extern "C" fn(*const RecastHost) -> i32) -> RecastSelftestV1 {
    RecastSelftestV1 { struct_size: size_of::<RecastSelftestV1>() as u32, reserved: 0, cases }
}

/// # Safety
/// `host` must be what the ABI promises for `init`.
pub unsafe fn init(host: *const RecastHost) -> i32 {
    guarded(None, || {
        // SAFETY: the caller's promise.
        match unsafe { Cx::new(host) } {
            Some(_) => {
                install_panic_hook();
                // SAFETY: as above.
                unsafe { super::log::connect(host) };
                status::OK
            }
            None => status::MISUSE,
        }
    })
}

/// One call: decodes nothing, catches everything, turns what comes out into emits and a status.
///
/// # Safety
/// `host` must be what the ABI promises for a call.
unsafe fn call(host: *const RecastHost, body: impl FnOnce(Cx<'_>) -> Result<(), Failure>) -> i32 {
    // SAFETY: the caller's promise; the context does not leave this function.
    let Some(cx) = (unsafe { Cx::new(host) }) else { return status::MISUSE };
    guarded(Some(cx), || match body(cx) {
        Ok(()) => status::OK,
        Err(failure) => failure.tell(cx),
    })
}

enum Failure {
    Findings(Findings),
    /// The request does not decode, or the host does not take the reply.
    Boundary(i32, String),
}

impl Failure {
    fn tell(self, cx: Cx<'_>) -> i32 {
        // A host that takes no findings either still gets the status.
        match self {
            Failure::Findings(findings) => {
                for diag in &findings {
                    let _ = cx.emit(stream::DIAGNOSTIC, &DiagProto::from(diag).encode_to_vec());
                }
                status_of(&findings)
            }
            Failure::Boundary(code, message) => {
                let _ = cx.emit(stream::ERROR, &ErrorProto { code, message, ..ErrorProto::default() }.encode_to_vec());
                code
            }
        }
    }
}

impl From<Findings> for Failure {
    fn from(findings: Findings) -> Failure {
        Failure::Findings(findings)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        let code = if let HostError::Status(_, code) = error { code } else { status::UNSUPPORTED };
        Failure::Boundary(code, error.to_string())
    }
}

fn decode<M: Message + Default>(request: &[u8]) -> Result<M, Failure> {
    M::decode(request).map_err(|e| Failure::Boundary(status::BAD_INPUT, format!("the request does not decode: {e}")))
}

fn reply(cx: Cx<'_>, message: &impl Message) -> Result<(), Failure> {
    Ok(cx.emit(stream::RESULT, &message.encode_to_vec())?)
}

unsafe extern "C" fn probe<S: Source + Constant>(host: *const RecastHost, head: RecastBytes, name: RecastBytes) -> i32 {
    let mut score = 0;
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    let code = unsafe {
        call(host, |_| {
            let name = String::from_utf8_lossy(name.as_slice());
            score = S::VALUE.probe(head.as_slice(), &name).min(100);
            Ok(())
        })
    };
    if code == status::OK { i32::from(score) } else { code }
}

unsafe extern "C" fn read<S: Source + Constant>(host: *const RecastHost, request: RecastBytes) -> i32 {
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    unsafe {
        call(host, |cx| {
            let request = decode::<ReadRequest>(request.as_slice())?;
            reply(cx, &S::VALUE.read(&ReadCx::new(cx), &request)?)
        })
    }
}

unsafe extern "C" fn capabilities<T: Target + Constant>(host: *const RecastHost) -> i32 {
    // SAFETY: the ABI: `host` lives until the call returns.
    unsafe { call(host, |cx| reply(cx, &CapsList { caps: T::VALUE.capabilities() })) }
}

unsafe extern "C" fn write<T: Target + Constant>(
    host: *const RecastHost,
    target: RecastBytes,
    request: RecastBytes,
) -> i32 {
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    unsafe {
        call(host, |cx| {
            let request = decode::<WriteRequest>(request.as_slice())?;
            let target = String::from_utf8_lossy(target.as_slice());
            Ok(T::VALUE.write(&WriteCx::new(cx), &target, &request)?)
        })
    }
}

unsafe extern "C" fn check<T: Target + Constant>(
    host: *const RecastHost,
    target: RecastBytes,
    request: RecastBytes,
) -> i32 {
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    unsafe {
        call(host, |cx| {
            let request = decode::<CheckRequest>(request.as_slice())?;
            let target = String::from_utf8_lossy(target.as_slice());
            reply(cx, &T::VALUE.check(&cx, &target, &request)?)
        })
    }
}

unsafe extern "C" fn list<L: Layers + Constant>(host: *const RecastHost) -> i32 {
    // SAFETY: the ABI: `host` lives until the call returns.
    unsafe { call(host, |cx| Ok(cx.emit(stream::RESULT, L::CLASSES.join("\n").as_bytes())?)) }
}

unsafe extern "C" fn lower<L: Layers + Constant>(host: *const RecastHost, request: RecastBytes) -> i32 {
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    unsafe {
        call(host, |cx| {
            let request = decode::<LowerRequest>(request.as_slice())?;
            reply(cx, &L::VALUE.lower(&LowerCx::new(cx), &request)?)
        })
    }
}

unsafe extern "C" fn eval<L: Layers + Constant>(host: *const RecastHost, request: RecastBytes) -> i32 {
    // SAFETY: the ABI: `host` and the bytes live until the call returns.
    unsafe {
        call(host, |cx| {
            let request = decode::<LowerRequest>(request.as_slice())?;
            match L::VALUE.eval(&LowerCx::new(cx), &request)? {
                Some(outputs) => reply(cx, &outputs),
                None => Err(Failure::Boundary(status::UNSUPPORTED, "no second opinion on this layer".into())),
            }
        })
    }
}

/// # Safety
/// `host` must be what the ABI promises for a call.
pub unsafe fn selftest(
    host: *const RecastHost,
    lower: fn() -> Vec<LowerRequest>,
    files: fn() -> Vec<SampleFile>,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { call(host, |cx| reply(cx, &SelftestCases { lower: lower(), files: files() })) }
}

/// The one element that an optional macro argument expanded to.
pub const fn only<T: Copy>(given: &[T]) -> Option<T> {
    match given {
        [] => None,
        [first, ..] => Some(*first),
    }
}

/// What an optional macro argument expanded to, or nothing.
pub fn all<T, const N: usize>(given: [Vec<T>; N]) -> Vec<T> {
    given.into_iter().flatten().collect()
}

/// Host extensions that a plugin can't do without, where it does not list them itself.
pub const fn needs(given: &[&'static [&'static str]], is_target: bool) -> &'static [&'static str] {
    match given {
        [first, ..] => first,
        [] if is_target => &[id::HOST_TENSOR, id::HOST_OUTPUT],
        [] => &[],
    }
}

pub type Formats = &'static [Format];
pub type Names = &'static [&'static str];

/// Makes the crate a plugin. Each of `source`, `target` and `layers` names a unit struct that implements the trait.
///
/// ```ignore
/// recast_plugin_api::export_plugin! {
///     id: "com.acme.layers",          // reverse domain, unique
///     name: "Acme's layers",
///     url: "https://acme.example",    // optional, as are the next three
///     source: AcmeFiles,
///     target: AcmeFormat,
///     layers: AcmeLayers,
///     needs: ["recast.host.lower/1"], // optional: host extensions without which the plugin must not be loaded
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    (
        id: $id:literal,
        name: $name:literal,
        $(url: $url:literal,)?
        $(source: $source:path,)?
        $(target: $target:path,)?
        $(layers: $layers:path,)?
        $(needs: [$($need:literal),* $(,)?] $(,)?)?
    ) => {
        #[cfg(panic = "abort")]
        compile_error!("a recast plugin answers for its panics: build it with panic = \"unwind\"");

        const _: () = {
            use $crate::plugin::internal::{self as recast, recast_abi as abi};

            $(impl recast::Constant for $source { const VALUE: Self = $source; })?
            $(impl recast::Constant for $target { const VALUE: Self = $target; })?
            $(impl recast::Constant for $layers { const VALUE: Self = $layers; })?

            const IDENTITY: recast::Identity = recast::Identity {
                id: $id,
                name: $name,
                version: env!("CARGO_PKG_VERSION"),
                license: env!("CARGO_PKG_LICENSE"),
                url: concat!($($url)?),
            };
            const FORMATS: &[recast::Formats] = &[$(<$source as $crate::plugin::Source>::FORMATS)?];
            const TARGETS: &[recast::Names] = &[$(<$target as $crate::plugin::Target>::TARGETS)?];
            const CLASSES: &[recast::Names] = &[$(<$layers as $crate::plugin::Layers>::CLASSES)?];
            const CLAIMS: recast::Claims = recast::Claims {
                formats: recast::only(FORMATS),
                targets: recast::only(TARGETS),
                classes: recast::only(CLASSES),
            };
            const NEEDS: recast::Names = recast::needs(&[$(&[$($need),*])?], !TARGETS.is_empty());
            const LEN: usize = recast::manifest_len(&IDENTITY, NEEDS, &CLAIMS);

            #[used]
            #[unsafe(link_section = ".recast_manifest")]
            static MANIFEST: [u8; LEN] = recast::manifest_bytes(&IDENTITY, NEEDS, &CLAIMS);

            unsafe extern "C" fn cases(host: *const abi::RecastHost) -> i32 {
                // SAFETY: the host's promise for a call.
                unsafe {
                    recast::selftest(
                        host,
                        || recast::all([$($crate::plugin::Layers::examples(&<$layers as recast::Constant>::VALUE))?]),
                        || recast::all([$($crate::plugin::Source::samples(&<$source as recast::Constant>::VALUE))?]),
                    )
                }
            }

            static TABLES: recast::Tables = recast::Tables {
                source: &[$(recast::source_table::<$source>())?],
                target: &[$(recast::target_table::<$target>())?],
                layers: &[$(recast::layers_table::<$layers>())?],
                selftest: recast::selftest_table(cases),
                check: &[$(recast::check_table::<$target>())?],
            };

            unsafe extern "C" fn manifest() -> abi::RecastBytes {
                abi::RecastBytes::new(&MANIFEST)
            }

            unsafe extern "C" fn init(host: *const abi::RecastHost) -> i32 {
                // SAFETY: the host's promise for `init`.
                unsafe { recast::init(host) }
            }

            unsafe extern "C" fn get_extension(id: abi::RecastBytes) -> *const ::core::ffi::c_void {
                // SAFETY: the host passes readable bytes.
                unsafe { TABLES.get(id) }
            }

            abi::export_entry!(abi::RecastEntry {
                magic: abi::MAGIC,
                struct_size: size_of::<abi::RecastEntry>() as u32,
                abi_major: abi::ABI_MAJOR,
                manifest,
                init,
                get_extension,
            });
        };
    };
}
