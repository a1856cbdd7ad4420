// SPDX-License-Identifier: GPL-2.0-or-later
// Sessions in a lab, and what every one of them promises.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "lab_machine.h"

namespace xenoprof {

using Json = nlohmann::json;

class SessionLab : public testing::Test {
 protected:
  // Where record() leaves its session, in the initiator.
  static constexpr char kSession[] = "/root/session";

  // To be called first. `initiator`: the domain that records.
  static void use(LabMachine& lab, std::string initiator);
  static LabMachine& lab() { return *lab_; }
  static std::filesystem::path program(const std::string& name);

  static CommandResult in(const std::string& domain, const std::string& script);
  // Records while `work` runs.
  static CommandResult record(const std::string& options, const std::function<void()>& work);

  static Json session_json();
  static Json domain(const std::string& name);
  static Json rows(const std::string& options = "");
  static std::uint64_t samples(const Json& row, const std::string& event = "instructions");

  // Whatever else a test looks at: nothing may go missing unaccounted.
  static void expect_conservation();

 private:
  static LabMachine* lab_;
  static std::string initiator_;
};

}  // namespace xenoprof
