use super::{Cx, Ins, Outcome, fault, hash, ints, wrong_kind};
use crate::array::{Array, Data};
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{
    HashFunction, IndexToString, SplitFunction, StringFunction, StringHash, StringMap, StringSplit, StringToIndex,
};
use std::collections::HashMap;

fn strings(array: &Array) -> Result<&[String], Diag> {
    if let Data::S(values) = &array.data { Ok(values) } else { Err(wrong_kind(array)) }
}

pub fn string_to_index(op: &StringToIndex, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let table: HashMap<&str, i64> = op.keys.iter().map(String::as_str).zip(op.values.iter().copied()).collect();
    let found = |text: &String| table.get(text.as_str()).copied().unwrap_or(op.fallback);
    cx.output(Data::I(strings(&*ins.array(0)?)?.iter().map(found).collect()))
}

pub fn index_to_string(op: &IndexToString, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let table: HashMap<i64, &String> = op.keys.iter().copied().zip(&op.values).collect();
    let found = |at: &i64| table.get(at).copied().unwrap_or(&op.fallback).clone();
    cx.output(Data::S(ints(&*ins.array(0)?)?.iter().map(found).collect()))
}

/// What `StringFunction::StripPunctuation` takes out is all of ASCII that is seen and neither letter nor digit.
pub fn string_map(op: &StringMap, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let map = |text: &String| match op.function {
        StringFunction::Lower => text.to_ascii_lowercase(),
        StringFunction::StripPunctuation => text.chars().filter(|c| !c.is_ascii_punctuation()).collect(),
    };
    cx.output(Data::S(strings(&*ins.array(0)?)?.iter().map(map).collect()))
}

/// The words of a text, and their runs.
fn words(op: &StringSplit, text: &str) -> Vec<String> {
    let parts: Vec<String> = match op.by {
        SplitFunction::Whitespace => {
            let parts = text.split([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']).filter(|part| !part.is_empty());
            parts.map(String::from).collect()
        }
        SplitFunction::Characters => text.chars().map(String::from).collect(),
    };
    let runs = |&width: &u64| {
        let width = usize::try_from(width).unwrap_or(usize::MAX).max(1);
        parts.windows(width.min(parts.len() + 1)).map(|run| run.join(" "))
    };
    op.ngrams.iter().flat_map(runs).collect()
}

pub fn string_split(op: &StringSplit, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let texts = ins.array(0)?;
    let width = cx.shape().last().copied().unwrap_or(0);
    let mut all = Vec::with_capacity(cx.len());
    for text in strings(&texts)? {
        let mut found = words(op, text);
        if found.len() > width {
            return Err(fault(format!("{} words where there is room for {width}", found.len())));
        }
        found.resize(width, String::new());
        all.append(&mut found);
    }
    cx.output(Data::S(all))
}

/// The most words that any of the texts has.
pub fn most_words(op: &StringSplit, texts: &Array) -> Result<u64, Diag> {
    Ok(strings(texts)?.iter().map(|text| words(op, text).len() as u64).max().unwrap_or(0))
}

pub fn string_hash(op: &StringHash, ins: &Ins<'_>, cx: &Cx<'_>) -> Outcome {
    let key = |at: usize| op.key.get(at).copied().unwrap_or(0);
    let mut hashes = vec![key(0); cx.len()];
    for input in 0..ins.len() {
        let array = ins.array(input)?;
        for (at, hash) in hashes.iter_mut().enumerate() {
            let own = |text: &String| hash::fingerprint64(text.as_bytes());
            *hash = match (op.function, &array.data) {
                (HashFunction::Fingerprint64, Data::S(texts)) => own(&texts[at]),
                (HashFunction::SipHash, Data::S(texts)) => hash::sip_hash(texts[at].as_bytes(), (key(0), key(1))),
                (HashFunction::Cross, Data::S(texts)) => hash::cat(*hash, own(&texts[at])),
                (HashFunction::Cross, Data::I(numbers)) => hash::cat(*hash, numbers[at] as u64),
                (_, _) => return Err(wrong_kind(&array)),
            };
        }
    }
    cx.output(Data::I(hashes.into_iter().map(|hash| (hash % op.buckets) as i64).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(by: SplitFunction, ngrams: &[u64], text: &str) -> Vec<String> {
        let words = recast_plugin_api::ir::Dim::symbol("words");
        super::words(&StringSplit { by, ngrams: ngrams.to_vec(), words }, text)
    }

    /// As tf.strings.split, unicode_split and ngrams have it.
    #[test]
    fn texts_fall_into_words() {
        use SplitFunction::{Characters, Whitespace};
        assert_eq!(split(Whitespace, &[1], "a\tb\nc\u{b}d\u{c}e\rf g "), ["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!(split(Whitespace, &[1], "a\u{a0}b\u{2003}c"), ["a\u{a0}b\u{2003}c"]);
        assert_eq!(split(Whitespace, &[1], "  "), [""; 0]);
        assert_eq!(split(Characters, &[1], "a\u{e9}\u{65e5}"), ["a", "\u{e9}", "\u{65e5}"]);
        assert_eq!(split(Whitespace, &[1, 2], "a b c"), ["a", "b", "c", "a b", "b c"]);
        assert_eq!(split(Whitespace, &[3, 2], "a b c"), ["a b c", "a b", "b c"]);
        assert_eq!(split(Whitespace, &[3, 2], "a"), [""; 0]);
        assert_eq!(split(Whitespace, &[1, 2], ""), [""; 0]);
    }
}
