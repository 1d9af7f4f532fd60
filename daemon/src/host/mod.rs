//! Plugins: found, checked, loaded, called, and blamed.
//!
//! The daemon looks at plugin files (`Finder`) and never loads one; a worker process opens a `Host` on the pinned files
//! and calls them. A plugin is loaded when it is first needed, from bytes that have the pinned digest.

mod call;
mod elf;
mod events;
mod find;
pub mod kept;
mod load;
mod offer;
mod outputs;
mod probing;
mod refusal;
mod registry;
mod tensors;
pub mod tools;

pub use elf::{Demands, demands};
pub use events::{Events, Silent};
pub use find::{Discovery, Finder, Found, PATH_VARIABLE, SYSTEM_DIR, Trust, search_path};
pub use load::Through;
pub use offer::IDS as HOST_EXTENSIONS;
pub use outputs::{OUTPUT_FILES_MAX, Outputs};
pub use refusal::{Refusal, Step};
pub use registry::{Registry, claims, format_claim, layer_claim, target_claim};
pub use tensors::{Elements, Mapping, TensorStore, permuted_elements};

use crate::job::{PluginPin, PluginUse};
use crate::lower::{LayerOwners, Lowerer};
use call::{Call, Names};
use elf::ReadManifest;
use load::Loaded;
use prost::Message;
use recast_abi::{RecastBytes, id};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Tensor;
use recast_plugin_api::messages::{Caps, CheckReply, CheckRequest, LowerRequest, Lowered, ReadRequest, WriteRequest};
use recast_plugin_api::model::LayerModel;
use recast_plugin_api::plugin::{CapsList, EvalReply, Manifest};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The beginning of a file that a source decides on.
const HEAD_BYTES: usize = 4096;
/// Entries of a directory that its head is made of.
const LISTED_MAX: usize = 1000;

/// Larger plugins are only copied when they are needed.
const FETCHED_BYTES_MAX: u64 = 64 << 20;

/// Lowers a layer that a wrapper holds.
pub type LowerChild<'a> = dyn Fn(&LowerRequest) -> Result<Lowered, Findings> + 'a;

/// A plugin of this job, by its place in the list of pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginId(usize);

/// All plugins of one job, in one process.
pub struct Host {
    plugins: Arc<Vec<Plugin>>,
    registry: Arc<Registry>,
    winners: BTreeMap<String, String>,
    tensors: TensorStore,
    events: Arc<dyn Events>,
    threads: usize,
    notes: Mutex<Findings>,
    uses: Mutex<Uses>,
}

/// Who did what: (plugin, role) -> class or target -> times.
type Uses = BTreeMap<(usize, &'static str), BTreeMap<String, usize>>;

struct Plugin {
    pin: PluginPin,
    read: ReadManifest,
    content: OnceLock<Result<&'static File, Refusal>>,
    loaded: OnceLock<Result<Loaded, Refusal>>,
}

impl Plugin {
    fn new(pin: &PluginPin, read: ReadManifest) -> Plugin {
        Plugin { pin: pin.clone(), read, content: OnceLock::new(), loaded: OnceLock::new() }
    }

    fn bytes(&self) -> u64 {
        self.pin.path.symlink_metadata().map_or(0, |meta| meta.len())
    }

    /// Copied and hashed by whoever asks first.
    fn content(&self) -> &Result<&'static File, Refusal> {
        self.content.get_or_init(|| load::content(&self.pin))
    }
}

/// What a host needs beside its plugins.
pub struct HostSettings {
    pub winners: BTreeMap<String, String>,
    pub tensors: TensorStore,
    pub events: Arc<dyn Events>,
    /// Threads that a plugin may start.
    pub threads: usize,
}

/// Which source reads an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub plugin: PluginId,
    pub score: u8,
}

