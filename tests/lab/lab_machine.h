// SPDX-License-Identifier: GPL-2.0-or-later
// A lab for the tests of one program: booted once, ended when the program does, however it does.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace xenoprof {

struct CommandResult {
  int status = -1;  // as a shell would report it; -1 when the command could not be run
  std::string out;
  std::string err;  // of the command, or why it could not be run
};

class LabMachine {
 public:
  // The program's lab of that kind, made with `xenoprof lab up KIND OPTIONS...` on first use; the
  // same for every later call with the same arguments. Failure to boot ends the program, as no
  // test could go on. With XENOPROF_TEST_LAB=NAME in the environment that running lab is used as
  // it is and left up, which saves the boot while working on a test.
  static LabMachine& shared(const std::string& kind, const std::vector<std::string>& options = {});

  // Runs a command in a domain to its end. One that takes longer than the limit is ended and has
  // status -1.
  CommandResult exec(const std::string& domain, const std::vector<std::string>& command,
                     std::chrono::milliseconds limit = std::chrono::minutes(5)) const;

  // Waits for a domain that boots or goes on; false if it runs no command within two minutes.
  bool answers(const std::string& domain) const;

  // Files and folders, as `xenoprof lab copy` has them. 0, or a test failure and -1.
  int copy_in(const std::filesystem::path& from, const std::string& domain,
              const std::string& to) const;
  int copy_out(const std::string& domain, const std::string& from,
               const std::filesystem::path& to) const;

  // A folder of this machine for the tests' files, removed at the end.
  const std::filesystem::path& scratch() const { return scratch_; }
  static void write(const std::filesystem::path& file, std::string_view text);

  const std::string& name() const { return name_; }

  ~LabMachine();
  LabMachine(const LabMachine&) = delete;
  LabMachine& operator=(const LabMachine&) = delete;

 private:
  LabMachine(std::string name, bool ours);
  void boot(const std::string& kind, const std::vector<std::string>& options);

  std::string name_;
  bool ours_;
  std::filesystem::path scratch_;
};

}  // namespace xenoprof
