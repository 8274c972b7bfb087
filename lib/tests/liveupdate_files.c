// SPDX-License-Identifier: GPL-2.0-only
/*
 * A live update handler for tests: its files are no memfds, depend on each other,
 * fail on request, and are not carried unless they were retrieved
 *
 * debugfs/liveupdate_test:
 *
 *   create		reading it makes a file, puts it into the table of the reader
 *			and returns the number of the descriptor
 *   create_late	the same for the handler that registers late
 *   register_late	writing anything registers that
 *   fail_preserve, fail_freeze, fail_retrieve, fail_finish
 *			the errno that the operation returns, 0 for none
 *   slow_retrieve	how many milliseconds that takes, unless it is cancelled
 *   slow_freeze		likewise, but that is not cancelled
 *   kho_fdt, reserved	where KHO's FDT for the next kernel lies, once that is loaded,
 *			and the area reserve_mem=...:liveupdate
 *   break_kho_map	writing anything adds a key that is too wide to the map of the memory
 *			that is handed over, once the next kernel is loaded
 *   hold_rcu		writing 1 is an RCU read section, until 0 is written or
 *			18 seconds are over; reading tells whether it is one
 *
 * A file holds up to 63 bytes of text. If the text is "after OTHER" the file depends
 * on the one whose text is OTHER: that has to be preserved and frozen before it.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/libfdt.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/unaligned.h>

#define LUO_TEST_COMPATIBLE	"liveupdate-test-v1"
#define LUO_LATE_COMPATIBLE	"liveupdate-late-v1"
#define LUO_TEST_MAGIC	0x6b78746573740001ULL
#define LUO_TEST_SIZE	64

/* The data that is handed over, on a page of its own */
struct luo_test_ser {
	u64 magic;
	char text[LUO_TEST_SIZE];
};

struct luo_test_file {
	char text[LUO_TEST_SIZE];
	/* In luo_test_preserved, under its lock */
	struct list_head list;
	bool frozen;
	/* For the handler that registers late */
	bool late;
};

static LIST_HEAD(luo_test_preserved);
static DEFINE_MUTEX(luo_test_lock);

static u32 fail_preserve;
static u32 fail_freeze;
static u32 fail_retrieve;
static u32 fail_finish;
static u32 slow_retrieve;
static u32 slow_freeze;

static ssize_t luo_test_read(struct file *file, char __user *to, size_t len,
			     loff_t *pos)
{
	struct luo_test_file *test = file->private_data;

	return simple_read_from_buffer(to, len, pos, test->text,
				       strlen(test->text));
}

static ssize_t luo_test_write(struct file *file, const char __user *from,
			      size_t len, loff_t *pos)
{
	struct luo_test_file *test = file->private_data;

	return simple_write_to_buffer(test->text, sizeof(test->text) - 1, pos,
				      from, len);
}

static int luo_test_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);

	return 0;
}

static const struct file_operations luo_test_fops = {
	.owner = THIS_MODULE,
	.read = luo_test_read,
	.write = luo_test_write,
	.llseek = default_llseek,
	.release = luo_test_release,
};

static struct file *luo_test_make(bool late)
{
	struct luo_test_file *test;
	struct file *file;

	test = kzalloc_obj(*test, GFP_KERNEL_ACCOUNT);
	if (!test)
		return ERR_PTR(-ENOMEM);

	INIT_LIST_HEAD(&test->list);
	test->late = late;
	file = anon_inode_getfile("[liveupdate_test]", &luo_test_fops, test, O_RDWR);
	if (IS_ERR(file))
		kfree(test);
	else
		file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;

	return file;
}

static struct liveupdate_file_handler luo_late_handler;

static bool luo_test_can_preserve(struct liveupdate_file_handler *handler,
				  struct file *file)
{
	struct luo_test_file *test = file->private_data;

	return file->f_op == &luo_test_fops &&
	       test->late == (handler == &luo_late_handler);
}

static int luo_test_preserve(struct liveupdate_file_op_args *args)
{
	struct luo_test_file *test = args->file->private_data;
	struct luo_test_ser *ser;

	if (fail_preserve)
		return -fail_preserve;

	ser = kho_alloc_preserve(sizeof(*ser));
	if (IS_ERR(ser))
		return PTR_ERR(ser);

	ser->magic = LUO_TEST_MAGIC;
	args->serialized_data = virt_to_phys(ser);

	guard(mutex)(&luo_test_lock);
	list_add_tail(&test->list, &luo_test_preserved);

	return 0;
}

