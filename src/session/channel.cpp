// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/channel.h"

#include <google/protobuf/message_lite.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "session/socket.h"

namespace xenoprof {
namespace {

constexpr std::size_t kLengthSize = 4;

std::uint32_t read_length(const char* bytes) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    length |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return length;
}

}  // namespace

Result<std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>> local_channel() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return fail("no socket pair: {}", std::strerror(errno));
  }
  return std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>(
      socket_channel(FileDescriptor(fds[0])), socket_channel(FileDescriptor(fds[1])));
}

Connection::Connection(std::unique_ptr<Channel> channel, std::size_t largest_message)
    : channel_(std::move(channel)), largest_message_(largest_message) {}

Result<void> Connection::post(const google::protobuf::MessageLite& message) {
  const std::size_t begin = unsent_.size();
  unsent_.resize(begin + kLengthSize);
  if (!message.AppendToString(&unsent_)) {
    return fail("a message could not be encoded");
  }
  const std::size_t length = unsent_.size() - begin - kLengthSize;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    unsent_[begin + i] = static_cast<char>(length >> (8 * i) & 0xff);
  }
  return flush();
}

Result<void> Connection::flush() {
  std::size_t sent = 0;
  while (sent < unsent_.size()) {
    const auto written = channel_->write_some(std::span(unsent_).subspan(sent));
    if (!written) {
      return std::unexpected(written.error());
    }
    if (*written == 0) {
      break;
    }
    sent += *written;
  }
  unsent_.erase(0, sent);
  return {};
}

Result<void> Connection::send(const google::protobuf::MessageLite& message, Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  Result<void> sent = post(message);
  while (sent && !unsent_.empty()) {
    if (Clock::now() >= deadline) {
      return fail("the peer takes no messages");
    }
    // A short sleep rather than a wait on fd(): for a socket that one tells of data to read only.
    ::usleep(1000);
    sent = flush();
  }
  return sent;
}

Result<std::optional<std::string>> Connection::receive() {
  std::array<char, 65536> chunk;
  for (;;) {
    if (received_.size() >= kLengthSize) {
      const std::size_t length = read_length(received_.data());
      if (length > largest_message_) {
        return fail("the peer sent a message of {} bytes, more than the {} that can be one", length,
                    largest_message_);
      }
      if (received_.size() >= kLengthSize + length) {
        std::string message = received_.substr(kLengthSize, length);
        received_.erase(0, kLengthSize + length);
        return message;
      }
    }
    const auto size = channel_->read_some(chunk);
    if (!size) {
      return std::unexpected(size.error());
    }
    if (*size == 0) {
      return std::nullopt;
    }
    received_.append(chunk.data(), *size);
  }
}

void Connection::wait(Clock::duration limit) {
  const auto milliseconds =
      std::max(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count(),
               std::chrono::milliseconds::rep{0});
  pollfd wanted{.fd = channel_->fd(), .events = POLLIN, .revents = 0};
  if (::poll(&wanted, 1, static_cast<int>(milliseconds)) > 0) {
    channel_->acknowledge();
  }
}

}  // namespace xenoprof
