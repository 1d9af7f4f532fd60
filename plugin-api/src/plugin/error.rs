//! Statuses of the boundary, and findings made of them.

use crate::diag::{Class, Code, Diag};
use recast_abi::status;
use std::fmt;

/// A host function that did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// The host is older than this extension.
    Missing(&'static str),
    /// A status of `recast_abi::status`.
    Status(&'static str, i32),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Missing(id) => write!(f, "this host does not offer {id}"),
            HostError::Status(what, code) => write!(f, "{what}: {}", status_text(*code)),
        }
    }
}

impl std::error::Error for HostError {}

impl HostError {
    pub fn at(self, at: impl Into<String>) -> Diag {
        let code = match self {
            HostError::Missing(_) => Code::PluginRefused,
            HostError::Status(_, status::CANCELLED) => Code::Cancelled,
            HostError::Status(_, status::IO) => Code::Io,
            HostError::Status(_, status::UNSUPPORTED) => Code::UnsupportedType,
            HostError::Status(..) => Code::PluginMisbehaved,
        };
        Diag::new(code, at, self.to_string())
    }
}

impl From<HostError> for std::io::Error {
    fn from(error: HostError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

pub fn status_text(code: i32) -> String {
    match code {
        status::OK => "done".into(),
        status::UNSUPPORTED => "not supported".into(),
        status::BAD_INPUT => "bad input".into(),
        status::IO => "input or output failed".into(),
        status::CANCELLED => "cancelled".into(),
        status::INTERNAL => "internal error".into(),
        status::MISUSE => "refused: wrong use".into(),
        status::PANIC => "panicked".into(),
        other => format!("status {other}"),
    }
}

/// The status that a call returns for its findings: that of the first error.
pub fn status_of(findings: &[Diag]) -> i32 {
    let Some(first) = findings.iter().find(|diag| diag.is_error()) else { return status::INTERNAL };
    if first.code == Code::Cancelled {
        return status::CANCELLED;
    }
    match first.code.class() {
        Class::Unsupported => status::UNSUPPORTED,
        Class::Malformed | Class::Limit => status::BAD_INPUT,
        Class::Io => status::IO,
        Class::Loss | Class::Verification | Class::Plugin | Class::Bug => status::INTERNAL,
    }
}
