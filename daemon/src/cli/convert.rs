//! `recast convert`.

use std::path::Path;
use std::sync::Arc;

use super::progress::Progress;
use super::{ConvertArgs, Failure, Format, Wiring};
use crate::attempt::{Outcome, Workshop};
use crate::config::Config;
use crate::convert::{Request, convert};
use crate::host::kept;
use crate::job::{Policy, exit};
use crate::lineage::Key;
use crate::publish::{Area, Atomic, area};
use crate::report::{self, ArtifactReport};
use crate::runner::{Cancel, cancellation};
use tokio::runtime::Builder;

pub fn run(args: &ConvertArgs, wiring: &Wiring) -> Result<i32, Failure> {
    super::init_logging("warn");
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config { state: super::user_state_dir()?, ..Config::without_watches() },
    };
    let key_path = if args.config.is_some() { config.key.clone() } else { config.state.join("lineage.key") };
    let key = Key::open(&key_path).map_err(|error| Failure::io(key_path.display(), error))?;
    let request = request(args, &config, wiring)?;
    area::purge(&request.out).map_err(|error| Failure::io(request.out.display(), error))?;
    let area = Area::open(&request.out).map_err(|error| Failure::io(request.out.display(), error))?;
    let shop = Workshop {
        runner: wiring.runner.clone(),
        place: Arc::new(Atomic),
        key: Arc::new(key),
        state: config.state.clone(),
    };
    let code = super::block_on(Builder::new_current_thread(), convert_all(args, &shop, &request, &area))?;
    if code == exit::PLUGIN_CRASH {
        // A worker may have refused a plugin that is not what was kept of it: the next command looks for itself.
        let _ = std::fs::remove_file(config.state.join(kept::FILE));
    }
    Ok(code)
}

fn request(args: &ConvertArgs, config: &Config, wiring: &Wiring) -> Result<Request, Failure> {
    if args.paths.len() > 1 && (args.golden.is_some() || args.architecture.is_some()) {
        return Err(Failure::usage("--golden and --architecture belong to one artifact, and several are named"));
    }
    let mut plugins = config.plugins.clone();
    plugins.path.splice(0..0, args.plugins.iter().cloned());
    let found = wiring.plugins.scan_kept(&plugins, &config.state.join(kept::FILE));
    for finding in &found.findings {
        tracing::warn!("{}: {}", finding.at, finding.detail);
    }
    let mut targets = Vec::new();
    for name in &args.to {
        if targets.iter().any(|known: &crate::job::TargetSpec| known.name == *name) {
            return Err(Failure::usage(format!("--to names {name} twice")));
        }
        let mut target = config.target(name);
        if let (Some(opset), "onnx") = (args.opset, name.as_str()) {
            target.options.insert("opset".to_owned(), opset.into());
        }
        targets.push(target);
    }
    if args.opset.is_some() && !targets.iter().any(|target| target.name == "onnx") {
        return Err(Failure::usage("--opset is for --to onnx"));
    }
    let policy = if args.no_verify { Policy::Off } else { Policy::Required };
    Ok(Request {
        targets,
        out: std::path::absolute(&args.out).map_err(|error| Failure::io(args.out.display(), error))?,
        architecture: args.architecture.clone(),
        golden: args.golden.clone(),
        sources: super::source_options(config, args.signature.as_ref()),
        ..Request::new(config, &found, policy)
    })
}

async fn convert_all(args: &ConvertArgs, shop: &Workshop, request: &Request, area: &Area) -> Result<i32, Failure> {
    let (canceller, cancel) = cancellation();
    let interrupted = tokio::spawn(async move {
        // Without a handler there is nothing to wait for; the terminal's own way to stop us remains.
        if tokio::signal::ctrl_c().await.is_ok() {
            canceller.cancel();
        }
    });
    let mut reports = Vec::new();
    let mut codes = Vec::new();
    for path in &args.paths {
        let outcome = convert_one(shop, request, path, area, cancel.clone()).await;
        codes.push(outcome.report.exit_code);
        let bundle = outcome.published.as_ref().map(|published| published.bundle.as_path());
        let report = ArtifactReport::new(&path.to_string_lossy(), &outcome.report, bundle);
        match args.format {
            Format::Json => say_line!("{}", report.json_line()),
            Format::Text => say!("{}", report::text(&report)),
        }
        reports.push(report);
        if let Some(fatal) = outcome.fatal {
            return Err(Failure { code: exit::IO, text: fatal });
        }
        if cancel.is_cancelled() {
            codes.push(exit::IO);
            break;
        }
    }
    interrupted.abort();
    if args.format == Format::Text && reports.len() > 1 {
        let rows: Vec<_> = reports.iter().flat_map(report::rows).collect();
        say!("\n{}", report::table(&rows));
    }
    Ok(exit::worst(codes))
}

async fn convert_one(shop: &Workshop, request: &Request, path: &Path, area: &Area, cancel: Cancel) -> Outcome {
    let progress = Progress::new(&path.to_string_lossy());
    let outcome = convert(shop, request, path, area, progress.sink(), cancel).await;
    progress.finish();
    outcome
}
