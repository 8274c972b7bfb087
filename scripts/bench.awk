# SPDX-License-Identifier: GPL-2.0-only
#
# The table, and the plots, of what scripts/bench has measured: lines of
# KERNEL,WHAT,COUNT,OPERATION,ITEMS,VALUE. The last line counts what falls short.

BEGIN { FS = "," }

{
	value[$1, $2, $3, $4] = $6
	if (!(($1, $2, $3) in seen)) {
		seen[$1, $2, $3] = 1
		sizes[$1, $2] = sizes[$1, $2] " " $3
	}
}

# The largest size, or the one before it.
function size(kernel, what, before,    list, n, i, best, next_best)
{
	n = split(sizes[kernel, what], list, " ")
	for (i = 1; i <= n; i++)
		if (list[i] + 0 > best) { next_best = best; best = list[i] + 0 }
		else if (list[i] + 0 > next_best) next_best = list[i] + 0
	return before ? next_best : best
}

# What an operation takes beyond that with nothing, for the two that a kexec has in any case.
function took(kernel, what, count, operation)
{
	if (!((kernel, what, count, operation) in value)) return ""
	if (operation == "hook" || operation == "init")
		return value[kernel, what, count, operation] - value[kernel, "none", 0, operation]
	return value[kernel, what, count, operation]
}

# For each of its items; an empty string if it was not measured.
function each(kernel, what, operation,    count)
{
	count = size(kernel, what, 0)
	if (!count || took(kernel, what, count, operation) == "") return ""
	return took(kernel, what, count, operation) / count
}

# The slope of the last two sizes, in logarithms.
function exponent(kernel, what, operation,    a, b, t, u)
{
	a = size(kernel, what, 1); b = size(kernel, what, 0)
	t = took(kernel, what, a, operation); u = took(kernel, what, b, operation)
	if (!a || t == "" || u == "" || t <= 0 || u <= 0) return ""
	return log(u / t) / log(b / a)
}

# What another item takes: what comes once does not count.
function slope(kernel, what, from, to,    a, b, t, u)
{
	a = size(kernel, what, 1); b = size(kernel, what, 0)
	if (!a || !((kernel, what, b, from) in value)) return ""
	t = value[kernel, what, a, from] - (to == "" ? 0 : value[kernel, what, a, to])
	u = value[kernel, what, b, from] - (to == "" ? 0 : value[kernel, what, b, to])
	return (u - t) / (b - a)
}

# What an operation takes for another item.
function more(kernel, what, operation)
{
	return slope(kernel, what, operation, "")
}

# What an operation by files takes for another item.
function further(text, what, operation, bound)
{
	line(text, more("kexecfs", what, operation), bound, "", "", "")
}

function number(n, format) { return n == "" ? "-" : sprintf(format, n) }

function head(title)
{
	printf "\n%-42s %10s %10s %10s %10s %6s\n", title, "measured", "bound", "stock", "exponent", "bound"
}

# A line: what was measured, the bound of it, the same by ioctls on the stock kernel, the exponent, and
# its bound. Bounds that are empty are none.
function line(text, n, bound, stock, grows, grows_bound,    verdict)
{
	if (n == "") return
	lines++
	if ((bound != "" && n > bound * 1.0005) || (grows != "" && grows_bound != "" && grows > grows_bound + 0.005)) {
		verdict = "  falls short"
		short++
	}
	printf "%-42s %10s %10s %10s %10s %6s%s\n", text, number(n, "%.0f"), number(bound, "%.0f"),
		number(stock, "%.0f"), number(grows, "%.2f"), number(grows_bound, "%.2f"), verdict
}

# An operation by ioctls: BOUND in instructions for each item.
function ioctls(text, what, operation, bound, grows_bound)
{
	line(text, each("kexecfs", what, operation), bound, each("stock", what, operation),
		exponent("kexecfs", what, operation), grows_bound)
}

