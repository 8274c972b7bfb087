# SPDX-License-Identifier: GPL-2.0-only
#
# "make help" tells what there is. Everything is made below build/ (BUILD=).

FLAVOR ?= fast
BUILD ?= build
UNITDIR = /usr/lib/systemd/system
export BUILD FLAVOR KERNEL_SRC

help:		## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24
	@echo
	@echo '  FLAVOR=fast|debug|debian  which kernel (tests run on debug)'
	@echo '  KERNEL_SRC=DIR        a Linux 7.3 tree to use instead of Debian'"'"'s'
	@echo "  TESTS='-g quick'      what make test passes to tests/check"
	@echo '  SHARD=1/8             which part of test-all, each of less than an hour'
	@echo '  BUILD=DIR             where to build (build)'

demo: FLAVOR = fast
demo: kernel	## two services keep their files over a kexec, in a QEMU guest
	@examples/demo/run

make_tree = env --default-signal=INT,QUIT scripts/bindgen & bindgen=$$!; \
	scripts/source && scripts/overlay; source=$$?; wait $$bindgen && test $$source = 0

# The source comes from the network and from one large archive, and the build begins with one
# long chain (Rust's library, bindings, the kernel crate): the other processors build what the
# tests need beside it.
test: FLAVOR = debug
test:		## run all tests in QEMU guests
	@scripts/packages
	@nice env --default-signal=INT,QUIT tests/check --tools $(TESTS) & tools=$$!; \
		{ $(make_tree); } && scripts/kernel $(FLAVOR); kernel=$$?; \
		wait $$tools && test $$kernel = 0 && tests/check $(TESTS)

test-posix: FLAVOR = debug
test-posix: kernel	## run fsx, stress-ng and pjdfstest on data/ (hours; goes on where it stopped)
	@tests/check -c -p 2 $(TESTS) posix

test-all: FLAVOR = debug
test-all: kernel	## run all of these and the long ones (hours; goes on where it stopped)
	@tests/check -c -p 2 -j 6 $(if $(SHARD),-s $(SHARD)) $(TESTS) kexecfs long posix

test-users: FLAVOR = fast
test-users: kernel	## run the programs that kexecfs is for, some in a Debian with systemd
	@tests/check -p 2 -g users $(TESTS) kexecfs users

bench-data: FLAVOR = fast
bench-data: kernel	## what data/ costs against tmpfs, in instructions
	@scripts/bench-data $(FLAVOR)

bench-linear: FLAVOR = fast
bench-linear: kernel	## whether time is linear in the number of files
	@scripts/bench-linear $(FLAVOR)

bench: FLAVOR = fast
bench: kernel	## what many descriptors, domains and files take, against LUO's ioctls and the stock kernel
	@scripts/bench $(FLAVOR)

bench-locks: FLAVOR = lockstat
bench-locks: kernel	## for which locks two services wait that work at once
	@scripts/bench-locks

kernel: tree	## build build/$(FLAVOR)/arch/x86/boot/bzImage
	@scripts/kernel $(FLAVOR)

shell: kernel	## an interactive guest with a domain mounted on /kx
	@scripts/guest --flavor $(FLAVOR) --plain --interactive -- /demo/shell

lint: tree	## check the style of the code
	@scripts/lint

machine: tree	## a Debian on a disk with the packages of make deb, and root's shell on its console
	@scripts/guest --disk --interactive

man:		## check the man pages, and compress them into build/man
	@scripts/man

install-man:	## install them below DESTDIR=
	@scripts/man "$(DESTDIR)"

deb: tree	## Debian packages of a kernel, of the units and the man pages, in build/deb
	@scripts/deb

tree:		## the patched kernel tree, build/linux
	@scripts/packages
	@$(make_tree)

install-overlay:	## lay the files and patches over KERNEL_SRC=DIR and stop
	@scripts/overlay --install "$(KERNEL_SRC)"

install-units:	## install the units of systemd/ below DESTDIR=
	install -d "$(DESTDIR)$(UNITDIR)/systemd-kexec.service.d" "$(DESTDIR)$(UNITDIR)/kexec.target.d" \
		"$(DESTDIR)$(UNITDIR)-preset" "$(DESTDIR)/usr/libexec"
	install -m 644 systemd/*.service systemd/*.mount "$(DESTDIR)$(UNITDIR)"
	install -m 644 systemd/systemd-kexec.service.d/* "$(DESTDIR)$(UNITDIR)/systemd-kexec.service.d"
	install -m 644 systemd/kexec.target.d/* "$(DESTDIR)$(UNITDIR)/kexec.target.d"
	install -m 644 systemd/*.preset "$(DESTDIR)$(UNITDIR)-preset"
	install -m 755 systemd/kexecfs-kexec "$(DESTDIR)/usr/libexec"

clean:		## remove what was built; the downloaded source stays
	rm -rf $(addprefix $(BUILD)/,fast debug debian lint initramfs deb disk log results)

distclean:	## remove all of build/
	rm -rf $(BUILD)

.PHONY: help demo test test-posix test-all test-users bench-data bench-linear bench kernel shell machine lint man install-man deb tree install-overlay install-units clean distclean
.NOTPARALLEL:
