//! Layers that move elements: reshaping, permuting, padding, cropping and repeating.

use crate::geometry::{layout, spatial_axes};
use crate::policy::one;
use crate::table::{Masks, Row};
use recast_plugin_api::diag::{Diag, Findings};
use recast_plugin_api::ir::types::element_count;
use recast_plugin_api::ir::{Dim, Layout, Pad, PadMode, Tile};
use recast_plugin_api::lower::{Lowering, Val, WHOLE_MAX};
use serde_json::Value as Json;

const RESHAPE: &str = "reshaping";
const FORMATS: &str = "both data formats";

pub const ROWS: &[Row] = &[
    Row::new("Cropping1D", RESHAPE, Masks::Drop, cropping1d, FORMATS),
    Row::new("Cropping2D", RESHAPE, Masks::Drop, cropping2d, FORMATS),
    Row::new("Cropping3D", RESHAPE, Masks::Drop, cropping3d, FORMATS),
    Row::new("Flatten", RESHAPE, Masks::Drop, flatten, "in channels-last order whatever the data format"),
    Row::new("Permute", RESHAPE, Masks::Drop, permute, ""),
    Row::new("RepeatVector", RESHAPE, Masks::Drop, repeat_vector, ""),
    Row::new("Reshape", RESHAPE, Masks::Drop, reshape, "one size may be -1"),
    Row::new("ZeroPadding1D", RESHAPE, Masks::Drop, padding1d, FORMATS),
    Row::new("ZeroPadding2D", RESHAPE, Masks::Drop, padding2d, FORMATS),
    Row::new("ZeroPadding3D", RESHAPE, Masks::Drop, padding3d, FORMATS),
];

type Outcome = Result<Vec<Val>, Findings>;

fn cropping1d(l: &mut Lowering<'_>) -> Outcome {
    cropping(l, 1)
}
fn cropping2d(l: &mut Lowering<'_>) -> Outcome {
    cropping(l, 2)
}
fn cropping3d(l: &mut Lowering<'_>) -> Outcome {
    cropping(l, 3)
}
fn padding1d(l: &mut Lowering<'_>) -> Outcome {
    padding(l, 1)
}
fn padding2d(l: &mut Lowering<'_>) -> Outcome {
    padding(l, 2)
}
fn padding3d(l: &mut Lowering<'_>) -> Outcome {
    padding(l, 3)
}

/// (batch, everything else), channels last: a channels-first input is transposed before.
fn flatten(l: &mut Lowering<'_>) -> Outcome {
    let mut x = l.input()?.value;
    let rank = l.rank(x);
    if layout(l)? == Layout::ChannelsFirst && rank > 1 {
        let perm: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        x = l.transpose(x, &perm)?;
    }
    let shape = l.shape(x);
    let (batch, rest) = shape.split_first().ok_or_else(|| l.unsupported("a scalar input"))?;
    let flat = vec![batch.clone(), element_count(rest)];
    Ok(one(l.reshape(x, flat)?))
}

/// The batch axis stays; one size of the rest may be -1 (Keras 2 also takes null for it).
fn reshape(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let shape = l.shape(x);
    let (batch, rest) = shape.split_first().ok_or_else(|| l.unsupported("a scalar input"))?;
    let want = || l.config.bad("target_shape", "sizes, one of them at most -1");
    let target = match l.config.get("target_shape") {
        Some(Json::Array(items)) => items.clone(),
        Some(size) => vec![size.clone()],
        None => return Err(want().into()),
    };
    let size = |item: &Json| match item.as_i64() {
        None if item.is_null() => Ok(None),
        Some(-1) => Ok(None),
        Some(size) => u64::try_from(size).map(|size| Some(Dim::Known(size))).map_err(|_| want()),
        None => Err(want()),
    };
    let target: Vec<Option<Dim>> = target.iter().map(size).collect::<Result<_, _>>()?;
    let known = element_count(&target.iter().flatten().cloned().collect::<Vec<_>>());
    let free = match target.iter().filter(|size| size.is_none()).count() {
        0 => None,
        1 => Some(quotient(&element_count(rest), &known).ok_or_else(want)?),
        _ => return Err(want().into()),
    };
    let sizes = target.into_iter().map(|size| size.or_else(|| free.clone())).collect::<Option<Vec<_>>>();
    let mut sizes = sizes.ok_or_else(want)?;
    sizes.insert(0, batch.clone());
    Ok(one(l.reshape(x, sizes)?))
}

