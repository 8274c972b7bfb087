// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live Update Orchestrator: sessions for users inside the kernel
 */

/**
 * DOC: LUO Sessions inside the kernel
 *
 * In /dev/liveupdate each session belongs to the holder of a file descriptor. A
 * kernel subsystem that preserves files itself, a file system for example, uses
 * the functions here instead. Both work on the same sessions, and a file that is
 * preserved through one is busy for the other.
 *
 * Outgoing sessions:
 *
 *   liveupdate_session_create() creates a session, which lives until
 *   liveupdate_session_destroy(), or until the kexec. A file is preserved in two
 *   steps: liveupdate_file_hold() waits for other users of the file and freezes
 *   the properties that must not change any more, liveupdate_session_preserve()
 *   preserves it, and the hold passes to the session.
 *   liveupdate_session_unpreserve() unpreserves one file.
 *
 * Incoming sessions:
 *
 *   liveupdate_load() reads the sessions that the previous kernel handed over,
 *   unless that is done. liveupdate_session_claim() claims one of them for the
 *   caller: it has no other user until liveupdate_session_unclaim(). Its files can
 *   be listed, retrieved, and finished one by one or all together. Files that are
 *   neither finished nor carried are lost with the next kexec.
 *
 * Owners:
 *
 *   A user registers the prefix of its names during boot, with
 *   liveupdate_register_session_owner(). Userspace cannot create sessions of such
 *   a name, and the owner is the first that can claim incoming ones.
 *
 * Reboot:
 *
 *   liveupdate_register_reboot_notifier() registers a notifier that is called before
 *   the sessions are serialized for a kexec. From then on, until the reboot is
 *   aborted, every function that changes a session fails with -EBUSY. None of them
 *   waits for the reboot. Whether a session could be frozen,
 *   liveupdate_session_rehearse() tells before.
 *
 * Locking:
 *
 *   The locks are those of "LUO Sessions", in this order, with that of the file
 *   last::
 *
 *     luo_session_load_mutex
 *       luo_session_serialize_rwsem (read; tried, never waited for)
 *         luo_session_header->rwsem
 *           luo_session->mutex
 *             luo_file->mutex
 *               operations of the file's handler
 *
 *   - Only liveupdate_file_hold() may wait for users of a file. It is called, and
 *     waits, without any of these locks.
 *   - No user memory is accessed under any of them. The caller may hold mmap_lock
 *     in none of the calls, since handlers allocate and take inode locks.
 *   - Callbacks of liveupdate_session_for_each_file() and
 *     liveupdate_for_each_incoming() run under the lock of the list that they see,
 *     and must not call back. The incoming() of an owner runs under
 *     luo_session_load_mutex and may call everything but liveupdate_load().
 *
 * Memory:
 *
 *   Preserving, carrying and retrieving a file takes memory by its size. If there is
 *   none these fail with -ENOMEM and do not invoke the OOM killer. Nor do they wait for
 *   the limits of the caller's cgroup; a caller that holds locks of its own should not
 *   do so either: see mem_cgroup_enter_nowait(). For its own allocations around these
 *   calls see memalloc_mayfail_save(), too.
 *
 * Lifetime:
 *
 *   A session has one user at a time, whose calls with this session must not
 *   overlap with one that frees it: liveupdate_session_destroy() and
 *   liveupdate_session_finish(). All other calls may be made in parallel. These
 *   sessions have no file: closing /dev/liveupdate never affects them.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/liveupdate_session.h>
#include <linux/lockdep.h>
#include <linux/memcontrol.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <uapi/linux/liveupdate.h>
#include "luo_internal.h"

/*
 * Complete before userspace runs: additions take luo_register_rwlock, readers need
 * no lock.
 */
static LIST_HEAD(luo_session_owners);

/* For its users a session is an opaque pointer */
static struct luo_session *luo_session_from_user(struct liveupdate_session *s)
{
	struct luo_session *session = (struct luo_session *)s;

	lockdep_assert_not_held(&session->mutex);

	return session;
}

static struct liveupdate_session *luo_session_to_user(struct luo_session *session)
{
	return (struct liveupdate_session *)session;
}

