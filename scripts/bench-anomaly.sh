#!/bin/sh
# What the diagnosis engine's anomaly scorer makes of recorded series, on this host: needs neither image nor QEMU.
# DATA=DIR holds CSV files whose header begins "timestamp,value" (Unix seconds; an empty value is a missing sample;
# further columns are not read). Each is read once, in order, with one setting for all. Written are, for each,
# target/bench/anomaly/FILE with "timestamp,value,anomaly_score", and target/bench/anomaly.json with the threshold from
# which on a row is anomalous. With DIR/windows.csv ("file,rows,first_row,last_row") the score of the Numenta Anomaly
# Benchmark is shown, from labels read after all was written.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

bench_data "series"
cd "$root"
bench_log
mkdir -p "$target/bench"
out=$(cd "$target/bench" && pwd)/anomaly
cargo bench --quiet --profile functional --bench anomaly -- "$data" "$out" >"$log"
bench_rows 0
bench_json anomaly "" ""
printf '%s\n' "$rows" | awk '{ printf "%-24s %s\n", $3, $4 }'
say "written: $target/bench/anomaly/ and $target/bench/anomaly.json"