static void luo_test_unpreserve(struct liveupdate_file_op_args *args)
{
	struct luo_test_file *test = args->file->private_data;

	scoped_guard(mutex, &luo_test_lock)
		list_del_init(&test->list);
	kho_unpreserve_free(phys_to_virt(args->serialized_data));
}

/* Whether what the file depends on has been frozen before it */
static bool luo_test_may_freeze(struct luo_test_file *test)
{
	struct luo_test_file *other;
	size_t len;

	lockdep_assert_held(&luo_test_lock);

	len = str_has_prefix(test->text, "after ");
	if (!len)
		return true;

	list_for_each_entry(other, &luo_test_preserved, list) {
		if (other != test && !strcmp(other->text, test->text + len))
			return other->frozen;
	}

	return false;
}

static int luo_test_freeze(struct liveupdate_file_op_args *args)
{
	struct luo_test_file *test = args->file->private_data;
	struct luo_test_ser *ser = phys_to_virt(args->serialized_data);

	msleep(slow_freeze);
	if (fail_freeze)
		return -fail_freeze;

	guard(mutex)(&luo_test_lock);
	if (!luo_test_may_freeze(test))
		return -ENOLINK;

	test->frozen = true;
	strscpy(ser->text, test->text, sizeof(ser->text));

	return 0;
}

static void luo_test_unfreeze(struct liveupdate_file_op_args *args)
{
	struct luo_test_file *test = args->file->private_data;

	guard(mutex)(&luo_test_lock);
	test->frozen = false;
}

static int luo_test_retrieve(struct liveupdate_file_op_args *args)
{
	struct luo_test_file *test;
	struct luo_test_ser *ser;
	struct file *file;

	for (u32 ms = 0; ms < slow_retrieve; ms += 20) {
		args->retry = true;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (liveupdate_retrieve_cancelled(args))
			return -EBUSY;
		msleep(20);
	}
	args->retry = false;

	if (fail_retrieve) {
		args->retry = true;
		return -fail_retrieve;
	}

	ser = phys_to_virt(args->serialized_data);
	if (ser->magic != LUO_TEST_MAGIC)
		return -EIO;

	file = luo_test_make(args->handler == &luo_late_handler);
	if (IS_ERR(file)) {
		args->retry = true;
		return PTR_ERR(file);
	}

	test = file->private_data;
	strscpy(test->text, ser->text, sizeof(test->text));
	args->file = file;

	return 0;
}

static bool luo_test_can_finish(struct liveupdate_file_op_args *args)
{
	return !fail_finish;
}

static void luo_test_finish(struct liveupdate_file_op_args *args)
{
	kho_restore_free(phys_to_virt(args->serialized_data));
}

static const struct liveupdate_file_ops luo_test_ops = {
	.can_preserve = luo_test_can_preserve,
	.preserve = luo_test_preserve,
	.unpreserve = luo_test_unpreserve,
	.freeze = luo_test_freeze,
	.unfreeze = luo_test_unfreeze,
	.retrieve = luo_test_retrieve,
	.can_finish = luo_test_can_finish,
	.finish = luo_test_finish,
	.flags = LIVEUPDATE_FILE_REHEARSES,
	.owner = THIS_MODULE,
};

static struct liveupdate_file_handler luo_test_handler = {
	.ops = &luo_test_ops,
	.compatible = LUO_TEST_COMPATIBLE,
};

static struct liveupdate_file_handler luo_late_handler = {
	.ops = &luo_test_ops,
	.compatible = LUO_LATE_COMPATIBLE,
};

/* Each open file of debugfs makes one file: a shell reads byte by byte */
static ssize_t luo_test_create(struct file *file, char __user *to, size_t len,
			       loff_t *pos)
{
	char text[16];

	if (!file->private_data) {
		struct file *made;
		int fd;

		fd = get_unused_fd_flags(0);
		if (fd < 0)
			return fd;

		made = luo_test_make(debugfs_get_aux_num(file));
		if (IS_ERR(made)) {
			put_unused_fd(fd);
			return PTR_ERR(made);
		}

		fd_install(fd, made);
		file->private_data = (void *)(unsigned long)(fd + 1);
	}

	scnprintf(text, sizeof(text), "%lu\n",
		  (unsigned long)file->private_data - 1);

	return simple_read_from_buffer(to, len, pos, text, strlen(text));
}

static int luo_test_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;

	return 0;
}

static const struct file_operations luo_test_create_fops = {
	.owner = THIS_MODULE,
	.open = luo_test_open,
	.read = luo_test_create,
};

