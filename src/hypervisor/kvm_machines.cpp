// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/kvm_machines.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string_view>

#include "hypervisor/domain_names.h"
#include "hypervisor/monitor_options.h"
#include "model/number.h"
#include "model/text.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

constexpr char kDebugfs[] = "sys/kernel/debug/kvm";
constexpr std::string_view kMachineFile = "anon_inode:kvm-vm";  // virt/kvm/kvm_main.c
// What is read at most of what a process, which may be hostile, says or holds.
constexpr std::size_t kCommandLine = 256 * 1024;
constexpr std::size_t kStatus = 16 * 1024;
constexpr std::size_t kUnixSockets = 16 * 1024 * 1024;
constexpr std::size_t kEntries = 65536;
constexpr std::string_view kHost = "host";  // the domain that these run on
constexpr std::string_view kFirecrackerApi = "/run/firecracker.socket";  // unless it is told

std::string read(const fs::path& path, std::size_t limit) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 16384> chunk;
  while (text.size() < limit && (file.read(chunk.data(), chunk.size()), file.gcount() > 0)) {
    text.append(chunk.data(), static_cast<std::size_t>(file.gcount()));
  }
  text.resize(std::min(text.size(), limit));
  return text;
}

std::string first_line(const fs::path& path) {
  const std::string text = read(path, 256);
  return text.substr(0, text.find('\n'));
}

// Calls `visit` with the name of each entry; an error when the folder cannot be read.
template <class Visit>
std::error_code each_entry(const fs::path& folder, Visit&& visit) {
  std::error_code error;
  std::size_t count = 0;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end && count < kEntries;
       entry.increment(error), ++count) {
    visit(entry->path().filename().string());
  }
  return error;
}

std::string link(const fs::path& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

fs::path folder_of(const fs::path& root, std::int32_t process) {
  return root / "proc" / std::to_string(process);
}

// `field`: "Tgid:", of which process a thread is, or "PPid:". 0: no such thread.
std::int32_t status_number(const fs::path& root, std::int32_t thread, std::string_view field) {
  const std::string status = read(folder_of(root, thread) / "status", kStatus);
  for (std::string_view rest = status; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.starts_with(field)) {
      line.remove_prefix(field.size());
      line.remove_prefix(std::min(line.find_first_not_of("\t "), line.size()));
      return number<std::int32_t>(line).value_or(0);
    }
  }
  return 0;
}

std::int32_t process_of(const fs::path& root, std::int32_t thread) {
  return status_number(root, thread, "Tgid:");
}

// What follows one of `prefixes` in `name`, up to `suffix`.
std::optional<std::uint32_t> numbered(std::string_view name,
                                      std::span<const std::string_view> prefixes,
                                      std::string_view suffix = {}) {
  for (const std::string_view prefix : prefixes) {
    if (name.starts_with(prefix) && name.ends_with(suffix) &&
        name.size() > prefix.size() + suffix.size()) {
      return number<std::uint32_t>(
          name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    }
  }
  return std::nullopt;
}

// By the names that monitors give their vCPU threads: QEMU's accel/kvm/kvm-accel-ops.c
// (debug-threads=on, libvirt's way), Firecracker's vstate/vcpu.rs, cloud-hypervisor's cpu.rs,
// crosvm's vcpu.rs.
std::vector<KvmVcpu> vcpus_by_name(const fs::path& root, std::int32_t process) {
  static constexpr std::array<std::string_view, 1> kQemu{"CPU "};
  static constexpr std::array<std::string_view, 3> kOthers{"fc_vcpu ", "vcpu", "crosvm_vcpu"};
  std::vector<KvmVcpu> vcpus;
  const fs::path threads = folder_of(root, process) / "task";
  (void)each_entry(threads, [&](const std::string& thread) {
    const std::string name = first_line(threads / thread / "comm");
    auto vcpu = numbered(name, kQemu, "/KVM");
    if (!vcpu) {
      vcpu = numbered(name, kOthers);
    }
    if (vcpu) {
      vcpus.push_back({.thread = number<std::int32_t>(thread).value_or(0), .number = *vcpu});
    }
  });
  std::ranges::sort(vcpus, {}, &KvmVcpu::number);
  return vcpus;
}

// A machine before its process was looked at. `told`: its vCPUs by KVM; thread 0: not told.
struct Found {
  std::int32_t process = 0;
  std::string folder;
  std::vector<KvmVcpu> told;
};

// KVM has a folder THREAD-FILE for each machine, of the thread and the file descriptor that it was
// made with, in it vcpuN (kvm_create_vm_debugfs, kvm_create_vcpu_debugfs in virt/kvm/kvm_main.c),
// and in that since Linux 6.0 `pid`, the thread that ran the vCPU last, 0 before any did.
std::optional<std::vector<Found>> found_by_kvm(const fs::path& root) {
  static constexpr std::array<std::string_view, 1> kVcpu{"vcpu"};
  std::vector<Found> all;
  const std::error_code error = each_entry(root / kDebugfs, [&](const std::string& name) {
    const auto creator = number<std::int32_t>(std::string_view(name).substr(0, name.find('-')));
    if (!creator) {
      return;  // a file with a sum over all machines
    }
    Found found{.folder = name};
    (void)each_entry(root / kDebugfs / name, [&](const std::string& entry) {
      if (const auto vcpu = numbered(entry, kVcpu)) {
        const auto thread =
            number<std::int32_t>(first_line(root / kDebugfs / name / entry / "pid"));
        found.told.push_back({.thread = thread.value_or(0), .number = *vcpu});
        // Rather than by the thread that made the machine, which may have ended.
        if (thread && found.process == 0) {
          found.process = process_of(root, *thread);
        }
      }
    });
    if (found.process == 0) {
      found.process = process_of(root, *creator);
    }
    if (found.process != 0) {
      std::ranges::sort(found.told, {}, &KvmVcpu::number);
      all.push_back(std::move(found));
    }
  });
  if (error) {
    return std::nullopt;
  }
  return all;
}

// Without KVM's word: the processes that hold a machine. `hidden` becomes true when some may not be
// looked at.
std::vector<Found> found_by_files(const fs::path& root, bool& hidden) {
  std::vector<Found> all;
  (void)each_entry(root / "proc", [&](const std::string& name) {
    const auto process = number<std::int32_t>(name);
    if (!process) {
      return;
    }
    bool holds = false;
    const fs::path files = folder_of(root, *process) / "fd";
    const std::error_code error = each_entry(files, [&](const std::string& file) {
      holds = holds || link(files / file) == kMachineFile;
    });
    hidden = hidden || error == std::errc::permission_denied;
    if (holds) {
      all.push_back({.process = *process});
    }
  });
  return all;
}

std::vector<KvmVcpu> vcpus_of(const fs::path& root, const Found& found) {
  // One that has not run yet has no thread, and that of one that was unplugged has ended.
  std::vector<KvmVcpu> told;
  std::ranges::copy_if(found.told, std::back_inserter(told), [&](const KvmVcpu& vcpu) {
    return vcpu.thread != 0 && process_of(root, vcpu.thread) == found.process;
  });
  if (!told.empty()) {
    return told;
  }
  std::vector<KvmVcpu> named = vcpus_by_name(root, found.process);
  // QEMU counts its vCPUs in the order of their APIC identifiers (hw/i386/topology.h).
  if (named.size() == found.told.size()) {
    for (std::size_t i = 0; i < named.size(); ++i) {
      named[i].number = found.told[i].number;
    }
  }
  return named;
}

// The unix sockets at which `process` listens, by inode. /proc/PID/net is of its own network.
std::map<std::string, std::string> listening_sockets(const fs::path& root, std::int32_t process) {
  // Address, references, protocol, flags, type, state, inode, path (net/unix/af_unix.c).
  constexpr std::size_t kFlags = 3;
  constexpr std::size_t kInode = 6;
  constexpr std::string_view kListens = "00010000";  // __SO_ACCEPTCON
  std::map<std::string, std::string> sockets;
  const std::string table = read(folder_of(root, process) / "net/unix", kUnixSockets);
  for (std::string_view rest = table; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    std::array<std::string_view, kInode + 1> fields;
    for (std::string_view& field : fields) {
      field = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(field.size(), line.size()));
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    }
    // A name that begins with @ is no file's.
    if (fields[kFlags] == kListens && !line.empty() && !line.starts_with('@')) {
      sockets[std::string(fields[kInode])] = line;
    }
  }
  return sockets;
}

// The socket's number, if `file` of the process is one.
std::string socket_inode(const fs::path& root, std::int32_t process, std::string_view file) {
  constexpr std::string_view kPrefix = "socket:[";
  const std::string target = link(folder_of(root, process) / "fd" / file);
  return target.starts_with(kPrefix) && target.ends_with(']')
             ? target.substr(kPrefix.size(), target.size() - kPrefix.size() - 1)
             : "";
}

std::string listening_at(const fs::path& root, std::int32_t process, unsigned file) {
  const auto sockets = listening_sockets(root, process);
  const auto found = sockets.find(socket_inode(root, process, std::to_string(file)));
  return found == sockets.end() ? "" : found->second;
}

// Firecracker is told its machine through one unix socket and offers the guest's vsock at another;
// it listens at no third.
std::string firecracker_vsock(const fs::path& root, std::int32_t process, std::string api) {
  if (api.empty()) {
    api = kFirecrackerApi;
  }
  const auto sockets = listening_sockets(root, process);
  std::string other;
  (void)each_entry(folder_of(root, process) / "fd", [&](const std::string& file) {
    const auto found = sockets.find(socket_inode(root, process, file));
    if (found != sockets.end() && found->second != api) {
      other = found->second;
    }
  });
  return other;
}

// Where we find what `process` calls `path`: it may run in a container or a jail.
fs::path as_seen_by(const fs::path& root, std::int32_t process, const fs::path& path) {
  if (path.empty()) {
    return {};
  }
  const fs::path folder = folder_of(root, process);
  if (path.is_relative()) {
    return folder / "cwd" / path;
  }
  const std::string its_root = link(folder / "root");
  const bool same = link(folder / "ns/mnt") == link(root / "proc/self/ns/mnt") &&
                    (its_root.empty() || its_root == "/");
  return same ? path : folder / "root" / path.relative_path();
}

KvmMachine describe(const fs::path& root, const Found& found, std::vector<KvmVcpu> vcpus) {
  KvmMachine machine{.process = found.process, .vcpus = std::move(vcpus), .folder = found.folder};
  const fs::path folder = folder_of(root, found.process);
  const std::string command_line = read(folder / "cmdline", kCommandLine);
  std::vector<std::string_view> arguments;
  for (std::string_view rest = command_line; !rest.empty();) {
    arguments.push_back(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(arguments.back().size() + 1, rest.size()));
  }
  const MonitorOptions options = parse_monitor_options(arguments);
  const std::string program = arguments.empty() ? first_line(folder / "comm")
                                                : fs::path(arguments.front()).filename().string();
  machine.name = fit_name(options.name.empty() ? program : options.name);
  machine.vsock = options.vsock;
  std::string vsock_socket = options.vsock_socket;
  const std::string thread =
      first_line(folder / "task" / std::to_string(machine.vcpus.front().thread) / "comm");
  if (vsock_socket.empty() && thread.starts_with("fc_vcpu")) {
    vsock_socket = firecracker_vsock(root, found.process, options.api_socket);
  }
  machine.vsock_socket = as_seen_by(root, found.process, vsock_socket);
  machine.serial = as_seen_by(
      root, found.process,
      options.serial_fd ? listening_at(root, found.process, *options.serial_fd) : options.serial);
  return machine;
}

// Gives the kernel's threads that bear a monitor's number to its machine: vhost's
// (drivers/vhost/vhost.c), KVM's timer (arch/x86/kvm/i8254.c) and its recovery of large pages
// (kvm_vm_create_worker_thread in virt/kvm/kvm_main.c).
void find_workers(const fs::path& root, std::vector<KvmMachine>& machines) {
  static constexpr std::array<std::string_view, 3> kWorkers{"vhost-", "kvm-pit/",
                                                            "kvm-nx-lpage-recovery-"};
  constexpr std::int32_t kThreadDaemon = 2;  // any process can call itself so: not its child
  (void)each_entry(root / "proc", [&](const std::string& name) {
    const auto thread = number<std::int32_t>(name);
    const auto monitor =
        thread ? numbered(first_line(root / "proc" / name / "comm"), kWorkers) : std::nullopt;
    if (!monitor || status_number(root, *thread, "PPid:") != kThreadDaemon) {
      return;
    }
    const std::int32_t process = process_of(root, static_cast<std::int32_t>(*monitor));
    if (const auto machine = std::ranges::find(machines, process, &KvmMachine::process);
        machine != machines.end()) {
      machine->workers.push_back(*thread);
    }
  });
}

