//! The table of layers: one row per class name, kept in the family files and put together here. Dispatch, the claimed
//! classes, the documentation and the README's matrix come from it.

use crate::{
    attention, audio, augmentation, conv, core, equalize, lambda, legacy, local, lookup, merge, norm, pooling,
    preprocess, recurrent, refused, resample, reshape, text, wrappers,
};
use recast_plugin_api::diag::Findings;
use recast_plugin_api::lower::{Lowering, Val};

/// Lowers one call; the outputs in the layer's order. Inputs are cast as Keras autocasts them before it runs.
pub type LowerFn = fn(&mut Lowering<'_>) -> Result<Vec<Val>, Findings>;

/// What becomes of the Keras mask of the first input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks {
    /// Travels on with every output (`supports_masking`).
    Pass,
    /// Travels on in Keras 3, ends here in Keras 2.
    PassIn3,
    /// Ends here.
    Drop,
    /// The lowering says: the masks of the `Val`s that it returns stand.
    Own,
}

/// One class that this plugin lowers.
#[derive(Clone, Copy)]
pub struct Row {
    /// As in `model::Layer::class`.
    pub class: &'static str,
    pub family: &'static str,
    pub masks: Masks,
    /// Floating-point inputs are cast to the compute dtype before `lower` sees them.
    pub autocast: bool,
    pub lower: LowerFn,
    /// What a reader of the matrix should know: how it behaves at inference, what is refused.
    pub note: &'static str,
}

impl Row {
    pub const fn new(
        class: &'static str,
        family: &'static str,
        masks: Masks,
        lower: LowerFn,
        note: &'static str,
    ) -> Row {
        Row { class, family, masks, autocast: true, lower, note }
    }

    /// Inputs as they come, whatever the layer's dtype policy.
    pub const fn raw(self) -> Row {
        Row { autocast: false, ..self }
    }
}

/// One list per file. Order does not matter here: `LAYERS` is sorted.
const FAMILIES: &[&[Row]] = &[
    core::ROWS,
    equalize::ROWS,
    lambda::ROWS,
    attention::ROWS,
    audio::ROWS,
    augmentation::ROWS,
    conv::ROWS,
    legacy::ROWS,
    local::ROWS,
    lookup::ROWS,
    merge::ROWS,
    norm::ROWS,
    pooling::ROWS,
    preprocess::ROWS,
    recurrent::ROWS,
    refused::ROWS,
    resample::ROWS,
    reshape::ROWS,
    text::ROWS,
    wrappers::ROWS,
    crate::ops::APPLICATIONS,
    crate::ops::ROWS,
];

const COUNT: usize = {
    let (mut count, mut family) = (0, 0);
    while family < FAMILIES.len() {
        count += FAMILIES[family].len();
        family += 1;
    }
    count
};

/// Every class, sorted by name.
pub static LAYERS: [Row; COUNT] = SORTED;

/// The names alone, for the manifest.
pub const CLASSES: [&str; COUNT] = {
    let mut classes = [""; COUNT];
    let mut at = 0;
    while at < COUNT {
        classes[at] = SORTED[at].class;
        at += 1;
    }
    classes
};

// The claimed classes are a constant, so what they are read from is one.
#[allow(clippy::large_const_arrays)]
const SORTED: [Row; COUNT] = {
    let mut rows = [FAMILIES[0][0]; COUNT];
    let (mut len, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            let mut at = len;
            while at > 0 && less(FAMILIES[family][row].class, rows[at - 1].class) {
                rows[at] = rows[at - 1];
                at -= 1;
            }
            rows[at] = FAMILIES[family][row];
            len += 1;
            row += 1;
        }
        family += 1;
    }
    rows
};

/// `a < b` by bytes, in a constant.
const fn less(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

pub fn find(class: &str) -> Option<&'static Row> {
    LAYERS.binary_search_by(|row| row.class.cmp(class)).ok().map(|at| &LAYERS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_table_sorted_and_each_once() {
        assert!(LAYERS.windows(2).all(|pair| pair[0].class < pair[1].class), "{CLASSES:?}");
        assert_eq!(LAYERS.iter().map(|row| row.class).collect::<Vec<_>>(), CLASSES);
        assert!(LAYERS.iter().all(|row| find(row.class).is_some_and(|found| found.class == row.class)));
    }
}