impl Host {
    /// Reads the manifests of the pinned files; runs no plugin code yet.
    pub fn open(pins: &[PluginPin], settings: HostSettings) -> Result<Host, Findings> {
        let mut findings = Findings::new();
        let mut plugins = Vec::new();
        for pin in pins {
            match load::peek(pin) {
                Ok(read) => plugins.push(Plugin::new(pin, read)),
                Err(refusal) => findings.push(refusal.diag()),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let registry = Arc::new(Registry::new(plugins.iter().map(|plugin| &plugin.read.manifest)));
        let plugins = Arc::new(plugins);
        let HostSettings { winners, tensors, events, threads } = settings;
        let (notes, uses) = (Mutex::default(), Mutex::default());
        Ok(Host { plugins, registry, winners, tensors, events, threads, notes, uses })
    }

    /// Copies and hashes what the job will load after its source, in that order: for a thread beside the job. None of
    /// it is run before it is needed, and then it need not be waited for.
    pub fn fetch<'t>(&self, targets: impl Iterator<Item = &'t str>) {
        let writers = targets.filter_map(|target| self.owner(&target_claim(target)).ok().flatten());
        // The layers of a source are those of what it reads: then it is loaded already.
        let lowers_for_all = |plugin: &&Plugin| {
            let provides = |extension| plugin.read.manifest.provided(extension).is_some();
            provides(id::LAYERS) && !provides(id::SOURCE)
        };
        let plugins = writers.map(|PluginId(at)| &self.plugins[at]).chain(self.plugins.iter().filter(lowers_for_all));
        for plugin in plugins.filter(|plugin| plugin.bytes() <= FETCHED_BYTES_MAX) {
            // What is wrong with it is said when it is needed.
            let _ = plugin.content();
        }
    }

    /// The same loaded plugins on another artifact: what they do there is not counted as part of this job.
    pub fn sibling(&self, tensors: TensorStore) -> Host {
        Host {
            plugins: self.plugins.clone(),
            registry: self.registry.clone(),
            winners: self.winners.clone(),
            tensors,
            events: self.events.clone(),
            threads: self.threads,
            notes: Mutex::default(),
            uses: Mutex::default(),
        }
    }

    /// The id of the plugin behind a place in the list.
    pub fn id_of(&self, plugin: PluginId) -> &str {
        self.plugin_id(plugin.0)
    }

    pub fn tensors(&self) -> &TensorStore {
        &self.tensors
    }

    pub fn events(&self) -> &dyn Events {
        &*self.events
    }

    pub fn shared_events(&self) -> Arc<dyn Events> {
        self.events.clone()
    }

    pub fn manifests(&self) -> impl Iterator<Item = (PluginId, &Manifest)> {
        self.plugins.iter().enumerate().map(|(number, plugin)| (PluginId(number), &plugin.read.manifest))
    }

    fn plugin_id(&self, plugin: usize) -> &str {
        &self.plugins[plugin].read.manifest.id
    }

    fn threads(&self) -> u32 {
        u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX)
    }