# How much an operation by files takes more for each item than one by ioctls on the same kernel.
function above(text, what, operation, by_ioctl, by_ioctl_operation, bound,    mine, other)
{
	mine = each("kexecfs", what, operation)
	other = each("kexecfs", by_ioctl, by_ioctl_operation)
	if (mine == "" || other == "") return
	line(text, mine - other, bound, "", exponent("kexecfs", what, operation), "")
}

# Services with files of their own against a broker, which takes at least TIMES as much.
function broker(text, operation, is_each, times,    mine, other, count)
{
	count = size("kexecfs", "services", 0)
	mine = took("kexecfs", "services", count, operation)
	other = took("kexecfs", "broker", count, operation)
	if (mine == "" || other == "") return
	line(text ", by the broker", other / (is_each ? count : 1), "", "", "", "")
	line(text ", by files", mine / (is_each ? count : 1), times == "" ? "" : other / times / count, "", "", "")
}

# What a service takes by itself with two processors, in time: at most a tenth of the broker's.
function alone(text, operation,    mine, other)
{
	mine = took("kexecfs", "services-smp", size("kexecfs", "services-smp", 0), operation)
	other = took("kexecfs", "broker-smp", size("kexecfs", "broker-smp", 0), operation)
	if (mine == "" || other == "") return
	line(text ", by the broker", other, "", "", "", "")
	line(text ", by files", mine, other / 10, "", "", "")
}

# An operation that only files have.
function files(text, what, operation, bound, grows_bound)
{
	line(text, each("kexecfs", what, operation), bound, "", exponent("kexecfs", what, operation), grows_bound)
}

