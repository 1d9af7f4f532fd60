//! Stands in for an interpreter with a framework: `fake-runner MODE SCRIPT MODEL INPUTS OUTPUTS...` evaluates the graph
//! that the target `plain` of tests/strangers/checked wrote; `fake-runner oracle GRAPH ARTIFACT INPUTS OUTPUTS...` one
//! that lies elsewhere, and so does `fake-runner by-place GRAPH SCRIPT MODEL INPUTS OUTPUTS...`, whose outputs have no
//! names. Other modes do what a runner must not do.

use prost::Message;
use recast_plugin_api::ir::Graph;
use recast_plugin_api::ir::wire::GraphProto;
use recast_reference::npz::{read_npz, write_npz};
use recast_reference::{Array, Files, Options, evaluate};
use rustix::process::{Resource, Rlimit, getrlimit};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, first, second, pairs @ ..] = args.as_slice() else {
        eprintln!("too few arguments: {args:?}");
        return ExitCode::from(2);
    };
    let graph = match mode.as_str() {
        "oracle" | "oracle-wrong" | "by-place" | "by-place-wrong" => PathBuf::from(first),
        _ => Path::new(second).join("graph.pb"),
    };
    match mode.as_str() {
        "fail" => {
            eprintln!("Traceback: No module named 'framework'");
            return ExitCode::from(3);
        }
        "hang" => std::thread::sleep(Duration::from_secs(600)),
        "hang-children" => hang_with_children(),
        "flood" => loop {
            println!("{}", "flood ".repeat(1000));
        },
        "memory" => drop(std::hint::black_box(vec![1u8; 3 << 30])),
        "nothing" => return ExitCode::SUCCESS,
        "surroundings" => return surroundings(first),
        _ => {}
    }
    // The model is another argument there.
    let pairs = if mode.starts_with("by-place") { &pairs[pairs.len().min(1)..] } else { pairs };
    match answer(&graph, pairs, mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(4)
        }
    }
}

fn answer(graph: &Path, pairs: &[String], mode: &str) -> Result<(), String> {
    let bytes = std::fs::read(graph).map_err(|e| format!("{}: {e}", graph.display()))?;
    let graph = GraphProto::decode(bytes.as_slice()).map_err(|e| e.to_string())?;
    let graph = graph.decode_graph().map_err(|e| e.to_string())?;
    for pair in pairs.chunks_exact(2) {
        let mut outputs = answers(&graph, Path::new(&pair[0]))?;
        if mode.ends_with("wrong") {
            let (_, array) = &mut outputs[0];
            *array = array.styled(1.0, 0.01);
        }
        if mode.starts_with("by-place") {
            outputs.iter_mut().enumerate().for_each(|(at, output)| output.0 = format!("arr_{at}"));
        }
        if mode == "misnamed" {
            outputs[0].0 += "_0";
        }
        write_npz(Path::new(&pair[1]), &outputs).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn answers(graph: &Graph, path: &Path) -> Result<Vec<(String, Array)>, String> {
    let given = read_npz(path).map_err(|e| e.to_string())?;
    let input = |input: &recast_plugin_api::ir::Input| {
        let found = given.iter().find(|(name, _)| *name == input.name).map(|(_, array)| array.clone());
        found.ok_or_else(|| format!("no input {}", input.name))
    };
    let inputs: Vec<Array> = graph.inputs.iter().map(input).collect::<Result<_, _>>()?;
    let found = evaluate(graph, &inputs, &Files::none(), &Options::default()).map_err(|e| e.to_string())?;
    Ok(graph.outputs.iter().zip(found).map(|(output, array)| (output.name.clone(), array)).collect())
}

/// Leaves its number where the test looks, so that it can see that nobody is left.
fn hang_with_children() {
    let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().expect("sleep runs");
    println!("child {}", child.id());
    let _ = child.wait();
}

/// Where it runs, with what, and under which limits: as an error, which is what a report shows.
fn surroundings(script: &str) -> ExitCode {
    let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    names.sort();
    let dir = std::env::current_dir().expect("a directory");
    let inside = std::env::var_os("HOME").is_some_and(|home| Path::new(&home) == dir);
    let text = std::fs::read_to_string(script).unwrap_or_default();
    println!("{} inside={inside} script={text}", names.join(","));
    let limits =
        [("cpu", Resource::Cpu), ("memory", Resource::As), ("file", Resource::Fsize), ("core", Resource::Core)];
    for (name, resource) in limits {
        let Rlimit { current, maximum } = getrlimit(resource);
        println!("{name}={current:?} of {maximum:?}");
    }
    ExitCode::FAILURE
}
