// SPDX-License-Identifier: GPL-2.0-or-later
#include <nlohmann/json.hpp>

#include "report/annotation.h"

namespace xenoprof {
namespace {

using Json = nlohmann::ordered_json;

Json counts(const Annotation& annotation, const Counts& samples) {
  Json json = Json::object();
  for (std::size_t event = 0; event < annotation.events.size(); ++event) {
    json[annotation.events[event]] = samples[event];
  }
  return json;
}

Json to_json(const Annotation& annotation, const AnnotatedInstruction& instruction) {
  Json json = {{"address", instruction.address}};
  if (!instruction.text.empty()) {
    json["text"] = instruction.text;
  }
  json["samples"] = counts(annotation, instruction.samples);
  json["lines"] = Json::array();
  for (const SourceLine& line : instruction.lines) {
    json["lines"].push_back(
        {{"function", line.function}, {"file", line.file}, {"line", line.line}});
  }
  return json;
}

Json to_json(const Annotation& annotation, const AnnotatedFile& file) {
  Json json = {
      {"path", file.path}, {"samples", counts(annotation, file.samples)}, {"lines", Json::array()}};
  for (const AnnotatedLine& line : file.lines) {
    Json added = {{"line", line.number}, {"samples", counts(annotation, line.samples)}};
    if (line.text) {
      added["text"] = *line.text;
    }
    json["lines"].push_back(std::move(added));
  }
  return json;
}

}  // namespace

std::string to_json(const Annotation& annotation) {
  Json json = {{"symbol", annotation.symbol},
               {"image", annotation.image},
               {"build_id", annotation.build_id},
               {"events", annotation.events},
               {"samples", counts(annotation, annotation.samples)},
               {"totals", counts(annotation, annotation.totals)},
               {"functions", Json::array()},
               {"notes", annotation.notes}};
  for (const AnnotatedFunction& function : annotation.functions) {
    Json added = {{"samples", counts(annotation, function.samples)},
                  {"files", Json::array()},
                  {"instructions", Json::array()}};
    for (const AnnotatedFile& file : function.files) {
      added["files"].push_back(to_json(annotation, file));
    }
    for (const AnnotatedInstruction& instruction : function.instructions) {
      added["instructions"].push_back(to_json(annotation, instruction));
    }
    json["functions"].push_back(std::move(added));
  }
  // Names and sources are in any encoding; the reader wants valid JSON.
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace xenoprof
