//! What a command saw of plugin files, kept for the next one: hashing every plugin takes longer than a small model.
//!
//! Nothing rests on it. A worker hashes what it loads and refuses other bytes than those that were promised to it, so a
//! file that is wrong, or was written by somebody else, makes a refusal at worst.

use super::find::{Finder, Found, Identity};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lineage::stamp;

/// Below the state directory.
pub const FILE: &str = "plugins.json";
const BYTES_MAX: u64 = 16 << 20;
/// A file may change again within the grain of its time stamps, and look the same.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Kept {
    /// What one release takes for a plugin, another may not.
    recast: String,
    plugins: Vec<(Identity, Found)>,
}

impl Finder {
    /// Knows from here on what an earlier process saw. A file that says nothing is as good as none.
    pub fn recall(&mut self, file: &Path) {
        let mut text = Vec::new();
        let read = fs::File::open(file).and_then(|opened| opened.take(BYTES_MAX).read_to_end(&mut text));
        let Some(kept) = read.ok().and_then(|_| serde_json::from_slice::<Kept>(&text).ok()) else { return };
        if kept.recast == env!("CARGO_PKG_VERSION") {
            kept.plugins.into_iter().for_each(|(identity, found)| self.know(identity, found));
        }
    }

    /// Writes down what is known now. Not synced: what is lost is looked at again.
    pub fn keep(&self, file: &Path) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let settled = |identity: &Identity| identity.changed() + SETTLED < now;
        let known = self.known().filter(|(identity, _)| settled(identity));
        let plugins = known.map(|(identity, found)| (identity, found.clone())).collect();
        let text = serde_json::to_vec(&Kept { recast: env!("CARGO_PKG_VERSION").into(), plugins })?;
        let draft = file.with_extension(stamp::ulid());
        fs::write(&draft, text)?;
        fs::rename(&draft, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Trust;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_lie_in_the_file_is_only_believed_of_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        // Not this program, which may have been linked a moment ago.
        let plugin = fs::canonicalize("/bin/sh").unwrap();
        let identity = Identity::of(&fs::metadata(&plugin).unwrap());
        let found = Found {
            path: plugin.clone(),
            sha256: "ab".repeat(32),
            bytes: 1,
            manifest: recast_plugin_api::plugin::Manifest::parse(
                br#"{"schema":1,"id":"x","name":"x","version":"1","abi_major":1,"provides":[]}"#,
            )
            .unwrap(),
        };
        let mut finder = Finder::new();
        finder.know(identity, found.clone());
        let file = dir.path().join(FILE);
        finder.keep(&file).unwrap();
        let mut again = Finder::new();
        again.recall(&file);
        assert_eq!(again.known().map(|(_, found)| found.clone()).collect::<Vec<_>>(), std::slice::from_ref(&found));
        assert_eq!(again.examine(&plugin, &Trust::default()), Ok(found.clone()));
        assert!(!again.has_news());
        // Another file under the same path.
        let other = dir.path().join("other.so");
        fs::write(&other, b"no library").unwrap();
        again.know(identity, Found { path: other.clone(), ..found });
        assert!(again.examine(&other, &Trust::default()).is_err_and(|refusal| refusal.is_not_a_plugin()));
        symlink("nowhere", dir.path().join("gone")).unwrap();
        for strange in [dir.path().join("gone"), dir.path().to_owned(), other] {
            Finder::new().recall(&strange);
        }
    }
}