/**
 * liveupdate_session_create - Create an outgoing session.
 * @name: Its name, unique among the outgoing sessions; shorter than
 *        %LIVEUPDATE_SESSION_NAME_LENGTH. The prefix of an owner is not refused
 *        here.
 *
 * Context: May sleep. Not before late_initcall is over.
 * Return: The new session. An ERR_PTR() on failure:
 *         -EINVAL if the name is empty or too long.
 *         -EEXIST if there is a session of this name.
 *         -EBUSY in a reboot.
 *         -ENOMEM on memory allocation failure.
 *         -EOPNOTSUPP if live update is disabled, or not up yet.
 */
struct liveupdate_session *liveupdate_session_create(const char *name)
{
	struct luo_session_header *sh = &luo_session_global.outgoing;
	size_t len = strnlen(name, LIVEUPDATE_SESSION_NAME_LENGTH);
	struct luo_session *session;
	int err;

	if (len == 0 || len > LIVEUPDATE_SESSION_NAME_LENGTH - 1)
		return ERR_PTR(-EINVAL);

	if (!liveupdate_enabled() || !sh->active)
		return ERR_PTR(-EOPNOTSUPP);

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return ERR_PTR(err);

	session = luo_session_alloc(name, GFP_KERNEL_ACCOUNT);
	if (IS_ERR(session))
		return ERR_CAST(session);

	err = luo_session_insert(sh, session);
	if (err) {
		luo_session_free(session);
		return ERR_PTR(err);
	}

	return luo_session_to_user(session);
}

/**
 * liveupdate_session_destroy - Unpreserve all files of a session, and free it.
 * @s: The outgoing session.
 *
 * Context: May sleep, but waits for no user of a file.
 * Return: 0 on success. -EBUSY in a reboot: the session is still there, and the
 * caller tries again when the reboot was aborted.
 */
int liveupdate_session_destroy(struct liveupdate_session *s)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	scoped_guard(mutex, &session->mutex)
		luo_file_unpreserve_files(&session->file_set);
	luo_session_remove(&luo_session_global.outgoing, session);
	luo_session_free(session);

	return 0;
}

/**
 * liveupdate_session_exclude - Exclude the files of a session from the kexec.
 * @s:       The outgoing session.
 * @exclude: Whether its files are excluded, or included again.
 *
 * For an owner that continues without a session in a reboot that has begun:
 * destroying it would lose the files if the kexec fails later. The files are not
 * frozen. Their memory is handed over to the next kernel all the same, where the
 * owner has to finish the session to free it.
 *
 * Context: May sleep.
 */
void liveupdate_session_exclude(struct liveupdate_session *s, bool exclude)
{
	struct luo_session *session = luo_session_from_user(s);

	guard(mutex)(&session->mutex);
	session->excluded = exclude;
}

/**
 * liveupdate_session_preserve - Preserve a file.
 * @s:          The outgoing session.
 * @file:       The file; held by the caller with liveupdate_file_hold().
 * @token:      A number for it, unique in the session.
 * @compatible: If not NULL, where to put the handler's name for this type of file.
 *
 * On success the session has its own reference to @file, and the hold. On failure
 * the hold remains with the caller, which can try again or call
 * liveupdate_file_unhold().
 *
 * Context: May sleep, for as long as the handler needs for a file of that size.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -EEXIST if the token is in use.
 *         -EBUSY if the file is preserved already, or in a reboot.
 *         -EINVAL if the file is not held.
 *         -ENOSPC if the session is full.
 *         -ENOMEM on memory allocation failure.
 *         Other errors come from the handler.
 */
int liveupdate_session_preserve(struct liveupdate_session *s, struct file *file,
				u64 token,
				char compatible[LIVEUPDATE_HNDL_COMPAT_LENGTH])
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	guard(mem_cgroup_nowait)();
	guard(memalloc_mayfail)();
	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	err = luo_preserve_filp(&session->file_set, token, file);
	if (err)
		return err;

	if (compatible)
		strscpy_pad(compatible,
			    luo_file_compatible(&session->file_set, token),
			    LIVEUPDATE_HNDL_COMPAT_LENGTH);

	return 0;
}

/**
 * liveupdate_session_unpreserve - Unpreserve one file.
 * @s:     The outgoing session.
 * @token: The token of the file.
 *
 * The hold of the file ends, too.
 *
 * Context: May sleep, but waits for no user of the file.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -ENOENT if there is no such file.
 *         -EBUSY if a file that was preserved later may depend on it, or in a
 *         reboot.
 */
