// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/session_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include "cli/terminal.h"
#include "hypervisor/event_codes.h"
#include "model/text.h"

namespace xenoprof {
namespace {

volatile std::sig_atomic_t signalled = 0;

// Few enough to go unnoticed.
constexpr std::uint64_t kDefaultFrequency = 1000;

std::unexpected<Error> asked_twice(const std::string& event) {
  return fail("event '{}' is asked for twice, with the same count", event);
}

// "FILE", "FILE+0xOFFSET" or "FILE-0xOFFSET".
KernelList parse_kernel_list(const std::string& text) {
  const std::size_t sign = text.find_last_of("+-");
  std::int64_t offset = 0;
  if (sign != std::string::npos && text.compare(sign + 1, 2, "0x") == 0) {
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data() + sign + 3, end, offset, 16);
    if (error == std::errc() && last == end) {
      return {.file = text.substr(0, sign), .offset = text[sign] == '-' ? -offset : offset};
    }
  }
  return {.file = text};
}

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
      .add_option(
          "--kernel-symbols", kernel_symbols_,
          "DOMAIN=FILE[+OFFSET]: a passive domain's kallsyms or System.map, and how far above\n"
          "its addresses the kernel lies (KASLR; else its samples tell)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_flag("--allow-missing", allow_missing_,
                   "Go on without a domain that does not take part");
  command
      .add_flag("--guest-sampling{only}", guest_sampling_,
                "KVM: guests sample themselves, where the host cannot or must not;\n"
                "--guest-sampling=both: as well as the host, for call chains (-g)")
      ->check(CLI::IsMember({"only", "both"}));
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
    if (std::ranges::find(request.events, *event) != request.events.end()) {
      return asked_twice(text);
    }
    request.events.push_back(std::move(*event));
  }
  auto symbols = kernel_symbols();
  if (!symbols) {
    return std::unexpected(symbols.error());
  }
  request.kernel_symbols = std::move(*symbols);
  if (!guest_sampling_.empty()) {
    return fail("--guest-sampling: on Xen the hypervisor hands each domain its own samples");
  }
  return request;
}

Result<LocalRequest> SessionOptions::local_request(std::uint64_t frequency) const {
  LocalRequest request;
  // With room below what the kernel lets: a CPU may be faster than it says.
  request.frequency = frequency != 0 ? frequency
                                     : std::clamp<std::uint64_t>(perf::most_samples_a_second() / 2,
                                                                 1, kDefaultFrequency);
  for (const std::string& text : events_) {
    auto event = perf::find_counted_event(text, request.frequency);
    if (!event) {
      return std::unexpected(event.error());
    }
    if (std::ranges::find(request.events, event->event, &perf::CountedEvent::event) !=
        request.events.end()) {
      return asked_twice(text);
    }
    request.events.push_back(std::move(*event));
  }
  auto symbols = kernel_symbols();
  if (!symbols) {
    return std::unexpected(symbols.error());
  }
  request.guests = {.domains = domains_,
                    .passive = passive_,
                    .kernel_symbols = std::move(*symbols),
                    .allow_missing = allow_missing_,
                    .sampling = guest_sampling_.empty()     ? GuestSampling::kByHost
                                : guest_sampling_ == "both" ? GuestSampling::kByBoth
                                                            : GuestSampling::kByGuest};
  return request;
}

Result<std::map<std::string, KernelList>> SessionOptions::kernel_symbols() const {
  std::map<std::string, KernelList> symbols;
  for (const std::string& text : kernel_symbols_) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return fail("--kernel-symbols {}: write DOMAIN=FILE or DOMAIN=FILE+OFFSET", text);
    }
    const KernelList list = parse_kernel_list(text.substr(equals + 1));
    if (::access(list.file.c_str(), R_OK) != 0) {
      return fail("--kernel-symbols: {} cannot be read: {}", list.file.string(),
                  std::strerror(errno));
    }
    symbols[text.substr(0, equals)] = list;
  }
  return symbols;
}

const char* SessionOptions::about_domains() const {
  return !domains_.empty()          ? "--domains"
         : !passive_.empty()        ? "--passive"
         : !kernel_symbols_.empty() ? "--kernel-symbols"
         : allow_missing_           ? "--allow-missing"
         : !guest_sampling_.empty() ? "--guest-sampling"
                                    : nullptr;
}

std::filesystem::path output_folder(std::filesystem::path path) {
  while (!path.has_filename() && path.has_relative_path()) {
    path = path.parent_path();
  }
  return path;
}

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = [](int) { signalled = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  struct sigaction inherited{};
  ::sigaction(SIGHUP, nullptr, &inherited);
  if (inherited.sa_handler != SIG_IGN) {  // nohup
    ::sigaction(SIGHUP, &action, nullptr);
  }
}

bool interrupted() {
  return signalled != 0;
}

void summarise(const SessionResult& result, const std::filesystem::path& output) {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  bool known = true;
  for (const DomainTotals& domain : result.record.domains) {
    known &= domain.whole;
    for (const EventTotals& event : domain.events) {
      taken += event.taken;
      lost += event.taken - event.delivered;
    }
  }
  for (const std::string& note : result.record.notes) {
    say("xenoprof: " + printable(note));
  }
  const std::string least = known ? "" : "at least ";
  const std::string losses = lost != 0 ? least + with_separators(lost) + " lost"
                             : known   ? "none lost"
                                       : "what was lost is not known";
  const auto plural = [](std::size_t count) { return count == 1 ? "" : "s"; };
  const std::size_t domains = result.record.domains.size();
  say(fmt::format("{:.1f} s, {} sample{} from {} domain{}, {}{}", result.record.seconds,
                  with_separators(taken), plural(taken), domains, plural(domains), losses,
                  output.empty() ? "" : fmt::format(": `xenoprof report {}`", output.string())));
}

}  // namespace xenoprof
