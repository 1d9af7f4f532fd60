//! `raw>Nothing`, lowered to an empty reply, through the tables of the boundary alone.

use recast_abi::*;
use std::ffi::c_void;

const ABI: &str = if cfg!(feature = "abi2") { "2" } else { "1" };
const NEEDS: &str = if cfg!(feature = "needy") { r#""recast.host.future/7""# } else { "" };
const FUTURE: &str = if cfg!(feature = "newer") { r#""mood":"sunny","# } else { "" };
const OFFERS: &str = if cfg!(feature = "only-newer") {
    r#"{"extension":"recast.layers/2","shapes":[1]}"#
} else if cfg!(feature = "newer") {
    r#"{"extension":"recast.layers/2","shapes":[1]},{"extension":"recast.layers/1","classes":["raw>Nothing"]}"#
} else if cfg!(feature = "odd-probe") {
    r#"{"extension":"recast.source/1","formats":[{"name":"raw"}]}"#
} else {
    r#"{"extension":"recast.layers/1","classes":["raw>Nothing"]}"#
};

const PARTS: &[&str] = &[
    r#"{"schema":1,"id":"test.raw","name":"Raw","version":"0.0.1","abi_major":"#,
    ABI,
    ",",
    FUTURE,
    r#""needs":["#,
    NEEDS,
    r#"],"provides":["#,
    OFFERS,
    "]}",
];

const fn joined_len() -> usize {
    let (mut len, mut part) = (0, 0);
    while part < PARTS.len() {
        len += PARTS[part].len();
        part += 1;
    }
    len
}

const fn joined() -> [u8; joined_len()] {
    let (mut out, mut at, mut part) = ([0; joined_len()], 0, 0);
    while part < PARTS.len() {
        let mut i = 0;
        while i < PARTS[part].len() {
            out[at] = PARTS[part].as_bytes()[i];
            (at, i) = (at + 1, i + 1);
        }
        part += 1;
    }
    out
}

#[used]
#[unsafe(link_section = ".recast_manifest")]
static MANIFEST: [u8; joined_len()] = joined();

unsafe extern "C" fn manifest() -> RecastBytes {
    if cfg!(feature = "two-faced") { RecastBytes::new(b"{}") } else { RecastBytes::new(&MANIFEST) }
}

unsafe extern "C" fn init(_: *const RecastHost) -> i32 {
    status::OK
}

unsafe extern "C" fn list(host: *const RecastHost) -> i32 {
    let classes: &[u8] = if cfg!(feature = "lists-other") { b"raw>Other" } else { b"raw>Nothing" };
    // SAFETY: the host of a call is alive.
    unsafe { ((*host).emit)((*host).ctx, stream::RESULT, RecastBytes::new(classes)) }
}

unsafe extern "C" fn lower(_: *const RecastHost, _: RecastBytes) -> i32 {
    // No emit at all: an empty message.
    status::OK
}

static LAYERS: RecastLayersV1 = RecastLayersV1 {
    struct_size: size_of::<RecastLayersV1>() as u32,
    reserved: 0,
    list,
    infer_shape: None,
    lower,
    eval: None,
};

unsafe extern "C" fn probe(_: *const RecastHost, _: RecastBytes, _: RecastBytes) -> i32 {
    201
}

unsafe extern "C" fn read(_: *const RecastHost, _: RecastBytes) -> i32 {
    status::UNSUPPORTED
}

static SOURCE: RecastSourceV1 =
    RecastSourceV1 { struct_size: size_of::<RecastSourceV1>() as u32, reserved: 0, probe, describe: None, read };

unsafe extern "C" fn get_extension(wanted: RecastBytes) -> *const c_void {
    // SAFETY: the host passes readable bytes.
    match unsafe { wanted.as_slice() } {
        b"recast.layers/1" if !cfg!(feature = "only-newer") => (&raw const LAYERS).cast(),
        b"recast.source/1" if cfg!(feature = "odd-probe") => (&raw const SOURCE).cast(),
        b"recast.layers/2" if cfg!(any(feature = "newer", feature = "only-newer")) => (&raw const LAYERS).cast(),
        _ => std::ptr::null(),
    }
}

recast_abi::export_entry!(RecastEntry {
    magic: if cfg!(feature = "bad-magic") { 7 } else { MAGIC },
    struct_size: size_of::<RecastEntry>() as u32,
    abi_major: if cfg!(feature = "abi2-entry") { 2 } else { ABI_MAJOR },
    manifest,
    init,
    get_extension,
});
