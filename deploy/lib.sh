# What quickstart and test share: talking, the machine's set-up, building, small tools. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
# One folder for everything that cargo builds; the caller's choice wins.
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $TARGET == /* ]] || TARGET=$PWD/$TARGET
export CARGO_TARGET_DIR=$TARGET
readonly TARGET
# shellcheck disable=SC2034  # used by those who source this
readonly AERODB=$TARGET/release/aerodb
readonly RUST_MIN=1.90

say() { printf '\n==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }

# die CODE MESSAGE..: 1 it failed, 2 something is missing that only the user can bring
die() {
    local code=$1
    shift
    printf '\n' >&2
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    exit "$code"
}

# --- the machine ---------------------------------------------------------------------------------------------------

# RocksDB is C++20, so an old compiler is as good as none: try it.
has_cxx() {
    local compiler=${CXX:-c++}
    # shellcheck disable=SC2086  # CXX may carry flags
    printf '#include <string>\n#include <version>\nint main() { return std::string().size(); }\n' |
        $compiler -std=c++20 -x c++ - -o /dev/null 2>/dev/null
}

# Rust links with cc, and parts of the build are C.
has_cc() {
    printf 'int main(void) { return 0; }\n' | ${CC:-cc} -x c - -o /dev/null 2>/dev/null
}

# The bindings to RocksDB are made by libclang during the build; it needs its own headers too.
has_libclang() {
    local places=("${LIBCLANG_PATH:-/nonexistent}" /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib)
    compgen -G "/usr/lib/llvm-*/lib/clang/*/include/stddef.h" >/dev/null ||
        compgen -G "/usr/lib*/clang/*/include/stddef.h" >/dev/null ||
        [[ -n ${LIBCLANG_PATH:-} ]] || return 1
    local place
    for place in "${places[@]}"; do
        if compgen -G "$place/libclang.so*" >/dev/null || compgen -G "$place/libclang-*.so*" >/dev/null; then
            return 0
        fi
    done
    return 1
}

has_certificates() { [[ ! -e /etc/debian_version || -s /etc/ssl/certs/ca-certificates.crt ]]; }

# Prints the Debian packages that this machine lacks.
missing_packages() {
    has_cxx && has_cc || echo g++
    has_libclang || echo libclang-dev
    command -v curl >/dev/null || echo curl
    has_certificates || echo ca-certificates
}

install_packages() {
    local packages=("$@") as_root=()
    command -v apt-get >/dev/null ||
        die 2 "this machine lacks what the Debian packages ${packages[*]} hold" \
            "install a C++20 compiler, libclang with its headers, and curl in your system's way, then run this again"
    if ((EUID != 0)); then
        # Without a terminal nobody can type a password.
        if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
            as_root=(sudo)
        else
            die 2 "this machine lacks packages, and neither root nor sudo is here to install them" \
                "run as root, then run this again:" "  apt-get update && apt-get install -y ${packages[*]}"
        fi
    fi
    say "Installing ${packages[*]} (a minute or two)"
    "${as_root[@]}" apt-get update -qq </dev/null || note "apt-get update failed; going on with the lists that are here"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null ||
        die 2 "could not install ${packages[*]}" "install them by hand, then run this again"
}

# at_least WANTED VERSION
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

# Everything that a build needs, installed where it can be.
prepare_machine() {
    say "Checking this machine"
    # A fresh install of Rust is there before the shell knows.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null ||
        die 2 "cargo is not here" "install Rust $RUST_MIN or newer (rustup is the usual way), then run this again"
    local version packages
    version=$(cd "$ROOT" && rustc --version | cut -d ' ' -f 2)
    at_least "$RUST_MIN" "$version" || die 2 "Rust $version is too old: $RUST_MIN or newer is needed (rustup update)"
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]} > 0)); then
        install_packages "${packages[@]}"
        mapfile -t packages < <(missing_packages)
        ((${#packages[@]} == 0)) ||
            die 2 "still missing after the installation: ${packages[*]}" \
                "the compiler must know C++20 (g++ 11 or newer), and libclang must be where its package puts it"
    fi
    mkdir -p "$TARGET"
    local free_mb
    free_mb=$(df -Pm "$TARGET" | awk 'NR == 2 { print $4 }')
    ((free_mb >= 6000)) || note "only $free_mb MB are free in $TARGET: a build takes about 5,000"
    note "Rust $version, a C++20 compiler, libclang and curl are here"
}

# What the fault harness breaks machines with: namespaces, packet filters, disks that lose power, turned clocks. It can only
# be used as root. Fails, and says why, where it cannot be had: then what needs it is left out.
prepare_harness() {
    ((EUID == 0)) || { note "not root: no network namespaces, no disks of our own"; return 1; }
    local packages=()
    command -v ip >/dev/null && command -v tc >/dev/null || packages+=(iproute2)
    command -v nft >/dev/null || packages+=(nftables)
    command -v ping >/dev/null || packages+=(iputils-ping)
    command -v mkfs.btrfs >/dev/null || packages+=(btrfs-progs)
    command -v mkfs.ext4 >/dev/null || packages+=(e2fsprogs)
    command -v fusermount3 >/dev/null || packages+=(fuse3)
    compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null || packages+=(libfaketime)
    ((${#packages[@]} > 0)) || return 0
    command -v apt-get >/dev/null || { note "not here: ${packages[*]}"; return 1; }
    # In a shell of its own: an installation that fails ends that, and not the caller.
    (install_packages "${packages[@]}") || { note "could not install ${packages[*]}"; return 1; }
}

# --- building ------------------------------------------------------------------------------------------------------

# Says how long a build will take, as far as it can be known.
say_build_time() {
    if compgen -G "$TARGET/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
        note "RocksDB is built already: this takes from seconds to a few minutes"
    else
        note "the first time RocksDB is compiled too: about 15 minutes on 2 cores, less on more"
    fi
}

# Where the newest RocksDB lies that a release build has compiled; nothing if there is none, or no such folder yet.
built_rocksdb() {
    { find "$TARGET/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %h\n' 2>/dev/null || true; } |
        sort -n | tail -n 1 | cut -d ' ' -f 2-
}

build_aerodb() {
    say "Building aerodb"
    say_build_time
    (cd "$ROOT" && cargo build --release --locked --bin aerodb) || die 1 "the build failed (see above)"
}

# --- small tools ---------------------------------------------------------------------------------------------------

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# number_of FIELD: the first number under that name in the JSON on standard input; nothing if there is none
number_of() { sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\([0-9][0-9]*\).*/\1/p" | head -n 1; }

# wait_for SECONDS COMMAND..: tries until it succeeds; fails when the time is over
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}