// perf tells a sample's process, not which of its machines ran. Several in one are one, by whose
// agents none may learn of the others: they are seen from outside. Sorted by process.
void join_by_process(std::vector<KvmMachine>& machines) {
  std::vector<KvmMachine> joined;
  for (KvmMachine& machine : machines) {
    if (joined.empty() || joined.back().process != machine.process) {
      joined.push_back(std::move(machine));
      continue;
    }
    KvmMachine& one = joined.back();
    one.vcpus.insert(one.vcpus.end(), machine.vcpus.begin(), machine.vcpus.end());
    one.folder.clear();
    one.vsock.reset();
    one.vsock_socket.clear();
    one.serial.clear();
  }
  machines = std::move(joined);
}

// A monitor can say that its guest is another's: then nobody knows whose the agent there is.
void drop_claimed_twice(std::vector<KvmMachine>& machines) {
  std::map<std::uint32_t, int> claims;
  for (const KvmMachine& machine : machines) {
    if (machine.vsock) {
      ++claims[*machine.vsock];
    }
  }
  for (KvmMachine& machine : machines) {
    if (machine.vsock && claims[*machine.vsock] > 1) {
      machine.vsock.reset();
    }
  }
}

}  // namespace

Result<std::vector<KvmMachine>> list_kvm_machines(const fs::path& root) {
  std::error_code error;
  if (!fs::exists(root / "sys/module/kvm", error)) {
    return std::vector<KvmMachine>();
  }
  bool hidden = false;
  auto found = found_by_kvm(root);
  if (!found) {
    found = found_by_files(root, hidden);
  }
  std::vector<KvmMachine> machines;
  for (const Found& one : *found) {
    // Without vCPUs it is none yet: libvirt asks QEMU what it can do with such.
    if (std::vector<KvmVcpu> vcpus = vcpus_of(root, one); !vcpus.empty()) {
      machines.push_back(describe(root, one, std::move(vcpus)));
    }
  }
  if (machines.empty() && hidden) {
    return fail(
        "virtual machines, if there are any, are hidden: it takes root, or CAP_DAC_READ_SEARCH and "
        "a "
        "mounted debugfs to read /sys/kernel/debug/kvm");
  }
  std::ranges::sort(machines, {}, [](const KvmMachine& machine) {
    return std::pair(machine.process, machine.folder);
  });
  join_by_process(machines);
  find_workers(root, machines);
  std::vector<NumberedName> names;
  for (KvmMachine& machine : machines) {
    names.push_back({&machine.name, static_cast<std::uint64_t>(machine.process)});
  }
  make_names_unique(names, kHost);
  drop_claimed_twice(machines);
  return machines;
}

std::uint64_t TscRelation::guest(std::uint64_t host) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(Wide{host} * ratio >> fraction_bits) +
         static_cast<std::uint64_t>(offset);
}

Result<TscRelation> tsc_relation(const KvmMachine& machine, std::uint32_t vcpu,
                                 const fs::path& root) {
  // arch/x86/kvm/debugfs.c: the ratio's files are there only on CPUs that can scale.
  const fs::path folder = root / kDebugfs / machine.folder / fmt::format("vcpu{}", vcpu);
  const auto offset = number<std::int64_t>(first_line(folder / "tsc-offset"));
  if (machine.folder.empty() || !offset) {
    return fail(
        "{}: its clock cannot be told: {} is not readable, which takes a mounted debugfs and root "
        "or CAP_DAC_READ_SEARCH, and a machine that still runs",
        machine.name, (folder / "tsc-offset").string());
  }
  TscRelation relation{.offset = *offset};
  std::error_code error;
  if (fs::exists(folder / "tsc-scaling-ratio", error)) {
    const auto ratio = number<std::uint64_t>(first_line(folder / "tsc-scaling-ratio"));
    const auto bits = number<unsigned>(first_line(folder / "tsc-scaling-ratio-frac-bits"));
    if (!ratio || !bits || *bits >= 64) {
      return fail("{}: its clock cannot be told: {} has no ratio that could be one", machine.name,
                  (folder / "tsc-scaling-ratio").string());
    }
    relation.ratio = *ratio;
    relation.fraction_bits = *bits;
  }
  return relation;
}

}  // namespace xenoprof
