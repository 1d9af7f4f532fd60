//! `recast plugins`: the tools say it, this prints it.

use serde::Serialize;
use std::fmt::Display;
use std::path::Path;

use super::{Failure, Format, PluginsAction, PluginsArgs};
use crate::config::Config;
use crate::host::tools::Ground;
use crate::host::{Refusal, Trust, tools};
use crate::job::exit;
use crate::ledger::{Fault, Ledger, LedgerError};
use crate::schedule::{Request, ask};
use crate::worker::WorkerCommand;

pub fn run(args: &PluginsArgs) -> Result<i32, Failure> {
    super::init_logging("warn");
    // The daemon's configuration, where there is one: what is asked is what a daemon would load.
    let whole = match super::find_config(args.config.as_deref()) {
        Ok(path) => Config::load(&path)?,
        Err(_) => Config::without_watches(),
    };
    let mut config = whole.plugins;
    config.path.splice(0..0, args.plugins.iter().cloned());
    let worker = WorkerCommand::this_program();
    match &args.action {
        PluginsAction::List => {
            let listing = tools::list(&config, &faults(&whole.state)?);
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
        PluginsAction::Test { file, filter, in_process } => {
            let trust = Trust { allow: config.allow.clone(), ..Trust::default() };
            let ground = if *in_process { Ground::Here } else { Ground::Worker(&worker) };
            match tools::test(file, &trust, ground, filter) {
                Ok(result) if result.cases.is_empty() => {
                    Err(Failure::usage(format!("--filter {filter}: no rule has a name with that in it")))
                }
                Ok(result) => shown(&result, args.format, if result.passed { exit::OK } else { exit::PLUGIN_CRASH }),
                Err(refusal) => refused(&refusal, args.format),
            }
        }
        PluginsAction::Release { plugin } => release(plugin, &whole.state),
        PluginsAction::New { name } => {
            let written = tools::begin(name, Path::new(".")).map_err(|error| Failure::io(name, error))?;
            for path in written {
                say_line!("{}", path.display());
            }
            Ok(exit::OK)
        }
    }
}

/// What the daemon's ledger knows against plugin files; nothing where no daemon ever ran.
fn faults(state: &Path) -> Result<Vec<Fault>, Failure> {
    match Ledger::read(state) {
        Ok(ledger) => Ok(ledger.plugin_faults()?),
        Err(LedgerError::Absent(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn release(plugin: &str, state: &Path) -> Result<i32, Failure> {
    let named = |fault: &Fault| fault.quarantined && (fault.plugin == plugin || fault.sha256 == plugin);
    let held: Vec<Fault> = faults(state)?.into_iter().filter(named).collect();
    if held.is_empty() {
        return Err(Failure::usage(format!("no plugin {plugin} is in quarantine")));
    }
    for fault in held {
        match Ledger::open(state) {
            Ok((mut ledger, _)) => {
                ledger.release(&fault.sha256)?;
                say_line!("{} is released; the daemon is not running", fault.plugin);
            }
            Err(LedgerError::Locked(_)) => {
                ask(state, &Request::Release(fault.sha256)).map_err(|error| Failure::io(state.display(), error))?;
                say_line!("the daemon was asked to release {}", fault.plugin);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit::OK)
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
