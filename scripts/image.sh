#!/bin/sh
# Builds the release image of the application APP (default nos, the cache server; else examples/APP.rs):
#   target/APP.img      the arm64 Image: what `make run` boots, and any VMM that boots Linux
#   target/APP.elf      the same as ELF, stripped
#   target/APP.debug    the ELF with its symbols, to read a backtrace with
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

guest=aarch64-unknown-none
app=${APP:-nos}
case $app in
    nos) set -- --bin nos && elf=$target/$guest/release/nos ;;
    *) set -- --example "$app" && elf=$target/$guest/release/examples/$app ;;
esac
# FEATURES=a,b: the image with those features as well, as target/APP+a,b.img.
if [ -n "${FEATURES:-}" ]; then
    set -- "$@" --features "$FEATURES"
    app=$app+$FEATURES
fi

say "cargo build --release --target $guest $*"
cargo build --quiet --release --target "$guest" "$@"

# Nothing new: leave the images' times alone.
if [ -e "$target/$app.img" ] && [ -z "$(find "$elf" -newer "$target/$app.img")" ]; then
    exit 0
fi
# The pinned toolchain's own objcopy (component llvm-tools), not whatever PATH holds.
objcopy=$(ls "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-objcopy)
cp "$elf" "$target/$app.debug"
"$objcopy" --strip-all "$elf" "$target/$app.elf"
"$objcopy" -O binary --strip-all "$elf" "$target/$app.img"
say "$target/$app.img, $(wc -c <"$target/$app.img" | tr -d ' ') bytes"
