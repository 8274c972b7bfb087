# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Whether a test has passed, for check.

# Lines that must not be in a kernel log. Only lines of the kernel count: they begin
# with a time stamp.
bad_log='BUG[: ]|kernel BUG at|WARNING:|Oops|general protection fault|Kernel panic|Call Trace:
possible circular locking|possible recursive locking|inconsistent lock state
INFO: (possible|trying to register|suspicious|task .* blocked)|suspicious RCU
bad unlock balance|held lock freed|lock held when returning|still has locks held
locking correctness validator|DEBUG_LOCKS_WARN_ON|sleeping function called
scheduling while atomic|UBSAN:|refcount_t:|list_(add|del) corruption|blocked for more than
soft lockup|self-detected stall|detected stalls|unreferenced object|suspected memory leaks
kmemleak: .*disabled|Object already initialized|ODEBUG:|Bad page|nobody cared'

circle='possible circular locking dependency detected'

kernel_lines()
{
	tr -d '\r' < "$1" | grep -aE '^(<[0-9]+>)?\[ *[0-9]+\.[0-9]+\]'
}

# bad_lines LOG [TEST]: the lines that must not be in it. Allocations that TEST
# makes fail are announced with a trace of their own, and so is a report of lockdep that
# it asks for.
bad_lines()
{
	local skip='^$' off='^$'

	[[ -z ${2-} ]] || ! has_directive "$2" _allocations_fail ||
		skip='FAULT_INJECTION: forcing a failure|allocation failed|kmemleak: Cannot allocate'
	[[ -z ${2-} ]] || ! has_directive "$2" _tasks_are_killed ||
		skip='invoked oom-killer'
	[[ -z ${2-} ]] || ! has_directive "$2" _lockdep_reports || skip=$circle
	[[ -z ${2-} ]] || ! has_directive "$2" _without_kmemleak ||
		off='kmemleak: Kernel memory leak detector disabled'
	kernel_lines "$1" | grep -av "$off" |
		awk -v start="$skip" '$0 ~ start { skip = 1 }
		     /<\/TASK>/ && skip { skip = 0; next }
		     !skip' |
		grep -aE -e "${bad_log//$'\n'/|}"
}

complain()
{
	reasons+=("$1")
}

# Others that ran in the same guest, and the log of that.
mates="" shared_log=""

