// SPDX-License-Identifier: GPL-2.0-or-later
#include "control.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "execd/channel.h"

namespace xenoprof::lab {
namespace {

using Clock = std::chrono::steady_clock;

Result<Channel> connect_to(const Endpoint& endpoint) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fail("cannot make a socket: {}", std::strerror(errno));
  Channel channel(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // Non-blocking; on loopback it succeeds or is refused before the first poll returns.
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS)
    return fail("domain {} cannot be reached: {}", endpoint.domain, std::strerror(errno));
  pollfd waiting{fd, POLLOUT, 0};
  int error = 0;
  socklen_t size = sizeof error;
  poll(&waiting, 1, 5'000);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
    return fail("domain {} cannot be reached: {}", endpoint.domain, std::strerror(error));
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return channel;
}

WindowSize window_of(int fd) {
  winsize size{};
  WindowSize window;
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    window.rows = size.ws_row;
    window.columns = size.ws_col;
  }
  return window;
}

// Signals of this process as a file descriptor, for as long as the object lives.
class SignalSource {
 public:
  explicit SignalSource(const std::vector<int>& signals) {
    sigemptyset(&set_);
    for (const int signal : signals)
      sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~SignalSource() {
    close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalSource(const SignalSource&) = delete;
  SignalSource& operator=(const SignalSource&) = delete;

  int fd() const { return fd_; }
  int next() const {
    signalfd_siginfo info{};
    return read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
  int fd_ = -1;
};

// False when nobody reads it any more; the command's output is then dropped, as by a closed pipe.
bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EAGAIN) {
      pollfd waiting{fd, POLLOUT, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

class Run {
 public:
  Run(Channel channel, Streams streams, std::string domain)
      : channel_(std::move(channel)), streams_(streams), domain_(std::move(domain)) {}

  Result<ExitStatus> until_end(const StartRequest& request, const ExecOptions& options) {
    const SignalSource signals(options.forward_signals
                                   ? std::vector{SIGINT, SIGTERM, SIGHUP, SIGWINCH}
                                   : std::vector<int>{});
    const auto deadline = options.limit ? Clock::now() + *options.limit : Clock::time_point::max();
    channel_.send(FrameType::kStart, encode_start(request));
    if (streams_.input < 0)
      channel_.send(FrameType::kStdinEnd, "");
    while (true) {
      if (auto moved = channel_.flush(); !moved)
        return lost(moved.error());
      std::array<pollfd, 3> polled = {
          pollfd{channel_.socket(),
                 static_cast<short>(POLLIN | (channel_.has_unsent() ? POLLOUT : 0)), 0},
          pollfd{channel_.wants_more_output() ? streams_.input : -1, POLLIN, 0},
          pollfd{signals.fd(), POLLIN, 0}};
      int wait_ms = -1;
      if (options.limit) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0)
          return fail("'{}' in domain {} took longer than {} ms", request.arguments.front(),
                      domain_, options.limit->count());
        wait_ms = static_cast<int>(left.count());
      }
      if (poll(polled.data(), polled.size(), wait_ms) < 0 && errno != EINTR)
        return fail("poll: {}", std::strerror(errno));
      if (polled[2].revents != 0) {
        handle_signal(signals.next());
        if (ends_asked_ == kMostEndsAsked)
          return fail("'{}' in domain {} was told {} times to end and did not",
                      request.arguments.front(), domain_, kMostEndsAsked);
      }
      if (polled[1].revents != 0)
        forward_input();
      if (polled[0].revents == 0)
        continue;
      const auto received = channel_.receive();
      // What came before the end is still whole.
      auto exit_status = handle_frames();
      if (!exit_status)
        return std::unexpected(exit_status.error());
      if (*exit_status)
        return **exit_status;
      if (!received)
        return lost(received.error());
    }
  }

 private:
  std::unexpected<Error> lost(const Error& error) const {
    return fail(
        "the connection to domain {} was lost ({}); `xenoprof lab status` shows whether "
        "the lab lives",
        domain_, error.message);
  }

  void handle_signal(int signal) {
    if (signal == SIGWINCH)
      channel_.send(FrameType::kWindow, encode_window(window_of(streams_.input)));
    else if (signal != 0) {
      channel_.send(FrameType::kSignal, std::string(1, static_cast<char>(signal)));
      ++ends_asked_;
    }
  }

  void forward_input() {
    std::array<char, 65536> bytes;
    const ssize_t n = read(streams_.input, bytes.data(), bytes.size());
    if (n > 0) {
      channel_.send(FrameType::kStdin, {bytes.data(), static_cast<std::size_t>(n)});
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      channel_.send(FrameType::kStdinEnd, "");
      streams_.input = -1;
    }
  }

  Result<std::optional<ExitStatus>> handle_frames() {
    while (true) {
      auto frame = channel_.next();
      if (!frame)
        return fail("domain {} sent nonsense: {}", domain_, frame.error().message);
      if (!*frame)
        return std::nullopt;
      switch ((*frame)->type) {
        case FrameType::kStdout:
          deliver(streams_.output, (*frame)->payload);
          break;
        case FrameType::kStderr:
          deliver(streams_.error, (*frame)->payload);
          break;
        case FrameType::kExit: {
          const auto status = decode_exit((*frame)->payload);
          if (!status)
            return std::unexpected(status.error());
          return *status;
        }
        case FrameType::kRefused:
          return fail("domain {} refused the command: {}", domain_, (*frame)->payload);
        default:
          break;
      }
    }
  }

  static void deliver(int& fd, std::string_view bytes) {
    if (fd >= 0 && !write_all(fd, bytes))
      fd = -1;
  }

  // After so many signals nobody wants to wait any longer, and the domain may be gone.
  static constexpr unsigned kMostEndsAsked = 3;

  Channel channel_;
  Streams streams_;
  std::string domain_;
  unsigned ends_asked_ = 0;
};

std::string content_of(int fd) {
  std::string text;
  std::array<char, 65536> bytes;
  lseek(fd, 0, SEEK_SET);
  for (ssize_t n; (n = read(fd, bytes.data(), bytes.size())) > 0;)
    text.append(bytes.data(), static_cast<std::size_t>(n));
  return text;
}

}  // namespace

Endpoint endpoint_of(const pb::Lab& lab, const pb::Domain& domain) {
  return {domain.name(), static_cast<std::uint16_t>(domain.port()), lab.token()};
}

Result<ExitStatus> exec_in_domain(const Endpoint& endpoint,
                                  const std::vector<std::string>& arguments, Streams streams,
                                  const ExecOptions& options) {
  auto channel = connect_to(endpoint);
  if (!channel)
    return std::unexpected(channel.error());
  StartRequest request{endpoint.token, arguments, options.environment, options.terminal, {}};
  if (options.terminal)
    request.window = window_of(streams.input);
  if (encode_start(request).size() > kMaxFramePayload)
    return fail("the command line for domain {} is longer than {} bytes", endpoint.domain,
                kMaxFramePayload);
  return Run(std::move(*channel), streams, endpoint.domain).until_end(request, options);
}

Result<CapturedRun> capture_in_domain(const Endpoint& endpoint,
                                      const std::vector<std::string>& arguments,
                                      std::chrono::milliseconds limit) {
  const int output = memfd_create("output", MFD_CLOEXEC);
  const int error = memfd_create("error", MFD_CLOEXEC);
  ExecOptions options;
  options.limit = limit;
  const auto status = exec_in_domain(endpoint, arguments, {-1, output, error}, options);
  CapturedRun run;
  if (status)
    run = {*status, content_of(output), content_of(error)};
  close(output);
  close(error);
  if (!status)
    return std::unexpected(status.error());
  return run;
}

}  // namespace xenoprof::lab
