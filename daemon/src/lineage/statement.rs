//! What a record says: an in-toto statement, predicate SLSA provenance v1.
//!
//! Everything of our own stands in `externalParameters`, `internalParameters` and `annotations`, which are free-form: a
//! field of our own elsewhere makes strict readers refuse the record.

use serde_json::{Map, Value, json};
use std::path::PathBuf;

use super::{bundle, stamp};
use crate::digest;
use crate::job::{JobReport, JobSpec, Level, Output, PluginUse};

pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "https://recast.dev/conversion/v1";
const BUILDER_ID: &str = "https://recast.dev/daemon/v1";

pub const ROLE_SOURCE: &str = "source";
pub const ROLE_PARENT: &str = "parent-record";

/// A file that took part, by name and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingredient {
    pub name: String,
    pub sha256: String,
}

/// All that the records of one job have in common.
pub struct Facts<'a> {
    pub spec: &'a JobSpec,
    pub report: &'a JobReport,
    /// The artifact's file name, without a directory.
    pub source_name: &'a str,
    pub source_bytes: u64,
    pub options_digest: &'a str,
    pub invocation: &'a str,
    pub started_ms: i64,
    pub finished_ms: i64,
    pub report_sha256: &'a str,
    pub golden: Option<Ingredient>,
    pub architecture: Option<Ingredient>,
    pub parent: Option<Ingredient>,
}

pub fn statement(facts: &Facts, output: &Output) -> Value {
    let subject: Vec<Value> =
        output.files.iter().map(|file| json!({"name": file.path, "digest": {"sha256": file.sha256}})).collect();
    json!({
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external_parameters(facts, output),
                "internalParameters": {
                    "threads": facts.spec.threads,
                    "platform": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
                },
                "resolvedDependencies": dependencies(facts, output),
            },
            "runDetails": {
                "builder": {"id": BUILDER_ID, "version": {"recast": env!("CARGO_PKG_VERSION")}},
                "metadata": {
                    "invocationId": facts.invocation,
                    "startedOn": stamp::rfc3339(facts.started_ms),
                    "finishedOn": stamp::rfc3339(facts.finished_ms),
                },
                "byproducts": byproducts(facts, output),
            },
        },
    })
}

fn external_parameters(facts: &Facts, output: &Output) -> Value {
    let report = facts.report;
    let mut target = Map::from_iter([("format".to_owned(), json!(output.target))]);
    let options = facts.spec.targets.iter().find(|target| target.name == output.target);
    target.extend(options.into_iter().flat_map(|spec| spec.options.clone()));
    let mut source = json!({
        "name": facts.source_name,
        "format": report.source_format,
        "formatVersion": report.source_version,
        "sha256": report.digest,
    });
    if !report.source_options.is_empty() {
        source["options"] = json!(report.source_options);
    }
    json!({
        "source": source,
        "target": target,
        "options": {"policy": facts.spec.verify.policy},
        "optionsDigest": {"sha256": facts.options_digest},
    })
}

fn dependencies(facts: &Facts, output: &Output) -> Vec<Value> {
    let report = facts.report;
    let file = |ingredient: &Ingredient, role: &str| {
        json!({
            "name": role,
            "uri": ingredient.name,
            "digest": {"sha256": ingredient.sha256},
            "annotations": {"role": role},
        })
    };
    let mut all = vec![json!({
        "name": "source",
        "uri": facts.source_name,
        "digest": {"sha256": report.digest},
        "annotations": {"role": ROLE_SOURCE, "format": report.source_format, "size": facts.source_bytes},
    })];
    all.extend(facts.architecture.iter().map(|ingredient| file(ingredient, "architecture")));
    all.extend(facts.golden.iter().map(|ingredient| file(ingredient, "golden")));
    // The writer of another output of the same job had no part in this one.
    let took_part = |plugin: &&PluginUse| plugin.targets.is_empty() || plugin.targets.contains(&output.target);
    all.extend(report.plugins.iter().filter(took_part).map(plugin_dependency));
    all.extend(facts.parent.iter().map(|parent| {
        json!({
            "name": "source-lineage",
            "uri": parent.name,
            "mediaType": bundle::MEDIA_TYPE,
            "digest": {"sha256": parent.sha256},
            "annotations": {"role": ROLE_PARENT},
        })
    }));
    all
}

