//! IntegerLookup and StringLookup: the place of a token in a vocabulary, and back.

use crate::policy::{compute_dtype, one};
use crate::preprocess::{Encoding, PREPROCESSING, config_numbers, encoded};
use crate::table::{Masks, Row};
use crate::text::{bucket, salt};
use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::{
    BinaryFunction, Clip, DType, Gather, IndexToString, ReduceFunction, StringToIndex, Tensor, ValueId, Where,
};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

const NUMBERS: &str = "int, one_hot, multi_hot, count, tf_idf; invert; unknown tokens told apart by remainder or hash; \
                       ONNX has no such hash";
const WORDS: &str = "int, one_hot, multi_hot, count, tf_idf; invert; unknown tokens told apart by hash; ONNX has no \
                     such hash";

pub const ROWS: &[Row] = &[
    Row::new("IntegerLookup", PREPROCESSING, Masks::Drop, integer_lookup, NUMBERS).raw(),
    Row::new("StringLookup", PREPROCESSING, Masks::Drop, string_lookup, WORDS).raw(),
];

type Outcome = Result<Vec<Val>, Findings>;

/// What a lookup knows, of either kind of token.
struct Book<T> {
    /// Without the mask's token and that of unknown ones.
    tokens: Vec<T>,
    mask: Option<T>,
    /// How many indices stand for tokens that are not in the vocabulary.
    unknown: u64,
    mode: String,
    /// Stood mask and unknown token at the head of the vocabulary, as Keras' own `get_vocabulary` puts them?
    led: bool,
}

impl<T: Clone + PartialEq> Book<T> {
    fn read(l: &Lowering<'_>, vocabulary: Vec<T>, mask: Option<T>, unknown_token: Option<&T>) -> Result<Self, Diag> {
        if l.config.bool_or("sparse", false)? {
            return Err(l.unsupported("sparse outputs; set sparse=False"));
        }
        let unknown = l.config.u64_or("num_oov_indices", 1)?;
        if unknown > WORDS_MAX as u64 {
            let detail = format!("{unknown} indices for unknown tokens (at most {WORDS_MAX})");
            return Err(l.error(Code::LimitExceeded, detail));
        }
        let mode = match l.config.str_or("output_mode", "int")? {
            // As Keras called them before 2.6.
            "binary" => "multi_hot",
            "tf-idf" => "tf_idf",
            mode => mode,
        };
        let mask_led = mask.as_ref().filter(|_| mode == "int");
        let head: Vec<Option<&T>> = mask_led.map(Some).into_iter().chain((0..unknown).map(|_| unknown_token)).collect();
        let led = vocabulary.len() >= head.len() && vocabulary.iter().map(Some).zip(&head).all(|(a, b)| a == *b);
        let tokens = if led { vocabulary[head.len()..].to_vec() } else { vocabulary };
        Ok(Book { tokens, mask, unknown, mode: mode.into(), led })
    }

    /// The mask has index zero where indices are the output; elsewhere masked tokens are left out.
    fn masked(&self) -> u64 {
        u64::from(self.mask.is_some() && self.mode == "int")
    }

    /// The index of the first token.
    fn first(&self) -> u64 {
        self.masked() + self.unknown
    }

    /// The index of the mask's token; one out of range is left out.
    fn mask_index(&self) -> i64 {
        if self.mode == "int" { 0 } else { MASKED_OUT }
    }

    /// The index of a token that is not in the vocabulary.
    fn unknown_index(&self) -> i64 {
        if self.unknown == 1 { self.masked() as i64 } else { -1 }
    }

    /// With an index for each unknown token among several.
    fn apart(&self, l: &mut Lowering<'_>, x: ValueId, indices: ValueId) -> Result<ValueId, Diag> {
        if self.unknown < 2 {
            return Ok(indices);
        }
        let by_number = l.ty(x).dtype != DType::Str && l.config.str_or("oov_method", "floormod")? == "floormod";
        let which = match by_number {
            true => l.binary_scalar(BinaryFunction::Mod, x, self.unknown as f64)?,
            false => {
                let salt = salt(l)?;
                bucket(l, x, self.unknown, salt)?
            }
        };
        let which = l.binary_scalar(BinaryFunction::Add, which, self.masked() as f64)?;
        let unknown = l.binary_scalar(BinaryFunction::Equal, indices, -1.0)?;
        l.add(Where {}, &[unknown, which, indices])
    }

