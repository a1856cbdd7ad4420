// SPDX-License-Identifier: GPL-2.0-or-later
#include "state.h"

#include <google/protobuf/util/json_util.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "files/folder.h"
#include "files/new_file.h"
#include "paths.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr auto kTerminateTimeout = std::chrono::seconds(3);
constexpr auto kKillTimeout = std::chrono::seconds(10);

std::string read_file(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

bool is_valid_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::ranges::all_of(name, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

// A zombie has nothing left to end.
bool is_our_machine(int pid, const LabFolder& folder) {
  const std::string command = read_file(fmt::format("/proc/{}/cmdline", pid));
  return command.find(folder.pid_file().string()) != std::string::npos;
}

bool ended_within(int pid, const LabFolder& folder, steady_clock::duration limit) {
  const auto deadline = steady_clock::now() + limit;
  while (is_our_machine(pid, folder)) {
    if (steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace

Result<LabFolder> lab_folder(const std::string& name) {
  if (!is_valid_name(name))
    return fail("'{}' is no name for a lab; use letters, digits, '-', '_' and '.'", name);
  const auto cache = cache_folder();
  if (!cache)
    return std::unexpected(cache.error());
  return LabFolder{*cache / "labs" / name};
}

Result<void> create_lab_folder(const LabFolder& folder) {
  // The logs and the token are for this user only.
  const auto made = Folder::make_unexposed(folder.path);
  if (!made)
    return std::unexpected(made.error());
  return fchmod(made->descriptor(), S_IRWXU) == 0
             ? Result<void>{}
             : fail("cannot take {} from other users", folder.path.string());
}

std::vector<std::string> lab_names() {
  std::vector<std::string> names;
  if (const auto cache = cache_folder()) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(*cache / "labs", error))
      if (is_valid_name(entry.path().filename()))
        names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

Result<void> write_state(const LabFolder& folder, const pb::Lab& lab) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(lab, &text, options).ok())
    return fail("cannot write the lab's state as JSON");
  // The token is for this user only.
  return write_file(folder.state_file(), text, Readers::kThisUser);
}

Result<std::optional<pb::Lab>> read_state(const LabFolder& folder) {
  if (!fs::exists(folder.state_file()))
    return std::nullopt;
  pb::Lab lab;
  const auto status =
      google::protobuf::util::JsonStringToMessage(read_file(folder.state_file()), &lab);
  if (!status.ok())
    return fail("{} is damaged; run `xenoprof lab down --name {}`", folder.state_file().string(),
                folder.path.filename().string());
  return lab;
}

std::optional<int> machine_pid(const LabFolder& folder) {
  int pid = 0;
  std::istringstream(read_file(folder.pid_file())) >> pid;
  if (pid <= 1 || !is_our_machine(pid, folder))
    return std::nullopt;
  return pid;
}

Result<pb::Lab> running_lab(const std::string& name) {
  const auto folder = lab_folder(name);
  if (!folder)
    return std::unexpected(folder.error());
  auto lab = read_state(*folder);
  if (!lab)
    return std::unexpected(lab.error());
  if (!*lab)
    return fail(
        "no lab '{0}' is up; start one with `xenoprof lab up KIND --name {0}`, where KIND is xen, "
        "kvm or linux",
        name);
  if (!machine_pid(*folder))
    return fail(
        "the machine of lab '{}' has ended; its last words are in {} and {}; "
        "`xenoprof lab down --name {}` tidies up",
        name, folder->console_log().string(), folder->machine_log().string(), name);
  return **lab;
}

Result<pb::Domain> find_domain(const pb::Lab& lab, const std::string& name) {
  std::string known;
  for (const pb::Domain& domain : lab.domains()) {
    if (domain.name() == name)
      return domain;
    known += (known.empty() ? "" : ", ") + domain.name();
  }
  return fail("lab '{}' has no domain '{}'; it has {}", lab.name(), name, known);
}

Result<bool> end_machine(const LabFolder& folder) {
  const auto pid = machine_pid(folder);
  if (pid) {
    kill(*pid, SIGTERM);
    if (!ended_within(*pid, folder, kTerminateTimeout)) {
      kill(*pid, SIGKILL);
      if (!ended_within(*pid, folder, kKillTimeout))
        return fail("process {} of lab '{}' does not end", *pid, folder.path.filename().string());
    }
  }
  std::error_code error;
  for (const fs::path& file : {folder.state_file(), folder.pid_file()})
    fs::remove(file, error);
  for (const auto& entry : fs::directory_iterator(folder.path, error))
    if (entry.path().extension() == ".cpio")
      fs::remove(entry.path(), error);
  return pid.has_value();
}

std::string last_lines(const fs::path& file, int count) {
  const std::string text = read_file(file);
  std::size_t begin = text.empty() ? 0 : text.size() - 1;
  for (int line = 0; line < count && begin != std::string::npos && begin > 0; ++line)
    begin = text.rfind('\n', begin - 1);
  return begin == std::string::npos ? text : text.substr(begin + (begin > 0 ? 1 : 0));
}

}  // namespace xenoprof::lab