fn plugin_dependency(plugin: &PluginUse) -> Value {
    let mut annotations = Map::from_iter([
        ("role".to_owned(), json!(plugin.role)),
        ("id".to_owned(), json!(plugin.id)),
        ("extension".to_owned(), json!(plugin.extension)),
        ("rustc".to_owned(), json!(plugin.rustc)),
    ]);
    if !plugin.layers.is_empty() {
        annotations.insert("layers".to_owned(), json!(plugin.layers));
    }
    json!({
        "name": plugin.name,
        // Not every plugin is a crate; an id is letters, digits, dots and dashes.
        "uri": format!("pkg:generic/{}@{}", plugin.id, plugin.version),
        "digest": {"sha256": plugin.sha256},
        "annotations": annotations,
    })
}

/// Each carries the digest of the report, as a descriptor without a uri, digest or content is not one.
fn byproducts(facts: &Facts, output: &Output) -> Vec<Value> {
    let checked = &output.verification;
    // Said out loud either way: a record without the field would read as "fine".
    let result = if checked.level == Level::None { "skipped" } else { "pass" };
    let timings: Map<String, Value> =
        facts.report.timings_ms.iter().map(|(stage, ms)| (format!("{stage}_ms"), json!(ms))).collect();
    vec![
        json!({
            "name": "verification",
            "digest": {"sha256": facts.report_sha256},
            "mediaType": "application/json",
            "annotations": {
                "result": result,
                "level": checked.level,
                "candidate": checked.runtime,
                "samples": checked.samples,
                "seed": facts.spec.verify.seed,
                "maxAbsErr": checked.max_abs_error,
                "maxRelErr": checked.max_rel_error,
                "rtol": facts.spec.verify.rtol,
                "atol": facts.spec.verify.atol,
                "note": checked.note,
            },
        }),
        json!({"name": "timings", "digest": {"sha256": facts.report_sha256}, "annotations": timings}),
    ]
}

/// What a statement says about itself, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    pub subjects: Vec<Ingredient>,
    pub dependencies: Vec<Dependency>,
    pub target: String,
    pub source_name: String,
    pub finished: String,
    pub level: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub name: String,
    pub uri: String,
    pub role: String,
    pub sha256: String,
}

/// None where it is no statement of ours, or lacks what each of them has.
pub fn read(statement: &Value) -> Option<Claims> {
    if statement["_type"] != STATEMENT_TYPE || statement["predicateType"] != PREDICATE_TYPE {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let predicate = &statement["predicate"];
    let definition = &predicate["buildDefinition"];
    let mut subjects = Vec::new();
    for subject in statement["subject"].as_array()? {
        subjects.push(Ingredient { name: text(&subject["name"])?, sha256: text(&subject["digest"]["sha256"])? });
    }
    let mut dependencies = Vec::new();
    for dependency in definition["resolvedDependencies"].as_array()? {
        dependencies.push(Dependency {
            name: text(&dependency["name"])?,
            uri: text(&dependency["uri"]).unwrap_or_default(),
            role: text(&dependency["annotations"]["role"]).unwrap_or_default(),
            sha256: text(&dependency["digest"]["sha256"])?,
        });
    }
    let verification = predicate["runDetails"]["byproducts"]
        .as_array()
        .and_then(|all| all.iter().find(|byproduct| byproduct["name"] == "verification"));
    Some(Claims {
        subjects,
        dependencies,
        target: text(&definition["externalParameters"]["target"]["format"]).unwrap_or_default(),
        source_name: text(&definition["externalParameters"]["source"]["name"]).unwrap_or_default(),
        finished: text(&predicate["runDetails"]["metadata"]["finishedOn"]).unwrap_or_default(),
        level: verification.and_then(|entry| text(&entry["annotations"]["level"])).unwrap_or_default(),
    })
}

impl Claims {
    /// The directory that all of its files lie in, where there is one, with the digest that it has as an artifact.
    pub fn whole(&self) -> Option<Ingredient> {
        let (root, _) = self.subjects.first()?.name.split_once('/')?;
        let inside = |subject: &Ingredient| {
            let below = subject.name.strip_prefix(root)?.strip_prefix('/')?;
            Some((PathBuf::from(below), subject.sha256.clone()))
        };
        let mut files = self.subjects.iter().map(inside).collect::<Option<Vec<_>>>()?;
        Some(Ingredient { name: root.to_owned(), sha256: digest::of_listing(&mut files) })
    }

    /// Is this the digest of one of its files, or of the directory that all of them lie in?
    pub fn speaks_of(&self, sha256: &str) -> bool {
        self.subjects.iter().any(|subject| subject.sha256 == sha256)
            || self.whole().is_some_and(|whole| whole.sha256 == sha256)
    }

    pub fn source(&self) -> Option<&Dependency> {
        self.dependencies.iter().find(|dependency| dependency.role == ROLE_SOURCE)
    }

    pub fn parent_record(&self) -> Option<&Dependency> {
        self.dependencies.iter().find(|dependency| dependency.role == ROLE_PARENT)
    }
}
