//! A dimension: known, or an integer polynomial over named symbols (`batch`, `2*time+1`, `floor((time+1)/2)`).
//!
//! Polynomials are kept in one normal form, so two branches that compute the same length compare equal without a
//! solver: `Add` of two strided convolutions just works. A symbol always stands for a size of at least one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One factor of a term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    Symbol(Arc<str>),
    /// floor(poly / divisor), divisor >= 2, of what is not constant.
    Floor(Arc<Poly>, i64),
}

/// Sum of coefficient * product of atoms; the empty product is the constant term; no zero coefficients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Poly {
    terms: BTreeMap<Vec<Atom>, i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    Known(u64),
    Symbolic(Arc<Poly>),
}

impl Poly {
    fn constant(value: i64) -> Poly {
        let mut poly = Poly::default();
        poly.insert(Vec::new(), value);
        poly
    }

    fn atom(atom: Atom) -> Poly {
        let mut poly = Poly::default();
        poly.insert(vec![atom], 1);
        poly
    }

    fn insert(&mut self, key: Vec<Atom>, coefficient: i64) {
        let sum = self.terms.get(&key).copied().unwrap_or(0).saturating_add(coefficient);
        if sum == 0 {
            self.terms.remove(&key);
        } else {
            self.terms.insert(key, sum);
        }
    }

    fn as_constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    fn add(&self, other: &Poly, sign: i64) -> Poly {
        let mut sum = self.clone();
        for (key, coefficient) in &other.terms {
            sum.insert(key.clone(), coefficient.saturating_mul(sign));
        }
        sum
    }

    fn mul(&self, other: &Poly) -> Poly {
        let mut product = Poly::default();
        for (a, x) in &self.terms {
            for (b, y) in &other.terms {
                let mut key = [a.as_slice(), b.as_slice()].concat();
                key.sort();
                product.insert(key, x.saturating_mul(*y));
            }
        }
        product
    }

    fn floor_div(&self, divisor: i64) -> Poly {
        // What divides evenly leaves the floor: floor((4*t+3)/2) = 2*t+1 + floor(1/2). What is left has coefficients
        // from 0 to below the divisor, so nothing below zero is divided, which targets round in other directions.
        let mut whole = Poly::default();
        let mut rest = Poly::default();
        for (key, &coefficient) in &self.terms {
            whole.insert(key.clone(), coefficient.div_euclid(divisor));
            rest.insert(key.clone(), coefficient.rem_euclid(divisor));
        }
        match rest.as_constant() {
            Some(constant) => whole.add(&Poly::constant(constant.div_euclid(divisor)), 1),
            None => whole.add(&Poly::atom(Atom::Floor(Arc::new(rest), divisor)), 1),
        }
    }

    /// Divides by one term where that leaves no remainder.
    fn exact_div(&self, by: &Poly) -> Option<Poly> {
        let (divisor, &factor) = by.terms.iter().next().filter(|_| by.terms.len() == 1)?;
        let mut quotient = Poly::default();
        for (key, &coefficient) in &self.terms {
            let mut left = key.clone();
            for atom in divisor {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            if coefficient.checked_rem(factor)? != 0 {
                return None;
            }
            quotient.insert(left, coefficient.checked_div(factor)?);
        }
        Some(quotient)
    }

    fn eval(&self, bind: &dyn Fn(&str) -> Option<Dim>) -> Poly {
        let mut sum = Poly::default();
        for (key, &coefficient) in &self.terms {
            let mut product = Poly::constant(coefficient);
            for atom in key {
                let factor = match atom {
                    Atom::Symbol(name) => bind(name).map_or_else(|| Poly::atom(atom.clone()), |dim| dim.poly()),
                    Atom::Floor(inner, divisor) => inner.eval(bind).floor_div(*divisor),
                };
                product = product.mul(&factor);
            }
            sum = sum.add(&product, 1);
        }
        sum
    }

    fn symbols(&self, out: &mut Vec<Arc<str>>) {
        for atom in self.terms.keys().flatten() {
            match atom {
                Atom::Symbol(name) => out.push(name.clone()),
                Atom::Floor(inner, _) => inner.symbols(out),
            }
        }
    }
}

impl Dim {
    pub fn symbol(name: &str) -> Dim {
        Dim::Symbolic(Arc::new(Poly::atom(Atom::Symbol(name.into()))))
    }

    fn poly(&self) -> Poly {
        match self {
            Dim::Known(size) => Poly::constant(i64::try_from(*size).unwrap_or(i64::MAX)),
            Dim::Symbolic(poly) => (**poly).clone(),
        }
    }

