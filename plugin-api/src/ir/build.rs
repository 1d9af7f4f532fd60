//! Short ways to add common ops.
