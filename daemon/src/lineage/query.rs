//! `recast lineage`: where does this file come from, what was made from it, and is what the records say still true?

use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::bundle::Trust;
use super::key::PublicKey;
use super::store::{Record, Store, read_record};
use super::{LineageError, RECORD_SUFFIX};
use crate::digest;
use crate::tree::{Bounds, Trouble};

/// Records that one answer holds: a chain of conversions is short, what used one plugin may be many.
const RECORDS_MAX: usize = 10_000;

/// Conversions in a row.
const CHAIN_MAX: u32 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    File(PathBuf),
    Digest(String),
}

impl Subject {
    pub fn parse(text: &str) -> Result<Subject, String> {
        match text.strip_prefix("sha256:") {
            Some(hex) if digest::is_sha256_hex(hex) => Ok(Subject::Digest(hex.to_owned())),
            Some(hex) => Err(format!("{hex:?} is not a sha256 in lower-case hex")),
            None => Ok(Subject::File(PathBuf::from(text))),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Verdict {
    Ok,
    UnknownKey,
    Missing,
    Bad,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::UnknownKey => "UNKNOWN-KEY",
            Verdict::Missing => "MISSING",
            Verdict::Bad => "BAD",
        }
    }
}

/// One record of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// 0 is what was asked for; 1 its source, or what was made from it; and so on.
    pub depth: u32,
    pub verdict: Verdict,
    /// Why it is not OK.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    pub record: PathBuf,
    pub record_sha256: String,
    pub subjects: Vec<(String, String)>,
    pub source: String,
    pub source_sha256: String,
    pub target: String,
    pub level: String,
    pub finished: String,
    pub plugins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub sha256: String,
    pub found: bool,
    pub links: Vec<Link>,
    /// Said when there is no record: was the file modified, is the record beside it another file's?
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The file is not what its records say it is.
    pub modified: bool,
}

impl Answer {
    pub fn worst(&self) -> Verdict {
        self.links.iter().map(|link| link.verdict).max().unwrap_or(Verdict::Missing)
    }
}

pub struct Query<'a> {
    pub stores: &'a [Store],
    pub keys: &'a [PublicKey],
    pub down: bool,
    /// Hash the files that the records speak of, too.
    pub rehash: bool,
}

pub fn run(query: &Query, subject: &Subject) -> Result<Answer, LineageError> {
    let (sha256, beside) = match subject {
        Subject::Digest(hex) => (hex.clone(), None),
        Subject::File(path) => (hash(path)?, Some(path.as_path())),
    };
    let mut answer =
        Answer { sha256: sha256.clone(), found: false, links: Vec::new(), note: String::new(), modified: false };
    let mut seen = BTreeSet::new();
    if query.down {
        query.walk_down(&sha256, 0, &mut seen, &mut answer)?;
    } else {
        query.walk_up(&sha256, beside, 0, &mut seen, &mut answer)?;
    }
    answer.found = !answer.links.is_empty();
    if let (false, false, Some(path)) = (answer.found, query.down, beside) {
        query.explain_absence(path, &mut answer)?;
    }
    Ok(answer)
}

fn hash(path: &Path) -> Result<String, LineageError> {
    // A link such as `latest` is the asker's own way to the file.
    let path = std::fs::canonicalize(path)?;
    let bounds = Bounds { bytes_max: u64::MAX, hard_links_allowed: true, ..Bounds::default() };
    digest::of_artifact(&path, &bounds).map_err(|trouble| match trouble {
        Trouble::Io(error) => LineageError::Io(error),
        other => LineageError::Io(std::io::Error::other(format!("{}: {other}", path.display()))),
    })
}

fn sidecar(path: &Path) -> PathBuf {
    // Without the slash that may end the name of a directory.
    let mut name = path.components().as_path().as_os_str().to_owned();
    name.push(RECORD_SUFFIX);
    PathBuf::from(name)
}

