/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Live Update Orchestrator: sessions for users inside the kernel
 *
 * See the DOC section of kernel/liveupdate/luo_kernel.c for the concepts.
 */
#ifndef _LINUX_LIVEUPDATE_SESSION_H
#define _LINUX_LIVEUPDATE_SESSION_H

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/types.h>

struct file;
struct notifier_block;

/* For liveupdate_session_for_each_file(), see there */
typedef int (*liveupdate_file_fn)(u64 token, const char *compatible, void *data);
/* For liveupdate_session_finish_but(), see there */
typedef bool (*liveupdate_keep_fn)(u64 token, void *data);
/* For liveupdate_for_each_incoming(), see there */
typedef int (*liveupdate_incoming_fn)(const char *name, bool claimed, void *data);

/* The events of the reboot notifier, see liveupdate_register_reboot_notifier() */
#define LIVEUPDATE_PREPARE	1
#define LIVEUPDATE_ABORT	2
#define LIVEUPDATE_PLAIN_IMAGE	3

/* What image there is for kexec, see liveupdate_kexec_image() */
#define LIVEUPDATE_IMAGE_NONE		0
/* It carries no KHO data: kexec_load() */
#define LIVEUPDATE_IMAGE_PLAIN		1
/* It carries KHO data: kexec_file_load() */
#define LIVEUPDATE_IMAGE_HANDOVER	2
/* It returns to this kernel: CONFIG_KEXEC_JUMP. LUO does nothing then */
#define LIVEUPDATE_IMAGE_RETURNS	3

/**
 * struct liveupdate_reboot_info - The data of the reboot notifiers.
 * @handover: The loaded kexec image carries KHO data. Without it nothing that is
 *            preserved reaches the next kernel: the image was loaded by
 *            kexec_load() or while KHO was off.
 */
struct liveupdate_reboot_info {
	bool handover;
};

/**
 * struct liveupdate_session_owner - A user of sessions inside the kernel.
 * @prefix:   The prefix of the names of all its sessions. /dev/liveupdate refuses to
 *            create sessions of such names.
 * @incoming: Called once, when the sessions that the previous kernel handed over
 *            have been read and before /dev/liveupdate can retrieve any of them.
 *            The owner claims its sessions here.
 * @freeze_failed: Optional. Called when a file of one of its sessions could not be
 *            frozen for a kexec, with the name of the session, the token of the
 *            file and the error. Returns true to continue without the session, as
 *            after liveupdate_session_exclude(); else the kexec is refused.
 *            LUO's locks are held: it must not call back.
 * @list:     Private to LUO.
 *
 * All fields but @list are set by the owner. The structure must stay valid for the
 * lifetime of the kernel, since there is no way to unregister.
 */
struct liveupdate_session_owner {
	const char *prefix;
	void (*incoming)(void);
	bool (*freeze_failed)(const char *name, u64 token, int err);
	struct list_head list;
};

#ifdef CONFIG_LIVEUPDATE

struct liveupdate_session *liveupdate_session_create(const char *name);
int liveupdate_session_destroy(struct liveupdate_session *s);
void liveupdate_session_exclude(struct liveupdate_session *s, bool exclude);

int liveupdate_file_hold(struct file *file, bool nowait);
int liveupdate_file_populate(struct file *file);
void liveupdate_file_unhold(struct file *file);
int liveupdate_session_preserve(struct liveupdate_session *s, struct file *file,
				u64 token,
				char compatible[LIVEUPDATE_HNDL_COMPAT_LENGTH]);
int liveupdate_session_unpreserve(struct liveupdate_session *s, u64 token);
int liveupdate_session_rehearse(struct liveupdate_session *s, u64 *failed);

struct liveupdate_session *liveupdate_session_claim(const char *name);
void liveupdate_session_unclaim(struct liveupdate_session *s);
int liveupdate_session_retrieve(struct liveupdate_session *s, u64 token,
				const bool *cancel, struct file **filep);
int liveupdate_session_finish_file(struct liveupdate_session *s, u64 token);
int liveupdate_session_carry(struct liveupdate_session *in, u64 token,
			     struct liveupdate_session *out);
int liveupdate_session_finish(struct liveupdate_session *s);
int liveupdate_session_finish_but(struct liveupdate_session *s,
				  liveupdate_keep_fn keep, void *data);

int liveupdate_session_for_each_file(struct liveupdate_session *s,
				     liveupdate_file_fn fn, void *data);
int liveupdate_for_each_incoming(liveupdate_incoming_fn fn, void *data);

int liveupdate_load(void);
int liveupdate_register_session_owner(struct liveupdate_session_owner *o);
u64 liveupdate_generation(void);
int liveupdate_register_reboot_notifier(struct notifier_block *nb);
void liveupdate_plain_image_loaded(void);
int liveupdate_kexec_image(void);

#else /* CONFIG_LIVEUPDATE */

static inline struct liveupdate_session *
liveupdate_session_create(const char *name)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline int liveupdate_session_destroy(struct liveupdate_session *s)
{
	return -EOPNOTSUPP;
}

static inline void liveupdate_session_exclude(struct liveupdate_session *s,
					      bool exclude) { }

static inline int liveupdate_file_hold(struct file *file, bool nowait)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_file_populate(struct file *file)
{
	return -EOPNOTSUPP;
}

static inline void liveupdate_file_unhold(struct file *file) { }

static inline int
liveupdate_session_preserve(struct liveupdate_session *s, struct file *file,
			    u64 token,
			    char compatible[LIVEUPDATE_HNDL_COMPAT_LENGTH])
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_session_unpreserve(struct liveupdate_session *s,
						u64 token)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_session_rehearse(struct liveupdate_session *s,
					      u64 *failed)
{
	return -EOPNOTSUPP;
}

static inline struct liveupdate_session *
liveupdate_session_claim(const char *name)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void liveupdate_session_unclaim(struct liveupdate_session *s) { }

static inline int liveupdate_session_retrieve(struct liveupdate_session *s,
					      u64 token, const bool *cancel,
					      struct file **filep)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_session_finish_file(struct liveupdate_session *s,
						 u64 token)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_session_carry(struct liveupdate_session *in,
					   u64 token,
					   struct liveupdate_session *out)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_session_finish(struct liveupdate_session *s)
{
	return -EOPNOTSUPP;
}

static inline int
liveupdate_session_for_each_file(struct liveupdate_session *s,
				 liveupdate_file_fn fn, void *data)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_for_each_incoming(liveupdate_incoming_fn fn,
					       void *data)
{
	return -EOPNOTSUPP;
}

static inline int liveupdate_load(void)
{
	return -EOPNOTSUPP;
}

static inline int
liveupdate_register_session_owner(struct liveupdate_session_owner *o)
{
	return -EOPNOTSUPP;
}

static inline u64 liveupdate_generation(void)
{
	return 0;
}

static inline int liveupdate_register_reboot_notifier(struct notifier_block *nb)
{
	return -EOPNOTSUPP;
}

static inline void liveupdate_plain_image_loaded(void) { }

static inline int liveupdate_kexec_image(void)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_LIVEUPDATE */

#endif /* _LINUX_LIVEUPDATE_SESSION_H */
