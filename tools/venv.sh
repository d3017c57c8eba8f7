# shellcheck shell=sh
# Sourced by ./wq and ./test in a subshell: makes or renews a virtual environment in the root of the checkout.
# Two at once wait for each other; one that was killed midway is made anew by the next.

# make_venv SELF ROOT NAME EXTRAS: sees to it that ROOT/NAME has wq, editable, with EXTRAS ("" or "[test]").
make_venv() {
    self=$1 name=$3 extras=$4
    root=$(CDPATH='' cd -- "$2" && pwd -P) || return 1
    venv=$root/$name
    stamp=$venv/complete
    log=$venv/install.log
    unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT
    export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
    [ -n "${HOME-}" ] || export PIP_NO_CACHE_DIR=1

    wanted="$root
$(cksum <"$root/pyproject.toml") $extras" || return 1
    if is_current; then
        touch -c -r "$root/pyproject.toml" "$stamp" 2>/dev/null
        return 0
    fi
    if [ ! -w "$root" ]; then
        echo "$self: $venv is missing or stale, and $root is not writable:" \
            "its owner should run ./$self there once (or install with pipx)" >&2
        return 1
    fi
    python=$(find_python "$self") || return 1

    # The lock belongs to the open file: this shell and the pip it starts hold it, and it goes with the last of them.
    exec 9>"$venv.lock" || return 1
    if ! "$python" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null; then
        echo "$self: waiting for another one that is making $name" >&2
        "$python" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null # where there are no locks: go on
    fi
    is_current || install
}

# is_current: the Python is still there, and the stamp names this directory and what pyproject.toml is now.
is_current() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]
}

install() {
    if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$root" ] && [ -x "$venv/bin/python" ]; then
        echo "$self: pyproject.toml has changed: renewing $name" >&2
        rm -f "$stamp" # but not the rest: a server may be running from it
    else
        echo "$self: first use: making $name with $python (takes some 10 s)" >&2
        rm -rf "$venv" && mkdir "$venv" && "$python" -I -m venv "$venv" >"$log" 2>&1 || { failed; return 1; }
    fi
    "$venv/bin/python" -I -m pip install -q -e "$root$extras" >>"$log" 2>&1 || { failed; return 1; }
    "$venv/bin/python" -I -m compileall -q "$root/src" >>"$log" 2>&1 # for users who may not write here
    printf '%s\n' "$wanted" >"$stamp.new" && touch -r "$root/pyproject.toml" "$stamp.new" && mv "$stamp.new" "$stamp"
}

failed() {
    line=$(grep '^ *ERROR' "$log" | tail -n 1)
    [ -n "$line" ] || line=$(tail -n 1 "$log")
    echo "$self: making $name failed: $line (the whole story: $log)" >&2
}

# find_python SELF: prints the first Python >= 3.11 in PATH that can make a virtual environment, else says what lacks.
# What root makes serves everyone: so root takes one in root's own home only when there is no other.
find_python() {
    without_venv='' private=''
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        # The real, versioned file: when an upgrade of the system takes that away, .venv is seen to be stale.
        found=$("$candidate" -I -c '
import os, pathlib, sys
if sys.version_info < (3, 11):
    sys.exit(1)
path = pathlib.Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
everyone = os.getuid() or all(p.stat().st_mode & 1 for p in (path, *path.parents))
print("all" if everyone else "root", path)' 2>/dev/null) || continue
        reach=${found%% *} found=${found#* }
        if ! "$found" -I -c 'import ensurepip, venv' 2>/dev/null; then
            without_venv=$found
        elif [ "$reach" = all ]; then
            printf '%s\n' "$found"
            return 0
        else
            private=${private:-$found}
        fi
    done
    if [ -n "$private" ]; then
        printf '%s\n' "$private"
        return 0
    elif [ -n "$without_venv" ]; then
        echo "$1: $without_venv cannot make a virtual environment (on Debian or Ubuntu: apt install python3-venv)" >&2
    else
        echo "$1: no Python 3.11 or newer in PATH (tried python3, python3.14 ... python3.11)" >&2
    fi
    return 1
}
