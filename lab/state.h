// SPDX-License-Identifier: GPL-2.0-or-later
// The labs of this user: a folder each in the cache, which also outlives a crash.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/state.pb.h"
#include "model/result.h"

namespace xenoprof::lab {

// Files of one lab's folder.
struct LabFolder {
  std::filesystem::path path;
  std::filesystem::path console_log() const { return path / "console.log"; }
  std::filesystem::path machine_log() const { return path / "qemu.log"; }
  std::filesystem::path pid_file() const { return path / "pid"; }
  std::filesystem::path state_file() const { return path / "lab.json"; }
  // Held by the command that starts or ends the lab.
  std::filesystem::path lock_file() const { return path / "lock"; }
};

// A name becomes a folder's name: letters, digits, '-', '_', '.'; no leading '.'.
// The folder need not be there.
Result<LabFolder> lab_folder(const std::string& name);
Result<void> create_lab_folder(const LabFolder& folder);
std::vector<std::string> lab_names();

Result<void> write_state(const LabFolder& folder, const pb::Lab& lab);
// Nothing when the folder has no state.
Result<std::optional<pb::Lab>> read_state(const LabFolder& folder);

// The process of the lab's machine if it lives, and is that machine: pids are used again.
std::optional<int> machine_pid(const LabFolder& folder);

// A lab that `up` completed and whose machine lives, or an error that says what is wrong.
Result<pb::Lab> running_lab(const std::string& name);
Result<pb::Domain> find_domain(const pb::Lab& lab, const std::string& name);

// Ends the lab's machine, waits for its end and forgets the state; the logs stay. True when there
// was a machine.
Result<bool> end_machine(const LabFolder& folder);

// The end of a log, for error messages.
std::string last_lines(const std::filesystem::path& file, int count);

}  // namespace xenoprof::lab
