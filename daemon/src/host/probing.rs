//! Calls that no job makes: the conformance kit asks what plugins do when they are asked oddly.

use super::call::{Call, Names};
use super::{Host, PluginId, offer};
use crate::job::PluginPin;
use recast_abi::RecastBytes;
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::messages::{LowerRequest, Lowered};
use recast_plugin_api::plugin::{Manifest, SelftestCases};

impl Host {
    /// The file, its digest and its manifest.
    pub fn describe(&self, plugin: PluginId) -> (&PluginPin, &Manifest) {
        let plugin = &self.plugins[plugin.0];
        (&plugin.pin, &plugin.read.manifest)
    }

    /// What a plugin wants the conformance kit to feed it.
    pub fn selftest(&self, plugin: PluginId) -> Result<SelftestCases, Findings> {
        let Some(table) = self.loaded(plugin.0)?.selftest else { return Ok(SelftestCases::default()) };
        let call = Call::new(self, plugin.0, "selftest", "", Names::None);
        // SAFETY: the ABI's contract for this table: the host lives until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.cases)(host) })?;
        self.decoded(plugin.0, "selftest", &reply)
    }

    /// The classes that the plugin's own code lists.
    pub fn listed_classes(&self, plugin: PluginId) -> Result<Vec<String>, Findings> {
        let Some(table) = self.loaded(plugin.0)?.layers else { return Ok(Vec::new()) };
        let call = Call::new(self, plugin.0, "list", "", Names::None);
        // SAFETY: the ABI's contract for this table: the host lives until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.list)(host) })?;
        Ok(String::from_utf8_lossy(&reply).lines().map(str::to_owned).collect())
    }

    /// Probes with any bytes, as a truncated or hostile file would have them; the answer as it came.
    pub fn probe_bytes(&self, plugin: PluginId, head: &[u8], name: &str) -> Result<i32, Findings> {
        let Some(table) = self.loaded(plugin.0)?.source else { return Ok(0) };
        let call = Call::new(self, plugin.0, "probe", name, Names::None);
        let (head, text) = (RecastBytes::new(head), RecastBytes::new(name.as_bytes()));
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        call.run(|host| unsafe { (table.probe)(host, head, text) }).map(|(score, _)| score)
    }

    /// Lowers with fields in the request that this SDK does not have, as a newer host would send them.
    pub fn lower_with_unknown_fields(&self, request: &LowerRequest) -> Result<Lowered, Findings> {
        use prost::Message;
        let mut bytes = request.encode_to_vec();
        // Field 1000, a length-delimited text.
        bytes.extend_from_slice(b"\xc2\x3e\x06future");
        self.lower_encoded(request, &bytes, &|child| self.lower(child, &|_| Err(Findings::new())))
    }

    /// Calls `init` once more; its status.
    pub fn init_again(&self, plugin: PluginId) -> Result<i32, Diag> {
        let entry = self.loaded(plugin.0)?.entry;
        // SAFETY: the ABI: `init` may be called more than once; this host lives as long as the process.
        Ok(unsafe { (entry.init)(offer::for_init(self.plugin_id(plugin.0))) })
    }

    /// Does the plugin offer a table under this id?
    pub fn offers(&self, plugin: PluginId, extension: &str) -> Result<bool, Diag> {
        let entry = self.loaded(plugin.0)?.entry;
        // SAFETY: the ABI: any bytes are an id.
        Ok(!unsafe { (entry.get_extension)(RecastBytes::new(extension.as_bytes())) }.is_null())
    }

    /// Is it a plugin of this kind, by its manifest?
    pub fn provides(&self, plugin: PluginId, extension: &str) -> bool {
        self.plugins[plugin.0].read.manifest.provided(extension).is_some()
    }
}
