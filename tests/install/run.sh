#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs into a folder, and there builds and runs examples/embed.c against the installation: with pkg-config, shared
# and static, and with CMake; the installed command works too.
#     run.sh BUILD SOURCES PREFIX LIBDIR C-COMPILER MAKE_MODEL MAKE_PICTURES
set -eu
build=$1
sources=$2
prefix=$3
libdir=$4
cc=$5
make_model=$6
make_pictures=$7
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dest=$scratch/dest
case $libdir in /*) ;; *) libdir=$prefix/$libdir ;; esac

meson install -C "$build" --no-rebuild --quiet --destdir "$dest"
"$make_pictures" "$scratch" 1
"$make_model" "$scratch/model.safetensors" backbone=convnext_atto sat_size=64x64 grd_size=32x128
# a plug-in folder is compiled in with the prefix, and this is another place
MFRGN_BACKEND_PATH=$(echo "$dest$libdir"/mfrgn/backends-*)
export MFRGN_BACKEND_PATH

try() {
    what=$1
    shift
    said=$("$@" "$scratch/model.safetensors" "$scratch/ground-0.ppm" "$scratch/aerial-0.ppm")
    case $said in
    "similarity "*) echo "$what: $said" ;;
    *)
        echo "FAILED: $what: $said"
        exit 1
        ;;
    esac
}

done_something=
if command -v pkg-config >/dev/null 2>&1; then
    PKG_CONFIG_PATH=$dest$libdir/pkgconfig
    export PKG_CONFIG_PATH
    # only mfrgn's own paths are below $dest
    flags() {
        pkg-config "$@" mfrgn | sed "s| -\([IL]\)$prefix| -\1$dest$prefix|g; s|^-\([IL]\)$prefix|-\1$dest$prefix|"
    }
    for variable in backends plugindir abi_version image_decoders; do
        [ -n "$(pkg-config --variable=$variable mfrgn)" ] || {
            echo "FAILED: the .pc file has no $variable"
            exit 1
        }
    done
    if [ -e "$dest$libdir/libmfrgn.so" ]; then
        # shellcheck disable=SC2046,SC2086 # lists
        $cc "$sources/examples/embed.c" $(flags --cflags --libs) -Wl,-rpath,"$dest$libdir" -o "$scratch/shared"
        try "pkg-config, shared" "$scratch/shared"
        done_something=1
    fi
    if [ -e "$dest$libdir/libmfrgn.a" ]; then
        # the archive alone, whatever else lies beside it
        # shellcheck disable=SC2046,SC2086
        $cc "$sources/examples/embed.c" $(flags --cflags) -o "$scratch/static" \
            $(flags --static --libs | sed 's|-lmfrgn|-l:libmfrgn.a|')
        ldd "$scratch/static" | grep -q libmfrgn && {
            echo "FAILED: the static program wants libmfrgn.so"
            exit 1
        }
        try "pkg-config, static" "$scratch/static"
        done_something=1
    else
        echo "static: left out, this build has no libmfrgn.a (-Ddefault_library=both)"
    fi
fi

if command -v cmake >/dev/null 2>&1; then
    mkdir "$scratch/cmake"
    cat >"$scratch/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.10)
project(consumer C)
find_package(mfrgn 0.1 REQUIRED CONFIG)
add_executable(consumer embed.c)
target_link_libraries(consumer mfrgn::mfrgn)
if(TARGET mfrgn::static)
  add_executable(consumer-static embed.c)
  target_link_libraries(consumer-static mfrgn::static)
endif()
END
    cp "$sources/examples/embed.c" "$scratch/cmake"
    {
        cmake -S "$scratch/cmake" -B "$scratch/cmake/build" -DCMAKE_PREFIX_PATH="$dest$prefix" \
            -Dmfrgn_DIR="$dest$libdir/cmake/mfrgn" -DCMAKE_C_COMPILER="${cc##* }" &&
            cmake --build "$scratch/cmake/build"
    } >"$scratch/cmake.txt" 2>&1 || {
        cat "$scratch/cmake.txt"
        echo "FAILED: the CMake project does not build"
        exit 1
    }
    try "CMake" "$scratch/cmake/build/consumer"
    [ ! -e "$scratch/cmake/build/consumer-static" ] || try "CMake, static" "$scratch/cmake/build/consumer-static"
    done_something=1
else
    echo "CMake: left out, it is not installed"
fi

"$dest$prefix/bin/mfrgn" --version
"$dest$prefix/bin/mfrgn" compare -q -m "$scratch/model.safetensors" "$scratch/ground-0.ppm" "$scratch/aerial-0.ppm"
[ -f "$dest$prefix/share/man/man1/mfrgn.1" ] || [ -f "$dest$prefix/share/man/man1/mfrgn.1.gz" ]
[ -n "$done_something" ] || {
    echo "skipped: neither pkg-config nor cmake"
    exit 77
}
