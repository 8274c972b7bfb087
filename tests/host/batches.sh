# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# Tests that share a guest, for check: common/batch runs them in it, one after the other.
#
# A test whose head has _shares_guest runs in a guest with others, $batch of them at most, in
# their order in the list. So the tests of a batch, named alone, make the same batch again.

# kind_of TEST: what the tests of a guest have in common; nothing if TEST has its own.
kind_of()
{
	local options

	((batch > 1)) && [[ $1 != kunit ]] && has_directive "$1" _shares_guest || return 0
	options_of "$1"
	! in_groups "$1" kexec || options+=(kexec)
	echo "${options[*]}"
}

# make_batches: puts the tests of $chosen into batches, each of them the tests of a guest.
make_batches()
{
	local test kind i
	local -A begun=() tests_in=()

	for test in "${chosen[@]}"; do
		kind=$(kind_of "$test")
		i=${begun[${kind:-none}]-}
		if [[ $kind && $i ]] && ((${tests_in[$kind]} < batch)); then
			batches[i]+=" $test"
			tests_in[$kind]=$((${tests_in[$kind]} + 1))
			continue
		fi
		batches+=("$test")
		[[ ! $kind ]] || begun[$kind]=$((${#batches[@]} - 1)) tests_in[$kind]=1
	done
}

# split_output FILE TEST...: what each test printed, into its .raw. What is everybody's goes
# to those that ran in that kernel. No golden output depends on the name of the folder.
split_output()
{
	local file=$1 test

	shift
	for test; do
		: > "$results/$test.raw"
	done
	tr -d '\r' < "$file" | sed 's/\(.\)@kx /\1\n@kx /; s,/tmp/kxtest\.[0-9]*,/tmp/kxtest,g' |
		awk -v results="$results/" '
		/^@kx test / { now = $3; next }
		/^@kx boot / {
			if ($3 != kernel)
				split("", here)
			kernel = $3
			here[now] = 1
		}
		now == "all" {
			for (test in here)
				print > (results test ".raw")
			next
		}
		now { print > (results now ".raw") }'
}

# split_log FILE TEST...: what each test answers for, into its .log: the lines of the kernel
# while it ran, and those while none did, of all kernels that it was in.
split_log()
{
	local file=$1

	shift
	awk -v results="$results/" -v tests="$*" '
		BEGIN {
			n = split(tests, list, " ")
			for (i = 1; i <= n; i++)
				here[list[i]] = 1
		}
		match($0, /\] kexecfs-tests: (run|wait|end) /) {
			event = substr($0, RSTART + 17, RLENGTH - 18)
			now = substr($0, RSTART + RLENGTH)
			sub(/[ ,\r].*/, "", now)
		}
		now { print > (results now ".log") }
		!now {
			for (test in here)
				print > (results test ".log")
		}
		event == "wait" { waits[now] = 1 }
		event == "wait" || event == "end" { now = "" }
		{ event = "" }
		/\] kexecfs-tests: reboot/ {
			for (test in here)
				if (!(test in waits))
					delete here[test]
			split("", waits)
		}' "$file"
}

# was_checked TEST: whether it ended, and the checks at the end of its last kernel too.
was_checked()
{
	sed -n '/^@kx exit/,$p' "$results/$1.raw" | grep -q '^@kx checked'
}

# run_batch TEST...: runs them in one guest.
run_batch()
{
	local begin=$SECONDS last=${!#} status test own passed=yes guest options

	guest=$results/batch/${1##*/}-${last##*/}
	rm -f "$guest".*
	options_of "$1"
	"$top/scripts/guest" --flavor "$flavor" --log "$guest.log" --timeout "$(limit_of "$@")" \
		"${options[@]}" -- /tests/common/batch "$@" > "$guest.qemu" 2>&1
	status=$?
	if [[ -f $guest.log.out ]]; then
		rm -f "$guest.qemu"
	else
		cat "$guest.qemu"
		touch "$guest.log" "$guest.log.out"
	fi
	split_output "$guest.log.out" "$@"
	split_log "$guest.log" "$@"
	last=$(tr -d '\r' < "$guest.log.out" | sed -n 's/.*@kx test //p' | tail -n 1)
	shared_log=$guest.log
	for test; do
		own=$status
		if was_checked "$test"; then
			own=$(($(sed -n 's/^@kx exit //p' "$results/$test.raw" | tail -n 1) != 0))
		elif ((own == 0)); then
			own=1
		fi
		judge "$test" "$own" "$results/$test" "$results/$test.log"
		was_checked "$test" || [[ $test == "$last" ]] || complain "the guest's last test was ${last:-none}"
		mates=$(printf ' %s' "${@##*/}")
		mates=" (with${mates/ ${test##*/}/})"
		report "$test" $((SECONDS - begin))
		((${#reasons[@]} == 0)) || passed=
	done
	[[ $keep || ! $passed ]] || rm -f "$guest".{log,log.out}
}
