//! Findings: everything that recast has to say about an artifact is one of these codes, at one place of the model.
//!
//! A finding is data: it is collected with all others, crosses the plugin boundary, and ends in the report. The code
//! says who must act (`Class`) and therefore which exit code a command ends with.

use prost::Message;

/// Who must act on a finding. Ordered by how much it outweighs the others when a command picks its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nobody: something worth knowing was left out or changed on the way.
    Loss,
    /// recast or a plugin lacks something: park or refuse. Exit code 3.
    Unsupported,
    /// The file is not what it claims to be. Exit code 4.
    Malformed,
    /// A bound of the configuration was reached. Exit code 4.
    Limit,
    /// The result is not proved right. Exit code 5.
    Verification,
    /// The machine: disk, permissions, a missing file. Exit code 6.
    Io,
    /// A plugin died or broke the boundary's rules. Exit code 7.
    Plugin,
    /// recast itself is wrong. Exit code 1.
    Bug,
}

impl Class {
    pub fn exit_code(self) -> i32 {
        match self {
            Class::Loss => 0,
            Class::Unsupported => 3,
            Class::Malformed | Class::Limit => 4,
            Class::Verification => 5,
            Class::Io => 6,
            Class::Plugin => 7,
            Class::Bug => 1,
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $class:ident, $meaning:literal;)*) => {
        /// Every code that recast reports. The README's table is printed from here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $meaning] $variant),* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),*];
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $text),* } }
            pub fn class(self) -> Class { match self { $(Code::$variant => Class::$class),* } }
            pub fn meaning(self) -> &'static str { match self { $(Code::$variant => $meaning),* } }
            pub fn parse(text: &str) -> Option<Code> { match text { $($text => Some(Code::$variant),)* _ => None } }
        }
    };
}

