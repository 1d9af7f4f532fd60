//! From a plugin file to its tables. Constructors of a library run in `dlopen`, before anything can be checked, so
//! everything that can be is checked before; and what is loaded are the very bytes that were hashed.
//!
//! Nothing is ever unloaded: tables, manifests and code live as long as the worker.

use super::elf::{ReadManifest, read_manifest};
use super::offer;
use super::refusal::{Refusal, Step};
use crate::digest;
use crate::job::PluginPin;
use crate::tree;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use abi_stable::std_types::ROption;
use abi_stable::type_layout::TypeLayout;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use recast_abi::root::{LayoutOf, RecastRootRef};
use recast_abi::{
    RecastBytes, RecastCheckV1, RecastEntry, RecastHost, RecastLayersV1, RecastSelftestV1, RecastSourceV1,
    RecastTargetV1, id,
};
use recast_plugin_api::plugin::Manifest;
use rustix::fs::{MemfdFlags, SealFlags};
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The tables of a plugin that is in this process.
pub struct Loaded {
    pub entry: &'static RecastEntry,
    pub source: Option<&'static RecastSourceV1>,
    pub target: Option<&'static RecastTargetV1>,
    pub layers: Option<&'static RecastLayersV1>,
    pub selftest: Option<&'static RecastSelftestV1>,
    pub check: Option<&'static RecastCheckV1>,
    pub through: Through,
}

/// Which door a plugin came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// The layout of every table was compared with ours.
    AbiStable,
    /// C, or a Rust plugin without the layout check: sizes and the magic number were compared.
    C,
}

impl Through {
    pub fn as_str(self) -> &'static str {
        match self {
            Through::AbiStable => "rust, layouts checked",
            Through::C => "c",
        }
    }
}

/// Reads the manifest of a pinned file, without hashing it yet: `load` does both again on what it loads.
pub fn peek(pin: &PluginPin) -> Result<ReadManifest, Refusal> {
    let file = tree::open_file(&pin.path).map_err(|e| unreadable(&pin.path, &e))?;
    read_manifest(&pin.path, &file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(path, Step::File, error.to_string(), "a regular file that can be read", "put the library back")
}

/// The bytes of a pinned file, in memory that nobody can write to any more. It stays for good: glibc finds a library by
/// its name, which is that of the descriptor, before it looks at the file, so no other plugin may ever get the same.
pub fn content(pin: &PluginPin) -> Result<&'static File, Refusal> {
    copy_hashed(pin).map(|content| &*Box::leak(Box::new(content)))
}

/// Loads a pinned file of which `content` holds the bytes. `known` is the manifest that was peeked at; `host` is what
/// its `init` gets.
///
/// # Safety
/// `host` must live as long as the process. The file is code, and runs with everything that this process may do.
pub unsafe fn load(
    pin: &PluginPin,
    content: &'static File,
    known: &ReadManifest,
    host: &'static RecastHost,
) -> Result<Loaded, Refusal> {
    let path = &pin.path;
    if read_manifest(path, content)? != *known {
        return Err(changed(path));
    }
    let library = open(path, content)?;
    // SAFETY: the exported symbols have the types of the ABI, or the file lies about being a plugin; its magic number
    // and the layouts are compared before any of it is used.
    let (entry, layout_of, through) = unsafe { entry_of(path, &library)? };
    std::mem::forget(library);
    check_entry(path, entry, known)?;
    // SAFETY: `host` lives as long as the process.
    let code = unsafe { (entry.init)(host) };
    if code != recast_abi::status::OK {
        let found = format!("its init answered {code}");
        return Err(Refusal::new(path, Step::Open, found, "0", "see the log for what the plugin says"));
    }
    let tables = Tables { path, manifest: &known.manifest, entry, layout_of };
    tables.resolve(through)
}

fn changed(path: &Path) -> Refusal {
    let found = "other content than when the plugin was found";
    Refusal::new(path, Step::Digest, found, "the file as it was pinned", "run the job again")
}

/// The file's content in memory that nobody can write to any more.
fn copy_hashed(pin: &PluginPin) -> Result<File, Refusal> {
    let failed = |e: std::io::Error| unreadable(&pin.path, &e);
    let mut file = tree::open_file(&pin.path).map_err(failed)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = pin.path.file_name().unwrap_or_default().to_string_lossy();
    let memory = rustix::fs::memfd_create(&*name, flags).map_err(|e| failed(e.into()))?;
    let mut memory = File::from(memory);
    let (sha256, _) = digest::copy_hashed(&mut file, &mut memory, super::find::PLUGIN_BYTES_MAX).map_err(failed)?;
    if sha256 != pin.sha256 {
        return Err(changed(&pin.path));
    }
    // Not `WRITE`: it answers EBUSY while the kernel holds on to one of the pages, as it does when it moves them about.
    // The difference are writable mappings from before, of which there are none.
    let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).map_err(|e| failed(e.into()))?;
    Ok(memory)
}

