//! Target `plain`: a directory with the graph and a file of weights, which `Target::check` reads back and which a
//! configured command runs. Target `twin`: the layer model in one file, which the source of this plugin reads.
//! `[targets.NAME] flaw = "..."` makes them do something wrong, for the tests of recast.

mod plain;
mod twin;

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Op;
use recast_plugin_api::messages::{Caps, CheckReply, CheckRequest, ReadRequest, Runner, WriteRequest};
use recast_plugin_api::model::{LayerModel, SCHEMA_REV};
use recast_plugin_api::plugin::{Cx, Format, ReadCx, Source, Target, WriteCx};
use std::io::Write;

struct Formats;
struct Twins;

/// What to do wrong.
fn flaw(options: &str) -> String {
    let options: serde_json::Value = serde_json::from_str(options).unwrap_or_default();
    options["flaw"].as_str().unwrap_or_default().to_owned()
}

fn io(at: &str, error: &dyn std::fmt::Display) -> Diag {
    Diag::new(Code::Io, at, error.to_string())
}

fn write_file(cx: &WriteCx<'_>, name: &str, bytes: &[u8]) -> Result<(), Diag> {
    cx.create(name)?.write_all(bytes).map_err(|e| io(name, &e))
}

fn caps(target: &str, suffix: &str) -> Caps {
    Caps {
        schema_rev: SCHEMA_REV,
        target: target.into(),
        ops: Op::NAMES.iter().map(|name| name.to_string()).collect(),
        suffix: suffix.into(),
        ..Caps::default()
    }
}

impl Target for Formats {
    const TARGETS: &'static [&'static str] = &["plain", "twin", "orphan"];

    fn capabilities(&self) -> Vec<Caps> {
        let runner = Runner { name: "plain".into(), script: "the script of plain".into() };
        vec![
            Caps { checks: true, runner: Some(runner), ..caps("plain", "_plain/") },
            Caps { wants_layers: true, read_back: "twin-model".into(), ..caps("twin", ".twin") },
            // Nobody reads what it says to write.
            Caps { wants_layers: true, read_back: "orphan-model".into(), ..caps("orphan", ".orphan") },
        ]
    }

    fn write(&self, cx: &WriteCx<'_>, target: &str, request: &WriteRequest) -> Result<(), Findings> {
        match target {
            "plain" => plain::write(cx, request),
            "twin" => twin::write(cx, request),
            _ => Ok(write_file(cx, &format!("{}.orphan", request.name), b"nothing")?),
        }
    }

    fn check(&self, _: &Cx<'_>, _: &str, request: &CheckRequest) -> Result<CheckReply, Findings> {
        plain::check(request)
    }
}

impl Source for Twins {
    const FORMATS: &'static [Format] = &[Format { name: "twin-model", suffixes: &[".twin"], magic: twin::MAGIC }];

    fn probe(&self, head: &[u8], _: &str) -> u8 {
        if head.starts_with(twin::MAGIC) { 100 } else { 0 }
    }

    fn read(&self, cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
        twin::read(cx, request)
    }
}

recast_plugin_api::export_plugin! {
    id: "test.checked",
    name: "Outputs that are read back",
    source: Twins,
    target: Formats,
}
