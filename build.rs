//! Sets `cfg(stack_capture)` on targets where stacks can be captured: Linux on
//! x86_64 and aarch64. `--cfg loopscope_no_capture` switches it off.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(stack_capture)");
    let target = |key: &str| env::var(format!("CARGO_CFG_{key}")).unwrap_or_default();
    let has_unwinder = matches!(target("TARGET_ARCH").as_str(), "x86_64" | "aarch64");
    let is_disabled = env::var_os("CARGO_CFG_LOOPSCOPE_NO_CAPTURE").is_some();
    if target("TARGET_OS") == "linux" && has_unwinder && !is_disabled {
        println!("cargo::rustc-cfg=stack_capture");
    }
}
