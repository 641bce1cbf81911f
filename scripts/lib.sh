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

# Cargo and rustc would look for make's job server, which scripts are not given, and warn.
unset MAKEFLAGS MFLAGS
# rustup's own directory is often missing from the PATH of a fresh login.
command -v cargo >/dev/null 2>&1 || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
die() { say "error: $*"; exit 1; }
# image_name: the image that the settings APP, FEATURES and WITHOUT ask for.
image_name() { echo "${APP:-nos}${FEATURES:++$FEATURES}${WITHOUT:+-$WITHOUT}"; }
# parts: the optional parts of the image, as Cargo.toml lists them.
parts() { sed -n 's/^default = \[\(.*\)\]$/\1/p' "$root/Cargo.toml" | tr -d '",'; }
have() { command -v "$1" >/dev/null 2>&1; }

# What benchmarks inside QEMU share. Their binaries print lines "row CASE SUBJECT NUMBER..." between others.
# bench_log: makes the file that their output goes to, and removes it in the end.
bench_log() {
    log=$(mktemp "${TMPDIR:-/tmp}/nos-bench.XXXXXX")
    trap 'rm -f "$log"' EXIT
}
# bench_data WHAT: sets data to the directory that DATA names, as seen from where make was called; WHAT lies there. Without
# DATA there is nothing to measure: `make bench` (BENCH_ALL) goes on.
bench_data() {
    if [ -z "${DATA:-}" ]; then
        [ -z "${BENCH_ALL:-}" ] || { say "left out: DATA=DIR names the $1 to read"; exit 0; }
        die "DATA=DIR names the directory of the $1 to read"
    fi
    data=$(cd "$DATA" && pwd) || die "DATA=$DATA is no directory"
}
# bench_rows STATUS: sets rows to those in $log; without any there is nothing to report. Shows what failed.
bench_rows() {
    rows=$(tr -d '\r' <"$log" | sed -n 's/^row //p')
    [ -n "$rows" ] || { cat "$log" >&2; die "nothing was measured"; }
    [ "$1" = 0 ] || grep -E 'crashed|panicked|assertion|FAILED|^error' "$log" >&2 || true
}
# bench_json NAME PREFIX METRICS: writes the rows to target/bench/NAME.json, in the form of all benchmarks; subjects are named
# PREFIX and theirs, the numbers METRICS by their order, those beyond them are left out. Without METRICS each row says
# after its subject which metric its number is.
bench_json() {
    mkdir -p "$target/bench"
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
    [ -z "$(git status --porcelain 2>/dev/null)" ] || commit=$commit-dirty
    printf '%s\n' "$rows" | awk -v name="$1" -v prefix="$2" -v metrics="$3" -v commit="$commit" -v host="$(uname -sm)" '
        BEGIN {
            count = split(metrics, metric, " ")
            printf "{\"benchmark\": \"%s\", \"commit\": \"%s\", \"host\": \"%s\", \"results\": [", name, commit, host
        }
        {
            named = count == 0
            if (named) metric[1] = $3
            for (n = 1; n <= count + named; n++) {
                printf "%s\n  {\"case\": \"%s\", \"subject\": \"%s%s\", \"metric\": \"%s\", \"value\": %s}", \
                    comma, $1, prefix, $2, metric[n], $(n + 2 + named)
                comma = ","
            }
        }
        END { print "\n]}" }' >"$target/bench/$1.json"
}
