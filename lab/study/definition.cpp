// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/definition.h"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <optional>
#include <regex>
#include <set>

#include "paths.h"
#include "up_options.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxCells = 1000;
constexpr unsigned kMaxRuns = 100;
constexpr std::uint64_t kMostEvents = 2147483647;  // Xen's counters hold no more
constexpr std::string_view kAmount = "amount";

// Names become parts of paths and columns of tables.
bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && text.front() != '.' &&
         std::ranges::all_of(text, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

// Calls `found` with the begin and end of each "{name}" that is not "${name}".
template <class Found>
void each_placeholder(std::string_view command, Found found) {
  for (std::size_t open = command.find('{'); open != std::string_view::npos;
       open = command.find('{', open + 1)) {
    const std::size_t close = command.find('}', open);
    if (close == std::string_view::npos)
      return;
    const std::string_view name = command.substr(open + 1, close - open - 1);
    if ((open == 0 || command[open - 1] != '$') && is_name(name))
      found(open, close + 1, name);
  }
}

std::optional<std::uint64_t> count_of(const KnobValue& value) {
  const char* const end = value.text.data() + value.text.size();
  std::uint64_t count = 0;
  const auto read = std::from_chars(value.text.data(), end, count);
  if (read.ec != std::errc() || read.ptr != end || count < 1 || count > kMostEvents)
    return std::nullopt;
  return count;
}

class Parser {
 public:
  explicit Parser(std::string file) : file_(std::move(file)) {}

  Result<Study> parse(std::string_view text) {
    const toml::parse_result parsed = toml::parse(text, file_);
    if (!parsed)
      return fail("{}:{}: {}", file_, parsed.error().source().begin.line,
                  parsed.error().description());
    const toml::table& root = parsed.table();
    Study study;
    check_keys(root, {"title", "configuration", "workload", "event", "knob", "repeat", "quick"});
    study.title = text_of(root, "title");
    each(root, "configuration", true,
         [&](const toml::table& table) { study.configurations.push_back(configuration(table)); });
    each(root, "knob", false,
         [&](const toml::table& table) { study.knobs.push_back(knob(table)); });
    for (const Knob& knob : study.knobs)
      knob_names_.insert(knob.name);
    each(root, "event", true,
         [&](const toml::table& table) { study.events.push_back(event(table, study.knobs)); });
    each(root, "workload", true,
         [&](const toml::table& table) { study.workloads.push_back(workload(table)); });
    study.full = repetition(root, "repeat", Repetition{});
    study.quick = repetition(root, "quick", study.full);
    check_names(root, study);
    if (!error_.empty())
      return fail("{}", error_);
    if (const std::size_t cells = cells_of(study).size(); cells > kMaxCells)
      return fail("{}: the knobs' values make {} cells; at most {} are possible", file_, cells,
                  kMaxCells);
    return study;
  }

 private:
  // The first one counts; what follows may come of it.
  template <class... Args>
  void wrong(const toml::node& at, fmt::format_string<Args...> format, Args&&... args) {
    if (error_.empty())
      error_ = fmt::format("{}:{}: {}", file_, at.source().begin.line,
                           fmt::format(format, std::forward<Args>(args)...));
  }

  void check_keys(const toml::table& table, const std::vector<std::string_view>& known) {
    for (const auto& [key, node] : table)
      if (std::ranges::find(known, key.str()) == known.end())
        wrong(node, "'{}' is not known here; there are {}", key.str(), fmt::join(known, ", "));
  }

  std::string text_of(const toml::table& table, std::string_view key, bool needed = true) {
    const toml::node* node = table.get(key);
    if (node == nullptr) {
      if (needed)
        wrong(table, "'{}' is missing; write {} = \"...\"", key, key);
      return {};
    }
    if (const auto* text = node->as_string(); text != nullptr && (!needed || !text->get().empty()))
      return text->get();
    wrong(*node, "'{}' must be a text in quotes", key);
    return {};
  }

  double number_of(const toml::table& table, std::string_view key, double otherwise, double least,
                   double most) {
    const toml::node* node = table.get(key);
    if (node == nullptr) {
      if (otherwise < 0)
        wrong(table, "'{}' is missing; write {} = NUMBER", key, key);
      return otherwise;
    }
    const auto value = node->value<double>();
    if (value && *value >= least && *value <= most)
      return *value;
    wrong(*node, "'{}' must be a number from {} to {}", key, least, most);
    return otherwise;
  }

  template <class Take>
  void each(const toml::table& root, std::string_view key, bool needed, Take take) {
    const toml::node* node = root.get(key);
    if (node == nullptr) {
      if (needed)
        wrong(root, "there is no [[{}]]; a study needs at least one", key);
      return;
    }
    const toml::array* array = node->as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>()) {
      wrong(*node, "'{}' must be written [[{}]], once for each", key, key);
      return;
    }
    for (const toml::node& table : *array)
      take(*table.as_table());
  }

  std::string name_of(const toml::table& table) {
    std::string name = text_of(table, "name");
    if (error_.empty() && !is_name(name))
      wrong(*table.get("name"), "'{}' is no name; use letters, digits, '-', '_' and '.'", name);
    return name;
  }

  // False where it is not there.
  bool flag_of(const toml::table& table, std::string_view key) {
    const toml::node* const flag = table.get(key);
    if (flag != nullptr && !flag->is_boolean())
      wrong(*flag, "'{}' must be true or false", key);
    return flag != nullptr && flag->value_or(false);
  }

  Configuration configuration(const toml::table& table) {
    check_keys(table, {"name", "machine", "server", "recorder", "counts", "when_asked"});
    Configuration result;
    result.name = name_of(table);
    result.when_asked = flag_of(table, "when_asked");
    result.server = text_of(table, "server");
    result.recorder = text_of(table, "recorder");
    if (const toml::node* node = table.get("counts")) {
      if (const toml::table* counts = node->as_table()) {
        for (const auto& [event, count] : *counts)
          result.counts[std::string(event.str())] =
              static_cast<std::uint64_t>(number_of(*counts, event.str(), -1, 1, kMostEvents));
      } else {
        wrong(*node, "'counts' must be written counts = {{ EVENT = COUNT, ... }}");
      }
    }
    const std::string machine = text_of(table, "machine");
    CLI::App app;
    add_up_options(app, result.machine);
    try {
      app.parse(machine);
    } catch (const CLI::ParseError& error) {
      if (const toml::node* node = table.get("machine"))
        wrong(*node, "machine '{}': {}; it is what `xenoprof lab up` takes", machine, error.what());
    }
    return result;
  }

  StudyEvent event(const toml::table& table, const std::vector<Knob>& knobs) {
    check_keys(table, {"name", "select", "count"});
    StudyEvent result;
    result.name = name_of(table);
    result.select = text_of(table, "select", false);
    if (result.select.empty())
      result.select = result.name;
    if (const toml::node* count = table.get("count"); count != nullptr && count->is_string()) {
      const std::string text = text_of(table, "count");
      const auto knob = std::ranges::find_if(
          knobs, [&](const Knob& each) { return text == fmt::format("{{{}}}", each.name); });
      if (knob == knobs.end())
        wrong(*count, "'count' must be a number, or \"{{KNOB}}\" of a [[knob]]");
      else if (!std::ranges::all_of(knob->values, [](const KnobValue& value) {
                 return count_of(value).has_value();
               }))
        wrong(*count, "the values of knob '{}' must be numbers from 1 to {}", knob->name,
              kMostEvents);
      else
        result.count_knob = knob->name;
      return result;
    }
    result.count = static_cast<std::uint64_t>(number_of(table, "count", -1, 1, kMostEvents));
    return result;
  }

  Knob knob(const toml::table& table) {
    check_keys(table, {"name", "values", "compare"});
    Knob result;
    result.name = name_of(table);
    result.compare = flag_of(table, "compare");
    const toml::node* values = table.get("values");
    if (values == nullptr || !values->is_array() || values->as_array()->empty()) {
      wrong(values == nullptr ? static_cast<const toml::node&>(table) : *values,
            "a knob needs values = [\"...\", ...]");
      return result;
    }
    for (const toml::node& value : *values->as_array()) {
      if (const auto* text = value.as_string(); text != nullptr && is_name(text->get())) {
        result.values.push_back({text->get(), text->get()});
      } else if (const auto* named = value.as_table()) {
        check_keys(*named, {"name", "text"});
        result.values.push_back({name_of(*named), text_of(*named, "text", false)});
      } else {
        wrong(value, "a knob's value is a name in quotes, or {{ name = \"...\", text = \"...\" }}");
      }
    }
    std::set<std::string> names;
    for (const KnobValue& value : result.values)
      if (!names.insert(value.name).second)
        wrong(table, "knob '{}' has the value '{}' twice", result.name, value.name);
    if (result.name == kAmount)
      wrong(table, "'amount' is the workload's own; call the knob something else");
    return result;
  }

  std::string command_of(const toml::table& table, std::string_view key, bool needed) {
    std::string command = text_of(table, key, needed);
    each_placeholder(command, [&](std::size_t, std::size_t, std::string_view name) {
      if (name != kAmount && !knob_names_.contains(std::string(name)))
        wrong(*table.get(key), "{{{}}}: there is no such knob; knobs are [[knob]], and {{amount}}",
              name);
    });
    return command;
  }

  Workload workload(const toml::table& table) {
    check_keys(table, {"name", "unit", "amount", "quick_amount", "server", "finish", "load",
                       "load_in", "done", "done_per_unit"});
    constexpr double kMost = 1e12;
    Workload result;
    result.name = name_of(table);
    result.unit = text_of(table, "unit");
    result.amount = number_of(table, "amount", -1, 1, kMost);
    result.quick_amount = number_of(table, "quick_amount", result.amount, 1, kMost);
    result.server = command_of(table, "server", false);
    result.finish = command_of(table, "finish", false);
    result.load = command_of(table, "load", true);
    const std::string load_in = text_of(table, "load_in", false);
    if (!load_in.empty() && load_in != "peer" && load_in != "server")
      wrong(*table.get("load_in"), "'load_in' must be \"peer\" or \"server\"");
    result.load_in_server = load_in == "server";
    result.done = text_of(table, "done");
    result.done_per_unit = number_of(table, "done_per_unit", 1, 1e-9, kMost);
    if (!error_.empty())
      return result;
    try {
      if (std::regex(result.done).mark_count() != 1)
        wrong(*table.get("done"), "'done' must have one group: the number that `load` prints");
    } catch (const std::regex_error& error) {
      wrong(*table.get("done"), "'done' is no regular expression: {}", error.what());
    }
    return result;
  }

  Repetition repetition(const toml::table& root, std::string_view key, Repetition result) {
    const toml::node* node = root.get(key);
    if (node == nullptr)
      return result;
    const toml::table* table = node->as_table();
    if (table == nullptr) {
      wrong(*node, "'{}' must be written [{}]", key, key);
      return result;
    }
    check_keys(*table, {"least", "most", "error", "passes"});
    result.least = static_cast<unsigned>(number_of(*table, "least", result.least, 1, kMaxRuns));
    result.most = static_cast<unsigned>(number_of(*table, "most", result.most, 1, kMaxRuns));
    result.error = number_of(*table, "error", result.error, 0, 1);
    result.passes = static_cast<unsigned>(number_of(*table, "passes", result.passes, 0, kMaxRuns));
    if (result.least > result.most)
      wrong(*table, "least = {} is more than most = {}", result.least, result.most);
    return result;
  }

  template <class Things>
  void check_names_of(const toml::table& root, std::string_view key, const Things& things) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < things.size(); ++i)
      if (!names.insert(things[i].name).second)
        wrong(*root.get(key)->as_array()->get(i), "there is a {} '{}' already", key,
              things[i].name);
  }
  void check_names(const toml::table& root, const Study& study) {
    if (!error_.empty())
      return;
    check_names_of(root, "configuration", study.configurations);
    check_names_of(root, "workload", study.workloads);
    check_names_of(root, "event", study.events);
    check_names_of(root, "knob", study.knobs);
    const toml::array& configurations = *root.get("configuration")->as_array();
    for (std::size_t i = 0; i < study.configurations.size(); ++i)
      for (const auto& [event, count] : study.configurations[i].counts)
        if (std::ranges::find(study.events, event, &StudyEvent::name) == study.events.end())
          wrong(*configurations.get(i)->as_table()->get("counts"), "there is no [[event]] '{}'",
                event);
  }

  std::string file_;
  std::string error_;
  std::set<std::string> knob_names_;
};

