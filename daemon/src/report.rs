//! What is said about an artifact: one JSON object for machines, text for people, a table at the end.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::job::{Finding, JobKey, JobReport, Level, Output, PluginUse, Status};

/// The object that `--format json` prints, one per artifact, and the head of a bundle's `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactReport {
    pub artifact: String,
    pub digest: String,
    pub status: Status,
    /// Absolute; null when nothing was published.
    pub bundle: Option<String>,
    /// What was chosen of an artifact that holds several things.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_options: BTreeMap<String, String>,
    pub outputs: Vec<Output>,
    pub diagnostics: Vec<Finding>,
    pub timings_ms: BTreeMap<String, f64>,
    /// What a parked job waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

impl ArtifactReport {
    pub fn new(artifact: &str, report: &JobReport, bundle: Option<&Path>) -> ArtifactReport {
        ArtifactReport {
            artifact: artifact.to_owned(),
            digest: report.digest.clone(),
            status: report.status,
            bundle: bundle.map(|path| path.to_string_lossy().into_owned()),
            source_options: report.source_options.clone(),
            outputs: if bundle.is_some() { report.outputs.clone() } else { Vec::new() },
            diagnostics: report.diagnostics.clone(),
            timings_ms: report.timings_ms.clone(),
            waits_for: report.waits_for.clone(),
        }
    }

    pub fn json_line(&self) -> String {
        serde_json::to_string(self).expect("a report has only string keys")
    }
}

/// `report.json` in a bundle: the report, and what identifies the job so that a lost ledger can be rebuilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BundleReport {
    #[serde(flatten)]
    pub report: ArtifactReport,
    pub job: JobKey,
    pub plugins: Vec<PluginUse>,
    pub finished: String,
}

impl BundleReport {
    /// Same job, same outputs, proved as far: publishing it again would change nothing but dates.
    pub fn same_result(&self, other: &BundleReport) -> bool {
        let gist = |report: &BundleReport| {
            let output = |o: &Output| (o.target.clone(), o.path.clone(), o.sha256.clone(), o.verification.level);
            report.report.outputs.iter().map(output).collect::<Vec<_>>()
        };
        self.job == other.job && gist(self) == gist(other)
    }
}

pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Verified => "verified",
        Status::Unverified => "unverified",
        Status::Parked => "parked",
        Status::Failed => "failed",
    }
}

pub fn level_word(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Structural => "structural",
        Level::Reference => "reference",
        Level::Witness => "witness",
        Level::Oracle => "oracle",
        Level::Golden => "golden",
    }
}

/// What a level means, for somebody who has not read the manual.
fn level_meaning(level: Level) -> &'static str {
    match level {
        Level::None => "not checked",
        Level::Structural => "read back and compared",
        Level::Reference => "agrees with the reference evaluator",
        Level::Witness => "agrees with the reference evaluator, and with the graph that the artifact holds",
        Level::Oracle => "agrees with the original framework",
        Level::Golden => "agrees with your recorded outputs",
    }
}

fn finding_line(finding: &Finding) -> String {
    let mut line = format!("{}[{}]", finding.severity, finding.code);
    if !finding.at.is_empty() {
        let _ = write!(line, " {}", finding.at);
    }
    let _ = write!(line, ": {}", finding.detail);
    if !finding.hint.is_empty() {
        let _ = write!(line, "\n      -> {}", finding.hint);
    }
    line
}

fn seconds(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1000.0) }
}

/// One artifact, for a person.
pub fn text(report: &ArtifactReport) -> String {
    let mut text = String::new();
    let total = report.timings_ms.get("total").map(|ms| format!("  ({})", seconds(*ms))).unwrap_or_default();
    let _ = writeln!(text, "{}: {}{total}", report.artifact, status_word(report.status));
    for output in &report.outputs {
        let checked = &output.verification;
        let _ = writeln!(text, "  {:<12} {}", output.target, output.path);
        let _ = write!(text, "  {:<12} {}: {}", "", level_word(checked.level), level_meaning(checked.level));
        if checked.level >= Level::Reference {
            let (abs, rel, samples) = (checked.max_abs_error, checked.max_rel_error, checked.samples);
            let _ = write!(text, " ({}, max error {abs:.1e}, relative {rel:.1e}, {samples} samples)", checked.runtime);
        }
        text.push('\n');
        if !checked.note.is_empty() {
            let _ = writeln!(text, "  {:<12} {}", "", checked.note);
        }
    }
    for finding in &report.diagnostics {
        let _ = writeln!(text, "    {}", finding_line(finding));
    }
    for claim in &report.waits_for {
        let _ = writeln!(text, "    waits for {claim}");
    }
    // Inside a bundle, its place is ".": the reader is there.
    if let Some(bundle) = report.bundle.as_ref().filter(|bundle| *bundle != ".") {
        let _ = writeln!(text, "  bundle       {bundle}");
    }
    text
}

/// One row of the table that ends `run --until-idle`, and a `convert` of several artifacts.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub artifact: String,
    pub target: String,
    pub status: String,
    pub level: String,
    pub error: String,
    pub place: String,
}

pub fn rows(report: &ArtifactReport) -> Vec<Row> {
    let base = |target: &str| Row {
        artifact: report.artifact.clone(),
        target: target.to_owned(),
        status: status_word(report.status).to_owned(),
        level: String::new(),
        error: String::new(),
        place: report.bundle.clone().unwrap_or_default(),
    };
    if report.outputs.is_empty() {
        let mut row = base("-");
        let first = report.diagnostics.iter().find(|finding| finding.severity == "error");
        row.place = match (report.waits_for.first(), first) {
            (Some(claim), _) => format!("waits for {claim}"),
            (None, Some(finding)) => format!("{}: {}", finding.code, finding.detail),
            (None, None) => row.place,
        };
        return vec![row];
    }
    let fill = |output: &Output| {
        let checked = &output.verification;
        let compared = checked.level >= Level::Reference;
        Row {
            level: level_word(checked.level).to_owned(),
            error: if compared { format!("{:.1e}", checked.max_abs_error) } else { String::new() },
            ..base(&output.target)
        }
    };
    report.outputs.iter().map(fill).collect()
}

/// The table, with columns as wide as what is in them.
pub fn table(rows: &[Row]) -> String {
    let head = ["artifact", "target", "status", "checked", "max error", "bundle"];
    let cells: Vec<[&str; 6]> = rows
        .iter()
        .map(|r| [&r.artifact, &r.target, &r.status, &r.level, &r.error, &r.place].map(String::as_str))
        .collect();
    let width = |column: usize| {
        cells.iter().map(|row| row[column]).chain([head[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&cells) {
        for (column, width) in widths.iter().enumerate() {
            let _ = write!(text, "{:<width$}  ", row[column]);
        }
        let _ = writeln!(text, "{}", row[5]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_json_with_the_promised_keys() {
        let report = ArtifactReport::new(
            "m.h5",
            &JobReport::failed(Finding::error(recast_plugin_api::diag::Code::Malformed, "m.h5", "two\nlines")),
            None,
        );
        let line = report.json_line();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["artifact", "digest", "status", "bundle", "outputs", "diagnostics", "timings_ms"]);
        assert_eq!(value["status"], "failed");
        assert!(value["bundle"].is_null());
    }
}
