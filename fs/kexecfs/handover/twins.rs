// SPDX-License-Identifier: GPL-2.0-only

//! Whether two of many keys are the same.

use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// Returns whether two of `len` keys are the same, of which `key` returns the one with a number.
///
/// Sorts their numbers by merging the runs that there are, ascending or descending. The records of
/// a kernel have few: the time is mostly linear, and at most in the order of `len * log(len)`.
/// Takes eight bytes a key meanwhile. The sorts of `core` recurse, as deep as the order of the keys
/// makes it.
pub(super) fn has_twins<K: Ord>(len: usize, key: impl Fn(usize) -> K) -> Result<bool, AllocError> {
    let is_greater = |a: &u32, b: &u32| key(*a as usize) > key(*b as usize);
    let mut order = KVVec::with_capacity(len, GFP_KERNEL)?;
    let mut merged = KVVec::with_capacity(len, GFP_KERNEL)?;

    for number in 0..len {
        order.push(u32::try_from(number).map_err(|_| AllocError)?, GFP_KERNEL)?;
    }
    reverse_descending(&mut order, is_greater);
    while merge_runs(&order, &mut merged, is_greater)? > 1 {
        core::mem::swap(&mut order, &mut merged);
    }
    // The last merge has left one run.
    Ok(merged.windows(2).any(|pair| match pair {
        [a, b] => !is_greater(b, a),
        _ => false,
    }))
}

/// How many numbers are at the beginning of `order` of which `follows` holds for each two.
fn run(order: &[u32], follows: impl Fn(&u32, &u32) -> bool) -> usize {
    let followers = order
        .windows(2)
        .take_while(|pair| matches!(pair, [a, b] if follows(a, b)));

    (1 + followers.count()).min(order.len())
}

/// Reverses each descending run.
fn reverse_descending(order: &mut [u32], is_greater: impl Fn(&u32, &u32) -> bool) {
    let mut rest = order;

    while !rest.is_empty() {
        let len = run(rest, &is_greater);
        let Some((run, behind)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
            return;
        };

        run.reverse();
        rest = behind;
    }
}

/// Merges each two ascending runs of `order` into one of `merged`. Returns how many these are.
fn merge_runs(
    order: &[u32],
    merged: &mut KVVec<u32>,
    is_greater: impl Fn(&u32, &u32) -> bool,
) -> Result<usize, AllocError> {
    let ascends = |a: &u32, b: &u32| !is_greater(a, b);
    let mut rest = order;
    let mut runs = 0;

    merged.clear();
    while let Some((mut left, behind)) = rest.split_at_checked(run(rest, ascends)) {
        let Some((mut right, behind)) = behind.split_at_checked(run(behind, ascends)) else {
            break;
        };

        if left.is_empty() {
            break;
        }
        while let ([a, lefts @ ..], [b, rights @ ..]) = (left, right) {
            if is_greater(a, b) {
                merged.push(*b, GFP_KERNEL)?;
                right = rights;
            } else {
                merged.push(*a, GFP_KERNEL)?;
                left = lefts;
            }
        }
        merged.extend_from_slice(left, GFP_KERNEL)?;
        merged.extend_from_slice(right, GFP_KERNEL)?;
        rest = behind;
        runs += 1;
    }
    Ok(runs)
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_twins)]
mod tests {
    use super::*;

    fn twins(keys: &[u32]) -> Result<bool, AllocError> {
        has_twins(keys.len(), |number| keys.get(number).copied())
    }

    #[test]
    fn twins_are_found_in_any_order() -> Result {
        for none in [
            &[][..],
            &[7],
            &[1, 2],
            &[2, 1],
            &[1, 2, 3, 4, 5],
            &[5, 4, 3, 2, 1],
            &[3, 1, 2, 9, 8, 7, 4, 5, 6],
            &[2, 1, 4, 3, 6, 5, 8, 7],
        ] {
            assert!(!twins(none)?);
        }
        for some in [
            &[7, 7][..],
            &[1, 2, 1],
            &[2, 1, 2],
            &[1, 2, 3, 4, 5, 3],
            &[5, 4, 3, 3, 2, 1],
            &[9, 1, 8, 2, 7, 3, 6, 4, 5, 9],
        ] {
            assert!(twins(some)?);
        }
        Ok(())
    }

    #[test]
    fn one_twin_among_many_is_found() -> Result {
        // 7 and 1,000 have no divisor in common, so that each number comes once.
        let scattered = |number: usize| number * 7 % 1000;

        assert!(!has_twins(1000, scattered)?);
        for twin in 1..1000 {
            assert!(has_twins(1000, |number| if number == twin {
                0
            } else {
                scattered(number)
            })?);
        }
        Ok(())
    }
}
