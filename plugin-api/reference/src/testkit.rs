//! For tests of plugins: lower one layer and evaluate what comes out, without a host.
//!
//! ```
//! use recast_plugin_api::ir::{DType, UnaryFunction};
//! use recast_plugin_api::lower::{Lowering, Val};
//! use recast_reference::Array;
//! use recast_reference::testkit::{LayerTest, assert_close};
//!
//! let test = LayerTest::new("acme>Swish", r#"{"name": "swish"}"#)
//!     .input(Array::from_numbers(DType::F32, vec![1, 2], vec![0.0, 1.0]));
//! let ran = test
//!     .run(|request| {
//!         let mut lowering = Lowering::new(None, request)?;
//!         let x = lowering.input()?;
//!         let y = lowering.unary(UnaryFunction::Silu, x.value)?;
//!         lowering.finish(&[Val { value: y, mask: x.mask }])
//!     })
//!     .unwrap();
//! let expected = Array::from_numbers(DType::F32, vec![1, 2], vec![0.0, 0.7310586]);
//! assert_close(&ran.outputs[0], &expected, 1e-6, 1e-6);
//! ```

use crate::array::Array;
use crate::run::{Options, evaluate};
use crate::weights::Files;
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::validate::validate;
use recast_plugin_api::ir::wire::{TensorProto, TypeProto};
use recast_plugin_api::ir::{DType, Dim, Graph, Tensor, Type, ValueId};
use recast_plugin_api::messages::{LowerInput, LowerRequest, Lowered};
use recast_plugin_api::model::{Arg, Layer, SCHEMA_REV, ValueRef, Weight};

/// One call of one layer: its configuration, weights and inputs.
#[derive(Debug, Clone)]
pub struct LayerTest {
    pub layer: Layer,
    /// Each with the Keras mask that travels with it.
    pub inputs: Vec<(Array, Option<Array>)>,
    pub keras_version: String,
}

/// What a lowered layer gave.
#[derive(Debug, Clone)]
pub struct Ran {
    /// As lowered, batch symbolic.
    pub graph: Graph,
    pub outputs: Vec<Array>,
    /// The mask that travels with each output, where one does.
    pub masks: Vec<Option<Array>>,
}

impl LayerTest {
    /// `config` is the layer's configuration as the file would hold it, JSON.
    pub fn new(class: &str, config: &str) -> LayerTest {
        let layer = Layer {
            name: "layer".into(),
            path: "layer".into(),
            class: class.into(),
            config: config.into(),
            trainable: true,
            ..Layer::default()
        };
        LayerTest { layer, inputs: Vec::new(), keras_version: "3.0.0".into() }
    }

    pub fn keras(mut self, version: &str) -> LayerTest {
        self.keras_version = version.into();
        self
    }

    /// A stored float32 array.
    pub fn weight(mut self, role: &str, shape: &[u64], values: &[f64]) -> LayerTest {
        let tensor = Tensor::from_numbers(DType::F32, shape, values);
        let tensor = Some(TensorProto::from(&tensor));
        self.layer.weights.push(Weight {
            role: role.into(),
            tensor,
            stored_as: format!("layer/{role}"),
            opaque: false,
        });
        self
    }

    /// The next input; its first axis is the batch.
    pub fn input(mut self, array: Array) -> LayerTest {
        self.inputs.push((array, None));
        self
    }

    /// The next input, with its mask.
    pub fn masked(mut self, array: Array, mask: Array) -> LayerTest {
        self.inputs.push((array, Some(mask)));
        self
    }

    /// What a host would send: the batch free, every other size known, all inputs in one positional argument.
    pub fn request(&self) -> LowerRequest {
        let free = |array: &Array| {
            let mut ty: Type = array.ty();
            if let Some(batch) = ty.shape.first_mut() {
                *batch = Dim::symbol("batch");
            }
            TypeProto::from(&ty)
        };
        let input = |(array, mask): &(Array, Option<Array>)| LowerInput {
            ty: Some(free(array)),
            mask: mask.as_ref().map(free),
        };
        let refs = (0..self.inputs.len() as u32).map(|index| Arg::value(ValueRef { call: None, index }));
        let refs: Vec<Arg> = refs.collect();
        LowerRequest {
            schema_rev: SCHEMA_REV,
            layer: Some(self.layer.clone()),
            inputs: self.inputs.iter().map(input).collect(),
            args: if refs.len() == 1 { refs } else { vec![Arg::list(refs)] },
            kwargs: Vec::new(),
            keras_version: self.keras_version.clone(),
            format: "keras-h5".into(),
        }
    }