impl Query<'_> {
    /// Every record that the index or the file's own neighbourhood has for a digest.
    fn records_of(&self, sha256: &str, beside: Option<&Path>) -> Result<Vec<Record>, LineageError> {
        let mut paths = Vec::new();
        if let Some(path) = beside.map(sidecar).filter(|path| path.exists()) {
            paths.push(path);
        }
        for store in self.stores {
            paths.extend(store.made_as(sha256)?);
        }
        let mut records: Vec<Record> = Vec::new();
        for path in paths {
            // The index may be older than the directory: a record that is gone or another file's now is not an answer.
            let Ok(record) = read_record(&path) else { continue };
            if record.claims.speaks_of(sha256) && !records.iter().any(|known| known.sha256 == record.sha256) {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn walk_up(
        &self,
        sha256: &str,
        beside: Option<&Path>,
        depth: u32,
        seen: &mut BTreeSet<String>,
        answer: &mut Answer,
    ) -> Result<(), LineageError> {
        // One record says where a file comes from; further ones are other conversions that gave the same bytes.
        let Some(record) = self.records_of(sha256, beside)?.into_iter().next() else { return Ok(()) };
        if depth > CHAIN_MAX || !seen.insert(record.sha256.clone()) {
            return Ok(());
        }
        answer.links.push(self.judge(&record, depth));
        let Some(source) = record.claims.source() else { return Ok(()) };
        let before = answer.links.len();
        self.walk_up(&source.sha256, None, depth + 1, seen, answer)?;
        if let Some(pinned) = record.claims.parent_record() {
            self.check_parent(&pinned.sha256, before, depth + 1, answer)?;
        }
        Ok(())
    }

    /// The record pins its source's record: it must be that one, and it must be there.
    fn check_parent(&self, pinned: &str, at: usize, depth: u32, answer: &mut Answer) -> Result<(), LineageError> {
        match answer.links.get_mut(at) {
            Some(link) if link.record_sha256 == pinned => {}
            Some(link) => {
                link.verdict = Verdict::Bad;
                link.reasons.push(format!("what was made from it pins the record sha256:{pinned}"));
            }
            None => {
                let mut link = Link::missing(pinned, depth);
                for store in self.stores {
                    if let Some(path) = store.record_at(pinned)? {
                        link.reasons.push(format!("it lay at {}", path.display()));
                    }
                }
                answer.links.push(link);
            }
        }
        Ok(())
    }

    fn walk_down(
        &self,
        sha256: &str,
        depth: u32,
        seen: &mut BTreeSet<String>,
        answer: &mut Answer,
    ) -> Result<(), LineageError> {
        for store in self.stores {
            for path in store.made_from(sha256)? {
                let Ok(record) = read_record(&path) else { continue };
                if depth > CHAIN_MAX || answer.links.len() >= RECORDS_MAX || !seen.insert(record.sha256.clone()) {
                    continue;
                }
                answer.links.push(self.judge(&record, depth));
                for subject in record.claims.subjects.iter().chain(&record.claims.whole()) {
                    self.walk_down(&subject.sha256, depth + 1, seen, answer)?;
                }
            }
        }
        Ok(())
    }

    fn judge(&self, record: &Record, depth: u32) -> Link {
        let mut reasons = Vec::new();
        let mut verdict = match record.unwrapped.trust(self.keys) {
            Trust::Ok => Verdict::Ok,
            Trust::UnknownKey => {
                reasons.push(format!("signed by a key that is not here: {}", record.unwrapped.key_hint));
                Verdict::UnknownKey
            }
            Trust::Bad => {
                reasons.push("its signature is not by the key that it names".to_owned());
                Verdict::Bad
            }
        };
        if self.rehash {
            let wrong = changed_subjects(record);
            if !wrong.is_empty() {
                verdict = Verdict::Bad;
                reasons.extend(wrong);
            }
        }
        Link::of(record, depth, verdict, reasons)
    }

    fn explain_absence(&self, path: &Path, answer: &mut Answer) -> Result<(), LineageError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let sidecar = sidecar(path);
        if sidecar.exists() {
            answer.modified = true;
            answer.note = match read_record(&sidecar) {
                Err(error) => format!("{} can't be read: {error}", sidecar.display()),
                Ok(record) => match record.claims.subjects.iter().find(|subject| subject.name == name) {
                    Some(subject) => {
                        format!("the record beside it is of sha256:{}: the file was modified", subject.sha256)
                    }
                    None if path.is_dir() => {
                        "the record beside it is of other files: one was modified, added or removed".into()
                    }
                    None => "the record beside it is another file's".to_owned(),
                },
            };
            return Ok(());
        }
        for store in self.stores {
            if let Some(known) = store.known_as(&name)?.first() {
                answer.modified = true;
                answer.note = format!("no record; the nearest by name has sha256:{known}: the file was modified");
                return Ok(());
            }
        }
        answer.note = "no record speaks of it".to_owned();
        Ok(())
    }
}

/// Files of a record that lie beside it and are not what it says.
fn changed_subjects(record: &Record) -> Vec<String> {
    let dir = record.path.parent().unwrap_or(Path::new("."));
    let mut wrong = Vec::new();
    for subject in &record.claims.subjects {
        // A record may come from anywhere: it gets no file hashed that does not lie beside it.
        if Path::new(&subject.name).components().any(|part| !matches!(part, Component::Normal(_))) {
            wrong.push(format!("it speaks of {:?}, outside its directory", subject.name));
            continue;
        }
        match digest::of_file(&dir.join(&subject.name)) {
            Ok((sha256, _)) if sha256 == subject.sha256 => {}
            Ok((sha256, _)) => wrong.push(format!("{} was modified: it has sha256:{sha256}", subject.name)),
            // Moved or deleted outputs don't make their record wrong.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => wrong.push(format!("{}: {error}", subject.name)),
        }
    }
    wrong
}

impl Link {
    fn of(record: &Record, depth: u32, verdict: Verdict, reasons: Vec<String>) -> Link {
        let claims = &record.claims;
        let is_plugin = |role: &str| !matches!(role, "source" | "parent-record" | "golden" | "architecture");
        let plugins = claims.dependencies.iter().filter(|dependency| is_plugin(&dependency.role));
        let plugins = plugins.map(|dependency| format!("{} sha256:{}", dependency.uri, dependency.sha256));
        // One that reads and writes is named for both.
        let mut plugins: Vec<String> = plugins.collect();
        plugins.dedup();
        Link {
            depth,
            verdict,
            reasons,
            record: record.path.clone(),
            record_sha256: record.sha256.clone(),
            subjects: claims.subjects.iter().map(|s| (s.name.clone(), s.sha256.clone())).collect(),
            source: claims.source_name.clone(),
            source_sha256: claims.source().map(|source| source.sha256.clone()).unwrap_or_default(),
            target: claims.target.clone(),
            level: claims.level.clone(),
            finished: claims.finished.clone(),
            plugins,
        }
    }

    fn missing(record_sha256: &str, depth: u32) -> Link {
        Link {
            depth,
            verdict: Verdict::Missing,
            reasons: vec!["the record that is pinned as the source's is not here".to_owned()],
            record: PathBuf::new(),
            record_sha256: record_sha256.to_owned(),
            subjects: Vec::new(),
            source: String::new(),
            source_sha256: String::new(),
            target: String::new(),
            level: String::new(),
            finished: String::new(),
            plugins: Vec::new(),
        }
    }
}
