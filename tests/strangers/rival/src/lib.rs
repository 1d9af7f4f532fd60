//! Claims `acme>ScaledTanh`, which is Acme's.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::plugin::{Layers, LowerCx};

struct Rival;

impl Layers for Rival {
    const CLASSES: &'static [&'static str] = &["acme>ScaledTanh"];

    fn lower(&self, _: &LowerCx<'_>, _: &LowerRequest) -> Result<Lowered, Findings> {
        Err(Diag::new(Code::UnsupportedLayer, "rival", "the rival was asked").into())
    }
}

recast_plugin_api::export_plugin! {
    id: "test.rival",
    name: "A rival of Acme",
    layers: Rival,
}
