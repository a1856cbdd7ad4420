// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/agent_channel.h"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "hypervisor/monitor_options.h"
#include "session/virtio_serial.h"
#include "session/vsock.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

constexpr auto kDialLimit = 3s;  // for each way

Result<void> watch(const FileDescriptor& epoll, int file, std::uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = file}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, file, &event) != 0) {
    return fail("epoll refuses a file: {}", std::strerror(errno));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Channel>> dial_agent(const KvmMachine& machine) {
  Result<std::unique_ptr<Channel>> dialled = fail(
      "it has no way to an agent: it takes a vsock device or a virtio-serial port {} on a unix "
      "socket",
      kAgentPortName);
  if (machine.vsock) {
    dialled = dial_vsock(*machine.vsock, kDialLimit);
  }
  if (!dialled && !machine.vsock_socket.empty()) {
    dialled = dial_vsock_socket(machine.vsock_socket, machine.process, kDialLimit);
  }
  if (!dialled && !machine.serial.empty()) {
    dialled = dial_serial(machine.serial, machine.process, kDialLimit);
  }
  return dialled;
}

Result<AgentListener> AgentListener::open() {
  auto vsock = listen_vsock();
  if (!vsock) {
    return std::unexpected(vsock.error());
  }
  auto port = find_agent_port();
  if (!*vsock && !port) {
    return fail(
        "no host can reach an agent here: give this machine a vsock device or a virtio-serial port "
        "{}",
        kAgentPortName);
  }
  return AgentListener(std::move(*vsock), std::move(port));
}

Result<std::unique_ptr<Channel>> AgentListener::accept() {
  const FileDescriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return fail("no epoll: {}", std::strerror(errno));
  }
  if (vsock_) {
    if (auto watched = watch(epoll, vsock_.get(), EPOLLIN); !watched) {
      return std::unexpected(watched.error());
    }
  }
  // Opened anew each time, which throws away what the last conversation left.
  std::optional<SerialPort> port;
  if (port_) {
    auto opened = SerialPort::open(*port_);
    if (opened) {
      port = std::move(*opened);
      if (auto watched = watch(epoll, port->fd(), EPOLLIN | EPOLLET); !watched) {
        return std::unexpected(watched.error());
      }
    } else if (!vsock_) {
      return std::unexpected(opened.error());
    }
  }
  for (;;) {
    epoll_event event{};
    if (::epoll_wait(epoll.get(), &event, 1, -1) != 1) {
      if (errno != EINTR) {
        return fail("epoll: {}", std::strerror(errno));
      }
    } else if (port && event.data.fd == port->fd()) {
      const auto met = port->meet();
      if (met && *met) {
        return std::move(*port).channel();
      }
      if (!met && !vsock_) {
        return std::unexpected(met.error());
      }
      if (!met) {
        port.reset();  // it was unplugged, or broke: there is the other way
      }
    } else if (auto channel = accept_vsock(vsock_)) {
      return channel;
    }
  }
}

}  // namespace xenoprof
