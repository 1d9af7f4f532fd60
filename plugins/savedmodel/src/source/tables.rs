//! What lookup tables hold when a model starts to serve: what TensorFlow's own initialisers put into them, read instead
//! of run. Keys and values are constants of the graph, or columns of a text file among the model's assets.

use super::directory::Directory;
use super::restore::{Scope, plain};
use crate::graph::def::{Body, Library, Node};
use crate::proto::{AssetFileDef, SavedObjectGraph, TensorProto, dtype};
use prost::Message;
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Keys of one table.
pub const ENTRIES_MAX: usize = 1 << 20;
/// Bytes of a text file that fills one.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// Ops between a table's initialiser and what it is given.
const STEPS_MAX: usize = 64;

/// What fills a table.
pub enum Content<'a> {
    /// Two constants, as TensorProtos.
    Pairs {
        keys: &'a [u8],
        values: &'a [u8],
    },
    Text(TextFile),
}

/// A text file below `assets/`, one entry a line.
pub struct TextFile {
    name: String,
    key: Column,
    value: Column,
    /// Lines that count; all where it is none.
    lines: Option<usize>,
    delimiter: String,
    /// Added to the number of a line.
    offset: i64,
}

#[derive(Clone, Copy)]
enum Column {
    WholeLine,
    LineNumber,
    Field(usize),
}

impl Column {
    fn of(number: i64) -> Option<Column> {
        match number {
            -2 => Some(Column::WholeLine),
            -1 => Some(Column::LineNumber),
            field => usize::try_from(field).ok().map(Column::Field),
        }
    }
}

/// Nodes of tables, and what fills each; tables that nothing known fills are left out.
pub fn contents<'a>(
    body: &Body<'a>,
    library: &Library<'a>,
    assets: &[AssetFileDef],
) -> Result<HashMap<String, Content<'a>>, Diag> {
    let mut found = HashMap::new();
    let top = Scope::top(body);
    for node in &body.nodes {
        filled(&top, body, node, assets, &mut found)?;
        if matches!(node.op, "StatefulPartitionedCall" | "PartitionedCall") {
            let function = library.function(&node.function("f")?)?;
            if function.nodes.iter().any(|node| fills(node.op).is_some()) {
                let scope = Scope::call(&function, node);
                for node in &function.nodes {
                    filled(&scope, body, node, assets, &mut found)?;
                }
            }
        }
    }
    Ok(found)
}

/// Does the op fill a table from a text file (or else from two tensors)?
fn fills(op: &str) -> Option<bool> {
    match op {
        "InitializeTable" | "InitializeTableV2" | "LookupTableImport" | "LookupTableImportV2" => Some(false),
        "InitializeTableFromTextFile" | "InitializeTableFromTextFileV2" => Some(true),
        _ => None,
    }
}

fn filled<'a>(
    scope: &Scope<'_, 'a>,
    graph: &Body<'a>,
    node: &Node<'a>,
    assets: &[AssetFileDef],
    found: &mut HashMap<String, Content<'a>>,
) -> Result<(), Diag> {
    let Some(from_file) = fills(node.op) else { return Ok(()) };
    let inputs: Vec<&str> = node.data().collect();
    let made_by = |at: usize| inputs.get(at).and_then(|name| origin(scope, graph, name));
    let Some(table) = made_by(0) else { return Ok(()) };
    let content = match (from_file, made_by(1), made_by(2)) {
        (false, Some(keys), Some(values)) if keys.op == "Const" && values.op == "Const" => {
            Content::Pairs { keys: keys.tensor("value")?, values: values.tensor("value")? }
        }
        (true, Some(name), _) => {
            let of =
                |asset: &&AssetFileDef| asset.tensor_info.as_ref().is_some_and(|info| plain(&info.name) == name.name);
            let Some(asset) = assets.iter().find(of) else { return Ok(()) };
            Content::Text(TextFile::of(node, &asset.filename)?)
        }
        _ => return Ok(()),
    };
    found.insert(table.name.to_owned(), content);
    Ok(())
}