int liveupdate_session_unpreserve(struct liveupdate_session *s, u64 token)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	return luo_file_unpreserve_token(&session->file_set, token);
}

/**
 * liveupdate_session_rehearse - Freeze the files of a session and unfreeze them.
 * @s:      The outgoing session.
 * @failed: If a file cannot be frozen: where to put its token.
 *
 * For an owner that wants to know beforehand whether a kexec would be refused: it is
 * what liveupdate_reboot() does with the session when a later step fails. A handler
 * sees nothing else, but that the caller is not in reboot(). A session with files of
 * handlers that do not agree to that is left alone, see %LIVEUPDATE_FILE_REHEARSES.
 *
 * Context: May sleep.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -EBUSY in a reboot; @failed is not written to.
 *         Other errors come from the handler of the file @failed.
 */
int liveupdate_session_rehearse(struct liveupdate_session *s, u64 *failed)
{
	struct luo_session *session = luo_session_from_user(s);
	struct luo_file_set_ser ser = {};
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	if (!luo_file_may_rehearse(&session->file_set))
		return 0;

	err = luo_file_freeze(&session->file_set, &ser, failed);
	if (err)
		return err;

	luo_file_unfreeze(&session->file_set, &ser);

	return 0;
}

/**
 * liveupdate_session_claim - Claim an incoming session.
 * @name: Its name.
 *
 * Context: May sleep. There are no incoming sessions before liveupdate_load().
 * Return: The session. An ERR_PTR() on failure:
 *         -ENOENT if the previous kernel handed over no such session.
 *         -EINVAL if it is claimed already, here or through /dev/liveupdate.
 *         -ENODEV if this kernel has no handler for one of its files, or not yet.
 *         -EIO if its files cannot be read.
 *         -EBUSY in a reboot.
 */
struct liveupdate_session *liveupdate_session_claim(const char *name)
{
	struct luo_session_header *sh = &luo_session_global.incoming;
	struct luo_session *session;
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return ERR_PTR(err);

	guard(rwsem_read)(&sh->rwsem);
	session = luo_session_find(sh, name);
	if (!session)
		return ERR_PTR(-ENOENT);

	guard(mutex)(&session->mutex);
	if (session->retrieved)
		return ERR_PTR(-EINVAL);

	err = luo_session_is_usable(session);
	if (err)
		return ERR_PTR(err);

	WRITE_ONCE(session->retrieved, true);

	return luo_session_to_user(session);
}

/**
 * liveupdate_session_unclaim - Give up the claim of an incoming session.
 * @s: The session, which the caller must not use any more.
 *
 * Files that were retrieved stay so: the next claimer of the session gets the same
 * struct file.
 *
 * Context: May sleep.
 */
void liveupdate_session_unclaim(struct liveupdate_session *s)
{
	struct luo_session *session = luo_session_from_user(s);

	guard(mutex)(&session->mutex);
	WRITE_ONCE(session->retrieved, false);
}

/**
 * liveupdate_session_retrieve - Retrieve a file that was handed over.
 * @s:     The incoming session, claimed by the caller.
 * @token: The token of the file.
 * @cancel: If not NULL, a flag that ends the call, with -EBUSY, once it is true.
 * @filep: Where to put the file, with a reference for the caller.
 *
 * Until the file is finished, a second call gives one more reference to the same
 * file. The session has a reference of its own meanwhile.
 *
 * The memory for the file is charged to the cgroup of the caller, which waits for its
 * memory.high afterwards. The handler may bind the file to the calling process.
 *
 * Context: May sleep, for as long as the handler needs for a file of that size.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -ENOENT if there is no such file.
 *         -EBUSY in a reboot, or if it was cancelled.
 *         Other errors come from the handler, which tells LUO which of them are
 *         final; memfd can be tried again after each but -EIO and -EOPNOTSUPP.
 */
int liveupdate_session_retrieve(struct liveupdate_session *s, u64 token,
				const bool *cancel, struct file **filep)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	guard(mem_cgroup_nowait)();
	guard(memalloc_mayfail)();
	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	return luo_retrieve_file(&session->file_set, token, cancel, filep);
}

