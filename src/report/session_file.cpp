// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/session_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace xenoprof {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uintmax_t kMaxFile = std::uintmax_t{16} << 20;

Json json_of(const EventTotals& event) {
  Json json = {{"name", event.name},
               {"count", event.count},
               {"taken", event.taken},
               {"delivered", event.delivered},
               {"lost", Json::object()}};
  for (const auto& [cause, samples] : event.lost) {
    json["lost"][cause] = samples;
  }
  if (event.estimated) {
    json["estimated"] = true;
  }
  return json;
}

EventTotals event_of(const Json& json) {
  EventTotals event;
  event.name = json.at("name").get<std::string>();
  event.count = json.at("count").get<std::uint64_t>();
  event.taken = json.at("taken").get<std::uint64_t>();
  event.delivered = json.at("delivered").get<std::uint64_t>();
  event.lost = json.at("lost").get<std::map<std::string, std::uint64_t>>();
  event.estimated = json.value("estimated", false);
  return event;
}

Json json_of(const DomainTotals& domain) {
  Json json = {{"name", domain.name},       {"id", domain.id},       {"role", domain.role},
               {"counted", domain.counted}, {"whole", domain.whole}, {"events", Json::array()}};
  for (const EventTotals& event : domain.events) {
    json["events"].push_back(json_of(event));
  }
  return json;
}

DomainTotals domain_of(const Json& json) {
  DomainTotals domain;
  domain.name = json.at("name").get<std::string>();
  domain.id = json.at("id").get<std::uint32_t>();
  domain.role = json.at("role").get<std::string>();
  domain.counted = json.value("counted", std::uint64_t{0});
  domain.whole = json.value("whole", true);
  for (const Json& event : json.at("events")) {
    domain.events.push_back(event_of(event));
  }
  return domain;
}

}  // namespace

std::string iso_time(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z", &local)};
}

std::string to_json(const SessionRecord& session) {
  Json json = {{"started", session.started}, {"seconds", session.seconds},
               {"machine", session.machine}, {"command", session.command},
               {"notes", session.notes},     {"domains", Json::array()}};
  for (const DomainTotals& domain : session.domains) {
    json["domains"].push_back(json_of(domain));
  }
  if (!session.work.empty()) {
    json["work"] = session.work;
  }
  // Names come from guests, in any encoding.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<SessionRecord> session_from_json(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    SessionRecord session;
    session.started = json.value("started", "");
    session.seconds = json.value("seconds", 0.0);
    session.machine = json.value("machine", "");
    session.command = json.value("command", "");
    session.work = json.value("work", std::map<std::string, double>());
    session.notes = json.value("notes", std::vector<std::string>());
    for (const Json& domain : json.at("domains")) {
      session.domains.push_back(domain_of(domain));
    }
    return session;
  } catch (const Json::parse_error& error) {
    return fail("it is not JSON from byte {} on", error.byte);
  } catch (const Json::exception&) {
    return fail("an entry of it is missing or of the wrong type");
  }
}

Result<SessionRecord> read_session(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return fail("{} cannot be read: {}.", path.string(), error.message());
  }
  if (size > kMaxFile) {
    return fail("{} cannot be read: it is larger than {} MiB.", path.string(), kMaxFile >> 20);
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!(text << file.rdbuf())) {
    return fail("{} cannot be read: {}.", path.string(), std::strerror(errno));
  }
  auto session = session_from_json(text.view());
  if (!session) {
    return fail("{} is damaged: {}.", path.string(), session.error().message);
  }
  return session;
}

}  // namespace xenoprof
