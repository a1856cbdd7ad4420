// SPDX-License-Identifier: GPL-2.0-or-later
#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <ranges>
#include <string>
#include <vector>

#include "report/export.h"
#include "report/json_text.h"

namespace xenoprof {
namespace {

// A JSON array, written as it grows.
class JsonArray {
 public:
  explicit JsonArray(std::ostream& out) : out_(out) { out_ << '['; }
  JsonArray(const JsonArray&) = delete;
  JsonArray& operator=(const JsonArray&) = delete;
  ~JsonArray() { out_ << ']'; }

  template <class Value>
  void add(const Value& value) {
    out_ << (first_ ? "" : ",") << value;
    first_ = false;
  }

 private:
  std::ostream& out_;
  bool first_ = true;
};

// ["key":[...],] of `count` equal values.
void write_constant(std::ostream& out, std::string_view key, std::size_t count,
                    std::string_view value) {
  fmt::print(out, "\"{}\":", key);
  {
    JsonArray array(out);
    for (std::size_t i = 0; i < count; ++i) {
      array.add(value);
    }
  }
  out << ',';
}

template <class Range>
void write_array(std::ostream& out, std::string_view key, const Range& values) {
  fmt::print(out, "\"{}\":", key);
  {
    JsonArray array(out);
    for (const auto& value : values) {
      array.add(value);
    }
  }
  out << ',';
}

}  // namespace

void write_folded(const NamedStacks& stacks, std::size_t event, std::ostream& out) {
  std::vector<std::string> names;
  for (const NamedStacks::Name& name : stacks.names()) {
    names.push_back(name.text);
    std::ranges::replace(names.back(), ';', ':');
  }
  std::string line;
  std::vector<std::uint32_t> path;
  const auto& nodes = stacks.nodes();
  for (std::size_t node = 1; node < nodes.size(); ++node) {
    const std::uint64_t samples = stacks.samples(node)[event];
    if (samples == 0) {
      continue;
    }
    path.clear();
    for (std::size_t at = node; at != 0; at = nodes[at].parent) {
      path.push_back(nodes[at].name);
    }
    line.clear();
    for (const std::uint32_t name : std::views::reverse(path)) {
      line += line.empty() ? "" : ";";
      line += names[name];
    }
    fmt::format_to(std::back_inserter(line), " {}\n", samples);
    out << line;
  }
}

void write_speedscope(const NamedStacks& stacks, const std::vector<std::string>& events,
                      std::size_t event, std::string_view name, std::ostream& out) {
  fmt::print(out,
             "{{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\","
             "\"exporter\":\"xenoprof\",\"name\":{},\"activeProfileIndex\":{},"
             "\"shared\":{{\"frames\":",
             json_text(name), event);
  {
    JsonArray frames(out);
    for (const NamedStacks::Name& frame : stacks.names()) {
      frames.add(frame.image.empty() ? fmt::format("{{\"name\":{}}}", json_text(frame.text))
                                     : fmt::format("{{\"name\":{},\"file\":{}}}",
                                                   json_text(frame.text), json_text(frame.image)));
    }
  }
  out << "},\"profiles\":";
  {
    JsonArray profiles(out);
    const auto& nodes = stacks.nodes();
    for (std::size_t i = 0; i < events.size(); ++i) {
      profiles.add("{\"type\":\"sampled\",");
      std::uint64_t total = 0;
      std::vector<std::uint64_t> weights;
      out << "\"samples\":";
      {
        JsonArray samples(out);
        std::vector<std::uint32_t> path;
        for (std::size_t node = 1; node < nodes.size(); ++node) {
          const std::uint64_t here = stacks.samples(node)[i];
          if (here == 0) {
            continue;
          }
          path.clear();
          for (std::size_t at = node; at != 0; at = nodes[at].parent) {
            path.push_back(nodes[at].name);
          }
          std::ranges::reverse(path);
          samples.add(fmt::format("[{}]", fmt::join(path, ",")));
          weights.push_back(here);
          total += here;
        }
      }
      out << ',';
      write_array(out, "weights", weights);
      fmt::print(out, "\"name\":{},\"unit\":\"none\",\"startValue\":0,\"endValue\":{}}}",
                 json_text(events[i]), total);
    }
  }
  out << "}\n";
}

void write_firefox(const NamedStacks& stacks, std::string_view event_name, std::size_t event,
                   std::string_view name, std::ostream& out) {
  const auto& nodes = stacks.nodes();
  // Functions only: domains and processes are processes and threads there. The index of a frame, of
  // its function and of its name are the same.
  constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::vector<std::uint32_t> frame_of(stacks.names().size(), kNone);
  std::vector<const NamedStacks::Name*> frames;
  for (std::size_t i = 0; i < frame_of.size(); ++i) {
    if (!stacks.names()[i].image.empty()) {
      frame_of[i] = static_cast<std::uint32_t>(frames.size());
      frames.push_back(&stacks.names()[i]);
    }
  }
  std::map<std::string, std::size_t> images;  // resources
  for (const NamedStacks::Name* frame : frames) {
    images.emplace(frame->image, 0);
  }
  std::size_t number = 0;
  for (auto& [image, index] : images) {
    index = number++;
  }
  std::vector<std::uint32_t> stack_of(nodes.size(), kNone);
  std::vector<std::uint32_t> process_of(nodes.size(), 0);
  std::vector<std::uint32_t> stack_nodes;
  for (std::uint32_t node = 1; node < nodes.size(); ++node) {
    process_of[node] = nodes[node].depth == 2 ? node : process_of[nodes[node].parent];
    if (nodes[node].depth > 2) {
      stack_of[node] = static_cast<std::uint32_t>(stack_nodes.size());
      stack_nodes.push_back(node);
    }
  }

  fmt::print(out,
             "{{\"meta\":{{\"interval\":1,\"startTime\":0,\"processType\":0,\"product\":{},"
             "\"stackwalk\":1,\"version\":30,\"preprocessedProfileVersion\":60,"
             "\"importedFrom\":\"xenoprof\",\"symbolicated\":true,"
             "\"symbolicationNotSupported\":true,\"markerSchema\":[],\"categories\":["
             "{{\"name\":\"User\",\"color\":\"green\",\"subcategories\":[\"Other\"]}},"
             "{{\"name\":\"Kernel\",\"color\":\"orange\",\"subcategories\":[\"Other\"]}},"
             "{{\"name\":\"Hypervisor\",\"color\":\"purple\",\"subcategories\":[\"Other\"]}},"
             "{{\"name\":\"Other\",\"color\":\"grey\",\"subcategories\":[\"Other\"]}}]}},"
             "\"libs\":[],\"pages\":[],\"shared\":{{",
             json_text(fmt::format("{} of {}", event_name, name)));
  out << "\"stackTable\":{";
  write_array(out, "frame", stack_nodes | std::views::transform([&](std::uint32_t node) {
                              return frame_of[nodes[node].name];
                            }));
  write_array(out, "prefix", stack_nodes | std::views::transform([&](std::uint32_t node) {
                               const std::uint32_t prefix = stack_of[nodes[node].parent];
                               return prefix == kNone ? "null" : std::to_string(prefix);
                             }));
  fmt::print(out, "\"length\":{}}},\"frameTable\":{{", stack_nodes.size());
  write_constant(out, "address", frames.size(), "-1");
  write_constant(out, "inlineDepth", frames.size(), "0");
  // The modes have the categories' numbers.
  write_array(out, "category", frames | std::views::transform([](const NamedStacks::Name* frame) {
                                 return static_cast<int>(frame->mode);
                               }));
  write_constant(out, "subcategory", frames.size(), "0");
  write_array(out, "func", std::views::iota(std::size_t{0}, frames.size()));
  for (const char* key : {"nativeSymbol", "innerWindowID", "line", "column"}) {
    write_constant(out, key, frames.size(), "null");
  }
  fmt::print(out, "\"length\":{}}},\"funcTable\":{{", frames.size());
  write_array(out, "name", std::views::iota(std::size_t{0}, frames.size()));
  write_constant(out, "isJS", frames.size(), "false");
  write_constant(out, "relevantForJS", frames.size(), "false");
  write_array(out, "resource", frames | std::views::transform([&](const NamedStacks::Name* frame) {
                                 return images.at(frame->image);
                               }));
  for (const char* key : {"source", "lineNumber", "columnNumber"}) {
    write_constant(out, key, frames.size(), "null");
  }
  fmt::print(out, "\"length\":{}}},\"resourceTable\":{{", frames.size());
  write_constant(out, "lib", images.size(), "null");
  write_array(out, "name", std::views::iota(frames.size(), frames.size() + images.size()));
  write_constant(out, "host", images.size(), "null");
  write_constant(out, "type", images.size(), "1");
  fmt::print(out,
             "\"length\":{}}},\"nativeSymbols\":{{\"libIndex\":[],\"address\":[],\"name\":[],"
             "\"functionSize\":[],\"length\":0}},\"sources\":{{\"uuid\":[],\"filename\":[],"
             "\"length\":0}},\"stringArray\":",
             images.size());
  {
    JsonArray strings(out);
    for (const NamedStacks::Name* frame : frames) {
      strings.add(json_text(frame->text));
    }
    for (const auto& [image, index] : images) {
      strings.add(json_text(image));
    }
  }
  out << "},\"threads\":";
  {
    // Nodes of a process in order: its samples.
    std::map<std::uint32_t, std::vector<std::uint32_t>> samples_of;
    for (std::uint32_t node = 1; node < nodes.size(); ++node) {
      if (stack_of[node] != kNone && stacks.samples(node)[event] != 0) {
        samples_of[process_of[node]].push_back(node);
      }
    }
    JsonArray threads(out);
    for (const auto& [process, samples] : samples_of) {
      const std::uint32_t domain = nodes[process].parent;
      threads.add("{");
      fmt::print(out,
                 "\"name\":{},\"processName\":{},\"processType\":\"default\",\"pid\":\"{}\","
                 "\"tid\":{},\"isMainThread\":false,\"processStartupTime\":0,"
                 "\"processShutdownTime\":null,\"registerTime\":0,\"unregisterTime\":null,"
                 "\"pausedRanges\":[],\"markers\":{{\"data\":[],\"name\":[],\"startTime\":[],"
                 "\"endTime\":[],\"phase\":[],\"category\":[],\"length\":0}},\"samples\":{{",
                 json_text(stacks.names()[nodes[process].name].text),
                 json_text(stacks.names()[nodes[domain].name].text), domain, process);
      write_array(out, "stack", samples | std::views::transform([&](std::uint32_t node) {
                                  return stack_of[node];
                                }));
      write_array(out, "weight", samples | std::views::transform([&](std::uint32_t node) {
                                   return stacks.samples(node)[event];
                                 }));
      write_array(out, "time", std::views::iota(std::size_t{0}, samples.size()));
      fmt::print(out, "\"weightType\":\"samples\",\"length\":{}}}}}", samples.size());
    }
  }
  out << "}\n";
}

}  // namespace xenoprof
