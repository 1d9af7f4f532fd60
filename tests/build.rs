//! The suite calls functions of several plugins as libraries, and each plugin exports the same entry symbols. Which one
//! wins in the test program does not matter: plugins are loaded from their own files.

fn main() {
    println!("cargo:rustc-link-arg-tests=-Wl,-z,muldefs");
    println!("cargo:rerun-if-changed=build.rs");
}
