//! Which plugin owns what: claims of all plugins, and the winners that the configuration names.

use recast_abi::id;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::plugin::Manifest;
use std::collections::BTreeMap;

/// `layer:my_pkg>MyLayer`.
pub fn layer_claim(class: &str) -> String {
    format!("layer:{class}")
}

/// `format:keras-h5`.
pub fn format_claim(format: &str) -> String {
    format!("format:{format}")
}

/// `target:onnx`.
pub fn target_claim(target: &str) -> String {
    format!("target:{target}")
}

/// Everything that a plugin claims, in the order of its manifest.
pub fn claims(manifest: &Manifest) -> Vec<String> {
    let mut claims = Vec::new();
    for provided in &manifest.provides {
        match provided.extension.as_str() {
            id::SOURCE => claims.extend(provided.formats.iter().map(|format| format_claim(&format.name))),
            id::TARGET => claims.extend(provided.targets.iter().map(|target| target_claim(target))),
            id::LAYERS => claims.extend(provided.classes.iter().map(|class| layer_claim(class))),
            _ => {}
        }
    }
    claims
}

/// Claim -> the plugins that make it, by their place in the list that the registry was made of.
#[derive(Debug, Default)]
pub struct Registry {
    owners: BTreeMap<String, Vec<usize>>,
}

impl Registry {
    pub fn new<'m>(manifests: impl Iterator<Item = &'m Manifest>) -> Registry {
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, manifest) in manifests.enumerate() {
            for claim in claims(manifest) {
                let claimants = owners.entry(claim).or_default();
                if !claimants.contains(&number) {
                    claimants.push(number);
                }
            }
        }
        Registry { owners }
    }

    pub fn claimants(&self, claim: &str) -> &[usize] {
        self.owners.get(claim).map_or(&[], Vec::as_slice)
    }

    /// The plugin that owns a claim. Two that claim it are an error until `winners` names one of them.
    pub fn owner<'m>(
        &self,
        claim: &str,
        winners: &BTreeMap<String, String>,
        id_of: impl Fn(usize) -> &'m str,
    ) -> Result<Option<usize>, Diag> {
        let claimants = self.claimants(claim);
        let winner = winners.get(claim);
        match (claimants, winner) {
            (&[], _) => Ok(None),
            (&[only], None) => Ok(Some(only)),
            (several, Some(winner)) => match several.iter().find(|&&plugin| id_of(plugin) == winner) {
                Some(&plugin) => Ok(Some(plugin)),
                None => Err(conflict(claim, format!("the winner {winner:?} is not among the plugins that claim it"))),
            },
            (several, None) => {
                let ids: Vec<&str> = several.iter().map(|&plugin| id_of(plugin)).collect();
                Err(conflict(claim, format!("claimed by {}", ids.join(" and "))))
            }
        }
    }

    /// Claims that nobody owns because several do.
    pub fn conflicts<'m>(&self, winners: &BTreeMap<String, String>, id_of: impl Fn(usize) -> &'m str) -> Vec<Diag> {
        self.owners.keys().filter_map(|claim| self.owner(claim, winners, &id_of).err()).collect()
    }
}

fn conflict(claim: &str, detail: String) -> Diag {
    let hint = format!("name the winner in the configuration: [plugins.winners] \"{claim}\" = \"ID\"");
    Diag::new(Code::PluginConflict, claim, detail).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str, class: &str) -> Manifest {
        let text = format!(
            r#"{{"schema":1,"id":"{id}","name":"x","version":"1","abi_major":1,
                "provides":[{{"extension":"recast.layers/1","classes":["{class}"]}}]}}"#
        );
        Manifest::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn two_claimants_are_an_error_until_one_is_named() {
        let manifests = [manifest("a", "X"), manifest("b", "X"), manifest("c", "Y")];
        let registry = Registry::new(manifests.iter());
        let id_of = |i: usize| manifests[i].id.as_str();
        let mut winners = BTreeMap::new();
        let error = registry.owner("layer:X", &winners, id_of).unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), (Code::PluginConflict, "claimed by a and b"));
        assert_eq!(registry.conflicts(&winners, id_of).len(), 1);
        assert_eq!(registry.owner("layer:Y", &winners, id_of), Ok(Some(2)));
        assert_eq!(registry.owner("layer:Z", &winners, id_of), Ok(None));
        winners.insert("layer:X".into(), "b".into());
        assert_eq!(registry.owner("layer:X", &winners, id_of), Ok(Some(1)));
        winners.insert("layer:X".into(), "nobody".into());
        assert!(registry.owner("layer:X", &winners, id_of).is_err());
    }
}
