// SPDX-License-Identifier: GPL-2.0-or-later
// A TCP receiver that is behind its sender all the time: slow_receiver BUFFER READ MIB reads MIB
// mebibytes READ bytes at a time out of a socket with SO_RCVBUF=BUFFER. Both ends are here, one
// after the other, so that a run does not depend on how fast two processes are. Of the device it
// takes what addresses of 127.0.0.0/8 take, the loopback.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, SEND_BUFFER = 1024 * 1024 };

static char chunk[CHUNK];

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "slow_receiver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set_size(int fd, int option, int bytes)
{
	check(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes) == 0, "setsockopt");
}

int main(int argc, char **argv)
{
	const int buffer = argc == 5 ? atoi(argv[1]) : 0;
	const int size = argc == 5 ? atoi(argv[2]) : 0;
	const long long lead = argc == 5 ? atoll(argv[3]) : 0;
	const long long total = argc == 5 ? atoll(argv[4]) << 20 : 0;
	const int one = 1;

	if (buffer < 1 || size < 1 || size > CHUNK || total < 1) {
		fprintf(stderr, "usage: slow_receiver BUFFER RECORD LEAD MIB\n");
		return 2;
	}
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof address;
	const int listener = socket(AF_INET, SOCK_STREAM, 0);
	const int sender = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(listener >= 0 && sender >= 0, "socket");
	// Before listen(): the window's scale is agreed upon with the connection.
	set_size(listener, SO_RCVBUFFORCE, buffer);
	set_size(sender, SO_SNDBUFFORCE, SEND_BUFFER);
	check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
	check(listen(listener, 1) == 0, "listen");
	check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
	check(connect(sender, (struct sockaddr *)&address, length) == 0, "connect");
	const int receiver = accept(listener, NULL, NULL);

	check(receiver >= 0, "accept");
	check(setsockopt(sender, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "setsockopt");
	for (long long sent = 0, done = 0; done < total;) {
		while (sent < done + lead) {
			check(send(sender, chunk, size, 0) == size, "send");
			sent += size;
		}
		const ssize_t got = recv(receiver, chunk, size, 0);

		check(got > 0, "recv");
		done += got;
	}
	return 0;
}