fn open(path: &Path, content: &File) -> Result<Library, Refusal> {
    let name = format!("/proc/self/fd/{}", content.as_raw_fd());
    // SAFETY: running the library's constructors is what loading a plugin means; it was chosen and pinned for that.
    unsafe { Library::open(Some(&name), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| {
        let text = linker_text(&e).replace(&name, "the plugin");
        let needed = "everything that the library is linked against";
        Refusal::new(path, Step::Open, text, needed, "`recast plugins doctor FILE` says what is missing")
    })
}

/// What the dynamic linker says, without libloading's words around it.
fn linker_text(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    }
}

/// # Safety
/// See `load`.
unsafe fn entry_of(
    path: &Path,
    library: &Library,
) -> Result<(&'static RecastEntry, Option<LayoutOf>, Through), Refusal> {
    // SAFETY: the symbol is abi_stable's header reference wherever it exists; its magic text is compared on upgrade.
    if let Ok(header) = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) } {
        match root_of(*header) {
            Ok(root) => {
                // A root is leaked by its plugin; so is what is copied out of it.
                let entry: &'static RecastEntry = Box::leak(Box::new(root.entry()));
                return Ok((entry, Some(root.layout_of()), Through::AbiStable));
            }
            // Another release of abi_stable: its own tables differ, ours don't, and the C symbol shows them.
            Err(LibraryError::InvalidAbiHeader(_)) => {
                tracing::debug!(plugin = %path.display(), "another abi_stable, layouts can't be compared");
            }
            Err(error) => return Err(layout_refusal(path, &error.to_string())),
        }
    }
    let symbol = format!("{}\0", recast_abi::ENTRY_SYMBOL);
    // SAFETY: the symbol names a `RecastEntry`; the magic number decides whether it is one.
    match unsafe { library.get::<*const RecastEntry>(symbol.as_bytes()) } {
        // SAFETY: a symbol of a loaded library that is never unloaded.
        Ok(entry) => Ok((unsafe { &**entry }, None, Through::C)),
        Err(_) => {
            let needed = format!("the symbol {}", recast_abi::ENTRY_SYMBOL);
            let found = "a manifest, but no entry symbol";
            Err(Refusal::new(path, Step::Layout, found, needed, "export it with export_plugin!"))
        }
    }
}

fn root_of(header: AbiHeaderRef) -> Result<RecastRootRef, LibraryError> {
    // Not `RootModule::load_from_file`: that is one static per type, and a second plugin would get the first one's
    // functions.
    header.upgrade()?.init_root_module::<RecastRootRef>()
}

fn layout_refusal(path: &Path, text: &str) -> Refusal {
    tracing::debug!(plugin = %path.display(), "layout check: {text}");
    let remedy = "build the plugin against the released recast-abi 1.x";
    Refusal::new(path, Step::Layout, short_layout_error(text), "the layout of recast-abi 1", remedy)
}

/// abi_stable prints some hundred lines; what is wrong stands behind the last "Error:".
fn short_layout_error(text: &str) -> String {
    let end = text.rfind("Error:").map_or(text, |at| &text[at + "Error:".len()..]);
    let words: Vec<&str> = end.split_whitespace().collect();
    let mut short = words.join(" ");
    short.truncate(short.floor_char_boundary(300));
    short
}

fn check_entry(path: &Path, entry: &RecastEntry, known: &ReadManifest) -> Result<(), Refusal> {
    let refuse =
        |found: String, needed: String, remedy: &str| Err(Refusal::new(path, Step::Layout, found, needed, remedy));
    if entry.magic != recast_abi::MAGIC {
        let found = format!("{:#x} where the magic number belongs", entry.magic);
        return refuse(found, format!("{:#x}", recast_abi::MAGIC), "export the entry as recast_plugin.h says");
    }
    if entry.abi_major != recast_abi::ABI_MAJOR {
        let (found, ours) = (entry.abi_major, recast_abi::ABI_MAJOR);
        let remedy = if found > ours { "install a newer recast" } else { "build the plugin with the current SDK" };
        return refuse(format!("plugin ABI {found}"), format!("plugin ABI {ours}"), remedy);
    }
    if (entry.struct_size as usize) < size_of::<RecastEntry>() {
        let found = format!("an entry of {} bytes", entry.struct_size);
        return refuse(found, format!("{} bytes", size_of::<RecastEntry>()), "build the plugin with the current SDK");
    }
    // SAFETY: the ABI: readable for as long as the process lives.
    let stated = unsafe { (entry.manifest)().as_slice() };
    if trimmed(stated) != trimmed(&known.bytes) {
        let needed = format!("the bytes of the section {}", recast_abi::MANIFEST_SECTION);
        return refuse("another manifest from its function than in its file".into(), needed, "build the plugin again");
    }
    Ok(())
}

