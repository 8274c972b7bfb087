# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Runs tests on this machine, for check.
#
# A kexec ends this program too: the rest of the list, the test's name and its
# kernel's number lie in a file, and --resume continues from there.
state=$results/local.state

local_kexec_commands()
{
	if ! command -v kx-load > /dev/null; then
		export KX_LOAD=${KX_LOAD:-$here/common/load}
		export KX_KEXEC=${KX_KEXEC:-kexec -e}
	fi
}

run_here()
{
	local test=$1 boot=$2 out=$results/$1 status

	printf '%s\n' "$test" "$boot" "$(cat /proc/sys/kernel/random/boot_id)" > "$state.new"
	shift 2
	printf '%s\n' "$@" >> "$state.new"
	mv "$state.new" "$state"
	((boot > 1)) || rm -f "$out".*
	dmesg > "$out.before"
	RESULT_DIR=${out%/*}/notes KX_BOOT=$boot "$here/common/runner" "$test" >> "$out.raw"
	status=$?
	# The log of the kernel since then; that of the one before the kexec is not available.
	dmesg | diff "$out.before" - | sed -n 's/^> //p' > "$out.dmesg-new"
	judge "$test" "$((status != 0))" "$out" /nonexistent
	if bad_lines "$out.dmesg-new" "$test" > "$out.dmesg"; then
		complain "kernel log"
	fi
	report "$test" 0
}

# run_tests_here: runs the tests in $chosen, or with --resume what is left of them.
run_tests_here()
{
	local boot saved

	((EUID == 0)) || die "--local needs root"
	grep -qw kexecfs /proc/filesystems || die "this kernel has no kexecfs"
	export KXCLIENT=${KXCLIENT:-$here/client/target/release/kxclient}
	[[ -x $KXCLIENT ]] || KXCLIENT=$(command -v kxclient) ||
		die "build tests/client first, or set KXCLIENT="
	local_kexec_commands
	boot=1
	if [[ $resume ]]; then
		[[ -f $state ]] || die "nothing to resume"
		mapfile -t saved < "$state"
		[[ ${saved[2]} != "$(cat /proc/sys/kernel/random/boot_id)" ]] ||
			die "${saved[0]}: this is still the kernel that it was to leave"
		chosen=("${saved[0]}" "${saved[@]:3}")
		boot=$((saved[1] + 1))
	else
		rm -f "$results"/kexecfs/*.verdict
	fi
	while ((${#chosen[@]})); do
		run_here "${chosen[0]}" "$boot" "${chosen[@]:1}"
		chosen=("${chosen[@]:1}")
		boot=1
	done
	rm -f "$state"
	mapfile -t chosen < <(cd "$results" && printf '%s\n' kexecfs/*.verdict | sed 's/\.verdict$//')
}
