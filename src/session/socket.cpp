// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

class SocketChannel final : public Channel {
 public:
  explicit SocketChannel(FileDescriptor socket) : socket_(std::move(socket)) {}

  Result<std::size_t> read_some(std::span<char> to) override {
    const ssize_t size = ::recv(socket_.get(), to.data(), to.size(), MSG_DONTWAIT);
    if (size == 0) {
      return fail("the peer closed the connection");
    }
    return moved(size);
  }

  Result<std::size_t> write_some(std::span<const char> from) override {
    return moved(::send(socket_.get(), from.data(), from.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  }

  int fd() const override { return socket_.get(); }

 private:
  FileDescriptor socket_;
};

}  // namespace

Result<std::size_t> moved(ssize_t size) {
  if (size >= 0) {
    return static_cast<std::size_t>(size);
  }
  if (errno == EAGAIN || errno == EINTR) {
    return 0;
  }
  return fail("the connection broke: {}", std::strerror(errno));
}

std::unique_ptr<Channel> socket_channel(FileDescriptor socket) {
  return std::make_unique<SocketChannel>(std::move(socket));
}

bool wait_until(int file, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd wanted{.fd = file, .events = events, .revents = 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max(left, 0ms).count()));
    if (ready > 0) {
      return true;
    }
    if (ready == 0 || errno != EINTR) {
      return false;
    }
  }
}

bool send_all(const FileDescriptor& socket, std::string_view text) {
  return ::send(socket.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

Result<FileDescriptor> connect_socket(const sockaddr& address, socklen_t size,
                                      Clock::time_point deadline) {
  FileDescriptor socket(::socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    return fail("no socket can be had: {}", std::strerror(errno));
  }
  // A unix socket's queue that is full is EAGAIN at once.
  int error = 0;
  while (::connect(socket.get(), &address, size) != 0) {
    error = errno;
    if (error == EAGAIN && Clock::now() < deadline) {
      std::this_thread::sleep_for(10ms);
      continue;
    }
    if (error == EINPROGRESS || error == EINTR) {
      socklen_t length = sizeof error;
      if (!wait_until(socket.get(), POLLOUT, deadline)) {
        error = ETIMEDOUT;
      } else if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
      }
    }
    if (error != 0) {
      return fail("{}", std::strerror(error));
    }
    break;
  }
  return socket;
}

Result<FileDescriptor> connect_unix_socket(const std::filesystem::path& path, std::int32_t process,
                                           Clock::time_point deadline) {
  // By way of an open file, as an address has room for 107 characters, which /proc/PID/root and a
  // container's path outgrow.
  const FileDescriptor file(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!file) {
    return fail("{}: {}", path.string(), std::strerror(errno));
  }
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}", file.get());
  auto socket =
      connect_socket(reinterpret_cast<const sockaddr&>(address), sizeof address, deadline);
  if (!socket) {
    return fail("{}: {}", path.string(), socket.error().message);
  }
  // Who called listen(). For sockets that libvirt opens QEMU does so itself since 6.1
  // (socket_listen in util/qemu-sockets.c).
  ucred owner{};
  socklen_t size = sizeof owner;
  if (::getsockopt(socket->get(), SOL_SOCKET, SO_PEERCRED, &owner, &size) != 0 ||
      owner.pid != process) {
    return fail("{} is not a socket of process {}, but of {}", path.string(), process, owner.pid);
  }
  return socket;
}

}  // namespace xenoprof
