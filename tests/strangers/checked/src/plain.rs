//! | file | what |
//! |---|---|
//! | `graph.pb` | the graph, its weights inside |
//! | `weights.bin` | the weights, one after the other |
//! | `index.txt` | a line for each weight: name, offset, length; then the number of nodes |

use crate::{flaw, io, write_file};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Tensor;
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::messages::{CheckReply, CheckRequest, FoundWeight, Piece, WriteRequest};
use recast_plugin_api::plugin::WriteCx;
use std::path::Path;

pub fn write(cx: &WriteCx<'_>, request: &WriteRequest) -> Result<(), Findings> {
    let mut proto = request.graph.clone().unwrap_or_default();
    let graph = proto.decode_graph()?;
    let (mut weights, mut index) = (Vec::new(), String::new());
    for (param, written) in graph.params.iter().zip(&mut proto.params) {
        let tensor = cx.tensor(&param.name())?;
        let bytes = tensor.bytes().to_vec();
        index += &format!("{} {} {}\n", param.name(), weights.len(), bytes.len());
        weights.extend_from_slice(&bytes);
        written.tensor = Some(TensorProto::from(&Tensor::inline(param.tensor.dtype, &param.tensor.shape, bytes)));
    }
    index += &format!("{} nodes\n", graph.nodes().len());
    if flaw(&request.options) == "byte" {
        let middle = weights.len() / 2;
        weights[middle] ^= 1;
    }
    let name = &request.name;
    write_file(cx, &format!("{name}_plain/index.txt"), index.as_bytes())?;
    write_file(cx, &format!("{name}_plain/weights.bin"), &weights)?;
    write_file(cx, &format!("{name}_plain/graph.pb"), &proto.encode_to_vec())?;
    Ok(())
}

pub fn check(request: &CheckRequest) -> Result<CheckReply, Findings> {
    let flaw = flaw(&request.options);
    let graph = request.graph.clone().unwrap_or_default().decode_graph()?;
    let dir = Path::new(&request.path);
    let text = std::fs::read_to_string(dir.join("index.txt")).map_err(|e| io("index.txt", &e))?;
    let broken = || Diag::new(Code::Malformed, "index.txt", "a line that is none");
    let mut weights = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [count, "nodes"] = words.as_slice() {
            if *count != graph.nodes().len().to_string() || flaw == "structure" {
                return Err(Diag::new(Code::Mismatch, "index.txt", format!("{count} nodes")).into());
            }
            continue;
        }
        let [name, offset, len] = words.as_slice() else { return Err(broken().into()) };
        let param = graph.params.iter().position(|param| param.name() == *name).ok_or_else(broken)? as u32;
        let number = |text: &str| text.parse::<u64>().map_err(|_| broken());
        let file = dir.join(if flaw == "elsewhere" { "../elsewhere.bin" } else { "weights.bin" });
        let piece = |offset, len| Piece { file: file.to_string_lossy().into_owned(), offset, len };
        let (offset, len) = (number(offset)?, number(len)?);
        // Two pieces, as a format with gates would have.
        let pieces = vec![piece(offset, len / 8 * 4), piece(offset + len / 8 * 4, len - len / 8 * 4)];
        weights.push(FoundWeight { param, perm: Vec::new(), pieces });
    }
    match flaw.as_str() {
        "forget" => drop(weights.pop()),
        "twice" => weights.push(weights[0].clone()),
        "perm" => weights[0].perm = vec![1, 0],
        "short" => weights[0].pieces.truncate(1),
        "beyond" => weights[0].pieces[1].offset = u64::MAX - 1,
        "unknown" => weights[0].param = u32::MAX,
        "malformed" => return Err(broken().into()),
        _ => {}
    }
    Ok(CheckReply { weights })
}
