//! Arguments of calls, in the two spellings that Keras has had for them.
//!
//! | version | one call |
//! |---|---|
//! | 1 to 2.15 | `[["dense", 0, 0, {"training": false}], ["other", 1, 0]]`: (layer, call, output, keywords) |
//! | 3 | `{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["dense", 0, 0]}}], "kwargs": {}}` |
//!
//! While a model is built, `ValueRef::call` holds the number of a `Link`; `functional` settles them.

use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::model::{Arg, ArgKind, NamedArg, ValueRef};
use serde_json::{Map, Value};

/// Where a link stands decides how its call number is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a call, Keras 1 and 2.
    Legacy,
    /// In a call, Keras 3.
    History,
    /// In `input_layers` or `output_layers`.
    End,
}

/// A tensor as the file names it: which output of which call of which layer.
#[derive(Debug, Clone)]
pub struct Link<'v> {
    pub layer: &'v str,
    pub node: u64,
    pub tensor: u32,
    pub place: Place,
}

pub struct Args<'v, 'l> {
    pub links: &'l mut Vec<Link<'v>>,
    pub path: &'l str,
    /// Is this the name of a layer of the model?
    pub knows: &'l dyn Fn(&str) -> bool,
}

const CONSTANT: &str = "_CONSTANT_VALUE";

