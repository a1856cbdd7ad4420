// SPDX-License-Identifier: GPL-2.0-or-later
// proc and sys of a host with virtual machines, made up.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "tests/unit/temporary_folder.h"

namespace xenoprof {

class KvmHost {
 public:
  KvmHost() {
    std::filesystem::create_directories(root / "sys/module/kvm");
    std::filesystem::create_directories(root / "proc");
  }

  void write(const std::filesystem::path& path, std::string_view text) const {
    std::filesystem::create_directories((root.path() / path).parent_path());
    root.file(path.string(), text);
  }
  void link(const std::filesystem::path& path, const std::filesystem::path& target) const {
    std::filesystem::create_directories((root.path() / path).parent_path());
    std::filesystem::create_symlink(target, root.path() / path);
  }

  void thread(int process, int id, std::string_view name, int parent = 1) const {
    const std::string status =
        fmt::format("Name:\t{}\nTgid:\t{}\nPid:\t{}\nPPid:\t{}\n", name, process, id, parent);
    for (const std::filesystem::path folder :
         {fmt::format("proc/{}", id), fmt::format("proc/{}/task/{}", process, id)}) {
      write(folder / "status", status);
      write(folder / "comm", fmt::format("{}\n", name));
    }
  }
  void process(int id, std::string_view name,
               std::initializer_list<std::string_view> arguments = {}) const {
    thread(id, id, name);
    std::string line;
    for (const std::string_view argument : arguments) {
      line.append(argument) += '\0';
    }
    write(fmt::format("proc/{}/cmdline", id), line);
  }
  void file(int process, int number, std::string_view target) const {
    link(fmt::format("proc/{}/fd/{}", process, number), target);
  }
  // As Linux 6.0 and later tell it; before, there is no `thread`.
  void vcpu(std::string_view machine, int number, std::optional<int> thread) const {
    const std::filesystem::path folder =
        fmt::format("sys/kernel/debug/kvm/{}/vcpu{}", machine, number);
    write(folder / "tsc-offset", "-1000\n");
    if (thread) {
      write(folder / "pid", fmt::format("{}\n", *thread));
    }
  }
  // One that runs: vCPU 0 in thread `id` + 1.
  void machine(int id, std::initializer_list<std::string_view> arguments) const {
    process(id, "qemu-system-x86", arguments);
    thread(id, id + 1, "CPU 0/KVM");
    vcpu(fmt::format("{}-9", id), 0, id + 1);
  }

  TemporaryFolder root;
};

}  // namespace xenoprof