codes! {
    UnknownLayer = "unknown-layer", Unsupported, "No plugin lowers this layer class; the job parks until one does.";
    UnknownFormat = "unknown-format", Unsupported, "No plugin reads this artifact.";
    UnknownTarget = "unknown-target", Unsupported, "No plugin writes this target.";
    UnsupportedLayer = "unsupported-layer", Unsupported, "The layer is known, but not with these options.";
    UnsupportedOp = "unsupported-op", Unsupported, "The target can't express this op.";
    UnsupportedType = "unsupported-type", Unsupported, "The target can't hold values of this dtype or rank.";
    UnsupportedContainer = "unsupported-container", Unsupported, "The container uses a feature that is not read.";
    UnsafeCode = "unsafe-code", Unsupported, "The model carries code (Lambda, pickle), which is never executed.";
    ArchitectureMissing = "architecture-missing", Unsupported, "Weights without the architecture they belong to.";
    PluginConflict = "plugin-conflict", Unsupported, "Two plugins claim the same class or format.";
    Malformed = "malformed", Malformed, "The file does not follow its own format.";
    BadConfig = "bad-config", Malformed, "A layer's configuration is missing a key or has an impossible value.";
    WeightMissing = "weight-missing", Malformed, "A layer needs an array that the file does not hold.";
    WeightLeftover = "weight-leftover", Malformed, "The file holds an array that no layer took.";
    WeightShape = "weight-shape", Malformed, "An array's shape is not what its layer needs.";
    TypeMismatch = "type-mismatch", Malformed, "Shapes or dtypes that meet in one op do not fit together.";
    UnsafeLink = "unsafe-link", Malformed, "The file refers to data outside itself.";
    LimitExceeded = "limit-exceeded", Limit, "A named bound of the configuration was reached.";
    Mismatch = "mismatch", Verification, "The written file computes something else than the model.";
    VacuousCheck = "vacuous-check", Verification, "The check could not have failed: its outputs carry no information.";
    NotVerified = "not-verified", Verification, "No runtime could check the written file, and the policy requires it.";
    GoldenInvalid = "golden-invalid", Verification, "The recorded inputs or outputs do not fit the model.";
    Io = "io", Io, "The machine refused: disk, permission, missing file.";
    Changed = "changed", Io, "The artifact changed while it was read.";
    PluginRefused = "plugin-refused", Plugin, "A plugin file was not loaded.";
    PluginCrashed = "plugin-crashed", Plugin, "A plugin or its worker ended without a result.";
    PluginMisbehaved = "plugin-misbehaved", Plugin, "A plugin broke a rule of the boundary.";
    Timeout = "timeout", Plugin, "The worker used up its time.";
    OutOfMemory = "out-of-memory", Plugin, "The worker used up its memory.";
    Bug = "bug", Bug, "recast contradicts itself; please report it.";
    Cancelled = "cancelled", Io, "The job was told to stop.";
    TrainingDropped = "training-dropped", Loss, "Training-only state (optimizer, loss, metrics) is not carried over.";
    RandomAtInference = "random-at-inference", Unsupported, "It is called with training=True: random by itself.";
    CustomObject = "custom-object", Loss, "A class of the user's own, kept by name: who loads the output registers it.";
    NeedsNewer = "needs-newer", Loss, "The output needs a newer reader than its format does by itself.";
    OptionIgnored = "option-ignored", Loss, "An option has no meaning in this target.";
    LambdaRecognised = "lambda-recognised", Loss, "A Lambda's code is that of a well-known function.";
    Precision = "precision", Loss, "Values were stored, or are computed, in another dtype.";
    Traced = "traced", Loss, "The graph that the artifact holds beside its layers was used, or could not be.";
    Replaced = "replaced", Loss, "The bundle takes the place of one of the same artifact that had other outputs.";
    Decomposed = "decomposed", Loss, "An op was checked in a decomposed form.";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One finding: `at` is where (a layer path, a file member, a node), `detail` the fact, `hint` what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diag {
    pub code: Code,
    pub severity: Severity,
    pub at: String,
    pub detail: String,
    pub hint: String,
}

impl Diag {
    /// An error, or a warning where the code's class is a loss.
    pub fn new(code: Code, at: impl Into<String>, detail: impl Into<String>) -> Diag {
        let severity = if code.class() == Class::Loss { Severity::Warning } else { Severity::Error };
        Diag { code, severity, at: at.into(), detail: detail.into(), hint: String::new() }
    }

    /// The machine refused something at `at`: a path, a file's name.
    pub fn io(at: impl Into<String>, error: &std::io::Error) -> Diag {
        Diag::new(Code::Io, at, error.to_string())
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Diag {
        self.hint = hint.into();
        self
    }

    pub fn note(mut self) -> Diag {
        self.severity = Severity::Note;
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl std::fmt::Display for Diag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}] {}: {}", self.severity.as_str(), self.code.as_str(), self.at, self.detail)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diag {}

/// The findings that ended a step: at least one is an error.
pub type Findings = Vec<Diag>;

impl From<Diag> for Findings {
    fn from(diag: Diag) -> Findings {
        vec![diag]
    }
}

/// A finding on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct DiagProto {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub severity: String,
    #[prost(string, tag = "3")]
    pub at: String,
    #[prost(string, tag = "4")]
    pub detail: String,
    #[prost(string, tag = "5")]
    pub hint: String,
}

impl From<&Diag> for DiagProto {
    fn from(d: &Diag) -> DiagProto {
        DiagProto {
            code: d.code.as_str().into(),
            severity: d.severity.as_str().into(),
            at: d.at.clone(),
            detail: d.detail.clone(),
            hint: d.hint.clone(),
        }
    }
}

impl DiagProto {
    /// A code that this build does not know comes from a newer plugin: it is kept as text, as the plugin's fault.
    pub fn decode_diag(&self) -> Diag {
        let code = Code::parse(&self.code);
        let detail = if code.is_some() { self.detail.clone() } else { format!("[{}] {}", self.code, self.detail) };
        let severity = match self.severity.as_str() {
            "warning" => Severity::Warning,
            "note" => Severity::Note,
            _ => Severity::Error,
        };
        let code = code.unwrap_or(Code::PluginMisbehaved);
        Diag { code, severity, at: self.at.clone(), detail, hint: self.hint.clone() }
    }
}
