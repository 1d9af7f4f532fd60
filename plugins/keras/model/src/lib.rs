//! A Keras architecture as layers and calls, whatever container it came in: `config` reads the JSON, `roles` says
//! which weights a class has and in which order Keras keeps them. Linked into the plugins that read such containers
//! (HDF5 and .keras files, SavedModels), so that there is one reading of a Keras configuration; `classes` also into the
//! plugin of the layers.

pub mod classes;
pub mod config;
pub mod io;
pub mod json;
pub mod learnt;
pub mod roles;
