# SPDX-License-Identifier: Apache-2.0
# Read by demo.sh and test.sh: what must be installed, and the build in build/.  Bare Debian 12 and Ubuntu 24.04.

say() {
    printf '%s\n' "$word: $*"
}

give_up() {
    printf '%s\n' "$word: $*" >&2
    exit 1
}

missing=

# need PACKAGE TEST..: notes the package if the test fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

command_there() {
    command -v "$1"
}

compiler() {
    command -v "${CC:-cc}" || command -v gcc
}

header_there() {
    echo "#include <$1>" | ${CC:-cc} -E -x c -
}

# As root, or by sudo where it asks for no password or can ask for one.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

look() {
    missing=
    need gcc compiler
    need libc6-dev header_there stdio.h
    need meson command_there meson
    need ninja-build command_there ninja
    need pkg-config command_there pkg-config
    need check pkg-config --exists check
    need libdnnl-dev header_there dnnl.h
    need libopenblas-dev pkg-config --exists openblas
    need libstb-dev header_there stb/stb_image.h
    need libjpeg-dev pkg-config --exists libjpeg
    need libsqlite3-dev pkg-config --exists sqlite3
    need zlib1g-dev pkg-config --exists zlib
}

install_packages() {
    look
    if [ -z "$missing" ]; then
        say "everything that is needed is installed"
        return
    fi
    how="apt-get update && apt-get install --no-install-recommends$missing"
    command -v apt-get >/dev/null 2>&1 || give_up "please install what Debian calls:$missing"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || give_up "as root, please run: $how"
        if ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
            give_up "as root, please run: $how"
        fi
    fi
    say "installing:$missing"
    as_root apt-get update -q >/dev/null || give_up "apt-get update failed; as root, please run: $how"
    # shellcheck disable=SC2086 # a list
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >/dev/null ||
        give_up "the installation failed; as root, please run: $how"
    look
    [ -z "$missing" ] || give_up "still missing after the installation:$missing"
}

# build [OPTIONS]: into build/, set up when it is new.
build() {
    if [ ! -f build/build.ninja ]; then
        say "setting up build/"
        meson setup build -Ddefault_library=both -Ddebug=true "$@" || give_up "meson setup failed"
    fi
    say "compiling"
    ninja -C build || give_up "the build failed"
}
