//! `newer-host PLUGIN.so` loads a layers plugin as the daemon does, with whatever ABI crate it was built against, and
//! prints that crate's version, the plugin's classes and whether it knows an extension of the future.

use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{RootModule, lib_header_from_path};
use recast_abi::root::{RecastRootRef, layout_of};
use recast_abi::*;
use std::ffi::c_void;
use std::path::Path;

unsafe extern "C" fn log(_: *mut c_void, _: u32, _: RecastBytes, _: RecastBytes) {}

unsafe extern "C" fn emit(ctx: *mut c_void, _: u32, chunk: RecastBytes) -> i32 {
    // SAFETY: `ctx` is the vector of `main`; the chunk is readable.
    unsafe { (*ctx.cast::<Vec<u8>>()).extend_from_slice(chunk.as_slice()) };
    status::OK
}

unsafe extern "C" fn get_extension(_: *mut c_void, _: RecastBytes) -> *const c_void {
    std::ptr::null()
}

fn main() {
    let path = std::env::args().nth(1).expect("a plugin file");
    let header = lib_header_from_path(Path::new(&path)).expect("a library with a header");
    let root = header.init_root_module::<RecastRootRef>().expect("a root module that fits");
    let entry = root.entry();
    assert_eq!((entry.magic, entry.abi_major), (MAGIC, ABI_MAJOR));
    let (layers, future) = (RecastBytes::new(id::LAYERS.as_bytes()), RecastBytes::new(b"recast.layers/2"));
    let mut said: Vec<u8> = Vec::new();
    let host = RecastHost {
        struct_size: size_of::<RecastHost>() as u32,
        abi_major: ABI_MAJOR,
        ctx: (&raw mut said).cast(),
        log,
        emit,
        get_extension,
    };
    // SAFETY: the layout of the entry was compared, and that of the table is before it is used.
    unsafe {
        let theirs = (root.layout_of())(layers).into_option().expect("a layout");
        check_layout_compatibility(layout_of(id::LAYERS).expect("ours"), theirs).expect("the same layout");
        assert_eq!((entry.init)(&host), status::OK);
        let table = (entry.get_extension)(layers).cast::<RecastLayersV1>();
        assert_eq!(((*table).list)(&host), status::OK);
        let knows_future = !(entry.get_extension)(future).is_null();
        println!("{} {} {knows_future}", RecastRootRef::VERSION_STRINGS.version, String::from_utf8_lossy(&said));
    }
}
