//! The linking of the program. Knows nothing of what is in it.

use std::env;

/// Links the program to a fixed address. As a position-independent executable it holds 329,000 pointers (the tables of
/// burn, wgpu and the tokenizer) that the loader has to write before `main`: a thousand pages touched, 2 ms of the
/// 3.3 ms that `--version` took. Objects stay as they are, so tests, benchmarks and libraries are not affected.
/// The price: the address of the program itself is no longer random (its libraries, stack and heap still are).
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_static = target("FEATURE").split(',').any(|feature| feature == "crt-static");
    // Other systems want position-independent programs, or have linkers that do not know the word.
    if target("OS") == "linux" && target("ENV") == "gnu" && !is_static {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
