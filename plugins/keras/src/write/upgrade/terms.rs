//! Masks as terms that can be compared: two that are equal hold for the same steps, whatever computes them.

use recast_plugin_api::model::{Arg, ArgKind, Layer, Model, ValueRef};
use serde_json::Value;

use super::layer::parsed;

/// A term's place in `Terms`.
pub(super) type Id = usize;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    /// Where a tensor differs from a number.
    Differs(ValueRef, f64),
    /// Where any feature of a tensor differs from a number.
    AnyDiffers(ValueRef, f64),
    /// Where all of them hold.
    All(Vec<Id>),
    /// Where any of them holds.
    Any(Vec<Id>),
    /// One behind the other in time.
    Behind(Vec<Id>),
    /// A tensor of the model.
    Given(ValueRef),
    /// What comes with a tensor and is nowhere written: an input of a model inside, or (by who reads) an output of one.
    Unknown(ValueRef, usize),
}

#[derive(Default)]
pub(super) struct Terms {
    terms: Vec<Term>,
}

impl Terms {
    pub fn id(&mut self, term: Term) -> Id {
        match self.terms.iter().position(|known| *known == term) {
            Some(known) => known,
            None => {
                self.terms.push(term);
                self.terms.len() - 1
            }
        }
    }

    pub fn get(&self, id: Id) -> &Term {
        &self.terms[id]
    }

    /// Of one kind, each once; one alone is itself.
    pub fn joined(&mut self, ids: impl IntoIterator<Item = Id>, kind: fn(Vec<Id>) -> Term) -> Option<Id> {
        let mut flat: Vec<Id> = Vec::new();
        for id in ids {
            match (self.get(id), kind(Vec::new())) {
                (Term::All(parts), Term::All(_)) | (Term::Any(parts), Term::Any(_)) => flat.extend(parts),
                _ => flat.push(id),
            }
        }
        flat.sort_unstable();
        flat.dedup();
        match flat.as_slice() {
            [] => None,
            [one] => Some(*one),
            _ => Some(self.id(kind(flat))),
        }
    }

    /// The mask that a layer computes from its input.
    pub fn made(&mut self, layer: &Layer, input: &ValueRef) -> Id {
        let value = parsed(&layer.config).get("mask_value").and_then(Value::as_f64).unwrap_or(0.0);
        match layer.class.as_str() {
            "Masking" => self.id(Term::AnyDiffers(input.clone(), value)),
            _ => self.id(Term::Differs(input.clone(), 0.0)),
        }
    }

    /// A mask that the model computes by operations of its own.
    pub fn written(&mut self, model: &Model, value: &ValueRef) -> Id {
        self.operation(model, value).unwrap_or_else(|| self.id(Term::Given(value.clone())))
    }

    fn operation(&mut self, model: &Model, value: &ValueRef) -> Option<Id> {
        let call = model.calls.get(value.call? as usize)?;
        let layer = model.layers.get(call.layer as usize)?;
        let tensor = |at: usize| match call.args.get(at).and_then(|arg: &Arg| arg.kind.as_ref()) {
            Some(ArgKind::Value(value)) => Some(value.clone()),
            _ => None,
        };
        match layer.class.as_str() {
            "ops.numpy.NotEqual" => match call.args.get(1)?.kind.as_ref()? {
                ArgKind::Json(text) => Some(self.id(Term::Differs(tensor(0)?, text.parse().ok()?))),
                _ => None,
            },
            "ops.numpy.Any" => {
                let config = parsed(&layer.config);
                let axis = config.get("axis").map(|axis| axis.get(0).unwrap_or(axis).clone());
                let last = axis.and_then(|axis| axis.as_i64()) == Some(-1);
                let kept = config.get("keepdims").and_then(Value::as_bool).unwrap_or(false);
                let inner = self.operation(model, &tensor(0)?).filter(|_| last && !kept)?;
                match self.get(inner).clone() {
                    Term::Differs(x, number) => Some(self.id(Term::AnyDiffers(x, number))),
                    _ => None,
                }
            }
            // AdditiveAttention hands its mask on in this way.
            "ops.core.ConvertToTensor" => self.operation(model, &tensor(0)?),
            "ops.numpy.LogicalAnd" | "ops.numpy.LogicalOr" => {
                let both = [self.written(model, &tensor(0)?), self.written(model, &tensor(1)?)];
                let all = layer.class.ends_with("And");
                self.joined(both, if all { Term::All } else { Term::Any })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_terms_have_one_id() {
        let mut terms = Terms::default();
        let x = |index| ValueRef { call: None, index };
        let (a, b) = (terms.id(Term::Differs(x(0), 0.0)), terms.id(Term::Differs(x(1), 0.0)));
        assert_eq!(terms.id(Term::Differs(x(0), 0.0)), a);
        assert_eq!(terms.joined([a, a], Term::Any), Some(a));
        assert_eq!(terms.joined([b, a], Term::All), terms.joined([a, b, a], Term::All));
        assert_ne!(terms.joined([a, b], Term::All), terms.joined([a, b], Term::Any));
        let both = terms.joined([a, b], Term::All).unwrap();
        assert_eq!(terms.joined([both, a], Term::All), Some(both));
        assert_eq!(terms.joined([], Term::All), None);
    }
}
