# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Sourced after lib.sh: root file systems of Debian's.
#
# The packages come from the mirror that this machine's apt is configured for. systemd knows
# LUO since 261, which no stable suite of Debian's has yet (SUITE= names another).

suite=${SUITE:-forky}
keyring=/usr/share/keyrings

# Hooks of mmdebstrap, in the new root. An initramfs doesn't keep the times of files by which
# Python sees that compiled modules are of their sources.
# shellcheck disable=SC2016 # the hook's shell expands it
compile='chroot "$1" sh -c "cd /usr/lib/python3.*/ && python3 -m compileall -q --invalidation-mode unchecked-hash . || :"'

mirror()
{
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' \
		'Component: main' 2> /dev/null | grep -v -- '-security$' | head -n 1
}

# debootstrap TAR: a root with $packages, without $excluded.
debootstrap()
{
	local site options=() path

	site=$(mirror)
	if [[ ! $site ]]; then
		logged "$build/log/apt-update" apt-get -q update || :
		site=$(mirror)
	fi
	[[ $site ]] || die "apt knows no mirror of Debian's: neither a sources list for main, nor its package lists"
	for path in "${excluded[@]}"; do
		options+=(--dpkgopt="path-exclude=$path/*")
	done
	# A mirror that is kept as it was at some time has a Release file that has expired. Its
	# signature is checked all the same.
	logged "$build/log/${0##*/}" mmdebstrap --variant=essential --architectures=amd64 \
		--keyring="$keyring" --include="$(IFS=,; echo "${packages[*]}")" \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
		--aptopt='APT::Install-Recommends "false"' "${options[@]}" \
		--customize-hook="$compile" --format=tar \
		"$suite" "$1.new" "deb $site $suite main" ||
		die "mmdebstrap could not make a root of $suite (above; all in $build/log/${0##*/})"
	mv "$1.new" "$1"
}