    /// Lowers, sends the graph over the wire, validates it and evaluates it.
    pub fn run(&self, lower: impl FnOnce(&LowerRequest) -> Result<Lowered, Findings>) -> Result<Ran, Findings> {
        let lowered = lower(&self.request())?;
        let missing = || Diag::new(Code::PluginMisbehaved, "layer", "lowered to no graph");
        let mut graph = lowered.graph.as_ref().ok_or_else(missing)?.decode_graph()?;
        graph.outputs.clear();
        for (index, output) in lowered.outputs.iter().enumerate() {
            graph.output(format!("y{index}"), ValueId(output.value));
            if let Some(mask) = output.mask {
                graph.output(format!("mask{index}"), ValueId(mask));
            }
        }
        let errors: Findings = validate(&graph, None).into_iter().filter(Diag::is_error).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let given: Vec<Array> =
            self.inputs.iter().flat_map(|(x, mask)| [Some(x.clone()), mask.clone()]).flatten().collect();
        let mut made = evaluate(&graph, &given, &Files::none(), &Options::default())?.into_iter();
        let (mut outputs, mut masks) = (Vec::new(), Vec::new());
        for output in &lowered.outputs {
            outputs.extend(made.next());
            masks.push(output.mask.and_then(|_| made.next()));
        }
        Ok(Ran { graph, outputs, masks })
    }
}

/// Seeded numbers, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        crate::noise::derived(0x7265_6361_7374, self.0)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: mean 0, variance 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Numbers that fit a dtype: normal ones; whole ones from 0 to below `bound`, zero now and then; masks that are
    /// mostly true with false ones in between, the first of each row excepted.
    pub fn array(&mut self, dtype: DType, shape: &[usize], bound: u64) -> Array {
        let count: usize = shape.iter().product();
        let row = shape.last().copied().unwrap_or(1).max(1);
        let mut one = |at: usize| match dtype {
            DType::Bool => (at.is_multiple_of(row) || (at % row != row / 2 && self.uniform() < 0.8)) as u8 as f64,
            _ if dtype.is_float() => self.normal(),
            _ if at % 5 == 3 => 0.0,
            _ => (self.uniform() * bound.max(1) as f64).floor(),
        };
        Array::from_numbers(dtype, shape.to_vec(), (0..count).map(&mut one).collect())
    }
}

/// An array for each input of a graph whose sizes are all known; whole numbers stay below `bound`.
pub fn random_inputs(graph: &Graph, seed: u64, bound: u64) -> Result<Vec<Array>, Diag> {
    let mut random = Random::new(seed);
    let one = |input: &recast_plugin_api::ir::Input| {
        let ty = graph.ty(input.value);
        let free = || Diag::new(Code::Bug, &input.name, format!("{ty} has free sizes: bind them first"));
        let shape: Vec<usize> = ty.sizes().ok_or_else(free)?.into_iter().map(|size| size as usize).collect();
        Ok(random.array(ty.dtype, &shape, bound))
    };
    graph.inputs.iter().map(one).collect()
}

/// How far apart two arrays are, and where most.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub max_abs: f64,
    /// Relative to the expected value.
    pub max_rel: f64,
    /// The indices of the largest absolute difference.
    pub at: Vec<usize>,
    pub found: f64,
    pub expected: f64,
}

/// Compares; equal infinities and NaN in both are equal. `Err` when shapes or dtypes differ.
pub fn difference(found: &Array, expected: &Array) -> Result<Difference, String> {
    if found.ty() != expected.ty() {
        return Err(format!("{}, should be {}", found.ty(), expected.ty()));
    }
    let (a, b) = (found.numbers(), expected.numbers());
    let mut worst = Difference { max_abs: 0.0, max_rel: 0.0, at: vec![0; found.rank()], found: 0.0, expected: 0.0 };
    for (index, (&x, &y)) in a.iter().zip(&b).enumerate() {
        if x == y || (x.is_nan() && y.is_nan()) {
            continue;
        }
        // NaN on one side only is as far as it gets.
        let apart = Some((x - y).abs()).filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY);
        worst.max_rel = worst.max_rel.max(apart / y.abs().max(f64::MIN_POSITIVE));
        if apart > worst.max_abs {
            let place = crate::weights::strides(&found.shape).into_iter().zip(&found.shape);
            let at = place.map(|(stride, size)| index / stride % size).collect();
            worst = Difference { max_abs: apart, at, found: x, expected: y, ..worst };
        }
    }
    Ok(worst)
}

/// Panics, with the place of the largest difference, unless |found - expected| <= atol + rtol |expected| everywhere.
pub fn assert_close(found: &Array, expected: &Array, rtol: f64, atol: f64) {
    let worst = difference(found, expected).unwrap_or_else(|why| panic!("{why}"));
    let within = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= atol + rtol * y.abs();
    let outside = found.numbers().iter().zip(&expected.numbers()).filter(|pair| !within(*pair)).count();
    assert!(
        outside == 0,
        "{outside} of {} elements differ; most at {:?}: {} instead of {} (off by {:.3e}; relative {:.3e} at most)",
        found.len(),
        worst.at,
        worst.found,
        worst.expected,
        worst.max_abs,
        worst.max_rel
    );
}
