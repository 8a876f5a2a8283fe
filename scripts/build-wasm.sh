#!/usr/bin/env bash
# Builds the Envoy plugin with Debian's packages only: scripts/build-wasm.sh OUTPUT
# Debian ships no standard library of Rust for wasm32 with its new compiler, so cargo builds that too.
set -euo pipefail
cd "$(dirname "$0")/.."

rustlib=/usr/lib/rustlib/src/rust/library
[ -e "$rustlib/Cargo.toml" ] || scripts/system-packages.sh none:rust-web-src
scripts/system-packages.sh /usr/bin/rustc:rustc-web /usr/bin/cargo:cargo-web
# The linker has to understand the compiler's LLVM.
llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
scripts/system-packages.sh "wasm-ld-$llvm:lld-$llvm"

# Building the standard library is not stable, hence the bootstrap mark.
env -u CARGO_TARGET_DIR -u RUSTFLAGS RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="wasm-ld-$llvm" \
    /usr/bin/cargo build --manifest-path wasm/Cargo.toml --target-dir target/wasm --release \
    --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort --locked
mkdir -p "$(dirname "$1")"
cp target/wasm/wasm32-unknown-unknown/release/gatewayx_envoy.wasm "$1"
