//! `recast plugins`: the tools say it, this prints it.

use serde::Serialize;
use std::fmt::Display;
use std::path::Path;

use super::{Failure, Format, PluginsAction, PluginsArgs};
use crate::config::Config;
use crate::host::{Refusal, Trust, tools};
use crate::job::exit;
use crate::worker::WorkerCommand;

/// Every case: the conformance kit takes a part of their names.
const ALL_CASES: &str = "";

pub fn run(args: &PluginsArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    let mut config = match &args.config {
        Some(path) => Config::load(path)?.plugins,
        None => Config::without_watches().plugins,
    };
    config.path.splice(0..0, args.plugins.iter().cloned());
    let worker = WorkerCommand::this_program();
    match &args.action {
        PluginsAction::List => {
            let listing = tools::list(&config);
            let refused = !listing.refused.is_empty() || !listing.conflicts.is_empty();
            shown(&listing, args.format, if refused { exit::PLUGIN_CRASH } else { exit::OK })
        }
        PluginsAction::Inspect { file } => match tools::inspect(file) {
            Ok(inspected) => shown(&inspected, args.format, exit::OK),
            Err(refusal) => refused(&refusal, args.format),
        },
        PluginsAction::Doctor { file } => {
            let diagnosis = tools::doctor(file, &config, &worker);
            shown(&diagnosis, args.format, if diagnosis.healthy { exit::OK } else { exit::PLUGIN_CRASH })
        }
        PluginsAction::Test { file } => {
            let trust = Trust { allow: config.allow.clone(), ..Trust::default() };
            match tools::test(file, &trust, &worker, ALL_CASES) {
                Ok(result) => shown(&result, args.format, if result.passed { exit::OK } else { exit::PLUGIN_CRASH }),
                Err(refusal) => refused(&refusal, args.format),
            }
        }
        PluginsAction::New { name } => {
            let written = tools::begin(name, Path::new(".")).map_err(|error| Failure::io(name, error))?;
            for path in written {
                say_line!("{}", path.display());
            }
            Ok(exit::OK)
        }
    }
}

fn refused(refusal: &Refusal, format: Format) -> Result<i32, Failure> {
    shown(refusal, format, exit::PLUGIN_CRASH)
}

/// One JSON object on one line, or text.
fn shown(what: &(impl Serialize + Display), format: Format, code: i32) -> Result<i32, Failure> {
    match format {
        Format::Json => {
            let json = serde_json::to_string(what).map_err(|error| Failure::io("json", error))?;
            say_line!("{json}");
        }
        Format::Text => say_line!("{}", what.to_string().trim_end()),
    }
    Ok(code)
}