    fn note(&self, findings: Findings) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).extend(findings);
    }

    /// Losses and notes that plugins reported in calls that succeeded, since the last time this was asked.
    pub fn take_notes(&self) -> Findings {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The plugin that owns a claim; none when nobody does, an error when several do.
    pub fn owner(&self, claim: &str) -> Result<Option<PluginId>, Diag> {
        let owner = self.registry.owner(claim, &self.winners, |plugin| self.plugin_id(plugin))?;
        Ok(owner.map(PluginId))
    }

    /// Brings a plugin into the process; how it came in. `doctor` and the conformance kit ask.
    pub fn load(&self, plugin: PluginId) -> Result<Through, Diag> {
        self.loaded(plugin.0).map(|loaded| loaded.through)
    }

    fn loaded(&self, plugin: usize) -> Result<&Loaded, Diag> {
        let of = &self.plugins[plugin];
        let result = of.loaded.get_or_init(|| {
            let content = of.content().clone()?;
            let plugin = &of.read.manifest.id;
            self.events.entering(plugin, "load", "");
            // SAFETY: the host of `init` is leaked; the file was chosen and pinned to be run.
            let loaded = unsafe { load::load(&of.pin, content, &of.read, offer::for_init(plugin)) };
            self.events.left();
            loaded
        });
        result.as_ref().map_err(Refusal::diag)
    }

    fn used(&self, plugin: usize, role: &'static str, what: &str) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let times = uses.entry((plugin, role)).or_default();
        if !what.is_empty() {
            *times.entry(what.to_owned()).or_default() += 1;
        }
    }

    /// Every plugin that took part so far, and as what.
    pub fn uses(&self) -> Vec<PluginUse> {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let describe = |(&(plugin, role), classes): (&(usize, &'static str), &BTreeMap<String, usize>)| {
            let Plugin { pin, read, .. } = &self.plugins[plugin];
            let (mut layers, mut targets) = (Vec::new(), Vec::new());
            let extension = match role {
                "reader" => id::SOURCE,
                "writer" => {
                    targets.extend(classes.keys().cloned());
                    id::TARGET
                }
                _ => {
                    layers.extend(classes.iter().map(|(class, times)| format!("{class} x{times}")));
                    id::LAYERS
                }
            };
            PluginUse {
                id: read.manifest.id.clone(),
                name: read.manifest.name.clone(),
                version: read.manifest.version.clone(),
                sha256: pin.sha256.clone(),
                role: role.into(),
                extension: extension.into(),
                rustc: read.manifest.rustc.clone(),
                layers,
                targets,
            }
        };
        uses.iter().map(describe).collect()
    }

    /// Asks every source whether the artifact is its own. Two that are equally sure are a conflict, unless the
    /// configuration names one of them as the winner of a format.
    pub fn probe(&self, artifact: &Path) -> Result<Probed, Findings> {
        let artifact_is_dir = artifact.is_dir();
        let (head, name) =
            head_of(artifact).map_err(|e| Diag::new(Code::Io, artifact.display().to_string(), e.to_string()))?;
        let mut answers: Vec<Probed> = Vec::new();
        for (number, plugin) in self.plugins.iter().enumerate() {
            let Some(source) = plugin.read.manifest.provided(id::SOURCE) else { continue };
            // To be asked, it has to be loaded.
            if !artifact_is_dir && !source.formats.iter().any(|format| format.may_be(&head, &name)) {
                continue;
            }
            let Some(table) = self.loaded(number)?.source else { continue };
            // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
            let (score, _) = Call::new(self, number, "probe", &name, Names::None).run(|host| unsafe {
                (table.probe)(host, RecastBytes::new(&head), RecastBytes::new(name.as_bytes()))
            })?;
            answers.push(Probed { plugin: PluginId(number), score: score.clamp(0, 100) as u8 });
        }
        let best = answers.iter().map(|answer| answer.score).max().unwrap_or(0);
        answers.retain(|answer| answer.score == best && best > 0);
        match answers.as_slice() {
            [] => Err(Diag::new(Code::UnknownFormat, name, "no plugin reads this")
                .hint("`recast plugins list` shows what is installed")
                .into()),
            [only] => Ok(only.clone()),
            several => self.settle(&name, several).map_err(Findings::from),
        }
    }

    /// Names of the formats that a plugin reads.
    pub fn formats(&self, plugin: PluginId) -> Vec<String> {
        let sources = self.plugins[plugin.0].read.manifest.provides.iter().filter(|own| own.extension == id::SOURCE);
        sources.flat_map(|source| &source.formats).map(|format| format.name.clone()).collect()
    }

    fn settle(&self, name: &str, several: &[Probed]) -> Result<Probed, Diag> {
        let wins = |answer: &&Probed| {
            let manifest = &self.plugins[answer.plugin.0].read.manifest;
            let is_format = |claim: &String| claim.starts_with("format:");
            claims(manifest).iter().filter(|c| is_format(c)).any(|c| self.winners.get(c) == Some(&manifest.id))
        };
        let winners: Vec<&Probed> = several.iter().filter(wins).collect();
        if let [winner] = winners.as_slice() {
            return Ok((*winner).clone());
        }
        let ids: Vec<&str> = several.iter().map(|answer| self.plugin_id(answer.plugin.0)).collect();
        let hint = "name the winner in the configuration: [plugins.winners] \"format:NAME\" = \"ID\"";
        Err(Diag::new(Code::PluginConflict, name, format!("{} are equally sure of it", ids.join(" and "))).hint(hint))
    }

    /// The artifact as layers; afterwards `tensors` knows its files.
    pub fn read(&self, plugin: PluginId, request: &ReadRequest) -> Result<LayerModel, Findings> {
        let table = self.loaded(plugin.0)?.source.ok_or_else(|| self.lacks(plugin.0, id::SOURCE))?;
        let bytes = request.encode_to_vec();
        let call = Call::new(self, plugin.0, "read", &request.path, Names::None);
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.read)(host, RecastBytes::new(&bytes)) })?;
        let model: LayerModel = self.decoded(plugin.0, "read", &reply)?;
        self.tensors.bind(&model.files)?;
        self.used(plugin.0, "reader", "");
        Ok(model)
    }

    /// One call of one layer as a graph, by the plugin that owns its class. `child` lowers what a wrapper holds.
    pub fn lower(&self, request: &LowerRequest, child: &LowerChild<'_>) -> Result<Lowered, Findings> {
        self.lower_encoded(request, &request.encode_to_vec(), child)
    }

    /// As `lower`, with `bytes` as the request that the plugin gets.
    fn lower_encoded(&self, request: &LowerRequest, bytes: &[u8], child: &LowerChild<'_>) -> Result<Lowered, Findings> {
        let layer = request.layer.as_ref().ok_or_else(|| Diag::new(Code::Bug, "", "a request without a layer"))?;
        let Some(PluginId(plugin)) = self.owner(&layer_claim(&layer.class))? else {
            return Err(unknown_layer(&layer.class, &layer.path).into());
        };
        let table = self.loaded(plugin)?.layers.ok_or_else(|| self.lacks(plugin, id::LAYERS))?;
        let call = Call::new(self, plugin, "lower", &layer.path, Names::Layer(layer)).with_children(child);
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.lower)(host, RecastBytes::new(bytes)) })?;
        let lowered = self.decoded(plugin, "lower", &reply)?;
        self.used(plugin, "layers", &layer.class);
        Ok(lowered)
    }

    /// A layer computed by its plugin; none when the plugin has no second opinion on it.
    pub fn eval(&self, request: &LowerRequest, inputs: &[Tensor]) -> Result<Option<EvalReply>, Findings> {
        let layer = request.layer.as_ref().ok_or_else(|| Diag::new(Code::Bug, "", "a request without a layer"))?;
        let Some(PluginId(plugin)) = self.owner(&layer_claim(&layer.class))? else { return Ok(None) };
        let Some(eval) = self.loaded(plugin)?.layers.and_then(|table| table.eval) else { return Ok(None) };
        let bytes = request.encode_to_vec();
        let call = Call::new(self, plugin, "eval", &layer.path, Names::Inputs(layer, inputs));
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        match call.run(|host| unsafe { eval(host, RecastBytes::new(&bytes)) }) {
            Ok((_, reply)) => self.decoded(plugin, "eval", &reply).map(Some),
            Err(findings) if findings.iter().all(|diag| diag.code == Code::UnsupportedLayer) => Ok(None),
            Err(findings) => Err(findings),
        }
    }

    /// What a target can be given.
    pub fn capabilities(&self, target: &str) -> Result<Caps, Findings> {
        let PluginId(plugin) = self.writer(target)?;
        let table = self.loaded(plugin)?.target.ok_or_else(|| self.lacks(plugin, id::TARGET))?;
        let call = Call::new(self, plugin, "capabilities", target, Names::None);
        // SAFETY: the ABI's contract for this table: the host lives until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.capabilities)(host) })?;
        let list: CapsList = self.decoded(plugin, "capabilities", &reply)?;
        let caps = list.caps.into_iter().find(|caps| caps.target == target);
        caps.ok_or_else(|| {
            let detail = format!("the plugin {} has no capabilities for its target {target}", self.plugin_id(plugin));
            Diag::new(Code::PluginMisbehaved, target, detail).into()
        })
    }

    /// Writes a graph that fits the target's capabilities.
    pub fn write(&self, target: &str, request: &WriteRequest, outputs: &Mutex<Outputs>) -> Result<(), Findings> {
        let PluginId(plugin) = self.writer(target)?;
        let table = self.loaded(plugin)?.target.ok_or_else(|| self.lacks(plugin, id::TARGET))?;
        let bytes = request.encode_to_vec();
        let call =
            Call::new(self, plugin, "write", target, Names::of_graph(request.graph.as_ref())).with_outputs(outputs);
        let name = RecastBytes::new(target.as_bytes());
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        call.run(|host| unsafe { (table.write)(host, name, RecastBytes::new(&bytes)) })?;
        self.used(plugin, "writer", target);
        Ok(())
    }

    /// What a target says of a request before it writes the first file: notes, or why it refuses.
    pub fn rehearse(&self, target: &str, request: &WriteRequest) -> Result<Findings, Findings> {
        let outputs = Mutex::new(Outputs::rehearsal());
        let said = self.write(target, request, &outputs);
        let rehearsed = outputs.into_inner().unwrap_or_else(PoisonError::into_inner).rehearsed();
        match said {
            Ok(()) => Ok(Findings::new()),
            Err(found) if rehearsed => Ok(found.into_iter().filter(|diag| !diag.is_error()).collect()),
            Err(found) => Err(found),
        }
    }

    /// What the target finds in an output that it wrote, and its id; differences come as findings.
    pub fn check(&self, target: &str, request: &CheckRequest) -> Result<(CheckReply, &str), Findings> {
        let PluginId(plugin) = self.writer(target)?;
        let table = self.loaded(plugin)?.check.ok_or_else(|| self.lacks(plugin, id::CHECK))?;
        let bytes = request.encode_to_vec();
        let call = Call::new(self, plugin, "check", target, Names::of_graph(request.graph.as_ref()));
        let name = RecastBytes::new(target.as_bytes());
        // SAFETY: the ABI's contract for this table: the host and the bytes live until the call returns.
        let (_, reply) = call.run(|host| unsafe { (table.check)(host, name, RecastBytes::new(&bytes)) })?;
        Ok((self.decoded(plugin, "check", &reply)?, self.plugin_id(plugin)))
    }

    fn writer(&self, target: &str) -> Result<PluginId, Diag> {
        let hint = "`recast plugins list` shows the targets that are installed";
        self.owner(&target_claim(target))?
            .ok_or_else(|| Diag::new(Code::UnknownTarget, target, "no plugin writes this").hint(hint))
    }

    fn lacks(&self, plugin: usize, extension: &str) -> Diag {
        let detail = format!("the plugin {} has no table for {extension}", self.plugin_id(plugin));
        Diag::new(Code::PluginMisbehaved, "", detail)
    }

    fn decoded<M: Message + Default>(&self, plugin: usize, call: &str, reply: &[u8]) -> Result<M, Findings> {
        M::decode(reply).map_err(|error| {
            let detail = format!("the reply of {} to {call} does not decode: {error}", self.plugin_id(plugin));
            Diag::new(Code::PluginMisbehaved, "", detail).into()
        })
    }
}

