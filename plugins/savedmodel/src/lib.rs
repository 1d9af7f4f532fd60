//! TensorFlow's SavedModel directories, in and out.
//!
//! | file | holds |
//! |---|---|
//! | `saved_model.pb` | graphs with their signatures, functions and objects (`proto::SavedModel`) |
//! | `variables/variables.index` | a sorted string table: key -> dtype, shape, shard, offset, checksum (`table`) |
//! | `variables/variables.data-K-of-N` | the bytes of the variables |
//! | `keras_metadata.pb` | configurations of Keras' objects; Keras 2, from TF 2.5 on |
//! | `assets/` | vocabularies |

pub mod crc32c;
pub mod graph;
pub mod layers;
pub mod proto;
pub mod source;
pub mod structured;
pub mod table;
pub mod target;

recast_plugin_api::export_plugin! {
    id: "dev.recast.savedmodel",
    name: "TensorFlow SavedModels",
    source: source::SavedModels,
    target: target::SavedModelDirectory,
    layers: graph::Signatures,
}