# judge TEST STATUS OUT LOG: sets reasons (none: passed) and notrun, and leaves
# the test's output in OUT.bad, its notes in OUT.full.
judge()
{
	local test=$1 status=$2 out=$3 log=$4 boots found mounts n line limit classes

	reasons=() notrun=
	# A line of the test that did not end is ended here.
	tr -d '\r' < "$out.raw" | sed 's/\(.\)@kx /\1\n@kx /' > "$out.lines"
	grep -av '^@kx \|^@full \|^KX-EXIT' "$out.lines" > "$out.bad"
	sed -n 's/^@full //p' "$out.lines" > "$out.full"
	grep -a '^@kx ' "$out.lines" > "$out.control"

	case $status in
	0) ;;
	1) complain "exit status 1" ;;
	2) complain "timed out" ;;
	3) complain "the guest died" ;;
	*) complain "the guest could not be run ($status)" ;;
	esac
	notrun=$(sed -n 's/^@kx notrun //p' "$out.control")
	grep -q '^@kx exit' "$out.control" || complain "it did not come to its end"

	if [[ -z $notrun ]]; then
		# That it ran at all, and where.
		boots=$(grep -c '^@kx boot' "$out.control")
		mounts=$(awk '/^@kx boot/ { n++ } /^@kx mounted/ { seen[n] = 1 }
			END { for (i in seen) c++; print c + 0 }' "$out.control")
		if ! has_directive "$test" _without_domain && ((mounts < boots)); then
			complain "kexecfs was mounted in $mounts of $boots kernels"
		fi
		if [[ ${groups_of[$test]} == *" kexec "* ]]; then
			((boots > 1)) || complain "no kexec"
		elif ((boots > 1)); then
			complain "a kexec, but it is not in the group kexec"
		fi
		if [[ -f $log ]]; then
			found=$(kernel_lines "$log" | grep -c 'KHO: found kexec handover data')
			n=$((boots > 0 ? boots - 1 : 0))
			! has_directive "$test" _without_handover || n=$((n - 1))
			((found == n)) || complain "$found kernels were handed something over, not $n"
		fi
		if [[ ! -f $here/$test.out ]]; then
			complain "no $test.out"
		elif ! diff -u "$here/$test.out" "$out.bad" > "$out.diff"; then
			complain "output differs"
		fi
	fi

	limit=$(directive "$test" _kexec_within)
	if [[ $limit && -z $notrun && -f $log ]]; then
		while read -r line; do
			complain "$line"
		done < <(kernel_lines "$log" | tr -d '[]' |
			awk -v limit="$limit" -v kexecs="$((boots - 1))" '
			/kexecfs-tests: reboot/ { begin = $1 }
			/kexec_core: Starting new kernel/ && begin {
				timed++
				if ($1 - begin > limit)
					print "a reboot took " ($1 - begin) " s, more than " limit
				begin = 0
			}
			END { if (timed != kexecs) print timed + 0 " of " kexecs " reboots were timed" }')
	fi

	classes=$(directive "$test" _lockdep_reports)
	if [[ $classes && -z $notrun && -f $log ]]; then
		n=$(kernel_lines "$log" | grep -c "$circle")
		((n == 1)) || complain "lockdep reported $n circles, not 1"
		for line in $classes; do
			kernel_lines "$log" | sed -n "/$circle/,/<\/TASK>/p" | grep -qF "($line)" ||
				complain "lockdep did not report $line"
		done
		sed -i 's/^@kx lockdep is off$/@kx watched lockdep/' "$out.control"
	fi

	# The checkers that were active.
	while read -r line; do
		complain "$line"
	done < <(sed -n 's/^@kx \(busy .*\|.* is off\)$/\1/p' "$out.control" | sort -u)
	! grep -q '^@kx leak' "$out.control" || complain "kmemleak"
	if [[ $flavor == debug && -z $local_run && -z $notrun && $status != [23] ]]; then
		for n in kmemleak lockdep; do
			[[ $n != kmemleak ]] || ! has_directive "$test" _without_kmemleak || continue
			grep -q "^@kx watched $n" "$out.control" || complain "no $n on a debug kernel"
		done
	fi
	if [[ -f $log ]] && bad_lines "$log" "$test" > "$out.dmesg"; then
		complain "kernel log"
	fi
}

# report TEST SECONDS: one line, and why a failure is one. Its status is kept
# for the sum.
report()
{
	local test=$1 seconds=$2 out=$results/$1 verdict

	if ((${#reasons[@]})); then
		verdict=failed
		{
			printf '%s %ss%s [failed: %s]\n' "$test" "$seconds" "$mates" \
				"$(printf '%s; ' "${reasons[@]}" | sed 's/; $//')"
			[[ ! -s $out.diff ]] || sed -n '3,24s/^/    /p' "$out.diff"
			[[ ! -s $out.dmesg ]] || sed -n '1,5s/^/    /p' "$out.dmesg"
			sed -n 's/^@kx leak /    /p' "$out.control" | head -n 14
			[[ ! -f $out.log ]] || echo "    (the guest's log: $out.log)"
			[[ ! $mates ]] || echo "    (all that ran in that guest: $shared_log)"
		} > "$out.report"
	elif [[ $notrun ]]; then
		verdict=skipped
		echo "$test ${seconds}s$mates [not run: $notrun]" > "$out.report"
	else
		verdict=passed
		echo "$test ${seconds}s$mates" > "$out.report"
		[[ $keep || $local_run ]] || rm -f "$out".{log,log.out}
	fi
	echo "$verdict $(processors_of "$test")" > "$out.verdict"
	rm -f "$out".{lines,control}
	cat "$out.report"
}
