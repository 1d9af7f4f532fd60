//! `recast inspect`: plugins run, so a worker looks, under the same bounds as for a job.

use super::{Failure, Format, InspectArgs, Wiring};
use crate::config::Config;
use crate::convert::{Request, prepare_inspection};
use crate::job::{Policy, TargetSpec, exit};
use crate::publish::{Area, area};
use crate::report::{self, ArtifactReport};
use crate::runner::cancellation;
use tokio::runtime::Builder;

/// What plugins claim as targets.
const TARGET_CLAIM: &str = "target:";

pub fn run(args: &InspectArgs, wiring: &Wiring) -> Result<i32, Failure> {
    super::init_logging("warn");
    let config = Config::without_watches();
    let mut plugins = config.plugins.clone();
    plugins.path.splice(0..0, args.plugins.iter().cloned());
    let found = wiring.plugins.scan(&plugins);
    let claims = found.claims();
    let targets = claims.iter().filter_map(|claim| claim.strip_prefix(TARGET_CLAIM));
    let request = Request {
        targets: targets.map(|name| TargetSpec { name: name.to_owned(), options: Default::default() }).collect(),
        out: std::env::temp_dir(),
        architecture: args.architecture.clone(),
        sources: super::source_options(&config, args.signature.as_ref()),
        ..Request::new(&config, &found, Policy::Off)
    };
    area::purge(&request.out).map_err(|error| Failure::io(request.out.display(), error))?;
    let area = Area::open(&request.out).map_err(|error| Failure::io(request.out.display(), error))?;
    let (_canceller, cancel) = cancellation();
    let mut report = match prepare_inspection(&request, &args.path, &area) {
        Ok(spec) => super::block_on(Builder::new_current_thread(), async {
            Ok(wiring.runner.run(spec, Box::new(|_| {}), cancel).await)
        })?,
        Err(finding) => crate::job::JobReport::failed(finding),
    };
    if let Some(inspection) = report.inspection.as_mut().filter(|_| !args.graph) {
        inspection.graph = None;
    }
    let shown = ArtifactReport::new(&args.path.to_string_lossy(), &report, None);
    match (&report.inspection, args.format) {
        (Some(inspection), Format::Json) => {
            let json = serde_json::json!({
                "artifact": shown.artifact,
                "digest": report.digest,
                "inspection": inspection,
                "diagnostics": report.diagnostics,
            });
            say_line!("{json}");
        }
        (Some(inspection), Format::Text) => match inspection.graph.as_ref().filter(|_| args.graph) {
            Some(graph) => say!("{graph}"),
            None => say!("{inspection}"),
        },
        (None, Format::Json) => say_line!("{}", shown.json_line()),
        (None, Format::Text) => say!("{}", report::text(&shown)),
    }
    Ok(if report.inspection.is_some() { exit::OK } else { report.exit_code })
}
