#!/bin/sh
# Tests of what is plain Rust and has unsafe code under Miri, which finds undefined behaviour: the bus, the heap and
# the memory manager under it, what outlives the data plane. They run in the sizes that `cfg(miri)` gives them (memory/test_support.rs).
# With a nightly toolchain of one date, installed if it is missing. Where none can be had, it says so and checks
# nothing: the tests themselves have run without it.
# NOS_NIGHTLY takes in the tests that take Miri minutes.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

nightly=nightly-2026-05-20
if ! cargo "+$nightly" miri --version >/dev/null 2>&1; then
    say "rustup toolchain install $nightly, with miri and rust-src"
    if ! rustup toolchain install "$nightly" --profile minimal --component miri --component rust-src; then
        say "no $nightly here, and none can be installed: nothing was run under Miri"
        exit 0
    fi
fi
set -- bus:: memory::heap memory::copy memory::frames app::survivor
[ -n "${NOS_NIGHTLY:-}" ] || set -- "$@" --skip bus::models --skip heap::tests::cuts::an_owner_that_dies \
    --skip heap::tests::objects_do_not_overlap --skip heap::tests::random_objects --skip heap::tests::every_size --skip heap::tests::violations
# Leaks are not errors: what a dead subsystem leaves behind is left on purpose, in the tests as well. Frames are named
# by numbers, from which their memory is reached: their provenance is exposed, and Miri is not to say so each time.
MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-permissive-provenance" CARGO_TARGET_DIR="$target/miri" \
    cargo "+$nightly" miri test --quiet --lib -- "$@"