static ssize_t luo_test_register_late(struct file *file, const char __user *from,
				      size_t len, loff_t *pos)
{
	int err = liveupdate_register_file_handler(&luo_late_handler);

	return err ? err : len;
}

static const struct file_operations luo_test_register_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = luo_test_register_late,
};

static bool hold_rcu, rcu_held;

/*
 * An unmount waits for a grace period, in detach_mounts() for one after
 * ->unlink(), ->rmdir() or ->rename() and before d_delete() or d_move()
 */
static int luo_test_hold_rcu(void *data, u64 hold)
{
	int msecs;

	WRITE_ONCE(hold_rcu, hold);
	guard(rcu)();
	for (msecs = 0; READ_ONCE(hold_rcu) && msecs < 18000; msecs++) {
		WRITE_ONCE(rcu_held, true);
		mdelay(1);
	}
	WRITE_ONCE(rcu_held, false);

	return 0;
}

static int luo_test_rcu_held(void *data, u64 *held)
{
	*held = READ_ONCE(rcu_held);

	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(luo_test_hold_rcu_fops, luo_test_rcu_held,
			 luo_test_hold_rcu, "%llu\n");

static int luo_test_kho_fdt(void *data, u64 *phys)
{
	/* Only the test loads kernels */
	const struct kimage *image = READ_ONCE(kexec_image);

	*phys = image ? image->kho.fdt : 0;

	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(luo_test_kho_fdt_fops, luo_test_kho_fdt, NULL,
			 "%llu\n");

static int luo_test_break_kho_map(void *data, u64 val)
{
	const struct kimage *image = READ_ONCE(kexec_image);
	struct kho_radix_node *root;
	const void *map;
	int len;

	if (!image || !image->kho.fdt)
		return -ENOENT;

	map = fdt_getprop(phys_to_virt(image->kho.fdt), 0,
			  KHO_FDT_MEMORY_MAP_PROP_NAME, &len);
	if (!map || len != sizeof(u64))
		return -EINVAL;

	/* The keys below the last entry have the topmost bits of all */
	root = phys_to_virt(get_unaligned((const u64 *)map));
	for (int i = 0; i < ARRAY_SIZE(root->table); i++) {
		if (root->table[i]) {
			root->table[ARRAY_SIZE(root->table) - 1] = root->table[i];
			return 0;
		}
	}

	return -ENOENT;
}
DEFINE_DEBUGFS_ATTRIBUTE(luo_test_break_kho_map_fops, NULL,
			 luo_test_break_kho_map, "%llu\n");

static int luo_test_reserved(void *data, u64 *phys)
{
	phys_addr_t start, size;

	*phys = reserve_mem_find_by_name("liveupdate", &start, &size) ? start : 0;

	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(luo_test_reserved_fops, luo_test_reserved, NULL,
			 "%llu\n");

static int __init luo_test_init(void)
{
	struct dentry *dir;
	int err;

	if (!liveupdate_enabled())
		return 0;

	err = liveupdate_register_file_handler(&luo_test_handler);
	if (err)
		return err;

	dir = debugfs_create_dir("liveupdate_test", NULL);
	debugfs_create_file_aux_num("create", 0400, dir, NULL, false,
				    &luo_test_create_fops);
	debugfs_create_file_aux_num("create_late", 0400, dir, NULL, true,
				    &luo_test_create_fops);
	debugfs_create_file("register_late", 0200, dir, NULL,
			    &luo_test_register_fops);
	debugfs_create_file("kho_fdt", 0400, dir, NULL,
			    &luo_test_kho_fdt_fops);
	debugfs_create_file("break_kho_map", 0200, dir, NULL,
			    &luo_test_break_kho_map_fops);
	debugfs_create_file("reserved", 0400, dir, NULL,
			    &luo_test_reserved_fops);
	debugfs_create_file("hold_rcu", 0600, dir, NULL,
			    &luo_test_hold_rcu_fops);
	debugfs_create_u32("fail_preserve", 0600, dir, &fail_preserve);
	debugfs_create_u32("fail_freeze", 0600, dir, &fail_freeze);
	debugfs_create_u32("fail_retrieve", 0600, dir, &fail_retrieve);
	debugfs_create_u32("fail_finish", 0600, dir, &fail_finish);
	debugfs_create_u32("slow_retrieve", 0600, dir, &slow_retrieve);
	debugfs_create_u32("slow_freeze", 0600, dir, &slow_freeze);

	return 0;
}
late_initcall(luo_test_init);
