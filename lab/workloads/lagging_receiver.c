/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lagging_receiver BUFFER RECORD LEAD MIB: a TCP receiver that is LEAD bytes behind its sender all
 * the time. It reads MIB mebibytes, RECORD bytes at a time, out of a socket with SO_RCVBUF=BUFFER;
 * each record was sent on its own. Both ends are here and take turns, so that what a run costs does
 * not depend on how fast two processes are. The packets go over the loopback device.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_RECORD (64 * 1024)
/* The sender must never wait: its buffer holds the whole lead, in records of any size. */
#define MAX_LEAD (2 * 1024 * 1024)
#define SEND_BUFFER (64 * 1024 * 1024)

static char record[MAX_RECORD];

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "lagging_receiver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set(int fd, int level, int option, int value)
{
	check(setsockopt(fd, level, option, &value, sizeof(value)) == 0, "setsockopt");
}

int main(int argc, char **argv)
{
	const int buffer = argc == 5 ? atoi(argv[1]) : 0;
	const int size = argc == 5 ? atoi(argv[2]) : 0;
	const long long lead = argc == 5 ? atoll(argv[3]) : 0;
	const long long total = argc == 5 ? atoll(argv[4]) << 20 : 0;

	if (buffer < 1 || size < 1 || size > MAX_RECORD || lead < size || lead > MAX_LEAD ||
	    total < 1) {
		fprintf(stderr, "usage: lagging_receiver BUFFER RECORD LEAD MIB\n");
		return 2;
	}
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	const int listener = socket(AF_INET, SOCK_STREAM, 0);
	const int sender = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(listener >= 0 && sender >= 0, "socket");
	/* Before listen(): the window's scale is agreed upon with the connection. */
	set(listener, SOL_SOCKET, SO_RCVBUFFORCE, buffer);
	set(sender, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER);
	set(sender, IPPROTO_TCP, TCP_NODELAY, 1);
	check(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	check(listen(listener, 1) == 0, "listen");
	check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
	check(connect(sender, (struct sockaddr *)&address, length) == 0, "connect");
	const int receiver = accept(listener, NULL, NULL);

	check(receiver >= 0, "accept");
	for (long long sent = 0, done = 0; done < total;) {
		while (sent < done + lead) {
			check(send(sender, record, size, 0) == size, "send");
			sent += size;
		}
		const ssize_t got = recv(receiver, record, size, 0);

		check(got > 0, "recv");
		done += got;
	}
	printf("%s MiB received\n", argv[4]);
	return 0;
}
