//! Image augmentations. At inference the random ones leave images as they are; `AutoContrast` is not random.

use crate::core::ignore_seeds;
use crate::policy::{compute_dtype, one};
use crate::resample::{image, narrowed, resized, smart_resized, target, window};
use crate::table::{Masks, Row};
use crate::training::refuse_training;
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::{BinaryFunction, Clip, Dim, ReduceFunction, UnaryFunction, ValueId, Where};
use recast_plugin_api::lower::{Lowering, Val};
use serde_json::Value as Json;

const IMAGE: &str = "augmentation";
const STILL: &str = "identity at inference; refused when called with training=True";

pub const ROWS: &[Row] = &[
    Row::new("AutoContrast", IMAGE, Masks::Drop, auto_contrast, "computed: it is not random"),
    Row::new("AugMix", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("CutMix", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("Equalization", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("MaxNumBoundingBoxes", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("MixUp", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandAugment", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomBrightness", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomColorDegeneration", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomColorJitter", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomContrast", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomCrop", IMAGE, Masks::Drop, random_crop, "Keras 2 resizes at inference, Keras 3 does not").raw(),
    Row::new("RandomElasticTransform", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomErasing", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomFlip", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomGaussianBlur", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomGrayscale", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomHeight", IMAGE, Masks::Drop, sizing_augmentation, STILL).raw(),
    Row::new("RandomHue", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomInvert", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomPerspective", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomPosterization", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomRotation", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomSaturation", IMAGE, Masks::Drop, augmentation, STILL).raw(),
    Row::new("RandomSharpness", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomShear", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomTranslation", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("RandomWidth", IMAGE, Masks::Drop, sizing_augmentation, STILL).raw(),
    Row::new("RandomZoom", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
    Row::new("Solarization", IMAGE, Masks::Drop, casting_augmentation, STILL).raw(),
];

type Outcome = Result<Vec<Val>, Findings>;

/// Each channel of an image stretched to the whole range; a channel of one value stays.
fn auto_contrast(l: &mut Lowering<'_>) -> Outcome {
    let given = l.input()?.value;
    // Whatever the data format: so does Keras.
    let axes = [1, 2];
    if l.rank(given) != 4 {
        return Err(l.unsupported("an input that is no batch of images").into());
    }
    let range = match l.config.get("value_range") {
        Some(Json::Array(ends)) if ends.len() == 2 => ends[0].as_f64().zip(ends[1].as_f64()),
        None => Some((0.0, 255.0)),
        Some(_) => None,
    };
    let (low, high) = range.filter(|(a, b)| a != b).ok_or_else(|| l.config.bad("value_range", "two different ends"))?;
    let (low, high) = (low.min(high), low.max(high));
    let to = compute_dtype(l)?;
    let mut x = l.cast(given, to)?;
    let plain = (low, high) == (0.0, 255.0);
    if !plain {
        x = shifted(l, x, -low, 255.0 / (high - low), 0.0)?;
    }
    let least = l.reduce(ReduceFunction::Min, x, &axes, true)?;
    let most = l.reduce(ReduceFunction::Max, x, &axes, true)?;
    let spread = l.binary(BinaryFunction::Sub, most, least)?;
    let from_least = l.binary(BinaryFunction::Sub, x, least)?;
    let share = l.binary(BinaryFunction::Div, from_least, spread)?;
    let stretched = l.binary_scalar(BinaryFunction::Mul, share, 255.0)?;
    let mut y = l.add(Clip { min: Some(0.0), max: Some(255.0) }, &[stretched])?;
    if !plain {
        y = shifted(l, y, 0.0, (high - low) / 255.0, low)?;
    }
    let lost = l.unary(UnaryFunction::IsNan, y)?;
    let original = l.cast(given, to)?;
    Ok(one(l.add(Where {}, &[lost, original, y])?))
}

/// (x + before) scale + after
pub fn shifted(l: &mut Lowering<'_>, x: ValueId, before: f64, scale: f64, after: f64) -> Result<ValueId, Diag> {
    let x = l.binary_scalar(BinaryFunction::Add, x, before)?;
    let x = l.binary_scalar(BinaryFunction::Mul, x, scale)?;
    l.binary_scalar(BinaryFunction::Add, x, after)
}

/// Images as they are. Up to Keras 3.5 all of these cast them to the compute dtype.
fn augmentation(l: &mut Lowering<'_>) -> Outcome {
    let x = still(l)?;
    Ok(one(if l.keras_version() < (3, 6) { narrowed(l, x)? } else { x }))
}

/// Those that still cast.
fn casting_augmentation(l: &mut Lowering<'_>) -> Outcome {
    let x = still(l)?;
    Ok(one(narrowed(l, x)?))
}

/// Those that change sizes in training, and never cast.
fn sizing_augmentation(l: &mut Lowering<'_>) -> Outcome {
    Ok(one(still(l)?))
}

fn still(l: &mut Lowering<'_>) -> Result<ValueId, Diag> {
    ignore_seeds(l);
    refuse_training(l)?;
    Ok(l.input()?.value)
}

/// At inference Keras up to 2.6 resizes so that the target fits in, and cuts it out of the middle; up to 3.5 it crops
/// to the target's proportions and resizes, 3.6 and 3.7 cut the target's size at the place of that window and resize
/// what is smaller, and since 3.8 the image stays as it is.
fn random_crop(l: &mut Lowering<'_>) -> Outcome {
    if l.keras_version() >= (3, 8) {
        return augmentation(l);
    }
    ignore_seeds(l);
    refuse_training(l)?;
    let (x, axes) = image(l)?;
    let mut x = narrowed(l, x)?;
    let target = target(l)?;
    if l.keras_version() < (2, 7) {
        return resized_then_cut(l, x, axes, target);
    }
    if l.keras_version() < (3, 6) {
        return smart_resized(l, x, axes, target);
    }
    let window = window(l, x, axes, target)?;
    for (i, axis) in axes.into_iter().enumerate() {
        let size = l.known(x, axis)?;
        let start = (size - window[i]) / 2;
        x = l.slice(x, axis, Dim::Known(start), Dim::Known(size.min(start + target[i])))?;
    }
    let sizes = target.map(Dim::Known);
    if axes.iter().zip(&sizes).all(|(&axis, size)| l.shape(x)[axis] == *size) {
        return Ok(one(x));
    }
    let y = resized(l, x, axes.to_vec(), sizes.to_vec(), "bilinear", false)?;
    Ok(one(narrowed(l, y)?))
}

fn resized_then_cut(l: &mut Lowering<'_>, x: ValueId, axes: [usize; 2], target: [u64; 2]) -> Outcome {
    let (height, width) = (l.known(x, axes[0])?, l.known(x, axes[1])?);
    if height == 0 || width == 0 {
        return Err(l.unsupported(format!("an image without pixels, {}", l.ty(x))).into());
    }
    let sizes = if height * target[1] > target[0] * width {
        [target[1] * height / width, target[1]]
    } else {
        [target[0], target[0] * width / height]
    };
    let mut y = resized(l, x, axes.to_vec(), sizes.map(Dim::Known).to_vec(), "bilinear", false)?;
    for (i, axis) in axes.into_iter().enumerate() {
        let start = sizes[i].saturating_sub(target[i]) / 2;
        y = l.slice(y, axis, Dim::Known(start), Dim::Known(start + target[i]))?;
    }
    Ok(one(y))
}
