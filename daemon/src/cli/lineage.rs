//! `recast lineage`.

use std::path::{Path, PathBuf};

use super::{Failure, Format, LineageArgs};
use crate::config::Config;
use crate::job::exit;
use crate::lineage::key::{PublicKey, public_path};
use crate::lineage::query::{self, Answer, Link, Query, Subject, Verdict};
use crate::lineage::{Key, LineageError, Store};

/// Digits of a digest in text for people: enough to tell digests apart, and to search for.
const SHOWN_HEX_LEN: usize = 16;

pub fn run(args: &LineageArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    let subject = Subject::parse(&args.subject).map_err(Failure::usage)?;
    let places = places(args)?;
    let fail = |error: LineageError| Failure::io(&args.subject, error);
    let mut keys = Vec::new();
    for path in &args.key {
        keys.push(PublicKey::load(path).map_err(fail)?);
    }
    let mut stores = Vec::new();
    for place in &places {
        keys.extend(own_key(&place.key).map_err(fail)?);
        if Store::exists(&place.state) {
            stores.push(Store::open(&place.state).map_err(fail)?);
        }
    }
    let query = Query { stores: &stores, keys: &keys, down: args.down, rehash: args.verify };
    let answer = query::run(&query, &subject).map_err(fail)?;
    match args.format {
        Format::Json => say_line!("{}", serde_json::to_string(&answer).map_err(|error| Failure::io("json", error))?),
        Format::Text => say!("{}", text(&args.subject, &answer, args.down)),
    }
    Ok(exit_code(&answer, args.verify))
}

struct StatePlace {
    state: PathBuf,
    key: PathBuf,
}

/// The state of the named or nearby configuration, and the user's own from `convert`.
fn places(args: &LineageArgs) -> Result<Vec<StatePlace>, Failure> {
    let mut places = Vec::new();
    if args.config.is_some() || super::find_config(None).is_ok() {
        let config: Config = super::load_config(args.config.as_deref())?;
        places.push(StatePlace { state: config.state, key: config.key });
    }
    if let Ok(state) = super::user_state_dir() {
        let key = state.join("lineage.key");
        places.push(StatePlace { state, key });
    }
    Ok(places)
}

/// The public half is enough, and may be all that this user can read.
fn own_key(path: &Path) -> Result<Option<PublicKey>, LineageError> {
    let public = public_path(path);
    if public.exists() {
        return PublicKey::load(&public).map(Some);
    }
    if path.exists() { Key::open(path).map(|key| Some(key.public().clone())) } else { Ok(None) }
}

fn exit_code(answer: &Answer, verify: bool) -> i32 {
    match (answer.found, answer.modified) {
        (false, true) => exit::VERIFICATION,
        (false, false) => exit::UNSUPPORTED,
        (true, _) if verify && answer.worst() != Verdict::Ok => exit::VERIFICATION,
        (true, _) => exit::OK,
    }
}

fn short(sha256: &str) -> &str {
    &sha256[..SHOWN_HEX_LEN.min(sha256.len())]
}

fn text(subject: &str, answer: &Answer, down: bool) -> String {
    let mut text = format!("{subject}  sha256:{}\n", answer.sha256);
    if !answer.found {
        let note = if answer.note.is_empty() { "nothing was made from it that is known here" } else { &answer.note };
        return text + &format!("  {note}\n");
    }
    for link in &answer.links {
        text.push_str(&link_text(link, down));
    }
    text
}

fn link_text(link: &Link, down: bool) -> String {
    let indent = "  ".repeat(link.depth as usize + 1);
    let mut text = String::new();
    if link.verdict == Verdict::Missing {
        text = format!("{indent}MISSING  record sha256:{}\n", link.record_sha256);
    } else {
        let subjects: Vec<String> =
            link.subjects.iter().map(|(name, sha256)| format!("{name} (sha256:{})", short(sha256))).collect();
        let verdict = link.verdict.as_str();
        text += &format!("{indent}{verdict}  {}\n", subjects.join(", "));
        let made = if down { "made" } else { "was made" };
        let source = format!("{} (sha256:{})", link.source, short(&link.source_sha256));
        text += &format!(
            "{indent}    {made} {} as {}, checked: {}, from {source}\n",
            link.finished, link.target, link.level
        );
        for plugin in &link.plugins {
            text += &format!("{indent}    by {plugin}\n");
        }
        text += &format!("{indent}    record {}\n", link.record.display());
    }
    for reason in &link.reasons {
        text += &format!("{indent}    ! {reason}\n");
    }
    text
}
