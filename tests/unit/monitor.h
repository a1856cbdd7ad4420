// SPDX-License-Identifier: GPL-2.0-or-later
// A virtual machine's monitor, as far as it listens: a unix socket of this process.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>
#include <stdexcept>

#include "files/file_descriptor.h"
#include "tests/unit/temporary_folder.h"

namespace xenoprof {

class Monitor {
 public:
  explicit Monitor(int queue = 4) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    if (!socket_ ||
        ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket_.get(), queue) != 0) {
      throw std::runtime_error("no socket can be made for the test");
    }
  }

  FileDescriptor accept() const {
    return FileDescriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

 private:
  TemporaryFolder folder_;

 public:
  const std::filesystem::path path = folder_ / "socket";

 private:
  FileDescriptor socket_;
};

}  // namespace xenoprof