    /// `None` when the polynomial is a negative constant: no tensor has such a size.
    fn from_poly(poly: Poly) -> Option<Dim> {
        match poly.as_constant() {
            Some(constant) => u64::try_from(constant).ok().map(Dim::Known),
            None => Some(Dim::Symbolic(Arc::new(poly))),
        }
    }

    pub fn known(&self) -> Option<u64> {
        match self {
            Dim::Known(size) => Some(*size),
            Dim::Symbolic(_) => None,
        }
    }

    pub fn is_one(&self) -> bool {
        *self == Dim::Known(1)
    }

    /// The name, where this dimension is a symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&str> {
        let Dim::Symbolic(poly) = self else { return None };
        match poly.terms.iter().next() {
            Some((key, 1)) if poly.terms.len() == 1 && key.len() == 1 => match &key[0] {
                Atom::Symbol(name) => Some(name),
                Atom::Floor(..) => None,
            },
            _ => None,
        }
    }

    /// Every symbol that occurs in it, with repetitions.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if let Dim::Symbolic(poly) = self {
            poly.symbols(&mut names);
        }
        names
    }

    pub fn plus(&self, other: &Dim) -> Dim {
        Dim::from_poly(self.poly().add(&other.poly(), 1)).unwrap_or(Dim::Known(0))
    }

    /// `None` below zero.
    pub fn minus(&self, other: &Dim) -> Option<Dim> {
        Dim::from_poly(self.poly().add(&other.poly(), -1))
    }

    pub fn offset(&self, by: i64) -> Option<Dim> {
        Dim::from_poly(self.poly().add(&Poly::constant(by), 1))
    }

    pub fn times(&self, other: &Dim) -> Dim {
        if let (Dim::Known(a), Dim::Known(b)) = (self, other) {
            return Dim::Known(a.saturating_mul(*b));
        }
        Dim::from_poly(self.poly().mul(&other.poly())).unwrap_or(Dim::Known(0))
    }

    pub fn floor_div(&self, divisor: u64) -> Dim {
        match self {
            Dim::Known(size) => Dim::Known(size / divisor.max(1)),
            Dim::Symbolic(_) if divisor <= 1 => self.clone(),
            Dim::Symbolic(poly) => Dim::from_poly(poly.floor_div(divisor as i64)).unwrap_or(Dim::Known(0)),
        }
    }

    pub fn ceil_div(&self, divisor: u64) -> Dim {
        self.plus(&Dim::Known(divisor.max(1) - 1)).floor_div(divisor)
    }

    /// `None` where it does not divide for all values of the symbols.
    pub fn exact_div(&self, by: &Dim) -> Option<Dim> {
        if *by == Dim::Known(0) {
            return None;
        }
        if self == by {
            return Some(Dim::Known(1));
        }
        self.poly().exact_div(&by.poly()).and_then(Dim::from_poly)
    }

    /// Puts sizes in the place of symbols; symbols that `bind` does not know stay.
    pub fn bind(&self, bind: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        match self {
            Dim::Known(_) => self.clone(),
            Dim::Symbolic(poly) => Dim::from_poly(poly.eval(bind)).unwrap_or(Dim::Known(0)),
        }
    }

    /// The terms as (coefficient, factors), for writers that must compute the size at run time.
    pub fn terms(&self) -> Vec<(i64, Vec<Atom>)> {
        self.poly().terms.into_iter().map(|(key, coefficient)| (coefficient, key)).collect()
    }

    /// Parses what `Display` prints.
    pub fn parse(text: &str) -> Option<Dim> {
        let text = text.trim();
        // A number or a name, as nearly all are, needs no sum of products: each graph that crosses a boundary is
        // parsed.
        if !text.is_empty() && text.chars().all(is_symbol_char) {
            let is_name = !text.starts_with(|c: char| c.is_ascii_digit());
            let size = || text.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok());
            return if is_name { Some(Dim::symbol(text)) } else { size().map(Dim::Known) };
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let poly = parser.sum()?;
        if parser.rest.is_empty() { Dim::from_poly(poly) } else { None }
    }
}

impl From<u64> for Dim {
    fn from(size: u64) -> Dim {
        Dim::Known(size)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => f.write_str(name),
            Atom::Floor(inner, divisor) => write!(f, "floor(({inner})/{divisor})"),
        }
    }
}

