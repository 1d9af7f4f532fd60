//! What an ELF file says about itself, read without running any of it.

use super::refusal::{NOT_A_PLUGIN, Refusal, Step};
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectKind, ObjectSection, ReadCache, elf};
use recast_plugin_api::plugin::{MANIFEST_BYTES_MAX, Manifest};
use serde::Serialize;
use std::fs::File;
use std::path::Path;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = elf::EM_AARCH64;

/// The manifest of a plugin file: its text as it lies in the file, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadManifest {
    pub bytes: Vec<u8>,
    pub manifest: Manifest,
}

type Elf<'data> = ElfFile64<'data, Endianness, &'data ReadCache<&'data File>>;

fn parse<'data>(path: &Path, cache: &'data ReadCache<&'data File>) -> Result<Elf<'data>, Refusal> {
    let refuse = |found: String| {
        let needed = format!("a shared library for {} Linux", std::env::consts::ARCH);
        Refusal::new(path, Step::Elf, found, needed, "build the plugin for this machine")
    };
    let file = ElfFile64::<Endianness, _>::parse(cache).map_err(|e| refuse(format!("{NOT_A_PLUGIN} ({e})")))?;
    let machine = file.elf_header().e_machine(file.endian());
    if machine != MACHINE {
        return Err(refuse(format!("a library for {}", machine_name(machine))));
    }
    if file.kind() != ObjectKind::Dynamic {
        return Err(refuse(format!("{NOT_A_PLUGIN} (an ELF file, but not a shared library)")));
    }
    Ok(file)
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".into(),
        elf::EM_AARCH64 => "aarch64".into(),
        elf::EM_RISCV => "riscv".into(),
        elf::EM_386 => "i386".into(),
        elf::EM_ARM => "arm".into(),
        other => format!("ELF machine {other}"),
    }
}

pub fn read_manifest(path: &Path, file: &File) -> Result<ReadManifest, Refusal> {
    let cache = ReadCache::new(file);
    let parsed = parse(path, &cache)?;
    let refuse = |found: String, remedy: &str| {
        let needed = format!("the section {} with the plugin's manifest", recast_abi::MANIFEST_SECTION);
        Refusal::new(path, Step::Manifest, found, needed, remedy)
    };
    let Some(section) = parsed.section_by_name(recast_abi::MANIFEST_SECTION) else {
        return Err(refuse(format!("{NOT_A_PLUGIN} (no manifest)"), "export it with export_plugin!"));
    };
    if section.size() > MANIFEST_BYTES_MAX as u64 {
        return Err(refuse(format!("a manifest of {} bytes", section.size()), "report it to the plugin's author"));
    }
    let bytes = section.data().map_err(|e| refuse(e.to_string(), "build the plugin again"))?.to_vec();
    let manifest = Manifest::parse(&bytes).map_err(|e| refuse(e, "report it to the plugin's author"))?;
    check_manifest(path, &manifest)?;
    Ok(ReadManifest { bytes, manifest })
}

/// What can be decided from the manifest alone.
fn check_manifest(path: &Path, manifest: &Manifest) -> Result<(), Refusal> {
    let refuse =
        |found: String, needed: String, remedy: &str| Err(Refusal::new(path, Step::Manifest, found, needed, remedy));
    if manifest.abi_major != recast_abi::ABI_MAJOR {
        let (found, needed) = (manifest.abi_major, recast_abi::ABI_MAJOR);
        let remedy = if found > needed { "install a newer recast" } else { "build the plugin with the current SDK" };
        return refuse(format!("plugin ABI {found}"), format!("plugin ABI {needed}"), remedy);
    }
    if manifest.panic == "abort" {
        let needed = "panic = \"unwind\", so that a panic is an answer".to_owned();
        return refuse(
            "a plugin built with panic = \"abort\"".into(),
            needed,
            "build the plugin with panic = \"unwind\"",
        );
    }
    let is_id = !manifest.id.is_empty()
        && manifest.id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !is_id {
        let needed = "a reverse domain of letters, digits, '.', '-', '_'".to_owned();
        return refuse(format!("the plugin id {:?}", manifest.id), needed, "report it to the plugin's author");
    }
    Ok(())
}

/// What the dynamic linker will want of the system.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Demands {
    /// `DT_NEEDED`: other libraries.
    pub libraries: Vec<String>,
    /// `GLIBC_2.34`: the newest version of a symbol that it asks for.
    pub glibc: Option<String>,
    /// `DT_RUNPATH` or `DT_RPATH`; `$ORIGIN` in it means nothing for a file that is loaded by content.
    pub runpath: Option<String>,
}

pub fn demands(path: &Path, file: &File) -> Result<Demands, Refusal> {
    let cache = ReadCache::new(file);
    let parsed = parse(path, &cache)?;
    let refuse = |e: object::Error| {
        Refusal::new(path, Step::Elf, e.to_string(), "a whole ELF file", "copy or build the plugin again")
    };
    let (endian, data, sections) = (parsed.endian(), parsed.data(), parsed.elf_section_table());
    let mut demands = Demands::default();
    if let Some((entries, strings)) = sections.dynamic(endian, data).map_err(refuse)? {
        let strings = sections.strings(endian, data, strings).map_err(refuse)?;
        for entry in entries {
            let offset = u32::try_from(entry.d_val.get(endian)).unwrap_or(u32::MAX);
            let text = || strings.get(offset).map(|text| String::from_utf8_lossy(text).into_owned());
            match u32::try_from(entry.d_tag.get(endian)) {
                Ok(elf::DT_NEEDED) => demands.libraries.extend(text().ok()),
                Ok(elf::DT_RUNPATH | elf::DT_RPATH) => demands.runpath = text().ok(),
                _ => {}
            }
        }
    }
    if let Some((mut needs, strings)) = sections.gnu_verneed(endian, data).map_err(refuse)? {
        let strings = sections.strings(endian, data, strings).map_err(refuse)?;
        while let Some((_, mut versions)) = needs.next().map_err(refuse)? {
            while let Some(version) = versions.next().map_err(refuse)? {
                let name = version.name(endian, strings).map_err(refuse)?;
                let name = String::from_utf8_lossy(name).into_owned();
                if glibc_version(&name) > demands.glibc.as_deref().map_or(Vec::new(), glibc_version) {
                    demands.glibc = Some(name);
                }
            }
        }
    }
    Ok(demands)
}

/// `GLIBC_2.34` -> [2, 34]; empty for anything else, which sorts first.
fn glibc_version(name: &str) -> Vec<u32> {
    let digits = name.strip_prefix("GLIBC_").unwrap_or("");
    digits.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::glibc_version;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(glibc_version("GLIBC_2.34") > glibc_version("GLIBC_2.4"));
        assert!(glibc_version("GLIBC_PRIVATE") < glibc_version("GLIBC_2.2.5"));
    }
}
