// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/vsock.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "session/socket.h"

namespace xenoprof {
namespace {

sockaddr_vm vsock_address(std::uint32_t cid) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = kAgentPort;
  return address;
}

const sockaddr& generic(const sockaddr_vm& address) {
  return reinterpret_cast<const sockaddr&>(address);
}

// Whether there is a host to be reached, rather than only guests of our own.
bool has_host() {
  const FileDescriptor device(::open("/dev/vsock", O_RDONLY | O_CLOEXEC));
  unsigned cid = VMADDR_CID_ANY;
  return device && ::ioctl(device.get(), IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) == 0 &&
         cid > VMADDR_CID_HOST && cid != VMADDR_CID_ANY;
}

}  // namespace

Result<std::unique_ptr<Channel>> dial_vsock(std::uint32_t cid, Clock::duration limit) {
  const sockaddr_vm address = vsock_address(cid);
  auto socket = connect_socket(generic(address), sizeof address, Clock::now() + limit);
  if (!socket) {
    return fail("no agent answers over vsock ({}): start `xenoprof agent` in it",
                socket.error().message);
  }
  return socket_channel(std::move(*socket));
}

Result<std::unique_ptr<Channel>> dial_vsock_socket(const std::filesystem::path& path,
                                                   std::int32_t process, Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  auto socket = connect_unix_socket(path, process, deadline);
  if (!socket) {
    return std::unexpected(socket.error());
  }
  // "CONNECT PORT\n", answered by "OK PORT\n" when the guest has accepted and else by hanging up
  // (Firecracker's docs/vsock.md, cloud-hypervisor's docs/vsock.md).
  constexpr std::size_t kLongestAnswer = 32;
  std::string answer;
  if (send_all(*socket, fmt::format("CONNECT {}\n", kAgentPort))) {
    // One by one: what follows the line is the agent's.
    char next = 0;
    while (answer.size() < kLongestAnswer && next != '\n' &&
           wait_until(socket->get(), POLLIN, deadline) &&
           ::recv(socket->get(), &next, 1, MSG_DONTWAIT) == 1) {
      answer += next;
    }
  }
  if (!answer.starts_with("OK ") || !answer.ends_with('\n')) {
    return fail("no agent answers at {}: start `xenoprof agent` in it", path.string());
  }
  return socket_channel(std::move(*socket));
}

Result<FileDescriptor> listen_vsock() {
  if (!has_host()) {
    return FileDescriptor();
  }
  FileDescriptor listener(::socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_vm address = vsock_address(VMADDR_CID_ANY);
  if (!listener || ::bind(listener.get(), &generic(address), sizeof address) != 0 ||
      ::listen(listener.get(), 1) != 0) {
    return fail("port {} of vsock cannot be offered to the host: {}{}", kAgentPort,
                std::strerror(errno),
                errno == EADDRINUSE ? "; another agent runs here"
                : errno == EACCES   ? "; it takes root or CAP_NET_BIND_SERVICE"
                                    : "");
  }
  return listener;
}

std::unique_ptr<Channel> accept_vsock(const FileDescriptor& listener) {
  sockaddr_vm peer{};
  socklen_t size = sizeof peer;
  FileDescriptor socket(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                  SOCK_NONBLOCK | SOCK_CLOEXEC));
  // Programs of this guest, and guests of its own where it is a host itself, can dial too.
  if (!socket || peer.svm_cid != VMADDR_CID_HOST) {
    return nullptr;
  }
  return socket_channel(std::move(socket));
}

}  // namespace xenoprof