impl LayerOwners for Host {
    /// Several owners are an owner too: the conflict is reported when the layer is lowered.
    fn owns(&self, class: &str) -> bool {
        !self.registry.claimants(&layer_claim(class)).is_empty()
    }

    fn lower(&self, lowerer: &Lowerer<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        Host::lower(self, request, &|child| lowerer.lower_child(child))
    }
}

/// What a job parks on.
pub fn unknown_layer(class: &str, path: &str) -> Diag {
    let hint = format!("install a plugin that claims {:?}; `recast plugins new NAME` begins one", layer_claim(class));
    Diag::new(Code::UnknownLayer, path, format!("no plugin lowers the class {class:?}")).hint(hint)
}

/// First bytes (of a directory: its listing) and name of an artifact.
fn head_of(artifact: &Path) -> std::io::Result<(Vec<u8>, String)> {
    let name = artifact.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if artifact.symlink_metadata()?.is_dir() {
        return Ok((listing(artifact)?, name));
    }
    let file = crate::tree::open_file(artifact)?;
    let mut head = vec![0; HEAD_BYTES];
    let mut len = 0;
    while len < head.len() {
        match file.read_at(&mut head[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    head.truncate(len);
    Ok((head, name))
}

/// The names in a directory, each with a newline behind it, directories with `/`: what fits into a head.
fn listing(dir: &Path) -> std::io::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(LISTED_MAX) {
        let entry = entry?;
        let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{mark}\n", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut head = names.concat().into_bytes();
    head.truncate(HEAD_BYTES);
    Ok(head)
}
