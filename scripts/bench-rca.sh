#!/bin/sh
# What the diagnosis engine's general root-cause scorer makes of recorded incidents in other people's systems, on this
# host: needs neither image nor QEMU. DATA=DIR holds petshop/ and nezha/, or is one of them (benches/rca/sets.rs has the
# files). Written are target/bench/rca.csv, a header "case,first guess,second guess,..." and a line for each case with
# all components, the likeliest first; and target/bench/rca.json. Columns of answers are not read before that is done:
# where there are any, the share of cases with the answer first, and among the first three, is shown after it.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

bench_data "recorded incidents"
cd "$root"
bench_log
mkdir -p "$target/bench"
out=$(cd "$target/bench" && pwd)/rca.csv
rca() { cargo bench --quiet --profile functional --bench rca -- "$@"; }
rca rank "$data" "$out"
rca score "$data" "$out" >"$log"
bench_rows 0
bench_json rca "" ""
printf '%s\n' "$rows" | awk '{ printf "%-10s %-8s %s\n", $1, $3, $4 }'
say "written: $out and $target/bench/rca.json"
