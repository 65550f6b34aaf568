//! Compiles the C library that some entries of the zoo call. The flags are
//! those of a Linux distribution: optimised, with line tables, without frame
//! pointers.
#![allow(missing_docs)]

fn main() {
    println!("cargo::rerun-if-changed=src/native.c");
    cc::Build::new()
        .file("src/native.c")
        .opt_level(2)
        .flag("-g1")
        .flag("-fomit-frame-pointer")
        .compile("native");
}
