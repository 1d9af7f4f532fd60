//! Sizes that are known only when the model runs, for targets whose graphs compute them.

use super::dim::Atom;
use super::{Dim, Graph, Op, ValueId};
use crate::diag::{Code, Diag};

impl Graph {
    /// The input, or the words of a text, and the axis of it, that has this size; `at` is who asks.
    pub fn symbol_axis(&self, symbol: &str, at: &str) -> Result<(ValueId, usize), Diag> {
        let found = self.inputs.iter().find_map(|input| {
            let axis = self.shape(input.value).iter().position(|dim| dim.as_symbol() == Some(symbol))?;
            Some((input.value, axis))
        });
        let found = found.or_else(|| {
            let mut splits = self
                .nodes()
                .iter()
                .filter(|node| matches!(&node.op, Op::StringSplit(split) if split.words.as_symbol() == Some(symbol)));
            let words = *splits.next()?.outputs.first()?;
            Some((words, self.shape(words).len() - 1))
        });
        found.ok_or_else(|| {
            let detail =
                format!("the size '{symbol}' is not that of an input's axis, so it can't be known at run time");
            Diag::new(Code::UnsupportedOp, at, detail)
        })
    }
}

/// Arithmetic on sizes in the words of a target.
pub trait Sizes {
    type Value;

    fn number(&mut self, number: i64) -> Self::Value;
    /// What a polynomial is made of: a symbol, or another size divided.
    fn factor(&mut self, atom: &Atom) -> Result<Self::Value, Diag>;
    fn product(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;
    fn sum(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;

    /// The whole of it, the constant last.
    fn polynomial(&mut self, dim: &Dim) -> Result<Self::Value, Diag> {
        let mut sum: Option<Self::Value> = None;
        let mut constant = 0;
        for (coefficient, factors) in dim.terms() {
            let mut term: Option<Self::Value> = None;
            for factor in &factors {
                let factor = self.factor(factor)?;
                term = Some(match term {
                    Some(before) => self.product(&before, &factor),
                    None => factor,
                });
            }
            let Some(mut term) = term else {
                constant = coefficient;
                continue;
            };
            if coefficient != 1 {
                let by = self.number(coefficient);
                term = self.product(&term, &by);
            }
            sum = Some(match sum {
                Some(before) => self.sum(&before, &term),
                None => term,
            });
        }
        let Some(sum) = sum else { return Ok(self.number(constant)) };
        if constant == 0 {
            return Ok(sum);
        }
        let constant = self.number(constant);
        Ok(self.sum(&sum, &constant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Type};

    struct Text;

    impl Sizes for Text {
        type Value = String;

        fn number(&mut self, number: i64) -> String {
            number.to_string()
        }

        fn factor(&mut self, atom: &Atom) -> Result<String, Diag> {
            Ok(match atom {
                Atom::Symbol(name) => name.to_string(),
                Atom::Floor(inner, divisor) => {
                    format!("[{}/{divisor}]", self.polynomial(&Dim::Symbolic(inner.clone()))?)
                }
            })
        }

        fn product(&mut self, a: &String, b: &String) -> String {
            format!("{a}*{b}")
        }

        fn sum(&mut self, a: &String, b: &String) -> String {
            format!("({a}+{b})")
        }
    }

    #[test]
    fn polynomials_are_spelt_whole() {
        let spelt = |text: &str| Text.polynomial(&Dim::parse(text).unwrap()).unwrap();
        assert_eq!(spelt("time"), "time");
        assert_eq!(spelt("2*time+1"), "(time*2+1)");
        assert_eq!(spelt("floor((time-1)/2)+3"), "([(time+1)/2]+2)");
        assert_eq!(spelt("batch*time"), "batch*time");
        assert_eq!(spelt("7"), "7");
    }

    #[test]
    fn a_symbol_is_found_at_an_input_or_refused() {
        let mut graph = Graph::new("sizes");
        let x = graph.input("x", Type::new(DType::F32, vec![Dim::symbol("batch"), Dim::symbol("time")]));
        assert_eq!(graph.symbol_axis("time", "layer"), Ok((x, 1)));
        assert_eq!(graph.symbol_axis("width", "layer").map_err(|diag| diag.at), Err("layer".to_string()));
    }
}