    /// The layer's output, from the index of each token.
    fn output(&self, l: &mut Lowering<'_>, indices: ValueId) -> Result<ValueId, Diag> {
        if self.mode == "int" {
            return Ok(indices);
        }
        let mut depth = self.tokens.len() as u64 + self.first();
        if l.config.bool_or("pad_to_max_tokens", false)? {
            depth = l.config.u64("max_tokens")?.max(depth);
        }
        if depth > 2 * WORDS_MAX as u64 {
            let detail = format!("vectors of {depth} tokens (at most {})", 2 * WORDS_MAX);
            return Err(l.error(Code::LimitExceeded, detail));
        }
        if self.mode == "tf_idf" {
            let counted = encoded(l, indices, "count", Encoding { depth, dtype: DType::F32, weights: None })?;
            let weights = self.idf_weights(l, depth)?;
            return l.binary(BinaryFunction::Mul, counted, weights);
        }
        // In Keras 3 it is that of the indices.
        let dtype = match (l.keras_major() >= 3, compute_dtype(l)) {
            (true, _) => DType::I64,
            (false, Ok(dtype)) if dtype.is_float() => dtype,
            // Keras 2 gives what it is asked for; that of an IntegerLookup is the dtype of its tokens.
            (false, Ok(dtype)) if dtype.is_int() && l.layer.class == "StringLookup" => dtype,
            // Old layers had the dtype of their tokens for their own.
            (false, _) => DType::F32,
        };
        encoded(l, indices, &self.mode, Encoding { depth, dtype, weights: None })
    }

    /// One weight for each index. A vocabulary without the unknown token has none for it: the mean of the others.
    fn idf_weights(&self, l: &mut Lowering<'_>, depth: u64) -> Result<ValueId, Diag> {
        // How many documents it learnt the weights from.
        ["num_documents", "vars/num_documents"].into_iter().for_each(|role| l.ignore(role));
        for role in IDF_ROLES {
            if l.layer.weight(role).is_some() {
                let weights = l.param_shaped(role, &[Some(depth)])?;
                return l.cast(weights, DType::F32);
            }
        }
        let lead = if self.led { 0 } else { self.first() as usize };
        let count = self.tokens.len() + self.first() as usize - lead;
        let given = config_numbers(l, "idf_weights")?.filter(|given| given.values.len() == count);
        let given = given.ok_or_else(|| l.error(Code::WeightMissing, "its idf_weights are not in the file"))?;
        let mean = given.values.iter().sum::<f64>() / count.max(1) as f64;
        let mut all: Vec<f64> = std::iter::repeat_n(mean, lead).chain(given.values).collect();
        all.resize(depth as usize, 0.0);
        l.constant(Tensor::from_numbers(DType::F32, &[depth], &all))
    }
}

/// The index of a token that is left out; minus one is that of one that is unknown.
const MASKED_OUT: i64 = -2;

/// Weights that a lookup with `tf_idf` stores: those of all indices.
const IDF_ROLES: [&str; 2] = ["idf_weights", "vars/idf_weights"];

fn no_vocabulary(l: &Lowering<'_>) -> Diag {
    if let Some(file) = l.config.get("vocabulary").and_then(Json::as_str) {
        let detail = format!("its vocabulary is the file {file:?}, which is not in the artifact");
        return l.unsupported(detail).hint("give the layer the words themselves: vocabulary=[..]");
    }
    // No matter of ops: whoever loads these layers has no words, either.
    l.error(Code::WeightMissing, "its vocabulary is not in the file")
        .hint("save the model in the .keras format, which holds it")
}

fn integer_lookup(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let x = l.cast(x, DType::I64)?;
    let mask = l.config.get("mask_token").map(|_| l.config.i64_or("mask_token", 0)).transpose()?;
    let unknown_token = l.config.i64_or("oov_token", -1)?;
    let book = Book::read(l, whole_numbers(l)?, mask, Some(&unknown_token))?;
    if l.config.bool_or("invert", false)? {
        return Ok(one(tokens_at(l, x, &book, unknown_token)?));
    }
    let mut y = position(l, x, &book.tokens, book.first(), book.unknown_index() as f64)?;
    y = book.apart(l, x, y)?;
    if let Some(token) = book.mask {
        let token = l.constant(Tensor::from_i64(&[], &[token]))?;
        let is_mask = l.binary(BinaryFunction::Equal, x, token)?;
        let index = l.constant(Tensor::from_i64(&[], &[book.mask_index()]))?;
        y = l.add(Where {}, &[is_mask, index, y])?;
    }
    Ok(one(book.output(l, y)?))
}

/// The token at each index: the mask's first, then that of what the vocabulary lacks, which also stands for indices
/// beyond the end.
fn tokens_at(l: &mut Lowering<'_>, x: ValueId, book: &Book<i64>, unknown: i64) -> Result<ValueId, Diag> {
    let lead = book.mask.into_iter().chain((0..book.unknown).map(|_| unknown));
    let all: Vec<i64> = lead.chain(book.tokens.iter().copied()).collect();
    if all.is_empty() || all.len() > COMPARED_MAX {
        return Err(l.unsupported(format!("a vocabulary of {} (at most {COMPARED_MAX})", all.len())));
    }
    let last = all.len() as f64 - 1.0;
    let table = l.constant(Tensor::from_i64(&[all.len() as u64], &all))?;
    let at = l.add(Clip { min: Some(0.0), max: Some(last) }, &[x])?;
    let token = l.add(Gather { axis: 0 }, &[table, at])?;
    let inside = l.binary(BinaryFunction::Equal, at, x)?;
    let unknown = l.constant(Tensor::from_i64(&[], &[unknown]))?;
    l.add(Where {}, &[inside, token, unknown])
}

