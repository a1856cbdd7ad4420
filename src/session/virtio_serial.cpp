// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/virtio_serial.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>

#include "hypervisor/monitor_options.h"
#include "session/socket.h"

namespace xenoprof {
namespace {

using namespace std::chrono_literals;

// Words are one of these and a number.
constexpr std::string_view kDial = "xp-dial:";
constexpr std::string_view kHere = "xp-here:";
constexpr std::string_view kTalk = "xp-talk:";
constexpr std::size_t kNumber = 32;  // hexadecimal digits
constexpr std::size_t kWord = kDial.size() + kNumber;
constexpr auto kRepeat = 100ms;

std::string new_number() {
  std::array<unsigned char, kNumber / 2> random{};
  // So few bytes come whole once there are any (getrandom(2)).
  while (::getrandom(random.data(), random.size(), 0) < 0 && errno == EINTR) {
  }
  return fmt::format("{:02x}", fmt::join(random, ""));
}

void shift_in(std::string& last, char next) {
  if (last.size() == kWord) {
    last.erase(0, 1);
  }
  last += next;
}

class SerialChannel final : public Channel {
 public:
  explicit SerialChannel(FileDescriptor file) : file_(std::move(file)) {}

  Result<std::size_t> read_some(std::span<char> to) override {
    const ssize_t size = ::read(file_.get(), to.data(), to.size());
    if (size == 0) {
      return fail("the host hung up");
    }
    // A host that goes and another that comes at once leave no other trace.
    for (const char next : to.first(static_cast<std::size_t>(std::max<ssize_t>(size, 0)))) {
      shift_in(last_, next);
      if (last_.size() == kWord && last_.starts_with(kDial)) {
        return fail("the host dialled anew");
      }
    }
    return moved(size);
  }

  Result<std::size_t> write_some(std::span<const char> from) override {
    const ssize_t size = ::write(file_.get(), from.data(), from.size());
    if (size < 0 && errno == EAGAIN) {
      // Full, or nobody there (drivers/char/virtio_console.c).
      pollfd state{.fd = file_.get(), .events = 0, .revents = 0};
      if (::poll(&state, 1, 0) > 0 && (state.revents & POLLHUP) != 0) {
        return fail("the host hung up");
      }
      return 0;
    }
    return moved(size);
  }

  int fd() const override { return file_.get(); }

 private:
  FileDescriptor file_;
  std::string last_;  // the bytes that came last, as many as a word has
};

}  // namespace

Result<std::unique_ptr<Channel>> dial_serial(const std::filesystem::path& path,
                                             std::int32_t process, Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  auto socket = connect_unix_socket(path, process, deadline);
  if (!socket) {
    return std::unexpected(socket.error());
  }
  const std::string number = new_number();
  std::string last;
  for (auto repeat = Clock::now(); Clock::now() < deadline;) {
    // An agent that was still in another conversation has taken the word for a part of that.
    if (Clock::now() >= repeat) {
      if (!send_all(*socket, fmt::format("{}{}", kDial, number))) {
        break;
      }
      repeat = Clock::now() + kRepeat;
    }
    if (!wait_until(socket->get(), POLLIN, std::min(repeat, deadline))) {
      continue;
    }
    std::array<char, 4096> chunk;
    const ssize_t size = ::recv(socket->get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (size <= 0) {
      break;
    }
    for (const char next : std::span(chunk).first(static_cast<std::size_t>(size))) {
      shift_in(last, next);
      // The agent says no more until it has heard the last word.
      if (last.starts_with(kHere) && last.ends_with(number)) {
        if (!send_all(*socket, fmt::format("{}{}", kTalk, number))) {
          return fail("{}: {}", path.string(), std::strerror(errno));
        }
        return socket_channel(std::move(*socket));
      }
    }
  }
  return fail(
      "no agent answers at {}: start `xenoprof agent` in it; the port serves one host process at a "
      "time",
      path.string());
}

std::optional<std::filesystem::path> find_agent_port(const std::filesystem::path& root) {
  // Rather than /dev/virtio-ports, which is udev's.
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root / "sys/class/virtio-ports", error), end;
       !error && entry != end; entry.increment(error)) {
    std::ifstream file(entry->path() / "name");
    std::string name;
    if (std::getline(file, name) && name == kAgentPortName) {
      return root / "dev" / entry->path().filename();
    }
  }
  return std::nullopt;
}

Result<SerialPort> SerialPort::open(const std::filesystem::path& device) {
  FileDescriptor file(::open(device.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!file) {
    return fail("{}: {}{}", device.string(), std::strerror(errno),
                errno == EBUSY ? "; another agent runs here" : "");
  }
  return SerialPort(std::move(file));
}

Result<bool> SerialPort::meet() {
  for (;;) {
    // One by one: what follows the last word is the conversation.
    char next = 0;
    const ssize_t size = ::read(file_.get(), &next, 1);
    if (size == 0 || (size < 0 && errno == EAGAIN)) {
      return false;
    }
    if (size < 0 && errno != EINTR) {
      return fail("the port broke: {}", std::strerror(errno));
    }
    if (size < 0) {
      continue;
    }
    shift_in(last_, next);
    if (last_.size() < kWord) {
      continue;
    }
    const std::string_view number = std::string_view(last_).substr(kDial.size());
    if (last_.starts_with(kDial) && number != answered_) {
      // Not again if it was repeated: a second answer would get between the host and the
      // conversation.
      answered_ = number;
      const std::string answer = fmt::format("{}{}", kHere, number);
      if (::write(file_.get(), answer.data(), answer.size()) !=
          static_cast<ssize_t>(answer.size())) {
        answered_.clear();
      }
    } else if (!answered_.empty() && last_.starts_with(kTalk) && number == answered_) {
      return true;
    }
  }
}

std::unique_ptr<Channel> SerialPort::channel() && {
  return std::make_unique<SerialChannel>(std::move(file_));
}

}  // namespace xenoprof
