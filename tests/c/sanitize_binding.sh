#!/usr/bin/env bash
# Run the tests of buffers, lifetimes and exits with the binding that sanitize.sh built, and the python on the PATH.
#     sanitize_binding.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
runtime=$(ldd "$build"/_bound.*so | awk '/lib(asan|ubsan)/ { print $3 }')
if [ -z "$runtime" ]; then # the libraries of clang are none that a Python built without them could load first
    echo "the binding is sanitized with gcc only: remove $build, and set CC=gcc" >&2
    exit 1
fi

# The package with these in it, in the place of the installed one.
site=$build/site
rm -rf "$site"
mkdir "$site"
cp -rs "$root/lstmcore" "$site"
ln -s "$build"/_{core,bound,stop}.*so "$site/lstmcore"
cat > "$site/sitecustomize.py" << 'EOF'
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
EOF
cd "$site"
export PYTHONPATH=$site:$root/tests/support PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0
export LD_PRELOAD=${runtime//$'\n'/ }

found=$(python 2>&1 << 'EOF' || true
import numpy as np
from lstmcore import _bound
from lstmcore.backends.c.binding import ffi, inputs, lib, outputs
from streams import small

assert "site" in _bound.__file__, _bound.__file__
x, y = np.zeros((4, 3), np.float32), np.zeros(1, np.float32)
lib.lstmcore_run(small().runner._taken().handle, inputs(x), 400, ffi.NULL, outputs(y), ffi.NULL)
EOF
)
if ! grep -q heap-buffer-overflow <<< "$found"; then
    printf 'a planted fault was not found:\n%s\n' "$found" >&2
    exit 1
fi
python -m pytest -c "$root/pyproject.toml" -q -n 2 --dist loadfile -p no:cacheprovider --override-ini "addopts=--import-mode=importlib" \
    -k "not numpy and (bound or buffers or batch or helper or global)" "$root"/tests/core/test_{bound,buffers,exits}.py
