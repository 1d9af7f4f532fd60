//! The embedded runtime: rten, a pure-Rust ONNX runtime. It takes and gives f32 and i32 (which stand for the other
//! integers and for bool), and keeps initializers in the mapped file.

use super::{Refusal, Runtime, Session};
use recast_plugin_api::ir::{DType, Graph};
use recast_reference::Array;
use rten::{DataType, LoadErrorKind, Model, ModelOptions, RunOptions, ThreadPool, Value, ValueOrView, ValueType};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;

const VERSION: &str = "rten 0.27";

pub struct Embedded {
    pub threads: usize,
}

struct Loaded {
    model: Model,
    pool: Arc<ThreadPool>,
}

impl Runtime for Embedded {
    fn name(&self) -> String {
        VERSION.into()
    }

    fn lacks(&self, graph: &Graph) -> Vec<bool> {
        super::embedded_lacks(graph)
    }

    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal> {
        let mut options = ModelOptions::with_all_ops();
        // Prepacked copies of the weights would double the memory for a model that runs twice.
        options.prepack_weights(false);
        // SAFETY: the file lies in the worker's own staging and nobody writes to it any more.
        let model = unsafe { options.load_mmap(file) };
        let model = model.map_err(|error| match error.kind() {
            LoadErrorKind::OperatorInvalid => Refusal::Lacks(error.to_string()),
            _ => Refusal::Rejects(error.to_string()),
        })?;
        Ok(Box::new(Loaded { model, pool: Arc::new(ThreadPool::with_num_threads(self.threads)) }))
    }
}

/// An array as the type that the file's input has in this runtime.
fn value_of(array: &Array, ty: Option<ValueType>) -> Result<Value, Refusal> {
    let shape = array.shape.as_slice();
    let bytes = |array: &Array| array.numbers().into_iter().map(|v| v as i64 as u8);
    match (ty, array.dtype) {
        (Some(ValueType::Tensor(DataType::UInt8)), _) => {
            return Ok(Tensor::from_data(shape, bytes(array).collect::<Vec<u8>>()).into());
        }
        (Some(ValueType::Tensor(DataType::Int8)), _) => {
            return Ok(Tensor::from_data(shape, bytes(array).map(|v| v as i8).collect::<Vec<i8>>()).into());
        }
        _ => {}
    }
    match array.dtype {
        DType::F32 => {
            let data: Vec<f32> = array.numbers().iter().map(|&v| v as f32).collect();
            Ok(Tensor::from_data(shape, data).into())
        }
        DType::I32
        | DType::I64
        | DType::Bool
        | DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::U32
        | DType::U64 => {
            let data: Vec<i32> = array.numbers().iter().map(|&v| v as i32).collect();
            Ok(Tensor::from_data(shape, data).into())
        }
        DType::F16 | DType::BF16 | DType::F64 | DType::Str => Err(Refusal::Lacks(format!("{} tensors", array.dtype))),
    }
}

fn array_of(value: Value) -> Result<Array, Refusal> {
    fn numbers<T: Copy + Into<f64>>(tensor: Tensor<T>, dtype: DType) -> Array {
        let shape = tensor.shape().to_vec();
        Array::from_numbers(dtype, shape, tensor.to_vec().into_iter().map(Into::into).collect())
    }
    match value {
        Value::FloatTensor(tensor) => Ok(numbers(tensor, DType::F32)),
        Value::Int32Tensor(tensor) => Ok(numbers(tensor, DType::I32)),
        Value::Int8Tensor(tensor) => Ok(numbers(tensor, DType::I8)),
        Value::UInt8Tensor(tensor) => Ok(numbers(tensor, DType::U8)),
        _ => Err(Refusal::Lacks("an output type".into())),
    }
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal> {
        let rejects = |error: rten::RunError| {
            let text = error.to_string();
            // Dtypes and options that ONNX has and it has not.
            let lacks = ["unsupported ", "expected tensor with type "].iter().any(|says| text.contains(says));
            if lacks { Refusal::Lacks(text) } else { Refusal::Rejects(text) }
        };
        let mut values: Vec<(rten::NodeId, ValueOrView)> = Vec::new();
        for (name, array) in inputs {
            // An input that no output depends on is not part of the model any more.
            if let Some(node) = self.model.find_node(name) {
                let ty = self.model.node_info(node).and_then(|info| info.dtype());
                values.push((node, value_of(array, ty)?.into()));
            }
        }
        let nodes: Result<Vec<_>, _> = outputs.iter().map(|name| self.model.node_id(name).map_err(rejects)).collect();
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let found = self.model.run(values, &nodes?, Some(options)).map_err(rejects)?;
        found.into_iter().map(array_of).collect()
    }
}
