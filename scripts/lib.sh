# shellcheck shell=sh
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Shared by the scripts beside it: sourced, never run.

# The repository, whatever directory the caller stands in.
root=$(cd "$(dirname "$0")/.." && pwd)
# Where cargo builds, and where the images go.
target=${CARGO_TARGET_DIR:-$root/target}
# Cargo's profile of the images; those of another than release lie apart.
profile=${PROFILE:-release}
images=$target
[ "$profile" = release ] || images=$target/$profile
# What only tests need and no package manager puts on PATH: pinned clients, Prometheus.
test_tools=$root/target/test-tools

# rustup's own directory is often missing from the PATH of a fresh login.
command -v cargo >/dev/null 2>&1 || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
die() { say "error: $*"; exit 1; }
# image_name: the image that the settings APP, FEATURES and WITHOUT ask for.
image_name() { echo "${APP:-nos}${FEATURES:++$FEATURES}${WITHOUT:+-$WITHOUT}"; }
# parts: the optional parts of the image, as Cargo.toml lists them.
parts() { sed -n 's/^default = \[\(.*\)\]$/\1/p' "$root/Cargo.toml" | tr -d '",'; }
have() { command -v "$1" >/dev/null 2>&1; }
