//! Whole-graph checks that report every finding.
