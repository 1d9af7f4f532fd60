//! Lineage: beside every output lies a signed record of what it was made from, by what, and how far it was checked.
//!
//! The record is an in-toto statement with a SLSA provenance predicate, in a DSSE envelope, in a Sigstore bundle: tools
//! that other people wrote read and verify it. A signature by a local key proves "this daemon wrote it" and no more.

pub mod bundle;
pub mod key;
pub mod query;
pub mod stamp;
pub mod statement;
pub mod store;

pub use key::Key;
pub use store::Store;

/// What the name of a record's file adds to that of the output it belongs to.
pub const RECORD_SUFFIX: &str = ".sigstore.json";

/// Bytes of a record file; ours are about 4 KB.
pub const RECORD_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    #[error("{0}")]
    Key(String),
    #[error("record: {0}")]
    Malformed(String),
    #[error("lineage index: {0}")]
    Index(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The record of how the artifact with this digest was made itself: the one that lies beside it, or one in the index.
pub fn parent_of(
    sha256: &str,
    sidecar: Option<&std::path::Path>,
    store: &Store,
) -> Result<Option<statement::Ingredient>, LineageError> {
    let mut candidates = Vec::from_iter(sidecar.map(std::path::Path::to_owned));
    candidates.extend(store.made_as(sha256)?);
    for path in candidates {
        // A record that is gone, broken, or another file's says nothing about this artifact.
        let Ok(record) = store::read_record(&path) else { continue };
        if record.claims.speaks_of(sha256) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            return Ok(Some(statement::Ingredient { name, sha256: record.sha256 }));
        }
    }
    Ok(None)
}