/// C strings end with a zero, and sections are padded with some.
fn trimmed(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1)]
}

struct Tables<'a> {
    path: &'a Path,
    manifest: &'a Manifest,
    entry: &'static RecastEntry,
    layout_of: Option<LayoutOf>,
}

impl Tables<'_> {
    fn resolve(&self, through: Through) -> Result<Loaded, Refusal> {
        let missing: Vec<&str> =
            self.manifest.needs.iter().map(String::as_str).filter(|id| !offer::IDS.contains(id)).collect();
        if !missing.is_empty() {
            return Err(self.refuse(format!("a plugin that needs {}", missing.join(", ")), offer::IDS.join(", ")));
        }
        // SAFETY: each id is paired with the type that the ABI defines for it.
        let loaded = unsafe {
            Loaded {
                entry: self.entry,
                source: self.table(id::SOURCE)?,
                target: self.table(id::TARGET)?,
                layers: self.table(id::LAYERS)?,
                selftest: self.table(id::SELFTEST)?,
                check: self.table(id::CHECK)?,
                through,
            }
        };
        if loaded.source.is_none() && loaded.target.is_none() && loaded.layers.is_none() {
            let offered: Vec<&str> = self.manifest.provides.iter().map(|p| p.extension.as_str()).collect();
            let known = [id::SOURCE, id::TARGET, id::LAYERS].join(", ");
            return Err(self.refuse(format!("a plugin that offers only {}", offered.join(", ")), known));
        }
        Ok(loaded)
    }

    fn refuse(&self, found: String, needed: String) -> Refusal {
        Refusal::new(self.path, Step::Extensions, found, format!("one of {needed}"), "install a newer recast")
    }

    /// The table behind an id that the manifest provides; none when the manifest does not mention it.
    ///
    /// # Safety
    /// `T` must be the table that the ABI defines for `id`.
    unsafe fn table<T>(&self, id: &'static str) -> Result<Option<&'static T>, Refusal> {
        if self.manifest.provided(id).is_none() {
            return Ok(None);
        }
        let refuse = |found: String, needed: String| {
            Err(Refusal::new(self.path, Step::Extensions, found, needed, "report it to the plugin's author"))
        };
        // SAFETY: the ABI: any bytes are an id, and a table lives as long as the process.
        let table: *const c_void = unsafe { (self.entry.get_extension)(RecastBytes::new(id.as_bytes())) };
        if table.is_null() {
            return refuse(format!("no table for {id}"), "every extension that its manifest provides".into());
        }
        self.check_layout(id)?;
        // SAFETY: every table begins with its size.
        let size = unsafe { *table.cast::<u32>() } as usize;
        if size < size_of::<T>() {
            return refuse(format!("a table of {size} bytes for {id}"), format!("{} bytes", size_of::<T>()));
        }
        // SAFETY: not null, large enough, and of the type that the caller vouches for.
        Ok(Some(unsafe { &*table.cast::<T>() }))
    }

    fn check_layout(&self, id: &str) -> Result<(), Refusal> {
        let (Some(layout_of), Some(ours)) = (self.layout_of, recast_abi::root::layout_of(id)) else { return Ok(()) };
        // SAFETY: the ABI: any bytes are an id.
        let theirs: ROption<&'static TypeLayout> = unsafe { layout_of(RecastBytes::new(id.as_bytes())) };
        let ROption::RSome(theirs) = theirs else {
            return Err(layout_refusal(self.path, &format!("no layout for {id}")));
        };
        check_layout_compatibility(ours, theirs)
            .map_err(|errors| layout_refusal(self.path, &format!("{id}: {}", short_layout_error(&errors.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use super::short_layout_error;

    #[test]
    fn only_the_last_error_of_a_layout_report_is_shown() {
        let text =
            "Compared <this>:\n    ...\nError:first\n\nError:mismatched type\nExpected:\n    u64\nFound:\n    u32\n";
        assert_eq!(short_layout_error(text), "mismatched type Expected: u64 Found: u32");
        assert_eq!(short_layout_error("plain"), "plain");
    }
}
