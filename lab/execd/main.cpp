// SPDX-License-Identifier: GPL-2.0-or-later
// The control server inside each domain of a lab: it runs the commands of `xenoprof lab exec`.
// A static program, because it must run before and without everything else in the domain.
// Usage: xenoprof-lab-execd PORT TOKEN-FILE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "execd/channel.h"
#include "execd/frame.h"

namespace xenoprof::lab {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kStartTimeout = std::chrono::seconds(20);
constexpr auto kTerminateGrace = std::chrono::seconds(2);
constexpr int kCommandNotFound = 127;
constexpr int kCommandNotRunnable = 126;

// Compares in a time that does not depend on where the strings differ.
bool same_secret(std::string_view left, std::string_view right) {
  unsigned difference = left.size() == right.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
    difference |= static_cast<unsigned char>(left[i]) ^ static_cast<unsigned char>(right[i]);
  return difference == 0;
}

struct Command {
  pid_t pid = -1;
  int input = -1;   // -1 once closed
  int output = -1;  // the terminal's master too
  int error = -1;   // -1 with a terminal
};

void close_and_forget(int& fd) {
  if (fd >= 0)
    close(fd);
  fd = -1;
}

[[noreturn]] void become_command(const StartRequest& request) {
  for (const std::string& assignment : request.environment)
    putenv(strdup(assignment.c_str()));
  std::vector<char*> arguments;
  for (const std::string& argument : request.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // Not only our own: what a shell starts with & ignores SIGINT, and so did we until here.
  for (int signal = 1; signal < NSIG; ++signal)
    std::signal(signal, SIG_DFL);
  execvp(arguments[0], arguments.data());
  const int error = errno;
  dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], std::strerror(error));
  _exit(error == ENOENT ? kCommandNotFound : kCommandNotRunnable);
}

Result<Command> start_on_terminal(const StartRequest& request) {
  Command command;
  winsize size{request.window.rows, request.window.columns, 0, 0};
  command.pid = forkpty(&command.output, nullptr, nullptr, &size);
  if (command.pid < 0)
    return fail("cannot start a terminal: {}", std::strerror(errno));
  if (command.pid == 0)
    become_command(request);
  command.input = dup(command.output);
  return command;
}

Result<Command> start_on_pipes(const StartRequest& request) {
  std::array<std::array<int, 2>, 3> pipes{};
  for (auto& pipe : pipes)
    if (pipe2(pipe.data(), O_CLOEXEC) != 0)
      return fail("cannot make a pipe: {}", std::strerror(errno));
  Command command;
  command.pid = fork();
  if (command.pid < 0)
    return fail("cannot start a process: {}", std::strerror(errno));
  if (command.pid == 0) {
    setsid();
    dup2(pipes[0][0], STDIN_FILENO);
    dup2(pipes[1][1], STDOUT_FILENO);
    dup2(pipes[2][1], STDERR_FILENO);
    become_command(request);
  }
  close(pipes[0][0]);
  close(pipes[1][1]);
  close(pipes[2][1]);
  command.input = pipes[0][1];
  command.output = pipes[1][0];
  command.error = pipes[2][0];
  return command;
}

