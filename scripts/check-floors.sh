#!/bin/sh
# The house rules alone: which floor may import which, error types, file sizes, duplicated logic.
# The rules are in tests/house_rules.rs; `make test` holds them as well.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
cargo test --quiet --test house_rules -- --nocapture --test-threads=1
