use super::*;
use crate::ir::op::Einsum;

pub fn matmul(ins: &mut Ins) -> Inferred {
    ins.count(2, 2)?;
    let (a, b) = (ins.get(0)?, ins.get(1)?);
    want_dtype(a, "a number", |d| d.is_float() || d.is_int())?;
    if a.dtype != b.dtype {
        return Err(format!("dtypes {} and {} differ", a.dtype, b.dtype));
    }
    if a.rank() < 2 || b.rank() < 2 {
        return Err("both operands need rank two or more".into());
    }
    let (a_lead, a_tail) = a.shape.split_at(a.rank() - 2);
    let (b_lead, b_tail) = b.shape.split_at(b.rank() - 2);
    ins.same(&a_tail[1], &b_tail[0])?;
    let mut shape = ins.broadcast(a_lead, b_lead)?;
    shape.extend([a_tail[0].clone(), b_tail[1].clone()]);
    Ok(vec![Type::new(a.dtype, shape)])
}

/// Splits an equation into the letters of each operand and of the result.
pub fn einsum_terms(equation: &str) -> Option<(Vec<Vec<char>>, Vec<char>)> {
    let (operands, result) = equation.split_once("->")?;
    let operands: Vec<Vec<char>> = operands.split(',').map(|term| term.chars().collect()).collect();
    let letters = |term: &Vec<char>| {
        let unique = term.iter().enumerate().all(|(i, c)| !term[..i].contains(c));
        unique && term.iter().all(char::is_ascii_alphabetic)
    };
    let result: Vec<char> = result.chars().collect();
    let known = result.iter().all(|c| operands.iter().any(|term| term.contains(c)));
    (known && letters(&result) && operands.iter().all(letters)).then_some((operands, result))
}

pub fn einsum(op: &Einsum, ins: &mut Ins) -> Inferred {
    let (terms, result) =
        einsum_terms(&op.equation).ok_or_else(|| format!("equation '{}' is not plain", op.equation))?;
    ins.count(terms.len(), terms.len())?;
    let mut sizes: Vec<(char, Dim)> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let ty = ins.get(index)?;
        want_rank(ty, term.len())?;
        want_dtype(ty, "the first operand's dtype", |d| Ok(d) == ins.get(0).map(|t| t.dtype))?;
        for (letter, dim) in term.iter().zip(&ty.shape) {
            match sizes.iter().position(|(known, _)| known == letter) {
                Some(at) => sizes[at].1 = ins.same(&sizes[at].1.clone(), dim)?,
                None => sizes.push((*letter, dim.clone())),
            }
        }
    }
    let size = |letter: &char| sizes.iter().find(|(known, _)| known == letter).map(|(_, dim)| dim.clone());
    let shape: Option<Vec<Dim>> = result.iter().map(size).collect();
    Ok(vec![Type::new(ins.get(0)?.dtype, shape.ok_or("a letter of the result has no size")?)])
}