/// Integers compared in one go: input against vocabulary.
const COMPARED_MAX: usize = 100_000;

fn position(l: &mut Lowering<'_>, x: ValueId, tokens: &[i64], first: u64, fallback: f64) -> Result<ValueId, Diag> {
    if tokens.is_empty() || tokens.len() > COMPARED_MAX {
        let detail = format!("a vocabulary of {} (at most {COMPARED_MAX})", tokens.len());
        return Err(l.error(Code::UnsupportedLayer, detail));
    }
    let size = tokens.len() as u64;
    let known = l.constant(Tensor::from_i64(&[size], tokens))?;
    // One more than the distance to the fallback, so that "nowhere" sums to nothing.
    let places: Vec<i64> = (0..size).map(|at| (at + first) as i64 - fallback as i64).collect();
    let places = l.constant(Tensor::from_i64(&[size], &places))?;
    let wide = l.expand(x, l.rank(x))?;
    let equal = l.binary(BinaryFunction::Equal, wide, known)?;
    let equal = l.cast(equal, DType::I64)?;
    let placed = l.binary(BinaryFunction::Mul, equal, places)?;
    let last = l.rank(placed) - 1;
    let sum = l.reduce(ReduceFunction::Sum, placed, &[last], false)?;
    l.binary_scalar(BinaryFunction::Add, sum, fallback)
}

/// The vocabulary. Not by way of floats alone, which would make one token of two large numbers.
fn whole_numbers(l: &Lowering<'_>) -> Result<Vec<i64>, Diag> {
    let Some(items) = l.config.get("vocabulary").and_then(Json::as_array) else { return Err(no_vocabulary(l)) };
    let numbers = config_numbers(l, "vocabulary")?.filter(|numbers| numbers.values.len() == items.len());
    let numbers = numbers.ok_or_else(|| l.config.bad("vocabulary", "a list of whole numbers"))?;
    Ok(items.iter().zip(numbers.values).map(|(item, number)| item.as_i64().unwrap_or(number as i64)).collect())
}

/// Words that one layer may know.
const WORDS_MAX: usize = 1 << 20;

fn words(l: &Lowering<'_>) -> Result<Vec<String>, Diag> {
    let Some(items) = l.config.get("vocabulary").and_then(Json::as_array) else { return Err(no_vocabulary(l)) };
    let want = || l.config.bad("vocabulary", "a list of texts");
    if items.len() > WORDS_MAX {
        let detail = format!("a vocabulary of {} words (at most {WORDS_MAX})", items.len());
        return Err(l.error(Code::LimitExceeded, detail));
    }
    items.iter().map(|item| item.as_str().map(String::from).ok_or_else(want)).collect()
}

fn text(l: &Lowering<'_>, key: &str) -> Result<Option<String>, Diag> {
    l.config
        .get(key)
        .map(|value| value.as_str().map(String::from).ok_or_else(|| l.config.bad(key, "a text")))
        .transpose()
}

fn string_lookup(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let invert = l.config.bool_or("invert", false)?;
    if !invert && l.ty(x).dtype != DType::Str {
        let detail = format!("an input of {}, which are no strings", l.ty(x));
        return Err(l.unsupported(detail).into());
    }
    let (mask, unknown_token) = (text(l, "mask_token")?, text(l, "oov_token")?.unwrap_or_else(|| "[UNK]".into()));
    let book = Book::read(l, words(l)?, mask, Some(&unknown_token))?;
    if invert {
        let x = l.cast(x, DType::I64)?;
        let lead = book.mask.iter().chain((0..book.unknown).map(|_| &unknown_token));
        let values: Vec<String> = lead.chain(&book.tokens).cloned().collect();
        let keys = (0..values.len() as i64).collect();
        return Ok(one(l.add(IndexToString { keys, values, fallback: unknown_token.clone() }, &[x])?));
    }
    Ok(one(places(l, x, &book)?))
}

/// The words of a TextVectorization, where an empty one is none.
pub fn words_of_texts(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let book = Book::read(l, words(l)?, Some(String::new()), Some(&"[UNK]".to_owned()))?;
    places(l, x, &book)
}

