// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/synthesize.h"

#include <sys/mman.h>
#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "model/number.h"

namespace xenoprof::perf {
namespace {

namespace fs = std::filesystem;

// Where x86-64 Linux may have its text and modules (Documentation/arch/x86/x86_64/mm.rst).
constexpr std::uint64_t kTextStart = 0xffffffff80000000u;
constexpr std::uint64_t kModulesEnd = 0xffffffffff000000u;

// The entries of a /proc folder that are numbers. Empty when it vanished.
std::vector<std::int32_t> numbers_in(const fs::path& folder) {
  std::vector<std::int32_t> numbers;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (const auto value = number<std::int32_t>(entry->path().filename().native())) {
      numbers.push_back(*value);
    }
  }
  return numbers;
}

// The address of _text; 0 when kernel.kptr_restrict hides it.
std::uint64_t text_address() {
  std::ifstream kallsyms("/proc/kallsyms");
  std::string address;
  std::string type;
  std::string name;
  // The list is long, and in order of addresses but for the per-CPU symbols, so _text comes early.
  for (std::string line; std::getline(kallsyms, line);) {
    std::istringstream(line) >> address >> type >> name;
    if (name == "_text") {
      return number<std::uint64_t>(address, 16).value_or(0);
    }
  }
  return 0;
}

std::string module_key(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// The file of each module of this kernel, by name with '_' for '-'.
std::map<std::string, std::string> module_files() {
  utsname system = {};
  ::uname(&system);
  const std::string folder = std::string("/lib/modules/") + system.release + "/";
  std::ifstream list(folder + "modules.dep");
  std::map<std::string, std::string> files;
  for (std::string line; std::getline(list, line);) {
    const std::string path = line.substr(0, line.find(':'));
    const std::string name = fs::path(path).filename().native();
    files[module_key(name.substr(0, name.find(".ko")))] =
        path.starts_with('/') ? path : folder + path;
  }
  return files;
}

struct Module {
  std::string name;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
};

std::vector<Module> modules() {
  std::vector<Module> result;
  std::ifstream list("/proc/modules");
  for (std::string line; std::getline(list, line);) {
    // name size users used-by state address
    std::istringstream words(line);
    Module module;
    std::string users;
    std::string used_by;
    std::string state;
    std::string address;
    words >> module.name >> module.length >> users >> used_by >> state >> address;
    if (words && address.starts_with("0x")) {
      module.start = number<std::uint64_t>(std::string_view(address).substr(2), 16).value_or(0);
    }
    if (module.start != 0) {
      result.push_back(module);
    }
  }
  return result;
}

// One line of /proc/<pid>/maps: start-end perms offset major:minor inode path
void synthesize_mapping(RecordBuilder& builder, bool unwinding,
                        const std::function<void(Bytes)>& take, std::int32_t pid,
                        const std::string& line) {
  unsigned long start = 0;
  unsigned long end = 0;
  unsigned long offset = 0;
  char permissions[5] = {};
  RecordBuilder::Inode inode;
  unsigned long number = 0;
  int path_at = 0;
  if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, permissions, &offset,
                  &inode.major, &inode.minor, &number, &path_at) < 7) {
    return;
  }
  inode.number = number;
  const std::string path = path_at > 0 ? line.substr(static_cast<std::size_t>(path_at)) : "";
  const bool code = permissions[2] == 'x';
  if (!code && !(unwinding && permissions[1] != 'w' && path.starts_with('/'))) {
    return;
  }
  std::uint32_t protection = code ? PROT_EXEC : 0;
  protection |= permissions[0] == 'r' ? PROT_READ : 0;
  protection |= permissions[1] == 'w' ? PROT_WRITE : 0;
  take(builder.mmap(0, pid, pid, start, end - start, offset, inode, protection,
                    path.empty() ? "//anon" : path));
}

}  // namespace

void synthesize_kernel(RecordBuilder& builder, const std::function<void(Bytes)>& take) {
  take(xen_mmap(builder));
  const auto loaded = modules();
  const std::uint64_t text = text_address();
  if (text != 0) {
    std::uint64_t end = kModulesEnd;
    for (const Module& module : loaded) {
      if (module.start > text) {
        end = std::min(end, module.start);
      }
    }
    // perf takes the offset for the address of the symbol in the name.
    take(builder.kernel_mmap(text, end - text, text, "[kernel.kallsyms]_text"));
  } else {
    take(builder.kernel_mmap(kTextStart, kModulesEnd - kTextStart, 0, "[kernel.kallsyms]"));
  }
  const auto files = module_files();
  for (const Module& module : loaded) {
    const auto file = files.find(module_key(module.name));
    take(builder.kernel_mmap(module.start, module.length, 0,
                             file != files.end() ? file->second : "[" + module.name + "]"));
  }
}

void synthesize_processes(RecordBuilder& builder, bool unwinding,
                          const std::function<void(Bytes)>& take) {
  for (const std::int32_t pid : numbers_in("/proc")) {
    const fs::path process = fs::path("/proc") / std::to_string(pid);
    auto threads = numbers_in(process / "task");
    // perf hangs the mappings on the first thread, so that one comes first.
    std::stable_partition(threads.begin(), threads.end(),
                          [pid](std::int32_t tid) { return tid == pid; });
    for (const std::int32_t tid : threads) {
      std::ifstream file(process / "task" / std::to_string(tid) / "comm");
      std::string name;
      if (std::getline(file, name)) {
        take(builder.comm(0, pid, tid, name, false));
      }
    }
    std::ifstream maps(process / "maps");
    for (std::string line; std::getline(maps, line);) {
      synthesize_mapping(builder, unwinding, take, pid, line);
    }
  }
}

}  // namespace xenoprof::perf
