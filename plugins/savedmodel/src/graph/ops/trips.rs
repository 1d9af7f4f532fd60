//! How often a loop runs.

use super::super::def::Node;
use super::super::interp::Interp;
use super::super::value::{Int, Ints, Val};
use super::spelled::Spelled;
use recast_plugin_api::diag::Diag;
use recast_plugin_api::ir::{Binary, BinaryFunction, DType, Dim, Op, ValueId};
use std::rc::Rc;

/// How often a loop runs.
pub struct Trips {
    /// This often, unless an end comes first.
    pub count: Dim,
    /// Scalars: at the step of that number, and after it, nothing changes any more.
    pub ends: Vec<Val>,
}

/// How often the condition lets the body run, `seen` being the variables as far as they are known.
pub fn trips<'a>(
    interp: &mut Interp<'a>,
    node: &Node<'a>,
    form: &Spelled<'_, 'a>,
    seen: &[Val],
) -> Result<Trips, Diag> {
    let outer = std::mem::replace(&mut interp.deciding, true);
    let found = form.condition(interp, node, seen);
    interp.deciding = outer;
    let found = found?;
    let Some(Val::Below(limits)) = found.first() else {
        return Err(endless(node));
    };
    let mut bounds = Bounds::default();
    limits.iter().for_each(|limit| bounds.add(interp, limit));
    bounds.trips(node)
}

fn endless(node: &Node<'_>) -> Diag {
    node.unsupported("a loop that ends by what it computes")
        .hint("give it a limit that is known before it runs: `maximum_iterations=`, or a counter below a size")
}

/// Everything that a loop's counter stays below.
#[derive(Default)]
struct Bounds {
    known: Option<i64>,
    free: Vec<Dim>,
    data: Vec<Val>,
}

impl Bounds {
    fn add(&mut self, interp: &Interp<'_>, limit: &Val) {
        let element = interp.ints(limit).and_then(|ints| ints.elements.first().cloned());
        match (element, limit) {
            (Some(Int::N(n)), _) => self.known = Some(self.known.map_or(n, |known| known.min(n))),
            (Some(Int::D(dim)), _) => {
                // What can be told apart: the smaller of a length and one less.
                let less = |a: &Dim, b: &Dim| Int::D(b.clone()).sub(&Int::D(a.clone())).and_then(|by| by.known());
                if self.free.iter().any(|other| less(other, &dim).is_some_and(|by| by >= 0)) {
                    return;
                }
                self.free.retain(|other| less(&dim, other).is_none_or(|by| by < 0));
                self.free.push(dim);
            }
            (None, Val::Tensor { depth, value }) => {
                // The least of several limits: each of them is one.
                let graph = &interp.frames[*depth].graph;
                let maker = graph.nodes().iter().find(|maker| maker.outputs.contains(value));
                let parts = maker.map(|maker| (&maker.op, maker.inputs.iter().flatten()));
                let tensor = |value: &ValueId| Val::Tensor { depth: *depth, value: *value };
                match parts {
                    Some((Op::Binary(Binary { function: BinaryFunction::Min }), parts)) => {
                        parts.for_each(|part| self.add(interp, &tensor(part)));
                    }
                    Some((Op::Cast(_), mut parts)) => match parts.next() {
                        Some(whole) if graph.ty(*whole).dtype.is_int() => self.add(interp, &tensor(whole)),
                        Some(_) | None => self.data.push(limit.clone()),
                    },
                    Some((Op::DimSize(size), _)) => {
                        let size = Ints::scalar(DType::I32, Int::of(size.dim.clone())).val();
                        self.add(interp, &size);
                    }
                    Some((Op::Constant(constant), _)) if Ints::of_tensor(&constant.tensor).is_some() => {
                        self.add(interp, &Val::Known(Rc::new(constant.tensor.clone())));
                    }
                    Some(_) | None => self.data.push(limit.clone()),
                }
            }
            (None, _) => self.data.push(limit.clone()),
        }
    }

    fn trips(self, node: &Node<'_>) -> Result<Trips, Diag> {
        let scalar = |int: Int| Ints::scalar(DType::I32, int).val();
        let mut free = self.free.into_iter();
        match (free.next(), self.known) {
            (Some(count), known) => {
                // A bound that no sequence reaches, beside the length itself.
                let known = known.filter(|known| *known < i64::from(i32::MAX));
                let ends = free.map(Int::D).chain(known.map(Int::N)).map(scalar).chain(self.data).collect();
                Ok(Trips { count, ends })
            }
            (None, Some(known)) => {
                let count = u64::try_from(known).ok().filter(|count| *count < u64::from(i32::MAX as u32));
                let count =
                    count.ok_or_else(|| if known < 0 { node.bad("a loop that never runs") } else { endless(node) })?;
                Ok(Trips { count: Dim::Known(count), ends: self.data })
            }
            (None, None) => Err(endless(node)),
        }
    }
}