bool names_knob(const Study& study, const Workload& workload, const Knob& knob) {
  bool named =
      std::ranges::find(study.events, knob.name, &StudyEvent::count_knob) != study.events.end();
  for (const std::string* command : {&workload.server, &workload.load, &workload.finish})
    each_placeholder(*command, [&](std::size_t, std::size_t, std::string_view name) {
      named = named || name == knob.name;
    });
  return named;
}

}  // namespace

Result<Study> parse_study(std::string_view text, const std::string& file) {
  return Parser(file).parse(text);
}

Result<std::string> read_study_text(const std::string& file_or_name) {
  fs::path file = file_or_name;
  if (file_or_name.find('/') == std::string::npos && !file_or_name.ends_with(".toml")) {
    const auto prefix = build_prefix();
    if (!prefix)
      return std::unexpected(prefix.error());
    const fs::path folder = *prefix / "share/xenoprof/lab/studies";
    file = folder / (file_or_name + ".toml");
    if (!fs::exists(file)) {
      std::set<std::string> known;
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(folder, error))
        known.insert(entry.path().stem());
      return fail("there is no study '{}'; there are {}, and any FILE.toml", file_or_name,
                  fmt::join(known, ", "));
    }
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream)
    return fail("cannot read {}", file.string());
  return text;
}

