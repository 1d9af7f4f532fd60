//! What the names in a drop folder say: which are temporary, which belong to another entry, what an artifact is called.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::tree::{Refusal, printable};

/// Bytes of an artifact's name. File systems hold 255, and the outputs' names are longer: `.safetensors.sigstore.json`.
pub const NAME_BYTES_MAX: usize = 200;

/// Suffixes that writers put on a file that is not finished.
const PARTIAL_SUFFIXES: &[&str] = &[".crdownload", ".filepart", ".part", ".partial", ".swp", ".tmp", "~"];

/// Prefixes of the same meaning, and of what file managers and network file systems leave behind.
const PARTIAL_PREFIXES: &[&str] = &[".~lock", ".nfs", "~"];

/// Directories that belong to a NAS or to the file system.
const FOREIGN_NAMES: &[&str] = &["@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN"];

pub const GOLDEN_SUFFIX: &str = ".golden.npz";
pub const ARCHITECTURE_SUFFIX: &str = ".json";
pub const RECORD_SUFFIX: &str = ".sigstore.json";

/// File suffixes that an architecture `.json` can belong to.
const WEIGHTS_SUFFIXES: &[&str] = &[".weights.h5", ".h5", ".hdf5"];

fn has_suffix(name: &OsStr, suffix: &str) -> bool {
    let name = name.as_bytes();
    name.len() > suffix.len() && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
}

/// Does the name say that its writer has not finished? The end of that is a rename, which is a new entry.
pub fn is_partial(name: &OsStr) -> bool {
    PARTIAL_SUFFIXES.iter().any(|suffix| has_suffix(name, suffix))
        || PARTIAL_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

/// Names that are never an artifact and not worth a word.
pub fn is_skipped(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") || is_partial(name) || FOREIGN_NAMES.iter().any(|foreign| name == *foreign)
}

/// `*` stands for any run of characters; everything else for itself.
pub fn matches(pattern: &str, name: &OsStr) -> bool {
    let name = name.as_bytes();
    let mut parts = pattern.split('*').map(str::as_bytes);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut middle: Vec<&[u8]> = parts.collect();
    let Some(last) = middle.pop() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = find(rest, part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    (0..=haystack.len().checked_sub(needle.len())?).find(|&at| haystack[at..].starts_with(needle))
}

/// The artifact's name: the entry's without its suffix. Refused where it could not stand in a path or in a record.
pub fn artifact_name(entry: &OsStr, is_dir: bool) -> Result<String, Refusal> {
    let refuse = |reason, detail: String| Err(Refusal { reason, detail });
    let Some(text) = entry.to_str() else {
        return refuse("bad-name", format!("{} is not UTF-8", printable(entry)));
    };
    if text.chars().any(char::is_control) {
        return refuse("bad-name", format!("{} has control characters", printable(entry)));
    }
    let stem = if is_dir { text } else { stem(text) };
    if stem.len() > NAME_BYTES_MAX {
        return refuse("name-too-long", format!("{} bytes, at most {NAME_BYTES_MAX}", stem.len()));
    }
    if stem.is_empty() || stem == "." || stem == ".." || stem.starts_with('.') {
        return refuse("bad-name", format!("{} leaves no name without its suffix", printable(entry)));
    }
    Ok(stem.to_owned())
}

fn stem(file_name: &str) -> &str {
    for suffix in WEIGHTS_SUFFIXES {
        if has_suffix(OsStr::new(file_name), suffix) && file_name.is_char_boundary(file_name.len() - suffix.len()) {
            return &file_name[..file_name.len() - suffix.len()];
        }
    }
    match file_name.rfind('.') {
        Some(at) if at > 0 => &file_name[..at],
        _ => file_name,
    }
}

/// Files that take part in another entry's job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Companions {
    pub golden: Option<OsString>,
    pub architecture: Option<OsString>,
    /// The record of how the artifact itself was made.
    pub record: Option<OsString>,
}

/// Is this the name of a companion rather than of an artifact?
pub fn is_companion(name: &OsStr) -> bool {
    has_suffix(name, GOLDEN_SUFFIX) || has_suffix(name, ARCHITECTURE_SUFFIX)
}

/// The companions of `entry` among names for which `present` holds.
pub fn companions(entry: &OsStr, is_dir: bool, present: impl Fn(&OsStr) -> bool) -> Companions {
    let Ok(name) = artifact_name(entry, is_dir) else { return Companions::default() };
    let take = |candidate: String| Some(OsString::from(candidate)).filter(|candidate| present(candidate));
    let weights = !is_dir && WEIGHTS_SUFFIXES.iter().any(|suffix| has_suffix(entry, suffix));
    Companions {
        golden: take(format!("{name}{GOLDEN_SUFFIX}")),
        architecture: if weights { take(format!("{name}{ARCHITECTURE_SUFFIX}")) } else { None },
        record: take(format!("{}{RECORD_SUFFIX}", entry.to_string_lossy())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_skipped() {
        for name in ["a.h5.part", "a.TMP", ".a.h5.x7Gd2", "~a.h5", "a.h5~", ".nfs000123", "@eaDir", "a.crdownload"] {
            assert!(is_skipped(OsStr::new(name)), "{name}");
        }
        for name in ["a.h5", "tmp.h5", "part", "model.tmp.h5"] {
            assert!(!is_skipped(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, name, expected) in [
            ("*.md", "README.md", true),
            ("*.md", "README.mdx", false),
            ("README*", "README", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, OsStr::new(name)), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn artifacts_are_named_without_their_suffix() {
        for (entry, is_dir, name) in [
            ("mlp.h5", false, "mlp"),
            ("mlp.weights.h5", false, "mlp"),
            ("net.v2.keras", false, "net.v2"),
            ("plain", false, "plain"),
            ("saved.v2", true, "saved.v2"),
        ] {
            assert_eq!(artifact_name(OsStr::new(entry), is_dir).as_deref(), Ok(name));
        }
        let long = format!("{}.h5", "n".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(artifact_name(OsStr::new(&long), false).unwrap_err().reason, "name-too-long");
        assert_eq!(artifact_name(OsStr::new("a\nb.h5"), false).unwrap_err().reason, "bad-name");
        assert_eq!(artifact_name(OsStr::from_bytes(b"\xff.h5"), false).unwrap_err().reason, "bad-name");
    }

    #[test]
    fn companions_belong_to_the_artifact_of_their_name() {
        let there = ["m.golden.npz", "m.json", "m.h5.sigstore.json"];
        let found = companions(OsStr::new("m.h5"), false, |name| there.iter().any(|t| name == *t));
        assert_eq!(found.golden.as_deref(), Some(OsStr::new("m.golden.npz")));
        assert_eq!(found.architecture.as_deref(), Some(OsStr::new("m.json")));
        assert_eq!(found.record.as_deref(), Some(OsStr::new("m.h5.sigstore.json")));
        let keras = companions(OsStr::new("m.keras"), false, |name| there.iter().any(|t| name == *t));
        assert_eq!(keras.architecture, None);
    }
}
