//! Attributes in their generic form. The op table (`op.rs`) gives every op typed fields; text form and wire form see
//! only this enum, so a new op needs no line in either.

use super::Graph;
use super::dim::Dim;
use super::types::{DType, Tensor};

#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Dim(Dim),
    List(Vec<Attr>),
    Tensor(Tensor),
    Graph(Box<Graph>),
}

/// A Rust type that an op's field may have.
pub trait AttrValue: Sized {
    fn to_attr(&self) -> Attr;
    /// `None` when the attribute has another form.
    fn from_attr(attr: &Attr) -> Option<Self>;
}

impl AttrValue for bool {
    fn to_attr(&self) -> Attr {
        Attr::Bool(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Bool(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for i64 {
    fn to_attr(&self) -> Attr {
        Attr::Int(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Int(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for u64 {
    fn to_attr(&self) -> Attr {
        Attr::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Int(value) = attr { u64::try_from(*value).ok() } else { None }
    }
}

impl AttrValue for usize {
    fn to_attr(&self) -> Attr {
        (*self as u64).to_attr()
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        u64::from_attr(attr).and_then(|value| usize::try_from(value).ok())
    }
}

impl AttrValue for f64 {
    fn to_attr(&self) -> Attr {
        Attr::Float(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Float(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for String {
    fn to_attr(&self) -> Attr {
        Attr::Str(self.clone())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Str(value) = attr { Some(value.clone()) } else { None }
    }
}

impl AttrValue for Dim {
    fn to_attr(&self) -> Attr {
        Attr::Dim(self.clone())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Dim(dim) => Some(dim.clone()),
            Attr::Int(size) => u64::try_from(*size).ok().map(Dim::Known),
            _ => None,
        }
    }
}

impl AttrValue for DType {
    fn to_attr(&self) -> Attr {
        Attr::Str(self.as_str().into())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Str(text) = attr { DType::parse(text) } else { None }
    }
}

impl AttrValue for Tensor {
    fn to_attr(&self) -> Attr {
        Attr::Tensor(self.clone())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Tensor(tensor) = attr { Some(tensor.clone()) } else { None }
    }
}

impl AttrValue for Box<Graph> {
    fn to_attr(&self) -> Attr {
        Attr::Graph(self.clone())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Graph(graph) = attr { Some(graph.clone()) } else { None }
    }
}

impl<T: AttrValue> AttrValue for Vec<T> {
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::List(items) = attr { items.iter().map(T::from_attr).collect() } else { None }
    }
}

impl<T: AttrValue> AttrValue for Option<T> {
    fn to_attr(&self) -> Attr {
        self.as_ref().map_or(Attr::None, T::to_attr)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if *attr == Attr::None { Some(None) } else { T::from_attr(attr).map(Some) }
    }
}

impl<A: AttrValue, B: AttrValue> AttrValue for (A, B) {
    fn to_attr(&self) -> Attr {
        Attr::List(vec![self.0.to_attr(), self.1.to_attr()])
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::List(items) if items.len() == 2 => Some((A::from_attr(&items[0])?, B::from_attr(&items[1])?)),
            _ => None,
        }
    }
}

/// An enum of names, stored as its text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),*];
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text),* } }
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }

        impl $crate::ir::attr::AttrValue for $name {
            fn to_attr(&self) -> $crate::ir::attr::Attr { $crate::ir::attr::Attr::Str(self.as_str().into()) }
            fn from_attr(attr: &$crate::ir::attr::Attr) -> Option<Self> {
                if let $crate::ir::attr::Attr::Str(text) = attr { $name::parse(text) } else { None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use words;