std::vector<StudyEvent> events_of(const Study& study, const Cell& cell) {
  const Configuration& configuration = study.configurations[cell.configuration];
  std::vector<StudyEvent> events = study.events;
  for (StudyEvent& event : events) {
    if (const auto own = configuration.counts.find(event.name); own != configuration.counts.end())
      event.count = own->second;
    for (const auto& [knob, value] : cell.knobs)
      if (knob == event.count_knob)
        event.count = count_of(value).value_or(1);
  }
  return events;
}

std::vector<Cell> cells_of(const Study& study) {
  std::vector<Cell> cells;
  for (std::size_t c = 0; c < study.configurations.size(); ++c) {
    for (std::size_t w = 0; w < study.workloads.size(); ++w) {
      std::vector<Cell> variants = {Cell{c, w, {}}};
      for (const Knob& knob : study.knobs) {
        if (!names_knob(study, study.workloads[w], knob))
          continue;
        std::vector<Cell> more;
        for (const Cell& variant : variants) {
          for (const KnobValue& value : knob.values) {
            more.push_back(variant);
            more.back().knobs.emplace_back(knob.name, value);
          }
        }
        variants = std::move(more);
        // Refused by then, and not to be multiplied any more.
        if (variants.size() > kMaxCells)
          break;
      }
      cells.insert(cells.end(), variants.begin(), variants.end());
    }
  }
  return cells;
}

std::string path_of(const Study& study, const Cell& cell) {
  std::string path =
      study.configurations[cell.configuration].name + "/" + study.workloads[cell.workload].name;
  for (const auto& [knob, value] : cell.knobs)
    path += fmt::format("/{}={}", knob, value.name);
  return path;
}

std::string fill_in(std::string_view command, const Cell& cell, double amount) {
  std::string filled;
  std::size_t done = 0;
  each_placeholder(command, [&](std::size_t begin, std::size_t end, std::string_view name) {
    filled += command.substr(done, begin - done);
    done = end;
    if (name == kAmount)
      filled += fmt::format("{}", amount);
    for (const auto& [knob, value] : cell.knobs)
      if (knob == name)
        filled += value.text;
  });
  return filled + std::string(command.substr(done));
}

}  // namespace xenoprof::lab
