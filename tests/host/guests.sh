# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Runs a test in a QEMU guest, for check.

run_kunit()
{
	local out=$results/kunit begin=$SECONDS status

	"$top/scripts/guest" --flavor "$flavor" --log "$out.log" --timeout 300 --smp "$processors" \
		--append "kunit.enable=1 kunit.autorun=1" -- /bin/true
	status=$?
	# KTAP: a case is indented, its suite is not.
	kernel_lines "$out.log" | sed 's/^[^]]*\] //' |
		sed -n 's/^ \{4,\}\(not ok\|ok\) [0-9]* \([^ ]*\)\(.*\)/\1 \2\3/p' > "$out.cases"
	grep -c '^ok' "$out.cases" > "$out.passed"
	{
		grep '^not ok' "$out.cases"
		[[ -s $out.cases ]] || echo "not ok kunit: no suite kexecfs_* ran"
		((status == 0)) || echo "not ok kunit: the guest's status is $status"
		! bad_lines "$out.log" || echo "not ok kunit: kernel log"
	} | sed -n 's/^not ok /kunit:/p' > "$out.failed"
	if [[ -s $out.failed ]]; then
		echo "kunit $((SECONDS - begin))s [failed]"
		sed 's/^/    /' "$out.failed"
		echo "    (the guest's log: $out.log)"
	else
		echo "kunit $((SECONDS - begin))s ($(cat "$out.passed") cases)"
		[[ $keep ]] || rm -f "$out".{log,log.out}
	fi
}

# processors_of TEST: how many its guest gets.
processors_of()
{
	if in_groups "$1" stress && ((processors < 2)); then
		echo 2
	else
		echo "$processors"
	fi
}

# limit_of TEST...: for how many seconds they may run in one guest.
limit_of()
{
	local test limit most=0

	for test; do
		limit=$([[ $test == kunit ]] || directive "$test" _guest_timeout)
		((most >= ${limit:-240})) || most=${limit:-240}
	done
	echo $((most + 60 * ($# - 1)))
}

# append_of TEST: the words on the command line of its kernels.
append_of()
{
	local words

	words="$(directive "$1" _guest_append) ${KX_APPEND-}"
	! has_directive "$1" _without_kmemleak || words+=" kmemleak=off"
	words=${words# }
	echo "${words% }"
}

# warm_of TEST: the options of the guest that it continues from, if it can be any that has
# booted.
warm_of()
{
	local directive mem

	[[ -z $(append_of "$1") && $1 != users/* ]] || return 0
	for directive in _guest_boots _guest_icount _guest_tools _guest_programs _guest_stock; do
		! has_directive "$1" $directive || return 0
	done
	mem=$(directive "$1" _guest_mem)
	# That is what a guest has anyway.
	[[ $mem != 512 ]] || mem=
	echo "--warm --smp $(processors_of "$1")${mem:+ --mem $mem}"
}

# make_warm: boots the guests that tests continue from, all at once.
make_warm()
{
	local test options pid pids=() failed=0

	while read -r options; do
		# shellcheck disable=SC2086 # words
		"$top/scripts/guest" --flavor "$flavor" --log "$results/warm${options// /}" $options &
		pids+=($!)
	done < <(for test in "${chosen[@]}"; do
		[[ $test == kunit ]] || warm_of "$test"
	done | sort -u | grep .)
	for pid in "${pids[@]}"; do
		wait "$pid" || failed=1
	done
	return "$failed"
}

# own_of TEST: sets `options` to those of a guest that boots for it.
own_of()
{
	local test=$1 mem words

	words=$(append_of "$test")
	mem=$(directive "$test" _guest_mem)
	options=(--smp "$(processors_of "$test")" ${mem:+--mem "$mem"})
	if has_directive "$test" _guest_disk; then
		options+=(--disk)
	elif [[ $test == users/* ]]; then
		options+=(--debian)
	fi
	! has_directive "$test" _guest_icount || options+=(--icount)
	! has_directive "$test" _guest_tools || options+=(--share "$build/posix/guest")
	! has_directive "$test" _guest_programs || options+=(--share "$build/programs/$(programs_of "$test")")
	! has_directive "$test" _guest_stock || options+=(--share "$build/stock/share")
	[[ ! $words ]] || options+=(--append "$words")
}

# options_of TEST: sets `options` to those of its guest.
options_of()
{
	# shellcheck disable=SC2207 # words
	options=($(warm_of "$1"))
	((${#options[@]})) || own_of "$1"
}

run_in_guest()
{
	local test=$1 out=$results/$1 begin=$SECONDS status options flavor=$flavor

	if [[ $test == kunit ]]; then
		run_kunit
		return
	fi
	options_of "$test"
	! has_directive "$test" _guest_disk || flavor=debian
	"$top/scripts/guest" --flavor "$flavor" --log "$out.log" --timeout "$(limit_of "$test")" \
		"${options[@]}" -- /tests/common/runner "$test" > "$out.qemu" 2>&1
	status=$?
	if [[ -f $out.log.out ]]; then
		cp "$out.log.out" "$out.raw"
		rm -f "$out.qemu"
	else
		: > "$out.raw"
		[[ -f $out.log ]] || : > "$out.log"
		cat "$out.qemu"
	fi
	judge "$test" "$status" "$out" "$out.log"
	report "$test" $((SECONDS - begin))
}

# run_tests_in_guests: runs the tests in $chosen, several at a time.
run_tests_in_guests()
{
	local test batches=() order weight ended running=0
	local -A weights

	build_tools
	! any_needs _guest_stock || "$top/scripts/stock" || die "no stock kernel"
	for test in "${chosen[@]}"; do
		rm -f "$results/$test".*
	done
	# Once for all guests.
	"$top/scripts/initramfs" "$flavor" || die "no initramfs"
	[[ " ${chosen[*]}" != *" users/"* ]] || "$top/scripts/initramfs" "$flavor" debian ||
		rm -f "$build/initramfs/$flavor-debian.cpio"
	! any_needs _guest_disk || "$top/scripts/disk" || die "no Debian on a disk"
	export KX_NO_REFRESH=1
	make_warm || die "no guest came up to go on from"
	echo "${#chosen[@]} tests on $flavor, $jobs at a time; results in $results"
	make_batches
	# What may take long begins first, so that the run does not end with a single guest.
	mapfile -t order < <(for test in "${batches[@]}"; do
		# shellcheck disable=SC2086 # words
		echo "$(limit_of $test) $test"
	done | sort -s -n -r -k 1,1 | cut -d ' ' -f 2-)
	# Two processors of a guest count as two guests: they wait for each other.
	for test in "${order[@]}"; do
		weight=$(processors_of "${test%% *}")
		while ((running > 0 && running + weight > jobs)); do
			wait -n -p ended
			running=$((running - weights[$ended]))
		done
		if [[ $test == *" "* ]]; then
			# shellcheck disable=SC2086 # words
			run_batch $test &
		else
			run_in_guest "$test" &
		fi
		weights[$!]=$weight
		running=$((running + weight))
	done
	wait
}
