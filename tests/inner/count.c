// SPDX-License-Identifier: GPL-2.0-only
/*
 * A machine's firmware that counts, for the tests in which a virtual machine goes through a
 * kexec of its host. At its start it says "boot" and fills memory with a pattern. Then it
 * compares a part of that and says the next number, about four times a second. Numbers and
 * pattern are in memory, and it is the clock's interrupt that wakes it up: if memory, processor,
 * timer or interrupt controller do not go on as they were, it says something else, or nothing.
 *
 * scripts/guest-programs makes a flat image of it, which ends at 1 MiB.
 */

#define FIRST	0x1000000	/* of the pattern */
#define LENGTH	0x1000000
#define PART	0x100000

struct memory {
	volatile unsigned int clock;	/* the handler's, too */
	unsigned int count;
	unsigned long long idt[0x21];
};
#define memory ((struct memory *)0x100000)

asm(
"	.pushsection .reset, \"ax\"\n"		/* at 0xfff00 */
"	.code16\n"
"begin:	cli\n"
"	lgdtl	%cs:(0xff00 + gdtr - begin)\n"
"	movl	$0x11, %eax\n"
"	movl	%eax, %cr0\n"
"	ljmpl	$8, $start\n"
"	.balign	8\n"
"gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff\n"
"gdtr:	.word	23\n"
"	.long	gdt\n"
"	.org	0xf0\n"			/* where the processor begins */
"	jmp	begin\n"
"	.org	0x100\n"
"	.popsection\n"

"	.pushsection .text\n"
"	.code32\n"
"start:	movl	$16, %eax\n"
"	movl	%eax, %ds\n"
"	movl	%eax, %es\n"
"	movl	%eax, %ss\n"
"	movl	$0x80000, %esp\n"
"	call	main\n"

"on_clock:\n"
"	pushl	%eax\n"
"	incl	0x100000\n"
"	movb	$0x20, %al\n"
"	outb	%al, $0x20\n"
"	popl	%eax\n"
"	iret\n"
"	.popsection\n"
);

extern void on_clock(void);

static void outb(unsigned char value, unsigned short port)
{
	asm volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static unsigned char inb(unsigned short port)
{
	unsigned char value;

	asm volatile("inb %1, %0" : "=a"(value) : "d"(port));
	return value;
}

static void put(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(c, 0x3f8);
}

static void say(const char *text)
{
	while (*text)
		put(*text++);
}

static void say_number(unsigned int number)
{
	if (number >= 10)
		say_number(number / 10);
	put('0' + number % 10);
}

static unsigned int pattern(unsigned int address)
{
	return address * 2654435761u;
}

static void fill(void)
{
	unsigned int address;

	for (address = FIRST; address < FIRST + LENGTH; address += 4)
		*(unsigned int *)address = pattern(address);
}

static void compare(unsigned int address)
{
	unsigned int end = address + PART;

	for (; address < end; address += 4)
		if (*(volatile unsigned int *)address != pattern(address)) {
			say("BAD at ");
			say_number(address);
			put('\n');
			return;
		}
}

/* The clock's interrupt, 18.2 times a second, by the old controller at vector 0x20. */
static void start_clock(void)
{
	struct {
		unsigned short limit;
		unsigned int base;
	} __attribute__((packed)) idtr = { sizeof(memory->idt) - 1, (unsigned int)memory->idt };
	unsigned int handler = (unsigned int)on_clock;

	/* The local APIC has to be on and let it through, at LINT0. */
	*(volatile unsigned int *)0xfee000f0 = 0x1ff;
	*(volatile unsigned int *)0xfee00350 = 0x700;

	memory->idt[0x20] = (unsigned long long)((handler & 0xffff0000) | 0x8e00) << 32 |
			    8 << 16 | (handler & 0xffff);
	asm volatile("lidt %0" : : "m"(idtr));
	outb(0x11, 0x20);
	outb(0x20, 0x21);
	outb(0x04, 0x21);
	outb(0x01, 0x21);
	outb(0xfe, 0x21);
	outb(0x34, 0x43);
	outb(0, 0x40);
	outb(0, 0x40);
}

static void wait_for_clock(unsigned int clock)
{
	while ((int)(memory->clock - clock) < 0)
		asm volatile("sti; hlt; cli" : : : "memory");
}

void main(void)
{
	say("boot\n");
	fill();
	memory->clock = 0;
	memory->count = 0;
	start_clock();
	for (;;) {
		wait_for_clock(memory->clock + 4);
		compare(FIRST + memory->count * PART % LENGTH);
		say_number(++memory->count);
		put('\n');
	}
}