/// The node that a value comes from in the end: of a variable that holds the name of an asset, what it is given first.
fn origin<'b, 'a>(scope: &Scope<'b, 'a>, graph: &'b Body<'a>, name: &str) -> Option<&'b Node<'a>> {
    let (mut body, mut name) = match scope.argument(plain(name)) {
        Some(outside) => (graph, outside.to_owned()),
        None => (scope.body(), plain(name).to_owned()),
    };
    for _ in 0..STEPS_MAX {
        let node = &body.nodes[body.find(&name)?];
        name = match node.op {
            "Identity" | "ReadVariableOp" => {
                let input = node.data().next().map(plain)?;
                match scope.argument(input).filter(|_| !std::ptr::eq(body, graph)) {
                    Some(outside) => {
                        body = graph;
                        outside.to_owned()
                    }
                    None => input.to_owned(),
                }
            }
            "VarHandleOp" | "VariableV2" => {
                let sets = |other: &&Node<'a>| {
                    matches!(other.op, "AssignVariableOp" | "Assign")
                        && other.data().next().map(plain) == Some(node.name)
                };
                plain(graph.nodes.iter().find(sets)?.data().nth(1)?).to_owned()
            }
            _ => return Some(node),
        };
    }
    None
}

impl TextFile {
    fn of(node: &Node<'_>, name: &str) -> Result<TextFile, Diag> {
        let column = |attribute: &str| {
            Column::of(node.int(attribute, -2)?).ok_or_else(|| node.bad(format!("{attribute} of a text file")))
        };
        Ok(TextFile {
            name: format!("assets/{name}"),
            key: column("key_index")?,
            value: column("value_index")?,
            lines: usize::try_from(node.int("vocab_size", -1)?).ok(),
            delimiter: node.text("delimiter", "\t")?,
            offset: node.int("offset", 0)?,
        })
    }

    fn read(&self, dir: &Directory<'_, '_>, table: &Node<'_>) -> Result<(Vec<Value>, Vec<Value>), Diag> {
        let malformed = |detail: String| Diag::new(Code::Malformed, &self.name, detail);
        let bytes = dir.map(&self.name)?;
        if bytes.len() > TEXT_BYTES_MAX {
            let detail = format!("{} bytes of words, above {TEXT_BYTES_MAX}", bytes.len());
            return Err(Diag::new(Code::LimitExceeded, &self.name, detail));
        }
        // TensorFlow drops carriage returns wherever they stand.
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("words that are not UTF-8".into()))?;
        let text = text.replace('\r', "");
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (number, line) in text.split('\n').take(self.lines.unwrap_or(usize::MAX)).enumerate() {
            if number == ENTRIES_MAX {
                return Err(Diag::new(Code::LimitExceeded, &self.name, format!("more than {ENTRIES_MAX} words")));
            }
            for (column, attribute, out) in
                [(self.key, "key_dtype", &mut keys), (self.value, "value_dtype", &mut values)]
            {
                let found = self.entry(column, table.dtype(attribute)?, number, line);
                out.push(found.ok_or_else(|| malformed(format!("line {}: {line:?}", number + 1)))?);
            }
        }
        Ok((keys, values))
    }

    fn entry(&self, column: Column, dtype: DType, number: usize, line: &str) -> Option<Value> {
        let text = match column {
            Column::LineNumber => return Some(json!(self.offset.checked_add(number as i64)?)),
            Column::WholeLine => line,
            Column::Field(at) => line.split(self.delimiter.as_str()).nth(at)?,
        };
        if dtype == DType::Str { Some(json!(text)) } else { text.parse::<i64>().ok().map(Value::from) }
    }
}

impl Content<'_> {
    /// `{"keys": [..], "values": [..]}`: texts or whole numbers, as many of either, no key twice.
    pub fn json(&self, table: &Node<'_>, dir: &Directory<'_, '_>) -> Result<Value, Diag> {
        let (keys, values) = match self {
            Content::Pairs { keys, values } => (column(table.name, keys)?, column(table.name, values)?),
            Content::Text(file) => file.read(dir, table)?,
        };
        if keys.len() != values.len() {
            return Err(table.bad(format!("{} keys for {} values", keys.len(), values.len())));
        }
        let mut seen = HashMap::new();
        let mut kept = HashSet::new();
        for (at, (key, value)) in keys.iter().zip(&values).enumerate() {
            match seen.insert(key, value) {
                None => {
                    kept.insert(at);
                }
                Some(other) if other == value => {}
                Some(_) => return Err(table.bad(format!("the key {key} stands for two values"))),
            }
        }
        let pick = |column: &[Value]| -> Vec<Value> {
            column.iter().enumerate().filter(|(at, _)| kept.contains(at)).map(|(_, entry)| entry.clone()).collect()
        };
        Ok(json!({"keys": pick(&keys), "values": pick(&values)}))
    }
}

/// The elements of a constant: texts or whole numbers.
pub fn column(at: &str, proto: &[u8]) -> Result<Vec<Value>, Diag> {
    let malformed = |detail: String| Diag::new(Code::Malformed, at, format!("a constant of a table: {detail}"));
    let tensor = TensorProto::decode(proto).map_err(|e| malformed(e.to_string()))?;
    let mut sizes = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim).map(|dim| usize::try_from(dim.size).ok());
    let count = sizes.try_fold(1usize, |count, size| count.checked_mul(size?));
    let count = count.filter(|&count| count <= ENTRIES_MAX);
    let count =
        count.ok_or_else(|| Diag::new(Code::LimitExceeded, at, format!("a table of more than {ENTRIES_MAX} keys")))?;
    let number = |bytes: &[u8]| match bytes.try_into() {
        Ok(bytes) => i64::from_le_bytes(bytes),
        Err(_) => bytes.try_into().map_or(0, |bytes| i64::from(i32::from_le_bytes(bytes))),
    };
    let mut entries: Vec<Value> = match (dtype::from_tf(tensor.dtype), tensor.tensor_content.as_slice()) {
        (Some(DType::Str), _) => {
            let text = |bytes: &Vec<u8>| std::str::from_utf8(bytes).map(Value::from);
            let texts: Result<Vec<Value>, _> = tensor.string_val.iter().map(text).collect();
            texts.map_err(|_| malformed("strings that are not UTF-8".into()))?
        }
        (Some(DType::I64), []) => tensor.int64_val.iter().map(|&n| n.into()).collect(),
        (Some(DType::I32), []) => tensor.int_val.iter().map(|&n| n.into()).collect(),
        (Some(ty @ (DType::I64 | DType::I32)), bytes) => {
            bytes.chunks_exact(ty.size()).map(|bytes| number(bytes).into()).collect()
        }
        _ => {
            let detail = format!("a table with TensorFlow's dtype {}; known are strings and integers", tensor.dtype);
            return Err(Diag::new(Code::UnsupportedType, at, detail));
        }
    };
    if entries.len() > count {
        return Err(malformed(format!("{} elements for {count}", entries.len())));
    }
    // The last one stands for all that follow.
    if let Some(last) = entries.last().cloned() {
        entries.resize(count, last);
    }
    if entries.len() == count { Ok(entries) } else { Err(malformed("no elements".into())) }
}

/// Objects by the nodes that Python's loader gives to functions for them: the last arguments of each call.
pub fn by_object(saved: &SavedObjectGraph, body: &Body<'_>) -> Result<Vec<(usize, String)>, Diag> {
    let mut nodes = Vec::new();
    for node in body.nodes.iter().filter(|node| matches!(node.op, "StatefulPartitionedCall" | "PartitionedCall")) {
        let Some(function) = saved.concrete_functions.get(&node.function("f")?) else { continue };
        let inputs: Vec<&str> = node.data().map(plain).collect();
        let Some(first) = inputs.len().checked_sub(function.bound_inputs.len()) else { continue };
        for (input, object) in inputs[first..].iter().zip(&function.bound_inputs) {
            if let Ok(object) = usize::try_from(*object) {
                nodes.push((object, input.to_string()));
            }
        }
    }
    Ok(nodes)
}

/// Nodes that hold tables.
pub fn is_table(op: &str) -> bool {
    matches!(op, "HashTable" | "HashTableV2" | "MutableHashTable" | "MutableHashTableV2")
}
