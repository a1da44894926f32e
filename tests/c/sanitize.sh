#!/usr/bin/env bash
# Build the C core with ASan and UBSan and run every kernel that this processor has.
#     sanitize.sh BUILD_FOLDER
set -euo pipefail
build=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
flags="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
cmake_command=$(command -v cmake || echo "$root/.venv/bin/cmake")
"$cmake_command" -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="$flags" -DLSTMCORE_WERROR=ON \
    -DLSTMCORE_TESTS=ON > /dev/null
"$cmake_command" --build "$build" > /dev/null
expected=
for kernel in $("$build/kernel_bits" --list); do
    hashes=$("$build/kernel_bits" "$kernel" | sha256sum | cut -c1-16)
    echo "sanitized kernel $kernel: $hashes"
    if [ "${expected:=$hashes}" != "$hashes" ]; then
        echo "kernel $kernel gives other bits" >&2
        exit 1
    fi
done
