// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/top.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cli/at_least_one.h"
#include "cli/exit_status.h"
#include "cli/screen.h"
#include "cli/session_options.h"
#include "cli/terminal.h"
#include "cli/view_options.h"
#include "hypervisor/xen_domains.h"
#include "report/live.h"
#include "session/initiator.h"
#include "session/local.h"

namespace xenoprof {
namespace {

constexpr double kScreenSeconds = 1;
constexpr double kBatchSeconds = 2;

struct TopArguments {
  SessionOptions session;
  FilterOptions filter;
  std::string output;
  std::uint64_t frequency = 0;  // 0: not given
  bool batch = false;
  std::uint64_t iterations = 0;  // 0: on and on
  std::size_t rows = 20;
};

class OnScreen {
 public:
  OnScreen(Screen screen, LiveView& view) : screen_(std::move(screen)), view_(view) {
    screen_.draw("Beginning; waiting for agents, if there are any ...");
  }

  // To be called several times a second; false: enough.
  bool show(const SessionProgress& now) {
    bool draw = screen_.resized();
    while (const auto key = screen_.key()) {
      view_.press(*key);
      draw = true;
    }
    if (now.seconds >= next_) {
      next_ = now.seconds + kScreenSeconds;
      view_.update(now);
      draw = true;
    }
    if (draw) {
      screen_.draw(view_.draw(screen_.style(), screen_.height()));
    }
    if (view_.quits()) {
      screen_.draw("Ending the session ...");
    }
    return !view_.quits();
  }

 private:
  Screen screen_;
  LiveView& view_;
  double next_ = 0;
};

class InBatch {
 public:
  InBatch(const TopArguments& arguments, LiveView& view) : arguments_(arguments), view_(view) {}

  bool show(const SessionProgress& now) {
    view_.update(now);
    if (now.seconds < next_ || now.profile == shown_) {
      return true;
    }
    next_ = now.seconds + kBatchSeconds;
    shown_ = now.profile;
    printed_ = print(view_.draw_all(style_of_output(), arguments_.rows) + "\n");
    if (!printed_) {
      return false;
    }
    return ++done_ != arguments_.iterations;
  }

  const Result<void>& printed() const { return printed_; }

 private:
  const TopArguments& arguments_;
  LiveView& view_;
  double next_ = kBatchSeconds;
  std::shared_ptr<const Profile> shown_;
  std::uint64_t done_ = 0;
  Result<void> printed_;
};

// Of a Xen host and its domains.
Result<SessionResult> watch_domains(const TopArguments& arguments, const KeepGoing& keep_going) {
  if (arguments.frequency != 0) {
    return fail("-F: Xen counts for whole domains, a sample each COUNT events");
  }
  auto request = arguments.session.request();
  if (!request) {
    return std::unexpected(request.error());
  }
  request->live = true;
  request->output = output_folder(arguments.output);
  return run_session(*request, interrupted, [] { return Result<void>(); }, keep_going);
}

// Of this system, and of its guests where it is a KVM host.
Result<SessionResult> watch_here(const TopArguments& arguments, const KeepGoing& keep_going) {
  auto request = arguments.session.local_request(arguments.frequency);
  if (!request) {
    return std::unexpected(request.error());
  }
  request->live = true;
  request->output = output_folder(arguments.output);
  return run_local_session(*request, interrupted, [] { return Result<void>(); }, keep_going);
}

Result<int> top(const TopArguments& arguments) {
  auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  if (auto good = check_live_filter(*terms); !good) {
    return std::unexpected(good.error());
  }
  LiveView view(*std::move(terms));
  std::optional<OnScreen> screen;
  InBatch batch(arguments, view);
  catch_interrupts();
  if (!arguments.batch) {
    // Stopped by Ctrl-Z, this would no longer take what the domains send, and they would give up.
    std::signal(SIGTSTP, SIG_IGN);
    auto opened = Screen::open();
    if (!opened) {
      return std::unexpected(opened.error());
    }
    screen.emplace(std::move(*opened), view);
  }
  const auto result =
      (on_xen() ? watch_domains : watch_here)(arguments, [&](const SessionProgress& now) {
        return !interrupted() && (screen ? screen->show(now) : batch.show(now));
      });
  screen.reset();
  if (!result) {
    return std::unexpected(result.error());
  }
  summarise(*result, output_folder(arguments.output));
  if (!batch.printed()) {
    return std::unexpected(batch.printed().error());
  }
  return result->whole ? kExitWhole : kExitNotWhole;
}

}  // namespace

void add_top(CLI::App& app) {
  auto* command = app.add_subcommand("top", "Run a session and look at it meanwhile");
  auto arguments = std::make_shared<TopArguments>();
  arguments->session.add_to(*command);
  arguments->filter.add_to(*command);
  command
      ->add_option("-o,--output", arguments->output,
                   "Keep the session in this folder; else nothing is kept")
      ->type_name("DIR");
  command
      ->add_option(
          "-F,--frequency", arguments->frequency,
          "Samples a second and CPU, for events without a count (not on Xen; 1000); cycles\n"
          "get the count of a busy CPU by it")
      ->type_name("HZ")
      ->check(at_least_one());
  auto* batch = command->add_flag("-b,--batch", arguments->batch,
                                  "Print tables one after the other, for a file or a pipe");
  command->add_option("--iterations", arguments->iterations, "End after so many tables")
      ->type_name("N")
      ->check(at_least_one())
      ->needs(batch);
  command->add_option("-n,--top", arguments->rows, "Rows of such a table")
      ->type_name("N")
      ->check(at_least_one())
      ->capture_default_str()
      ->needs(batch);
  command->footer(
      "On Xen: dom0, its guests and the hypervisor. Elsewhere: this system with the guests of its "
      "KVM.\n"
      "Numbers are those since the start. Every domain names its own functions for this, every "
      "two\n"
      "seconds or, so that it spends no more than a sixth of its time on that, more seldom. That "
      "work\nis in the profile, as process xenoprof.\n"
      "Keys: p pause, s sort by the next event, g functions or processes, d next domain, f "
      "filter,\n"
      "arrows and pages scroll, q quit.\n"
      "Examples:\n"
      "  xenoprof top\n"
      "  xenoprof top -e instructions:1000000 -e cycles:2000000\n"
      "  xenoprof top -e instructions:1000000 --batch --iterations 3 --domain guest1");
  command->final_callback([arguments] { throw_status(top(*arguments)); });
}

}  // namespace xenoprof
