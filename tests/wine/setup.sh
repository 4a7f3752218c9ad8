#!/bin/bash
# A Windows CPython with PyInstaller that runs under Wine, on Debian, as root. Does nothing where all of it is there.
#
#   setup.sh FOLDER     everything but the Debian packages goes there: prefix/ (Wine's, with C:\py), .ready
#
# Everything comes from apt and pip by package name. The wheel of panda3d for Windows carries, for its own freezer, the
# python311.dll, the extension modules and the C runtime of CPython 3.11.7 as the Python Software Foundation signed them.
# The library in pure Python is that of a Linux CPython 3.11, and python.exe is one call into the DLL.
set -euo pipefail
root=$1
mkdir -p "$root"
root=$(cd "$root" && pwd)
version=3.11.7
panda3d=1.10.14
wheel_sha256=1ddf01040b9c5497fb8659e3c5ef793a26c869cfdfb1b75e6d04d6fba0c03b73
pyinstaller=6.22.3
say() { echo "wine: $*"; }
fail() {
  echo "wine: $*" >&2
  exit 1
}

missing=()
[ -x /usr/lib/wine/wine64 ] || missing+=(wine wine64)
command -v x86_64-w64-mingw32-gcc >/dev/null || missing+=(gcc-mingw-w64-x86-64-win32)
command -v unzip >/dev/null || missing+=(unzip)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || fail "install first: ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$root/apt.log" 2>&1 </dev/null ||
    fail "installing ${missing[*]} failed: $(tail -n 1 "$root/apt.log")"
fi
exec 9>"$root/.lock"
flock 9 # one at a time
[ ! -e "$root/.ready" ] || exit 0

export WINEPREFIX="$root/prefix" WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml,winedbg.exe=d'
unset DISPLAY WAYLAND_DISPLAY
rm -rf "$WINEPREFIX" "$root/download"
say "making the prefix"
wineboot -i >/dev/null 2>&1 </dev/null 9>&- || fail "wineboot -i failed (exit status $?)"
wine winecfg -v win10 >/dev/null 2>&1 </dev/null 9>&- || fail "wine winecfg -v win10 failed (exit status $?)" # else it is Windows 7
wineserver -w

library=""
for python in "$(pyenv root 2>/dev/null || true)/versions/$version/bin/python3" python3.11 python3 /usr/bin/python3.11; do
  [ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)" = "${version%.*}" ] || continue
  library=$("$python" -c 'import os; print(os.path.dirname(os.__file__))')
  [ "$("$python" -c 'import platform; print(platform.python_version())')" != "$version" ] || break
done
[ -n "$library" ] || fail "no CPython ${version%.*} here to take the library in pure Python from"

say "CPython $version for Windows"
py="$WINEPREFIX/drive_c/py"
download="$root/download"
mkdir -p "$download" "$py/DLLs" "$py/Lib/site-packages"
platform=(--only-binary=:all: --platform win_amd64 --python-version "${version%.*}" --implementation cp)
python3 -m pip download -qq --disable-pip-version-check --no-deps "${platform[@]}" -d "$download" "panda3d==$panda3d"
wheel="$download/panda3d-$panda3d-cp311-cp311-win_amd64.whl"
echo "$wheel_sha256  $wheel" | sha256sum -c --quiet
unzip -q -o "$wheel" 'deploy_libs/*' -d "$download"
libs="$download/deploy_libs"
cp "$libs"/python311.dll "$libs"/VCRUNTIME140*.dll "$py/"
for file in "$libs"/*.pyd "$libs"/libcrypto-3*.dll "$libs"/libssl-3*.dll "$libs"/libffi-8*.dll; do
  case $file in *_tkinter*) ;; *) cp "$file" "$py/DLLs/" ;; esac
done
tar -C "$library" -cf - --exclude=__pycache__ --exclude=./site-packages --exclude=./dist-packages --exclude=./test \
  --exclude=./lib-dynload --exclude='./config-3.*' --exclude='_sysconfigdata*' --exclude=./tkinter --exclude=./turtledemo \
  --exclude=./idlelib --exclude='*/tests' --exclude='*/test' . | tar -C "$py/Lib" -xf -
cat >"$download/python.c" <<'C'
#include <wchar.h>
extern __declspec(dllimport) int Py_Main(int, wchar_t **);
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
C
x86_64-w64-mingw32-gcc -Os -s -municode -o "$py/python.exe" "$download/python.c" "$py/python311.dll"

say "PyInstaller $pyinstaller"
python3 -m pip install -qq --disable-pip-version-check --no-warn-script-location --root-user-action=ignore --no-deps \
  --no-compile "${platform[@]}" --upgrade --target "$py/Lib/site-packages" "pyinstaller==$pyinstaller" \
  pyinstaller-hooks-contrib==2026.9 altgraph==0.17.5 pefile==2024.8.26 pywin32-ctypes==0.2.3 packaging==26.3 setuptools==84.2.1
rm -rf "$download"

wine C:/py/python.exe -c 'import ctypes, socket, winreg' </dev/null 2>/dev/null 9>&- | cat || fail "python.exe does not start"
wineserver -w
touch "$root/.ready"
say "ready ($(du -sm "$root" | cut -f1) MB in $root)"
