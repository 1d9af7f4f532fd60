//! Reads a SavedModel directory.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::ReadRequest;
use recast_plugin_api::model::LayerModel;
use recast_plugin_api::plugin::{Format, ReadCx, Source};

pub struct SavedModels;

pub const FORMAT: &str = "saved-model";

impl Source for SavedModels {
    const FORMATS: &'static [Format] = &[Format { name: FORMAT, suffixes: &[], magic: &[] }];

    /// A directory has no head to look at; nothing else has one that is empty and no suffix.
    fn probe(&self, _head: &[u8], _name: &str) -> u8 {
        0
    }

    fn read(&self, _cx: &ReadCx<'_>, request: &ReadRequest) -> Result<LayerModel, Findings> {
        Err(Diag::new(Code::UnsupportedContainer, &request.path, "SavedModels are not read yet").into())
    }
}
