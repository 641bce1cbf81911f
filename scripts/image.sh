#!/bin/sh
# Builds the image of the application APP (default nos, the cache server; else examples/APP.rs):
#   target/APP.img      the arm64 Image: what `make run` boots, and any VMM that boots Linux
#   target/APP.elf      the same as ELF, stripped
#   target/APP.debug    the ELF with its symbols, to read a backtrace with
#   target/APP.lines    files and lines by address, for the image's own backtraces: run.sh hands it over as the initrd
# WITHOUT=a,b leaves out those of its optional parts: target/APP-a,b.img. FEATURES=a,b adds those features:
# target/APP+a,b.img. PROFILE=functional builds it by that profile of Cargo.toml: in target/functional.
set -eu
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

guest=aarch64-unknown-none
app=$(image_name)
case ${APP:-nos} in
    nos) set -- --bin nos && elf=$target/$guest/$profile/nos ;;
    *) set -- --example "$APP" && elf=$target/$guest/$profile/examples/$APP ;;
esac
features=${FEATURES:-}
if [ -n "${WITHOUT:-}" ]; then
    set -- "$@" --no-default-features
    for part in $(parts); do
        case ,$WITHOUT, in
            *",$part,"*) ;;
            *) features=${features:+$features,}$part ;;
        esac
    done
fi
[ -z "$features" ] || set -- "$@" --features "$features"

# What ships is optimised as a whole, and has half as many functions.
[ "$profile" = release ] && NOS_SYMBOLS_BYTES=28672 || NOS_SYMBOLS_BYTES=98304
case ,${WITHOUT:-}, in *,symbols,*) NOS_SYMBOLS_BYTES=0 ;; esac
export NOS_SYMBOLS_BYTES

say "cargo build --profile $profile --target $guest $*"
# Panics name source files: as they are called in their packages, not where this machine keeps those.
# Cargo's directory of the index has a name that tells nothing: what is left is crate and file.
sources=
for index in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    sources="$sources '--remap-path-prefix=$index=',"
done
sources="$sources '--remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust/='"
# What ships is far below the 1 MiB within which addresses are one instruction (adr) and not two; the linker refuses it
# once it is not. Tests and images built in less time are larger.
[ "$profile" != release ] || sources="$sources, '-Ccode-model=tiny'"
cargo build --quiet --profile "$profile" --target "$guest" --config "target.$guest.rustflags=[$sources]" "$@"
mkdir -p "$images"

# Nothing new: leave the images' times alone.
if [ -e "$images/$app.img" ] && [ -z "$(find "$elf" -newer "$images/$app.img")" ]; then
    exit 0
fi
# The pinned toolchain's own objcopy (component llvm-tools), not whatever PATH holds.
objcopy=$(ls "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-objcopy)
cp "$elf" "$images/$app.debug"
if [ "$NOS_SYMBOLS_BYTES" != 0 ]; then
    # The linker has left room for it: an image knows its functions' names once it is linked.
    tables=$target/tables
    cargo build --quiet --release --locked --manifest-path scripts/tables/Cargo.toml --target-dir "$tables"
    "${objcopy%objcopy}nm" -n --defined-only "$elf" | "$tables/release/symbol-table" >"$images/$app.symbols"
    "$objcopy" --update-section ".symbols=$images/$app.symbols" "$images/$app.debug"
    # Lines are too many for the image, and lie beside it.
    "$tables/release/line-table" "$elf" "$root" >"$images/$app.lines.new"
    mv "$images/$app.lines.new" "$images/$app.lines"
fi
"$objcopy" --strip-all "$images/$app.debug" "$images/$app.elf"
"$objcopy" -O binary --strip-all "$images/$app.debug" "$images/$app.img"
say "$images/$app.img, $(wc -c <"$images/$app.img" | tr -d ' ') bytes"
