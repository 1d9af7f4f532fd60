//! | bytes | what |
//! |---|---|
//! | 8 | `MAGIC` |
//! | 8 | length of the layer model, little-endian |
//! | n | the layer model (protobuf), its tensors pointing into this file |
//! | rest | weights |

use crate::{flaw, write_file};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::wire::TensorProto;
use recast_plugin_api::ir::{Data, Tensor};
use recast_plugin_api::messages::{ReadRequest, WriteRequest};
use recast_plugin_api::model::{Layer, LayerModel};
use recast_plugin_api::plugin::{ReadCx, WriteCx};

pub const MAGIC: &[u8] = b"TWIN\0\0\0\x01";
const HEAD_BYTES: usize = 16;

pub fn write(cx: &WriteCx<'_>, request: &WriteRequest) -> Result<(), Findings> {
    let flaw = flaw(&request.options);
    let mut model = request.layers.clone().ok_or_else(|| Diag::new(Code::Bug, "twin", "no layers in the request"))?;
    let mut weights = Vec::new();
    let root = model.root.get_or_insert_default();
    root.layers.iter_mut().try_for_each(|layer| collect(cx, layer, &mut weights))?;
    match flaw.as_str() {
        "byte" => weights[5] ^= 1,
        "rename" => root.layers.iter_mut().for_each(|layer| layer.path += "_again"),
        "config" => root.layers.iter_mut().for_each(|l| l.config = l.config.replace("\"relu\"", "\"tanh\"")),
        "output" => root.outputs[0].name += "_again",
        "garbage" => root.layers.iter_mut().for_each(|layer| layer.config = "{}".into()),
        _ => {}
    }
    model.files = Vec::new();
    let model = model.encode_to_vec();
    let file = [MAGIC, &(model.len() as u64).to_le_bytes(), &model, &weights].concat();
    Ok(write_file(cx, &format!("{}.twin", request.name), &file)?)
}

/// Puts a layer's weights behind each other; offsets count from the first of them.
fn collect(cx: &WriteCx<'_>, layer: &mut Layer, weights: &mut Vec<u8>) -> Result<(), Diag> {
    for weight in &mut layer.weights {
        let Some(tensor) = &weight.tensor else { continue };
        let tensor = tensor.decode_tensor()?;
        let data = Data::Region { file: 0, offset: weights.len() as u64, len: tensor.byte_len() };
        weights.extend_from_slice(cx.view(&tensor)?.bytes());
        weight.tensor = Some(TensorProto::from(&Tensor::stored(tensor.dtype, &tensor.shape, data)));
    }
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).try_for_each(|l| collect(cx, l, weights))?;
    let inner = layer.model.iter_mut().flat_map(|model| &mut model.layers);
    inner.into_iter().try_for_each(|layer| collect(cx, layer, weights))
}

pub fn read(cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
    let bytes = cx.map(&request.path)?;
    let broken = || Diag::new(Code::Malformed, &request.path, "not a twin");
    let len = bytes.get(8..HEAD_BYTES).and_then(|len| len.try_into().ok()).map(u64::from_le_bytes);
    let end = len.and_then(|len| (HEAD_BYTES as u64).checked_add(len)).ok_or_else(broken)?;
    let model = bytes.get(HEAD_BYTES..end as usize).ok_or_else(broken)?;
    let mut model = LayerModel::decode(model).map_err(|_| broken())?;
    model.files = vec![request.path.clone()];
    model.format = "twin-model".into();
    let root = model.root.get_or_insert_default();
    root.layers.iter_mut().for_each(|layer| shift(layer, end));
    Ok(model)
}

fn shift(layer: &mut Layer, by: u64) {
    layer.weights.iter_mut().filter_map(|weight| weight.tensor.as_mut()).for_each(|tensor| tensor.offset += by);
    layer.children.iter_mut().filter_map(|child| child.layer.as_mut()).for_each(|layer| shift(layer, by));
    layer.model.iter_mut().flat_map(|model| &mut model.layers).for_each(|layer| shift(layer, by));
}