END {
	head("LUO's ioctls, instructions for each")
	ioctls("preserve", "ioctl", "preserve", 8000, 1.05)
	ioctls("close the session: unpreserve", "ioctl", "drop", "", "")
	ioctls("retrieve", "ioctl", "restore", 7250, 1.05)
	ioctls("finish, of a file", "ioctl", "finish", 1600, "")
	ioctls("create a session", "sessions", "create", 5667, 1.1)
	ioctls("claim a session", "sessions", "claim", 4667, 1.1)
	ioctls("load at the first open, of a session", "sessions", "load", 2667, 1.1)
	ioctls("reboot hook, of a file", "ioctl", "hook", 140, "")
	ioctls("reboot hook, of a session", "sessions", "hook", 300, "")
	ioctls("reboot to init, of a file", "ioctl", "init", 800, 1.1)
	ioctls("reboot to init, pages scattered", "ioctl-scattered", "init", 2750, 1.1)

	head("files above ioctls, instructions for each")
	above("preserve, fd_preserve kept open", "files", "preserve", "ioctl", "preserve", 1000)
	above("preserve: open, write, close", "files", "preserve-opened", "ioctl", "preserve", 4000)
	above("restore: open, read, close", "files", "restore", "ioctl", "restore", 4500)
	above("finish, of a file", "files", "finish", "ioctl", "finish", 300)
	above("drop the domain, of a file", "files", "drop", "ioctl", "drop", 300)
	above("reboot to init, of a file", "files", "init", "ioctl", "init", "")
	above("reboot to init, pages scattered", "scattered", "init", "ioctl-scattered", "init", "")
	if (each("kexecfs", "ioctl", "hook") != "")
		line("reboot hook, prepared, in hundredths of it",
			each("kexecfs", "files", "hook") * 100 / each("kexecfs", "ioctl", "hook"), 110, "", "", "")

	head("files, instructions for each")
	files("unpreserve", "files", "unpreserve", "", 1.1)
	files("list fd_preserve, of a file", "files", "list", "", 1.1)
	files("list fd_restore, of a file", "files", "list-names", "", 1.1)
	files("prepare, of a descriptor", "files", "prepare", "", 1.1)
	files("read the records at boot, of a descriptor", "files", "read", "", 1.1)
	files("load LUO's sessions, of a descriptor", "files", "load", "", 1.1)
	files("mount, of a descriptor", "files", "mount", 750, 1.1)
	files("mount a new domain", "domains", "mount-new", "", 1.1)
	files("preserve in a domain of its own", "domains", "preserve-opened", "", 1.1)
	files("prepare a domain of one", "domains", "prepare", "", 1.1)
	files("reboot hook, of a domain", "domains", "hook", "", 1.1)
	files("reboot to init, of a domain", "domains", "init", "", 1.1)
	files("load, of a domain", "domains", "load", "", 1.1)
	files("mount a domain that was handed over", "domains", "mount", "", 1.1)
	files("restore from a domain of one", "domains", "restore", "", 1.1)
	files("finish a domain of one", "domains", "finish", "", 1.1)

	head("services of 8 descriptors, all at once")
	broker("preserve: instructions of each", "preserve", 1, 1.4)
	broker("restore: instructions of each", "restore", 1, 1.3)
	broker("preserve: the median waits", "preserve-median", 0, "")
	broker("restore: the median waits", "restore-median", 0, "")

	head("its own latency, 2 processors, ticks")
	alone("preserve, median", "preserve-own-median")
	alone("preserve, worst", "preserve-own-worst")
	alone("restore, median", "restore-own-median")
	alone("restore, worst", "restore-own-worst")

	head("small files of data/, instructions for each")
	files("prepare", "tree", "prepare", "", 1.1)
	files("reboot hook", "tree", "hook", "", "")
	files("reboot to init", "tree", "init", "", 1.1)
	files("read the records at boot", "tree", "read", "", 1.1)
	files("mount", "tree", "mount", 750, 1.1)
	files("first look-up of data/", "tree", "look", "", 1.1)
	files("list", "tree", "list", "", 1.1)

	head("memory, instructions for each MiB")
	ioctls("preserve by ioctl", "ioctl-memfd", "preserve", "", "")
	files("preserve by a file", "memfd", "preserve", "", "")
	files("prepare data/", "data", "prepare", "", "")
	line("reboot hook, ioctl", more("kexecfs", "ioctl-memfd", "hook"), "", more("stock", "ioctl-memfd", "hook"), "", "")
	line("reboot hook, descriptor", more("kexecfs", "memfd", "hook"), 100, "", "", "")
	line("reboot hook, data/", more("kexecfs", "data", "hook"), 100, "", "", "")
	ioctls("reboot to init, ioctl", "ioctl-memfd", "init", "", "")
	files("reboot to init, descriptor", "memfd", "init", "", "")
	files("reboot to init, data/", "data", "init", "", "")
	ioctls("retrieve by ioctl", "ioctl-memfd", "restore", "", "")
	files("restore by a file", "memfd", "restore", "", "")
	files("first open in data/", "data", "restore", "", "")

	# What is moved out of the scratch areas, a page or two, would be most of it.
	head("another MiB in huge pages, instructions")
	further("preserve by a file", "huge-memfd", "preserve-opened", "")
	further("prepare data/, huge=always", "huge-data", "prepare", "")
	further("prepare data/, huge=within_size", "within-data", "prepare", "")
	further("reboot hook, descriptor", "huge-memfd", "hook", 100)
	further("reboot hook, data/", "huge-data", "hook", 100)
	further("reboot to init, descriptor", "huge-memfd", "init", "")
	further("reboot to init, data/", "huge-data", "init", "")
	further("restore by a file", "huge-memfd", "restore", "")
	further("first open in data/, huge=always", "huge-data", "restore", "")
	further("first open in data/, huge=within_size", "within-data", "restore", "")

	head("bytes of memory for each")
	line("a preserved one-page memfd, by ioctl", slope("kexecfs", "ioctl", "before", "preserved"), "",
		slope("stock", "ioctl", "before", "preserved"), "", "")
	if (slope("kexecfs", "files", "before", "preserved") != "")
		line("the same by a file, above that", slope("kexecfs", "files", "before", "preserved") - \
			slope("kexecfs", "ioctl", "before", "preserved"), 640, "", "", "")
	line("an unused domain", slope("kexecfs", "domains", "before", "mounted"), 16384, "", "", "")
	line("a session", slope("kexecfs", "sessions", "before", "mounted"), "",
		slope("stock", "sessions", "before", "mounted"), "", "")
	line("records of a descriptor", slope("kexecfs", "files", "records", ""), "", "", "", "")
	line("records of a small file", slope("kexecfs", "tree", "records", ""), 256, "", "", "")
	line("a small file in data/", slope("kexecfs", "tree", "before", "created"), "", "", "", "")

	printf "\n%d of %d lines fall short\n", short, lines
	plot("preserve", "preserve: instructions by the number of descriptors",
		"stock ioctl preserve;kexecfs ioctl preserve;kexecfs files preserve;kexecfs files preserve-opened")
	plot("restore", "restore: instructions by the number of descriptors",
		"stock ioctl restore;kexecfs ioctl restore;kexecfs files restore")
	plot("init", "reboot to init above an empty one: instructions by the number of descriptors, pages scattered",
		"stock ioctl-scattered init;kexecfs ioctl-scattered init;kexecfs scattered init")
	plot("domains", "create: instructions by the number of sessions or domains",
		"stock sessions create;kexecfs sessions create;kexecfs domains mount-new")
}

