# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Sourced after lib.sh: packages of suites that this machine's apt does not know.

# The mirror and the keyring that this machine uses for Debian itself.
mirror()
{
	local uri release origin signed

	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format \
		'$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)' \
		'Created-By: Packages' | while IFS='|' read -r uri release origin signed; do
		[[ $release == "$1" && $origin == main ]] || continue
		[[ $signed == /* ]] || signed=/usr/share/keyrings/debian-archive-keyring.gpg
		echo "$uri $signed"
	done | sort -u | head -n 1
}

# private_sources SUITE: makes private_apt read this suite of Debian. If it cannot be read,
# `why` says why.
private_sources()
{
	local codename uri signed

	apt=$build/apt/$1 why=
	if ! codename=$(debian_codename); then
		why="this is neither Debian 12 nor 13"
		return 1
	fi
	read -r uri signed <<< "$(mirror "$codename")"
	if [[ -z $uri ]]; then
		why="apt has no source for suite $codename: see /etc/apt"
		return 1
	fi
	if [[ ! -r $signed ]]; then
		why="no keyring $signed: install debian-archive-keyring"
		return 1
	fi
	mkdir -p "$apt"/{state/lists,cache/archives}
	: > "$apt/state/status"
	echo "deb [signed-by=$signed] $uri $1 main" > "$apt/sources.list"
	logged "$build/log/apt-$1" private_apt apt-get update && return
	why="apt cannot read $1 at $uri (above): is the network up, and debian-archive-keyring of this year?"
	return 1
}

# apt with folders of its own: the machine's lists and cache stay untouched.
private_apt()
{
	local tool=$1

	shift
	"$tool" -q -o Dir::Etc::SourceList="$apt/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$apt/state" -o Dir::State::Lists="$apt/state/lists" \
		-o Dir::State::Status="$apt/state/status" -o Dir::Cache="$apt/cache" \
		-o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
		-o APT::Update::Post-Invoke-Success::= -o Acquire::Retries=3 \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o Acquire::Languages=none "$@"
}
