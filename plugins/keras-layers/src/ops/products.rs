//! Products of matrices and their like.

use super::args::{common, flag, pair, place, positional, setting, text};
use super::reduce::flat;
use super::{Outcome, unless};
use crate::policy::one;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{BinaryFunction as B, Einsum, MatMul, ValueId};
use recast_plugin_api::lower::{Lowering, resolve_axis};
use serde_json::Value as Json;

/// Vectors are rows on the left and columns on the right, and their axis goes again.
pub fn matmul(l: &mut Lowering<'_>) -> Outcome {
    let (mut a, mut b) = pair(l)?;
    let (row, column) = (l.rank(a) == 1, l.rank(b) == 1);
    unless(l, l.rank(a) == 0 || l.rank(b) == 0, "a scalar operand")?;
    if row {
        a = l.expand(a, 0)?;
    } else if flag(l, &["transpose_a"], false)? || flag(l, &["adjoint_a"], false)? {
        a = flipped(l, a)?;
    }
    if column {
        b = l.expand(b, 1)?;
    } else if flag(l, &["transpose_b"], false)? || flag(l, &["adjoint_b"], false)? {
        b = flipped(l, b)?;
    }
    let mut y = l.add(MatMul {}, &[a, b])?;
    if column {
        y = l.squeeze(y, l.rank(y) - 1)?;
    }
    if row {
        y = l.squeeze(y, l.rank(y) - if column { 1 } else { 2 })?;
    }
    Ok(one(y))
}

fn flipped(l: &mut Lowering<'_>, x: ValueId) -> Result<ValueId, Diag> {
    let rank = l.rank(x);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    l.transpose(x, &perm)
}

/// Sums over pairs of axes; what is left of `a` stands before what is left of `b`.
pub fn contract(l: &mut Lowering<'_>, a: ValueId, b: ValueId, over: &[(usize, usize)]) -> Result<ValueId, Diag> {
    let (a_rank, b_rank) = (l.rank(a), l.rank(b));
    let mut letters = ('a'..='z').chain('A'..='Z');
    let left: Vec<char> = letters.by_ref().take(a_rank).collect();
    let right: Vec<Option<char>> = (0..b_rank)
        .map(|axis| match over.iter().find(|(_, of_b)| *of_b == axis) {
            Some((of_a, _)) => left.get(*of_a).copied(),
            None => letters.next(),
        })
        .collect();
    let right: Vec<char> = right.into_iter().collect::<Option<_>>().ok_or_else(|| l.unsupported("ranks this high"))?;
    let kept = |letter: &&char| !(left.contains(letter) && right.contains(letter));
    let result: String = left.iter().filter(kept).chain(right.iter().filter(kept)).collect();
    let equation = format!("{},{}->{result}", left.iter().collect::<String>(), right.iter().collect::<String>());
    l.add(Einsum { equation }, &[a, b])
}

/// Over the last axis of the first and the last but one of the second operand.
pub fn dot(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let y = match (l.rank(a), l.rank(b)) {
        (0, _) | (_, 0) => l.binary(B::Mul, a, b)?,
        (2, 2) => l.add(MatMul {}, &[a, b])?,
        (a_rank, b_rank) => contract(l, a, b, &[(a_rank - 1, b_rank.saturating_sub(2))])?,
    };
    Ok(one(y))
}

/// A number of trailing and leading axes, or an axis or a list of them for each operand.
pub fn tensordot(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a_rank, b_rank) = (l.rank(a), l.rank(b));
    let given = setting(l, &["axes"])?.unwrap_or(Json::from(2));
    let list = |json: &Json, rank: usize| -> Option<Vec<usize>> {
        let items = json.as_array().cloned().unwrap_or_else(|| vec![json.clone()]);
        items.iter().map(|axis| resolve_axis(axis.as_i64()?, rank)).collect()
    };
    let over: Option<Vec<(usize, usize)>> = match &given {
        Json::Array(items) if items.len() == 2 => {
            let lists = list(&items[0], a_rank).zip(list(&items[1], b_rank));
            lists
                .filter(|(of_a, of_b)| of_a.len() == of_b.len())
                .map(|(of_a, of_b)| of_a.into_iter().zip(of_b).collect())
        }
        count => {
            let count = count.as_u64().map(|count| count as usize).filter(|&count| count <= a_rank.min(b_rank));
            count.map(|count| (0..count).map(|axis| (a_rank - count + axis, axis)).collect())
        }
    };
    let over = over.ok_or_else(|| l.unsupported(format!("the axes {given}")))?;
    Ok(one(contract(l, a, b, &over)?))
}

/// Every element of the one with every element of the other.
pub fn outer(l: &mut Lowering<'_>) -> Outcome {
    let (a, b) = pair(l)?;
    let (a, b) = (flat(l, a)?, flat(l, b)?);
    let (a, b) = (l.expand(a, 1)?, l.expand(b, 0)?);
    Ok(one(l.binary(B::Mul, a, b)?))
}

pub fn einsum(l: &mut Lowering<'_>) -> Outcome {
    let items = positional(l)?;
    let dtype = common(l, &items.iter().collect::<Vec<_>>());
    let values: Vec<ValueId> = items.iter().map(|item| place(l, item, dtype)).collect::<Result<_, _>>()?;
    let given = text(l, &["subscripts", "equation"], "")?;
    let terms = given.split("->").next().unwrap_or("").split(',').map(str::trim);
    let twice = |term: &str| term.char_indices().any(|(at, c)| c.is_ascii_alphabetic() && term[at + 1..].contains(c));
    unless(l, terms.into_iter().any(twice), "a diagonal: one letter twice in one term")?;
    let ranks: Vec<usize> = values.iter().map(|&value| l.rank(value)).collect();
    let equation = spelled_out(&given, &ranks).ok_or_else(|| l.unsupported(format!("the contraction '{given}'")))?;
    Ok(one(l.add(Einsum { equation }, &values)?))
}

/// With letters in the place of `...`, and the result written out.
fn spelled_out(equation: &str, ranks: &[usize]) -> Option<String> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right.to_string())),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != ranks.len() {
        return None;
    }
    let named = |term: &str| term.chars().filter(char::is_ascii_alphabetic).count();
    let elided = |(term, rank): (&&str, &usize)| {
        if term.contains("...") { rank.checked_sub(named(term)) } else { (named(term) == *rank).then_some(0) }
    };
    let counts: Vec<usize> = terms.iter().zip(ranks).map(elided).collect::<Option<_>>()?;
    let most = counts.iter().copied().max()?;
    let free: String = ('a'..='z').chain('A'..='Z').filter(|letter| !equation.contains(*letter)).take(most).collect();
    if free.len() < most {
        return None;
    }
    let spelled = |(term, count): (&&str, &usize)| term.replace("...", &free[most - count..]);
    let terms: Vec<String> = terms.iter().zip(&counts).map(spelled).collect();
    let right = right.map(|right| right.replace("...", &free)).unwrap_or_else(|| {
        let joined = terms.concat();
        let mut once: Vec<char> =
            joined.chars().filter(|&c| joined.matches(c).count() == 1 && !free.contains(c)).collect();
        once.sort_unstable();
        free.chars().chain(once).collect()
    });
    Some(format!("{}->{right}", terms.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_written_out() {
        assert_eq!(spelled_out("ab, bc", &[2, 2]).as_deref(), Some("ab,bc->ac"));
        assert_eq!(spelled_out("...x,xy->...y", &[3, 2]).as_deref(), Some("abx,xy->aby"));
        assert_eq!(spelled_out("ab,bc->ac", &[3, 2]), None);
    }
}