# A plot with two logarithmic axes, of series KERNEL WHAT OPERATION.
function plot(name, title, series,    file, all, n, i, part, list, m, j, x, y, points, min_x, max_x, min_y, max_y, d)
{
	file = plots "/" name ".svg"
	n = split(series, all, ";")
	min_x = min_y = 1e30; max_x = max_y = 0
	for (i = 1; i <= n; i++) {
		split(all[i], part, " ")
		m = split(sizes[part[1], part[2]], list, " ")
		for (j = 1; j <= m; j++) {
			y = took(part[1], part[2], list[j], part[3])
			if (y == "" || y <= 0) continue
			if (list[j] + 0 < min_x) min_x = list[j] + 0
			if (list[j] + 0 > max_x) max_x = list[j] + 0
			if (y < min_y) min_y = y + 0
			if (y > max_y) max_y = y + 0
		}
	}
	if (!max_x || min_x == max_x) return
	min_y = 10 ^ int(log(min_y) / log(10)); max_y = 10 ^ (int(log(max_y) / log(10)) + 1)
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" font-size=\"12\">" > file
	print "<!-- SPDX-License-Identifier: GPL-2.0-only -->" > file
	print "<rect width=\"640\" height=\"400\" fill=\"white\"/>" > file
	printf "<text x=\"20\" y=\"20\">%s</text>\n", title > file
	for (d = min_y; d <= max_y; d *= 10) {
		y = 360 - 320 * log(d / min_y) / log(max_y / min_y)
		printf "<path d=\"M70 %.1fH430\" stroke=\"#ccc\"/><text x=\"64\" y=\"%.1f\" text-anchor=\"end\">%.0e</text>\n", y, y + 4, d > file
	}
	for (d = min_x; d <= max_x; d *= 10) {
		x = 70 + 360 * log(d / min_x) / log(max_x / min_x)
		printf "<path d=\"M%.1f 40V360\" stroke=\"#ccc\"/><text x=\"%.1f\" y=\"378\" text-anchor=\"middle\">%d</text>\n", x, x, d > file
	}
	split("#c00 #06c #080 #a0a", colour, " ")
	for (i = 1; i <= n; i++) {
		split(all[i], part, " ")
		m = split(sizes[part[1], part[2]], list, " ")
		sort_numbers(list, m)
		points = ""
		for (j = 1; j <= m; j++) {
			y = took(part[1], part[2], list[j], part[3])
			if (y == "" || y <= 0) continue
			points = points sprintf(" %.1f,%.1f", 70 + 360 * log(list[j] / min_x) / log(max_x / min_x),
				360 - 320 * log(y / min_y) / log(max_y / min_y))
		}
		if (points == "") continue
		printf "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", substr(points, 2), colour[i] > file
		printf "<text x=\"440\" y=\"%d\" fill=\"%s\">%s</text>\n", 60 + 20 * i, colour[i], all[i] > file
	}
	print "</svg>" > file
	close(file)
}

function sort_numbers(list, n,    i, j, t)
{
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) {
			t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
		}
}
