// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "image.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr auto kStartTimeout = std::chrono::seconds(20);

std::vector<std::string> command_of(const MachineSpec& spec, const LabFolder& folder,
                                    const fs::path& root) {
  const fs::path libraries = root / "usr/lib/x86_64-linux-gnu";
  std::string network = "user,id=net0,restrict=on,net=10.0.2.0/24";
  for (const Forward& forward : spec.forwards)
    network +=
        fmt::format(",hostfwd=tcp:127.0.0.1:{}-{}:{}", forward.port, forward.address, kControlPort);
  // QEMU's MWAIT faults at the hints that Xen gives it on some models.
  const std::string cpu = spec.cpu + spec.cpu_features + ",-monitor";
  // The root's own loader and libraries: this system's may be of another version.
  std::vector<std::string> command = {
      root / "usr/lib64/ld-linux-x86-64.so.2",
      "--library-path",
      libraries,
      root / "usr/bin/qemu-system-x86_64",
      "-name",
      "lab-" + folder.path.filename().string() + ",process=xenoprof-lab-vm",
      "-L",
      root / "usr/share/qemu",
      "-L",
      root / "usr/share/seabios",
      "-no-user-config",
      "-nodefaults",
      "-no-reboot",
      "-display",
      "none",
      "-machine",
      "pc",
      "-accel",
      "tcg,thread=multi",
      "-cpu",
      cpu,
      "-smp",
      std::to_string(spec.cpus),
      "-m",
      std::to_string(spec.memory_mib),
      "-kernel",
      spec.kernel,
      "-initrd",
      spec.initrd,
      "-append",
      spec.command_line,
      "-serial",
      "file:" + folder.console_log().string(),
      "-netdev",
      network,
      "-device",
      "virtio-net-pci,netdev=net0,romfile=",
      "-pidfile",
      folder.pid_file()};
  // e1000e: TCP segmentation and checksum offload; QEMU cuts the segments, so that what goes over
  // the wire are packets of the MTU.
  if (spec.wire)
    command.insert(command.end(),
                   {"-netdev",
                    fmt::format("stream,id=wire,server={},addr.type=unix,addr.path={}",
                                spec.wire->listens ? "on" : "off", spec.wire->socket),
                    "-device", "e1000e,netdev=wire,romfile=,mac=" + spec.wire->mac});
  if (!spec.plugin.empty())
    command.insert(command.end(), {"-plugin", spec.plugin});
  return command;
}

// `alive` stays open for as long as the machine runs.
[[noreturn]] void become_machine(const std::vector<std::string>& command, const LabFolder& folder,
                                 const fs::path& root, int alive) {
  setsid();
  const int input = open("/dev/null", O_RDONLY);
  const int log =
      open(folder.machine_log().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  constexpr int kAlive = STDERR_FILENO + 1;
  dup2(input, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  dup2(alive, kAlive);
  // A descriptor of whoever called us, a test's pipe say, must not live as long as the machine.
  closefrom(kAlive + 1);
  setenv("QEMU_MODULE_DIR", (root / "usr/lib/x86_64-linux-gnu/qemu").c_str(), 1);
  if (chdir(folder.path.c_str()) != 0)
    _exit(1);
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], std::strerror(errno));
  _exit(1);
}

// Until the machine has its devices and forwards, which is when it writes its pid, or ended.
bool wait_for_pid(const LabFolder& folder, int alive) {
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  while (std::chrono::steady_clock::now() < deadline) {
    pollfd end{alive, POLLIN, 0};
    const bool ended = poll(&end, 1, 20) > 0;
    if (machine_pid(folder))
      return true;
    if (ended)
      return false;
  }
  return false;
}

}  // namespace

Result<fs::path> pmu_plugin(const fs::path& prefix) {
  fs::path plugin = prefix / "lib/xenoprof-pmu.so";
  std::error_code error;
  if (!fs::exists(plugin, error))
    return fail("{} is not built; the machine has no performance counters", plugin.string());
  return plugin;
}

Result<void> start_machine(const MachineSpec& spec, const LabFolder& folder,
                           const fs::path& tools_root) {
  std::error_code error;
  fs::remove(folder.pid_file(), error);
  fs::remove(folder.console_log(), error);
  const auto command = command_of(spec, folder, tools_root);
  std::array<int, 2> alive{};
  if (pipe2(alive.data(), O_CLOEXEC) != 0)
    return fail("cannot make a pipe: {}", std::strerror(errno));
  // The machine is a grandchild, so that its end leaves no zombie behind a long-lived caller.
  const pid_t child = fork();
  if (child == 0) {
    if (fork() == 0)
      become_machine(command, folder, tools_root, alive[1]);
    _exit(0);
  }
  close(alive[1]);
  if (child > 0)
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  const bool started = wait_for_pid(folder, alive[0]);
  close(alive[0]);
  if (!started)
    return fail("QEMU did not start:\n{}", last_lines(folder.machine_log(), 10));
  return {};
}

Result<std::vector<std::uint16_t>> free_ports(std::size_t count) {
  std::vector<std::uint16_t> ports;
  std::vector<int> sockets;
  for (std::size_t i = 0; i < count; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockets.push_back(fd);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0)
      ports.push_back(ntohs(address.sin_port));
  }
  // Held until all are known, so that no port comes twice.
  for (const int fd : sockets)
    close(fd);
  if (ports.size() != count)
    return fail("cannot find a free port on 127.0.0.1: {}", std::strerror(errno));
  return ports;
}

}  // namespace xenoprof::lab
