//! Outputs that nothing here can run, read back: by the target itself (`recast.check/1`), which says where each weight
//! lies in the written files, while the bytes are compared here. The plugin compares the structure; a weight that it
//! forgets, names twice or finds somewhere else than in the output fails the check.

use crate::host::TensorStore;
use crate::job::OutputFile;
use recast_plugin_api::diag::{Class, Code, Diag, Findings};
use recast_plugin_api::ir::{Graph, Param};
use recast_plugin_api::messages::{CheckReply, FoundWeight};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read and compared at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    pub weights: usize,
    pub bytes: u64,
}

/// Findings of who read an output back, as verdicts on the output: what is not what it claims to be is wrong, what
/// can't be read for want of support is not verified. What went wrong with the plugin or the machine stays what it is.
pub fn as_verdicts(findings: Findings) -> Findings {
    let verdict = |diag: Diag| {
        let code = match diag.code.class() {
            Class::Malformed if diag.is_error() => Code::Mismatch,
            Class::Unsupported | Class::Limit if diag.is_error() => Code::NotVerified,
            _ => return diag,
        };
        Diag { code, detail: format!("read back, [{}]: {}", diag.code.as_str(), diag.detail), ..diag }
    };
    findings.into_iter().map(verdict).collect()
}

/// Compares the bytes of every param of `graph` (as it was written) with those that the plugin found in the files of
/// its output, which lie below `dir`.
pub fn compare_weights(
    graph: &Graph,
    reply: &CheckReply,
    store: &TensorStore,
    dir: &Path,
    files: &[OutputFile],
) -> Result<Compared, Findings> {
    let params = graph.all_params();
    let files: Vec<PathBuf> = files.iter().map(|file| dir.join(&file.path)).collect();
    let mut findings = Findings::new();
    let mut found: Vec<Option<&FoundWeight>> = vec![None; params.len()];
    for weight in &reply.weights {
        match found.get_mut(weight.param as usize) {
            Some(slot @ None) => *slot = Some(weight),
            Some(Some(_)) => {
                findings.push(mismatch(&params[weight.param as usize].name(), "is named twice by the target's check"));
            }
            None => {
                findings.push(mismatch("", &format!("the check names weight {}, of {}", weight.param, found.len())))
            }
        }
    }
    let mut compared = Compared::default();
    for (param, weight) in params.iter().zip(&found) {
        let result = match weight {
            Some(weight) => compare_weight(param, weight, store, &files),
            None => Err(mismatch(&param.name(), "is not found in the output")),
        };
        match result {
            Ok(bytes) => compared = Compared { weights: compared.weights + 1, bytes: compared.bytes + bytes },
            Err(diag) => findings.push(diag),
        }
    }
    if findings.is_empty() { Ok(compared) } else { Err(findings) }
}

fn mismatch(at: &str, detail: &str) -> Diag {
    Diag::new(Code::Mismatch, at, detail)
}

/// The bytes of one weight; how many they were.
fn compare_weight(param: &Param, found: &FoundWeight, store: &TensorStore, files: &[PathBuf]) -> Result<u64, Diag> {
    let name = param.name();
    let elements = store.elements(&param.tensor).map_err(|diag| Diag { at: name.clone(), ..diag })?;
    let rank = param.tensor.shape.len();
    let perm: Vec<usize> = found.perm.iter().map(|&axis| axis as usize).collect();
    let mut seen = vec![false; rank];
    let is_permutation = perm.len() == rank
        && perm.iter().all(|&axis| seen.get_mut(axis).is_some_and(|seen| !std::mem::replace(seen, true)));
    let turned;
    let expected = match perm.is_empty() {
        true => elements.bytes(),
        false if is_permutation => {
            turned = crate::host::permuted_elements(elements.bytes(), &param.tensor, &perm);
            &turned
        }
        false => return Err(mismatch(&name, &format!("{perm:?} is no order of {rank} axes"))),
    };
    compare_pieces(&name, expected, found, files)?;
    let len = expected.len() as u64;
    elements.forget();
    Ok(len)
}

fn compare_pieces(name: &str, expected: &[u8], found: &FoundWeight, files: &[PathBuf]) -> Result<(), Diag> {
    let stated = found.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.len));
    if stated != Some(expected.len() as u64) {
        let stated = stated.map_or("too many".into(), |n| n.to_string());
        return Err(mismatch(name, &format!("{stated} bytes in the output, should be {}", expected.len())));
    }
    let mut rest = expected;
    let mut chunk = vec![0u8; CHUNK_BYTES.min(expected.len())];
    for piece in &found.pieces {
        let path = Path::new(&piece.file);
        if !files.iter().any(|file| file == path) {
            return Err(mismatch(name, &format!("{:?} is not a file of the output", piece.file)));
        }
        let file = File::open(path).map_err(|e| Diag::new(Code::Io, name, format!("{}: {e}", piece.file)))?;
        let (mine, after) = rest.split_at(piece.len as usize);
        rest = after;
        let mut offset = piece.offset;
        for expected in mine.chunks(CHUNK_BYTES) {
            let read = &mut chunk[..expected.len()];
            file.read_exact_at(read, offset)
                .map_err(|e| mismatch(name, &format!("{}, byte {offset}: {e}", piece.file)))?;
            if expected != read {
                let at = expected.iter().zip(read.iter()).position(|(a, b)| a != b).unwrap_or(0);
                let place = format!("{}, byte {}", file_name(path), offset + at as u64);
                return Err(mismatch(name, &format!("other bytes in the output than in the model: {place}")));
            }
            offset = offset.saturating_add(expected.len() as u64);
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