/**
 * liveupdate_session_finish_file - Release one file of an incoming session.
 * @s:     The incoming session, claimed by the caller.
 * @token: The token of the file.
 *
 * If the file was retrieved LUO drops its reference, and the file is an ordinary
 * one again. Otherwise its data is discarded.
 *
 * Context: May sleep.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -ENOENT if there is no such file.
 *         -EBUSY if a file that was preserved later may depend on it, if the
 *         handler cannot finish it yet, or in a reboot.
 */
int liveupdate_session_finish_file(struct liveupdate_session *s, u64 token)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	return luo_file_finish_token(&session->file_set, token);
}

/**
 * liveupdate_session_carry - Carry a file that was not retrieved to the next kernel.
 * @in:    The incoming session, claimed by the caller.
 * @token: The token of the file, which it keeps.
 * @out:   The outgoing session.
 *
 * The next kernel gets the file as this one got it: nothing is retrieved, and no
 * cgroup is charged. Until liveupdate_session_unpreserve() the file is in both
 * sessions, and all operations on it in @in fail with -EBUSY; so does
 * liveupdate_session_finish() of @in.
 *
 * Context: May sleep. Longer for larger files, but not as long as to retrieve them.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -ENOENT if there is no such file.
 *         -EEXIST if the token is in use in @out.
 *         -EOPNOTSUPP if the handler cannot carry it.
 *         -EBUSY if the file was retrieved or is carried already, or in a reboot.
 *         -ENOSPC if the session is full.
 *         -EIO if the data that was handed over is broken.
 *         -ENOMEM on memory allocation failure.
 */
int liveupdate_session_carry(struct liveupdate_session *in, u64 token,
			     struct liveupdate_session *out)
{
	struct luo_session *session = luo_session_from_user(in);
	struct luo_session *to = luo_session_from_user(out);
	int err;

	guard(mem_cgroup_nowait)();
	guard(memalloc_mayfail)();
	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	/* First the incoming session, then the outgoing one */
	mutex_lock_nested(&to->mutex, SINGLE_DEPTH_NESTING);
	err = luo_file_carry(&session->file_set, token, &to->file_set);
	mutex_unlock(&to->mutex);

	return err;
}

/**
 * liveupdate_session_finish - Release all files of an incoming session, and free it.
 * @s: The incoming session, claimed by the caller.
 *
 * Context: May sleep.
 * Return: 0 on success. -EBUSY if the handler of a file cannot finish it yet, or
 * in a reboot: the session is as it was, and still claimed.
 */
int liveupdate_session_finish(struct liveupdate_session *s)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	scoped_guard(mutex, &session->mutex)
		err = luo_file_finish(&session->file_set, NULL, NULL);
	if (err)
		return err;

	luo_session_remove(&luo_session_global.incoming, session);
	luo_session_free(session);

	return 0;
}

/**
 * liveupdate_session_finish_but - Release some files of an incoming session.
 * @s:    The incoming session, claimed by the caller.
 * @keep: Returns for a token whether the file stays; called once for each file, before
 *        any of them is finished.
 * @data: For @keep.
 *
 * Like liveupdate_session_finish_file(), but for all files for which @keep returns
 * false: if one of them cannot be finished, none is.
 *
 * Context: May sleep. @keep is called under the mutex of the session and must not
 *          call a function with this session.
 * Return: 0 on success. -EBUSY if the handler of a file cannot finish it yet, if a
 * file that stays may depend on one that does not, or in a reboot.
 */
int liveupdate_session_finish_but(struct liveupdate_session *s,
				  liveupdate_keep_fn keep, void *data)
{
	struct luo_session *session = luo_session_from_user(s);
	int err;

	ACQUIRE(rwsem_read_try, lock)(&luo_session_serialize_rwsem);
	err = ACQUIRE_ERR(rwsem_read_try, &lock);
	if (err)
		return err;

	guard(mutex)(&session->mutex);
	return luo_file_finish(&session->file_set, keep, data);
}

/**
 * liveupdate_session_for_each_file - Walk through the files of a session.
 * @s:    The session, outgoing or incoming.
 * @fn:   Called for each file in the order they were preserved; a value other than
 *        0 ends the walk.
 * @data: For @fn.
 *
 * Context: May sleep. @fn is called under the mutex of the session and must not
 *          call a function with this session.
 * Return: 0, or the value of @fn that ended the walk.
 */
