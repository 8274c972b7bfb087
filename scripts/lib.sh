# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Every script here begins with this: paths, messages, tools.

set -euo pipefail
umask 022
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$top/build}
case $build in
/*) ;;
*) build=$top/$build ;;
esac

# Debian's own tools come first: the compiler, cargo and rustfmt have to be of
# one version, and a rustup that is installed beside them is of another.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$build/tools/bin:$PATH"

say()
{
	printf '==> %s\n' "$*" >&2
}

die()
{
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# need_space GIB: stop early when the build folder's disk is too small.
need_space()
{
	local free

	mkdir -p "$build" || die "cannot create $build"
	free=$(df --output=avail -BM "$build" | tail -n 1 | tr -dc 0-9)
	((free >= $1 * 1024)) ||
		die "$build needs $1 GiB of free disk, but has $((free / 1024)): free some, or set BUILD= to a folder elsewhere"
}

# lock NAME: one run at a time, until this process ends.
lock()
{
	mkdir -p "$build"
	exec 9> "$build/.lock-$1"
	flock -n 9 || {
		say "waiting for another run in $build"
		flock 9
	}
}

# logged LOG COMMAND...: run quietly, and show the end of the log on failure.
logged()
{
	local log=$1

	shift
	mkdir -p "${log%/*}"
	"$@" > "$log" 2>&1 < /dev/null && return
	tail -n "${LOG_LINES:-40}" "$log" >&2
	return 1
}

debian_codename()
{
	local name

	# shellcheck source=/dev/null
	name=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	case $name in
	bookworm | trixie) echo "$name" ;;
	*) return 1 ;;
	esac
}