impl<'v> Args<'v, '_> {
    /// One element of `inbound_nodes`.
    pub fn call(&mut self, node: &'v Value) -> Result<(Vec<Arg>, Vec<NamedArg>), Diag> {
        if let Some(map) = node.as_object().filter(|map| map.contains_key("args")) {
            let args = map.get("args").and_then(items).ok_or_else(|| self.bad("arguments that are no list"))?;
            let args = args.iter().map(|arg| self.modern(arg)).collect::<Result<_, _>>()?;
            let mut named = Vec::new();
            for (name, arg) in map.get("kwargs").and_then(Value::as_object).into_iter().flatten() {
                named.push(NamedArg { name: name.clone(), arg: Some(self.modern(arg)?) });
            }
            return Ok((args, named));
        }
        let mut kwargs = None;
        let mut leaves = 0;
        let arg = self.legacy(node, &mut kwargs, &mut leaves)?;
        let arg = if leaves == 1 { only_leaf(arg) } else { arg };
        let named = kwargs.map_or(Ok(Vec::new()), |kwargs| self.legacy_kwargs(kwargs))?;
        Ok((vec![arg], named))
    }

    /// `input_layers`, `output_layers`: one triple, a list of them, or a dictionary, nested at will. Keras flattens
    /// dictionaries in the order of their keys.
    pub fn ends(&mut self, value: &'v Value, out: &mut Vec<usize>) -> Result<(), Diag> {
        if let Some(link) = self.triple(value, Place::End)? {
            out.push(link);
            return Ok(());
        }
        match value {
            Value::Array(list) => list.iter().try_for_each(|item| self.ends(item, out)),
            Value::Object(map) => match map.get("items") {
                Some(items) if map.get("class_name").is_some() => self.ends(items, out),
                _ => sorted(map).try_for_each(|(_, item)| self.ends(item, out)),
            },
            _ => Err(self.bad("an input or output that is no tensor")),
        }
    }

    fn modern(&mut self, value: &'v Value) -> Result<Arg, Diag> {
        match value {
            Value::Object(map) => match map.get("class_name").and_then(Value::as_str) {
                Some("__keras_tensor__") => {
                    let history = map.get("config").and_then(|config| config.get("keras_history"));
                    let history = history.ok_or_else(|| self.bad("a tensor without history"))?;
                    match self.triple(history, Place::History)? {
                        Some(link) => Ok(reference(link)),
                        None => Err(self.bad(format!("a tensor with the history {history}"))),
                    }
                }
                Some("__tuple__") => self.list(items(value).unwrap_or_default(), value),
                Some(_) => Ok(Arg::json(value)),
                None => {
                    let before = self.links.len();
                    let mut named = Vec::with_capacity(map.len());
                    for (name, item) in sorted(map) {
                        named.push(NamedArg { name: name.clone(), arg: Some(self.modern(item)?) });
                    }
                    Ok(if self.links.len() > before { Arg::dict(named) } else { Arg::json(value) })
                }
            },
            Value::Array(list) => self.list(list, value),
            _ => Ok(Arg::json(value)),
        }
    }

    /// A list that holds tensors; one without stays a constant.
    fn list(&mut self, list: &'v [Value], whole: &Value) -> Result<Arg, Diag> {
        let before = self.links.len();
        let args = list.iter().map(|item| self.modern(item)).collect::<Result<_, _>>()?;
        Ok(if self.links.len() > before { Arg::list(args) } else { Arg::json(whole) })
    }

    /// Tensors of a call as Keras 2 nests them. Each leaf repeats the keywords; the last one counts.
    fn legacy(
        &mut self,
        value: &'v Value,
        kwargs: &mut Option<&'v Map<String, Value>>,
        leaves: &mut usize,
    ) -> Result<Arg, Diag> {
        if let Some(list) = value.as_array().filter(|list| is_leaf(list)) {
            *leaves += 1;
            *kwargs = list.get(3).and_then(Value::as_object);
            if list[0].as_str() == Some(CONSTANT) {
                return Ok(Arg::json(&list[2]));
            }
            return match self.triple(value, Place::Legacy)? {
                Some(link) => Ok(reference(link)),
                None => Err(self.bad(format!("a tensor given as {value}"))),
            };
        }
        match value {
            Value::Array(list) => {
                let args = list.iter().map(|item| self.legacy(item, kwargs, leaves)).collect::<Result<_, _>>()?;
                Ok(Arg::list(args))
            }
            Value::Object(map) => {
                let mut named = Vec::with_capacity(map.len());
                for (name, item) in sorted(map) {
                    named.push(NamedArg { name: name.clone(), arg: Some(self.legacy(item, kwargs, leaves)?) });
                }
                Ok(Arg::dict(named))
            }
            _ => Err(self.bad(format!("a call on {value}"))),
        }
    }

    fn legacy_kwargs(&mut self, kwargs: &'v Map<String, Value>) -> Result<Vec<NamedArg>, Diag> {
        let mut named = Vec::with_capacity(kwargs.len());
        for (name, value) in kwargs {
            named.push(NamedArg { name: name.clone(), arg: Some(self.legacy_kwarg(value)?) });
        }
        Ok(named)
    }

    /// Tensors among the keywords are triples, told from plain lists by the name of a layer.
    fn legacy_kwarg(&mut self, value: &'v Value) -> Result<Arg, Diag> {
        let names_layer = |list: &Vec<Value>| list[0].as_str().is_some_and(|name| (self.knows)(name));
        let tensor = value.as_array().is_some_and(|list| is_leaf(list) && names_layer(list));
        if let Some(link) = if tensor { self.triple(value, Place::Legacy)? } else { None } {
            return Ok(reference(link));
        }
        let before = self.links.len();
        let arg = match value {
            Value::Array(list) => Arg::list(list.iter().map(|item| self.legacy_kwarg(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let mut named = Vec::with_capacity(map.len());
                for (name, item) in sorted(map) {
                    named.push(NamedArg { name: name.clone(), arg: Some(self.legacy_kwarg(item)?) });
                }
                Arg::dict(named)
            }
            _ => return Ok(Arg::json(value)),
        };
        Ok(if self.links.len() > before { arg } else { Arg::json(value) })
    }

    /// The number of a new link, when `value` is (layer, call, output).
    fn triple(&mut self, value: &'v Value, place: Place) -> Result<Option<usize>, Diag> {
        let Some(list) = items(value).filter(|list| is_leaf(list)) else { return Ok(None) };
        let (Some(layer), Some(node), Some(tensor)) = (list[0].as_str(), list[1].as_u64(), list[2].as_u64()) else {
            return Ok(None);
        };
        let tensor = u32::try_from(tensor).map_err(|_| self.bad(format!("output {tensor} of `{layer}`")))?;
        self.links.push(Link { layer, node, tensor, place });
        Ok(Some(self.links.len() - 1))
    }

    fn bad(&self, detail: impl Into<String>) -> Diag {
        Diag::new(Code::Malformed, self.path, detail)
    }
}

/// A list, or a tuple as Keras tags it.
fn items(value: &Value) -> Option<&[Value]> {
    value.as_array().or_else(|| value.get("items")?.as_array()).map(Vec::as_slice)
}

fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(name, _)| name.as_str());
    pairs.into_iter()
}

/// (name, call, output) or with the keywords behind.
fn is_leaf(list: &[Value]) -> bool {
    let keywords = match list.get(3) {
        None => true,
        Some(keywords) => keywords.is_object() && list.len() == 4,
    };
    keywords
        && list.len() >= 3
        && list[0].is_string()
        && (list[0].as_str() == Some(CONSTANT) || (list[1].is_i64() && list[2].is_i64()))
}

fn reference(link: usize) -> Arg {
    Arg::value(ValueRef { call: Some(link as u32), index: 0 })
}

/// A call on one tensor is a call on that tensor, however it was wrapped.
fn only_leaf(arg: Arg) -> Arg {
    match arg.kind {
        Some(ArgKind::List(mut list)) if list.items.len() == 1 => only_leaf(list.items.remove(0)),
        Some(ArgKind::Dict(mut dict)) if dict.items.len() == 1 => {
            only_leaf(dict.items.remove(0).arg.unwrap_or_default())
        }
        kind => Arg { kind },
    }
}