Result<StartRequest> receive_start(Channel& channel, std::string_view token) {
  const auto deadline = Clock::now() + kStartTimeout;
  while (true) {
    auto frame = channel.next();
    if (!frame)
      return std::unexpected(frame.error());
    if (*frame) {
      if ((*frame)->type != FrameType::kStart)
        return fail("the first message is no start message");
      auto request = decode_start((*frame)->payload);
      if (request && !same_secret(request->token, token))
        return fail("the token is wrong");
      return request;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd waiting{channel.socket(), POLLIN, 0};
    if (left <= 0 || poll(&waiting, 1, static_cast<int>(left)) <= 0)
      return fail("no start message came");
    if (auto received = channel.receive(); !received)
      return std::unexpected(received.error());
  }
}

// Moves data between one command and its connection until either ends.
class Session {
 public:
  Session(Channel& channel, Command command, bool terminal)
      : channel_(channel), command_(command), terminal_(terminal) {
    for (const int fd : {command_.input, command_.output, command_.error})
      if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  ~Session() {
    close_and_forget(command_.input);
    close_and_forget(command_.output);
    close_and_forget(command_.error);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void run() {
    // Input that came together with the start message.
    if (!handle_received()) {
      end_command();
      return;
    }
    write_input();
    while (true) {
      int status = 0;
      const bool ended = waitpid(command_.pid, &status, WNOHANG) == command_.pid;
      if (ended) {
        finish(status);
        return;
      }
      if (!step()) {
        end_command();
        return;
      }
    }
  }

 private:
  // False when the connection is gone.
  bool step() {
    std::vector<pollfd> polled;
    short socket_events = POLLRDHUP;
    if (input_.size() < kMaxFramePayload)
      socket_events |= POLLIN;
    if (channel_.has_unsent())
      socket_events |= POLLOUT;
    polled.push_back({channel_.socket(), socket_events, 0});
    if (channel_.wants_more_output()) {
      for (const int fd : {command_.output, command_.error})
        if (fd >= 0)
          polled.push_back({fd, POLLIN, 0});
    }
    if (command_.input >= 0 && !input_.empty())
      polled.push_back({command_.input, POLLOUT, 0});
    // The end of a command that left its output open to others is seen only by waitpid(); SIGCHLD
    // interrupts this wait, and the limit covers one that came just before it.
    if (poll(polled.data(), polled.size(), 100) < 0)
      return errno == EINTR;
    if ((polled[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
      return false;
    if ((polled[0].revents & POLLIN) != 0 && (!channel_.receive() || !handle_received()))
      return false;
    if (channel_.wants_more_output()) {
      forward(command_.output, FrameType::kStdout);
      forward(command_.error, FrameType::kStderr);
    }
    write_input();
    return channel_.flush().has_value();
  }

  // False when the peer does not speak the protocol.
  bool handle_received() {
    while (true) {
      auto frame = channel_.next();
      if (!frame)
        return false;
      if (!*frame)
        return true;
      handle(**frame);
    }
  }

  void handle(const Frame& frame) {
    switch (frame.type) {
      case FrameType::kStdin:
        if (command_.input >= 0)
          input_ += frame.payload;
        break;
      case FrameType::kStdinEnd:
        input_ended_ = true;
        break;
      case FrameType::kWindow:
        if (auto window = decode_window(frame.payload); window && terminal_) {
          winsize size{window->rows, window->columns, 0, 0};
          ioctl(command_.output, TIOCSWINSZ, &size);
        }
        break;
      case FrameType::kSignal:
        if (frame.payload.size() == 1)
          kill(-command_.pid, static_cast<unsigned char>(frame.payload[0]));
        break;
      default:
        break;
    }
  }

  void write_input() {
    while (command_.input >= 0 && !input_.empty()) {
      const ssize_t n = write(command_.input, input_.data(), input_.size());
      if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
      if (n < 0) {
        input_.clear();
        close_and_forget(command_.input);
        return;
      }
      input_.erase(0, static_cast<std::size_t>(n));
    }
    if (!input_ended_ || command_.input < 0)
      return;
    if (terminal_) {
      const char end_of_input = 4;  // a terminal has no other way to say it: Ctrl-D
      [[maybe_unused]] const ssize_t n = write(command_.input, &end_of_input, 1);
    }
    close_and_forget(command_.input);
  }

  // One read, so that a flood on one stream does not starve the rest. False when there was nothing.
  bool forward(int& fd, FrameType type) {
    if (fd < 0)
      return false;
    std::array<char, 65536> bytes;
    const ssize_t n = read(fd, bytes.data(), bytes.size());
    if (n > 0) {
      channel_.send(type, {bytes.data(), static_cast<std::size_t>(n)});
      return true;
    }
    // A terminal's master reads EIO once the last user of the terminal is gone.
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
      close_and_forget(fd);
    return false;
  }

  void finish(int status) {
    // What was written before the command's end is less than this: whoever goes on writing in the
    // background does not hold up the end.
    constexpr int kMostReads = 64;
    bool more = true;
    for (int reads = 0; more && reads < kMostReads; ++reads) {
      more = forward(command_.output, FrameType::kStdout);
      more = forward(command_.error, FrameType::kStderr) || more;
      if (!channel_.wants_more_output() && !channel_.drain(60'000))
        return;
    }
    ExitStatus exit_status;
    exit_status.signaled = WIFSIGNALED(status);
    exit_status.code =
        static_cast<std::uint8_t>(exit_status.signaled ? WTERMSIG(status) : WEXITSTATUS(status));
    channel_.send(FrameType::kExit, encode_exit(exit_status));
    [[maybe_unused]] const auto drained = channel_.drain(60'000);
  }

  // The connection dropped: nobody waits for the command any more.
  void end_command() const {
    kill(-command_.pid, SIGTERM);
    const auto deadline = Clock::now() + kTerminateGrace;
    while (Clock::now() < deadline) {
      if (waitpid(command_.pid, nullptr, WNOHANG) == command_.pid)
        break;
      usleep(20'000);
    }
    kill(-command_.pid, SIGKILL);
  }

  Channel& channel_;
  Command command_;
  bool terminal_;
  std::string input_;
  bool input_ended_ = false;
};

void serve(int connection, std::string_view token) {
  int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Channel channel(connection);
  const auto refuse = [&channel](const Error& error) {
    channel.send(FrameType::kRefused, error.message);
    [[maybe_unused]] const auto drained = channel.drain(5'000);
  };
  const auto request = receive_start(channel, token);
  if (!request) {
    refuse(request.error());
    return;
  }
  const auto command = request->terminal ? start_on_terminal(*request) : start_on_pipes(*request);
  if (!command) {
    refuse(command.error());
    return;
  }
  Session(channel, *command, request->terminal).run();
}

int listen_on(std::uint16_t port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 64) != 0) {
    std::fprintf(stderr, "xenoprof-lab-execd: port %u: %s\n", port, std::strerror(errno));
    return -1;
  }
  return listener;
}

int run_server(std::uint16_t port, const char* token_file) {
  std::string token;
  std::ifstream(token_file) >> token;
  if (token.empty()) {
    std::fprintf(stderr, "xenoprof-lab-execd: %s holds no token\n", token_file);
    return 1;
  }
  std::signal(SIGPIPE, SIG_IGN);
  struct sigaction reap{};
  reap.sa_handler = [](int) {};
  reap.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &reap, nullptr);
  const int listener = listen_on(port);
  if (listener < 0)
    return 1;
  while (true) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0)
      continue;
    const pid_t child = fork();
    if (child == 0) {
      close(listener);
      reap.sa_flags = 0;
      sigaction(SIGCHLD, &reap, nullptr);
      serve(connection, token);
      _exit(0);
    }
    close(connection);
  }
}

}  // namespace
}  // namespace xenoprof::lab

int main(int argc, char** argv) {
  const int port = argc == 3 ? std::atoi(argv[1]) : 0;
  if (port < 1 || port > 65535) {
    std::fputs("usage: xenoprof-lab-execd PORT TOKEN-FILE\n", stderr);
    return 2;
  }
  return xenoprof::lab::run_server(static_cast<std::uint16_t>(port), argv[2]);
}