/// What the layer gives for words.
fn places(l: &mut Lowering<'_>, x: ValueId, book: &Book<String>) -> Result<ValueId, Diag> {
    let tokens = book.tokens.iter().cloned().zip(book.first() as i64..);
    let (keys, values) = book.mask.iter().map(|mask| (mask.clone(), book.mask_index())).chain(tokens).unzip();
    let indices = l.add(StringToIndex { keys, values, fallback: book.unknown_index() }, &[x])?;
    let indices = book.apart(l, x, indices)?;
    book.output(l, indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recast_reference::Array;
    use recast_reference::testkit::LayerTest;
    use serde_json::json;

    fn strings(shape: &[usize], words: &[&str]) -> Array {
        Array::strings(shape.to_vec(), words.iter().map(|word| word.to_string()).collect())
    }

    fn run(config: Json, x: Array) -> Result<Array, String> {
        let test = LayerTest::new("StringLookup", &config.to_string()).input(x);
        let ran = test.run(|request| {
            let mut l = Lowering::new(None, request)?;
            let y = string_lookup(&mut l)?;
            l.finish(&y)
        });
        ran.map(|ran| ran.outputs[0].clone()).map_err(|findings| findings.iter().map(|d| d.detail.clone()).collect())
    }

    #[test]
    fn large_numbers_stay_apart() {
        let large = (1_i64 << 53) + 1;
        let config = json!({"name": "l", "vocabulary": [large - 1, large], "num_oov_indices": 2});
        let x = Array::ints(DType::I64, vec![1, 3], vec![large, large - 1, large + 2]);
        let test = LayerTest::new("IntegerLookup", &config.to_string()).input(x);
        let ran = test.run(|request| {
            let mut l = Lowering::new(None, request)?;
            let y = integer_lookup(&mut l)?;
            l.finish(&y)
        });
        // The last is unknown, and odd.
        assert_eq!(ran.unwrap().outputs[0], Array::ints(DType::I64, vec![1, 3], vec![3, 2, 1]));
    }

    fn ints(shape: &[usize], values: &[i64]) -> Result<Array, String> {
        Ok(Array::ints(DType::I64, shape.to_vec(), values.to_vec()))
    }

    #[test]
    fn words_have_places_behind_the_mask_and_the_unknown() {
        let x = || strings(&[1, 4], &["b", "x", "a", "[UNK]"]);
        let of = |more: Json| {
            let mut config = json!({"name": "l", "vocabulary": ["a", "b"]});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            run(config, x())
        };
        assert_eq!(of(json!({})), ints(&[1, 4], &[2, 0, 1, 0]));
        assert_eq!(of(json!({"mask_token": "x"})), ints(&[1, 4], &[3, 0, 2, 1]));
        assert_eq!(of(json!({"num_oov_indices": 0})), ints(&[1, 4], &[1, -1, 0, -1]));
        // As Keras writes what a layer learnt; elsewhere the unknown token is a word like others.
        assert_eq!(of(json!({"vocabulary": ["[UNK]", "a", "b"]})), ints(&[1, 4], &[2, 0, 1, 0]));
        assert_eq!(of(json!({"vocabulary": ["a", "[UNK]", "b"]})), ints(&[1, 4], &[3, 0, 1, 2]));
        // A masked word is not counted.
        assert_eq!(of(json!({"output_mode": "count", "mask_token": "x"})), ints(&[1, 3], &[1, 1, 1]));
        assert_eq!(
            of(json!({"output_mode": "count", "pad_to_max_tokens": true, "max_tokens": 5})),
            ints(&[1, 5], &[2, 1, 1, 0, 0])
        );
    }

    #[test]
    fn words_of_places() {
        let config =
            json!({"name": "l", "vocabulary": ["a", "b"], "invert": true, "mask_token": "", "num_oov_indices": 2});
        let x = Array::ints(DType::I64, vec![1, 6], vec![4, 0, 1, 2, 3, 9]);
        assert_eq!(run(config, x), Ok(strings(&[1, 6], &["b", "", "[UNK]", "[UNK]", "a", "[UNK]"])));
    }

    #[test]
    fn what_is_refused_says_why() {
        for (config, why) in [
            (json!({"name": "l", "vocabulary": ["a"], "sparse": true, "output_mode": "count"}), "sparse"),
            (json!({"name": "l"}), "vocabulary is not in the file"),
            (json!({"name": "l", "vocabulary": [1]}), "a list of texts"),
            (json!({"name": "l", "vocabulary": "words.txt"}), "not in the artifact"),
            (json!({"name": "l", "vocabulary": ["a", "a"]}), "twice"),
            (json!({"name": "l", "vocabulary": ["a"], "output_mode": "tf_idf"}), "idf_weights"),
        ] {
            let refused = run(config.clone(), strings(&[1, 1], &["a"])).unwrap_err();
            assert!(refused.contains(why), "{config}: {refused}");
        }
    }
}
