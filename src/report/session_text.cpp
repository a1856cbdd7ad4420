// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/session_text.h"

#include <algorithm>

#include "model/text.h"

namespace xenoprof {
namespace {

struct Losses {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  std::map<std::string, std::uint64_t> causes;
};

Losses losses_of(const DomainTotals& domain) {
  Losses losses;
  for (const EventTotals& event : domain.events) {
    losses.taken += event.taken;
    for (const auto& [cause, samples] : event.lost) {
      losses.lost += samples;
      losses.causes[cause] += samples;
    }
  }
  return losses;
}

}  // namespace

std::string started_text(const SessionRecord& session) {
  // "2026-01-31T12:00:00+01:00": the clock of the place it was recorded at says enough.
  std::string when = printable(session.started.substr(0, 19));
  std::replace(when.begin(), when.end(), 'T', ' ');
  return when;
}

std::string recorded_text(const SessionRecord& session) {
  return fmt::format("Recorded{}{} for {:.1f} s", session.started.empty() ? "" : " ",
                     started_text(session), session.seconds);
}

std::string losses_text(const SessionRecord* session) {
  if (session == nullptr) {
    return "There is no session.json with this profile: what was lost is known only if a note says "
           "it.";
  }
  std::string text;
  std::string not_whole;
  bool buffers = false;
  for (const DomainTotals& domain : session->domains) {
    const Losses losses = losses_of(domain);
    if (!domain.whole) {
      not_whole += (not_whole.empty() ? "" : ", ") + printable(domain.name);
    }
    if (losses.lost == 0) {
      continue;
    }
    const double part = losses.taken == 0 ? 0
                                          : 100.0 * static_cast<double>(losses.lost) /
                                                static_cast<double>(losses.taken);
    text += text.empty() ? "Lost " : "; ";
    text += fmt::format("{} of {} samples ({} %) in {}:", with_separators(losses.lost),
                        with_separators(losses.taken),
                        part < 0.1 ? "less than 0.1" : fmt::format("{:.1f}", part),
                        printable(domain.name));
    for (const auto& [cause, samples] : losses.causes) {
      if (samples != 0) {
        text += fmt::format(" {} {}", printable(cause), with_separators(samples));
        buffers |= cause != "agent" && cause != "disk";
      }
    }
  }
  if (!text.empty()) {
    text += buffers ? ". Raise the counts: fewer samples a second, fewer lost." : ".";
  } else if (not_whole.empty()) {
    text = "No samples were lost.";
  }
  if (!not_whole.empty()) {
    text += fmt::format("{} lost in {} is not known: the last counts did not arrive.",
                        text.empty() ? "What was" : " What else was", not_whole);
  }
  return text;
}

bool is_whole(const SessionRecord* session) {
  return session != nullptr && std::all_of(session->domains.begin(), session->domains.end(),
                                           [](const DomainTotals& domain) {
                                             return domain.whole && losses_of(domain).lost == 0;
                                           });
}

}  // namespace xenoprof
