// SPDX-License-Identifier: GPL-2.0-or-later
#include "session_lab.h"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <map>
#include <thread>

namespace xenoprof {

using namespace std::chrono_literals;

LabMachine* SessionLab::lab_ = nullptr;
std::string SessionLab::initiator_;

void SessionLab::use(LabMachine& lab, std::string initiator) {
  lab_ = &lab;
  initiator_ = std::move(initiator);
}

std::filesystem::path SessionLab::program(const std::string& name) {
  return std::filesystem::path(XENOPROF_BUILD) / "bin" / name;
}

CommandResult SessionLab::in(const std::string& domain, const std::string& script) {
  return lab_->exec(domain, {"sh", "-c", script});
}

CommandResult SessionLab::record(const std::string& options, const std::function<void()>& work) {
  in(initiator_, "rm -f /tmp/started /tmp/stop");
  auto session = std::async(std::launch::async, [&] {
    return in(initiator_,
              fmt::format("xenoprof record {} -o {} -- sh -c 'touch /tmp/started; until [ -e "
                          "/tmp/stop ]; do sleep 0.1; done'",
                          options, kSession));
  });
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (in(initiator_, "test -e /tmp/started").status != 0) {
    if (session.wait_for(0s) == std::future_status::ready ||
        std::chrono::steady_clock::now() > deadline) {
      return session.get();
    }
    std::this_thread::sleep_for(100ms);
  }
  work();
  in(initiator_, "touch /tmp/stop");
  return session.get();
}

Json SessionLab::session_json() {
  return Json::parse(in(initiator_, fmt::format("cat {}/session.json", kSession)).out, nullptr,
                     false);
}

Json SessionLab::rows(const std::string& options) {
  const auto result =
      in(initiator_, fmt::format("xenoprof report {} --format json {}", kSession, options));
  EXPECT_EQ(result.status, 0) << result.err;
  return Json::parse(result.out, nullptr, false).value("rows", Json::array());
}

std::uint64_t SessionLab::samples(const Json& row, const std::string& event) {
  return row["samples"].value(event, std::uint64_t{0});
}

void SessionLab::expect_conservation() {
  const Json session = session_json();
  ASSERT_TRUE(session.is_object());
  std::map<std::string, std::map<std::string, std::uint64_t>> in_profile;
  for (const Json& row : rows("--sort domain")) {
    for (const auto& [event, count] : row["samples"].items()) {
      in_profile[row["domain"]][event] += count.get<std::uint64_t>();
    }
  }
  for (const Json& domain : session["domains"]) {
    std::uint64_t taken = 0;
    for (const Json& event : domain["events"]) {
      std::uint64_t lost = 0;
      for (const auto& [cause, count] : event["lost"].items()) {
        lost += count.get<std::uint64_t>();
      }
      EXPECT_EQ(event["taken"].get<std::uint64_t>(), event["delivered"].get<std::uint64_t>() + lost)
          << domain;
      EXPECT_EQ(event["delivered"].get<std::uint64_t>(), in_profile[domain["name"]][event["name"]])
          << domain;
      taken += event["taken"].get<std::uint64_t>();
    }
    EXPECT_EQ(taken, domain["counted"].get<std::uint64_t>()) << domain;
  }
}

Json SessionLab::domain(const std::string& name) {
  const Json session = session_json();
  for (const Json& one : session["domains"]) {
    if (one["name"] == name) {
      return one;
    }
  }
  return Json();
}

}  // namespace xenoprof
