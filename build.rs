//! Tells the linker what an agent touches, so that it stands together: `layout/README.md`.

use std::env::var;

fn main() {
    let layout = "layout/idle.ld";
    println!("cargo::rerun-if-changed={layout}");
    // Where a program is built to be run, and not again and again, it is worth the linker's time.
    let wanted = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && var("PROFILE").is_ok_and(|profile| profile == "release");
    if wanted {
        let root = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/{layout}");
    }
}
