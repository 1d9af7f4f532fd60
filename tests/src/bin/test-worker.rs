//! A worker whose pipeline does what the suite tells it: each target of the job names a layer class that is lowered,
//! with the target's options as the layer's configuration.

use recast::host::Host;
use recast::job::{Finding, JobReport, JobSpec, TargetSpec};
use recast_plugin_api::diag::{Code, Findings};
use recast_plugin_api::messages::LowerRequest;
use recast_plugin_api::model::Layer;

fn main() {
    recast::worker::child_main(run);
}

fn run(spec: &JobSpec, host: &Host) -> JobReport {
    let mut report = JobReport::failed(Finding::error(Code::Bug, "test", "nothing went wrong"));
    report.diagnostics.clear();
    report.exit_code = 0;
    for target in &spec.targets {
        let result = match target.name.as_str() {
            "host:panic" => panic!("the pipeline panicked"),
            "host:abort" => std::process::abort(),
            "host:truncated" => touch_artifact(spec, host),
            class => lower(class, target, host),
        };
        report.diagnostics.extend(result.err().unwrap_or_default().iter().map(Finding::from));
    }
    report.plugins = host.uses();
    report
}

fn lower(class: &str, target: &TargetSpec, host: &Host) -> Result<(), Findings> {
    let config = serde_json::to_string(&target.options).expect("options are JSON");
    let layer =
        Layer { name: "layer".into(), path: "model/layer".into(), class: class.into(), config, ..Layer::default() };
    let request = LowerRequest { layer: Some(layer), ..LowerRequest::default() };
    host.lower(&request, &|_| Err(Findings::new())).map(|_| ())
}

/// Reads the mapped artifact until somebody truncates it.
fn touch_artifact(spec: &JobSpec, host: &Host) -> ! {
    let mapping = host.tensors().map(&spec.artifact).expect("the artifact is mapped");
    let mut sum = 0u64;
    loop {
        sum = sum.wrapping_add(mapping.bytes().iter().step_by(4096).map(|&byte| u64::from(byte)).sum::<u64>());
        std::hint::black_box(sum);
    }
}
