//! Finds the `muster` program that the tests are about.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What the tests need beyond the default build.
const FEATURES: &str = "docker";

/// The program: `$MUSTER_BIN` where it is set, else the one that lies beside the tests, built anew if need be.
pub fn muster() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| {
        let given = std::env::var_os("MUSTER_BIN").map(PathBuf::from);
        let path = given.unwrap_or_else(build);
        assert!(path.is_file(), "{} is no program", path.display());
        path
    });
    &FOUND
}

/// Builds the program in the profile of this test, and says where it is.
fn build() -> PathBuf {
    // Tests lie in `target/PROFILE/deps`, programs in `target/PROFILE`.
    let test = std::env::current_exe().expect("a running program has a path");
    let deps = test.parent().expect("a program lies in a directory");
    let profile = if deps.ends_with("deps") {
        deps.parent().unwrap_or(deps)
    } else {
        deps
    };
    let release = profile.ends_with("release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "muster", "--bin", "muster"])
        .args(["--features", FEATURES])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if release {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs, since it started this");
    assert!(status.success(), "muster does not build");
    profile.join("muster")
}
