//! Canonical text form (see `print` and `parse`).
