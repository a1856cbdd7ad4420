// SPDX-License-Identifier: GPL-2.0-or-later
// Connected stream sockets: made within a time limit, and as channels.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "files/file_descriptor.h"
#include "session/channel.h"

namespace xenoprof {

// What a read or write that does not wait has moved, by its result and errno.
Result<std::size_t> moved(ssize_t size);

std::unique_ptr<Channel> socket_channel(FileDescriptor socket);

// Waits until `file` can be read, or with POLLOUT written; false: not before `deadline`.
bool wait_until(int file, short events, Clock::time_point deadline);

// All of `text`, which must not be more than what a socket takes at once, to one that is connected.
bool send_all(const FileDescriptor& socket, std::string_view text);

// Both of these make sockets that do not block.
Result<FileDescriptor> connect_socket(const sockaddr& address, socklen_t size,
                                      Clock::time_point deadline);
// The socket must be one at which `process` listens: a path alone can lead to anybody.
Result<FileDescriptor> connect_unix_socket(const std::filesystem::path& path, std::int32_t process,
                                           Clock::time_point deadline);

}  // namespace xenoprof
