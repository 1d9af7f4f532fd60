//! The manifest: what a plugin says about itself before any of its code runs.
//!
//! JSON in the ELF section `.recast_manifest`, so that a C plugin can write it as a string and `objdump -s` shows it:
//! ```json
//! {"schema":1,"id":"dev.recast.onnx","name":"ONNX","version":"0.1.0","license":"MIT","url":"","abi_major":1,
//!  "sdk":"recast-plugin-api 0.1.0","rustc":"rustc 1.95.0 (59807616e 2026-04-14)",
//!  "target":"x86_64-unknown-linux-gnu","panic":"unwind","needs":["recast.host.tensor/1"],
//!  "provides":[{"extension":"recast.target/1","targets":["onnx"]}]}
//! ```

use crate::parts::unhex;
use serde::{Deserialize, Serialize};

/// Room for a plugin with some thousand classes; nothing near it is honest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

/// A format that a source reads. A source is asked about a file that has one of its suffixes or begins with one of its
/// magics, and about every directory.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// `keras-h5`; what two plugins may not both claim.
    pub name: &'static str,
    /// With the dot, lower case; `/` for a directory.
    pub suffixes: &'static [&'static str],
    /// First bytes of the file; empty where there is no such thing.
    pub magic: &'static [u8],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    /// Reverse domain: `com.acme.layers`.
    pub id: String,
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub url: String,
    pub abi_major: u32,
    #[serde(default)]
    pub sdk: String,
    #[serde(default)]
    pub rustc: String,
    #[serde(default)]
    pub target: String,
    /// `unwind`; empty for a plugin that is not of Rust.
    #[serde(default)]
    pub panic: String,
    /// Host extensions without which it can't work.
    #[serde(default)]
    pub needs: Vec<String>,
    pub provides: Vec<Provided>,
}

/// One extension and what the plugin claims with it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provided {
    pub extension: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<FormatClaim>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FormatClaim {
    pub name: String,
    #[serde(default)]
    pub suffixes: Vec<String>,
    /// Hex.
    #[serde(default)]
    pub magic: String,
}

impl FormatClaim {
    /// Is the source to be asked about the file of this name that begins with `head`?
    pub fn may_be(&self, head: &[u8], name: &str) -> bool {
        let name = name.to_lowercase();
        let magic = unhex(&self.magic).is_some_and(|magic| !magic.is_empty() && head.starts_with(&magic));
        let nothing_said = self.magic.is_empty() && self.suffixes.is_empty();
        nothing_said || magic || self.suffixes.iter().any(|suffix| name.ends_with(&suffix.to_lowercase()))
    }
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(format!("the manifest has {} bytes, at most {MANIFEST_BYTES_MAX} are read", bytes.len()));
        }
        // A C compiler ends its string with a zero, a linker pads the section with more.
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        serde_json::from_slice(&bytes[..end]).map_err(|e| format!("the manifest is not the JSON it should be: {e}"))
    }

    /// What it provides under an extension id.
    pub fn provided(&self, extension: &str) -> Option<&Provided> {
        self.provides.iter().find(|provided| provided.extension == extension)
    }
}

/// The manifest as a constant: everything in it is known to the compiler, and it must lie in the file before `main`.
#[doc(hidden)]
pub mod constant {
    use super::Format;

    /// What the macro knows of the plugin's crate.
    pub struct Identity {
        pub id: &'static str,
        pub name: &'static str,
        pub version: &'static str,
        pub license: &'static str,
        pub url: &'static str,
    }

