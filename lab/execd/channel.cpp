// SPDX-License-Identifier: GPL-2.0-or-later
#include "execd/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace xenoprof::lab {

Channel::Channel(int socket) : socket_(socket) {
  fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
}

Channel::~Channel() {
  if (socket_ >= 0)
    close(socket_);
}

Channel::Channel(Channel&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      unsent_(std::move(other.unsent_)),
      reader_(std::move(other.reader_)) {}

void Channel::send(FrameType type, std::string_view payload) {
  unsent_ += encode_frame(type, payload);
}

Result<void> Channel::flush() {
  std::size_t sent = 0;
  while (sent < unsent_.size()) {
    const ssize_t n = ::send(socket_, unsent_.data() + sent, unsent_.size() - sent, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR)
        continue;
      if (errno == EAGAIN)
        break;
      return fail("the connection broke: {}", std::strerror(errno));
    }
    sent += static_cast<std::size_t>(n);
  }
  unsent_.erase(0, sent);
  return {};
}

Result<void> Channel::receive() {
  std::array<char, 65536> bytes;
  const ssize_t n = recv(socket_, bytes.data(), bytes.size(), 0);
  if (n > 0) {
    reader_.feed({bytes.data(), static_cast<std::size_t>(n)});
    return {};
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return {};
  if (n == 0)
    return fail("the connection was closed");
  return fail("the connection broke: {}", std::strerror(errno));
}

Result<void> Channel::drain(int timeout_ms) {
  while (has_unsent()) {
    if (auto flushed = flush(); !flushed)
      return flushed;
    if (!has_unsent())
      break;
    pollfd waiting{socket_, POLLOUT, 0};
    if (poll(&waiting, 1, timeout_ms) <= 0)
      return fail("the connection does not take data");
  }
  return {};
}

}  // namespace xenoprof::lab