/// total / part; where it does not divide for every value of the symbols, those for which it does are the valid ones.
fn quotient(total: &Dim, part: &Dim) -> Option<Dim> {
    match (total, part.known()) {
        (Dim::Known(total), Some(part)) => (part > 0 && total % part == 0).then(|| Dim::Known(total / part)),
        (_, Some(part)) => total.exact_div(&Dim::Known(part)).or_else(|| (part > 0).then(|| total.floor_div(part))),
        (_, None) => total.exact_div(part),
    }
}

/// `dims` counts from 1: the batch axis is not in it.
fn permute(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    let rank = l.rank(x);
    let dims = l.config.u64s("dims", rank.saturating_sub(1))?;
    let perm: Vec<usize> = std::iter::once(0).chain(dims.iter().map(|&dim| dim as usize)).collect();
    Ok(one(l.transpose(x, &perm)?))
}

/// (batch, features) -> (batch, n, features)
fn repeat_vector(l: &mut Lowering<'_>) -> Outcome {
    let x = l.input()?.value;
    if l.rank(x) != 2 {
        return Err(l.unsupported(format!("an input of rank {} where 2 is needed", l.rank(x))).into());
    }
    let n = l.config.u64("n")?;
    let expanded = l.expand(x, 1)?;
    let repeats = vec![Dim::Known(1), Dim::Known(n), Dim::Known(1)];
    Ok(one(l.add(Tile { repeats }, &[expanded])?))
}

/// `2`, `[1, 2]` or `[[1, 2], [3, 4]]`: what to do before and after each of `n` spatial axes.
fn edges(l: &Lowering<'_>, key: &str, n: usize) -> Result<Vec<(u64, u64)>, Diag> {
    let want = || l.config.bad(key, "a size, or sizes before and after each spatial axis");
    let whole = |value: &Json| value.as_u64().filter(|&size| size <= WHOLE_MAX);
    let pair = |value: &Json| match value {
        Json::Array(items) if items.len() == 2 => Some((whole(&items[0])?, whole(&items[1])?)),
        other => whole(other).map(|size| (size, size)),
    };
    let found = match (l.config.get(key).unwrap_or(&Json::Null), n) {
        // One axis: the pair itself, or (Keras 3 wraps it) a list of one pair.
        (Json::Array(items), 1) if items.len() == 1 => pair(&items[0]).map(|one| vec![one]),
        (value, 1) => pair(value).map(|one| vec![one]),
        (Json::Array(items), _) if items.len() == n => items.iter().map(pair).collect(),
        // Keras 1 wrote top, bottom, left, right in one list.
        (Json::Array(items), 2) if items.len() == 4 => {
            let sizes: Option<Vec<u64>> = items.iter().map(whole).collect();
            sizes.map(|s| vec![(s[0], s[1]), (s[2], s[3])])
        }
        (value, _) => whole(value).map(|size| vec![(size, size); n]),
    };
    found.ok_or_else(want)
}

fn want_rank(l: &Lowering<'_>, rank: usize, n: usize) -> Result<(), Diag> {
    if rank == n + 2 {
        Ok(())
    } else {
        Err(l.unsupported(format!("an input of rank {rank} where {} is needed", n + 2)))
    }
}

fn padding(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let x = l.input()?.value;
    let rank = l.rank(x);
    want_rank(l, rank, n)?;
    let edges = edges(l, "padding", n)?;
    let mut padding = vec![(0, 0); rank];
    for (axis, edge) in spatial_axes(layout(l)?, rank).into_iter().zip(edges) {
        padding[axis] = edge;
    }
    Ok(one(l.add(Pad { padding, mode: PadMode::Constant }, &[x])?))
}

fn cropping(l: &mut Lowering<'_>, n: usize) -> Outcome {
    let mut x = l.input()?.value;
    let rank = l.rank(x);
    want_rank(l, rank, n)?;
    let edges = edges(l, "cropping", n)?;
    for (axis, (before, after)) in spatial_axes(layout(l)?, rank).into_iter().zip(edges) {
        let size = l.shape(x)[axis].clone();
        let stop = size.minus(&Dim::Known(after)).filter(|stop| stop.minus(&Dim::Known(before)).is_some());
        let stop = stop.ok_or_else(|| l.unsupported(format!("cropping {before} and {after} of a length of {size}")))?;
        x = l.slice(x, axis, Dim::Known(before), stop)?;
    }
    Ok(one(x))
}
