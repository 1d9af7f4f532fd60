//! The equations of the three cells, compared with those of a step. Factors and terms may stand in any order; which
//! columns of the kernels a gate takes says which gate it is.

use super::Kind;
use super::activation::activated;
use super::step::{Part, Step, Term, Weight};
use recast_plugin_api::ir::{ActivationFunction, ActivationSpec, BinaryFunction, Dim, ValueId};

/// A cell as the equations say it; values are the body's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pub kind: Kind,
    /// (batch, in)
    pub x: ValueId,
    pub kernel: Weight,
    pub recurrent: Weight,
    pub bias: Option<Weight>,
}

/// One gate before its activation.
#[derive(Debug, Clone, Copy)]
struct Gate {
    x: ValueId,
    kernel: Part,
    recurrent: Part,
    /// Of the input, and of the recurrent product where it has its own.
    biases: [Option<Part>; 2],
}

/// What a cell's equations are read with: the body, and the state h of it.
#[derive(Clone, Copy)]
pub struct Reading<'s, 'g> {
    pub step: &'s Step<'g>,
    pub h: ValueId,
    pub units: u64,
}

const LINEAR: ActivationFunction = ActivationFunction::Linear;

impl Reading<'_, '_> {
    /// The two factors or terms of a value.
    fn pair(&self, value: ValueId, function: BinaryFunction) -> Option<[ValueId; 2]> {
        self.step.body.binary(value).filter(|(found, _)| *found == function).map(|(_, pair)| pair)
    }

    /// Both ways to tell two factors apart.
    fn factors(&self, value: ValueId) -> impl Iterator<Item = (ValueId, ValueId)> + use<> {
        let pair = self.pair(value, BinaryFunction::Mul);
        pair.into_iter().flat_map(|[a, b]| [(a, b), (b, a)])
    }

    fn terms(&self, value: ValueId) -> impl Iterator<Item = (ValueId, ValueId)> + use<> {
        let pair = self.pair(value, BinaryFunction::Add);
        pair.into_iter().flat_map(|[a, b]| [(a, b), (b, a)])
    }

    /// An activation and what it is of. A value that no function makes is its own.
    fn activated(&self, value: ValueId) -> (ActivationSpec, ValueId) {
        activated(self.step, value).unwrap_or((ActivationSpec::plain(LINEAR), value))
    }

    /// x kernel + `of` recurrent + biases, the columns being those of this gate.
    fn gate(&self, terms: &[Term], of: ValueId, index: u64) -> Option<Gate> {
        let (from, to) = (index.checked_mul(self.units)?, index.checked_add(1)?.checked_mul(self.units)?);
        let (mut input, mut recurrent, mut biases) = (None, None, [None, None]);
        for term in terms {
            let part = match term {
                Term::Product { part, .. } | Term::Vector(part) => part,
            };
            if (part.from, part.to) != (from, to) {
                return None;
            }
            let taken = match *term {
                Term::Product { of: value, part } if value == of => recurrent.replace(part).is_some(),
                Term::Product { of: value, part } => input.replace((value, part)).is_some(),
                Term::Vector(part) if part.row == Some(1) => biases[1].replace(part).is_some(),
                Term::Vector(part) => biases[0].replace(part).is_some(),
            };
            if taken {
                return None;
            }
        }
        let (x, kernel) = input?;
        Some(Gate { x, kernel, recurrent: recurrent?, biases })
    }

    /// c' = f c + i g, h' = o act(c'), gates i, f, g, o.
    pub fn lstm(&self, new_h: ValueId, new_c: ValueId, c: ValueId) -> Option<Cell> {
        let mut ways = Vec::new();
        for (output, shown) in self.factors(new_h) {
            let (activation, inner) =
                if shown == new_c { (ActivationSpec::plain(LINEAR), shown) } else { self.activated(shown) };
            if inner != new_c {
                continue;
            }
            for (kept, new) in self.terms(new_c) {
                for (forget, _) in self.factors(kept).filter(|(_, state)| *state == c) {
                    ways.extend(self.factors(new).map(|(input, own)| (activation, [input, forget, own, output])));
                }
            }
        }
        ways.into_iter().find_map(|(activation, values)| self.lstm_of(activation, values))
    }

