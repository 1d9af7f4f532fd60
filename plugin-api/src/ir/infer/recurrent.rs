use super::*;
use crate::ir::op::{Direction, Gru, Lstm, SimpleRnn};

/// What the three kinds differ in, as far as types go.
struct Cell<'a> {
    directions: &'a [Direction],
    gates: u64,
    bias: Vec<u64>,
    states: usize,
}

/// Inputs per direction: kernel, recurrent kernel, bias, then the states.
pub fn inputs_per_direction(states: usize) -> usize {
    3 + states
}

fn check(cell: Cell, ins: &mut Ins) -> Inferred {
    let per_direction = inputs_per_direction(cell.states);
    let directions = cell.directions.len();
    if directions == 0 || directions > 2 || (directions == 2 && cell.directions[0] == cell.directions[1]) {
        return Err(format!("directions {:?}", cell.directions));
    }
    let count = 2 + directions * per_direction;
    if ins.len() != count {
        return Err(format!("takes {count} inputs (absent ones included), got {}", ins.len()));
    }
    let x = ins.get(0)?;
    want_rank(x, 3)?;
    want_dtype(x, "a float", DType::is_float)?;
    if let Some(mask) = ins.opt(1) {
        want_dtype(mask, "bool", |d| d == DType::Bool)?;
        ins.same_shape(&mask.shape, &x.shape[..2])?;
    }
    let mut units = None;
    for direction in 0..directions {
        let at = 2 + direction * per_direction;
        let (kernel, recurrent) = (ins.get(at)?, ins.get(at + 1)?);
        want_rank(recurrent, 2)?;
        let u = recurrent.shape[0].known().ok_or("the number of units is not known")?;
        let wide = Dim::Known(u.saturating_mul(cell.gates));
        ins.same_shape(&kernel.shape, &[x.shape[2].clone(), wide.clone()])?;
        ins.same_shape(&recurrent.shape, &[Dim::Known(u), wide])?;
        if let Some(bias) = ins.opt(at + 2) {
            let want: Vec<Dim> =
                cell.bias.iter().map(|&n| Dim::Known(if n == 0 { u.saturating_mul(cell.gates) } else { n })).collect();
            ins.same_shape(&bias.shape, &want)?;
        }
        for state in 0..cell.states {
            if let Some(ty) = ins.opt(at + 3 + state) {
                ins.same_shape(&ty.shape, &[x.shape[0].clone(), Dim::Known(u)])?;
            }
        }
        if units.is_some_and(|known| known != u) {
            return Err("the directions differ in units".into());
        }
        units = Some(u);
    }
    let (u, d) = (Dim::Known(units.unwrap_or(0)), Dim::Known(directions as u64));
    let state = x.with_shape(vec![x.shape[0].clone(), d.clone(), u.clone()]);
    let sequence = x.with_shape(vec![x.shape[0].clone(), x.shape[1].clone(), d, u]);
    Ok(std::iter::once(sequence).chain(std::iter::repeat_n(state, cell.states)).collect())
}

pub fn lstm(op: &Lstm, ins: &mut Ins) -> Inferred {
    check(Cell { directions: &op.directions, gates: 4, bias: vec![0], states: 2 }, ins)
}

pub fn gru(op: &Gru, ins: &mut Ins) -> Inferred {
    let bias = if op.reset_after { vec![2, 0] } else { vec![0] };
    check(Cell { directions: &op.directions, gates: 3, bias, states: 1 }, ins)
}

pub fn simple_rnn(op: &SimpleRnn, ins: &mut Ins) -> Inferred {
    check(Cell { directions: &op.directions, gates: 1, bias: vec![0], states: 1 }, ins)
}
