//! ONNX Runtime, loaded from its shared library when that is configured or found.

use super::{Refusal, Runtime, Session};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use recast_plugin_api::diag::{Code, Diag};
use recast_plugin_api::ir::DType;
use recast_reference::{Array, Data};
use std::path::Path;

pub struct OnnxRuntime {
    name: String,
    threads: usize,
    environment: Environment,
}

impl OnnxRuntime {
    /// Loads the library; one per process.
    pub fn open(library: &Path, threads: usize) -> Result<OnnxRuntime, Diag> {
        let failed = |why: String| {
            Diag::new(Code::Io, library.display().to_string(), format!("ONNX Runtime does not load: {why}"))
                .hint("set [verify] onnxruntime to a libonnxruntime.so of version 1.17 or later, or remove the key")
        };
        let environment = ort::init_from(library).map_err(|e| failed(e.to_string()))?;
        let environment = environment.with_telemetry(false).build().map_err(|e| failed(e.to_string()))?;
        // The build information that the library tells has no version; its file name has.
        let file = library.file_name().unwrap_or_default().to_string_lossy();
        let version = file.split(".so").nth(1).unwrap_or("").trim_start_matches('.');
        let name = if version.is_empty() { "onnxruntime".into() } else { format!("onnxruntime {version}") };
        Ok(OnnxRuntime { name, threads, environment })
    }
}

struct Loaded(ort::session::Session);

fn rejects<R>(error: ort::Error<R>) -> Refusal {
    Refusal::Rejects(error.to_string())
}

impl Runtime for OnnxRuntime {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn load(&self, file: &Path) -> Result<Box<dyn Session>, Refusal> {
        let builder = ort::session::Session::builder(&self.environment).map_err(rejects)?;
        let builder = builder.with_intra_threads(self.threads).map_err(rejects)?;
        // The file is checked as written, not what an optimizer makes of it.
        let builder = builder.with_optimization_level(GraphOptimizationLevel::Level1).map_err(rejects)?;
        let mut builder = builder;
        Ok(Box::new(Loaded(builder.commit_from_file(file).map_err(rejects)?)))
    }
}

macro_rules! tensors {
    ($($dtype:ident, $element:ident, $t:ty, $from:expr, $to:expr;)*) => {
        fn value_of(array: &Array) -> Result<DynValue, Refusal> {
            let shape: Vec<i64> = array.shape.iter().map(|&n| n as i64).collect();
            match array.dtype {
                $(DType::$dtype => {
                    let data: Vec<$t> = array.numbers().iter().map(|&v| ($from)(v)).collect();
                    Ok(Tensor::from_array((shape, data)).map_err(rejects)?.into_dyn())
                })*
                DType::Str => {
                    let Data::S(texts) = &array.data else { return Err(Refusal::Lacks("strings of numbers".into())) };
                    Ok(Tensor::from_string_array((shape, texts.as_slice())).map_err(rejects)?.into_dyn())
                }
            }
        }

        fn array_of(value: &DynValue) -> Result<Array, Refusal> {
            let ValueType::Tensor { ty, .. } = value.dtype() else {
                return Err(Refusal::Lacks(format!("{} outputs in a check", value.dtype())));
            };
            match ty {
                $(TensorElementType::$element => {
                    let (shape, data) = value.try_extract_tensor::<$t>().map_err(rejects)?;
                    let shape = shape.iter().map(|&n| n as usize).collect();
                    Ok(Array::from_numbers(DType::$dtype, shape, data.iter().map(|&v| ($to)(v)).collect()))
                })*
                TensorElementType::String => {
                    let (shape, texts) = value.try_extract_strings().map_err(rejects)?;
                    Ok(Array::strings(shape.iter().map(|&n| n as usize).collect(), texts))
                }
                other => Err(Refusal::Lacks(format!("{other} outputs in a check"))),
            }
        }
    };
}

tensors! {
    F16, Float16, half::f16, half::f16::from_f64, half::f16::to_f64;
    BF16, Bfloat16, half::bf16, half::bf16::from_f64, half::bf16::to_f64;
    F32, Float32, f32, |v: f64| v as f32, |v: f32| v as f64;
    F64, Float64, f64, |v: f64| v, |v: f64| v;
    I8, Int8, i8, |v: f64| v as i8, |v: i8| v as f64;
    I16, Int16, i16, |v: f64| v as i16, |v: i16| v as f64;
    I32, Int32, i32, |v: f64| v as i32, |v: i32| v as f64;
    I64, Int64, i64, |v: f64| v as i64, |v: i64| v as f64;
    U8, Uint8, u8, |v: f64| v as u8, |v: u8| v as f64;
    U16, Uint16, u16, |v: f64| v as u16, |v: u16| v as f64;
    U32, Uint32, u32, |v: f64| v as u32, |v: u32| v as f64;
    U64, Uint64, u64, |v: f64| v as u64, |v: u64| v as f64;
    Bool, Bool, bool, |v: f64| v != 0.0, |v: bool| v as u8 as f64;
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[(String, Array)], outputs: &[String]) -> Result<Vec<Array>, Refusal> {
        let known: Vec<String> = self.0.inputs().iter().map(|input| input.name().to_string()).collect();
        let mut values: Vec<(String, DynValue)> = Vec::new();
        for (name, array) in inputs.iter().filter(|(name, _)| known.contains(name)) {
            values.push((name.clone(), value_of(array)?));
        }
        let found = self.0.run(values).map_err(rejects)?;
        let output = |name: &String| {
            let value = found.get(name).ok_or_else(|| Refusal::Rejects(format!("no output '{name}'")))?;
            array_of(value)
        };
        outputs.iter().map(output).collect()
    }
}