    fn lstm_of(&self, activation: ActivationSpec, values: [ValueId; 4]) -> Option<Cell> {
        let mut gates = Vec::new();
        let mut specs = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let (spec, inner) = self.activated(value);
            gates.push(self.gate(&self.step.sum(inner)?, self.h, index as u64)?);
            specs.push(spec);
        }
        let recurrent_activation = specs[0];
        let agree = specs == [recurrent_activation, recurrent_activation, activation, recurrent_activation];
        let kind = Kind::Lstm { activation, recurrent_activation };
        if agree { self.cell(kind, &gates, 1) } else { None }
    }

    /// h' = z h + (1 - z) act(..), gates z, r, h.
    pub fn gru(&self, new_h: ValueId) -> Option<Cell> {
        for (kept, new) in self.terms(new_h) {
            for (update, _) in self.factors(kept).filter(|(_, state)| *state == self.h) {
                let others = self.factors(new).filter(|(rest, _)| self.is_rest(*rest, update));
                let found = others.into_iter().find_map(|(_, own)| self.gru_of(update, own));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// 1 - value
    fn is_rest(&self, rest: ValueId, value: ValueId) -> bool {
        let pair = self.pair(rest, BinaryFunction::Sub);
        pair.is_some_and(|[one, other]| other == value && self.step.number(one) == Some(1.0))
    }

    fn gru_of(&self, update: ValueId, own: ValueId) -> Option<Cell> {
        let (recurrent_activation, z) = self.activated(update);
        let (activation, own) = self.activated(own);
        let z = self.gate(&self.step.sum(z)?, self.h, 0)?;
        let (reset, h, reset_after) = self.reset_before(own).or_else(|| self.reset_after(own))?;
        let (spec, r) = self.activated(reset);
        let r = self.gate(&self.step.sum(r)?, self.h, 1)?;
        let kind = Kind::Gru { activation, recurrent_activation, reset_after };
        let rows = if reset_after { 2 } else { 1 };
        if spec == recurrent_activation { self.cell(kind, &[z, r, h], rows) } else { None }
    }

    /// x kernel + (r h) recurrent + bias: r, and the gate.
    fn reset_before(&self, own: ValueId) -> Option<(ValueId, Gate, bool)> {
        let terms = self.step.sum(own)?;
        terms.iter().find_map(|term| {
            let Term::Product { of, .. } = *term else { return None };
            let (reset, _) = self.factors(of).find(|(_, state)| *state == self.h)?;
            Some((reset, self.gate(&terms, of, 2)?, false))
        })
    }

    /// x kernel + bias + r (h recurrent + bias): r, and the gate.
    fn reset_after(&self, own: ValueId) -> Option<(ValueId, Gate, bool)> {
        let ways: Vec<(ValueId, ValueId)> = self.terms(own).collect();
        ways.into_iter().find_map(|(input, product)| {
            let input = self.step.sum(input)?;
            let is_own = |term: &Term| !matches!(term, Term::Product { of, .. } if *of == self.h);
            if !input.iter().all(|term| is_own(term) && !is_second(term)) {
                return None;
            }
            self.factors(product).find_map(|(reset, recalled)| {
                let recalled = self.step.sum(recalled)?;
                if recalled.iter().any(|term| is_own(term) && !is_second(term)) {
                    return None;
                }
                let gate = self.gate(&[input.as_slice(), &recalled].concat(), self.h, 2)?;
                Some((reset, gate, true))
            })
        })
    }

    /// h' = act(x kernel + h recurrent + bias)
    pub fn simple(&self, new_h: ValueId) -> Option<Cell> {
        let (activation, inner) = self.activated(new_h);
        let gate = self.gate(&self.step.sum(inner)?, self.h, 0)?;
        self.cell(Kind::Simple { activation }, &[gate], 1)
    }

    /// The gates' parts are whole kernels, the same for all. `rows` of biases: one vector, or a matrix of two.
    fn cell(&self, kind: Kind, gates: &[Gate], rows: usize) -> Option<Cell> {
        let first = gates.first()?;
        let wide = (gates.len() as u64).checked_mul(self.units)?;
        let whole = |part: &Part| part.whole == wide;
        let same = |a: Part, b: Part| a.weight == b.weight && a.row == b.row;
        for gate in gates {
            let one = gate.x == first.x && same(gate.kernel, first.kernel) && same(gate.recurrent, first.recurrent);
            if !one || !whole(&gate.kernel) || !whole(&gate.recurrent) {
                return None;
            }
            for (bias, known) in gate.biases.iter().zip(&first.biases) {
                let fits = match (bias, known) {
                    (Some(bias), Some(known)) => same(*bias, *known) && whole(bias),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                };
                if !fits {
                    return None;
                }
            }
        }
        let bias = self.bias(first.biases, rows)?;
        Some(Cell { kind, x: first.x, kernel: first.kernel.weight, recurrent: first.recurrent.weight, bias })
    }

    /// `None` where the biases are not as the op has them; `Some(None)` where there are none.
    fn bias(&self, biases: [Option<Part>; 2], rows: usize) -> Option<Option<Weight>> {
        match (biases, rows) {
            ([None, None], _) => Some(None),
            ([Some(only), None], 1) if only.rank == 1 => Some(Some(only.weight)),
            ([Some(input), Some(recurrent)], 2) => {
                let one_matrix = input.weight == recurrent.weight && input.row == Some(0) && self.is_pair(input.weight);
                one_matrix.then_some(Some(input.weight))
            }
            _other => None,
        }
    }

    /// A matrix of two rows.
    fn is_pair(&self, weight: Weight) -> bool {
        let graph = self.step.outer.graph;
        match weight {
            Weight::Outer(value) => graph.shape(value).first() == Some(&Dim::Known(2)),
            Weight::Body(at) => self.step.scan.body.params[at].tensor.shape.first() == Some(&2),
        }
    }
}

/// A bias of the recurrent product.
fn is_second(term: &Term) -> bool {
    matches!(term, Term::Vector(part) if part.row == Some(1))
}
