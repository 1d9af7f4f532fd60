//! The same entry through abi_stable: what a Rust plugin adds to the C symbol, so that the host can check the layout
//! of every type before it calls a function.
//!
//! `RecastRoot` never gets another field: abi_stable refuses a plugin whose root has fewer fields than the host's.

use crate::{RecastBytes, RecastEntry};
use abi_stable::library::{LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::ROption;
use abi_stable::type_layout::TypeLayout;
use abi_stable::{StableAbi, declare_root_module_statics, package_version_strings};

pub use abi_stable;

/// The symbol that abi_stable looks for: `ROOT_MODULE_LOADER_NAME`, as a literal so that an attribute can take it.
pub const ROOT_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// Layout of the table behind a plugin extension id, or none when the plugin does not offer it.
pub type LayoutOf = unsafe extern "C" fn(id: RecastBytes) -> ROption<&'static TypeLayout>;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RecastRootRef, prefix_fields = RecastRootFields)))]
pub struct RecastRoot {
    pub entry: RecastEntry,
    #[sabi(last_prefix_field)]
    pub layout_of: unsafe extern "C" fn(id: RecastBytes) -> ROption<&'static TypeLayout>,
}

impl RootModule for RecastRootRef {
    declare_root_module_statics! {RecastRootRef}
    const BASE_NAME: &'static str = "recast_plugin";
    const NAME: &'static str = "recast_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The layout that this build of the ABI gives a plugin extension; none for an id that it does not know.
pub fn layout_of(id: &str) -> Option<&'static TypeLayout> {
    use crate::id;
    match id {
        id::SOURCE => Some(<crate::RecastSourceV1 as StableAbi>::LAYOUT),
        id::TARGET => Some(<crate::RecastTargetV1 as StableAbi>::LAYOUT),
        id::LAYERS => Some(<crate::RecastLayersV1 as StableAbi>::LAYOUT),
        id::SELFTEST => Some(<crate::RecastSelftestV1 as StableAbi>::LAYOUT),
        id::CHECK => Some(<crate::RecastCheckV1 as StableAbi>::LAYOUT),
        _ => None,
    }
}

/// Puts an entry into the form that abi_stable hands out; it lives as long as the process.
pub fn leak(entry: RecastEntry, layout_of: LayoutOf) -> RecastRootRef {
    RecastRoot { entry, layout_of }.leak_into_prefix()
}

/// What `export_root!` puts behind `ROOT_SYMBOL`.
///
/// # Safety
/// `constructor` must return what `construct` made.
pub const unsafe fn header(constructor: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: the caller's promise.
    unsafe { LibHeader::from_constructor::<RecastRootRef>(constructor, abi_stable::library::CheckTypeLayout::Yes) }
}

/// Calls what `export_root!` generated, with a panic in it caught.
pub fn construct(root: fn() -> RecastRootRef) -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root)
}

/// `layout_of` of any entry: the layout that the plugin was built with, of what it offers.
///
/// # Safety
/// `id` must be readable.
pub unsafe fn layout_offered(entry: &RecastEntry, id: RecastBytes) -> ROption<&'static TypeLayout> {
    // SAFETY: the caller's promise; `get_extension` takes any bytes.
    let (offered, id) = unsafe { (!(entry.get_extension)(id).is_null(), id.as_slice()) };
    match core::str::from_utf8(id) {
        Ok(id) if offered => layout_of(id).into(),
        _ => ROption::RNone,
    }
}