    pub struct Claims {
        pub formats: Option<&'static [Format]>,
        pub targets: Option<&'static [&'static str]>,
        pub classes: Option<&'static [&'static str]>,
    }

    /// Writes into `out`, or only counts when it has no room: one function for both passes.
    struct Writer<const N: usize> {
        out: [u8; N],
        len: usize,
    }

    const HEX: &[u8; 16] = b"0123456789abcdef";

    impl<const N: usize> Writer<N> {
        const fn byte(&mut self, byte: u8) {
            if self.len < N {
                self.out[self.len] = byte;
            }
            self.len += 1;
        }

        const fn raw(&mut self, text: &str) {
            let mut i = 0;
            while i < text.len() {
                self.byte(text.as_bytes()[i]);
                i += 1;
            }
        }

        const fn string(&mut self, text: &str) {
            self.byte(b'"');
            let mut i = 0;
            while i < text.len() {
                let byte = text.as_bytes()[i];
                if byte == b'"' || byte == b'\\' {
                    self.byte(b'\\');
                }
                assert!(byte >= 0x20, "a manifest text holds a control character");
                self.byte(byte);
                i += 1;
            }
            self.byte(b'"');
        }

        const fn field(&mut self, key: &str, value: &str) {
            self.byte(b',');
            self.string(key);
            self.byte(b':');
            self.string(value);
        }

        const fn strings(&mut self, key: &str, values: &[&str]) {
            self.byte(b',');
            self.string(key);
            self.raw(":[");
            let mut i = 0;
            while i < values.len() {
                if i > 0 {
                    self.byte(b',');
                }
                self.string(values[i]);
                i += 1;
            }
            self.byte(b']');
        }

        const fn formats(&mut self, formats: &[Format]) {
            self.raw(",\"formats\":[");
            let mut i = 0;
            while i < formats.len() {
                self.raw(if i > 0 { ",{\"name\":" } else { "{\"name\":" });
                self.string(formats[i].name);
                self.strings("suffixes", formats[i].suffixes);
                self.raw(",\"magic\":\"");
                let mut k = 0;
                while k < formats[i].magic.len() {
                    let byte = formats[i].magic[k];
                    self.byte(HEX[(byte >> 4) as usize]);
                    self.byte(HEX[(byte & 15) as usize]);
                    k += 1;
                }
                self.raw("\"}");
                i += 1;
            }
            self.byte(b']');
        }

        const fn extension(&mut self, id: &str) {
            self.raw(",{\"extension\":");
            self.string(id);
        }

        const fn provides(&mut self, claims: &Claims) {
            self.raw(",\"provides\":[{\"extension\":\"recast.selftest/1\"}");
            if let Some(formats) = claims.formats {
                self.extension(recast_abi::id::SOURCE);
                self.formats(formats);
                self.byte(b'}');
            }
            if let Some(targets) = claims.targets {
                self.extension(recast_abi::id::TARGET);
                self.strings("targets", targets);
                self.byte(b'}');
                self.extension(recast_abi::id::CHECK);
                self.byte(b'}');
            }
            if let Some(classes) = claims.classes {
                self.extension(recast_abi::id::LAYERS);
                self.strings("classes", classes);
                self.byte(b'}');
            }
            self.byte(b']');
        }
    }

    const fn write<const N: usize>(identity: &Identity, needs: &[&str], claims: &Claims) -> Writer<N> {
        let mut w = Writer::<N> { out: [0; N], len: 0 };
        w.raw("{\"schema\":1");
        w.field("id", identity.id);
        w.field("name", identity.name);
        w.field("version", identity.version);
        w.field("license", identity.license);
        w.field("url", identity.url);
        w.raw(",\"abi_major\":1");
        w.field("sdk", concat!("recast-plugin-api ", env!("CARGO_PKG_VERSION")));
        w.field("rustc", env!("RECAST_SDK_RUSTC"));
        w.field("target", env!("RECAST_SDK_TARGET"));
        w.field("panic", if cfg!(panic = "unwind") { "unwind" } else { "abort" });
        w.strings("needs", needs);
        w.provides(claims);
        w.byte(b'}');
        w
    }

    pub const fn manifest_len(identity: &Identity, needs: &[&str], claims: &Claims) -> usize {
        let len = write::<0>(identity, needs, claims).len;
        assert!(len <= super::MANIFEST_BYTES_MAX, "the manifest is too long");
        len
    }

    pub const fn manifest_bytes<const N: usize>(identity: &Identity, needs: &[&str], claims: &Claims) -> [u8; N] {
        write::<N>(identity, needs, claims).out
    }
}

#[cfg(test)]
mod tests {
    use super::constant::*;
    use super::*;

    #[test]
    fn a_source_is_asked_about_what_it_claims() {
        let claim = |suffixes: &[&str], magic: &str| FormatClaim {
            name: "x".into(),
            suffixes: suffixes.iter().map(|&suffix| suffix.into()).collect(),
            magic: magic.into(),
        };
        for (claim, head, name, asked) in [
            (claim(&[".H5"], "89"), &b""[..], "Model.h5", true),
            (claim(&[".h5"], "8948"), b"\x89Hx", "model", true),
            (claim(&[".h5"], "8948"), b"\x89", "model", false),
            (claim(&["/"], ""), b"x", "model.h5", false),
            (claim(&[".h5"], "nonsense"), b"nonsense", "model", false),
            (claim(&[], ""), b"", "model", true),
        ] {
            assert_eq!(claim.may_be(head, name), asked, "{claim:?} {name}");
        }
    }

    #[test]
    fn a_constant_manifest_parses_to_what_was_written() {
        const IDENTITY: Identity =
            Identity { id: "com.acme.x", name: "say \"x\" \\ y", version: "1.2.3", license: "MIT", url: "" };
        const CLAIMS: Claims = Claims {
            formats: Some(&[Format { name: "x", suffixes: &[".x", "/"], magic: &[0x89, 0x0d] }]),
            targets: Some(&["x", "y"]),
            classes: Some(&["acme>X"]),
        };
        const NEEDS: &[&str] = &["recast.host.tensor/1"];
        const LEN: usize = manifest_len(&IDENTITY, NEEDS, &CLAIMS);
        const BYTES: [u8; LEN] = manifest_bytes(&IDENTITY, NEEDS, &CLAIMS);
        let manifest = Manifest::parse(&[&BYTES[..], b"\0\0"].concat()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.abi_major), ("say \"x\" \\ y", recast_abi::ABI_MAJOR));
        assert!(manifest.rustc.starts_with("rustc "), "{}", manifest.rustc);
        let source = manifest.provided(recast_abi::id::SOURCE).unwrap();
        assert_eq!((source.formats[0].magic.as_str(), source.formats[0].suffixes.len()), ("890d", 2));
        assert_eq!(manifest.provided(recast_abi::id::TARGET).unwrap().targets, ["x", "y"]);
        assert_eq!(manifest.provided(recast_abi::id::LAYERS).unwrap().classes, ["acme>X"]);
        assert_eq!(manifest.needs, NEEDS);
    }

    #[test]
    fn a_manifest_that_is_too_long_is_refused() {
        assert!(Manifest::parse(&vec![b' '; MANIFEST_BYTES_MAX + 1]).unwrap_err().contains("at most"));
    }
}
