// SPDX-License-Identifier: GPL-2.0

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/memfd.h>
#include <linux/minmax.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/uio.h>

__rust_helper const struct cred *rust_helper_current_cred(void)
{
	return current_cred();
}

__rust_helper void rust_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

__rust_helper bool rust_helper_inode_is_open_for_write(const struct inode *inode)
{
	return inode_is_open_for_write(inode);
}

__rust_helper bool rust_helper_is_file_hugepages(const struct file *file)
{
	return is_file_hugepages(file);
}

/* 0 if there are no huge pages */
__rust_helper size_t rust_helper_hpage_pmd_size(void)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	if (has_transparent_hugepage())
		return min(HPAGE_PMD_SIZE, PAGE_SIZE << MAX_PAGECACHE_ORDER);
#endif
	return 0;
}

__rust_helper void rust_helper_iov_iter_truncate(struct iov_iter *i, u64 count)
{
	iov_iter_truncate(i, count);
}

/* VMA flags are a bitmap, which mk_vma_flags() makes. */
__rust_helper struct file *
rust_helper_shmem_kernel_file_setup_noreserve(const char *name, loff_t size)
{
	return shmem_kernel_file_setup(name, size,
				       mk_vma_flags(VMA_NORESERVE_BIT));
}

__rust_helper struct page *
rust_helper_shmem_read_mapping_page(struct address_space *mapping, pgoff_t index)
{
	return shmem_read_mapping_page(mapping, index);
}

__rust_helper void rust_helper_memcpy_from_folio(char *to, struct folio *folio,
						 size_t offset, size_t len)
{
	memcpy_from_folio(to, folio, offset, len);
}

__rust_helper size_t rust_helper_offset_in_folio(const struct folio *folio,
						 loff_t pos)
{
	return offset_in_folio(folio, pos);
}

__rust_helper bool rust_helper_folio_contain_hwpoisoned_page(struct folio *folio)
{
	return folio_contain_hwpoisoned_page(folio);
}

__rust_helper void rust_helper_memcpy_to_page(struct page *page, size_t offset,
					      const char *from, size_t len)
{
	memcpy_to_page(page, offset, from, len);
}

__rust_helper void rust_helper_put_page(struct page *page)
{
	put_page(page);
}

/* The checks that do_mmap() makes of the mapped file, for its backing file */
__rust_helper int rust_helper_memfd_check_seals_vma(struct file *file,
						    struct vm_area_struct *vma)
{
	vma_flags_t flags = vma->flags;
	int err = memfd_check_seals_mmap(file, &flags);

	if (!err && !vma_flags_test(&flags, VMA_MAYWRITE_BIT))
		vm_flags_clear(vma, VM_MAYWRITE);

	return err;
}

/*
 * Waits until a pipe is not empty, as splice_from_pipe_next() does, and returns the
 * number of bytes in it, or 0 if it has no writer any more.
 */
__rust_helper ssize_t rust_helper_pipe_wait_bytes(struct pipe_inode_info *pipe,
						  bool nowait)
{
	ssize_t bytes = 0;
	pipe_index_t i;

	pipe_lock(pipe);
	while (pipe_is_empty(pipe) && pipe->writers && !bytes) {
		if (nowait)
			bytes = -EAGAIN;
		else if (signal_pending(current))
			bytes = -ERESTARTSYS;
		else
			pipe_wait_readable(pipe);
	}
	for (i = pipe->tail; i != pipe->head; i++)
		bytes += pipe_buf(pipe, i)->len;
	/* Empty buffers are not the end of the data: the reader of the pipe drops them */
	if (!bytes && !pipe_is_empty(pipe))
		bytes = 1;
	pipe_unlock(pipe);

	return bytes;
}
