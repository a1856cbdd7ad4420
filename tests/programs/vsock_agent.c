/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vsock_agent PORT garbage|flood|silent: an agent that no host should trust. It takes one
 * connection and says nonsense, or the beginning of an endless message without end, or nothing at
 * all.
 */
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_port = argc > 1 ? (unsigned)atoi(argv[1]) : 0,
		.svm_cid = VMADDR_CID_ANY,
	};
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
	unsigned char bytes[4096];

	if (argc < 3 || listener < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(listener, 1) != 0)
		return 1;
	int host = accept(listener, NULL, NULL);

	if (strcmp(argv[2], "silent") == 0)
		for (;;)
			pause();
	/* A length of 15 MiB, which a message may have. */
	memset(bytes, strcmp(argv[2], "flood") == 0 ? 0x0a : 0xff, sizeof bytes);
	if (strcmp(argv[2], "flood") == 0)
		memcpy(bytes, "\0\0\xf0\0", 4);
	while (write(host, bytes, sizeof bytes) > 0)
		;
	return 0;
}
