//! The exported symbols of a Rust plugin.

/// Exports a `RecastEntry` constant under the C symbol and, with the feature `abi-stable`, as abi_stable's root module.
#[cfg(feature = "abi-stable")]
#[macro_export]
macro_rules! export_entry {
    ($entry:expr) => {
        #[unsafe(export_name = "recast_plugin_entry_v1")]
        pub static RECAST_ENTRY: $crate::RecastEntry = $entry;

        #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
        pub static RECAST_ROOT: $crate::root::abi_stable::library::LibHeader = {
            use $crate::root::abi_stable::{library::RootModuleResult, std_types::ROption, type_layout::TypeLayout};
            unsafe extern "C" fn layout_of(id: $crate::RecastBytes) -> ROption<&'static TypeLayout> {
                // SAFETY: the host passes readable bytes.
                unsafe { $crate::root::layout_offered(&RECAST_ENTRY, id) }
            }
            fn root() -> $crate::root::RecastRootRef {
                $crate::root::leak(RECAST_ENTRY, layout_of)
            }
            extern "C" fn constructor() -> RootModuleResult {
                $crate::root::construct(root)
            }
            // SAFETY: `constructor` returns what `construct` made.
            unsafe { $crate::root::header(constructor) }
        };
    };
}

/// Exports a `RecastEntry` constant under the C symbol.
#[cfg(not(feature = "abi-stable"))]
#[macro_export]
macro_rules! export_entry {
    ($entry:expr) => {
        #[unsafe(export_name = "recast_plugin_entry_v1")]
        pub static RECAST_ENTRY: $crate::RecastEntry = $entry;
    };
}
