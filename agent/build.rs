//! Tells the linker how to lay out the release binary: relocations packed, and what an idle agent runs side by side.

use std::env;
use std::process::Command;

/// What of glibc understands packed relocations.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=idle.ld");
    if env::var("PROFILE").as_deref() == Ok("release") {
        pack_relocations();
        put_together();
    }
}

/// The dynamic linker reads all relocations when a process starts, so each agent keeps them in memory. Packed (`DT_RELR`)
/// they take 10 kB instead of 450. glibc understands that from 2.36 on; for an older one, and wherever the target's is not
/// known because it is not this machine's, nothing is changed.
fn pack_relocations() {
    let is_native = env::var_os("HOST") == env::var_os("TARGET");
    let is_glibc = env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu");
    if is_native && is_glibc && glibc().is_some_and(|found| found >= PACKED_SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// `idle.ld` says what, and why. rustc's linker and GNU's understand it. With one that was chosen by `-fuse-ld` it is left
/// out, because some do not.
fn put_together() {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_linux = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    if is_linux && !flags.contains("-fuse-ld=") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/idle.ld");
    }
}

/// The version of this machine's C library.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