impl fmt::Display for Poly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Constants sort first as the empty product; people expect them last.
        let (constants, others): (Vec<_>, Vec<_>) = self.terms.iter().partition(|(key, _)| key.is_empty());
        for (i, (key, coefficient)) in others.into_iter().chain(constants).enumerate() {
            let sign = if *coefficient < 0 { "-" } else { "+" };
            if i > 0 || *coefficient < 0 {
                f.write_str(sign)?;
            }
            let size = coefficient.unsigned_abs();
            if key.is_empty() {
                write!(f, "{size}")?;
                continue;
            }
            if size != 1 {
                write!(f, "{size}*")?;
            }
            let factors: Vec<String> = key.iter().map(Atom::to_string).collect();
            f.write_str(&factors.join("*"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.as_symbol()) {
            (_, Some(name)) => f.write_str(name),
            (Dim::Known(size), None) => write!(f, "{size}"),
            (Dim::Symbolic(poly), None) => write!(f, "{poly}"),
        }
    }
}

/// Nesting of floors that is still parsed.
const PARSE_DEPTH_MAX: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Poly> {
        let negative = self.eat("-");
        let mut sum = Poly::default().add(&self.product()?, if negative { -1 } else { 1 });
        loop {
            let sign = if self.eat("+") {
                1
            } else if self.eat("-") {
                -1
            } else {
                return Some(sum);
            };
            sum = sum.add(&self.product()?, sign);
        }
    }

    fn product(&mut self) -> Option<Poly> {
        let mut product = self.factor()?;
        while self.eat("*") {
            product = product.mul(&self.factor()?);
        }
        Some(product)
    }

    fn factor(&mut self) -> Option<Poly> {
        if self.eat("floor((") {
            self.depth += 1;
            if self.depth > PARSE_DEPTH_MAX {
                return None;
            }
            let inner = self.sum()?;
            let divisor = if self.eat(")/") { self.number()? } else { return None };
            self.depth -= 1;
            return (self.eat(")") && divisor > 0).then(|| inner.floor_div(divisor));
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.number().map(Poly::constant);
        }
        let end = self.rest.find(|c: char| !is_symbol_char(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| Poly::atom(Atom::Symbol(name.into())))
    }

    fn number(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }
}

/// Characters of a symbol's name.
pub fn is_symbol_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_are_equal_dims() {
        let t = Dim::symbol("time");
        assert_eq!(t.ceil_div(2).ceil_div(2), t.ceil_div(2).ceil_div(2));
        assert_eq!(t.plus(&Dim::Known(3)).minus(&Dim::Known(3)), Some(t.clone()));
        assert_eq!(t.times(&Dim::Known(4)).floor_div(2), t.times(&Dim::Known(2)));
        assert_ne!(t.ceil_div(2), t.floor_div(2));
        let missing = Dim::Known(0).minus(&t).unwrap();
        assert_eq!(missing.floor_div(3), t.times(&Dim::Known(2)).floor_div(3).minus(&t).unwrap());
        assert!(!missing.floor_div(3).to_string().contains("(-"), "{}", missing.floor_div(3));
        assert_eq!(Dim::Known(3).minus(&Dim::Known(4)), None);
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let t = Dim::symbol("time");
        let b = Dim::symbol("batch");
        let dims = [
            t.ceil_div(2).times(&b).plus(&Dim::Known(7)),
            t.offset(-3).unwrap().floor_div(2).offset(1).unwrap(),
            b.times(&t).times(&t),
            Dim::Known(0),
        ];
        for dim in dims {
            assert_eq!(Dim::parse(&dim.to_string()), Some(dim.clone()), "{dim}");
        }
        let simple =
            [("t", Dim::symbol("t")), (" 7 ", Dim::Known(7)), ("_1", Dim::symbol("_1")), ("a.b", Dim::symbol("a.b"))];
        for (text, dim) in simple {
            assert_eq!(Dim::parse(text), Some(dim), "{text}");
        }
        for text in ["", "time+", "1a", "1.5", "-", "+1", "9223372036854775808", "a b"] {
            assert_eq!(Dim::parse(text), None, "{text}");
        }
        assert_eq!(Dim::parse("floor((time)/0)"), None);
    }

    #[test]
    fn the_largest_numbers_saturate() {
        let most = "9223372036854775807";
        let low = Dim::parse(&format!("t-{most}-{most}")).unwrap();
        assert!(Dim::Known(0).minus(&low).is_some());
        let divided = low.times(&low).plus(&low).exact_div(&Dim::parse("0-t").unwrap());
        assert!(divided.is_none());
    }

    #[test]
    fn binding_gives_numbers() {
        let t = Dim::symbol("time");
        let bind = |name: &str| (name == "time").then_some(Dim::Known(7));
        assert_eq!(t.offset(-3).unwrap().floor_div(2).offset(1).unwrap().bind(&bind), Dim::Known(3));
        assert_eq!(t.times(&t).exact_div(&t), Some(t));
    }
}
