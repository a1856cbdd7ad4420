// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/session_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "hypervisor/event_codes.h"
#include "model/text.h"

namespace xenoprof {
namespace {

volatile std::sig_atomic_t signalled = 0;

}  // namespace

void SessionOptions::add_to(CLI::App& command) {
  command.add_option("-e,--event", events_, "What to count, NAME:COUNT; repeatable")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--domains", domains_,
                  "Active domains: names, or `all`; by default the host and all that have an agent")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--passive", passive_, "Domains to sample from outside, without agent")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--kernel-symbols", kernel_symbols_,
                  "DOMAIN=FILE: a passive domain's kallsyms or System.map")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_flag("--allow-missing", allow_missing_,
                   "Go on without a domain that does not take part");
  command.add_flag("--guest-sampling", guest_sampling_,
                   "KVM: guests sample themselves, where the host cannot or must not");
}

Result<SessionRequest> SessionOptions::request() const {
  SessionRequest request;
  request.domains = domains_;
  request.passive = passive_;
  request.allow_missing = allow_missing_;
  for (const std::string& text : events_) {
    auto event = parse_event(text);
    if (!event) {
      return std::unexpected(event.error());
    }
    if (auto code = encode_event(event->name); !code) {
      return std::unexpected(code.error());
    }
    request.events.push_back(std::move(*event));
  }
  auto symbols = kernel_symbols();
  if (!symbols) {
    return std::unexpected(symbols.error());
  }
  request.kernel_symbols = std::move(*symbols);
  if (guest_sampling_) {
    return fail("--guest-sampling: on Xen the hypervisor hands each domain its own samples");
  }
  return request;
}

Result<GuestsRequest> SessionOptions::guests() const {
  auto symbols = kernel_symbols();
  if (!symbols) {
    return std::unexpected(symbols.error());
  }
  return GuestsRequest{.domains = domains_,
                       .passive = passive_,
                       .kernel_symbols = std::move(*symbols),
                       .allow_missing = allow_missing_,
                       .guest_sampling = guest_sampling_};
}

Result<std::map<std::string, std::filesystem::path>> SessionOptions::kernel_symbols() const {
  std::map<std::string, std::filesystem::path> symbols;
  for (const std::string& text : kernel_symbols_) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return fail("--kernel-symbols {}: write DOMAIN=FILE", text);
    }
    const std::filesystem::path file = text.substr(equals + 1);
    if (::access(file.c_str(), R_OK) != 0) {
      return fail("--kernel-symbols: {} cannot be read: {}", file.string(), std::strerror(errno));
    }
    symbols[text.substr(0, equals)] = file;
  }
  return symbols;
}

const char* SessionOptions::about_domains() const {
  return !domains_.empty()          ? "--domains"
         : !passive_.empty()        ? "--passive"
         : !kernel_symbols_.empty() ? "--kernel-symbols"
         : allow_missing_           ? "--allow-missing"
         : guest_sampling_          ? "--guest-sampling"
                                    : nullptr;
}

std::filesystem::path output_folder(std::filesystem::path path) {
  while (!path.has_filename() && path.has_relative_path()) {
    path = path.parent_path();
  }
  return path;
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { signalled = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() {
  return signalled != 0;
}

void summarise(const SessionResult& result, const std::filesystem::path& output) {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  for (const DomainTotals& domain : result.record.domains) {
    for (const EventTotals& event : domain.events) {
      taken += event.taken;
      lost += event.taken - event.delivered;
    }
  }
  for (const std::string& note : result.record.notes) {
    fmt::print(stderr, "xenoprof: {}\n", note);
  }
  fmt::print(stderr, "{:.1f} s, {} samples from {} domain{}, {} lost{}\n", result.record.seconds,
             with_separators(taken), result.record.domains.size(),
             result.record.domains.size() == 1 ? "" : "s",
             lost == 0 ? "none" : with_separators(lost),
             output.empty() ? "" : fmt::format(": `xenoprof report {}`", output.string()));
}

}  // namespace xenoprof