int liveupdate_session_for_each_file(struct liveupdate_session *s,
				     liveupdate_file_fn fn, void *data)
{
	struct luo_session *session = luo_session_from_user(s);

	guard(mutex)(&session->mutex);
	return luo_file_for_each(&session->file_set, fn, data);
}

/**
 * liveupdate_for_each_incoming - Walk through the incoming sessions.
 * @fn:   Called for each session in the order they were created, with its name and
 *        whether it is claimed at the moment, here or through /dev/liveupdate; a value
 *        other than 0 ends the walk.
 * @data: For @fn.
 *
 * Context: May sleep. @fn is called under the lock of the list of sessions and
 *          must not call a function that needs it: neither claim nor finish.
 * Return: 0, or the value of @fn that ended the walk.
 */
int liveupdate_for_each_incoming(liveupdate_incoming_fn fn, void *data)
{
	struct luo_session_header *sh = &luo_session_global.incoming;
	struct luo_session *session;
	int ret;

	guard(rwsem_read)(&sh->rwsem);
	list_for_each_entry(session, &sh->list, list) {
		ret = fn(session->name, READ_ONCE(session->retrieved), data);
		if (ret)
			return ret;
	}

	return 0;
}

/**
 * liveupdate_load - Read the incoming sessions, unless that is done.
 *
 * The first caller, here or by opening /dev/liveupdate, reads them and calls the
 * owners. All others wait for it.
 *
 * Context: May sleep. Not from the incoming() of an owner, and not before all
 *          handlers are registered, that is, before late_initcall is over.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -EBUSY in a reboot, -EINTR if the caller was killed, -ENOMEM: a later
 *         call may succeed.
 *         -EOPNOTSUPP if live update is disabled.
 */
int liveupdate_load(void)
{
	if (!liveupdate_enabled())
		return -EOPNOTSUPP;

	lockdep_assert_not_held(&luo_session_load_mutex);

	return luo_session_deserialize();
}

/**
 * liveupdate_register_session_owner - Reserve the names with a prefix.
 * @o: Describes the owner; is never unregistered.
 *
 * Context: May sleep. Before late_initcall.
 * Return: 0 on success. Returns a negative errno on failure:
 *         -EINVAL if the prefix is empty.
 *         -EEXIST if the prefix of another owner begins like this one, or the other
 *         way round.
 *         -EBUSY if it is too late.
 *         -EOPNOTSUPP if live update is disabled.
 */
int liveupdate_register_session_owner(struct liveupdate_session_owner *o)
{
	struct liveupdate_session_owner *it;

	if (!liveupdate_enabled())
		return -EOPNOTSUPP;

	if (!o->prefix[0])
		return -EINVAL;

	guard(rwsem_write)(&luo_register_rwlock);
	if (luo_session_global.outgoing.active)
		return -EBUSY;

	list_for_each_entry(it, &luo_session_owners, list) {
		if (str_has_prefix(it->prefix, o->prefix) ||
		    str_has_prefix(o->prefix, it->prefix))
			return -EEXIST;
	}
	list_add_tail(&o->list, &luo_session_owners);

	return 0;
}

/* Whether only an owner may create sessions of this name */
bool luo_session_name_is_reserved(const char *name)
{
	struct liveupdate_session_owner *o;

	list_for_each_entry(o, &luo_session_owners, list) {
		if (str_has_prefix(name, o->prefix))
			return true;
	}

	return false;
}

/* Lets the owners claim their sessions, before /dev/liveupdate can */
void luo_session_owners_incoming(void)
{
	struct liveupdate_session_owner *o;

	lockdep_assert_held(&luo_session_load_mutex);

	list_for_each_entry(o, &luo_session_owners, list) {
		if (o->incoming)
			o->incoming();
	}
}

/* Whether the owner of a session that cannot be frozen continues without it */
bool luo_session_owner_goes_on(const char *name, u64 token, int err)
{
	struct liveupdate_session_owner *o;

	list_for_each_entry(o, &luo_session_owners, list) {
		if (str_has_prefix(name, o->prefix))
			return o->freeze_failed &&
			       o->freeze_failed(name, token, err);
	}

	return false;
}
